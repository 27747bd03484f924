"""Two ranks with FSDP2, and with DistributedDataParallel around a model that a recipe is attached to already."""

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
RECIPE = dashpot.SAM(rho=0.1) | dashpot.GradientClipping(maximum=0.5) | dashpot.EMA(decay=0.9) | dashpot.EarlyStopping()
X = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))


def train(model: nn.Module, session: Any, optimizer: Any, x: Tensor) -> None:
    for _ in range(4):

        def closure() -> Any:
            optimizer.zero_grad()
            loss = (model(x) - 1).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)


def sharded(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    from torch.distributed.checkpoint.state_dict import get_model_state_dict
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = net()
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    session = RECIPE.attach(model, optimizer, closure=True)
    found: dict[str, Any] = {}
    train(model, session, optimizer, X[rank::2])
    verdict = session.epoch({"val_loss": float(rank)})
    found["best"] = session.attached[3][1].state["best"], verdict.best
    with session.evaluate(), torch.no_grad():
        model(X)
    try:
        session.export()
    except dashpot.UsageError as error:
        found["export"] = str(error)
    found["step"] = session.step
    session.finish()
    tensors = get_model_state_dict(model)
    found["weights"] = {name: t.full_tensor() for name, t in tensors.items()}
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def wrapped_after(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = []
    for order in ("wrap, attach", "attach, wrap"):
        model = net()
        if order == "wrap, attach":
            whole: nn.Module = DistributedDataParallel(model)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            session = RECIPE.attach(whole, optimizer, closure=True)
        else:
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            session = RECIPE.attach(model, optimizer, closure=True)
            whole = DistributedDataParallel(model)
        train(whole, session, optimizer, X[rank::2])
        session.epoch({"val_loss": float(rank)})
        results.append((session.snapshot(), session.attached[3][1].state["best"]))
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def two(work: Any) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        mp.spawn(work, args=(folder,), nprocs=2)
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(2)]


def test_shards_are_trained_as_the_whole_and_scores_are_averaged() -> None:
    ranks = two(sharded)
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    session = RECIPE.attach(model, optimizer, closure=True)
    train(model, session, optimizer, X)
    session.epoch({"val_loss": 0.5})
    session.finish()
    for found in ranks:
        assert found["best"] == (0.5, True)
        assert found["step"] == 4
        assert "FSDP2, which shards this" in found["export"]
        torch.testing.assert_close(found["weights"], dict(model.state_dict()))


def test_a_wrapper_that_comes_after_the_recipe_is_found() -> None:
    for before, after in two(wrapped_after):
        torch.testing.assert_close(before[0], after[0], rtol=0.0, atol=0.0)
        assert before[1] == after[1] == 0.5


def refused(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

    def flat(model: nn.Module) -> nn.Module:
        return FullyShardedDataParallel(model, device_id=torch.device("cpu"), use_orig_params=True)

    said = []
    for shard in (lambda model: fully_shard(model, mesh=init_device_mesh("cpu", (2,))), flat):
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        session = (dashpot.L1(0.1) | dashpot.EMA()).attach(model, optimizer)
        whole = shard(model)
        whole(X).square().mean().backward()
        for _ in range(2):  # it is not forgotten
            try:
                optimizer.step()
            except dashpot.ConflictError as error:
                said.append(str(error))
        session.close()
    whole = flat(net())
    optimizer = torch.optim.SGD(whole.parameters(), lr=0.1)
    try:
        dashpot.L1(0.1).attach(whole, optimizer)
    except dashpot.ConflictError as error:
        said.append(str(error))
    torch.save(said, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore")  # of FSDP1, about itself
def test_shards_that_come_after_the_recipe_and_flat_ones_are_refused() -> None:
    for said in two(refused):
        assert len(said) >= 4, said
        assert all("fully_shard came after the recipe was attached" in text for text in said[:2]), said
        assert all("FullyShardedDataParallel keeps weights in flat parameters" in text for text in said[2:]), said
