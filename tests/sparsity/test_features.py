"""Selected features against the network itself: a column is used where changing it changes an output."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import dashpot
from dashpot.nets import MLP, ConvNet


class Forward(nn.Module):
    """Layers by name, and a forward pass of them."""

    def __init__(self, run: Callable[[Any, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def scaled(norm: Any) -> nn.Module:
    """With a scale of zero for column 1."""
    with torch.no_grad():
        norm.weight[1] = 0.0
    return norm


def once(layer: Any, shape: tuple[int, ...]) -> nn.Module:
    layer(torch.randn(shape))
    return layer


Case = tuple[Callable[[], nn.Module], tuple[int, ...], int]
"""A network, the shape of its input, and its axis of columns. Columns 2 and 3 of its layers are zeroed."""
CASES: dict[str, Case] = {
    "linear": (lambda: nn.Linear(5, 3), (4, 5), 1),
    "mlp": (lambda: MLP(5, 2, width=8, depth=2), (4, 5), 1),
    "lazy": (lambda: once(nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.Linear(4, 2)), (4, 5)), (4, 5), 1),
    "conv": (lambda: nn.Sequential(nn.Conv2d(5, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)), (2, 5, 6, 6), 1),
    "grouped": (lambda: nn.Sequential(nn.Conv1d(6, 4, 3, groups=2), nn.ReLU(), nn.Conv1d(4, 2, 1)), (2, 6, 8), 1),
    "depthwise": (lambda: nn.Sequential(nn.Conv1d(5, 5, 3, groups=5), nn.Conv1d(5, 2, 1)), (2, 5, 8), 1),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(5, 4, 3), nn.Conv2d(4, 2, 1)), (2, 5, 4, 4), 1),
    "grouped transposed": (lambda: nn.ConvTranspose1d(6, 4, 3, groups=2), (2, 6, 4), 1),
    "recurrent": (
        lambda: Forward(
            lambda s, x: s.head(s.first(x)[0]), first=nn.LSTM(5, 4, 2, bidirectional=True), head=nn.Linear(8, 2)
        ),
        (7, 3, 5),
        2,
    ),
    "attention": (
        lambda: Forward(lambda s, x: s.first(x, x, x)[0], first=nn.MultiheadAttention(6, 2, batch_first=True)),
        (2, 4, 6),
        2,
    ),
    "behind dropout and activations": (
        lambda: nn.Sequential(nn.Dropout(0.5), nn.Identity(), nn.Tanh(), nn.Linear(5, 3)),
        (4, 5),
        1,
    ),
    "behind a norm with a scale of zero": (
        lambda: nn.Sequential(scaled(nn.BatchNorm1d(5)), nn.Linear(5, 3)),
        (4, 5),
        1,
    ),
    "functions first": (
        lambda: Forward(lambda s, x: s.first(torch.relu(2 * x.float() + 1).contiguous()), first=nn.Linear(5, 3)),
        (4, 5),
        1,
    ),
    "two input layers": (
        lambda: Forward(lambda s, x: s.first(x) + s.second(x), first=nn.Linear(5, 3), second=nn.Linear(5, 3)),
        (4, 5),
        1,
    ),
    "not in the order of definition": (
        lambda: Forward(lambda s, x: s.head(s.body(x)), head=nn.Linear(4, 2), body=nn.Linear(5, 4)),
        (4, 5),
        1,
    ),
    "shared": (
        lambda: Forward(lambda s, x: s.first(x) * s.first(x.tanh()), first=nn.Linear(5, 3)),
        (4, 5),
        1,
    ),
    "weight norm": (lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(5, 3)), nn.ReLU()), (4, 5), 1),
    "frozen": (lambda: nn.Sequential(nn.Linear(5, 3).requires_grad_(False), nn.Linear(3, 1)), (4, 5), 1),
}


def zeroed(model: nn.Module, axis_size: int) -> nn.Module:
    """Columns 2 and 3 zeroed in every layer that takes this many, by the layer's own axes, each written out here."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.conv._ConvNd) and module.in_channels == axis_size:
                for column in (2, 3):
                    if isinstance(module, nn.modules.conv._ConvTransposeNd):
                        module.weight[column] = 0
                    else:
                        share = module.in_channels // module.groups
                        height = module.out_channels // module.groups
                        group = column // share
                        module.weight[group * height : (group + 1) * height, column % share] = 0
            elif isinstance(module, nn.LSTM):
                for name in ("weight_ih_l0", "weight_ih_l0_reverse"):
                    getattr(module, name)[:, 2:4] = 0
            elif isinstance(module, nn.MultiheadAttention):
                module.in_proj_weight[:, 2:4] = 0
            elif isinstance(module, nn.Linear) and module.in_features == axis_size:
                if hasattr(module, "parametrizations"):
                    module.parametrizations.weight.original1[:, 2:4] = 0
                else:
                    module.weight[:, 2:4] = 0
    return model


