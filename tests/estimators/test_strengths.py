"""Strengths of a recipe as parameters of an estimator: scikit-learn's searches set them, and what was given stays."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import dashpot
from dashpot import DashpotClassifier, DashpotRegressor
from dashpot.core.errors import ConfigError, UnknownNameError


def test_every_field_of_every_technique_is_a_parameter() -> None:
    recipe = dashpot.Dropout(p=0.2) | dashpot.L1(1e-3) | dashpot.L1(1e-4, on="biases")
    found = DashpotClassifier(recipe).get_params()
    assert found["recipe"] is recipe
    assert (found["recipe__dropout__p"], found["recipe__l1__strength"], found["recipe__l1.2__strength"]) == (
        0.2,
        1e-3,
        1e-4,
    )
    assert not any("__" in name for name in DashpotClassifier(recipe).get_params(deep=False))
    assert found.keys() - DashpotClassifier().get_params().keys() == {
        name for name in found if name.startswith("recipe__")
    }
    for none in ("auto", "no such technique", None):
        assert not any("__" in name for name in DashpotRegressor(none).get_params())


def test_a_search_sets_them_and_leaves_what_was_given() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(60, 3)), np.arange(60) % 2
    recipe = dashpot.Dropout(p=0.2) | dashpot.WeightDecay(strength=0.1)
    steps = make_pipeline(StandardScaler(), DashpotClassifier(recipe, epochs=2, width=4, random_state=0))
    grid = {"dashpotclassifier__recipe__dropout__p": [0.4], "dashpotclassifier__recipe__weight_decay__strength": [0.3]}
    found = GridSearchCV(steps, grid, cv=2).fit(x, y)
    assert found.best_estimator_[-1].recipe == dashpot.Dropout(p=0.4) | dashpot.WeightDecay(strength=0.3)
    assert steps[-1].recipe is recipe
    assert recipe == dashpot.Dropout(p=0.2) | dashpot.WeightDecay(strength=0.1)


def test_a_recipe_and_its_strengths_together() -> None:
    model = clone(DashpotClassifier("dropout:p=0.2")).set_params(recipe="mixup", recipe__mixup__alpha=0.7, epochs=3)
    assert (model.recipe, model.epochs) == (dashpot.Recipe.coerce("mixup:alpha=0.7"), 3)


def test_what_is_not_there_or_not_allowed_is_refused_by_name() -> None:
    model = DashpotClassifier("dropout:p=0.2")
    with pytest.raises(UnknownNameError, match="recipe__dropout__rate.*Did you mean 'recipe__dropout__"):
        model.set_params(recipe__dropout__rate=0.1)
    with pytest.raises(ConfigError, match=r"Dropout.p must be a number in \[0, 1\], got 7"):
        model.set_params(recipe__dropout__p=7)
    with pytest.raises(ValueError, match="Invalid parameter 'rate'"):
        model.set_params(rate=1)
    assert model.recipe == "dropout:p=0.2"
