"""Each technique on weights that ranks hold in shards, by FSDP2, tensor parallelism and one around the other: refused
by name at attach, or trained as in one process.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dashpot.core.recipe import Recipe
from dashpot.core.running import attach
from dashpot.core.technique import Technique
from tests.distributed.ranks import ranks, step
from tests.rows import ROWS

pytestmark = [pytest.mark.distributed, pytest.mark.slow, pytest.mark.timeout(900)]
X = torch.randn(24, 8, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0.5).long()
CHOSEN: dict[str, Technique] = {
    cls.__name__: row.technique
    for cls, row in ROWS.items()
    if row.toy.modality == "table" and cls.requires.fits("table") and (not row.only or "table" in row.only)
}
OWN_DRAWS = {
    *("Mixup", "ManifoldMixup", "InputNoise", "LabelNoise", "AdversarialExamples", "VirtualAdversarial"),
    *("Dropout", "GaussianDropout", "AlphaDropout", "DropConnect", "VariationalDropout", "StochasticDepth"),
    *("ActivationNoise",),
}
"""Ranks of FSDP2 draw apart for their own rows."""
WAYS = {"fully_shard": (2, 1), "parallelize_module": (1, 2), "both": (2, 2)}
"""How many ranks FSDP2 has, and how many tensor parallelism."""


def net() -> nn.Sequential:
    torch.manual_seed(0)
    middle = nn.Linear(12, 6, bias=False)
    return nn.Sequential(nn.Linear(8, 12), nn.Tanh(), middle, nn.BatchNorm1d(6), nn.Linear(6, 3))


@cache
def mesh(way: str) -> Any:
    """Made once a rank: each new one is new connections between ranks."""
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh("cpu", WAYS[way], mesh_dim_names=("rows", "parts"))


def placed(way: str) -> nn.Module:
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    model = net()
    if WAYS[way][1] > 1:
        parallelize_module(model, mesh(way)["parts"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
    if WAYS[way][0] > 1:
        fully_shard(model, mesh=mesh(way)["rows"])
    return model


def trained(model: nn.Module, technique: Technique) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Its weights after two steps, and those that evaluation sees."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5, foreach=False)
    closure = bool(technique.requires.closure) or technique.evaluations > 1
    options: dict[str, Any] = {"classes": 3, "targets": "classes", "modality": "table"}
    session = Recipe((technique,)).attach(
        model, optimizer, closure=closure, steps=3, steps_per_epoch=3, batch_size=len(X), **options
    )
    for _ in range(2):
        step(session, model, session.batch(X, Y, index=torch.arange(len(X))), closure)
    session.epoch({"val_loss": 0.5, "train_loss": 0.4})
    seen = session.snapshot()
    session.load_state_dict(session.state_dict())
    session.close()
    return {name: value.detach() for name, value in model.state_dict().items()}, seen


def apart(found: Tensor, expected: Tensor) -> float:
    """How far a tensor, of a DTensor this rank's shard, is from where it should be."""
    if hasattr(found, "device_mesh"):
        from torch.distributed.tensor import DTensor, Replicate

        mesh, places = found.device_mesh, found.placements
        whole = DTensor.from_local(expected, mesh, [Replicate()] * mesh.ndim, run_check=False)
        expected = whole.redistribute(mesh, places).to_local()
        found = found.to_local()  # type: ignore[attr-defined]  # a DTensor has it
    return float((found - expected).abs().max()) if found.numel() else 0.0


def work(way: str, rank: int, folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name, technique in CHOSEN.items():
        try:
            found = trained(placed(way), technique)
        except Exception as error:  # of whatever kind: the test says which it may be
            said[name] = type(error).__name__, str(error)
            continue
        with pytest.MonkeyPatch.context() as alone:
            alone.setattr(attach, "this_rank", lambda: 0)
            expected = trained(net(), technique)
        pairs = zip(found, expected, strict=True)
        said[name] = max(apart(mine[key], theirs[key]) for mine, theirs in pairs for key in theirs)
    return said


@pytest.mark.parametrize("way", WAYS)
def test_each_is_refused_by_name_or_trained_as_in_one_process(way: str) -> None:
    count = WAYS[way][0] * WAYS[way][1]
    first, *others = ranks(partial(work, way), count)
    assert len(others) == count - 1
    refused = 0
    for name, found in first.items():
        theirs = [other[name] for other in others]
        if isinstance(found, tuple):
            kind, text = found
            assert kind == "ConflictError", (name, kind, text)
            assert name in text, (name, text)
            assert all(other == found for other in theirs), (name, found, theirs)
            refused += 1
        elif name not in OWN_DRAWS or way != "fully_shard":
            assert max(found, *theirs) < 1e-5, (name, found, theirs)
    assert len(first) == len(CHOSEN)
    assert len(first) - refused >= {"fully_shard": 50, "parallelize_module": 45, "both": 30}[way]
