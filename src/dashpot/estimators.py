"""scikit-learn estimators over :func:`dashpot.fit`; they add no maths."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_feature_names, _check_n_features, _check_sample_weight, check_array, check_is_fitted, column_or_1d

from dashpot.core.codec import parse
from dashpot.core.errors import ConfigError
from dashpot.core.recipe import Recipe
from dashpot.core.rng import stream
from dashpot.core.space import Range, check_number, check_whole
from dashpot.core.technique import Technique
from dashpot.data.preprocessing import Preprocessing
from dashpot.data.rows import Rows, to_rows
from dashpot.fit import fit
from dashpot.nets import MLP
from dashpot.scores import predict
from dashpot.techniques import EarlyStopping


class _Estimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both estimators share: tables in, a trained network behind."""

    def __init__(
        self,
        recipe: Recipe | Technique | str | Iterable[Technique | str] | None = None,
        *,
        width: int = 128,
        depth: int = 2,
        epochs: int = 100,
        batch_size: int | str = "auto",
        lr: float = 1e-3,
        validation_fraction: float = 0.2,
        device: str = "auto",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.recipe = recipe
        self.width = width
        self.depth = depth
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.validation_fraction = validation_fraction
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags

    def _rows(self, x: Any, *, reset: bool) -> Rows:
        """Columns by position for arrays, by name for data frames."""
        frame = hasattr(x, "columns") or hasattr(x, "__dataframe__") or hasattr(x, "get_column")
        if not frame:
            # scikit-learn's own checks, so that its users meet the messages they know.
            x = check_array(x, accept_sparse=True, dtype=None, ensure_all_finite="allow-nan", estimator=self)
            if getattr(x, "dtype", None) is not None and x.dtype.kind == "c":
                raise ValueError("Complex data not supported")
        _check_feature_names(self, x, reset=reset)
        rows = to_rows(x)
        if len(rows) == 0:
            raise ValueError(f"Found array with 0 sample(s) (shape={x.shape}) while a minimum of 1 is required by {type(self).__name__}.")
        if not frame:
            _check_n_features(self, x, reset=reset)
        elif reset:
            self.n_features_in_ = len(rows.names)
        return rows

    def _fit(self, rows: Rows, y: np.ndarray, weight: np.ndarray | None, outputs: int, strata: np.ndarray | None) -> Self:
        width, depth = check_whole("width", self.width), check_whole("depth", self.depth, low=0)
        fraction = check_number("validation_fraction", self.validation_fraction, Range(0.0, 1.0, open="both"))
        seed = (
            int(check_random_state(self.random_state).randint(2**31 - 1))
            if not isinstance(self.random_state, int | np.integer)
            else int(self.random_state)
        )
        self.recipe_ = as_recipe(self.recipe)
        n = len(rows)
        train, valid = np.arange(n), None
        # Rows are held out only where something watches them.
        if any(isinstance(t, EarlyStopping) for t in self.recipe_) and n >= 5:
            counts = np.unique(strata, return_counts=True)[1] if strata is not None else np.array([n])
            stratify = strata if strata is not None and counts.min() >= 2 and min(fraction, 1 - fraction) * n >= len(counts) else None
            train, valid = (np.sort(part) for part in train_test_split(train, test_size=fraction, random_state=seed, stratify=stratify))
        self.preprocessing_ = Preprocessing.fit(rows, train, strict=False)
        x = torch.from_numpy(self.preprocessing_.transform(rows, strict=False))
        with torch.random.fork_rng():
            torch.manual_seed(stream(seed, "weights") >> 1)
            network = MLP(x.shape[1], outputs, width=width, depth=depth)
        target = torch.from_numpy(y)
        parts = [x, target] if weight is None else [x, target, torch.from_numpy(weight.astype(np.float32))]
        auto = min(512, max(16, 1 << ((len(train) // 50).bit_length())))
        result = fit(
            network,
            tuple(part[train] for part in parts),
            valid=None if valid is None else tuple(part[valid] for part in parts[:2]),
            recipe=self.recipe_,
            epochs=self.epochs,
            batch_size=auto if self.batch_size == "auto" else self.batch_size,  # type: ignore[arg-type]  # fit refuses other text
            lr=self.lr,
            seed=seed,
            device=self.device,
            progress=bool(self.verbose),
        ).check()
        self.model_ = result.model.cpu()
        self.history_, self.plan_, self.n_iter_ = result.history, result.plan, len(result.history)
        return self

    def _outputs(self, x: Any) -> torch.Tensor:
        check_is_fitted(self, "model_")
        rows = self._rows(x, reset=False)
        # In float64, so that a row's prediction does not depend on the rows beside it: float32 products round differently by batch size.
        x = torch.from_numpy(self.preprocessing_.transform(rows, strict=False)).double()
        return predict(copy.deepcopy(self.model_).double(), x)


class DashpotClassifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """A multilayer perceptron for tables, trained with a recipe of regularizers.

    Parameters
    ----------
    recipe : Recipe, Technique, str or list of these, default=None
        The techniques; text as on the command line, ``"l1:strength=1e-4"``.
    width, depth : int, default=128 and 2
        Units per hidden layer, and hidden layers (0 is a linear model).
    epochs : int, default=100
    batch_size : int or "auto", default="auto"
        ``"auto"``: about a fiftieth of the rows, 16 to 512.
    lr : float, default=1e-3
        Learning rate of AdamW, with a cosine to zero.
    validation_fraction : float, default=0.2
        Share of the rows, stratified, that early stopping watches. Only held out if the recipe has :class:`~dashpot.EarlyStopping`.
    class_weight : dict, "balanced" or None, default=None
        As everywhere in scikit-learn; multiplied with ``sample_weight``.
    device : str, default="auto"
    random_state : int, RandomState instance or None, default=None
    verbose : bool, default=False

    Attributes
    ----------
    classes_ : ndarray
    model_ : torch.nn.Module
        The trained network, plain, on the CPU.
    preprocessing_ : Preprocessing
        How columns became features: standardized numbers, one-hot levels, indicators of missing values.
    history_ : list of dict
    plan_ : str
        What acted where.
    recipe_ : Recipe
    n_features_in_, feature_names_in_, n_iter_

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from dashpot import DashpotClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = DashpotClassifier("weight-decay:strength=0.01", epochs=60, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.9)
    True
    """

    def __init__(
        self,
        recipe: Recipe | Technique | str | Iterable[Technique | str] | None = None,
        *,
        width: int = 128,
        depth: int = 2,
        epochs: int = 100,
        batch_size: int | str = "auto",
        lr: float = 1e-3,
        validation_fraction: float = 0.2,
        class_weight: Mapping[Any, float] | str | None = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            recipe,
            width=width,
            depth=depth,
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            validation_fraction=validation_fraction,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on a table ``X`` (NumPy, SciPy sparse, pandas, polars) and class labels ``y``.

        Raises
        ------
        ValueError
            As scikit-learn's own classifiers, and :class:`dashpot.DataError` for infinity in a column.
        """
        rows = self._rows(X, reset=True)
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None")
        labels = column_or_1d(np.asarray(y), warn=True)
        _same_length(rows, labels)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"{type(self).__name__} needs at least 2 classes, got 1 class: {self.classes_[0]!r}.")
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, rows_like(rows), dtype=np.float64, ensure_non_negative=True)
        if self.class_weight is not None:
            balance = compute_sample_weight(self.class_weight, labels)
            weight = balance if weight is None else weight * balance
        return self._fit(rows, codes.astype(np.int64), weight, len(self.classes_), codes)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities [rows, classes], in the order of ``classes_``."""
        probability: np.ndarray = self._outputs(X).double().softmax(dim=1).numpy()
        return probability

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of the probabilities."""
        result: np.ndarray = self._outputs(X).double().log_softmax(dim=1).numpy()
        return result

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row."""
        codes = self._outputs(X).argmax(dim=1).numpy()
        labels: np.ndarray = self.classes_[codes]
        return labels


class DashpotRegressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """A multilayer perceptron for tables of numbers to predict, trained with a recipe of regularizers.

    The target is standardized inside, so strengths mean the same whatever its units. Parameters and attributes are those of
    :class:`DashpotClassifier`, without classes.

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
        """Train on a table ``X`` and values ``y`` [rows] or [rows, outputs]."""
        rows = self._rows(X, reset=True)
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None")
        values = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y", estimator=self)
        if values.ndim == 2 and values.shape[1] == 1:
            values = column_or_1d(values, warn=True)
        _same_length(rows, values)
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, rows_like(rows), dtype=np.float64, ensure_non_negative=True)
        self._mean = values.mean(axis=0)
        scale = values.std(axis=0)
        self._scale = np.where(scale > 0, scale, 1.0)
        standard = ((values - self._mean) / self._scale).astype(np.float32)
        return self._fit(rows, standard, weight, 1 if values.ndim == 1 else values.shape[1], None)

    def predict(self, X: Any) -> np.ndarray:
        """Values [rows] or [rows, outputs], in the target's own units."""
        out = self._outputs(X).double().numpy()
        values: np.ndarray = (out[:, 0] if np.ndim(self._mean) == 0 else out) * self._scale + self._mean
        return values


def as_recipe(given: Any) -> Recipe:
    """A recipe from what a user may pass for one.

    Raises:
        ConfigError: something else.
    """
    if given is None:
        return Recipe()
    if isinstance(given, Recipe):
        return given
    if isinstance(given, Technique):
        return Recipe((given,))
    if isinstance(given, str):
        return Recipe((parse(given),))
    if isinstance(given, Iterable):
        return Recipe(parse(part) if isinstance(part, str) else part for part in given)
    raise ConfigError("recipe", "a Recipe, a Technique, text such as 'l1:strength=1e-4', or a list of these", given)


def rows_like(rows: Rows) -> np.ndarray:
    """Something with as many rows, for scikit-learn's checks of sample weights."""
    return np.empty((len(rows), 1))


def _same_length(rows: Rows, y: np.ndarray) -> None:
    if len(rows) != len(y):
        raise ValueError(f"Found input variables with inconsistent numbers of samples: [{len(rows)}, {len(y)}]")
