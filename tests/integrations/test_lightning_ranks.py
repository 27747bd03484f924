"""Lightning under DistributedDataParallel: two ranks do what two ranks of the raw loop do; what cannot is refused."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import dashpot
from dashpot.integrations.lightning import Regularize, training_loss
from tests.integrations.loops import EPOCHS, HELD_X, HELD_Y, RATE, RECIPES, X, Y, make, weights_of
from tests.integrations.ranks import (
    COUNT,
    PART,
    Refused,
    demand_refused,
    demand_trained,
    every_second,
    ranks,
    raw,
    said,
)

pytestmark = [pytest.mark.distributed, pytest.mark.filterwarnings("ignore")]  # of Lightning, about itself


class Net(pl.LightningModule):
    """One that also logs a score on the first rank only."""

    def __init__(self) -> None:
        super().__init__()
        self.net = make()

    def training_step(self, batch: Any, index: int) -> Tensor:
        return training_loss(self, self.net, *batch)

    def validation_step(self, batch: Any, index: int) -> None:
        if self.global_rank == 0:
            self.log("of_one_rank", 1.0, rank_zero_only=True)
        self.log("val_loss", cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=RATE, momentum=0.9)


def fit(net: Net, recipe: Any, folder: Path, *, epochs: int = EPOCHS, ckpt: bool = False, **options: Any) -> Any:
    """Each rank takes every second row; the sampler that Lightning would put in shuffles."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    keep = ModelCheckpoint(dirpath=folder, filename="kept", enable_version_counter=False)
    options = {"strategy": "ddp", "devices": COUNT, **options}
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        callbacks=[Regularize(recipe, **{"module": "net", "classes": 3} | options.pop("callback", {})), keep],
        **options,
    )
    trainer.fit(
        net,
        loader(X, Y, PART),
        loader(HELD_X, HELD_Y, len(HELD_X)),
        ckpt_path=str(folder / "kept.ckpt") if ckpt else None,
        weights_only=True if ckpt else None,
    )
    return trainer


def loader(x: Tensor, y: Tensor, size: int) -> DataLoader[Any]:
    data = TensorDataset(x, y)
    return DataLoader(data, batch_size=size, sampler=DistributedSampler(data, COUNT, dist.get_rank(), shuffle=False))


def kept(folder: Path) -> dict[str, Tensor]:
    """The weights of the last checkpoint."""
    file = torch.load(folder / "kept.ckpt", weights_only=True)["state_dict"]
    return {key.removeprefix("net."): value for key, value in file.items()}


def work(rank: int, folder: Path) -> dict[str, Any]:
    """Each recipe in both loops, and Lightning's resumed after two epochs."""
    found: dict[str, Any] = {}
    for name, text in RECIPES.items():
        net = Net()
        where = folder / name
        epochs = fit(net, text, where).current_epoch
        saved = kept(where)
        expected = raw(text, rank, every_second(rank), slice(rank, None, COUNT))
        found[name] = {"weights": weights_of(net.net), "saved": saved, "epochs": epochs}, expected
        assert not any(module._forward_hooks for module in net.modules())
    for epochs, ckpt in ((2, False), (EPOCHS, True)):
        net = Net()
        fit(net, RECIPES["l1-ema"], folder / "cut", epochs=epochs, ckpt=ckpt)
    found["resumed"] = {"weights": weights_of(net.net), "saved": kept(folder / "cut")}
    found["refused"] = refused(rank, folder)
    return found


def refused(rank: int, folder: Path) -> list[str]:
    """What is said of each thing that cannot be."""
    from pytorch_lightning.strategies import DDPStrategy
    from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import PostLocalSGDState

    averaging = DDPStrategy(
        ddp_comm_state=PostLocalSGDState(None, None, start_localSGD_iter=8), model_averaging_period=2
    )
    cases: Refused = [
        partial(fit, Net(), "l1" if rank else "l2", folder),
        partial(fit, Net(), "weight-norm", folder),
        partial(fit, Net(), "l1", folder, strategy=averaging),
        partial(fit, Net(), "sam", folder, accumulate_grad_batches=2),
        partial(fit, Net(), "early-stopping:monitor=of_one_rank,mode=max", folder),
    ]
    return said(cases)


def test_two_ranks_do_what_two_ranks_of_the_raw_loop_do_and_refuse_what_they_cannot() -> None:
    found = ranks(work)
    expected = [
        "all ranks must attach the same recipe",
        "WeightNorm replaces modules, and Lightning's DistributedDataParallel",
        "post-local SGD averages the weights of the ranks",
        "accumulate_grad_batches=2",
        "of_one_rank",
    ]
    demand_refused(found, expected)
    demand_trained(found)


def test_strategies_that_shard_are_refused_by_name(tmp_path: Path) -> None:
    """They need a GPU, or are not installed: what a trainer says of its strategy stands for them."""
    from pytorch_lightning.strategies import FSDPStrategy, ModelParallelStrategy

    for kind in (FSDPStrategy, ModelParallelStrategy):
        callback = Regularize("l1")
        trainer: Any = SimpleNamespace(
            strategy=kind.__new__(kind),
            callbacks=[callback],
            accumulate_grad_batches=1,
            precision_plugin=None,
            optimizers=[],
        )
        with pytest.raises(dashpot.ConflictError, match=f"{kind.__name__} shards .* Use strategy='ddp'"):
            callback.on_fit_start(trainer, Net())
