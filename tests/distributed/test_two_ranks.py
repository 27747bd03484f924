"""Two and four ranks under DistributedDataParallel, over gloo on this machine."""

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
from torch.nn.parallel import DistributedDataParallel

import dashpot

pytestmark = pytest.mark.distributed
RECIPE = (
    dashpot.InputNoise(std=0.1)
    | dashpot.SAM(rho=0.1)
    | dashpot.GradientClipping(maximum=0.5)
    | dashpot.L1(strength=0.01)
    | dashpot.EMA(decay=0.9)
)


def work(rank: int, folder: str, count: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=count)
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    session = RECIPE.attach(model, optimizer, closure=True)
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(1))[rank::count]
    noise = []
    for _ in range(5):
        batch = session.batch(x, x[:, 0])
        noise.append(batch.x - x)

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = session.loss((model(batch.x)[:, 0] - batch.y).square())  # noqa: B023
            loss.backward()
            return loss

        optimizer.step(closure)
    torch.save(
        {"state": session.snapshot(), "raw": dict(model.module.state_dict()), "noise": noise},
        Path(folder) / f"{rank}.pt",
    )
    dist.barrier()  # who leaves while the other still works on the last exchange may abort it
    dist.destroy_process_group()


@pytest.mark.parametrize("count", [2, 4])
def test_ranks_agree_on_weights_and_differ_in_noise(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        mp.spawn(work, args=(folder, count), nprocs=count)
        first, *others = (torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(count))
    for other in others:
        for key in ("state", "raw"):
            for name, tensor in first[key].items():
                assert torch.equal(tensor, other[key][name]), (key, name)
        assert not torch.equal(first["noise"][0], other["noise"][0])


RHO, LR, STEPS = 0.5, 0.1, 3


def part(rank: int) -> Tensor:
    return torch.randn(32, 4, generator=torch.Generator().manual_seed(1))[rank::2]


def sharpness(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Linear(4, 1, bias=False))
    torch.save(model.module.weight.detach().clone(), Path(folder) / f"begin-{rank}.pt")
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    dashpot.SAM(rho=RHO).attach(model, optimizer, closure=True)
    x = part(rank)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (model(x)[:, 0] - x[:, 0]).square().mean()
        loss.backward()
        return loss

    for _ in range(STEPS):
        optimizer.step(closure)
    torch.save(model.module.weight.detach().clone(), Path(folder) / f"end-{rank}.pt")
    dist.barrier()  # who leaves while the other still works on the last exchange may abort it
    dist.destroy_process_group()


def test_each_rank_ascends_by_its_own_gradient_and_all_descend_by_the_mean() -> None:
    """Foret et al. 2021, section 4.1: the ascent of a shard is by its own rows, with nothing sent; by hand, without any
    of it.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        mp.spawn(sharpness, args=(folder,), nprocs=2)
        (w, other), ends = (
            [torch.load(Path(folder) / f"{when}-{rank}.pt", weights_only=True) for rank in (0, 1)]
            for when in ("begin", "end")
        )
    assert torch.equal(w, other)

    def gradient(at: Tensor, x: Tensor) -> Tensor:
        return 2 * ((x @ at.t())[:, 0] - x[:, 0]) @ x / len(x)

    for _ in range(STEPS):
        sharp = []
        for rank in (0, 1):
            own = gradient(w, part(rank))
            sharp.append(gradient(w + RHO * own / own.norm(), part(rank)))
        w = w - LR * torch.stack(sharp).mean(0)
    for end in ends:
        torch.testing.assert_close(end, w, rtol=1e-5, atol=1e-6)


# --- the model once more, and one verdict ----------------------------------------------------------------------------


class Imitate(dashpot.Technique):
    """The outputs of a second pass with the first weights are imitated."""

    forwards = 1

    def init(self, view: Any, ctx: Any) -> dict[str, Any]:
        return {"first": {name: p.detach().clone() for name, p in view.parameters.items()}}

    def on_loss(self, loss: Tensor, out: Any, ctx: Any) -> Tensor:
        with torch.no_grad():
            taught = ctx.forward(ctx.batch, weights=ctx.state["first"])
        again = ctx.forward(ctx.batch)
        return loss + (again - taught)[:, 0].square()


def twice(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Linear(4, 1, bias=False))
    torch.save(model.module.weight.detach().clone(), Path(folder) / f"begin-{rank}.pt")
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    session = (Imitate() | dashpot.EarlyStopping(patience=1)).attach(model, optimizer)
    x = part(rank)
    for _ in range(STEPS):
        optimizer.zero_grad()
        inputs, y = session.batch(x, x[:, 0])
        session.loss((model(inputs)[:, 0] - y).square(), None).backward()
        optimizer.step()
    # By itself the first rank would go on, and the second stop.
    stops = [session.epoch({"val_loss": score}).stop for score in ([3.0, 2.0] if rank == 0 else [1.0, 4.0])]
    torch.save({"weight": model.module.weight.detach().clone(), "stops": stops}, Path(folder) / f"end-{rank}.pt")
    dist.barrier()  # who leaves while the other still works on the last exchange may abort it
    dist.destroy_process_group()


def test_a_second_pass_is_averaged_over_ranks_and_so_are_the_scores_that_stop() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        mp.spawn(twice, args=(folder,), nprocs=2)
        w = torch.load(Path(folder) / "begin-0.pt", weights_only=True)
        ends = [torch.load(Path(folder) / f"end-{rank}.pt", weights_only=True) for rank in (0, 1)]
    first = w.clone()
    for _ in range(STEPS):
        gradients = []
        for x in (part(0), part(1)):
            residual, drift = (x @ w.t())[:, 0] - x[:, 0], (x @ (w - first).t())[:, 0]
            gradients.append(2 * (residual + drift) @ x / len(x))
        w = w - LR * torch.stack(gradients).mean(0)
    for end in ends:
        torch.testing.assert_close(end["weight"], w, rtol=1e-5, atol=1e-6)
        assert end["stops"] == [False, True]  # the means are 2 and 3
