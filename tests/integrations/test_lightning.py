"""Lightning: what is saved when, what is refused, and modules that are as they were afterwards."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import dashpot
from dashpot.integrations.lightning import Regularize, training_loss
from tests.integrations.loops import HELD_X, HELD_Y, RATE, SIZE, X, Y, make, raw, weights_of

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning, about itself

RECIPE = "l1:strength=0.02 | ema:decay=0.8"


class Net(pl.LightningModule):
    def __init__(self, recipe: Any = None, manual: bool = False) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = not manual
        self.net = make()

    def training_step(self, batch: Any, index: int) -> Tensor:
        loss = training_loss(self, self.net, *batch)
        if not self.automatic_optimization:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=RATE, momentum=0.9)


def fit(
    net: pl.LightningModule, *callbacks: Callback, epochs: int = 2, ckpt: Path | None = None, **options: Any
) -> Any:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(one, ModelCheckpoint) for one in callbacks),
        callbacks=list(callbacks),
        **options,
    )
    trainer.fit(
        net,
        DataLoader(TensorDataset(X, Y), batch_size=SIZE),
        DataLoader(TensorDataset(HELD_X, HELD_Y), batch_size=len(HELD_X)),
        ckpt_path=ckpt,
        weights_only=True if ckpt else None,
    )
    return trainer


def test_checkpoints_of_weights_alone_hold_those_that_evaluation_sees_and_a_recipe_as_text(tmp_path: Path) -> None:
    recipe = dashpot.L1(0.02) | dashpot.EMA(0.8)
    keep = ModelCheckpoint(dirpath=tmp_path, filename="kept", save_weights_only=True)
    fit(Net(recipe), Regularize(recipe, module="net"), keep)
    file = torch.load(tmp_path / "kept.ckpt", weights_only=True)
    expected = raw(RECIPE, epochs=2).saved
    assert all(torch.equal(file["state_dict"][f"net.{name}"], value) for name, value in expected.items())
    loaded = Net.load_from_checkpoint(tmp_path / "kept.ckpt", weights_only=True)
    assert dashpot.Recipe.coerce(loaded.hparams.recipe) == recipe
    assert Regularize(recipe).text == loaded.hparams.recipe


def test_a_checkpoint_in_the_middle_of_a_validation_keeps_both_weights(tmp_path: Path) -> None:
    class Saves(Callback):
        def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            trainer.save_checkpoint(tmp_path / "middle.ckpt")

    net = Net()
    fit(net, Regularize(RECIPE, module="net"), Saves())
    file = torch.load(tmp_path / "middle.ckpt", weights_only=True)
    expected = raw(RECIPE, epochs=2)
    assert all(torch.equal(file["state_dict"][f"net.{name}"], value) for name, value in expected.saved.items())
    assert any(not torch.equal(file["dashpot"]["raw"][name], value) for name, value in expected.saved.items())
    assert all(torch.equal(value, expected.weights[name]) for name, value in weights_of(net.net).items())


def test_what_is_saved_after_fit_goes_on_as_if_it_had_not_ended(tmp_path: Path) -> None:
    fit(Net(), Regularize(RECIPE, module="net"), epochs=2).save_checkpoint(tmp_path / "end.ckpt")
    net = Net()
    fit(net, Regularize(RECIPE, module="net"), epochs=4, ckpt=tmp_path / "end.ckpt")
    assert all(torch.equal(value, raw(RECIPE).weights[name]) for name, value in weights_of(net.net).items())


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_afterwards_the_module_is_as_it_was(ends: str) -> None:
    class Copies(Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
            twin = copy.deepcopy(pl_module)
            assert twin.on_save_checkpoint({}) is None
            if ends == "badly":
                raise OSError("the disk is full")

    net, callback = Net(), Regularize("dropout:p=0.3,on=activations | ema", module="net")
    if ends == "badly":
        with pytest.raises(OSError, match="the disk is full"):
            fit(net, callback, Copies())
    else:
        fit(net, callback, Copies())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert "on_save_checkpoint" not in vars(net)
    with pytest.raises(dashpot.UsageError, match="open during Trainer.fit only"):
        _ = callback.session
    fit(net, callback, epochs=1)  # and may be trained again


def test_the_search_for_a_learning_rate_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It trains, and goes back to what it kept before any session was open."""
    from pytorch_lightning.tuner import Tuner

    monkeypatch.chdir(tmp_path)
    recipe = "dropout:p=0.5,on=activations | weight-decay:strength=0.1 | ema:decay=0.8"
    data = [DataLoader(TensorDataset(X, Y), SIZE), DataLoader(TensorDataset(HELD_X, HELD_Y), len(HELD_X))]
    found = []
    for searches in (False, True):
        net = Net()
        net.lr = RATE
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = pl.Trainer(accelerator="cpu", max_epochs=2, callbacks=[Regularize(recipe, module="net")], **quiet)
        if searches:
            Tuner(trainer).lr_find(net, data[0], num_training=6, update_attr=False)
            assert not any(module._forward_hooks for module in net.modules())
        trainer.fit(net, *data)
        found.append(weights_of(net.net))
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_modules_that_a_technique_replaces_are_saved_as_they_were_built(tmp_path: Path) -> None:
    recipe = "weight-norm | ema:decay=0.8"
    whole = Net()
    fit(whole, Regularize(recipe, module="net"), epochs=3)
    keep = ModelCheckpoint(dirpath=tmp_path, filename="kept")
    fit(Net(), Regularize(recipe, module="net"), keep, epochs=2, max_steps=8)
    Net.load_from_checkpoint(tmp_path / "kept.ckpt", weights_only=True)
    resumed = Net()
    fit(resumed, Regularize(recipe, module="net"), epochs=3, ckpt=tmp_path / "kept.ckpt")
    for name, value in weights_of(whole.net).items():
        torch.testing.assert_close(weights_of(resumed.net)[name], value)


