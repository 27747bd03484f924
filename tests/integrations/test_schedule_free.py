"""schedulefree's optimizers: loops that know ``optimizer.train()`` and ``eval()`` evaluate and save their averages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import dashpot
from tests.integrations.loops import HELD_X, HELD_Y, SIZE, Answering, Outcome, X, Y, make, weights_of

pytestmark = pytest.mark.filterwarnings("ignore")  # of the frameworks, about themselves
RECIPE = "l2:strength=0.05 | label-smoothing:smoothing=0.1"
EPOCHS = 3


def optimizer_of(model: nn.Module) -> Any:
    from schedulefree import SGDScheduleFree

    return SGDScheduleFree(model.parameters(), lr=0.5)


def by_hand() -> Outcome:
    """Without anything of ours: L2's gradient and the smoothed loss are written out."""
    model, done = make(), Outcome()
    optimizer = optimizer_of(model)
    for _ in range(EPOCHS):
        optimizer.train()
        for at in range(0, len(X), SIZE):
            optimizer.zero_grad()
            cross_entropy(model(X[at : at + SIZE]), Y[at : at + SIZE], label_smoothing=0.1).backward()
            for name, weight in model.named_parameters():
                if name.endswith("weight") and weight.grad is not None:
                    weight.grad += 0.05 * weight.detach()
            optimizer.step()
        optimizer.eval()
        done.scores.append(cross_entropy(model(HELD_X), HELD_Y).item())
        done.saved = weights_of(model)
    return done


def demand_equal(found: Outcome) -> None:
    expected = by_hand()
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.saved, expected.saved, rtol=1e-4, atol=1e-5)


def test_a_loop_of_one_s_own() -> None:
    model, done = make(), Outcome()
    optimizer = optimizer_of(model)
    session = dashpot.Recipe.coerce(RECIPE).attach(model, optimizer, classes=3)
    for _ in range(EPOCHS):
        optimizer.train()
        for at in range(0, len(X), SIZE):
            optimizer.zero_grad()
            batch = session.batch(X[at : at + SIZE], Y[at : at + SIZE])
            session.loss(cross_entropy, model(batch.x)).backward()
            optimizer.step()
        optimizer.eval()
        with session.evaluate():
            done.scores.append(cross_entropy(model(HELD_X), HELD_Y).item())
            done.saved = weights_of(model)
    demand_equal(done)


def test_accelerate(tmp_path: Path) -> None:
    from accelerate import Accelerator

    from dashpot.integrations.accelerate import attach

    accelerator, model, done = Accelerator(cpu=True), make(), Outcome()
    data = DataLoader(TensorDataset(X, Y), SIZE)
    model, optimizer, loader = accelerator.prepare(model, optimizer_of(model), data)
    with attach(RECIPE, accelerator, model, optimizer, classes=3) as session:
        for _ in range(EPOCHS):
            optimizer.train()
            for x, y in loader:
                optimizer.zero_grad()
                batch = session.batch(x, y)
                accelerator.backward(session.loss(cross_entropy, model(batch.x)))
                optimizer.step()
            optimizer.eval()
            done.scores.append(cross_entropy(model(HELD_X), HELD_Y).item())
            accelerator.save_state(str(tmp_path))
    done.saved = load_file(tmp_path / "model.safetensors")
    demand_equal(done)


def test_transformers_trainer(tmp_path: Path) -> None:
    import transformers as hf
    from torch.utils.data import SequentialSampler

    from dashpot.integrations.transformers import DashpotTrainer

    done = Outcome()

    class InOrder(DashpotTrainer):
        def _get_train_sampler(self, *args: Any) -> Any:
            return SequentialSampler(X)

    def rows(x: Tensor, y: Tensor) -> list[dict[str, Tensor]]:
        return [{"x": one, "labels": label} for one, label in zip(x, y, strict=True)]

    arguments = hf.TrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=SIZE,
        per_device_eval_batch_size=len(HELD_X),
        eval_strategy="epoch",
        save_strategy="epoch",
        max_grad_norm=0.0,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    model = Answering()
    optimizer = optimizer_of(model)
    trainer = InOrder(
        model=model,
        args=arguments,
        train_dataset=rows(X, Y),
        eval_dataset=rows(HELD_X, HELD_Y),
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)),
        recipe=RECIPE,
        inputs="x",
        recipe_options={"classes": 3},
    )
    trainer.train()
    done.scores = [line["eval_loss"] for line in trainer.state.log_history if "eval_loss" in line]
    last = max(tmp_path.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    state = load_file(last / "model.safetensors")
    done.saved = {name.removeprefix("net."): value for name, value in state.items()}
    demand_equal(done)


@pytest.mark.parametrize("recipe", ["l1:scaling=decoupled", "weight-decay", "unit-norm:scaling=decoupled"])
def test_what_moves_one_of_its_two_copies_of_the_weights_is_refused(recipe: str) -> None:
    model = make()
    name = dashpot.Recipe.coerce(recipe)
    with pytest.raises(dashpot.ConflictError, match=r"moves weights, and SGDScheduleFree keeps a second copy of them"):
        name.attach(model, optimizer_of(model))
