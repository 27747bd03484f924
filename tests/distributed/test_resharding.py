"""FSDP2: penalties on shards, a checkpoint of two ranks that three read, and what is refused by name."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import dashpot

pytestmark = pytest.mark.distributed
X = torch.randn(24, 8, generator=torch.Generator().manual_seed(1))
RECIPE = "l1:strength=0.02 | ema:decay=0.5 | early-stopping"


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 6))


def started(rank: int, size: int, folder: str, store: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/{store}", rank=rank, world_size=size)


def sharded(size: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = net()
    fully_shard(model, mesh=init_device_mesh("cpu", (size,)))
    return model, torch.optim.AdamW(model.parameters(), lr=0.05)


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, count: int) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        (model(x) - 1).square().mean().backward()
        optimizer.step()


def whole(tensors: Any) -> dict[str, torch.Tensor]:
    return {name: t.full_tensor() if hasattr(t, "full_tensor") else t for name, t in tensors.items()}


def save(rank: int, folder: str) -> None:
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict

    started(rank, 2, folder, "two")
    model, optimizer = sharded(2)
    get_state_dict(model, optimizer)  # makes the optimizer's state by a step that is none
    session = dashpot.Recipe.coerce(RECIPE).attach(model, optimizer)
    steps(model, optimizer, X[rank::2], 6)
    session.epoch({"val_loss": 0.5})
    weights, moments = get_state_dict(model, optimizer)
    dcp.save({"model": weights, "optimizer": moments, "session": session}, checkpoint_id=f"{folder}/saved")
    found = {"weights": whole(weights), "seen": whole(session.snapshot()), "step": session.step}
    if rank == 0:
        torch.save(found, Path(folder) / "two.pt")
    dist.barrier()
    dist.destroy_process_group()


def load(rank: int, folder: str) -> None:
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    started(rank, 3, folder, "three")
    model, optimizer = sharded(3)
    weights, moments = get_state_dict(model, optimizer)
    session = dashpot.Recipe.coerce(RECIPE).attach(model, optimizer)
    state = {"model": weights, "optimizer": moments, "session": session}
    dcp.load(state, checkpoint_id=f"{folder}/saved")
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=moments)
    found = {"weights": whole(dict(model.state_dict())), "seen": whole(session.snapshot()), "step": session.step}
    steps(model, optimizer, X[rank::3], 1)
    found["after"] = session.step
    found["best"] = session.attached[2][1].state["best"]
    if rank == 0:
        torch.save(found, Path(folder) / "three.pt")
    dist.barrier()
    dist.destroy_process_group()


def test_three_ranks_go_on_where_two_were() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        mp.spawn(save, args=(folder,), nprocs=2)
        mp.spawn(load, args=(folder,), nprocs=3)
        two, three = (torch.load(Path(folder) / f"{name}.pt", weights_only=False) for name in ("two", "three"))
    assert int((two["weights"]["0.weight"] == 0).sum()) > 0
    torch.testing.assert_close(three["weights"], two["weights"], rtol=0.0, atol=0.0)
    torch.testing.assert_close(three["seen"], two["seen"], rtol=0.0, atol=0.0)
    assert (two["step"], three["step"], three["after"], three["best"]) == (6, 6, 7, 0.5)


REFUSED = ["hard-threshold", "n-of-m", "total-variation:strength=0.01", "weight-noise:std=0.1", "orthogonality"]


def refuse(rank: int, folder: str) -> None:
    started(rank, 2, folder, "store")
    found: dict[str, str] = {}
    for text in [*REFUSED, "group-lasso:strength=0.05", "group-lasso:strength=0.05,groups=columns"]:
        model, optimizer = sharded(2)
        try:
            with dashpot.Recipe.coerce(text).attach(model, optimizer):
                steps(model, optimizer, X[rank::2], 3)
            found[text] = ""
        except dashpot.DashpotError as error:
            found[text] = str(error)
        found[f"{text} weights"] = whole(dict(model.state_dict()))
    model = DistributedDataParallel(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    try:
        dashpot.L1(strength=0.01 * (rank + 1)).attach(model, optimizer)
    except dashpot.ConflictError as error:
        found["other recipe"] = str(error)
    # Accumulation: the first half of the rows without an exchange between ranks.
    with dashpot.Recipe.coerce("l2:strength=0.1 | l1:strength=0.02").attach(model, optimizer):
        for _ in range(3):
            optimizer.zero_grad()
            with model.no_sync():
                ((model(X[rank:12:2]) - 1).square().mean() / 2).backward()
            ((model(X[12 + rank :: 2]) - 1).square().mean() / 2).backward()
            optimizer.step()
    found["accumulated"] = dict(model.module.state_dict())
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def alone(text: str, make: Any) -> dict[str, torch.Tensor]:
    model = net()
    optimizer = make(model.parameters())
    with dashpot.Recipe.coerce(text).attach(model, optimizer):
        steps(model, optimizer, X, 3)
    return dict(model.state_dict())


def test_groups_over_shards_are_whole_and_what_cannot_act_is_refused_by_name() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        mp.spawn(refuse, args=(folder,), nprocs=2)
        ranks = [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(2)]
    for found in ranks:
        for text in REFUSED:
            name = {"n-of-m": "NOfM"}.get(text, text.partition(":")[0].title().replace("-", ""))
            assert name in found[text], (text, found[text])
        for text in ("group-lasso:strength=0.05", "group-lasso:strength=0.05,groups=columns"):
            assert found[text] == ""
            expected = alone(text, lambda p: torch.optim.AdamW(p, lr=0.05))
            torch.testing.assert_close(found[f"{text} weights"], expected, rtol=1e-4, atol=1e-5)
        assert "ranks" in found["other recipe"]
        expected = alone("l2:strength=0.1 | l1:strength=0.02", lambda p: torch.optim.SGD(p, lr=0.1))
        torch.testing.assert_close(found["accumulated"], expected, rtol=1e-4, atol=1e-5)
