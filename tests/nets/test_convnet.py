"""The family of networks for images: what each member is, by size and options."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

import dashpot
from dashpot import nets
from dashpot.nets import ChannelsLast, ConvNet
from dashpot.population.stack import stacked


def made(*args: Any, **options: Any) -> ConvNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ConvNet(*args, **options)


SHAPES = [(1, 8, 8), (2, 9, 31), (6, 17, 17), (1, 28, 28), (4, 31, 9), (3, 65, 90), (3, 96, 96), (5, 224, 224)]
EVERYTHING: dict[str, Any] = {"depth": 2, "residual": True, "se": True, "activation": "gelu"}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["default", "everything"])
def test_every_size_and_any_channels(shape: tuple[int, int, int], options: dict[str, Any]) -> None:
    net, x = nets.build("image", shape, 4, width=4, **options), torch.randn(2, *shape)
    out = net(x)
    out.square().sum().backward()
    assert out.shape == (2, 4)
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())
    assert torch.equal(net.eval()(x.to(memory_format=torch.channels_last)), net(x))


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["default", "everything"])
def test_bfloat16_is_the_network_to_its_rounding(options: dict[str, Any]) -> None:
    net, x = made(3, 5, size=17, width=8, **options), torch.randn(6, 3, 17, 17)
    exact = net(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net(x)
    assert rounded.dtype == torch.bfloat16
    assert (
        float((rounded.float() - exact).detach().norm() / exact.detach().norm()) < 0.05
    )  # eight bits, through half a dozen layers
    rounded.float().square().sum().backward()
    assert all(p.dtype == torch.float32 and bool(p.grad.isfinite().all()) for p in net.parameters())


@pytest.mark.parametrize(
    ("size", "behind_stem", "behind_stages", "widths"),
    [
        (8, 8, 2, [4, 8, 16]),
        (16, 16, 4, [4, 8, 16]),
        (32, 16, 4, [4, 8, 16]),
        (64, 32, 4, [4, 8, 16, 32]),
        (224, 56, 4, [4, 8, 16, 32, 32]),
    ],
)
def test_stem_and_stages_follow_the_size(size: int, behind_stem: int, behind_stages: int, widths: list[int]) -> None:
    net, seen = made(3, 2, size=size, width=4), []
    for part in (net.stem, net.stages):
        part.register_forward_hook(lambda module, args, out: seen.append(out.shape))
    net.eval()(torch.randn(1, 3, size, size))
    assert [shape[-1] for shape in seen] == [behind_stem, behind_stages]
    assert [seen[0][1], *(stage.first.conv.out_channels for stage in net.stages)] == widths


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"depth": 0},
        {"depth": 2, "residual": True},
        {"se": True},
        {"activation": "gelu"},
        {"mean": [0.5], "std": [0.2]},
    ],
)
def test_options_are_saved_with_the_description(options: dict[str, Any]) -> None:
    net = made(1, 3, size=16, width=4, **options).eval()
    described = json.loads(json.dumps(nets.describe(net)))
    assert {**described, **options} == described
    twin = nets.from_description(described).eval()
    twin.load_state_dict(net.state_dict())
    x = torch.rand(4, 1, 16, 16)
    assert torch.equal(net(x), twin(x))


def test_a_description_from_before_the_family_is_the_residual_network() -> None:
    old = {"net": "ConvNet", "channels": 1, "outputs": 2, "width": 4}
    assert isinstance(nets.from_description(old), nets.ResNet)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be"),
        ({"depth": -1}, "depth must be"),
        ({"size": 7}, "size must be"),
        ({"activation": "tanh"}, "activation"),
        ({"se": "yes"}, "se must be True or False"),
        ({"residual": 2}, "residual must be True or False"),
    ],
)
def test_what_no_network_has_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(dashpot.ConfigError, match=message):
        ConvNet(3, 2, **options)


def test_excitation_starts_as_the_network_without_it() -> None:
    plain, excited = made(2, 3, size=16, width=8).eval(), made(2, 3, size=16, width=8, se=True).eval()
    excited.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(3, 2, 16, 16)
    torch.testing.assert_close(excited(x), plain(x))
    for stage in excited.stages:
        nn.init.normal_(stage.excite.scale.bias)
    assert not torch.allclose(excited(x), plain(x))


def test_a_residual_stage_adds_what_it_got() -> None:
    net = made(1, 2, size=16, width=4, depth=1, residual=True).eval()
    stage, x = net.stages[0], torch.randn(2, 4, 16, 16)
    torch.testing.assert_close(stage(x), stage.first(x) + stage.more(stage.first(x)))


def test_channels_lie_side_by_side_inside() -> None:
    net, seen = made(3, 2, size=16, width=4), []
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(lambda module, args, out: seen.append(out))
    x = torch.randn(2, 3, 16, 16)
    net(x)
    assert seen
    assert all(out.is_contiguous(memory_format=torch.channels_last) for out in seen)
    assert x.is_contiguous()  # the caller's own


def test_the_order_in_memory_changes_no_prediction() -> None:
    net = made(3, 4, size=32, width=8).eval()
    plain = made(3, 4, size=32, width=8).eval().to(memory_format=torch.contiguous_format)
    plain.memory = nn.Identity()
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(net(x), plain(x), rtol=1e-4, atol=1e-4)


def test_the_order_in_memory_passes_on_what_it_does_not_know() -> None:
    for other in (torch.zeros(2, 3), torch.zeros(2, 4, 3, 8, 8), "text"):
        assert ChannelsLast()(other) is other


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["default", "everything"])
@pytest.mark.parametrize("size", [8, 9, 31])
def test_members_stacked_are_members_alone(options: dict[str, Any], size: int) -> None:
    members = []
    for seed in (0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            members.append(ConvNet(2, 3, size=size, width=4, **options))
    x = torch.randn(6, 2, size, size)
    whole = stacked(members, x).eval()
    out = whole(x.expand(2, *x.shape))
    for k, member in enumerate(members):
        torch.testing.assert_close(out[k], member.eval()(x), rtol=1e-4, atol=1e-4)
