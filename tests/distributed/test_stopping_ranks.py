"""Ranks end together, whichever of them sees the file or the time."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dashpot.stopping import DivergenceStopping, MultiMetricStopping, PrecheltStopping, StopFile, TimeLimit

pytestmark = pytest.mark.distributed


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = {}
    own = Path(folder) / f"machine-{rank}"  # a disk of its own: only rank 1 ever sees the file
    own.mkdir()
    os.chdir(own)
    techniques = {
        "file": StopFile("stop"),
        "time": TimeLimit("1000s"),
        "gl": PrecheltStopping(alpha=5.0),
        "divergence": DivergenceStopping(factor=3.0),
        "several": MultiMetricStopping("val_loss", patience=1),
    }
    for name, technique in techniques.items():
        model = DistributedDataParallel(nn.Linear(1, 1))
        session = technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        stops = []
        for epoch in range(1, 7):
            if epoch == 3 and rank == 1:
                Path("stop").touch()
            if epoch == 4 and name == "time":
                session.run.attached_at = time.monotonic() - 3000 * rank  # the mean of both clocks is 1500 s
                session.attached[0][1].state["began"] = session.run.attached_at
            # Rank 1 alone sees the loss rise; what decides is the mean.
            loss = 1.0 + 8.0 * (epoch >= 3) * rank
            stops.append(session.epoch({"val_loss": loss, "train_loss": loss}).stop)
        session.close()
        found[name] = stops.index(True) + 1 if True in stops else 0
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.barrier()  # who leaves while the other still works on the last exchange may abort it
    dist.destroy_process_group()


def test_all_ranks_end_after_the_same_epoch() -> None:
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, args=(folder,), nprocs=2)
        first, second = (torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first == second
    assert first == {"file": 3, "time": 4, "gl": 3, "divergence": 3, "several": 2}
