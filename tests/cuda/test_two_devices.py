"""Two processes by NCCL; these tests are there only where two GPUs are."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import nn

import dashpot
from tests.cuda.helpers import GPU, cuda

pytestmark = cuda

D: Any = dashpot


def worker(rank: int, folder: str) -> None:
    """Train on a half of the rows, and write the weights."""
    import torch.distributed as dist

    store = f"file://{folder}/store"
    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", init_method=store, rank=rank, world_size=2)
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(nn.Linear(6, 3).cuda(rank), device_ids=[rank])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.0)
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(rank)).cuda(rank)
    y = x[:, :3].argmax(1)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        return loss.detach()

    recipe = D.Dropout(p=0.1, on="type:Linear") | D.SAM(rho=0.05) | D.L1(strength=1e-3) | D.EMA(decay=0.9)
    with recipe.attach(model, optimizer, closure=True):
        for _ in range(5):
            optimizer.step(closure)
        torch.save(model.module.weight.detach().cpu(), Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if GPU and torch.cuda.device_count() > 1:

    def test_ranks_agree() -> None:
        with tempfile.TemporaryDirectory() as folder:
            os.environ.setdefault("OMP_NUM_THREADS", "1")
            mp.spawn(worker, args=(folder,), nprocs=2)
            first, second = (torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in (0, 1))
        assert torch.equal(first, second)
        assert bool((first != 0).any())
