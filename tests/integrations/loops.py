"""One small training in the raw loop and in each framework's, on the same batches, that can be stopped and resumed."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, SequentialSampler, TensorDataset

import dashpot

X = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0.5).long()
HELD_X = torch.randn(16, 6, generator=torch.Generator().manual_seed(1))
HELD_Y = (HELD_X[:, 0] > 0).long() + (HELD_X[:, 1] > 0.5).long()
SIZE, EPOCHS, RATE = 8, 4, 0.2
STEPS = len(X) // SIZE

RECIPES = {
    "l1-ema": "l1:strength=0.02 | ema:decay=0.8",
    "mixup-smoothing": "mixup:alpha=0.3 | label-smoothing:smoothing=0.1",
    "sam": "sam:rho=0.1",
    "dropout-decay-stopping": "dropout:p=0.3 | weight-decay:strength=0.1 | early-stopping:patience=1",
    "columns": 'group-lasso:strength=0.1,groups=columns,on="name:*0.weight"',
    "schedule": "l1:strength=0.0to0.1 | ema:decay=0.8",
}


@dataclass
class Outcome:
    """What a training left: the model's weights, what evaluations saw, and what was saved last."""

    weights: dict[str, Tensor] = field(default_factory=dict)
    scores: list[float] = field(default_factory=list)
    saved: dict[str, Tensor] = field(default_factory=dict)


class Stop(Exception):
    """The power is cut."""


def make() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def cut(step: int | None) -> Callable[[int], None]:
    """A check that ends the training before this step."""

    def check(now: int) -> None:
        if step is not None and now >= step:
            raise Stop

    return check


def raw(
    recipe: Any,
    epochs: int = EPOCHS,
    model: nn.Module | None = None,
    each: int = 1,
    within: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
) -> Outcome:
    """The loop that all others must equal; ``each`` micro-batches make a step, without a closure where several. All but
    the backward pass happens ``within`` a context.
    """
    model, done = model or make(), Outcome()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    session = dashpot.Recipe.coerce(recipe).attach(
        model,
        optimizer,
        classes=3,
        closure=each == 1,
        steps=STEPS // each * epochs,
        steps_per_epoch=STEPS // each,
    )

    def gradient(at: int) -> Tensor:
        with within():
            batch = session.batch(X[at : at + SIZE], Y[at : at + SIZE])
            loss = session.loss(cross_entropy, model(batch.x))
        (loss / each).backward()
        return loss

    with session:
        for _ in range(epochs):
            for start in range(0, len(X), SIZE * each):

                def closure(start: int = start) -> Tensor:
                    optimizer.zero_grad()
                    return gradient(start)

                if each == 1:
                    optimizer.step(closure)  # type: ignore[arg-type]  # torch types closures as returning float
                    continue
                optimizer.zero_grad()
                for at in range(start, start + SIZE * each, SIZE):
                    gradient(at)
                optimizer.step()
            with session.evaluate(), within():
                done.scores.append(cross_entropy(model(HELD_X), HELD_Y).item())
                done.saved = weights_of(model)
            if session.epoch({"val_loss": done.scores[-1]}).stop:
                break
    done.weights = weights_of(model)
    return done


# --- Lightning -------------------------------------------------------------------------------------------------------