def test_without_the_callback_the_loss_is_the_plain_one() -> None:
    net = Net()
    fit(net, epochs=2)
    assert all(torch.equal(value, raw(None, epochs=2).weights[name]) for name, value in weights_of(net.net).items())


def test_stopping_without_validation_reads_what_training_logs() -> None:
    class Logs(Net):
        validation_step = None  # type: ignore[assignment]  # as a module without one

        def training_step(self, batch: Any, index: int) -> Tensor:
            self.log("train_loss", 1.0, on_epoch=True)
            return super().training_step(batch, index)

    recipe = dashpot.EarlyStopping("train_loss", mode="min", patience=2)
    assert fit(Logs(), Regularize(recipe), epochs=9).current_epoch == 3


def two_optimizers(self: Any) -> Any:
    return [torch.optim.SGD(self.net[0].parameters(), lr=0.1), torch.optim.SGD(self.net[2].parameters(), lr=0.1)]


class Two(Net):
    configure_optimizers = two_optimizers


@pytest.mark.parametrize(
    ("build", "callback", "options", "told"),
    [
        (lambda: Net(manual=True), lambda: Regularize("sam"), {}, "with manual optimization Lightning's .* closure"),
        (
            Net,
            lambda: Regularize("sam"),
            {"accumulate_grad_batches": 2},
            "accumulate_grad_batches=2 .* last micro-batch",
        ),
        (Net, lambda: Regularize("l1", module="body"), {}, r"module must be a part of Net \(net\), got 'body'"),
        (lambda: Two(manual=True), lambda: Regularize("l1"), {}, r"there are 2 optimizers .* optimizer=0"),
        (lambda: Two(manual=True), lambda: Regularize("l1", optimizer=2), {}, r"optimizer must be .* 0 to 1, got 2"),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(
    build: Callable[[], Net], callback: Callable[[], Regularize], options: dict[str, Any], told: str
) -> None:
    net = build()
    with pytest.raises(dashpot.DashpotError, match=told):
        fit(net, callback(), **options)
    assert not any(module._forward_hooks for module in net.modules())


def test_a_second_recipe_and_another_s_checkpoint_are_refused(tmp_path: Path) -> None:
    with pytest.raises(dashpot.ConfigError, match=r"Join the recipes with \|"):
        fit(Net(), Regularize("l1"), Regularize("ema"))
    with pytest.raises(dashpot.ConfigError, match="Leave out closure"):
        Regularize("sam", closure=True)
    net = Net()
    dashpot.EMA().attach(net.net, torch.optim.SGD(net.parameters(), lr=0.1))
    with pytest.raises(dashpot.ConflictError, match="already carries an open session"):
        fit(net, Regularize("l1"))

    fit(Net(), Regularize(RECIPE), epochs=1).save_checkpoint(tmp_path / "l1.ckpt")
    fit(Net(), epochs=1).save_checkpoint(tmp_path / "none.ckpt")
    with pytest.raises(dashpot.ConfigError, match="the one that the saved state belongs to"):
        fit(Net(), Regularize("l2"), ckpt=tmp_path / "l1.ckpt")
    with pytest.raises(dashpot.ConfigError, match="ckpt_path must be a checkpoint that was trained with Regularize"):
        fit(Net(), Regularize("l2"), ckpt=tmp_path / "none.ckpt")


def test_manual_optimization_trains_with_what_needs_no_closure() -> None:
    net = Net(manual=True)
    fit(net, Regularize(RECIPE, module="net"), epochs=4)
    assert all(torch.equal(value, raw(RECIPE).weights[name]) for name, value in weights_of(net.net).items())


def test_the_whole_module_is_the_default() -> None:
    net = Net()
    fit(net, Regularize('group-lasso:strength=0.1,groups=columns,on="name:net.0.weight"'), epochs=4)
    expected = raw('group-lasso:strength=0.1,groups=columns,on="name:0.weight"').weights
    assert all(torch.equal(value, expected[name]) for name, value in weights_of(net.net).items())
    assert isinstance(net.net, nn.Sequential)
