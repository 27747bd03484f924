"""Evaluation takes as many rows at once as memory is planned for, and gives the same answers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from dashpot.core.running.sizes import at_once
from dashpot.evaluation.losses import predict
from dashpot.training.batches import Batches


class Watched(nn.Module):
    """Answers with the mean of each row, and notes how many values it was given at once."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.numel())
        return x.float().flatten(1).mean(dim=1, keepdim=True)


@pytest.mark.parametrize("shape", [(3, 224, 224), (1, 600, 600), (3, 32, 32)])
def test_images_are_evaluated_in_batches_that_are_bounded_by_their_values(shape: tuple[int, ...]) -> None:
    x = torch.arange(40, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(40, *shape)
    model = Watched()
    assert torch.equal(predict(model, x)[:, 0], torch.arange(40.0))
    assert max(model.seen) <= 1 << 21
    assert sum(model.seen) == x.numel()


def test_one_image_beyond_the_bound_is_still_evaluated() -> None:
    model = Watched()
    assert predict(model, torch.ones(2, 1, 2048, 2048)).tolist() == [[1.0], [1.0]]
    assert len(model.seen) == 2


def test_a_table_is_evaluated_4096_rows_at_a_time_however_wide_it_is() -> None:
    assert at_once(torch.zeros(5000, 1).expand(5000, 100_000)) == 4096
    model = Watched()
    predict(model, torch.zeros(5000, 20))
    assert model.seen == [4096 * 20, 904 * 20]


def test_a_structure_is_bounded_by_its_images_together() -> None:
    image = torch.zeros(1, 3, 224, 224)
    assert at_once({"left": image, "right": image, "table": torch.zeros(1, 10**7)}) == (1 << 21) // (2 * 150528)
    assert at_once(torch.zeros(0, 3, 8, 8)) == 4096


@pytest.mark.parametrize("limit", [None, 7, 30])
def test_batches_in_order_are_bounded_and_hold_the_rows_that_were_asked_for(limit: Any) -> None:
    x = torch.arange(30, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(30, 3, 224, 224)
    batches = Batches("data", (x, torch.arange(30)), 8, 0, torch.device("cpu"), "image")
    found = list(batches.in_order(limit))
    assert max(batch.x.numel() for batch in found) <= 1 << 21
    rows = torch.cat([batch.y for batch in found])
    assert torch.equal(rows, torch.linspace(0, 29, limit or 30).long())
    assert torch.equal(torch.cat([(batch.x[:, 0, 0, 0] * 255).round().long() for batch in found]), rows)
