"""R-Drop and self-distillation, held against loops by hand."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.core.errors import UsageError
from dashpot.techniques.outputs.r_drop import SamePassesWarning

X = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3
LABELS = (torch.rand(12, 3, generator=torch.Generator().manual_seed(1)) < 0.4).float()
RDROP = dashpot.outputs.RDrop(2.0)
CRITERIA = {"classes": nn.CrossEntropyLoss(), "multilabel": nn.BCEWithLogitsLoss(), "values": nn.MSELoss()}
TARGETS = {"classes": Y, "multilabel": LABELS, "values": X[:, :3]}


class Recorded(nn.Module):
    """Drops half of its hidden values, and remembers what each pass gave."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
        self.gave: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.gave.append(self.body(x))
        return self.gave[-1]


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def apart(kind: str, one: Tensor, other: Tensor) -> float:
    """The mean over samples of the two divergences' mean, or of the squared difference."""
    a, b = (t.detach().double().numpy() for t in (one, other))
    if kind == "values":
        return float(((a - b) ** 2).mean())
    if kind == "multilabel":
        a, b = (np.stack([t, np.zeros_like(t)], axis=-1) for t in (a, b))
    p, q = softmax(a), softmax(b)
    return float(((p - q) * np.log(p / q)).sum(axis=-1).mean() / 2)


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_r_drop_without_dropout_says_that_it_does_nothing(p: float) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(p), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with RDROP.attach(model, optimizer) as session, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            x, _ = session.batch(X, Y)
            session.loss(nn.CrossEntropyLoss(), model(x)).backward()
            optimizer.step()
    said = [str(one.message) for one in told if one.category is SamePassesWarning]
    assert len(said) == (p == 0)  # the first step tells
    assert all("RDrop" in text and "Dropout(0.1) | RDrop()" in text for text in said)


@pytest.mark.parametrize("kind", CRITERIA)
def test_r_drop_is_the_divergence_of_both_passes(kind: Any) -> None:
    model = Recorded()
    session = RDROP.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), targets=kind)
    x, y = session.batch(X, TARGETS[kind])
    out = model(x)
    loss = session.loss(CRITERIA[kind], out)
    first, second = model.gave
    assert not torch.equal(first, second)
    expected = float(CRITERIA[kind](first, y).detach()) + 2.0 * apart(kind, first, second)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert model.body[0].weight.grad is not None
    assert model.body[1].num_batches_tracked == 1


@pytest.mark.parametrize("micro", [2, 3])
def test_r_drop_under_accumulation(micro: int) -> None:
    """Each micro-batch has a second pass of its own, with masks of its own; the gradients add up."""
    model = Recorded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    session = RDROP.attach(model, optimizer)
    grads = []
    for part in range(micro):
        x, y = session.batch(X[part::micro], Y[part::micro])
        out = model(x)
        session.loss(nn.CrossEntropyLoss(), out).div(micro).backward()
        a, b = (t.log_softmax(1) for t in model.gave[-2:])
        by_hand = functional.cross_entropy(model.gave[-2], y) + ((a.exp() - b.exp()) * (a - b)).sum(1).mean()
        grads.append(float(by_hand.detach()) / micro)
    assert len(model.gave) == 2 * micro
    assert len({float(out.detach().sum()) for out in model.gave}) == 2 * micro
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.step()
    # The bias in front of a batch norm has a gradient of rounding only, too small to move it.
    moved = [
        not torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True) if p.grad.abs().max() > 1e-4
    ]
    assert len(moved) == 5
    assert all(moved)
    assert session.step == 1


