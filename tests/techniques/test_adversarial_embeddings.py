"""Adversarial training on embeddings, held against what it says, written out in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.core.errors import ConflictError, UsageError
from dashpot.nets import TextBag, TextConv
from dashpot.testing import Toy
from dashpot.texts.lexicon import Lexicon

X = torch.randint(1, 9, (12, 5), generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3
MOVED = dashpot.noise.AdversarialEmbeddings
TEXTS = [["good", "film", w] for w in "abcdef"] + [["bad", "film", w] for w in "abcdef"]


def attached(technique: Any, model: nn.Module, **options: Any) -> dashpot.Session:
    session: dashpot.Session = technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)
    return session


def linear(outputs: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(9, 4, padding_idx=0), nn.Flatten(), nn.Linear(20, outputs)).double()


def by_hand(model: nn.Sequential, x: Tensor, y: Tensor, kind: str, epsilon: float, weight: float) -> np.ndarray:
    """Of a linear model of the vectors, whose gradient is its weight times what the loss says of each output."""
    table, w, b = (p.detach().numpy() for p in model.parameters())
    out, found = table[x.numpy()].reshape(len(x), -1), []
    for vectors, words, target in zip(out, x.numpy(), y.numpy(), strict=True):

        def loss(v: np.ndarray, target: Any = target) -> tuple[float, np.ndarray]:
            z = w @ v + b
            if kind == "values":
                return float(np.mean((z - target) ** 2)), 2 * (z - target) / len(z)
            if kind == "multilabel":
                p = 1 / (1 + np.exp(-z))
                each = -(target * np.log(p) + (1 - target) * np.log(1 - p))
                return float(each.mean()), (p - target) / len(z)
            p = np.exp(z) / np.exp(z).sum()
            return float(-np.log(p[target])), p - np.eye(len(z))[target]

        plain, of_output = loss(vectors)
        gradient = w.T @ of_output
        length = np.sqrt(np.mean([np.sum(table[word] ** 2) for word in words if word]))
        moved, _ = loss(vectors + epsilon * length * gradient / np.linalg.norm(gradient))
        found.append((1 - weight) * plain + weight * moved)
    return np.array(found)


@pytest.mark.parametrize("kind", ["classes", "multilabel", "values"])
def test_the_loss_is_what_it_says(kind: str) -> None:
    model, x = linear(3), X.clone()
    x[::2, 3:] = 0  # padding is no word
    y = {"classes": Y, "multilabel": functional.one_hot(Y, 3).double(), "values": torch.randn(12, 3).double()}[kind]
    criterion: Any = {
        "classes": nn.CrossEntropyLoss(reduction="none"),
        "multilabel": lambda out, y: functional.binary_cross_entropy_with_logits(out, y, reduction="none").mean(1),
        "values": lambda out, y: (out - y).square().mean(dim=1),
    }[kind]
    session = attached(MOVED(0.7, weight=0.3), model, targets=kind)
    session.batch(x, y)
    out = model(x)
    each = criterion(out, y)
    found = session.loss(each, out)
    assert float(found.detach()) == pytest.approx(float(by_hand(model, x, y, kind, 0.7, 0.3).mean()), rel=1e-9)


def test_gradients_are_those_of_both_losses_and_not_of_the_change() -> None:
    """By finite differences of the loss with the change held as it is."""
    model, w = linear(3), 0.4
    session = attached(MOVED(0.5, weight=w), model)
    session.batch(X, Y)
    out = model(X)
    session.loss(nn.CrossEntropyLoss(), out).backward()
    twin = linear(3)
    e = twin[0](X).detach()
    leaf = e.clone().requires_grad_()
    functional.cross_entropy(twin[2](leaf.flatten(1)), Y, reduction="sum").backward()
    assert leaf.grad is not None
    length = e.square().sum(-1).mean(1).sqrt()
    change = 0.5 * (length / leaf.grad.flatten(1).norm(dim=1))[:, None, None] * leaf.grad
    head, table = twin[2], twin[0].weight

    def loss() -> Tensor:
        vectors = table[X]
        near, far = head(vectors.flatten(1)), head((vectors + change).flatten(1))
        return (1 - w) * functional.cross_entropy(near, Y) + w * functional.cross_entropy(far, Y)

    with torch.no_grad():
        for place in ((1, 0), (5, 3)):
            values = []
            for step in (1e-6, -1e-6):
                table[place] += step
                values.append(float(loss()))
                table[place] -= step
            expected = (values[0] - values[1]) / 2e-6
            assert float(model[0].weight.grad[place]) == pytest.approx(expected, abs=1e-7)


class Placed(nn.Module):
    """Words and their places, of which one table has a row for all samples, and statistics."""

    def __init__(self, *, trained: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.word, self.place = nn.Embedding(9, 4), nn.Embedding(5, 4)
        self.norm, self.head = nn.BatchNorm1d(4), nn.Linear(4, 3)
        self.word.weight.requires_grad_(trained)

    def forward(self, x: Tensor) -> Tensor:
        h = self.word(x) + self.place(torch.arange(x.shape[1])[None])
        out: Tensor = self.head(self.norm(torch.tanh(h).mean(dim=1)))
        return out


@pytest.mark.parametrize("technique", [MOVED(0.5), dashpot.noise.VirtualAdversarial(1.0)], ids=["moved", "virtual"])
@pytest.mark.parametrize("trained", [True, False])
def test_tables_of_places_and_vectors_that_are_not_trained(technique: Any, trained: bool) -> None:
    model = Placed(trained=trained)
    session = attached(technique, model)
    session.batch(X, Y)
    out = model(X)
    loss = session.loss(nn.CrossEntropyLoss(), out)
    assert float(loss.detach()) > float(functional.cross_entropy(out, Y).detach()) + 1e-4
    loss.backward()
    assert (model.word.weight.grad is not None) == trained
    assert model.norm.num_batches_tracked == 1
    model.eval()
    again = model(X)
    session.close()
    assert torch.equal(model(X), again)  # no change is left behind


@pytest.mark.parametrize("kind", [TextConv, TextBag])
def test_in_the_networks_for_texts(kind: Any) -> None:
    lexicon = Lexicon.fit(TEXTS)
    torch.manual_seed(0)
    net = kind.of(lexicon, outputs=2, width=8)
    with torch.no_grad():
        for p in net.parameters():
            p += 0.1 * torch.randn_like(p)
    x, y = torch.from_numpy(lexicon.transform(TEXTS)), torch.arange(12) // 6
    technique = MOVED(0.5, weight=1.0)
    session = attached(technique, net)
    assert technique.describe(session.view).endswith("vectors_of_words" if kind is TextConv else "linear, embedding")
    session.batch(x, y)
    out = net(x)
    loss = session.loss(nn.CrossEntropyLoss(), out)
    assert float(loss.detach()) > float(functional.cross_entropy(out, y).detach()) + 1e-3
    loss.backward()
    assert all(p.grad is not None for p in net.parameters())


def test_training_keeps_no_graph_between_steps() -> None:
    from dashpot.techniques.noise.shifts import _shifts

    model = Toy(modality="text").network()
    session = attached(MOVED(0.5), model)
    own = [shifts for ctx, shifts in _shifts.items() if ctx.model is model]
    assert len(own) == 1
    session.batch(X, Y)
    out = model(X)
    assert own[0]._seen
    session.loss(nn.CrossEntropyLoss(), out)
    assert not own[0]._seen


def test_bad_input_is_refused_by_name() -> None:
    with pytest.raises(ConflictError, match=r"AdversarialEmbeddings finds no nn\.Embedding"):
        attached(MOVED(0.5), nn.Linear(6, 3))
    lost = nn.Sequential(nn.Linear(6, 3))
    lost.embeds_at = ("words",)  # type: ignore[assignment]  # as a class would say it
    with pytest.raises(ConflictError, match="finds none of words"):
        attached(MOVED(0.5), lost)
    model = linear(3)
    session = attached(MOVED(0.5), model)
    with pytest.raises(UsageError, match=r"AdversarialEmbeddings .* session\.batch"):
        session.loss(nn.CrossEntropyLoss(), model(X), Y)
    session.batch(X, Y)
    with torch.no_grad():
        out = model(X)
    with pytest.raises(UsageError, match="with gradients enabled"):
        session.loss(nn.CrossEntropyLoss(), out)
