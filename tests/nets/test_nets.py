"""The built-in networks: shapes, descriptions, and that they can learn."""

from __future__ import annotations

import json

import pytest
import torch

import dashpot
from dashpot import nets


@pytest.mark.parametrize(("kind", "shape"), [("table", (7,)), ("image", (1, 8, 8)), ("image", (3, 33, 20))])
def test_shapes_and_descriptions(kind: str, shape: tuple[int, ...]) -> None:
    net = nets.build(kind, shape, 4).eval()
    twin = nets.from_description(json.loads(json.dumps(nets.describe(net)))).eval()
    twin.load_state_dict(net.state_dict())
    x = torch.randn(5, *shape)
    assert net(x).shape == (5, 4)
    assert torch.equal(net(x), twin(x))


def test_dropout_finds_its_place_after_the_last_norm() -> None:
    net = nets.build("image", (3, 16, 16), 4)
    session = dashpot.Dropout(p=0.3).attach(
        net, torch.optim.SGD(net.parameters(), lr=0.1)
    )  # no warning, which would be an error here
    assert "after 1 modules: dropout" in session.plan()


def test_small_images_are_refused_with_the_way_out() -> None:
    with pytest.raises(dashpot.ConfigError, match="at least 8 x 8"):
        nets.build("image", (1, 7, 9), 2)


def test_the_convnet_learns_where_a_bar_is() -> None:
    x = torch.zeros(60, 1, 8, 8)
    y = torch.arange(60) % 2
    for i in range(60):
        position = i % 8
        if y[i]:
            x[i, 0, position] = 1
        else:
            x[i, 0, :, position] = 1
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nets.build("image", (1, 8, 8), 2)
    assert dashpot.fit(net, (x, y), epochs=8, batch_size=16, progress=False).history[-1]["train_accuracy"] == 1
