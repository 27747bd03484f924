"""Outputs, inputs and heads of every kind of layer, seen by running the layer: a group of outputs set to zero makes
exactly that output constant, a group of inputs set to zero makes the layer ignore exactly that input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import dashpot
from dashpot.core.axes import register_layer_axes
from dashpot.core.running.view import ModelView
from dashpot.nets.layers import NominalEmbedding
from dashpot.nets.members import MemberHeads
from dashpot.nets.numeric import Periodic


class Backward(nn.Module):
    """[inputs, outputs], as the Conv1D of Hugging Face."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs))
        self.bias = nn.Parameter(torch.randn(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class Backward2(Backward):
    """A subclass follows its base."""


register_layer_axes(Backward, outputs=1, inputs=0)

Case = tuple[Callable[[], nn.Module], tuple[int, ...], int]
"""The layer, the shape of its input, the axis of channels in input and output."""
CASES: dict[str, Case] = {
    "linear": (lambda: nn.Linear(4, 6), (3, 4), -1),
    "lazy linear": (lambda: run_once(nn.LazyLinear(6), torch.randn(3, 4)), (3, 4), -1),
    "linear of sequences": (lambda: nn.Linear(4, 6), (3, 5, 4), -1),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1), (3, 4, 8), 1),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3), (3, 4, 5, 5), 1),
    "conv3d": (lambda: nn.Conv3d(4, 6, 2), (3, 4, 3, 3, 3), 1),
    "lazy conv": (lambda: run_once(nn.LazyConv2d(6, 3, groups=2), torch.randn(3, 4, 5, 5)), (3, 4, 5, 5), 1),
    "grouped conv": (lambda: nn.Conv2d(4, 6, 3, groups=2), (3, 4, 5, 5), 1),
    "depthwise conv": (lambda: nn.Conv2d(4, 4, 3, groups=4), (3, 4, 5, 5), 1),
    "depthwise conv with a multiplier": (lambda: nn.Conv1d(4, 8, 3, groups=4), (3, 4, 9), 1),
    "transposed 1d": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2), (3, 4, 5), 1),
    "transposed 2d": (lambda: nn.ConvTranspose2d(4, 6, 3), (3, 4, 5, 5), 1),
    "transposed 3d": (lambda: nn.ConvTranspose3d(4, 6, 2), (3, 4, 3, 3, 3), 1),
    "grouped transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), (3, 4, 5, 5), 1),
    "depthwise transposed": (lambda: nn.ConvTranspose1d(4, 4, 3, groups=4), (3, 4, 5), 1),
    "lazy transposed": (lambda: run_once(nn.LazyConvTranspose1d(6, 3), torch.randn(3, 4, 5)), (3, 4, 5), 1),
    "lstm": (lambda: Only(nn.LSTM(4, 6, batch_first=True)), (3, 5, 4), -1),
    "gru": (lambda: Only(nn.GRU(4, 6, batch_first=True)), (3, 5, 4), -1),
    "rnn": (lambda: Only(nn.RNN(4, 6, batch_first=True)), (3, 5, 4), -1),
    "lstm cell": (lambda: Only(nn.LSTMCell(4, 6)), (3, 4), -1),
    "gru cell": (lambda: Only(nn.GRUCell(4, 6)), (3, 4), -1),
    "rnn cell": (lambda: Only(nn.RNNCell(4, 6)), (3, 4), -1),
    "registered": (lambda: Backward(4, 6), (3, 4), -1),
    "subclass of a registered one": (lambda: Backward2(4, 6), (3, 4), -1),
    "layer norm of a matrix": (lambda: nn.LayerNorm((4, 5)), (3, 4, 5), -1),
}
RECURRENT = ("lstm", "gru", "rnn", "lstm cell", "gru cell", "rnn cell")


