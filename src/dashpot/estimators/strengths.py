"""Strengths of a recipe as parameters of an estimator, such as ``recipe__dropout__p``, for scikit-learn's searches."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

from sklearn.base import BaseEstimator

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.core.recipe import Recipe

RECIPE = "recipe"


class RecipeParameters(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """The base class of estimators with a recipe. Each field of each of its techniques is a parameter by the name
    ``recipe__<technique>__<field>``, with the technique's name as in recipes; ``_`` for ``-`` is understood.
    """

    recipe: Any

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters by name; with ``deep`` those of techniques, too."""
        found: dict[str, Any] = super().get_params(deep=deep)
        return {**found, **self._of_recipe()} if deep else found

    def set_params(self, **params: Any) -> Self:
        """Other parameters. ``recipe`` comes first, then those of its techniques, which make a recipe of their own: one
        that was given stays as it is.

        Raises:
            ConfigError: a value that is not allowed.
            UnknownNameError: no such technique or field.
        """
        inner = {name: value for name, value in params.items() if name.startswith(f"{RECIPE}__")}
        super().set_params(**{name: value for name, value in params.items() if name not in inner})
        if not inner:
            return self
        known, recipe = self._of_recipe(), Recipe.coerce(self.recipe)
        changes: dict[str, dict[str, Any]] = {}
        for name, value in inner.items():
            own = next((one for one in known if one.replace("-", "_") == name.replace("-", "_")), None)
            if own is None:
                raise UnknownNameError("parameter", name, known)
            _, path, field = own.split("__")
            changes.setdefault(path, {})[field] = value
        techniques: list[Any] = list(recipe)
        paths = zip(recipe.paths(), techniques, strict=True)
        self.recipe = Recipe(dataclasses.replace(t, **changes.get(path, {})) for path, t in paths)
        return self

    def _of_recipe(self) -> dict[str, Any]:
        try:
            recipe = Recipe.coerce(self.recipe)
        except ConfigError:  # such as "auto"; what is wrong is told by fit
            return {}
        paths = zip(recipe.paths(), recipe, strict=True)
        return {f"{RECIPE}__{path}__{name}": getattr(t, name) for path, t in paths for name in t.fields()}
