"""``TuneResult``: the model of a search, its record, and its predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError, DataError, StorageError
from dashpot.core.fields.codec import dumps
from dashpot.core.files import write_atomic
from dashpot.core.recipe import Recipe
from dashpot.data import Prepared
from dashpot.data.new_rows import load_rows, new_inputs
from dashpot.evaluation.decision import Decision
from dashpot.evaluation.losses import predict
from dashpot.report.images.cases import Judged
from dashpot.report.tune.record import TuneRecord
from dashpot.runs.text_report import TextAnswers
from dashpot.search.outcome.folder import REPORT
from dashpot.training.versions import TTA


@dataclass(frozen=True)
class AsTheyAre:
    """Inputs that are tensors already: only their shape is checked.

    Attributes:
        shape: of one row.
        dtype: what they are converted to, such as ``"float32"``.
    """

    shape: tuple[int, ...]
    dtype: str
    kind: str = "tensor"

    def transform(self, x: Any) -> Tensor:
        """``x`` as a tensor [n, ...].

        Raises:
            DataError: rows of another shape.
        """
        try:
            found = torch.as_tensor(x).detach().cpu()
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(
                f"X must be a tensor or an array of numbers, got {type(x).__name__} ({str(error).splitlines()[0]})."
            ) from None
        if tuple(found.shape[1:]) != self.shape:
            raise DataError(
                f"X must be [n{''.join(f', {k}' for k in self.shape)}], as in training, got {list(found.shape)}."
            )
        return found.to(getattr(torch, self.dtype))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"shape": list(self.shape), "dtype": self.dtype, "kind": self.kind}


@dataclass(frozen=True)
class TuneResult:
    """What a search gave.

    Attributes:
        recipe, lr, net: of the chosen candidate.
        network: the final model on prepared inputs, in evaluation mode.
        decision: temperature and decision rule for classes, or None.
        report: everything that was measured; :attr:`record` is the same as plain JSON.
        prepared: the data as the network takes them, with how they were prepared.
        test: the test rows.
        labels: the classes as the target held them, in the order of the probabilities; by default their names.
        judged: the model's answers on test rows, for figures; None without any.
        tta: how predictions are averaged over versions of each image; None where they are not.
        texts: the words that count and the most confident mistakes on test texts; None for other data.

    Example:
        >>> import dashpot, numpy
        >>> X = numpy.random.default_rng(0).normal(size=(80, 3)); y = numpy.where(X[:, 0] > 0, "yes", "no")
        >>> result = dashpot.tune((X, y), trials=2, epochs=2, cv=2, progress=False)
        >>> result.predict_proba(X[:5]).shape, result.labels.tolist(), list(result.record["test"])[:1]
        ((5, 2), ['no', 'yes'], ['chosen'])
    """

    recipe: Recipe
    lr: float
    net: Mapping[str, Any]
    network: nn.Module
    decision: Decision | None
    report: TuneRecord = field(repr=False)
    prepared: Prepared = field(repr=False)
    test: np.ndarray = field(repr=False)
    labels: np.ndarray | None = field(default=None, repr=False)
    judged: Judged | None = field(default=None, repr=False)
    tta: TTA | None = None
    texts: TextAnswers | None = field(default=None, repr=False)

    @property
    def predictor(self) -> nn.Module:
        """:attr:`network`, with its test-time augmentation where there is one."""
        targets = "classes" if self.prepared.target.task == "classification" else "values"
        unit = self.prepared.modality == "image"
        return self.network if self.tta is None else self.tta.network(self.network, targets, unit=unit).eval()

    @property
    def record(self) -> dict[str, Any]:
        """Everything that was measured, as plain JSON: the content of ``report.json``."""
        return self.report.to_dict()

    def predict(self, X: Any) -> np.ndarray:
        """Classes [n] by the fitted decision, or values [n] or [n, outputs] in the target's own units.

        Args:
            X: inputs of the kind that was trained on: a table (array, sparse matrix, data frame), images, or tensors;
                or a path to such data.

        Raises:
            DataError: inputs that do not fit those of training.
        """
        if self.prepared.target.task == "classification":
            names = self.labels if self.labels is not None else np.array(self.prepared.target.classes)
            return np.asarray(names[(self.decision or Decision()).decide(self.predict_proba(X))])
        out = predict(self.predictor, inputs_of(self.prepared, X)).double().cpu().numpy()
        out = out.reshape(len(out), *self.prepared.y.shape[1:])
        return np.asarray(out * self.prepared.target.scale + self.prepared.target.mean)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Calibrated probabilities [n, classes], in the order of ``labels``.

        Raises:
            ConfigError: the target is a value.
            DataError: as :meth:`predict`.
        """
        if self.prepared.target.task != "classification":
            raise ConfigError("target", "a class for predict_proba", "a value", "Use predict.")
        out = predict(self.predictor, inputs_of(self.prepared, X)).double().cpu().numpy()
        return (self.decision or Decision()).probabilities(out)

    def _repr_html_(self) -> str:
        """In a notebook: what was asked and chosen, how sure that is, and the scores."""
        from dashpot.core.notebook import page_html
        from dashpot.report.page.tune import tune_page

        return page_html(tune_page(self.report))

    def figures(self) -> dict[str, Any]:
        """The race, strengths, gap and contributions as matplotlib figures by name; :meth:`save` writes no figures."""
        from dashpot.report.tune.figures import draw_all

        return draw_all(self.report)

    def summary(self, width: int = 110) -> str:
        """The tables of the report as text, ``width`` characters wide."""
        import io

        from rich.console import Console

        from dashpot.report.tune.table import print_report

        text = io.StringIO()
        print_report(self.report, Console(file=text, width=width))
        return text.getvalue()

    def save(self, folder: str | Path) -> Path:
        """Write the model, its recipe and ``report.json``.

        A network on data that Dashpot prepared becomes a run, as ``dashpot tune`` makes it: ``dashpot predict`` reads
        it, for a network of your own with ``--model``, since a folder never says what code is run. On data that were
        used as they are there are the weights (``model.safetensors``, those of :attr:`network`).

        Args:
            folder: new or empty.

        Returns:
            The folder.

        Raises:
            ConfigError: there is something in it.
            StorageError: it cannot be written.
        """
        path = Path(folder)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ConfigError("folder", "a new or empty folder", str(path), "Name another one.")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"folder {path} cannot be made: {error.strerror}. Name another place.") from error
        self.write(path)
        return path

    def write(self, folder: Path) -> None:
        """As :meth:`save`, into a folder that is there."""
        from dashpot.runs.saved import PREPROCESSING, RECIPE, save_model, save_setup, write_json

        if self.is_run:
            save_setup(folder, self.network, self.prepared, self.recipe, self.tta)
            if self.decision is not None:
                setup = json.loads((folder / PREPROCESSING).read_text(encoding="utf-8"))
                write_json(folder / PREPROCESSING, {**setup, "decision": self.decision.to_dict()})
        write_atomic(folder / RECIPE, dumps(self.recipe))
        save_model(folder, self.network)
        write_json(folder / REPORT, self.record)
        if self.texts is not None:
            self.texts.write(folder)

    @property
    def is_run(self) -> bool:
        """Whether a run can hold it: networks that can be made again, on data that Dashpot prepared."""
        from dashpot.nets import Ensemble, Net
        from dashpot.runs.factories import is_own

        every = self.network.networks if isinstance(self.network, Ensemble) else [self.network]
        known = all(isinstance(one, Net) or is_own(one) for one in every)
        return known and self.prepared.modality is not None


def inputs_of(prepared: Prepared, x: Any) -> Tensor:
    """New inputs, prepared as those of training were.

    Raises:
        DataError: they do not fit.
    """
    how: Any = prepared.preprocessing
    if isinstance(how, AsTheyAre):
        tensor: Tensor = how.transform(x)
        return tensor
    if isinstance(x, str | Path):
        return torch.as_tensor(load_rows(x, how, prepared.target.name, prepared.target.weight)[0])
    return torch.from_numpy(new_inputs(x, how, prepared.target.name, prepared.target.weight))