def lightning(recipe: Any, folder: Path, *, at: int | None = None, resume: bool = False, **options: Any) -> Outcome:
    """Options are the trainer's."""
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import ModelCheckpoint

    from dashpot.integrations.lightning import Regularize, training_loss

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    check, done = cut(at), Outcome()

    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = make()

        def training_step(self, batch: Any, index: int) -> Tensor:
            check(self.trainer.global_step)
            return training_loss(self, self.net, *batch)

        def validation_step(self, batch: Any, index: int) -> None:
            loss = cross_entropy(self.net(batch[0]), batch[1])
            if not self.trainer.sanity_checking:
                done.scores.append(loss.item())
            self.log("val_loss", loss)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=RATE, momentum=0.9)

    keep = ModelCheckpoint(dirpath=folder, filename="kept", save_last=False, enable_version_counter=False)
    net = Net()
    trainer = pl.Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": EPOCHS,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "callbacks": [Regularize(recipe, module="net", classes=3), keep],
            **options,
        }
    )
    trainer.fit(
        net,
        DataLoader(TensorDataset(X, Y), batch_size=SIZE),
        DataLoader(TensorDataset(HELD_X, HELD_Y), batch_size=len(HELD_X)),
        ckpt_path=str(folder / "kept.ckpt") if resume else None,
        **({"weights_only": True} if resume else {}),
    )
    done.weights = weights_of(net.net)
    state = torch.load(folder / "kept.ckpt", weights_only=True)["state_dict"]
    done.saved = {name.removeprefix("net."): value for name, value in state.items()}
    return done


# --- Transformers ----------------------------------------------------------------------------------------------------


class Answering(nn.Module):
    """A network with the manners of Transformers' models."""

    def __init__(self) -> None:
        super().__init__()
        self.net = make()

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.net(x)
        return {"logits": logits} if labels is None else {"loss": cross_entropy(logits, labels), "logits": logits}


class Counting(Answering):
    """One that takes the number of items of a step, as newer models do."""

    def forward(self, x: Tensor, labels: Tensor | None = None, **kwargs: Any) -> dict[str, Tensor]:
        if labels is None or "num_items_in_batch" not in kwargs:
            return super().forward(x, labels)
        logits = self.net(x)
        return {"loss": cross_entropy(logits, labels, reduction="sum") / kwargs["num_items_in_batch"], "logits": logits}


class Inside(nn.Module):
    """The same network in the raw loop, with the names that its parts have in these."""

    def __init__(self) -> None:
        super().__init__()
        self.net = make()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]  # of a module


def transformers(
    recipe: Any,
    folder: Path,
    *,
    at: int | None = None,
    resume: bool = False,
    build: Callable[[], Any] = Answering,
    **options: Any,
) -> Outcome:
    """Options are the arguments'."""
    import transformers as hf

    from dashpot.integrations.transformers import DashpotTrainer

    check, done = cut(at), Outcome()

    class InOrder(DashpotTrainer):
        def _get_train_sampler(self, *args: Any) -> Any:
            return SequentialSampler(X)

        def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
            check(self.state.global_step)
            return super().training_step(*args, **kwargs)

        def evaluate(self, *args: Any, **kwargs: Any) -> Any:
            metrics = super().evaluate(*args, **kwargs)
            done.scores.append(metrics["eval_loss"])
            return metrics

    def rows(x: Tensor, y: Tensor) -> list[dict[str, Tensor]]:
        return [{"x": one, "labels": label} for one, label in zip(x, y, strict=True)]

    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    arguments = hf.TrainingArguments(
        **{
            "output_dir": str(folder),
            "num_train_epochs": EPOCHS,
            "per_device_train_batch_size": SIZE,
            "per_device_eval_batch_size": len(HELD_X),
            "eval_strategy": "epoch",
            "save_strategy": "epoch",
            "max_grad_norm": 0.0,
            "report_to": "none",
            "use_cpu": True,
            "seed": 0,
            "disable_tqdm": True,
            "logging_strategy": "no",
            **options,
        }
    )
    trainer = InOrder(
        model=model,
        args=arguments,
        train_dataset=rows(X, Y),
        eval_dataset=rows(HELD_X, HELD_Y),
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)),
        recipe=recipe,
        inputs="x",
        recipe_options={"classes": 3},
    )
    trainer.train(resume_from_checkpoint=resume)
    if torch.distributed.is_initialized():
        torch.distributed.barrier()  # the first rank has saved
    done.weights = weights_of(model.net)
    last = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    state = load_file(last / "model.safetensors")
    done.saved = {name.removeprefix("net."): value for name, value in state.items()}
    return done


# --- Accelerate ------------------------------------------------------------------------------------------------------