class Only(nn.Module):
    """A recurrent layer's outputs, [batch, ..., units]."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(x)
        return out[0] if isinstance(out, tuple) else out


def run_once(layer: nn.Module, x: Tensor) -> nn.Module:
    layer(x)
    return layer


def view_of(model: nn.Module) -> ModelView:
    return ModelView(model, torch.optim.SGD(model.parameters(), lr=0.1))


def group(view: ModelView, name: str, text: str, number: int) -> Tensor:
    """True at the weights of one group of a parameter."""
    w = view.parameters[name]
    layout = dashpot.penalties.Grouping(text).layout(w.shape, name, view.axes(name))
    at = layout.fold(torch.arange(w.numel()).reshape(w.shape).double())
    outside = [axis for axis in range(at.ndim) if axis not in layout.dims]
    members = at.permute(*outside, *layout.dims).flatten(0, len(outside) - 1)[number].flatten().long()
    mask = torch.zeros(w.numel(), dtype=torch.bool)
    mask[members] = True
    return mask.reshape(w.shape)


def count(view: ModelView, name: str, text: str) -> int:
    w = view.parameters[name]
    layout = dashpot.penalties.Grouping(text).layout(w.shape, name, view.axes(name))
    return w.numel() // int(layout.size)


def zero(view: ModelView, names: list[str], text: str, number: int) -> None:
    with torch.no_grad():
        for name in names:
            view.parameters[name][group(view, name, text, number)] = 0.0


@pytest.mark.parametrize("kind", [k for k in CASES if "norm" not in k])
def test_a_row_is_an_output(kind: str) -> None:
    torch.manual_seed(0)
    make, shape, axis = CASES[kind]
    outputs = make()(torch.randn(shape)).shape[axis]
    for number in range(outputs):
        model = make()
        view = view_of(model)
        names = view.names(dashpot.Where.role("weights"))
        assert all(count(view, name, "rows") == outputs for name in names)
        zero(view, names, "rows", number)
        a, b = (model(torch.randn(shape)).movedim(axis, 0) for _ in range(2))
        moved = [not torch.equal(one, other) for one, other in zip(a, b, strict=True)]
        assert moved == [k != number for k in range(outputs)]


@pytest.mark.parametrize("kind", [k for k in CASES if "norm" not in k])
def test_a_column_is_an_input(kind: str) -> None:
    torch.manual_seed(0)
    make, shape, axis = CASES[kind]
    inputs = shape[axis]
    for number in range(inputs):
        model = make()
        view = view_of(model)
        names = [n for n in view.names(dashpot.Where.role("weights")) if "_hh" not in n]
        assert all(count(view, name, "columns") == inputs for name in names)
        zero(view, names, "columns", number)
        x = torch.randn(shape)
        before = model(x)
        for other in range(inputs):
            changed = x.clone()
            changed.movedim(axis, 0)[other] += 1.0
            assert torch.equal(model(changed), before) == (other == number)


@pytest.mark.parametrize("kind", [k for k in CASES if "conv" in k or "transposed" in k])
def test_filters_and_input_channels_are_those_of_convolutions(kind: str) -> None:
    torch.manual_seed(0)
    view = view_of(CASES[kind][0]())
    for special, plain in (("filters", "rows"), ("input-channels", "columns")):
        assert torch.equal(group(view, "weight", special, 1), group(view, "weight", plain, 1))


@pytest.mark.parametrize("layer", [nn.Bilinear(2, 3, 4), nn.Linear(2, 3), nn.Embedding(3, 4)])
def test_what_is_no_convolution_has_no_filters(layer: nn.Module) -> None:
    penalty = dashpot.GroupLasso(groups="filters", on="everything & ~biases")
    with pytest.raises(dashpot.ConfigError, match="groups of weight must be of a convolution"):
        penalty.attach(layer, torch.optim.SGD(layer.parameters(), lr=0.1))


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_both_directions_and_all_layers_of_a_recurrent_net_and_its_projection() -> None:
    torch.manual_seed(0)
    for number in range(3):
        model = Only(nn.LSTM(4, 5, num_layers=2, bidirectional=True, proj_size=3, batch_first=True))
        view = view_of(model)
        inputs = ["layer.weight_ih_l0", "layer.weight_ih_l0_reverse"]
        zero(view, inputs, "columns", number)
        x = torch.randn(2, 6, 4)
        changed = x.clone()
        changed[..., number] += 1
        assert torch.equal(model(x), model(changed))
        zero(view, ["layer.weight_hr_l1"], "rows", number)
        a, b = model(torch.randn(2, 6, 4)), model(torch.randn(2, 6, 4))
        assert [k for k in range(6) if torch.equal(a[..., k], b[..., k])] == [number]
    # A unit of the first layer: its gates in both matrices.
    assert count(view, "layer.weight_ih_l0", "rows") == count(view, "layer.weight_hh_l0", "rows") == 5
    assert count(view, "layer.weight_ih_l1", "columns") == 6


def test_the_tokens_and_dimensions_of_an_embedding() -> None:
    """Its rows are the rows of the table: the vector of one token."""
    for layer in (nn.Embedding(5, 3), nn.EmbeddingBag(5, 3)):
        view = view_of(layer)
        zero(view, ["weight"], "rows", 2)
        assert [int(level) for level in range(5) if not layer.weight[level].any()] == [2]
        zero(view, ["weight"], "columns", 1)
        out = layer(torch.arange(5).reshape(5, 1)).reshape(5, 3)
        assert not out[:, 1].any()
        assert out[0].any()


def test_the_first_input_of_a_bilinear_layer() -> None:
    layer = nn.Bilinear(2, 3, 4)
    view = view_of(layer)
    zero(view, ["weight"], "columns", 1)
    x, z = torch.randn(5, 2), torch.randn(5, 3)
    assert torch.equal(layer(x, z), layer(x + torch.tensor([0.0, 1.0]), z))


@pytest.mark.parametrize("packed", [True, False])
def test_heads_rows_and_columns_of_an_attention(packed: bool) -> None:
    torch.manual_seed(0)

    def make() -> tuple[nn.MultiheadAttention, ModelView]:
        layer = nn.MultiheadAttention(8, 4, batch_first=True, **({} if packed else {"kdim": 5, "vdim": 6}))
        return layer, view_of(layer)

    def values(layer: nn.MultiheadAttention, x: Tensor) -> tuple[Tensor, Tensor]:
        """What each head gives, [batch, positions, embedding], before the projection: that is made the identity."""
        with torch.no_grad():
            layer.out_proj.weight.copy_(torch.eye(8))
        other = (x, x) if packed else (x[..., :5], x[..., :6])
        out, weights = layer(x, *other, average_attn_weights=False)
        return out, weights

    for head in range(4):
        layer, view = make()
        names = ["in_proj_weight"] if packed else ["q_proj_weight", "k_proj_weight", "v_proj_weight"]
        zero(view, names, "heads:4", head)
        x = torch.randn(2, 5, 8)
        out, weights = values(layer, x)
        dead = [not out[..., 2 * h : 2 * h + 2].any() for h in range(4)]
        even = [bool(torch.allclose(weights[:, h], torch.tensor(0.2))) for h in range(4)]
        assert dead == even == [h == head for h in range(4)]
        # The projection's columns of that head: its inputs.
        layer, view = make()
        zero(view, ["out_proj.weight"], "heads:4", head)
        assert [not layer.out_proj.weight[:, 2 * h : 2 * h + 2].any() for h in range(4)] == dead
        assert layer.out_proj.weight.any(dim=1).all()
    layer, view = make()
    zero(view, names, "columns", 3)
    x = torch.randn(2, 5, 8)
    other = x.clone()
    other[..., 3] += 1
    assert torch.equal(values(layer, x)[0], values(layer, other)[0])
    value = names[-1]
    row = 16 + 3 if packed else 3
    zero(view, [value], "rows", row)
    assert not view.parameters[value][row].any()
    assert int((view.parameters[value] == 0).all(dim=1).sum()) == 1


def test_layers_of_the_built_in_networks() -> None:
    torch.manual_seed(0)
    levels = NominalEmbedding(5, 3)
    view = view_of(levels)
    zero(view, ["weight"], "columns", 2)
    zero(view, ["weight"], "rows", 1)
    out = levels(torch.eye(5))
    assert [not row.any() for row in out] == [k == 2 for k in range(5)]
    assert [not column.any() for column in out.T] == [k == 1 for k in range(3)]

    heads = MemberHeads(2, 4, 3)
    view = view_of(heads)
    zero(view, ["weight"], "columns", 1)
    zero(view, ["weight"], "rows", 5)  # the last output of the second member
    x = torch.randn(6, 4)
    assert torch.equal(heads(x), heads(x + torch.tensor([0.0, 1.0, 0.0, 0.0])))
    constant = [
        torch.equal(a, b)
        for a, b in zip(
            heads(x).permute(2, 1, 0).flatten(0, 1), heads(x + 1).permute(2, 1, 0).flatten(0, 1), strict=True
        )
    ]
    assert constant == [False] * 5 + [True]

    periodic = Periodic(3, 4)
    view = view_of(periodic)
    assert count(view, "weight", "columns") == 3
    assert count(view, "weight", "rows") == 3 * view.parameters["weight"].shape[2]


def test_each_value_of_a_scale_is_an_output_of_its_own() -> None:
    layer = nn.LayerNorm((2, 3))
    view = view_of(layer)
    assert count(view, "weight", "rows") == count(view, "weight", "columns") == 6


def test_a_pruned_weight_keeps_its_axes() -> None:
    layer = nn.ConvTranspose1d(4, 6, 3)
    prune.random_unstructured(layer, "weight", amount=0.5)
    assert count(view_of(layer), "weight_orig", "rows") == 6


def test_registered_by_name_and_with_further_parameters() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(2, 3, 4))

    register_layer_axes(f"{Pair.__module__}.{Pair.__qualname__}", outputs=1, inputs=0, parameter="first")
    register_layer_axes(f"{Pair.__module__}.{Pair.__qualname__}", outputs=(0, 2), inputs=(1,), parameter="second")
    view = view_of(Pair())
    assert (count(view, "first", "rows"), count(view, "first", "columns")) == (3, 2)
    assert (count(view, "second", "rows"), count(view, "second", "columns")) == (8, 3)


@pytest.mark.parametrize(
    "bad", [{"outputs": -1}, {"inputs": ()}, {"outputs": 1, "inputs": 1}, {"outputs": 0.5}, {"outputs": "0"}]
)
def test_registration_refuses_what_is_no_axis(bad: dict[str, Any]) -> None:
    with pytest.raises(dashpot.ConfigError, match="(outputs|inputs) must be"):
        register_layer_axes(nn.Module, **bad)
