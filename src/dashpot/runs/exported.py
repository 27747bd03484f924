"""A saved run as a file for other programs, with what its inputs and answers mean as JSON beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError, ConflictError
from dashpot.data.kinds import Prepares
from dashpot.runs.answers import Answers, Columns, described, front_of
from dashpot.runs.data_of_run import FOUND, prepared_of, source_of
from dashpot.runs.saved import load_decision, load_run, write_json
from dashpot.runs.shrunk import example_of
from dashpot.training.export_checks import session_of
from dashpot.training.exporting import Exported, export
from dashpot.training.versions import TTANetwork


@dataclass(frozen=True)
class ExportedRun:
    """A file of a run.

    Attributes:
        file: what was written, and how it was checked.
        beside: the JSON that says what goes in and comes out.
        inside: the preparation of the inputs is part of the file.
        scores: on test rows, of the network, of the file and of the one in int8: accuracy, or RMSE in the target's own
            units; empty without data.
        metric: its name.
    """

    file: Exported
    beside: Path
    inside: bool
    scores: dict[str, float]
    metric: str = ""

    def summary(self) -> str:
        """What was written, checked and measured."""
        lines = [self.file.summary()]
        if self.scores:
            told = ", ".join(f"{name} {value:.4f}" for name, value in self.scores.items())
            lines.append(f"  {self.metric} on test rows: {told}")
        where = "inputs are the numbers of the table as they are" if self.inside else "inputs are prepared outside"
        lines.append(f"{self.beside}: {where}; columns, classes and preprocessing")
        return "\n".join(lines)


def export_run(
    run: str | Path,
    path: str | Path,
    make: Callable[..., nn.Module] | None = None,
    *,
    int8: bool = False,
    data: str | Path | None = FOUND,
    **reading: Any,
) -> ExportedRun:
    """Write the network of a run from inputs to answers: probabilities, or values in the target's own units.

    Args:
        run: the folder of a finished run.
        path: ends in ``.onnx``, ``.pt2`` or ``.safetensors`` (the tensors of the network alone).
        make: of a run whose network is the user's own the function that made it.
        int8: also a file with linear layers in 8 bits, as of :func:`dashpot.export`.
        data: to score it on test rows; by default the run's own, where they still are.
        reading: ``tta``, ``tokenizer`` and ``encoder``, as of :func:`~dashpot.runs.saved.load_run`.

    Raises:
        ConfigError: also where test-time augmentation draws its versions.
        ConflictError, StorageError: as of :func:`dashpot.export` and of loading a run.
    """
    path, run = Path(path), Path(run)
    network, how, target = load_run(run, make=make, **reading)
    bare = path.suffix == ".safetensors"
    if isinstance(network, TTANetwork):
        if not network.tta.mirrors and not bare:
            way = "Say --tta none (tta=None): a file cannot draw versions, only mirror images."
            raise ConfigError("tta of an exported run", "flip or none", str(network.tta), way)
        network = network.model if bare else network
    decision, front = load_decision(run), front_of(how)
    answers = Answers(network, target, 1.0 if decision is None else decision.temperature, front).eval()
    file = export(network if bare else answers, example_of(how) if bare else example_for(how, front), path, int8=int8)
    beside = path.with_name(f"{path.name}.json")
    known = described(how, target, None if bare else front, decision)
    if bare:
        known["outputs"]["what"] = "logits" if target.classes else "standardized values"
        known["outputs"] |= {"mean": target.mean, "scale": target.scale} if not target.classes else {}
    names = {"names": list(file.inputs)}, {"names": list(file.outputs)}
    write_json(
        beside,
        {
            **known,
            "inputs": {**known["inputs"], **names[0]},
            "outputs": {**known["outputs"], **names[1]},
            "format": file.format,
            "opset": file.opset,
        },
    )
    scores, metric = ({}, "") if bare else _scores(run, file, answers, how, target, front, data)
    return ExportedRun(file, beside, front is not None and not bare, scores, metric)


def example_for(how: Prepares, front: Columns | None) -> Tensor:
    """Two rows as the exported network takes them."""
    if front is None:
        return example_of(how)
    draw = torch.Generator().manual_seed(0)
    x = torch.zeros(2, len(front.names), dtype=torch.float64)
    x[:, front.places] = front.mean + front.scale * torch.randn(2, len(front.places), generator=draw).double()
    return x


def _scores(
    run: Path, file: Exported, answers: Answers, how: Prepares, target: Any, front: Columns | None, data: Any
) -> tuple[dict[str, float], str]:
    there, own = source_of(run, how, target) if data == FOUND else (True, data)
    if not there or file.format == "pt2":
        return {}, ""
    problem, prepared, split, _ = prepared_of(run, own, how, target)
    rows = split.test
    x = prepared.x[torch.from_numpy(rows)]
    if x.dtype == torch.uint8:
        x = x.float() / 255
    if front is not None:
        inputs: Any = problem.inputs
        raw = np.asarray(inputs[rows] if isinstance(inputs, np.ndarray) else inputs.take(rows).numeric(front.names))
        inside = front(torch.from_numpy(raw.astype(np.float64)))
        if not torch.allclose(inside, x, atol=1e-5, rtol=1e-5):
            raise ConflictError("the preparation inside of the file gives other features than the run. Report this.")
        x = torch.from_numpy(raw.astype(np.float64))
    y = prepared.y[torch.from_numpy(rows)]
    with torch.no_grad():
        outs = {"network": answers(x).numpy()}
    for name, one in (("file", file), ("int8", file.int8)):
        if one is not None:
            session = session_of(one.path)
            outs[name] = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    if target.classes:
        return {name: float((out.argmax(1) == y.numpy()).mean()) for name, out in outs.items()}, "accuracy"
    truth = y.double().numpy() * target.scale + target.mean
    return {name: float(np.sqrt(np.mean((out - truth) ** 2))) for name, out in outs.items()}, "rmse"