@pytest.mark.parametrize("kind", CASES)
def test_a_column_is_selected_where_it_changes_the_output(kind: str) -> None:
    torch.manual_seed(0)
    make, shape, axis = CASES[kind]
    model = zeroed(make(), shape[axis]).eval()
    x = torch.randn(shape)
    before = model(x)
    used = []
    for column in range(shape[axis]):
        other = x.clone()
        other.movedim(axis, 0)[column] += 1.0
        if not torch.equal(model(other), before):
            used.append(str(column))
    assert len(used) == shape[axis] - (3 if "scale of zero" in kind else 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dashpot.selected_features(model) == used


def test_tokens_of_an_embedding() -> None:
    model = nn.Sequential(nn.Embedding(5, 3, padding_idx=0), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight[3] = 0
        model[1].weight.zero_()
    assert dashpot.selected_features(model, list("_abcd")) == ["a", "b", "d"]


def test_images_and_flattened_ones() -> None:
    model = ConvNet(2, 3, width=4)
    assert dashpot.selected_features(model) == ["0", "1"]
    flat = nn.Sequential(nn.Flatten(), nn.Linear(8, 2))
    with torch.no_grad():
        flat[1].weight[:, 1:] = 0
    assert dashpot.selected_features(flat) == ["0"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2)), "enters 0 first, a LayerNorm, which mixes all columns"),
        (nn.Sequential(nn.TransformerEncoderLayer(4, 2), nn.Linear(4, 2)), "which hides where columns go"),
        (
            Forward(lambda s, x: s.a(x[:, :2]) + s.b(x[:, 2:]), a=nn.Linear(2, 2), b=nn.Linear(2, 2)),
            r"enters getitem\(\) before any weight",
        ),
        (Forward(lambda s, x: s.a(x - x.mean()), a=nn.Linear(2, 2)), r"enters (sub|mean)\(\) before any weight"),
        (Forward(lambda s, x: x + s.a(x), a=nn.Linear(2, 2)), r"enters add\(\) before any weight"),
        (
            Forward(lambda s, x: s.a(x) + s.b(x.flatten(1)), a=nn.Linear(2, 2), b=nn.Linear(4, 2)),
            "first layers have one number of inputs, and they have 2, 4",
        ),
        (nn.ReLU(), "a module with a weight matrix"),
    ],
)
def test_what_has_no_answer_is_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(dashpot.ConfigError, match=message):
        dashpot.selected_features(model)


def test_a_forward_pass_that_depends_on_data_falls_back_to_the_order_of_definition() -> None:
    def run(s: Any, x: Tensor) -> Tensor:
        return s.first(x) if x.sum() > 0 else -s.first(x)

    model = Forward(run, first=nn.Linear(3, 2), second=nn.Linear(2, 2))
    with torch.no_grad():
        model.first.weight[:, 1] = 0
    assert dashpot.selected_features(model) == ["0", "2"]
