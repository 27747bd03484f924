"""What the estimators share: tables, images, signals or texts in, a trained network behind."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Range, check_number, check_whole
from dashpot.core.recipe import Recipe
from dashpot.core.rng import initial_weights
from dashpot.core.technique import Technique
from dashpot.data import Problem, Target
from dashpot.data.rows import Rows
from dashpot.data.tables.reading import Reading
from dashpot.estimators.inputs import arrays_as, inputs_of, kind_name, table, texts_as, told
from dashpot.estimators.preparing import prepared_by, transformed, usual_length
from dashpot.estimators.strengths import RecipeParameters
from dashpot.evaluation.decision import Decision
from dashpot.evaluation.losses import predict
from dashpot.runs.teachers import demand_same_inputs
from dashpot.search.config import SearchConfig
from dashpot.search.fixed import checked_options, fixed_network
from dashpot.search.networks import frozen_of
from dashpot.search.outcome.tested import AUTO as TTA_AUTO
from dashpot.search.tune import tune
from dashpot.techniques.stopping.best_weights import watches_held_out
from dashpot.training.loop import fit
from dashpot.training.versions import TTA

AUTO = "auto"
"""The recipe that stands for a search."""


class NetworkEstimator(RecipeParameters):
    """The base class of both estimators: tables, images, signals or texts in, a trained network inside."""

    _kind: str
    _columns: tuple[str, ...]
    _how: dict[str, Any]

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
        net: Mapping[str, Any] | None = None,
        epochs: int | None = None,
        batch_size: int | str = "auto",
        lr: float | None = None,
        validation_fraction: float = 0.2,
        tta: Any = TTA_AUTO,
        pictures: str | None = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: bool = False,
        numeric: Iterable[str] | None = None,
        dates: Iterable[str] | None = None,
        categorical: Iterable[str] | None = None,
        kind: str | None = None,
        tokenizer: Any = "words",
        vectors: Any = None,
        encoder: Any = None,
        monotone: Mapping[str, int] | None = None,
        log: Any = None,
    ) -> None:
        self.recipe = recipe
        self.budget = budget
        self.trials = trials
        self.metric = metric
        self.cv = cv
        self.width = width
        self.depth = depth
        self.net = net
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.validation_fraction = validation_fraction
        self.tta = tta
        self.pictures = pictures
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.numeric = numeric
        self.dates = dates
        self.categorical = categorical
        self.kind = kind
        self.tokenizer = tokenizer
        self.vectors = vectors
        self.encoder = encoder
        self.monotone = monotone
        self.log = log

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags

    def _inputs(self, x: Any, *, reset: bool) -> Rows | np.ndarray:
        """The rows of a table, images [n, channels, height, width], signals [n, channels, steps], or texts
        [n, columns].
        """
        if not reset:
            if self._kind == "table":
                return table(self, x, reset=False, columns=self._columns, reading=None)
            if self._kind == "text":
                return texts_as(self, x, self._columns, self.preprocessing_.fields)
            return arrays_as(self, x, self._kind, self.preprocessing_.shape)
        inputs, how = inputs_of(self, x, self.kind, Reading.of(self.numeric, self.dates, self.categorical))
        self._kind = kind_name(inputs)
        self._columns = inputs.names if isinstance(inputs, Rows) else how.get("columns", ())
        if self._kind == "text":
            how["tokenizer"] = self.tokenizer
        elif self.tokenizer != "words":
            raise ConfigError("tokenizer", "'words' for other data than texts", self.tokenizer, "Leave it out.")
        self._how = how | told(self._kind, self.monotone, vectors=self.vectors, encoder=self.encoder)
        return inputs

    def _seed(self) -> int:
        state = self.random_state
        return int(state) if isinstance(state, int | np.integer) else int(check_random_state(state).randint(2**31 - 1))

    def _fit(
        self,
        inputs: Rows | np.ndarray,
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
        kind, asked = self._kind, self._options()
        usual_size: dict[str, Any] = {"width": 128, "depth": 2} if kind == "table" else {}
        frozen, directed = frozen_of(self._how.get("encoder")), "monotone" in self._how
        options = checked_options({**usual_size, **asked}, kind, encoder=frozen, monotone=directed)
        fraction = check_number("validation_fraction", self.validation_fraction, Range(0.0, 1.0, open="both"))
        seed, averaging = self._seed(), None if self.tta == TTA_AUTO else TTA.of(self.tta)
        self.recipe_ = Recipe.coerce(self.recipe)
        n = len(inputs)
        train, valid = np.arange(n), None
        # Rows are held out only where something watches them.
        if watches_held_out(self.recipe_) and n >= 5:
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
        self.preprocessing_: Any = prepared_by(inputs, train, counts, self.pictures, self._how)
        demand_same_inputs(self.recipe_, self.preprocessing_, getattr(self, "classes_", ()))
        x = torch.from_numpy(transformed(self.preprocessing_, inputs))
        with initial_weights(seed):
            network = fixed_network(self.preprocessing_, x, train, outputs, options, classes=strata is not None)
        target = torch.from_numpy(y)
        given = [part for part in (counts, of_classes) if part is not None]
        parts = [x, target, *([torch.from_numpy(np.prod(given, axis=0))] if given else [])]
        usual = usual_length(kind, len(train), pretrained=options.get("net") == "textencoder")
        result = fit(
            network,
            tuple(part[train] for part in parts),
            valid=None if valid is None else tuple(part[valid] for part in parts),
            recipe=self.recipe_,
            epochs=usual.epochs if self.epochs is None else self.epochs,
            # Fit refuses other text.
            batch_size=usual.batch_size if self.batch_size == "auto" else self.batch_size,  # type: ignore[arg-type]
            lr=usual.lr if self.lr is None else self.lr,
            schedule=usual.schedule,
            seed=seed,
            device=self.device,
            progress=bool(self.verbose),
            modality=kind,
            tta=averaging,
            log=self.log,
        ).raise_if_diverged()
        self.model_ = result.model.cpu()
        self.history_, self.plan_, self.n_iter_ = result.history, result.plan, len(result.history)
        self.tta_: TTA | None = result.tta
        self.decision_: Decision | None = Decision()
        self.report_: dict[str, Any] | None = None
        return self

    def _options(self) -> dict[str, Any]:
        """Of the network, those that were given.

        Raises:
            ConfigError: one that is given twice, ``net`` that is no mapping, or a depth of a network for texts.
        """
        if self._kind == "text" and self.depth is not None:
            raise ConfigError("depth", "None for texts", self.depth, "Leave it out: their network has one hidden part.")
        found: dict[str, Any] = {
            name: check_whole(name, value, low)
            for name, value, low in (("width", self.width, 1), ("depth", self.depth, 0))
            if value is not None
        }
        if self.net is None:
            return found
        if not isinstance(self.net, Mapping):
            raise ConfigError("net", "a mapping from options to values, or None", self.net, "Such as {'width': 64}.")
        for name in found:
            if name in self.net:
                raise ConfigError("net", f"without {name!r} where {name} is given", dict(self.net))
        return {**found, **self.net}

    def _tune(self, inputs: Rows | np.ndarray, y: np.ndarray, task: str, weight: np.ndarray | None) -> Target:
        """Search for a recipe, on all rows; ``y`` are codes of classes, or values in their own units."""
        # What scikit-learn cuts off for a fold may leave a class few rows.
        most = int(np.bincount(y).min()) if task == "classification" else len(inputs) // 2
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
            pictures=self.pictures,
            tta=self.tta if self.tta is not None else "none",
        )
        result = tune(
            Problem("data", inputs, y, task, weight=weight, how=self._how),
            net=self._options() or None,
            budget=None if self.trials is not None else self.budget,
            trials=self.trials,
            config=config,
            progress=bool(self.verbose),
            log=self.log,
        )
        self.preprocessing_ = result.prepared.preprocessing
        self.model_, self.recipe_ = result.network, result.recipe
        self.decision_, self.report_ = result.decision, result.record
        self.tta_ = result.tta
        chosen = next(c for c in result.record["candidates"] if c["number"] == result.record["chosen"])
        self.history_ = [{"epoch": epoch, "val_loss": score} for epoch, score in chosen["history"]]
        self.plan_, self.n_iter_ = (
            f"{result.record['final']}; {result.recipe}: {result.record['why']}",
            chosen["epochs"],
        )
        return result.prepared.target

    def _outputs(self, x: Any, targets: str = "classes") -> torch.Tensor:
        """What the network gives for X; ``targets`` is what test-time augmentation averages."""
        check_is_fitted(self, "model_")
        found = torch.from_numpy(transformed(self.preprocessing_, self._inputs(x, reset=False)))
        if self._kind == "table":
            # In float64, so that a row's prediction does not depend on the rows beside it: float32 products round
            # differently by batch size.
            return predict(copy.deepcopy(self.model_).double(), found.double())
        return predict(self.model_ if self.tta_ is None else self.tta_.network(self.model_, targets).eval(), found)


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
