"""``DashpotRegressor``, a scikit-learn regressor."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_array, column_or_1d

from dashpot.core.errors import ConfigError
from dashpot.data.tables.columns import mean_and_scale
from dashpot.estimators.base import AUTO, NetworkEstimator
from dashpot.estimators.inputs import present


class DashpotRegressor(RegressorMixin, NetworkEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A network for tables, images, signals or texts with numbers to predict, trained with a recipe of regularizers.

    The target is standardized inside, so strengths mean the same whatever its units. Parameters and attributes are
    those of :class:`DashpotClassifier`, without classes and decisions; ``metric`` of a search is r2 (None), rmse or
    mae.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from dashpot import L1, DashpotRegressor
    >>> X, y = make_regression(200, 10, n_informative=3, random_state=0)
    >>> model = DashpotRegressor(L1(strength=1e-3), depth=0, lr=0.05, epochs=100, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.99), int((model.model_.head.weight == 0).sum())
    (True, 7)
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on a table, images, signals or texts ``X``, and values ``y`` [rows] or [rows, outputs].

        ``sample_weight`` [rows]: a row of weight 0 is absent; one of weight 2 counts as two in the loss, the scaling of
        columns and of ``y``, and the score that early stopping watches. Mini-batches hold single rows.
        """
        inputs = self._inputs(X, reset=True)
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None")
        inputs, y, weight = present(inputs, y, sample_weight)
        values = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y", estimator=self)
        if values.ndim == 2 and values.shape[1] == 1:
            values = column_or_1d(values, warn=True)
        if self.monotone and values.ndim != 1:
            raise ConfigError("y", "one value per row with monotone", list(values.shape), "Take an estimator for each.")
        if self.recipe == AUTO:
            if values.ndim != 1:
                way = "Name a recipe, or wrap this in sklearn.multioutput.MultiOutputRegressor."
                raise ConfigError("y", "one value per row with recipe='auto'", list(values.shape), way)
            found = self._tune(inputs, values, "regression", weight)
            self._mean, self._scale = np.asarray(found.mean), np.asarray(found.scale)
            return self
        mean, scale = mean_and_scale(values, weight)
        self._mean = np.asarray(mean)
        self._scale = np.where(scale > 0, scale, 1.0)
        standard = ((values - self._mean) / self._scale).astype(np.float32)
        return self._fit(inputs, standard, weight, 1 if values.ndim == 1 else values.shape[1], None)

    def predict(self, X: Any) -> np.ndarray:
        """Values [rows] or [rows, outputs], in the target's own units."""
        out = self._outputs(X, "values").double().numpy()
        values: np.ndarray = (out[:, 0] if np.ndim(self._mean) == 0 else out) * self._scale + self._mean
        return values
