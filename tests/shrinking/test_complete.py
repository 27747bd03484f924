"""Nothing is left that could go: small networks of each kind of layer, against what their units do when tried out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import strategies as some
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from tests.shrinking.zoo import Groups, Root, Tagger, close, count

Rows = Callable[[nn.Module, int], list[Tensor]]
"""Of a module and the number of a unit: the weights that make it."""


def doubles(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@torch.no_grad()
def sparse(model: nn.Module, share: float) -> None:
    """Rows and columns of zeros in random places, and biases of zero in some of them."""
    for module in model.modules():
        for name, own in module._parameters.items():
            if own is None or own.ndim < 2 or isinstance(module, nn.Embedding):
                continue
            for axis in (0, 1):
                chosen = torch.rand(own.shape[axis]) < share
                own.movedim(axis, 0)[chosen] = 0
                bias = module._parameters.get(name.replace("weight", "bias"))
                if axis == 0 and bias is not None and torch.rand(()) < 0.5:
                    bias[chosen] = 0


@torch.no_grad()
def is_read(model: nn.Module, module: nn.Module, rows: Rows, unit: int, x: Tensor) -> bool:
    """Whether outputs move where other weights make a unit."""
    before = model(x)
    kept = [row.clone() for row in rows(module, unit)]
    for row in rows(module, unit):
        row.add_(torch.randn_like(row))
    moved = bool((model(x) - before).abs().max() > 1e-9)
    for row, old in zip(rows(module, unit), kept, strict=True):
        row.copy_(old)
    return moved


@torch.no_grad()
def varying(model: nn.Module, module: nn.Module, axis: int, xs: list[Tensor]) -> Tensor:
    """Of each unit that a module gives whether inputs move it, bool [units]."""
    seen: list[Tensor] = []
    handle = module.register_forward_hook(
        lambda _, __, out: seen.append((out[0] if isinstance(out, tuple) else out).movedim(axis, 0).flatten(1))
    )
    for x in xs:
        model(x)
    handle.remove()
    return torch.stack([(one - seen[0]).abs().amax(1) > 1e-12 for one in seen[1:]]).any(0)


def linear_rows(module: nn.Module, unit: int) -> list[Tensor]:
    bias = module._parameters.get("bias")
    return [module.get_parameter("weight")[unit], *([] if bias is None else [bias[unit : unit + 1]])]


def gate_rows(module: nn.Module, unit: int) -> list[Tensor]:
    size = module.hidden_size
    return [p[at] for p in module.parameters() for at in range(unit, len(p), size) if p.ndim == 2] + [
        p[at : at + 1] for p in module.parameters() for at in range(unit, len(p), size) if p.ndim == 1
    ]


def idle(model: nn.Module, places: list[tuple[nn.Module, int, Rows]], xs: list[Tensor]) -> list[list[int]]:
    """Of each module the units that no input moves, or that nobody reads."""
    found = []
    for module, axis, rows in places:
        moves = varying(model, module, axis, xs)
        found.append([u for u in range(len(moves)) if not moves[u] or not is_read(model, module, rows, u, xs[0])])
    return found


def inputs(shape: tuple[int, ...]) -> list[Tensor]:
    return [2 * doubles(*shape) for _ in range(4)]


@pytest.mark.parametrize("seed", range(6))
def test_convolutions_in_groups(seed: int) -> None:
    """Groups keep equal numbers, so that one of them is full, on each of its sides, and none is empty."""
    torch.manual_seed(seed)
    model = Groups().double()
    model.stem.bias.data.abs_()
    sparse(model, 0.25)
    with torch.no_grad():
        for layer in (model.stem, model.one, model.two):
            layer.weight.abs_()  # behind a ReLU units of varying inputs vary
            layer.bias.abs_()
    positive = [x.abs() for x in inputs((2, 2, 5, 5))]
    found = dashpot.shrink(model, positive[0])
    small = found.model
    assert close(model(positive[1]), small(positive[1]), 1e-9)
    units = idle(small, [(layer, 1, linear_rows) for layer in (small.stem, small.one, small.two)], positive)
    for layer, before in ((small.one, units[0]), (small.two, units[1])):
        size = layer.in_channels // layer.groups
        groups = [[u for u in before if u // size == g] for g in range(layer.groups)]
        assert min(map(len, groups)) == 0 or size == 1
    told = sum(number for reason, number in found.stayed.items() if "equal numbers" in reason or "at least" in reason)
    assert sum(map(len, units)) <= told


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers(kind: Any, seed: int) -> None:
    torch.manual_seed(seed)
    model = Tagger(kind).double()
    model.stem.bias.data.fill_(5.0)  # its ReLU is open
    sparse(model, 0.2)
    size = model.layer.hidden_size
    with torch.no_grad():
        for unit in torch.nonzero(torch.rand(size) < 0.3)[:, 0].tolist():
            for rows in gate_rows(model.layer, unit):
                rows.zero_()
        for unit in torch.nonzero(torch.rand(size) < 0.3)[:, 0].tolist():
            model.head.weight[:, unit] = 0
            model.layer.weight_hh_l0[:, unit] = 0
    xs = inputs((2, 6, 3))
    found = dashpot.shrink(model, xs[0])
    small = found.model
    assert close(model(xs[1]), small(xs[1]), 1e-9)
    assert small.layer.hidden_size < size
    places: list[tuple[nn.Module, int, Rows]] = [(small.stem, -1, linear_rows), (small.layer, -1, gate_rows)]
    left = sum(map(len, idle(small, places, xs)))
    assert left <= sum(found.stayed.values())
    assert all("differs by" in reason or "at least one" in reason for reason in found.stayed)


@pytest.mark.parametrize("seed", range(6))
def test_root_mean_square_norms(seed: int) -> None:
    """A unit of a stream leaves where all that adds to it gives constants, or nobody reads it."""
    torch.manual_seed(seed)
    model = Root().double()
    sparse(model, 0.2)
    dead = torch.rand(12) < 0.3
    with torch.no_grad():
        for layer in (model.stem, model.narrow):
            layer.weight[dead] = 0
            layer.bias[dead] = 0
        model.wide.bias.fill_(9.0)
    xs = inputs((4, 4))
    found = dashpot.shrink(model, xs[0])
    small = found.model
    assert close(model(xs[1]), small(xs[1]), 1e-9)
    assert len(small.norm.weight) <= 12 - int(dead.sum())
    # Of the stream what its norm reads: a feature of it moves all others.
    stream = varying(small, small.last, -1, xs)
    read = [is_read(small, small.last, lambda m, u: [m.weight[u : u + 1]], u, xs[0]) for u in range(len(stream))]
    behind = [u for u in range(len(stream)) if not stream[u] or not read[u]]
    hidden = idle(small, [(small.wide, -1, linear_rows)], xs)[0]
    # What a norm divides counts in it: such a one stays though the next layer does not read it.
    squared = [is_read(small, small.stem, linear_rows, u, xs[0]) for u in range(small.stem.out_features)]
    assert all(squared[u] for u in behind)
    assert len(hidden) <= sum(found.stayed.values())


def head_rows(module: nn.Module, unit: int) -> list[Tensor]:
    width, size = module.head_dim, len(module.in_proj_bias) // 3
    rows = [slice(part * size + unit * width, part * size + (unit + 1) * width) for part in range(3)]
    return [own[at] for own in (module.in_proj_weight, module.in_proj_bias) for at in rows]


@pytest.mark.parametrize("seed", range(6))
def test_heads(seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.TransformerEncoderLayer(16, 8, 24, dropout=0.0, batch_first=True, norm_first=True)
    model = nn.Sequential(layer, nn.Linear(16, 3)).double()
    attention = model[0].self_attn
    nn.init.normal_(attention.in_proj_bias)
    dead = torch.rand(2, 8) < 0.3
    with torch.no_grad():
        for head in range(8):
            if dead[0, head]:
                attention.in_proj_weight[32 + 2 * head : 34 + 2 * head] = 0
            if dead[1, head]:
                attention.out_proj.weight[:, 2 * head : 2 * head + 2] = 0
        model[0].linear1.bias.fill_(5.0)
        model[0].linear1.weight[torch.rand(24) < 0.3] = 0
        model[0].linear2.weight[:, torch.rand(24) < 0.3] = 0
    xs = inputs((2, 5, 16))
    found = dashpot.shrink(model, xs[0])
    small = found.model
    assert close(model(xs[1]), small(xs[1]), 1e-9)
    assert found.stayed == {}
    assert small[0].self_attn.num_heads == max(1, 8 - int(dead.any(0).sum()))
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        small.eval()
        assert all(is_read(small, small[0].self_attn, head_rows, u, xs[0]) for u in range(small[0].self_attn.num_heads))
        assert idle(small, [(small[0].linear1, -1, linear_rows)], xs) == [[]]
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


class Drawn(nn.Module):
    """Blocks in a row, on sequences [batch, steps, features]."""

    def __init__(self, blocks: list[tuple[str, int, bool]]) -> None:
        super().__init__()
        self.kinds, self.blocks = [kind for kind, _, _ in blocks], nn.ModuleList()
        self.kept = []
        width = 8
        for kind, out, added in blocks:
            out = 4 * out
            made, out = block(kind, width, out)
            self.blocks.append(made)
            self.kept.append(added and out == width)
            width = out
        self.stem, self.head = nn.Linear(3, 8), nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for kind, made, added in zip(self.kinds, self.blocks, self.kept, strict=True):
            if kind in ("conv", "groups", "batch norm"):
                y = made(x.transpose(1, 2)).transpose(1, 2)
            elif kind in ("lstm", "gru"):
                y, _ = made(x)
            elif kind == "attention":
                y, _ = made(x, x, x)
            elif kind == "gate":
                one, other = made(x).chunk(2, -1)
                y = one * other.sigmoid()
            else:
                y = made(x)
            x = x + y if added else y
        return self.head(x)


def block(kind: str, width: int, out: int) -> tuple[nn.Module, int]:
    """A block, and how many features it gives."""
    if kind == "lstm":
        return nn.LSTM(width, out, batch_first=True), out
    if kind == "gru":
        return nn.GRU(width, out, batch_first=True), out
    if kind == "conv":
        return nn.Conv1d(width, out, 3, padding=1), out
    if kind == "groups":
        return nn.Conv1d(width, out, 1, groups=2), out
    if kind == "gate":
        return nn.Linear(width, 2 * out), out
    if kind == "linear":
        return nn.Sequential(nn.Linear(width, out), nn.ReLU()), out
    if kind == "hidden":
        return nn.Sequential(nn.Linear(width, out), nn.Tanh(), nn.Linear(out, width)), width
    whole: dict[str, Callable[[], nn.Module]] = {
        "attention": lambda: nn.MultiheadAttention(width, 4, batch_first=True),
        "layer": lambda: nn.TransformerEncoderLayer(width, 2, out, dropout=0.0, batch_first=True),
        "batch norm": lambda: nn.BatchNorm1d(width),
        "layer norm": lambda: nn.LayerNorm(width),
        "root norm": lambda: nn.RMSNorm(width),
    }
    return whole[kind](), width


KINDS = ["linear", "hidden", "gate", "conv", "groups", "lstm", "gru", "attention", "layer"]
KINDS += ["batch norm", "layer norm", "root norm"]
BLOCKS = some.lists(some.tuples(some.sampled_from(KINDS), some.integers(1, 4), some.booleans()), min_size=1, max_size=4)


@hypothesis.settings(max_examples=12, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(blocks=BLOCKS, seed=some.integers(0, 99), share=some.sampled_from([0.0, 0.2, 0.5]))
def test_drawn_architectures(blocks: list[tuple[str, int, bool]], seed: int, share: float) -> None:
    """The same outputs, gradients of what is left but for what took constants, and a second time nothing more."""
    torch.manual_seed(seed)
    model = Drawn(blocks).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.add_(torch.rand_like(p))
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 2)
    sparse(model, share)
    found = dashpot.shrink(model, doubles(2, 5, 3))
    assert count(found.model) <= count(model)
    x = doubles(3, 4, 3)
    assert close(model(x), found.model(x), 1e-9)
    for net in (model, found.model):
        net(x).square().mean().backward()
    if not found.plan.eps and not any("carries" in why or "at least one" in why for why in found.stayed):
        big = dict(model.named_parameters())
        for name, p in found.model.named_parameters():
            if name in big and name not in found.plan.biases and big[name].grad is not None:
                grad = torch.zeros_like(p) if p.grad is None else p.grad
                torch.testing.assert_close(grad, found.plan.cut(name, big[name].grad), rtol=1e-6, atol=1e-9)
    again = dashpot.shrink(copy.deepcopy(found.model), doubles(2, 5, 3))
    assert again.layers == {}
    assert functional.mse_loss(again.model(x), model(x)) < 1e-16
