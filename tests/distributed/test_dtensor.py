"""Penalties on parameters that two ranks hold in shards, over gloo: the same weights as on one rank that holds all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

import dashpot
from dashpot.penalties import MaxNorm, UnitNorm

pytestmark = pytest.mark.distributed
SIDE = 400  # so many values that maps go piece by piece
PENALTIES = [
    dashpot.L1(strength=0.01),
    dashpot.SCAD(strength=0.01),
    dashpot.GroupLasso(strength=0.05, groups="rows"),
    dashpot.GroupLasso(strength=0.05, groups="columns"),
    MaxNorm(maximum=0.9, groups="columns"),
    UnitNorm(),
]
MAKERS: dict[str, Any] = {
    "torch SGD": torch.optim.SGD,
    "torch AdamW": torch.optim.AdamW,
    "SGD": dashpot.optim.SGD,
    "AdamW": dashpot.optim.AdamW,
}


CASES = [(i, maker) for i in range(len(PENALTIES)) for maker in MAKERS if i < 2 or maker in ("torch SGD", "AdamW")]


def start() -> Tensor:
    return 0.05 * torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def slope(step: int) -> Tensor:
    return torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(step + 1))


def trained(maker: str, penalty: Any, put: Any) -> Tensor:
    model = nn.Module()
    model.weight = nn.Parameter(put(start()))
    own = not maker.startswith("torch")
    optimizer = MAKERS[maker](model if own else model.parameters(), lr=0.02, **({"penalty": penalty} if own else {}))
    if not own:
        penalty.attach(model, optimizer)
    for step in range(2):
        model.weight.grad = put(slope(step))
        optimizer.step()
    found: Tensor = model.weight.detach()
    return found


def work(rank: int, folder: str) -> None:
    from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    for i, maker in CASES:
        sharded = trained(maker, PENALTIES[i], lambda t: distribute_tensor(t, mesh, [Shard(0)]))
        whole = sharded.full_tensor()  # type: ignore[attr-defined]  # a DTensor has it
        if rank == 0:
            torch.save(whole, Path(folder) / f"{i}-{maker}.pt")
    dist.barrier()  # who leaves while the other still works on the last exchange may abort it
    dist.destroy_process_group()


def test_shards_end_where_the_whole_ends() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        mp.spawn(work, args=(folder,), nprocs=2)
        for i, maker in CASES:
            found = torch.load(Path(folder) / f"{i}-{maker}.pt", weights_only=True)
            expected = trained(maker, PENALTIES[i], lambda t: t)
            message = f"{PENALTIES[i]} by {maker}"
            torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-5, msg=lambda m, t=message: f"{t}: {m}")
            if i < 2:
                assert int((found == 0).sum()) > 100, message
