"""Toy problems, small enough for every law, with all that techniques act on: weights, biases, norms, activations,
convolutions, embeddings, padding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from dashpot.core.recipe import Recipe
from dashpot.core.rng import seeded
from dashpot.core.running.nested import moved
from dashpot.core.running.session import Session
from dashpot.core.technique import Technique
from dashpot.core.tree import flatten, unflatten

STEPS = 6
"""Optimizer steps of a training, which schedules are laid out over."""

Modality = Literal["table", "image", "signal", "text"]


class Reader(nn.Module):
    """Tokens to classes: embedding, one head of attention that does not see padding, and the mean over what is none."""

    def __init__(self, tokens: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, 8, padding_idx=0)
        self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.norm, self.act = nn.LayerNorm(8), nn.ReLU()
        head = nn.Linear(8, outputs)
        self.head: nn.Module = nn.Sequential(nn.Dropout(dropout), head) if dropout else head

    def forward(self, x: Tensor) -> Tensor:
        padding = x == 0
        h = self.embedding(x)
        fit = self.query(h) @ self.key(h).transpose(-1, -2) / 8**0.5
        h = self.norm(h + fit.masked_fill(padding.unsqueeze(-2), -torch.inf).softmax(-1) @ self.value(h))
        kept = (~padding).unsqueeze(-1)
        out: Tensor = self.head((self.act(h) * kept).sum(-2) / kept.sum(-2))
        return out


TEXTS = (
    "plot and acting, all the way. Then a small surprise comes! We liked it",
    "说 真话。这个 电影 很 好看。我 喜欢 它",
    "music by many hands; Some of it stays with you. Would you come again?",
)


class StringReader(Reader):
    """Strings to classes: each character is a token."""

    def forward(self, x: Any) -> Tensor:
        kinds, longest = self.embedding.num_embeddings - 1, max(map(len, x))
        rows = [[1 + ord(c) % kinds for c in text] + [0] * (longest - len(text)) for text in x]
        ids = torch.tensor(rows, device="cpu")
        return super().forward(ids.to(self.embedding.weight.device, non_blocking=True))


@dataclass(frozen=True)
class Toy:
    """24 samples of three classes or one value, and a network for them.

    Args:
        task: ``"classification"`` or ``"regression"``.
        modality: ``"table"``, rows of 6 numbers; ``"image"``, [channels, 6, 6], for a convolution with batch
            normalization; ``"signal"``, [channels, 9], likewise; or ``"text"``, 7 tokens of which the last ones may be
            padding, for an embedding and attention.
        device: where network and data are.
        channels: of images and signals.
        strings: of text: strings of some sentences in place of ids, which the network turns into ids by itself.
        dropout: the rate of a dropout of the network's own, before its head; 0: it has none.
    """

    task: Literal["classification", "regression"] = "classification"
    modality: Modality = "table"
    device: str = "cpu"
    channels: int = 2
    strings: bool = False
    dropout: float = 0.0

    def network(self) -> nn.Module:
        """The same initial weights each time. The batch normalization stands before every activation."""
        with seeded(0):
            return self._network(3 if self.task == "classification" else 1).to(self.device)

    def randomness(self, number: int = 0) -> contextlib.AbstractContextManager[None]:
        """Of the network's own dropout, which draws from torch's global state; that is else left as it is, so that a
        technique that draws from it is found out.
        """
        return seeded(number) if self.dropout else contextlib.nullcontext()

    def data(self) -> tuple[Any, Tensor]:
        x, y = self._data()
        return moved(x, self.device), y.to(self.device)

    def _network(self, outputs: int) -> nn.Module:
        drops = [nn.Dropout(self.dropout)] if self.dropout else []
        if self.modality == "image":
            first = nn.Conv2d(self.channels, 4, 3, padding=1, bias=False)
            parts = [first, nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3)]
            return nn.Sequential(*parts, nn.Flatten(), *drops, nn.Linear(16, outputs))
        if self.modality == "signal":
            line = nn.Conv1d(self.channels, 4, 3, padding=1, bias=False)
            return nn.Sequential(
                line, nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(3), nn.Flatten(), *drops, nn.Linear(12, outputs)
            )
        if self.modality == "text":
            kind, tokens = (StringReader, 97) if self.strings else (Reader, 9)
            return kind(tokens, outputs, self.dropout)
        return nn.Sequential(
            nn.Linear(6, 8),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Linear(8, 8),
            nn.ReLU(),
            *drops,
            nn.Linear(8, outputs),
        )

    def _data(self) -> tuple[Any, Tensor]:
        generator = torch.Generator().manual_seed(1)
        value = torch.arange(24) % 3
        if self.strings:
            values = value if self.task == "classification" else value.float()
            return [f"{start} {TEXTS[i % len(TEXTS)]}" for i, start in enumerate(["good", "bad", "odd"] * 8)], values
        if self.modality == "image":
            x = torch.randn(24, self.channels, 6, 6, generator=generator)
            x[torch.arange(24), 0, 2 * value] += 1.0
            return x, value if self.task == "classification" else x[:, 0].mean(dim=(1, 2))
        if self.modality == "signal":
            x = torch.randn(24, self.channels, 9, generator=generator)
            x[torch.arange(24), 0, 3 * value] += 1.0
            return x, value if self.task == "classification" else x[:, 0].mean(dim=1)
        if self.modality == "text":
            x = torch.randint(1, 9, (24, 7), generator=generator)
            x[torch.arange(7) >= torch.randint(3, 8, (24, 1), generator=generator)] = 0
            x[:, 0] = 1 + value
            return x, value if self.task == "classification" else (x == 5).float().sum(dim=1)
        x = torch.randn(24, 6, generator=generator)
        return x, (value if self.task == "classification" else x[:, 0] - x[:, 1])

    def loss(self, out: Tensor, y: Tensor) -> Tensor:
        """Per sample."""
        if self.task == "classification":
            return functional.cross_entropy(out, y, reduction="none")
        return (out[:, 0] - y).square()

    def attach(self, recipe: Technique | Recipe, model: nn.Module, optimizer: Optimizer, seed: int = 0) -> Session:
        recipe = Recipe.coerce(recipe)
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


class Teacher(nn.Module):
    """Inputs of any toy to classes, far from their truth: by the first six numbers or characters of each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Any) -> Tensor:
        if not isinstance(x, Tensor):
            x = torch.tensor([[ord(c) % 7 for c in text[:6].ljust(6)] for text in x], device="cpu")
        weight = self.head.weight
        out: Tensor = self.head(x.reshape(len(x), -1)[:, :6].to(weight.device, weight.dtype))
        return out


