"""Heads of ``nn.MultiheadAttention``, and of torch's layers that hold it, against torch's own large module."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.core.errors import UsageError
from dashpot.shrinking.channels import channels_of
from dashpot.shrinking.heads import HeadsAttention
from tests.shrinking.zoo import close, count


def doubles(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def emptied(attention: nn.MultiheadAttention, heads: list[int], by: str) -> None:
    """Heads without values, or that nobody reads; no bias is zero."""
    width, size = attention.head_dim, attention.num_heads * attention.head_dim
    with torch.no_grad():
        for own in (attention.in_proj_bias, attention.out_proj.bias):
            if own is not None:
                own.normal_()
        for head in heads:
            rows = slice(head * width, (head + 1) * width)
            if by == "outputs":
                attention.out_proj.weight[:, rows] = 0
            elif attention.in_proj_weight is None:
                attention.v_proj_weight[rows] = 0
            else:
                attention.in_proj_weight[2 * size :][rows] = 0


class Around(nn.Module):
    """Attention between two linear layers, called in several ways."""

    def __init__(self, call: str = "self", **options: Any) -> None:
        super().__init__()
        self.call = call
        self.before, self.after = nn.Linear(6, 16), nn.Linear(16, 3)
        self.other = nn.Linear(6, options.get("kdim", 16))
        self.attention = nn.MultiheadAttention(16, 4, **options)

    def forward(self, x: Tensor, **masks: Tensor) -> Any:
        h, other = self.before(x).relu(), self.other(x).tanh()
        if self.call == "self":
            made, _ = self.attention(h, h, h, need_weights=False, **masks)
        elif self.call == "weights":
            made, weights = self.attention(h, h, h, **masks)
            return self.after(made), weights
        else:
            made, _ = self.attention(h, other, other, **masks)
        return self.after(made)


OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("self", {"batch_first": True}),
    "sequence first": ("self", {}),
    "without biases": ("self", {"bias": False, "batch_first": True}),
    "to others": ("cross", {"batch_first": True}),
    "to others of another width": ("cross", {"kdim": 10, "vdim": 10}),
    "a key more": ("self", {"add_bias_kv": True, "batch_first": True}),
    "a zero more": ("self", {"add_zero_attn": True}),
}


@pytest.mark.parametrize("by", ["values", "outputs"])
@pytest.mark.parametrize("name", OPTIONS)
def test_whole_heads_leave_torchs_attention(name: str, by: str) -> None:
    call, options = OPTIONS[name]
    torch.manual_seed(0)
    model = Around(call, **options).double().eval()
    emptied(model.attention, [0, 2], by)
    found = dashpot.shrink(model, doubles(2, 5, 6))
    small = found.model.attention
    # A key or a zero more has another value than all others: what is the same at all of those is not at it.
    stays = by == "values" and "more" in name
    assert small.num_heads == (4 if stays else 2)
    assert isinstance(small, nn.MultiheadAttention)
    assert type(small) is (nn.MultiheadAttention if stays else HeadsAttention)
    assert small.out_proj.weight.shape == (16, 4 * small.num_heads)
    for shape in ((3, 7, 6), (7, 6)):
        x = 2 * doubles(*shape)
        assert close(model(x), found.model(x), 1e-12)
    assert not stays or found.layers == {}
    model(x := doubles(2, 5, 6)).square().mean().backward()
    found.model(x).square().mean().backward()
    big = dict(model.named_parameters())
    for key, parameter in found.model.named_parameters():
        if big[key].grad is not None:
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad, found.plan.cut(key, big[key].grad), rtol=1e-9, atol=1e-12)


def test_masks_are_taken_as_torch_takes_them() -> None:
    torch.manual_seed(0)
    model = Around(batch_first=True).double().eval()
    emptied(model.attention, [1], "values")
    small = dashpot.shrink(model, doubles(2, 5, 6)).model
    x = doubles(3, 5, 6)
    padding = torch.arange(5) >= torch.tensor([[5], [3], [2]])
    later = torch.ones(5, 5, dtype=torch.bool).triu(1)
    masks: list[dict[str, Any]] = [
        {"key_padding_mask": padding},
        {"attn_mask": later},
        {"attn_mask": doubles(5, 5)},
        {"attn_mask": later, "key_padding_mask": padding},
        {"attn_mask": torch.zeros(5, 5).double().masked_fill(later, -torch.inf), "is_causal": True},
        {"attn_mask": doubles(5, 5), "key_padding_mask": torch.zeros(3, 5).double().masked_fill(padding, -torch.inf)},
    ]
    for given in masks:
        assert close(model(x, **given), small(x, **given), 1e-12), given
    assert close(model(x[0], key_padding_mask=padding[1]), small(x[0], key_padding_mask=padding[1]), 1e-12)
    with pytest.raises(UsageError, match="12 masks for 3 samples and 3 heads. Other heads left"):
        small(x, attn_mask=doubles(12, 5, 5))
    with pytest.raises(UsageError, match="pass attn_mask"):
        small(x, is_causal=True)
    own = doubles(9, 5, 5)
    whole = doubles(3, 4, 5, 5)
    whole[:, [0, 2, 3]] = own.unflatten(0, (3, 3))
    assert close(model(x, attn_mask=whole.flatten(0, 1)), small(x, attn_mask=own), 1e-12)


def test_heads_stay_where_their_weights_are_read_or_masked_each() -> None:
    torch.manual_seed(0)
    model = Around("weights", batch_first=True).double().eval()
    emptied(model.attention, [1], "values")
    with torch.no_grad():
        model.before.weight[:3] = 0
    found = dashpot.shrink(model, doubles(2, 5, 6))
    small = found.model.attention
    assert (small.num_heads, small.embed_dim) == (4, 13)  # what it reads leaves all the same
    x = doubles(2, 4, 6)
    for one, other in zip(model(x), found.model(x), strict=True):
        assert close(one, other, 1e-12)
    one, other = (net(x, average_attn_weights=False)[1] for net in (model, found.model))
    assert other.shape == (2, 4, 4, 4)
    assert close(one, other, 1e-12)
    model = Around(batch_first=True).double().eval()
    emptied(model.attention, [1], "values")
    each = {"x": doubles(2, 5, 6), "attn_mask": doubles(8, 5, 5)}
    assert dashpot.shrink(model, each).layers == {}


def test_weights_of_those_that_are_left() -> None:
    torch.manual_seed(0)
    model = Around(batch_first=True).double().eval()
    emptied(model.attention, [0, 2], "outputs")
    small = dashpot.shrink(model, doubles(2, 5, 6)).model.attention
    x = doubles(2, 5, 16)
    _, each = model.attention(x, x, x, average_attn_weights=False)
    torch.testing.assert_close(small(x, x, x, average_attn_weights=False)[1], each[:, [1, 3]])
    torch.testing.assert_close(small(x, x, x)[1], each[:, [1, 3]].mean(1))
    assert small(x, x, x, need_weights=False)[1] is None


def encoder(**options: Any) -> nn.TransformerEncoder:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True, **options)
    made = nn.TransformerEncoder(layer, 3, enable_nested_tensor=not options).double()
    emptied(made.layers[1].self_attn, [0, 3], "values")
    emptied(made.layers[2].self_attn, [1], "outputs")
    with torch.no_grad():
        made.layers[1].linear1.weight[:9] = 0
    return made


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("options", [{}, {"norm_first": True}, {"activation": "gelu", "bias": False}])
def test_encoders_in_both_modes_and_by_both_of_torchs_paths(options: dict[str, Any]) -> None:
    """In evaluation torch computes layers in one call, and padded sequences as nested tensors, zeros behind them."""
    model = encoder(**options)
    padding = torch.arange(5) >= torch.tensor([[5], [3], [2]])
    later = torch.ones(5, 5, dtype=torch.bool).triu(1)
    x = doubles(3, 5, 16)
    found = dashpot.shrink(model, {"src": x, "src_key_padding_mask": padding})
    assert [layer.self_attn.num_heads for layer in found.model.layers] == [4, 2, 3]
    assert [type(layer.self_attn) is HeadsAttention for layer in found.model.layers] == [False, True, True]
    assert found.model.layers[1].linear1.out_features == 23
    given: list[dict[str, Any]] = [{}, {"src_key_padding_mask": padding}, {"mask": later}]
    given.append({"mask": later, "src_key_padding_mask": padding})
    for train in (True, False):
        for gradients in (True, False):
            for fast in (True, False):
                torch.backends.mha.set_fastpath_enabled(fast)
                try:
                    with torch.set_grad_enabled(gradients):
                        for masks in given:
                            wanted, got = (net.train(train)(x, **masks) for net in (model, found.model))
                            assert close(wanted, got, 1e-12), (train, gradients, fast, [*masks])
                finally:
                    torch.backends.mha.set_fastpath_enabled(True)


def test_a_decoder() -> None:
    torch.manual_seed(0)
    model = nn.TransformerDecoderLayer(16, 4, 32, dropout=0.0, batch_first=True).double()
    emptied(model.self_attn, [2], "values")
    emptied(model.multihead_attn, [0, 1], "outputs")
    found = dashpot.shrink(model, (doubles(2, 4, 16), doubles(2, 6, 16)))
    assert (found.model.self_attn.num_heads, found.model.multihead_attn.num_heads) == (3, 2)
    given = doubles(3, 5, 16), doubles(3, 2, 16)
    assert close(model(*given), found.model(*given), 1e-12)


def test_a_file_an_export_and_a_second_cut(tmp_path: Path) -> None:
    model = encoder()
    found = dashpot.shrink(model, doubles(2, 5, 16))
    dashpot.save_shrunk(found, tmp_path / "small.safetensors")
    x = doubles(2, 5, 16)
    again = dashpot.load_shrunk(lambda: encoder().eval(), tmp_path / "small.safetensors")
    assert close(found.model.eval()(x), again(x), 1e-12)
    made = torch.export.export(again, (x,)).module()
    assert close(again(x), made(x), 1e-12)
    emptied(again.layers[1].self_attn, [1], "values")
    emptied(again.layers[0].self_attn, [0], "values")
    further = dashpot.shrink(again, x).model
    assert [layer.self_attn.num_heads for layer in further.layers] == [3, 1, 3]
    assert close(again(x), further(x), 1e-12)
    assert close(further(x), copy.deepcopy(further)(x), 1e-12)


def test_training_goes_on_as_the_large_one_would() -> None:
    """A head that nobody reads, and whose values nobody makes, gets no gradient."""
    torch.manual_seed(0)
    model = nn.Sequential(encoder(), nn.Flatten(), nn.Linear(80, 2)).double()
    for head in (0, 3):
        emptied(model[0].layers[1].self_attn, [head], "outputs")
    with torch.no_grad():
        rows = model[0].layers[1].self_attn.in_proj_bias.unflatten(0, (3, 4, 4))
        rows[2, [0, 3]] = 0
    x, y = doubles(16, 5, 16), torch.randint(2, (16,))
    big: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.0)

    def steps(net: nn.Module, by: torch.optim.Optimizer, number: int) -> None:
        for _ in range(number):
            by.zero_grad()
            functional.cross_entropy(net(x), y).backward()
            with torch.no_grad():  # as a penalty would: what is empty stays so
                if net is model:
                    for name in ("out_proj.weight", "in_proj_weight", "in_proj_bias"):
                        own = model[0].layers[1].self_attn.get_parameter(name)
                        own.grad[dead[name]] = 0
            by.step()

    attention = model[0].layers[1].self_attn
    dead = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in attention.named_parameters()}
    dead["out_proj.weight"].unflatten(1, (4, 4))[:, [0, 3]] = True
    dead["in_proj_weight"].unflatten(0, (3, 4, 4))[:, [0, 3]] = True
    dead["in_proj_bias"].unflatten(0, (3, 4, 4))[:, [0, 3]] = True
    steps(model, big, 3)
    found = dashpot.shrink(model, x[:2])
    assert found.model[0].layers[1].self_attn.num_heads == 2
    small = found.plan.carry(big, model, found.model)
    steps(model, big, 10)
    steps(found.model, small, 10)
    torch.testing.assert_close(found.model(x), model(x), rtol=1e-9, atol=1e-9)


class Classifier(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True, **options)
        self.stem, self.head = nn.Linear(6, 16), nn.Linear(16, 3)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.stem(x)).mean(1))


def test_heads_and_hidden_units_are_channels_and_a_size_is_reached() -> None:
    torch.manual_seed(0)
    model = Classifier()
    found = channels_of(model, (torch.randn(2, 5, 6),), {}, [name for name, _ in model.named_parameters()])
    names = {frozenset(bucket.names): bucket.units for bucket in found.buckets}
    for layer in ("encoder.layers.0.", "encoder.layers.1."):
        heads = names[frozenset({f"{layer}self_attn.in_proj_weight", f"{layer}self_attn.in_proj_bias"})]
        hidden = names[frozenset({f"{layer}linear1.weight", f"{layer}linear1.bias"})]
        assert (heads.stop - heads.start, hidden.stop - hidden.start) == (4, 32)
    x = torch.randn(64, 5, 6)
    y = (x[:, 0, 0] > 0).long() + (x[:, 1, 1] > 0).long()
    recipe = dashpot.Compress(to="0.3x parameters")
    result = dashpot.fit(model, (x, y), recipe=recipe, epochs=12, progress=False)
    shrunk = result.shrunk
    assert shrunk is not None
    assert shrunk.after.parameters == count(result.model) <= 0.3 * shrunk.before.parameters
    layers = result.model.encoder.layers
    assert any(layer.self_attn.num_heads < 4 for layer in layers)
    assert any(layer.linear1.out_features < 32 for layer in layers)
    own = torch.stack([result.model.eval()(x[i : i + 1])[0] for i in range(4)])
    assert close(result.model(x[:4]), own, 1e-5)
    small = dashpot.shrink_to(Classifier(), x[:2], "0.5x parameters")
    assert small.after.parameters <= 0.5 * small.before.parameters
