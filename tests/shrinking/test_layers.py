"""Layers whose units leave only together or in equal numbers, and recurrent ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.shrinking.plan import Plan
from tests.shrinking.zoo import Groups, Root, Tagger, close


def plant(*tensors: Tensor, at: Any, value: float = 0.0) -> None:
    with torch.no_grad():
        for tensor in tensors:
            tensor[at] = value


def doubles(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_a_dead_group_of_a_convolution_leaves_whole() -> None:
    torch.manual_seed(0)
    model = Groups().double()
    plant(model.stem.weight, model.stem.bias, at=slice(4, 8))
    plant(model.one.bias, at=slice(6, 12), value=0.3)  # what it gives then is the same everywhere
    plant(model.two.bias, at=slice(2, 4), value=0.7)
    found = dashpot.shrink(model, doubles(2, 2, 5, 5))
    small = found.model
    assert (small.one.groups, small.one.in_channels, small.one.out_channels) == (3, 12, 18)
    assert (small.two.groups, small.two.weight.shape) == (3, (6, 6, 1, 1))
    assert found.stayed == {}
    x = 3 * doubles(3, 2, 7, 6)
    assert close(model(x), small(x), 1e-12)


@pytest.mark.parametrize("padding", [0, 1])
def test_groups_keep_equal_numbers(padding: int) -> None:
    """Of four inputs of a group other ones leave than of the next."""
    torch.manual_seed(0)
    model = Groups(padding=padding).double()
    dead = [0, 3, 5, 6, 8, 9, 10, 13, 15]  # two of each group, and a third of the third
    plant(model.stem.weight, model.stem.bias, at=dead)
    gone = [1, 2, 8, 11, 12, 17, 18, 20, 21]  # two of each group of six, and a third of the last
    plant(model.one.weight, at=gone)
    plant(model.one.bias, at=gone, value=0.5)
    found = dashpot.shrink(model, doubles(2, 2, 5, 5))
    assert found.model.one.weight.shape == (16, 2, 3, 3)
    assert found.model.two.weight.shape == (8, 4, 1, 1)
    assert found.model.one.groups == 4
    assert found.stayed == {"groups of one keep equal numbers": 2}
    x = 3 * doubles(3, 2, 7, 6)
    assert close(model(x), found.model(x), 1e-12)
    again = Plan.from_dict(json.loads(json.dumps(found.plan.to_dict())))
    assert torch.equal(again.cut("one.weight", model.one.weight), found.model.one.weight)


def test_a_constant_in_front_of_a_padded_convolution_in_groups_stays() -> None:
    torch.manual_seed(0)
    model = Groups(padding=1).double()
    plant(model.stem.weight, at=[0, 4, 8, 12])
    plant(model.stem.bias, at=[0, 4, 8, 12], value=0.5)
    found = dashpot.shrink(model, doubles(2, 2, 5, 5))
    assert found.layers == {}
    assert found.stayed == {"its constant ends at the border of one, which pads in groups": 4}


def test_shuffled_channels_leave_where_all_groups_can() -> None:
    torch.manual_seed(0)
    model = Groups(shuffled=True).double()
    gone = [1, 7, 13, 19]  # the second of each group of six
    plant(model.one.weight, model.one.bias, at=gone)
    found = dashpot.shrink(model, doubles(2, 2, 5, 5))
    x = doubles(3, 2, 7, 6)
    assert close(model(x), found.model(x), 1e-12)


def test_a_transposed_convolution_in_groups() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(
            nn.Conv2d(2, 12, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(12, 6, 2, stride=2, groups=3),
            nn.ReLU(),
            nn.Conv2d(6, 2, 1),
        )
    ).double()
    plant(model[0].weight, model[0].bias, at=[*range(4, 8), 0, 9])
    found = dashpot.shrink(model, doubles(2, 2, 5, 5))
    assert (found.model[2].groups, found.model[2].weight.shape) == (2, (6, 2, 2, 2))
    x = doubles(2, 2, 4, 4)
    assert close(model(x), found.model(x), 1e-12)


@pytest.mark.parametrize("groups", [1, 4])
def test_of_a_group_norm_whole_groups_leave(groups: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Conv1d(2, 16, 3), nn.GroupNorm(groups, 16), nn.ReLU(), nn.Conv1d(16, 3, 1))).double()
    nn.init.normal_(model[1].bias)
    nn.init.normal_(model[1].weight)
    plant(model[0].weight, at=[*range(4, 8), 9])
    plant(model[0].bias, at=slice(4, 8), value=0.4)
    found = dashpot.shrink(model, doubles(2, 2, 8))
    if groups == 1:
        assert found.layers == {}
        assert found.stayed == {"others of its group in 1 stay": 5}
        return
    assert (found.model[1].num_groups, found.model[1].num_channels) == (3, 12)
    assert found.stayed == {"others of its group in 1 stay": 1}
    x = 3 * doubles(3, 2, 11)
    assert close(model(x), found.model(x), 1e-12)


def test_instance_norm() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv1d(2, 16, 3), nn.InstanceNorm1d(16, affine=True), nn.ReLU(), nn.Conv1d(16, 3, 1))
    ).double()
    nn.init.normal_(model[1].bias)
    plant(model[0].weight, at=[*range(4, 8), 9])
    plant(model[1].weight, at=2)
    found = dashpot.shrink(model, doubles(2, 2, 8))
    assert found.model[1].num_features == 10
    x = 3 * doubles(3, 2, 11)
    assert close(model(x), found.model(x), 1e-12)


def test_an_rms_norm_of_fewer_features_has_another_eps_and_scale(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Root().double()
    dead = [1, 5, 6]
    plant(model.stem.weight, model.stem.bias, model.narrow.weight, model.narrow.bias, at=dead)
    plant(model.stem.bias, at=5, value=1.5)  # a constant that the norms read
    for norm in (model.norm, model.last):
        nn.init.normal_(norm.weight)
    plant(model.wide.weight, model.head.weight, at=(slice(None), 5))  # divided by what varies, it is not read
    found = dashpot.shrink(model, doubles(2, 4))
    assert found.model.stem.out_features == 9
    assert found.model.norm.normalized_shape == (9,)
    assert found.model.norm.eps == pytest.approx((1.5**2 / 12 + 1e-3) * 12 / 9)
    for scale in (1e-3, 1.0, 30.0):
        x = scale * doubles(3, 4)
        assert close(model(x), found.model(x), 1e-12)
    dashpot.save_shrunk(found, tmp_path / "root.safetensors")
    again = dashpot.load_shrunk(lambda: Root().double(), tmp_path / "root.safetensors")
    assert torch.equal(again(x), found.model(x))


def test_a_constant_that_an_rms_norm_divides_by_what_varies_stays_where_it_is_read() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.RMSNorm(8), nn.Linear(8, 3)).double()
    plant(model[0].weight, at=[1, 2])
    plant(model[0].bias, at=2)
    found = dashpot.shrink(model, doubles(2, 4))
    assert found.model[0].out_features == 7
    assert found.stayed == {"1 divides its constant by what varies": 1}
    x = doubles(5, 4)
    assert close(model(x), found.model(x), 1e-12)


def test_a_layer_norm_keeps_its_units_and_says_why() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    plant(model[0].weight, at=[2, 3])
    found = dashpot.shrink(model, torch.randn(2, 4))
    assert found.layers == {}
    assert found.stayed == {"it counts in the mean and variance of 1, a layer norm": 2}


KINDS = {"lstm": (nn.LSTM, 2), "gru": (nn.GRU, 2), "rnn": (nn.RNN, 0)}


@pytest.mark.parametrize("name", KINDS)
def test_hidden_units_that_are_always_zero_leave(name: str, tmp_path: Path) -> None:
    """Their candidate's rows are zero, but for columns of units that are zero, too; other gates are not."""
    kind, gate = KINDS[name]
    torch.manual_seed(0)
    model = Tagger(kind).double()
    layer = model.layer
    dead = [2, 3, 7]
    rows = [gate * 12 + k for k in dead]
    plant(layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0, at=rows)
    plant(layer.weight_hh_l0, at=(rows[0], 7), value=0.8)
    if name != "gru":
        plant(layer.bias_ih_l0, at=rows, value=0.25)
        plant(layer.bias_hh_l0, at=rows, value=-0.25)
    plant(model.stem.weight, at=[4, 5])  # columns of inputs, of which one is a constant
    plant(model.stem.bias, at=4, value=-1.0)
    plant(model.stem.bias, at=5, value=0.6)
    found = dashpot.shrink(model, doubles(2, 3, 3))
    small = found.model.layer
    assert (small.hidden_size, small.input_size) == (9, 8)
    assert found.model.head.in_features == 9
    for length in (1, 4, 9):
        x = 3 * doubles(3, length, 3)
        assert close(model(x), found.model(x), 1e-12)
    dashpot.save_shrunk(found, tmp_path / "a.safetensors")
    again = dashpot.load_shrunk(lambda: Tagger(kind).double(), tmp_path / "a.safetensors")
    assert torch.equal(again(x), found.model(x))
    x = doubles(2, 4, 3)
    for net in (model, found.model):
        net(x).square().mean().backward()
    for key, parameter in found.model.named_parameters():
        big = dict(model.named_parameters())[key].grad
        torch.testing.assert_close(parameter.grad, found.plan.cut(key, big), rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("name", KINDS)
def test_hidden_units_that_nobody_reads_leave(name: str) -> None:
    """Two that read each other, and no other reads them."""
    torch.manual_seed(0)
    model = Tagger(KINDS[name][0]).double()
    pair, others = [1, 8], [k for k in range(12) if k not in (1, 8)]
    gates = len(model.layer.weight_hh_l0) // 12
    rows = torch.tensor([12 * gate + k for gate in range(gates) for k in others])
    for k in pair:
        plant(model.layer.weight_hh_l0, at=(rows, k))
    plant(model.head.weight, at=(slice(None), pair))
    found = dashpot.shrink(model, doubles(2, 3, 3))
    assert found.model.layer.hidden_size == 10
    x = doubles(3, 6, 3)
    assert close(model(x), found.model(x), 1e-12)


def test_units_that_move_without_inputs_stay_and_are_told() -> None:
    """All rows are zero and biases are not: the state goes on from step to step, and other units read it."""
    torch.manual_seed(0)
    model = Tagger().double()
    rows = [12 * gate + 5 for gate in range(4)]
    plant(model.layer.weight_ih_l0, model.layer.weight_hh_l0, at=rows)
    found = dashpot.shrink(model, doubles(2, 1, 3))
    assert found.layers == {}
    assert found.stayed == {"its constant differs by step (in layer)": 1}
    gru = Tagger(nn.GRU).double()
    plant(gru.layer.weight_ih_l0, gru.layer.weight_hh_l0, at=[24 + 5])
    plant(gru.layer.bias_ih_l0, at=24 + 5, value=0.25)
    plant(gru.layer.bias_hh_l0, at=24 + 5, value=-0.25)
    assert dashpot.shrink(gru, doubles(2, 3, 3)).model.layer.hidden_size == 12  # a gate scales one of the two biases


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"num_layers": 2}, "several layers"),
        ({"bidirectional": True}, "two directions"),
        ({"proj_size": 6}, "a projection"),
    ],
)
def test_other_recurrent_layers_stay_whole_but_for_their_inputs(options: dict[str, Any], why: str) -> None:
    torch.manual_seed(0)
    model = Tagger(nn.LSTM, **options).double()
    plant(model.stem.weight, at=[4, 5])
    plant(model.stem.bias, at=[4, 5], value=-1.0)
    plant(model.head.weight, at=(slice(None), 3))
    found = dashpot.shrink(model, doubles(2, 3, 3))
    assert (found.model.layer.input_size, found.model.layer.hidden_size) == (8, 12)
    assert found.stayed[f"layer is a recurrent layer of {why}"] >= 1
    x = doubles(3, 6, 3)
    assert close(model(x), found.model(x), 1e-12)