def teacher() -> nn.Module:
    """Always the same."""
    with seeded(1):
        return Teacher()


def adam(model: nn.Module) -> Optimizer:
    return torch.optim.Adam(model.parameters(), lr=0.02)


def start(
    toy: Toy, recipe: Technique | Recipe, *, seed: int = 0, optimize: Callable[[nn.Module], Optimizer] = adam
) -> tuple[nn.Module, Optimizer, Session]:
    """The toy's network in training mode, an optimizer, and the recipe attached to both."""
    model = toy.network().train()
    optimizer = optimize(model)
    return model, optimizer, toy.attach(recipe, model, optimizer, seed)


def step(toy: Toy, model: nn.Module, optimizer: Optimizer, session: Session, micro: int = 1, number: int = 0) -> None:
    """One optimizer step on all samples, with a closure; its ``number`` seeds the network's own dropout."""
    x, y = toy.data()

    def closure() -> Any:
        optimizer.zero_grad()
        for part in range(micro):
            batch = session.batch(x[part::micro], y[part::micro])
            with toy.randomness(number):
                out = model(batch.x)
            loss = session.loss(toy.loss(out, batch.y), out) / micro
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        return loss.detach()

    stepped: Callable[..., Any] = optimizer.step
    stepped(closure)


Saved = tuple[Any, dict[str, Tensor]]


def save(model: nn.Module, optimizer: Optimizer, session: Session) -> Saved:
    """A copy of all that a checkpoint holds."""
    held: dict[str, Tensor] = {}
    tree = {"model": dict(model.state_dict()), "optimizer": optimizer.state_dict(), "session": session.state_dict()}
    return flatten(tree, held), {name: tensor.detach().clone() for name, tensor in held.items()}


def load(saved: Saved, model: nn.Module, optimizer: Optimizer, session: Session) -> None:
    """Put what :func:`save` gave into new objects."""
    tree = unflatten(*saved)
    model.load_state_dict(tree["model"])
    optimizer.load_state_dict(tree["optimizer"])
    session.load_state_dict(tree["session"])


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
    at_work = start(toy, recipe, seed=seed)
    for number in range(steps):
        if number == interrupt:
            saved = save(*at_work)
            at_work[2].close()
            at_work = start(toy, recipe, seed=seed)
            load(saved, *at_work)
        step(toy, *at_work, micro, number)
    return state(at_work[0]), at_work[2]


def state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of weights and buffers."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(got: dict[str, Tensor], expected: dict[str, Tensor], message: str) -> None:
    """Demand the same bits."""
    for name, tensor in expected.items():
        assert torch.equal(got[name], tensor), f"{message}, in {name}"
