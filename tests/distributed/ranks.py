"""Ranks over gloo on this machine: what each returns."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from dashpot.core.running.batch import Batch
from dashpot.core.running.session import Session


def _rank(rank: int, work: Callable[[int, Path], Any], folder: str, count: int) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    # As torchrun would: frameworks then start no process of their own, and take the group that is there.
    os.environ |= {"TORCHELASTIC_RUN_ID": "1", "RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0"}
    os.environ |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    place = {"init_method": f"file://{folder}/store", "rank": rank, "world_size": count}
    dist.init_process_group("gloo", timeout=timedelta(seconds=240), **place)
    torch.save(work(rank, Path(folder)), Path(folder) / f"{rank}.pt")
    dist.barrier()  # who leaves while the other still works on the last exchange may abort it
    dist.destroy_process_group()


def ranks(work: Callable[[int, Path], Any], count: int = 2) -> list[Any]:
    """What each of the ranks returns; ``work`` gets its number and a folder that all share."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_rank, args=(work, folder, count), nprocs=count)
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(count)]


def gathered(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Copies of tensors, those in shards whole."""
    return {n: (t.full_tensor() if hasattr(t, "full_tensor") else t).clone() for n, t in tensors.items()}


def step(session: Session, model: nn.Module, batch: Batch, closure: bool) -> None:
    """One step by the cross entropy of a batch, with a closure or without."""
    optimizer = session.optimizer

    def gradient() -> Tensor:
        optimizer.zero_grad()
        loss = session.loss(nn.CrossEntropyLoss(), model(batch.x))
        loss.backward()
        return loss

    if closure:
        optimizer.step(gradient)  # type: ignore[arg-type]  # torch types closures as returning float
    else:
        gradient()
        optimizer.step()
