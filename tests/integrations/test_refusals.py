"""Transformers, Accelerate, skorch and Keras: one message that names the way out, before any work."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.functional import cross_entropy

import dashpot
from dashpot.integrations import accelerate, skorch
from dashpot.integrations.transformers import DashpotTrainer, DashpotTrainerMixin
from tests.integrations import loops
from tests.integrations.loops import RATE, SIZE, X, Y, make, raw, weights_of

pytestmark = pytest.mark.filterwarnings("ignore")  # of the frameworks, about themselves

RECIPE = "l1:strength=0.02 | ema:decay=0.8"


# --- Transformers ----------------------------------------------------------------------------------------------------


def test_the_trainer_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(dashpot.ConflictError, match="Trainer calls backward before optimizer.step"):
        DashpotTrainer(model=loops.Answering(), recipe="sam")
    with pytest.raises(dashpot.ConflictError, match="EarlyStopping decides by evaluations, and there are none"):
        loops.transformers("early-stopping", tmp_path, eval_strategy="no")
    with pytest.raises(dashpot.ConflictError, match=r"LabelSmoothing needs labels, and the training data have x, y"):
        trainer = loops_trainer(tmp_path, "label-smoothing", [{"x": X[0], "y": Y[0]}] * 8)
        trainer.train()
    with pytest.raises(dashpot.ConfigError, match=r"inputs must be one of x, got 'pixels'"):
        loops_trainer(tmp_path, "mixup", [{"x": X[0], "labels": Y[0]}] * 8, inputs="pixels").train()


def loops_trainer(folder: Path, recipe: Any, rows: Any, **options: Any) -> Any:
    import transformers as hf

    arguments = hf.TrainingArguments(output_dir=str(folder), report_to="none", use_cpu=True, max_steps=4, save_steps=2)
    given = {"recipe_options": {"classes": 3}, **options}
    return DashpotTrainer(model=loops.Answering(), args=arguments, train_dataset=rows, recipe=recipe, **given)


@pytest.mark.parametrize(("name", "argument"), [("DeepSpeed", "deepspeed"), ("FSDP", "fsdp")])
def test_a_trainer_that_shards_is_refused_when_it_is_made(name: str, argument: str, tmp_path: Path) -> None:
    """Neither is at hand here: what the Trainer says of them stands for them."""
    import transformers as hf

    class Sharding(hf.Trainer):  # type: ignore[misc]  # Transformers' types are not followed
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            setattr(self, f"is_{argument}_enabled", True)

    class Mine(DashpotTrainerMixin, Sharding):
        pass

    arguments = hf.TrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)
    with pytest.raises(dashpot.ConflictError, match=f"{name} shards the model .* Leave {argument}= out"):
        Mine(model=loops.Answering(), args=arguments, recipe="l1")
    Mine(model=loops.Answering(), args=arguments)  # without a recipe it is a Trainer


def test_a_checkpoint_of_another_recipe_or_of_none_is_refused(tmp_path: Path) -> None:
    rows = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]
    loops_trainer(tmp_path / "a", RECIPE, rows).train()
    loops_trainer(tmp_path / "b", None, rows).train()
    for folder, recipe, told in (
        ("a", "l2", "the one that the saved state belongs to"),
        ("b", "l2", "It was trained without a recipe"),
        ("a", None, "Pass recipe="),
    ):
        model_trainer = loops_trainer(tmp_path / folder, recipe, rows)
        with pytest.raises(dashpot.ConfigError, match=told):
            model_trainer.train(resume_from_checkpoint=str(tmp_path / folder / "checkpoint-2"))
        with pytest.raises(dashpot.UsageError, match="open during train"):
            _ = model_trainer.session


def test_the_best_checkpoint_has_the_last_word(tmp_path: Path) -> None:
    found = loops.transformers(RECIPE, tmp_path, load_best_model_at_end=True, metric_for_best_model="eval_loss")
    best = min(range(len(found.scores)), key=found.scores.__getitem__)
    model = make()
    model.load_state_dict(found.weights)
    loss = cross_entropy(model(loops.HELD_X), loops.HELD_Y).item()
    torch.testing.assert_close(loss, found.scores[best])


# --- Accelerate ------------------------------------------------------------------------------------------------------


def prepared(**options: Any) -> tuple[Accelerator, nn.Module, Any]:
    accelerator, model = Accelerator(cpu=True, **options), make()
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    return accelerator, model, optimizer


def test_accelerate_refuses_what_it_cannot_do() -> None:
    accelerator, model, optimizer = prepared()
    with pytest.raises(dashpot.ConfigError, match=r"optimizer must be the one that accelerator.prepare returned"):
        accelerate.attach(RECIPE, accelerator, model, optimizer.optimizer)
    with pytest.raises(dashpot.ConfigError, match="accelerator must be an accelerate.Accelerator"):
        accelerate.attach(RECIPE, model, model, optimizer)  # type: ignore[arg-type]  # what is refused
    with pytest.raises(dashpot.ConflictError, match="Call optimizer.step"):
        accelerate.attach("sam", accelerator, model, optimizer)
    with accelerate.attach(RECIPE, accelerator, model, optimizer):
        with pytest.raises(dashpot.ConflictError, match="already carries an open session"):
            accelerate.attach(RECIPE, accelerator, model, optimizer)
        model(X).sum().backward()
        optimizer.step()
        optimizer.eval()
        with pytest.raises(dashpot.UsageError, match=r"Call optimizer.train\(\)"):
            optimizer.step()
        optimizer.train()
        optimizer.step()
    assert not hasattr(optimizer.optimizer, "eval")
    assert not accelerator._custom_objects
    accelerator, model, optimizer = prepared(gradient_accumulation_steps=2)
    with pytest.raises(
        dashpot.ConflictError, match="gradient_accumulation_steps=2 the closure of a step holds the last"
    ):
        accelerate.attach("sam", accelerator, model, optimizer, closure=True)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("DEEPSPEED", "DEEPSPEED makes its own steps, which a recipe cannot see. Use DDP"),
        ("MEGATRON_LM", "MEGATRON_LM makes its own steps, which a recipe cannot see. Use DDP"),
        ("FSDP", "FSDP inside Accelerate saves shards .* Use DDP, or FSDP2 in a loop of your own"),
    ],
)
def test_what_goes_its_own_ways_is_refused(kind: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is at hand here: what Accelerate itself says of them stands for them."""
    from accelerate.utils import DistributedType

    accelerator, model, optimizer = prepared()
    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType[kind])
    with pytest.raises(dashpot.ConflictError, match=told):
        accelerate.attach(RECIPE, accelerator, model, optimizer)
    assert not optimizer.optimizer._optimizer_step_post_hooks


