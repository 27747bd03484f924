"""Networks for signals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from dashpot import nets
from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.nets.convnet1d import ConvNet1d


@pytest.mark.parametrize("steps", [8, 9, 17, 40, 129, 513, 5000])
@pytest.mark.parametrize("channels", [1, 12])
def test_lengths_and_channels(steps: int, channels: int) -> None:
    net = nets.build("signal", (channels, steps), 3, width=4)
    out = net(torch.randn(2, channels, steps))
    assert out.shape == (2, 3)
    assert bool(out.isfinite().all())
    out.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_arithmetic_by_hand() -> None:
    net = ConvNet1d(1, 2, steps=8, width=2, depth=1, kernel=3).double().eval()
    x = torch.randn(3, 1, 8, dtype=torch.float64)
    weights = [m.weight for m in net.modules() if isinstance(m, nn.Conv1d)]
    assert [tuple(w.shape) for w in weights] == [(2, 1, 3), (4, 2, 3), (4, 4, 3), (8, 4, 3), (8, 8, 3)]
    h = x
    for place, weight in enumerate(weights):
        h = functional.conv1d(h, weight, padding=1)
        if place in (1, 3):
            h = h.unfold(-1, 2, 2).amax(-1)
        h = (h / (1 + 1e-5) ** 0.5).clamp(min=0)
    assert torch.allclose(net(x), h.mean(-1) @ net.head.weight.T + net.head.bias)


@pytest.mark.parametrize("net", ["MLP", "mlp", "ConvNet1d"])
def test_descriptions(net: str) -> None:
    built = nets.build("signal", (2, 16), 3, net=net, width=8)
    again = nets.from_description(nets.describe(built))
    again.load_state_dict(built.state_dict())
    x = torch.randn(4, 2, 16)
    assert torch.equal(built.eval()(x), again.eval()(x))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"kernel": 4}, ConfigError),
        ({"width": 0}, ConfigError),
        ({"activation": "sine"}, UnknownNameError),
        ({"net": "ResNet"}, UnknownNameError),
        ({"net": "MLP", "norm": "layer"}, UnknownNameError),
    ],
)
def test_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        nets.build("signal", (1, 40), 3, **options)
    with pytest.raises(ConfigError, match="steps"):
        nets.build("signal", (1, 7), 3)
