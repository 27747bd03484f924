"""What an integration costs per training step over the framework alone.

MLP 3x512, 64 inputs, 10 classes, batch 128, AdamW, one thread, processor time of whole fits of one epoch. For each
framework three arms in turn: alone; with its integration and an empty recipe; with ``L2 | EMA``; and, for the share of
the techniques themselves, a plain loop with the same recipe beside one without.
Run: ``python benchmarks/speed/drivers.py``
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import interleave, options, ratios, write_result

import dashpot

SIZE, STEPS = 128, 100
X = torch.randn(SIZE * STEPS, 64, generator=torch.Generator().manual_seed(0))
Y = torch.randint(10, (len(X),), generator=torch.Generator().manual_seed(1))
RECIPE = dashpot.L2(strength=1e-4) | dashpot.EMA(decay=0.999)
ALONE = "alone"
Fit = Callable[[], Any]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs in (64, 512, 512):
        layers += [nn.Linear(inputs, 512), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(512, 10))


def plain(recipe: Any) -> Fit:
    def fit() -> None:
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        session = None if recipe is ALONE else dashpot.Recipe.coerce(recipe).attach(model, optimizer)
        for x, y in zip(X.split(SIZE), Y.split(SIZE), strict=True):
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            optimizer.step()
        if session is not None:
            session.close()

    return fit


def lightning(recipe: Any) -> Fit:
    import pytorch_lightning as pl

    from dashpot.integrations.lightning import Regularize

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def training_step(self, batch: Any, index: int) -> Tensor:
            return cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    def fit() -> None:
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[] if recipe is ALONE else [Regularize(recipe)],
        )
        trainer.fit(Net(), DataLoader(TensorDataset(X, Y), batch_size=SIZE))

    return fit


def transformers(recipe: Any) -> Fit:
    import transformers as hf

    from dashpot.integrations.transformers import DashpotTrainer

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            logits = self.net(x)
            return {"loss": cross_entropy(logits, labels), "logits": logits}

    rows = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]
    folder = tempfile.mkdtemp()

    def fit() -> None:
        args = hf.TrainingArguments(
            folder,
            num_train_epochs=1,
            per_device_train_batch_size=SIZE,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            logging_strategy="no",
        )
        more = {} if recipe is ALONE else {"recipe": recipe}
        kind: Any = hf.Trainer if recipe is ALONE else DashpotTrainer
        kind(model=Net(), args=args, train_dataset=rows, **more).train()

    return fit


def accelerate(recipe: Any) -> Fit:
    from accelerate import Accelerator

    from dashpot.integrations.accelerate import attach

    def fit() -> None:
        accelerator, model = Accelerator(cpu=True), network()
        model, optimizer, loader = accelerator.prepare(
            model,
            torch.optim.AdamW(model.parameters(), lr=1e-3),
            DataLoader(TensorDataset(X, Y), batch_size=SIZE),
        )
        session = None if recipe is ALONE else attach(recipe, accelerator, model, optimizer)
        for x, y in loader:
            optimizer.zero_grad()
            accelerator.backward(cross_entropy(model(x), y))
            optimizer.step()
        if session is not None:
            session.close()

    return fit


def skorch(recipe: Any) -> Fit:
    from skorch import NeuralNetClassifier

    from dashpot.integrations.skorch import DashpotNeuralNetClassifier

    def fit() -> None:
        more = {} if recipe is ALONE else {"recipe": recipe}
        kind: Any = NeuralNetClassifier if recipe is ALONE else DashpotNeuralNetClassifier
        net = kind(
            network,
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.AdamW,
            lr=1e-3,
            batch_size=SIZE,
            max_epochs=1,
            verbose=0,
            train_split=None,
            callbacks__valid_acc=None,
            **more,
        )
        net.fit(X.numpy(), Y.numpy())

    return fit


def main() -> None:
    given = options(argparse.ArgumentParser(description=__doc__))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    start, result = time.perf_counter(), {}
    rounds = 3 if given.quick else 7
    for name, build in {
        "plain": plain,
        "lightning": lightning,
        "transformers": transformers,
        "accelerate": accelerate,
        "skorch": skorch,
    }.items():
        arms = {"alone": build(ALONE), "empty": build(None), "l2-ema": build(RECIPE)}
        seconds = interleave(arms, rounds, clock=time.process_time)
        result[name] = {
            "milliseconds_a_step": 1e3 * sorted(seconds["alone"])[rounds // 2] / STEPS,
            **ratios(seconds, "alone"),
        }
        print(name, result[name], flush=True)
    write_result(
        "drivers", {"steps": STEPS, "rounds": rounds, **result, "seconds": time.perf_counter() - start}, given.result
    )


if __name__ == "__main__":
    main()