def test_r_drop_in_micro_batches_is_r_drop_by_hand() -> None:
    """Gradients of two micro-batches, against autograd on the recorded passes of a twin."""
    model = Recorded()
    session = RDROP.attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    torch.manual_seed(5)  # of the loop's own passes
    for part in range(2):
        x, _ = session.batch(X[part::2], Y[part::2])
        (session.loss(nn.CrossEntropyLoss(), model(x)) / 2).backward()
    grads = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model.gave.clear()
    session.close()
    again = RDROP.attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    torch.manual_seed(5)
    for part in range(2):
        x, y = again.batch(X[part::2], Y[part::2])
        again.loss(nn.CrossEntropyLoss(), model(x))
        first, second = model.gave[-2:]
        a, b = first.log_softmax(1), second.log_softmax(1)
        ((functional.cross_entropy(first, y) + ((a.exp() - b.exp()) * (a - b)).sum(1).mean()) / 2).backward()
    for p, g in zip(model.parameters(), grads, strict=True):
        torch.testing.assert_close(p.grad, g)


def test_r_drop_needs_the_batch_and_to_know_what_floats_are() -> None:
    model = Recorded()
    session = RDROP.attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(UsageError, match=r"RDrop .* session\.batch"):
        session.loss(nn.CrossEntropyLoss(), model(X), Y)
    session.batch(X, X[:, :3])
    out = model(X)
    with pytest.raises(UsageError, match="RDrop cannot tell whether the targets are values"):
        session.loss((out - X[:, :3]).square(), out)


@pytest.mark.parametrize("recipe", [RDROP, dashpot.outputs.SelfDistillation(1.0)], ids=lambda t: t.name)
def test_under_autocast(recipe: Any) -> None:
    model = Recorded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    session = recipe.attach(model, optimizer)
    for _ in range(2):
        x, _ = session.batch(X, Y)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(x)
        loss = session.loss(nn.CrossEntropyLoss(), out)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert [t.dtype for t in model.gave[-2:]] == [torch.bfloat16] * 2
        assert loss.isfinite()


@pytest.mark.parametrize("kind", CRITERIA)
def test_self_distillation_is_the_loop_by_hand(kind: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    twin, teacher = copy.deepcopy(model), copy.deepcopy(model)
    technique = dashpot.outputs.SelfDistillation(0.7, decay=0.3, temperature=2.0)
    criterion, y = CRITERIA[kind], TARGETS[kind]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    session = technique.attach(model, optimizer, targets=kind)
    other = torch.optim.SGD(twin.parameters(), lr=0.5)
    for step in range(5):
        x, _ = session.batch(X, y)
        optimizer.zero_grad()
        session.loss(criterion, model(x)).backward()
        optimizer.step()
        out, taught = twin(X), teacher(X).detach()
        if kind == "classes":
            soft = functional.softmax(taught / 2, 1)
            added = 4 * functional.kl_div(functional.log_softmax(out / 2, 1), soft, reduction="batchmean")
        elif kind == "values":
            added = functional.mse_loss(out, taught)
        else:
            soft = (taught / 2).sigmoid()
            cross, own = (functional.binary_cross_entropy_with_logits(t / 2, soft) for t in (out, taught))
            added = 4 * (cross - own)
        other.zero_grad()
        (criterion(out, y) + 0.7 * added).backward()
        other.step()
        with torch.no_grad():
            share = 1 - min(0.3, (1 + step) / (10 + step))
            for a, p in zip(teacher.parameters(), twin.parameters(), strict=True):
                a.copy_((1 - share) * a + share * p)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_smoothing_first_then_what_is_added() -> None:
    """Smoothed after R-Drop, the divergence would shrink with it: whatever the order in the recipe, it does not."""
    smoothing = dashpot.LabelSmoothing(0.5)
    for recipe in (RDROP | smoothing, smoothing | RDROP):
        model = Recorded()
        session = recipe.attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        x, y = session.batch(X, Y)
        loss = session.loss(nn.CrossEntropyLoss(), model(x))
        first, second = model.gave
        plain = functional.cross_entropy(first.detach(), y, label_smoothing=0.5)
        assert float(loss.detach()) == pytest.approx(float(plain) + 2 * apart("classes", first, second), rel=1e-5)