def accelerate(recipe: Any, folder: Path, *, at: int | None = None, resume: bool = False, **options: Any) -> Outcome:
    """Options are the accelerator's."""
    from accelerate import Accelerator

    from dashpot.integrations.accelerate import attach

    check, done = cut(at), Outcome()
    accelerator = Accelerator(cpu=True, **options)
    model = make()
    model, optimizer, loader = accelerator.prepare(
        model,
        torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9),
        DataLoader(TensorDataset(X, Y), batch_size=SIZE),
    )
    session = attach(
        recipe,
        accelerator,
        model,
        optimizer,
        classes=3,
        closure=True,
        steps=STEPS * EPOCHS,
        steps_per_epoch=STEPS,
    )
    with session:
        if resume:
            accelerator.load_state(str(folder / "state"))
        for _ in range(session.epochs, EPOCHS):
            for x, y in loader:
                check(session.step)

                def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
                    optimizer.zero_grad()
                    batch = session.batch(x, y)
                    loss = session.loss(cross_entropy, model(batch.x))
                    accelerator.backward(loss)
                    return loss

                optimizer.step(closure)
            model.eval()
            optimizer.eval()
            with torch.no_grad():  # else DistributedDataParallel expects a backward pass
                done.scores.append(cross_entropy(model(HELD_X), HELD_Y).item())
            optimizer.train()
            model.train()
            stop = session.epoch({"val_loss": done.scores[-1]}).stop
            accelerator.save_state(str(folder / "state"))
            if stop:
                break
    accelerator.wait_for_everyone()  # the first rank has saved
    done.weights = weights_of(model)
    done.saved = load_file(folder / "state" / "model.safetensors")
    return done


# --- skorch ----------------------------------------------------------------------------------------------------------


def skorch(recipe: Any, folder: Path, *, at: int | None = None, resume: bool = False, **options: Any) -> Outcome:
    """Options are the net's."""
    from skorch.callbacks import Callback, Checkpoint, LoadInitState
    from skorch.dataset import Dataset
    from skorch.helper import predefined_split

    from dashpot.integrations.skorch import DashpotNeuralNetClassifier

    check, done = cut(at), Outcome()

    class Watch(Callback):  # type: ignore[misc]  # skorch has no types
        def on_batch_begin(self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any) -> None:
            if training:
                check(net.session_.held.session.step)

        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            done.scores.append(net.history[-1, "valid_loss"])

    keep = Checkpoint(monitor=None, dirname=str(folder), f_session="session.pt")
    net = DashpotNeuralNetClassifier(
        make,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        **{
            "lr": RATE,
            "optimizer__momentum": 0.9,
            "batch_size": SIZE,
            "max_epochs": EPOCHS,
            "verbose": 0,
            "iterator_train__shuffle": False,
            "train_split": predefined_split(Dataset(HELD_X.numpy(), HELD_Y.numpy())),
            "callbacks": [Watch(), keep, *([LoadInitState(keep)] if resume else [])],
            "recipe": recipe,
            "recipe_options": {"classes": 3, "steps": STEPS * EPOCHS, "steps_per_epoch": STEPS},
            **options,
        },
    )
    if resume:
        done_before = len(json.loads((folder / "history.json").read_text()))
        net.set_params(max_epochs=EPOCHS - done_before)
    net.fit(X.numpy(), Y.numpy())
    done.weights = weights_of(net.module_)
    done.saved = torch.load(folder / "params.pt", weights_only=True)
    return done


DRIVERS: dict[str, Callable[..., Outcome]] = {
    "lightning": lightning,
    "transformers": transformers,
    "accelerate": accelerate,
    "skorch": skorch,
}
REFUSED = {("transformers", "sam"): "SAM needs a second gradient in each step, but transformers' Trainer"}


def reference(driver: str, recipe: Any, each: int = 1) -> Outcome:
    """The raw loop with the same names."""
    if driver != "transformers":
        return raw(recipe, each=each)
    found = raw(recipe, model=Inside(), each=each)
    for part in (found.weights, found.saved):
        for name in list(part):
            part[name.removeprefix("net.")] = part.pop(name)
    return found
