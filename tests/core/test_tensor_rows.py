"""Rows of a tensor that stays where it is give what copied rows give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import dashpot
from dashpot.core.running import tensor_rows
from dashpot.core.running.sizes import at_once
from dashpot.core.running.tensor_rows import TensorRows
from dashpot.data import Problem
from dashpot.evaluation.losses import predict
from dashpot.training.batches import Batches

CPU = torch.device("cpu")
PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (50, 3, 8, 8), dtype=np.uint8))
ROWS = np.array([7, 3, 44, 0, 21, 9, 30, 2, 11, 48, 5])
KINDS = torch.arange(50) % 2


def both(weight: torch.Tensor | None = None) -> tuple[Batches, Batches]:
    index = torch.as_tensor(ROWS)
    others = (KINDS[index],) if weight is None else (KINDS[index], weight)
    return tuple(Batches("data", (x, *others), 4, 5, CPU, "image") for x in (TensorRows(PIXELS, ROWS), PIXELS[index]))


@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 0, 2, 1, 1, 0, 1, 3, 1, 1, 1])])
def test_batches_of_rows_are_those_of_copied_rows(weight: torch.Tensor | None) -> None:
    lazy, plain = both(weight)
    assert lazy.fingerprint() == plain.fingerprint()
    assert lazy.smallest == plain.smallest
    assert lazy.targets is not None
    assert plain.targets is not None
    assert torch.equal(lazy.targets, plain.targets)
    found: list[Any] = [
        lazy.first(),
        *lazy.epoch(1),
        *lazy.epoch(2, keep_bytes=True),
        *lazy.in_order(),
        *lazy.in_order(5),
    ]
    wanted = [plain.first(), *plain.epoch(1), *plain.epoch(2, keep_bytes=True), *plain.in_order(), *plain.in_order(5)]
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one.x, other.x)
        assert one.x.dtype == other.x.dtype
        assert torch.equal(one.y, other.y)


def test_a_training_by_rows_is_bit_for_bit_that_by_copied_rows() -> None:
    trained = []
    for x in (TensorRows(PIXELS, ROWS), PIXELS[ROWS]):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
        dashpot.fit(model, (x, KINDS[ROWS]), valid=(x, KINDS[ROWS]), epochs=2, modality="image", progress=False)
        trained.append(predict(model, PIXELS.float()))
    assert torch.equal(*trained)


def test_a_problem_gives_images_as_rows_and_tables_as_tensors() -> None:
    images = Problem("images", PIXELS.numpy(), np.arange(50) % 2).prepare(np.arange(30))
    x, y = images.subset(ROWS)
    assert isinstance(x, TensorRows)
    assert torch.equal(x[:], images.part(ROWS)[0])
    assert torch.equal(y, images.part(ROWS)[1])
    assert predict(torch.nn.Flatten(), x).shape == (11, 192)
    assert at_once(x) == 4096


@pytest.mark.parametrize(("free", "whole"), [(1e9, True), (11 * 192 * 2 - 1.0, False)])
def test_an_accelerator_holds_all_rows_where_they_fit(
    monkeypatch: pytest.MonkeyPatch, free: float, whole: bool
) -> None:
    monkeypatch.setattr(tensor_rows, "free_memory", lambda: free)
    placed = TensorRows(PIXELS, ROWS).on(torch.device("meta"))
    assert isinstance(placed, torch.Tensor) == whole
    assert placed[:3].device.type == "meta"
    assert len(placed) == 11
