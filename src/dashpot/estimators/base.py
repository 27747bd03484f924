"""What the estimators share: tables in, a trained network behind."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    _check_sample_weight,
    check_array,
    check_is_fitted,
)

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.fields.domains import Range, check_number, check_whole
from dashpot.core.recipe import Recipe
from dashpot.core.rng import initial_weights
from dashpot.core.technique import Technique
from dashpot.core.weights import as_counts, checked_weights
from dashpot.data import Preprocessing, Problem, Target
from dashpot.data.columnar import is_missing
from dashpot.data.reading import Reading
from dashpot.data.rows import Rows, decided, to_rows
from dashpot.evaluation.decision import Decision
from dashpot.evaluation.losses import predict
from dashpot.nets import MLP
from dashpot.search.config import SearchConfig
from dashpot.search.tune import tune
from dashpot.techniques.stopping.early_stopping import EarlyStopping
from dashpot.training.defaults import LARGEST, SMALLEST_FIXED_EPOCHS, batch_size_for
from dashpot.training.loop import fit

AUTO = "auto"
"""The recipe that stands for a search."""


class TableEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """The base class of both estimators: tables in, a trained network inside."""

    def __init__(
        self,
        recipe: Recipe | Technique | str | Iterable[Technique | str] | None = None,
        *,
        budget: str | float | None = "5m",
        trials: int | None = None,
        metric: str | None = None,
        cv: int | None = None,
        width: int | None = None,
        depth: int | None = None,
        epochs: int | None = None,
        batch_size: int | str = "auto",
        lr: float | None = None,
        validation_fraction: float = 0.2,
        device: str = "auto",
        random_state: Any = None,
        verbose: bool = False,
        numeric: Iterable[str] | None = None,
        dates: Iterable[str] | None = None,
        categorical: Iterable[str] | None = None,
    ) -> None:
        self.recipe = recipe
        self.budget = budget
        self.trials = trials
        self.metric = metric
        self.cv = cv
        self.width = width
        self.depth = depth
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.validation_fraction = validation_fraction
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.numeric = numeric
        self.dates = dates
        self.categorical = categorical

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags

    def _rows(self, x: Any, *, reset: bool) -> Rows:
        """Columns by position; where training and ``x`` both have names, these must be the same in the same order, as
        everywhere in scikit-learn.
        """
        frame = hasattr(x, "columns") or hasattr(x, "__dataframe__") or hasattr(x, "get_column")
        if not frame:
            # scikit-learn's own checks, so that its users meet the messages they know.
            x = check_array(x, accept_sparse=True, dtype=None, ensure_all_finite="allow-nan", estimator=self)
            if getattr(x, "dtype", None) is not None and x.dtype.kind == "c":
                raise ValueError("Complex data not supported")
        rows = to_rows(x)  # which refuses names that repeat, before scikit-learn asks for them
        _check_feature_names(self, x, reset=reset)
        if len(rows) == 0:
            raise ValueError(
                f"Found array with 0 sample(s) (shape={x.shape}) while a minimum of 1 is required by"
                f" {type(self).__name__}."
            )
        if not frame:
            _check_n_features(self, x, reset=reset)
        elif reset:
            self.n_features_in_ = len(rows.names)
        elif len(rows.names) != self.n_features_in_:
            raise ValueError(
                f"X has {len(rows.names)} features, but {type(self).__name__} is expecting {self.n_features_in_}"
                " features as input."
            )
        if reset:
            self._columns = rows.names
        # Names on both sides are the same by now, in the same order; where one side has none, scikit-learn has warned
        # and the position counts.
        rows = rows.renamed(self._columns)
        if not reset:
            return rows
        return decided(rows, Reading.of(self.numeric, self.dates, self.categorical))

    def _seed(self) -> int:
        state = self.random_state
        return int(state) if isinstance(state, int | np.integer) else int(check_random_state(state).randint(2**31 - 1))

    def _fit(
        self,
        rows: Rows,
        y: np.ndarray,
        counts: np.ndarray | None,
        outputs: int,
        strata: np.ndarray | None,
        of_classes: np.ndarray | None = None,
    ) -> Self:
        """Train the recipe that was named; ``y`` as the network sees it.

        Args:
            counts: the weights of rows, above 0: they count everywhere.
            of_classes: the weight of each row's class: it counts in the loss, and in what early stopping watches.
        """
        width = 128 if self.width is None else check_whole("width", self.width)
        depth = 2 if self.depth is None else check_whole("depth", self.depth, low=0)
        fraction = check_number("validation_fraction", self.validation_fraction, Range(0.0, 1.0, open="both"))
        seed = self._seed()
        self.recipe_ = Recipe.coerce(self.recipe)
        n = len(rows)
        train, valid = np.arange(n), None
        # Rows are held out only where something watches them.
        if any(isinstance(t, EarlyStopping) for t in self.recipe_) and n >= 5:
            groups = np.unique(strata, return_counts=True)[1] if strata is not None else np.array([n])
            stratify = (
                strata
                if strata is not None and groups.min() >= 2 and min(fraction, 1 - fraction) * n >= len(groups)
                else None
            )
            train, valid = (
                np.sort(part)
                for part in train_test_split(train, test_size=fraction, random_state=seed, stratify=stratify)
            )
        self.preprocessing_: Any = Preprocessing.fit(rows, train, strict=False, weight=counts)
        x = torch.from_numpy(self.preprocessing_.transform(rows, strict=False))
        with initial_weights(seed):
            network = MLP(x.shape[1], outputs, width=width, depth=depth)
        target = torch.from_numpy(y)
        given = [part for part in (counts, of_classes) if part is not None]
        parts = [x, target, *([torch.from_numpy(np.prod(given, axis=0))] if given else [])]
        auto = batch_size_for(len(train), smallest=SMALLEST_FIXED_EPOCHS, largest=LARGEST)
        result = fit(
            network,
            tuple(part[train] for part in parts),
            valid=None if valid is None else tuple(part[valid] for part in parts),
            recipe=self.recipe_,
            epochs=100 if self.epochs is None else self.epochs,
            # Fit refuses other text.
            batch_size=auto if self.batch_size == "auto" else self.batch_size,  # type: ignore[arg-type]
            lr=1e-3 if self.lr is None else self.lr,
            seed=seed,
            device=self.device,
            progress=bool(self.verbose),
            modality="table",
        ).raise_if_diverged()
        self.model_ = result.model.cpu()
        self.history_, self.plan_, self.n_iter_ = result.history, result.plan, len(result.history)
        self.decision_: Decision | None = Decision()
        self.report_: dict[str, Any] | None = None
        return self

    def _tune(self, rows: Rows, y: np.ndarray, task: str, weight: np.ndarray | None) -> Target:
        """Search for a recipe, on all rows; ``y`` are codes of classes, or values in their own units."""
        fixed = {
            name: check_whole(name, value, low)
            for name, value, low in (("width", self.width, 1), ("depth", self.depth, 0))
            if value is not None
        }
        # What scikit-learn cuts off for a fold may leave a class few rows.
        most = int(np.bincount(y).min()) if task == "classification" else len(rows) // 2
        cv = None if self.cv is None or most < 2 else min(check_whole("cv", self.cv, low=2), most)
        config = SearchConfig(
            lr=self.lr,
            cv=cv,
            metric=self.metric,
            epochs=self.epochs,
            # Tune refuses other text.
            batch_size=None if self.batch_size == "auto" else self.batch_size,  # type: ignore[arg-type]
            explain=False,
            test=False,
            seed=self._seed(),
            device=self.device,
        )
        result = tune(
            Problem("data", rows, y, task, weight=weight),
            net=fixed or None,
            budget=None if self.trials is not None else self.budget,
            trials=self.trials,
            config=config,
            progress=bool(self.verbose),
        )
        self.preprocessing_ = result.prepared.preprocessing
        self.model_, self.recipe_, self.decision_, self.report_ = (
            result.network,
            result.recipe,
            result.decision,
            result.record,
        )
        chosen = next(c for c in result.record["candidates"] if c["number"] == result.record["chosen"])
        self.history_ = [{"epoch": epoch, "val_loss": score} for epoch, score in chosen["history"]]
        self.plan_, self.n_iter_ = (
            f"{result.record['final']}; {result.recipe}: {result.record['why']}",
            chosen["epochs"],
        )
        return result.prepared.target

    def _outputs(self, x: Any) -> torch.Tensor:
        check_is_fitted(self, "model_")
        rows = self._rows(x, reset=False)
        # In float64, so that a row's prediction does not depend on the rows beside it: float32 products round
        # differently by batch size.
        x = torch.from_numpy(self.preprocessing_.transform(rows, strict=False)).double()
        return predict(copy.deepcopy(self.model_).double(), x)


def refuse_weights(name: str, weight: Any) -> None:
    """A search fits what classes are worth to its metric.

    Raises:
        ConfigError: weights of classes.
    """
    if weight is not None:
        way = (
            "For classes of equal weight choose metric='balanced_accuracy'; else name a recipe instead of 'auto', such"
            " as the one a search found."
        )
        raise ConfigError(
            name,
            "None with recipe='auto'",
            type(weight).__name__ if not isinstance(weight, str) else weight,
            way,
        )


def present(rows: Rows, y: Any, sample_weight: Any) -> tuple[Rows, np.ndarray, np.ndarray | None]:
    """Rows, targets and weights without the rows of weight 0, which are absent, whatever their target; None where all
    weigh the same. Raises ValueError where a row has no target, or a label none.
    """
    y = np.asarray(y)
    if y.ndim and len(rows) != len(y):
        raise ValueError(f"Found input variables with inconsistent numbers of samples: [{len(rows)}, {len(y)}]")
    weight = None
    if sample_weight is not None:
        # scikit-learn's own checks, so that its users meet the messages they know, and what it does not ask.
        ones = np.empty((len(rows), 1))
        found = _check_sample_weight(sample_weight, ones, dtype=np.float64, ensure_non_negative=True)
        kept = np.flatnonzero(checked_weights("sample_weight", found, len(rows)))
        rows, y, weight = rows.take(kept), y[kept], as_counts(found[kept])
    if y.dtype == object:
        absent = np.array([not isinstance(label, str) and is_missing(label) for label in y.flat])
        if absent.any():
            raise DataError(
                f"y must be there in every row; it is missing in {int(absent.sum())} of {len(y)}. Remove those rows."
            )
    return rows, y, weight