# --- skorch ----------------------------------------------------------------------------------------------------------


def net(recipe: Any = RECIPE, **options: Any) -> Any:
    given: dict[str, Any] = {
        "lr": RATE,
        "optimizer__momentum": 0.9,
        "batch_size": SIZE,
        "max_epochs": 4,
        "verbose": 0,
        "train_split": None,
        "criterion": nn.CrossEntropyLoss,
        **options,
    }
    return skorch.DashpotNeuralNetClassifier(make, recipe=recipe, **given)


def test_a_net_goes_on_with_the_weights_that_trained_and_pickles_in_between() -> None:
    expected = raw(RECIPE).weights
    whole = net().fit(X.numpy(), Y.numpy())
    parts = net(max_epochs=2).fit(X.numpy(), Y.numpy())
    for twin in (copy.deepcopy(parts), pickle.loads(pickle.dumps(parts)), parts):
        twin.partial_fit(X.numpy(), Y.numpy())
        for name, value in weights_of(twin.module_).items():
            assert torch.equal(value, expected[name])
            assert torch.equal(value, weights_of(whole.module_)[name])
        assert not twin.optimizer_._optimizer_step_post_hooks
    again = weights_of(whole.fit(X.numpy(), Y.numpy()).module_)  # from the start
    assert all(torch.equal(value, expected[name]) for name, value in again.items())


def test_a_net_is_cloned_searched_and_set() -> None:
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV

    assert clone(net()).get_params()["recipe"] == RECIPE
    search = GridSearchCV(net(max_epochs=1), {"recipe": [None, "l1:strength=0.5"]}, cv=2)
    search.fit(X.numpy(), Y.numpy())
    assert len(search.cv_results_["mean_test_score"]) == 2


def test_after_an_error_a_net_trains_again() -> None:
    from skorch.callbacks import Callback

    class Once(Callback):  # type: ignore[misc]  # skorch has no types
        def on_batch_end(self, net: Any, **kwargs: Any) -> None:
            if net.max_epochs == 1:
                raise OSError("the disk is full")

    one = net(callbacks=[Once()], max_epochs=1)
    with pytest.raises(OSError, match="full"):
        one.fit(X.numpy(), Y.numpy())
    one.set_params(max_epochs=4)
    expected = raw(RECIPE).weights
    found = weights_of(one.fit(X.numpy(), Y.numpy()).module_)
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_a_net_refuses_a_session_of_another_recipe() -> None:
    one, other = net().fit(X.numpy(), Y.numpy()), net("l2")
    other.initialize()
    other.session_.load_state_dict(one.session_.state_dict())
    with pytest.raises(dashpot.ConfigError, match="the one that the saved state belongs to"):
        other.partial_fit(X.numpy(), Y.numpy())
    with pytest.raises(dashpot.ConfigError, match="a net that has not trained"):
        net().initialize().session_.state_dict()


# --- Keras -----------------------------------------------------------------------------------------------------------


def test_keras_is_refused_in_one_sentence() -> None:
    """A stand-in with Keras' module names: its layers are torch modules there, with kernels the other way round."""
    adam: Any = type("Adam", (), {"__module__": "keras.src.optimizers.adam"})()
    dense: Any = type("Dense", (nn.Linear,), {"__module__": "keras.src.layers.core.dense"})(2, 1)
    model = make()
    with pytest.raises(dashpot.ConfigError, match="Keras is not supported"):
        dashpot.L1().attach(model, adam)
    with pytest.raises(dashpot.ConfigError, match="Keras is not supported"):
        dashpot.L1().attach(dense, torch.optim.SGD(dense.parameters(), lr=0.1))
    wrapped = nn.Sequential(dense)
    with pytest.raises(dashpot.ConfigError, match="Keras is not supported"):
        dashpot.L1().attach(wrapped, torch.optim.SGD(wrapped.parameters(), lr=0.1))
