"""The loop of docs/distributed.md that all frameworks' ranks must equal, and what their tests demand alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

import dashpot
from tests.distributed.ranks import ranks as ranks
from tests.integrations.loops import EPOCHS, HELD_X, HELD_Y, RATE, SIZE, STEPS, X, Y, make, weights_of

COUNT = 2
Refused = Sequence[Callable[[], Any]]
PART = SIZE // COUNT
"""Rows of a batch that a rank has."""


def every_second(rank: int) -> Tensor:
    """The rows of a rank of Lightning, in order: a DistributedSampler's."""
    return torch.arange(rank, len(X), COUNT)


def in_blocks(rank: int) -> Tensor:
    """The rows of a rank of Accelerate, and so of Transformers' Trainer: every second batch."""
    return torch.arange(len(X)).view(-1, COUNT, PART)[:, rank].reshape(-1)


def raw(
    recipe: Any,
    rank: int,
    rows: Tensor,
    held: slice,
    *,
    build: Callable[[], nn.Module] = make,
    each: int = 1,
    epochs: int = EPOCHS,
) -> dict[str, Any]:
    """The loop of docs/distributed.md on these rows, scored on the ``held`` ones; ``each`` micro-batches make a step,
    without a closure where several.
    """
    net = build()
    model = DistributedDataParallel(net)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    session = dashpot.Recipe.coerce(recipe).attach(
        model,
        optimizer,
        classes=3,
        closure=each == 1,
        steps=STEPS // each * epochs,
        steps_per_epoch=STEPS // each,
    )
    x, y = X[rows], Y[rows]
    scores: list[float] = []
    saved: dict[str, Tensor] = {}

    def gradient(at: int) -> Tensor:
        batch = session.batch(x[at : at + PART], y[at : at + PART])
        loss = session.loss(cross_entropy, model(batch.x))
        (loss / each).backward()
        return loss

    with session:
        for _ in range(epochs):
            for start in range(0, len(x), PART * each):

                def closure(start: int = start) -> Tensor:
                    optimizer.zero_grad()
                    return gradient(start)

                if each == 1:
                    optimizer.step(closure)  # type: ignore[arg-type]  # torch types closures as returning float
                    continue
                optimizer.zero_grad()
                *first, last = range(start, start + PART * each, PART)
                with model.no_sync():
                    for at in first:
                        gradient(at)
                gradient(last)
                optimizer.step()
            with session.evaluate():
                scores.append(cross_entropy(net(HELD_X[held]), HELD_Y[held]).item())
                saved = weights_of(net)
            if session.epoch({"val_loss": scores[-1]}).stop:
                break
    return {"weights": weights_of(net), "saved": saved, "epochs": len(scores)}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def demand_equal(found: dict[str, Any], expected: dict[str, Any], name: str) -> None:
    """The same operations in the same order, and a sum of two over the ranks: bit for bit."""
    assert same(found["weights"], expected["weights"]), name
    assert same(found["saved"], expected["saved"]), name
    assert found["epochs"] == expected["epochs"], name


def demand_trained(found: list[dict[str, Any]]) -> None:
    """By name, of each rank: what the framework's loop gave and what the raw one gave, equal on both ranks, and other
    than at the start. Under ``resumed``: L1 and EMA, gone on with after a cut.
    """
    first, second = found
    resumed = [one.pop("resumed") for one in found]
    assert first
    for name in first:
        for mine, expected in (first[name], second[name]):
            demand_equal(mine, expected, name)
        assert same(first[name][0]["weights"], second[name][0]["weights"]), name
        assert not same(first[name][0]["weights"], weights_of(make())), name
    whole = first["l1-ema"][0]
    columns = first["columns"][0]["weights"]["0.weight"] == 0
    assert bool((columns == columns[:1]).all())
    assert bool(columns.any())
    assert int((whole["saved"]["0.weight"] == 0).sum()) > 0
    for one in resumed:
        assert same(one["weights"], whole["weights"])
        assert same(one["saved"], whole["saved"])


def said(cases: Refused) -> list[str]:
    """What is said of each thing that cannot be."""
    found = []
    for case in cases:
        with pytest.raises(dashpot.DashpotError) as error:
            case()
        found.append(str(error.value))
    return found


def demand_refused(found: list[dict[str, Any]], expected: Sequence[str]) -> None:
    """On every rank, under ``refused``, these words."""
    for one in found:
        told = one.pop("refused")
        assert [words in text for words, text in zip(expected, told, strict=True)] == [True] * len(expected), told
