"""A toy problem, small enough for every law, with all that techniques act on: weights, biases, a norm, activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashpot.core.recipe import Recipe
from dashpot.core.session import Session
from dashpot.core.technique import Technique
from dashpot.core.tree import flatten, unflatten

STEPS = 6
"""Optimizer steps of a training, which schedules are laid out over."""


@dataclass(frozen=True)
class Toy:
    """Inputs [24, 6], and three classes or one value."""

    task: str = "classification"

    def network(self) -> nn.Sequential:
        """The same initial weights each time. The batch normalization stands before every activation."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return nn.Sequential(
                nn.Linear(6, 8),
                nn.BatchNorm1d(8),
                nn.ReLU(),
                nn.Linear(8, 8),
                nn.ReLU(),
                nn.Linear(8, 3 if self.task == "classification" else 1),
            )

    def data(self) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(24, 6, generator=generator)
        return x, (torch.arange(24) % 3 if self.task == "classification" else x[:, 0] - x[:, 1])

    def loss(self, out: Tensor, y: Tensor) -> Tensor:
        """Per sample."""
        if self.task == "classification":
            return functional.cross_entropy(out, y, reduction="none")
        return (out[:, 0] - y).square()

    def attach(
        self, recipe: Technique | Recipe, model: nn.Module, optimizer: torch.optim.Optimizer, seed: int = 0
    ) -> Session:
        recipe = Recipe((recipe,)) if isinstance(recipe, Technique) else recipe
        closure = any(t.evaluations > 1 for t in recipe)
        classes = 3 if self.task == "classification" else None
        return recipe.attach(
            model,
            optimizer,
            seed=seed,
            classes=classes,
            targets="classes" if classes else "values",
            closure=closure,
            steps=STEPS,
            steps_per_epoch=2,
        )


def train(
    toy: Toy,
    recipe: Technique | Recipe,
    *,
    steps: int = STEPS,
    seed: int = 0,
    interrupt: int | None = None,
    micro: int = 1,
) -> tuple[dict[str, Tensor], Session]:
    """Train the toy network on a recipe, by Adam, stepping with a closure where the recipe needs one.

    Args:
        interrupt: after this many steps save everything, and go on with a new model, optimizer and session.
        micro: micro-batches per step.

    Returns:
        The final weights and buffers, and the (still open) session.
    """
    model, optimizer, session = _start(toy, recipe, seed)
    x, y = toy.data()
    for step in range(steps):
        if step == interrupt:
            tensors: dict[str, Tensor] = {}
            saved = flatten(
                {
                    "model": dict(model.state_dict()),
                    "optimizer": optimizer.state_dict(),
                    "session": session.state_dict(),
                },
                tensors,
            )
            session.close()
            model, optimizer, session = _start(toy, recipe, seed)
            tree = unflatten(saved, tensors)
            model.load_state_dict(tree["model"])
            optimizer.load_state_dict(tree["optimizer"])
            session.load_state_dict(tree["session"])
        _step(toy, model, optimizer, session, x, y, micro)
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}, session


def _start(toy: Toy, recipe: Technique | Recipe, seed: int) -> tuple[nn.Module, torch.optim.Optimizer, Session]:
    model = toy.network().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    return model, optimizer, toy.attach(recipe, model, optimizer, seed)


def _step(
    toy: Toy, model: nn.Module, optimizer: torch.optim.Optimizer, session: Session, x: Tensor, y: Tensor, micro: int
) -> None:
    def closure() -> Any:
        optimizer.zero_grad()
        for part in range(micro):
            batch = session.batch(x[part::micro], y[part::micro])
            out = model(batch.x)
            loss = session.loss(toy.loss(out, batch.y), out) / micro
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        return loss.detach()

    step: Callable[..., Any] = optimizer.step
    step(closure)