class Begun(nn.Module):
    """A decoder whose first state is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.layer, self.head = nn.Linear(3, 8), nn.GRU(3, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x, self.first(x[:, 0]).unsqueeze(0))[0])


def test_states_that_are_given_keep_a_layer_whole() -> None:
    torch.manual_seed(0)
    model = Begun().double()
    plant(model.layer.weight_ih_l0, model.layer.weight_hh_l0, at=[16, 17])
    plant(model.layer.bias_ih_l0, model.layer.bias_hh_l0, at=[16, 17])
    found = dashpot.shrink(model, doubles(2, 3, 3))
    x = functional.relu(doubles(2, 5, 3))
    assert found.model.layer.hidden_size == 8
    assert close(model(x), found.model(x), 1e-12)


class Shuffle(nn.Module):
    """Channels are shuffled among four groups, a number that is written in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 16, 1), nn.Conv2d(16, 8, 1, groups=4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x).relu()
        b, c, h, w = x.shape
        return self.two(x.view(b, 4, c // 4, h, w).transpose(1, 2).reshape(b, c, h, w)).sum((2, 3))


def test_a_number_of_groups_in_the_code_keeps_so_many_groups() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Shuffle(), nn.Linear(8, 2)).double()
    plant(model[0].two.bias, at=slice(2, 4))  # a sum over places of any other constant depends on their number
    dead = [1, 5, 9, 12, 13, 14, 15]  # the second of each group, and the whole last one
    plant(model[0].one.weight, model[0].one.bias, at=dead)
    found = dashpot.shrink(model, doubles(2, 2, 3, 3))
    assert found.model[0].one.out_channels == 12
    assert found.model[0].two.groups == 3
    assert any("x.view(b, 4, c // 4, h, w)" in reason for reason in found.stayed)
    x = doubles(3, 2, 4, 5)
    assert close(model(x), found.model(x), 1e-12)


class Beside(nn.Module):
    """Features side by side, of some of which there are none, as where all of a head are turned by its place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(3, 6), nn.Linear(3, 6), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.first(x).tanh(), self.second(x).tanh()
        return self.head(torch.cat([one[..., :6], one[..., 6:], other], -1))


def test_parts_that_are_empty_are_joined_with_none() -> None:
    torch.manual_seed(0)
    model = Beside().double()
    plant(model.first.weight, model.first.bias, at=[1, 2])
    plant(model.second.weight, model.second.bias, at=0)
    found = dashpot.shrink(model, doubles(2, 5, 3))
    assert (found.model.first.out_features, found.model.second.out_features) == (4, 5)
    x = doubles(3, 4, 3)
    assert close(model(x), found.model(x), 1e-12)


class Biased(nn.Module):
    """A bias of each head, by positions: the same for all inputs, and one of them would fit all heads."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.qkv, self.join = nn.Embedding(9, 4), nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        at = torch.arange(x.shape[1])
        bias = self.places(at[:, None] - at + 4).permute(2, 0, 1).unsqueeze(0)
        q, k, v = (part.unflatten(-1, (4, 2)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        return self.join(functional.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2))


def test_a_bias_of_each_head_stays() -> None:
    torch.manual_seed(0)
    model = Biased().double()
    found = dashpot.shrink(model, doubles(2, 5, 8))
    assert found.layers == {}


@pytest.mark.parametrize("by", ["sum", "border"])
def test_a_constant_that_depends_on_the_size_of_inputs_stays(by: str) -> None:
    """A sum over places, and a mean of what differs at the border."""
    torch.manual_seed(0)
    padding = 0 if by == "sum" else 1
    body = nn.Sequential(nn.Conv2d(1, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=padding, groups=6))
    model = Pooled(body, by).double()
    plant(body[0].weight, at=2)
    plant(body[0].bias, at=2, value=0.5)
    found = dashpot.shrink(model, doubles(2, 1, 5, 5))
    assert found.layers == {}
    assert any("depends on the size of the inputs" in reason for reason in found.stayed)


class Pooled(nn.Module):
    def __init__(self, body: nn.Module, by: str) -> None:
        super().__init__()
        self.body, self.by, self.head = body, by, nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.head(x.sum((2, 3)) if self.by == "sum" else functional.adaptive_avg_pool2d(x, 1).flatten(1))
