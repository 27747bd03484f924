"""Two ranks over gloo, and the loop of docs/distributed.md that all frameworks' ranks must equal."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

import dashpot
from tests.integrations.loops import EPOCHS, HELD_X, HELD_Y, RATE, SIZE, STEPS, X, Y, make, weights_of

COUNT = 2
PART = SIZE // COUNT
"""Rows of a batch that a rank has."""


def every_second(rank: int) -> Tensor:
    """The rows of a rank of Lightning, in order: a DistributedSampler's."""
    return torch.arange(rank, len(X), COUNT)


def in_blocks(rank: int) -> Tensor:
    """The rows of a rank of Accelerate, and so of Transformers' Trainer: every second batch."""
    return torch.arange(len(X)).view(-1, COUNT, PART)[:, rank].reshape(-1)


def raw(
    recipe: Any,
    rank: int,
    rows: Tensor,
    held: slice,
    *,
    build: Callable[[], nn.Module] = make,
    each: int = 1,
    epochs: int = EPOCHS,
) -> dict[str, Any]:
    """The loop of docs/distributed.md on these rows, scored on the ``held`` ones; ``each`` micro-batches make a step,
    without a closure where several.
    """
    net = build()
    model = DistributedDataParallel(net)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    session = dashpot.Recipe.coerce(recipe).attach(
        model,
        optimizer,
        classes=3,
        closure=each == 1,
        steps=STEPS // each * epochs,
        steps_per_epoch=STEPS // each,
    )
    x, y = X[rows], Y[rows]
    scores: list[float] = []
    saved: dict[str, Tensor] = {}

    def gradient(at: int) -> Tensor:
        batch = session.batch(x[at : at + PART], y[at : at + PART])
        loss = session.loss(cross_entropy, model(batch.x))
        (loss / each).backward()
        return loss

    with session:
        for _ in range(epochs):
            for start in range(0, len(x), PART * each):

                def closure(start: int = start) -> Tensor:
                    optimizer.zero_grad()
                    return gradient(start)

                if each == 1:
                    optimizer.step(closure)  # type: ignore[arg-type]  # torch types closures as returning float
                    continue
                optimizer.zero_grad()
                *first, last = range(start, start + PART * each, PART)
                with model.no_sync():
                    for at in first:
                        gradient(at)
                gradient(last)
                optimizer.step()
            with session.evaluate():
                scores.append(cross_entropy(net(HELD_X[held]), HELD_Y[held]).item())
                saved = weights_of(net)
            if session.epoch({"val_loss": scores[-1]}).stop:
                break
    return {"weights": weights_of(net), "saved": saved, "epochs": len(scores)}


def _rank(rank: int, work: Callable[[int, Path], Any], folder: str) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    # As torchrun would: frameworks then start no process of their own, and take the group that is there.
    os.environ |= {"TORCHELASTIC_RUN_ID": "1", "RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0"}
    os.environ |= {"WORLD_SIZE": str(COUNT), "LOCAL_WORLD_SIZE": str(COUNT), "OMP_NUM_THREADS": "1"}
    place = {"init_method": f"file://{folder}/store", "rank": rank, "world_size": COUNT}
    dist.init_process_group("gloo", timeout=timedelta(seconds=240), **place)
    torch.save(work(rank, Path(folder)), Path(folder) / f"{rank}.pt")
    dist.barrier()  # who leaves while the other still works on the last exchange may abort it
    dist.destroy_process_group()


def ranks(work: Callable[[int, Path], Any]) -> list[Any]:
    """What each of two ranks returns."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_rank, args=(work, folder), nprocs=COUNT)
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(COUNT)]


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def demand_equal(found: dict[str, Any], expected: dict[str, Any], name: str) -> None:
    """The same operations in the same order, and a sum of two over the ranks: bit for bit."""
    assert same(found["weights"], expected["weights"]), name
    assert same(found["saved"], expected["saved"]), name
    assert found["epochs"] == expected["epochs"], name
