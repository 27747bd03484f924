"""bfloat16 in the frameworks' own ways: the weights of the raw loop under torch's autocast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.integrations.loops import DRIVERS, RECIPES, make, raw

pytestmark = pytest.mark.filterwarnings("ignore")  # of the frameworks, about themselves
OPTIONS: dict[str, dict[str, Any]] = {
    "lightning": {"precision": "bf16-mixed"},
    "transformers": {"bf16": True},
    "accelerate": {"mixed_precision": "bf16"},
}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Accelerate keeps the precision of a process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


class Cast(torch.nn.Sequential):
    """The network under autocast, with outputs in float32."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            out = super().forward(x)
        assert out.dtype == torch.bfloat16
        return out.float()


PAIRS = [
    *((driver, "l1-ema") for driver in OPTIONS),
    ("transformers", "mixup-smoothing"),
    ("accelerate", "mixup-smoothing"),
]


@pytest.mark.parametrize(("driver", "recipe"), PAIRS)
def test_weights_are_those_of_the_raw_loop_under_autocast(driver: str, recipe: str, tmp_path: Path) -> None:
    text = RECIPES[recipe]
    expected, plain = raw(text, model=Cast(*make())), raw(text)
    found = DRIVERS[driver](text, tmp_path, **OPTIONS[driver])
    assert not torch.equal(plain.weights["0.weight"], expected.weights["0.weight"])  # it is another arithmetic
    for name, value in expected.weights.items():
        assert value.dtype == found.weights[name].dtype == torch.float32
        assert torch.equal(found.weights[name], value), name
        assert torch.equal(found.saved[name], expected.saved[name]), name
    torch.testing.assert_close(found.scores, expected.scores)


def test_lightning_mixes_and_takes_the_loss_under_autocast_too(tmp_path: Path) -> None:
    """So its arithmetic with mixtures is that of a raw loop which does the same, and no other framework's."""
    text = RECIPES["mixup-smoothing"]
    expected = raw(text, within=lambda: torch.autocast("cpu", torch.bfloat16))
    found = DRIVERS["lightning"](text, tmp_path, **OPTIONS["lightning"])
    for name, value in expected.weights.items():
        assert torch.equal(found.weights[name], value), name
        assert torch.equal(found.saved[name], expected.saved[name]), name
    torch.testing.assert_close(found.scores, expected.scores)
