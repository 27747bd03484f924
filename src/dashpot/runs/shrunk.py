"""A saved run with a smaller network: exact zeros leave, or it becomes as small as asked for; the folder predicts as
before.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.environment import machine
from dashpot.core.errors import ConfigError, ConflictError
from dashpot.core.fields.codec import loads
from dashpot.core.recipe import Recipe
from dashpot.data import Prepared, Problem, Split
from dashpot.data.kinds import Prepares
from dashpot.evaluation.losses import scores
from dashpot.report.shrink.figure import shrink_figure
from dashpot.report.shrink.record import ShrinkRecord
from dashpot.runs.data_of_run import FOUND, prepared_of, source_of
from dashpot.runs.saved import MODEL, PREPROCESSING, RECIPE, SHRUNK, load_run, save_model, write_json
from dashpot.shrinking.beside import beside
from dashpot.shrinking.plan import Plan
from dashpot.shrinking.shrink import Shrunk, shrink, size_of
from dashpot.shrinking.target import Target
from dashpot.shrinking.timing import latencies, rows_like
from dashpot.shrinking.to_size import moved_outputs, shrink_to
from dashpot.techniques.penalties.compress import Compress
from dashpot.training.builtin import TrainingLength, in_units, train

REPORT = ShrinkRecord.FILE
"""Sizes before and after, and what stayed, in the folder of a shrunk run."""
LEFT_BEHIND = ("*.safetensors", "*.jsonl", "networks", "study*", "final")
"""What belongs to the training of the large network."""
MARGIN = 1.02
"""How much faster a network is asked to be while it is trained."""


def shrink_run(
    run: str | Path,
    folder: Path,
    make: Callable[..., nn.Module] | None = None,
    *,
    to: str | None = None,
    data: str | Path | None = FOUND,
    training: bool = True,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
    low_rank: bool = False,
    fold: bool = False,
    sparse: bool = False,
    **reading: Any,
) -> ShrinkRecord:
    """Write a run whose network is that of ``run``, smaller.

    Without ``to`` its empty units leave, and predictions stay as they are. With ``to`` the network is trained further
    from its weights by :class:`~dashpot.Compress` and the recipe of the run, on the run's data and training rows, or on
    other data; without data (or with ``training=False``) the units that matter least by their weights leave.

    Args:
        run: the folder of a finished run.
        folder: an empty one.
        make: of a run whose network is the user's own the function that made it.
        to: a size or time, as :func:`dashpot.shrink_to` takes it.
        data: a file or folder as for ``dashpot fit``, None for the digits; by default the run's own, where they are
            unchanged where they were.
        training: train further where there are data.
        epochs: of that training; by default as many as a run on these data has.
        seed, device, progress: of the training.
        low_rank, fold, sparse: as of :func:`dashpot.shrink`; with ``to``, when the size is reached.
        reading: ``tokenizer`` and ``encoder``, as :func:`~dashpot.runs.saved.load_run` takes them.

    Raises:
        ConfigError: nothing of the network can leave, it is that small already, or epochs without data.
        ConflictError, DataError, StorageError: as of :func:`dashpot.shrink`, of reading data and of loading a run.
    """
    run = Path(run)
    asked = "" if to is None else Target.parse("--to", to)[1]
    network, inputs, target = load_run(run, None, make, **reading)
    example = example_of(inputs)
    there, own = source_of(run, inputs, target) if data == FOUND else (True, data)
    known = prepared_of(run, own, inputs, target) if there and (to is not None or data != FOUND) else None
    if epochs is not None and (to is None or known is None or not training):
        way = "Name the data with --data." if to is not None and known is None else "Add --to, or leave it out."
        raise ConfigError("--epochs", "given for a training: with --to and data", epochs, way)
    if to is not None:
        _demand_less(network, example, asked)
    left_out: list[str] = []
    length: TrainingLength | None = None
    if to is None:
        found, how = shrink(network, example, low_rank=low_rank, fold=fold, sparse=sparse), "exact"
        _demand_zeros(network, found, low_rank, fold, sparse)
        small = found
    elif known is None or not training:
        found, how = shrink_to(network, example, asked), "cut"
        small = found
    else:
        how = "trained"
        recipe, left_out = recipe_beside(run)
        problem, prepared, split, _ = known
        length = TrainingLength.default(problem.kind, len(split.train), epochs)
        small = _trained(network, problem, prepared, split, recipe, asked, length, seed, device, progress)
        network = load_run(run, None, make, **reading)[0]  # as it was before it was trained further
    plans = [small.plan]
    if to is not None and (low_rank or fold or sparse):
        made = shrink(small.model, example, low_rank=low_rank, fold=fold, sparse=sparse)
        small = _further(small, made)
        plans.append(small.plan)
    shutil.copytree(run, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    setup = json.loads((folder / PREPROCESSING).read_text(encoding="utf-8"))
    before = [Plan.from_dict(plan) for plan in setup.get(SHRUNK, [])]
    write_json(folder / PREPROCESSING, {**setup, SHRUNK: [plan.to_dict() for plan in (*before, *plans)]})
    save_model(folder, small.model)
    record = ShrinkRecord(
        **_sizes(small, str(run)),
        asked=asked,
        how=how,
        epochs=None if length is None else length.epochs,
        changed=small.changed if how == "cut" else moved_outputs(network, small.model, (example,), {}),
        scores={} if known is None else _scores(network, small.model, known[1], known[2]),
        data={} if known is None else {"name": known[0].name, "rows": known[0].n, "fingerprint": known[0].fingerprint},
        left_out=left_out,
        machine=machine(),
        reached=_reached(network, small.model, example, asked),
        **beside(network, small.model, (example,), {}),
    )
    write_report(folder, record)
    return record


def recipe_beside(run: Path) -> tuple[Recipe, list[str]]:
    """The recipe of a run without what does not go with :class:`~dashpot.Compress`, and that by name."""
    try:
        recipe = loads((run / RECIPE).read_text(encoding="utf-8"))
    except OSError:
        return Recipe(), []
    taken = set(Compress.exclusive)
    stays = [technique for technique in recipe if not taken & set(technique.exclusive)]
    return Recipe(stays), [type(technique).kind() for technique in recipe if taken & set(technique.exclusive)]


def _trained(
    network: nn.Module,
    problem: Problem,
    prepared: Prepared,
    split: Split,
    recipe: Recipe,
    asked: str,
    length: TrainingLength,
    seed: int,
    device: str,
    progress: bool,
) -> Shrunk:
    """The small network of a further training."""
    whole = recipe | Compress(to=_with_margin(asked))
    result = train(
        problem,
        prepared,
        split,
        whole,
        length,
        seed=seed,
        device=device,
        progress=progress,
        make=lambda: network.train(),
    )
    result.raise_if_diverged()
    if result.shrunk is None:
        raise ConflictError(f"--to {asked} was not reached in {length.epochs} epochs. Give more --epochs.")
    result.shrunk.model.eval().cpu()
    return result.shrunk


def _with_margin(asked: str) -> str:
    """Of a time somewhat more, since in training it follows from timed layers."""
    target = Target.parse("--to", asked)[0]
    return f"{MARGIN / target.amount:g}x faster at batch {target.batch}" if target.measure == "time" else asked


def _scores(network: nn.Module, small: nn.Module, prepared: Prepared, split: Split) -> dict[str, Any]:
    """Before and after, on the test rows, which are not trained on."""
    x, y, *weight = prepared.subset(split.test)
    first, second = (
        in_units(scores(net, x, y, weight=weight[0] if weight else None), prepared) for net in (network, small)
    )
    return {"test": {name: [first[name], second[name]] for name in first}}


def _reached(network: nn.Module, small: nn.Module, example: Tensor, asked: str) -> float | None:
    """How many times as fast it is, where that was asked for."""
    target = Target.parse("--to", asked)[0] if asked else None
    if target is None or target.measure != "time":
        return None
    old, new = latencies([(net, rows_like((example,), {}, target.batch)) for net in (network, small)])
    return old / new


def _further(first: Shrunk, second: Shrunk) -> Shrunk:
    """What two in turn did: of the first the sizes before, of the second what is left."""
    layers = dict(first.layers)
    for name, (old, new) in second.layers.items():
        layers[name] = (layers[name][0] if name in layers else old, new)
    second = dataclasses.replace(second, before=first.before, layers=layers, error=max(first.error, second.error))
    return dataclasses.replace(second, changed=first.changed, stayed=first.stayed, faster=first.faster)


def _demand_zeros(network: nn.Module, found: Shrunk, low_rank: bool, fold: bool, sparse: bool) -> None:
    if found.layers or found.plan.factors or found.plan.folded or found.plan.sparse:
        return
    zeros = sum(int((p == 0).sum()) for p in network.parameters())
    stayed = "".join(f" {count} stayed: {reason}." for reason, count in found.stayed.items())
    stayed += "".join(f" {name} stays: {why}." for name, why in found.whole.items())
    stayed += " No layer is of low rank." if low_rank and not found.whole else ""
    stayed += " No batch norm can be folded." if fold else ""
    stayed += " No linear layer has four fifths of zeros." if sparse and not found.whole else ""
    raise ConfigError(
        "RUN",
        "a network in which whole units are exactly zero",
        f"{zeros:,} scattered zeros" if zeros else "no zeros",
        f"{stayed.strip()} Train with a penalty on groups, such as --with group-lasso:strength=0.01,groups=rows, or ask"
        " for a size: --to '0.5x parameters'. Its network has nothing that could leave; --sparse is for large linear"
        " layers with four fifths of zeros.".strip(),
    )


def _demand_less(network: nn.Module, example: Tensor, asked: str) -> None:
    target = Target.parse("--to", asked)[0]
    if target.measure == "time":
        return
    now = getattr(size_of(network, (example,), {}), target.measure)
    if target.of(now) >= now:
        raise ConfigError("--to", "below the size of the network of RUN", asked, f"It has {now:,} {target.measure}.")


def keep_plan(folder: Path, found: Shrunk) -> None:
    """Write into the folder of a run that was compressed while it was trained how its network became smaller."""
    setup = json.loads((folder / PREPROCESSING).read_text(encoding="utf-8"))
    write_json(folder / PREPROCESSING, {**setup, SHRUNK: [found.plan.to_dict()]})
    write_json(folder / REPORT, ShrinkRecord(**_sizes(found, str(folder)), how="trained").to_dict())


def write_report(folder: Path, record: ShrinkRecord) -> None:
    """``shrunk.json``, and the figure where layers were measured."""
    write_json(folder / REPORT, record.to_dict())
    if record.by_layer:
        shrink_figure(record, folder / "shrunk")


def _sizes(found: Shrunk, run: str) -> dict[str, Any]:
    return {
        "run": run,
        "before": dataclasses.asdict(found.before),
        "after": dataclasses.asdict(found.after),
        "layers": {name: [list(old), list(new)] for name, (old, new) in found.layers.items()},
        "stayed": dict(found.stayed),
        "factors": dict(found.plan.factors),
        "sparse": dict(found.plan.sparse),
        "folded": [norm for _, norm in found.plan.folded],
        "whole": dict(found.whole),
        "difference": found.error,
    }


def example_of(inputs: Prepares) -> Tensor:
    """Two rows as the network of a run takes them."""
    shape = (2, *inputs.shape)
    if inputs.kind == "text":
        return torch.zeros(shape, dtype=torch.long)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


__all__ = ["FOUND", "MODEL", "REPORT", "example_of", "keep_plan", "recipe_beside", "shrink_run", "write_report"]
