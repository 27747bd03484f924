"""A saved run with a smaller network: exact zeros leave, and the folder predicts as before."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError
from dashpot.data.kinds import Prepares
from dashpot.runs.saved import MODEL, PREPROCESSING, SHRUNK, load_run, save_model, write_json
from dashpot.shrinking.plan import Plan
from dashpot.shrinking.shrink import Shrunk, shrink

REPORT = "shrunk.json"
"""Sizes before and after, and what stayed, in the folder of a shrunk run."""
LEFT_BEHIND = ("*.safetensors", "*.jsonl", "networks", "study*", "final")
"""What belongs to the training of the large network."""


def shrink_run(run: str | Path, folder: Path, make: Callable[..., nn.Module] | None = None, **reading: Any) -> Shrunk:
    """Write a run whose network is that of ``run`` without its empty units.

    Args:
        run: the folder of a finished run.
        folder: an empty one.
        make: of a run whose network is the user's own the function that made it.
        reading: ``tokenizer`` and ``encoder``, as :func:`~dashpot.runs.saved.load_run` takes them.

    Raises:
        ConfigError: nothing of the network can leave.
        ConflictError, StorageError: as of :func:`dashpot.shrink` and of loading a run.
    """
    network, inputs, _ = load_run(run, None, make, **reading)
    found = shrink(network, example_of(inputs))
    if not found.layers:
        zeros = sum(int((p == 0).sum()) for p in network.parameters())
        stayed = "".join(f" {count} stayed: {reason}." for reason, count in found.stayed.items())
        raise ConfigError(
            "RUN",
            "a network in which whole units are exactly zero",
            f"{zeros:,} scattered zeros" if zeros else "no zeros",
            f"{stayed.strip()} Train with a penalty on groups, such as --with group-lasso:strength=0.01,groups=rows."
            " Its network has nothing that could leave.".strip(),
        )
    shutil.copytree(run, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    setup = json.loads((folder / PREPROCESSING).read_text(encoding="utf-8"))
    before = [Plan.from_dict(plan) for plan in setup.get(SHRUNK, [])]
    write_json(folder / PREPROCESSING, {**setup, SHRUNK: [plan.to_dict() for plan in (*before, found.plan)]})
    save_model(folder, found.model)
    write_json(folder / REPORT, _report(found, str(run)))
    return found


def keep_plan(folder: Path, found: Shrunk) -> None:
    """Write into the folder of a run that was compressed while it was trained how its network became smaller."""
    setup = json.loads((folder / PREPROCESSING).read_text(encoding="utf-8"))
    write_json(folder / PREPROCESSING, {**setup, SHRUNK: [found.plan.to_dict()]})
    write_json(folder / REPORT, _report(found, str(folder)))


def _report(found: Shrunk, run: str) -> dict[str, Any]:
    return {
        "version": 1,
        "run": run,
        "before": dataclasses.asdict(found.before),
        "after": dataclasses.asdict(found.after),
        "layers": {name: [list(old), list(new)] for name, (old, new) in found.layers.items()},
        "stayed": dict(found.stayed),
        "difference": found.error,
    }


def example_of(inputs: Prepares) -> Tensor:
    """Two rows as the network of a run takes them."""
    shape = (2, *inputs.shape)
    if inputs.kind == "text":
        return torch.zeros(shape, dtype=torch.long)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


__all__ = ["MODEL", "REPORT", "example_of", "keep_plan", "shrink_run"]
