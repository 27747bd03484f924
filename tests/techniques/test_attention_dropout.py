"""Attention dropout in torch's layers, hand-written attention and Hugging Face's blocks, against NumPy."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.core.draws import uniform_by
from dashpot.core.rng import derive, stream
from dashpot.dropout import AttentionDropout, SingleEpochWarning
from dashpot.techniques.dropout.attention import attends, attention

FALSE_ALARM = 1e-9
"""Of each exact test below; there are fewer than a hundred."""


def numbers(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def mask(name: str, size: tuple[int, ...], p: float, call: int = 0) -> np.ndarray:
    """What weights are multiplied with at that place, by the definition, in float64."""
    key = derive(stream(stream(5, "attention-dropout"), name), 0, call)
    u = uniform_by([key], math.prod(size)).reshape(size).numpy()
    return (u >= np.float32(p)) / (1 - p)


def softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class ByHand(nn.Module):
    """One head, written in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.scale = way, nn.Parameter(torch.ones(()))
        self.sharpen, self.drop = nn.Softmax(dim=-1), nn.Dropout(0.9)

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.scale
        scores = x @ x.transpose(-2, -1) / x.shape[-1] ** 0.5
        if self.way == "method":
            return scores.softmax(-1) @ x
        if self.way == "module":
            return torch.bmm(self.drop(self.sharpen(scores)), x)
        if self.way == "einsum":
            weights = functional.softmax(scores, dim=-1).masked_fill(torch.zeros(x.shape[1], dtype=torch.bool), 0.0)
            return torch.einsum("bqk,bkd->bqd", weights, x)
        if self.way == "transposed":
            weights = torch.softmax(scores, -1)
            return (x.transpose(1, 2) @ weights.transpose(1, 2)).transpose(1, 2)
        if self.way == "fused by position":
            return functional.scaled_dot_product_attention(x, x, x, None, 0.9 if self.training else 0.0)
        return functional.scaled_dot_product_attention(x, x, x, dropout_p=0.9 if self.training else 0.0)


WAYS = ("method", "module", "einsum", "transposed", "fused", "fused by position")


@pytest.mark.parametrize("way", WAYS)
def test_hand_written_attention_is_that_of_the_mask(way: str) -> None:
    model, x = nn.Sequential(ByHand(way)), numbers(2, 5, 4)
    rows = x.double().numpy()
    weights = softmax(rows @ rows.swapaxes(1, 2) / 2)
    with AttentionDropout(0.4).attach(model.train(), sgd(model), seed=5) as session:
        for call in range(2):
            kept = mask("0", (2, 5, 5), 0.4, call)  # in the order in which the weights are multiplied
            expected = (weights * (kept.swapaxes(1, 2) if way == "transposed" else kept)) @ rows
            np.testing.assert_allclose(model(x).detach(), expected, rtol=1e-4, atol=1e-5)
        with session.evaluate():
            np.testing.assert_allclose(model(x).detach(), weights @ rows, rtol=1e-4, atol=1e-5)
        twin = pickle.loads(pickle.dumps(model))
        assert "forward" not in vars(twin[0])
    assert "forward" not in vars(model[0])
    assert model[0].drop.p == 0.9


def test_rate_0_is_without_dropout_of_any_kind_and_rate_1_passes_nothing() -> None:
    for way in WAYS:
        model, x = nn.Sequential(ByHand(way)).train(), numbers(2, 5, 4)
        expected = nn.Sequential(ByHand(way)).eval()(x)
        with AttentionDropout(0.0).attach(model, sgd(model)):
            assert torch.equal(model(x), expected), way
        with AttentionDropout(1.0).attach(model, sgd(model)):
            out = model(x)
            out.sum().backward()
        assert not out.any()
        grad = model[0].scale.grad
        assert grad is not None
        assert float(grad) == 0.0


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_torchs_attention_is_that_of_the_mask(need_weights: bool, batch_first: bool) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"attn": nn.MultiheadAttention(4, 2, dropout=0.9, bias=False, batch_first=batch_first)})
    x, attn = numbers(3, 5, 4), model["attn"].train()
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[1, 3:] = True
    given = x if batch_first else x.transpose(0, 1)
    with AttentionDropout(0.3).attach(model, sgd(model), seed=5):
        out = attn(given, given, given, key_padding_mask=padding, need_weights=need_weights)[0].detach()
        assert attn.dropout == 0.9  # what it says is left as it is
    rows = x.double().numpy()
    projected = rows @ attn.in_proj_weight.detach().double().numpy().T
    q, k, v = (part.reshape(3, 5, 2, 2).swapaxes(1, 2) for part in np.split(projected, 3, axis=-1))
    scores = q @ k.swapaxes(2, 3) / math.sqrt(2)
    scores[np.broadcast_to(padding.numpy()[:, None, None], scores.shape)] = -np.inf
    weights = softmax(scores)
    kept = mask("attn", (6, 5, 5) if need_weights else (3, 2, 5, 5), 0.3).reshape(3, 2, 5, 5)
    heads = ((weights * kept) @ v).swapaxes(1, 2).reshape(3, 5, 4)
    expected = heads @ attn.out_proj.weight.detach().double().numpy().T
    found = out if batch_first else out.transpose(0, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_torchs_layers_have_a_place_for_each_attention() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), 2)
    decoder = nn.TransformerDecoderLayer(8, 2, 16, 0.0, batch_first=True)
    for model, places, call in (
        (encoder, "layers.0.self_attn, layers.1.self_attn", lambda x: encoder(x)),
        (decoder, "self_attn, multihead_attn", lambda x: decoder(x, x)),
    ):
        x = numbers(2, 5, 8)
        plain = call(x)
        with AttentionDropout(0.5).attach(model, sgd(model)) as session:
            assert f"with p=0.5 in 2 modules: {places}" in session.plan()
            assert not torch.allclose(call(x), call(x))
        torch.testing.assert_close(call(x), plain)
    some = AttentionDropout(0.5, on="name:layers.1")
    with some.attach(encoder, sgd(encoder)) as session:
        assert "in 1 modules: layers.1.self_attn" in session.plan()
    some = AttentionDropout(0.5, on="type:TransformerEncoderLayer & ~name:layers.0")
    with some.attach(encoder, sgd(encoder)) as session:
        assert "in 1 modules: layers.1.self_attn" in session.plan()


@pytest.mark.parametrize("masked", ["", "bool", "float", "causal", "grouped", "scale", "nothing to attend to"])
def test_the_attention_that_is_written_out_is_torchs(masked: str) -> None:
    q, k, v = numbers(2, 4, 5, 3), numbers(2, 4, 6, 3, seed=1), numbers(2, 4, 6, 3, seed=2)
    options: dict[str, Any] = {"causal": {"is_causal": True}, "scale": {"scale": 0.3}}.get(masked, {})
    if masked == "bool":
        options = {"attn_mask": numbers(5, 6, seed=3) > -1}
    if masked == "float":
        options = {"attn_mask": numbers(2, 1, 5, 6, seed=3)}
    if masked == "grouped":
        k, v, options = k[:, :2], v[:, :2], {"enable_gqa": True}
    if masked == "nothing to attend to":
        options = {"attn_mask": torch.arange(5)[:, None].expand(5, 6) != 2}
    expected = functional.scaled_dot_product_attention(q, k, v, **options)
    found = attention(q, k, v, **options, change=lambda weights: weights)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["bert", "vit"])
def test_hugging_faces_blocks(kind: str, how: str) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    if kind == "bert":
        rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.9}
        config = transformers.BertConfig(vocab_size=20, max_position_embeddings=12, **sizes, **rates)
        config._attn_implementation = how
        model, x = transformers.BertModel(config, add_pooling_layer=False), torch.arange(12).reshape(2, 6)
    else:
        rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.9}
        config = transformers.ViTConfig(image_size=8, patch_size=4, num_channels=1, **sizes, **rates)
        config._attn_implementation = how
        model, x = transformers.ViTModel(config, add_pooling_layer=False), numbers(2, 1, 8, 8)
    optimizer = sgd(model.eval())
    plain = model(x).last_hidden_state.detach()
    model.train()
    with AttentionDropout("0to0.5").attach(model, optimizer, steps=4) as session:
        assert "in 2 modules" in session.plan()
        torch.testing.assert_close(
            model(x).last_hidden_state.detach(), plain, rtol=1e-4, atol=1e-5
        )  # its own rate rests
        for _ in range(4):
            model(x).last_hidden_state.square().mean().backward()
            optimizer.step()
        first, second = (model(x).last_hidden_state.detach() for _ in range(2))
        assert float((first - second).abs().max()) > 1e-3
        with session.evaluate():
            again = model(x).last_hidden_state
            assert torch.equal(again, model(x).last_hidden_state)


@pytest.mark.parametrize("schedule", ["0.6@until=50%", "0to0.6"])
def test_rates_follow_schedules(schedule: str) -> None:
    """Of weights that are all 1/50, read off values that are the columns of the identity."""

    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            q = x * 0.0
            return functional.scaled_dot_product_attention(q, q, x)

    model = nn.Sequential(Fixed(), nn.Linear(50, 1))
    optimizer, x, gone = sgd(model), torch.eye(50)[None].expand(4, 50, 50), []
    with AttentionDropout(schedule).attach(model, optimizer, steps=6):
        for _ in range(6):
            weights = model[0](x)
            gone.append(int((weights == 0).sum()))
            model[1](weights).sum().backward()
            optimizer.step()
    for step, count in enumerate(gone):
        rate = 0.6 * (step < 3) if schedule != "0to0.6" else 0.1 * step
        assert binomtest(count, 10_000, rate).pvalue > FALSE_ALARM


def test_beside_dropout_the_weights_are_its_own() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.1, batch_first=True).train()
    x = numbers(2, 5, 8)
    for recipe in (dashpot.Dropout(0.0) | AttentionDropout(0.0), AttentionDropout(0.0) | dashpot.Dropout(0.0)):
        with recipe.attach(layer, sgd(layer)):
            first = layer(x)
            assert torch.equal(first, layer(x))
    with (dashpot.Dropout(0.9, on="type:MultiheadAttention") | AttentionDropout(0.0)).attach(layer, sgd(layer)):
        attn = layer.self_attn
        assert torch.equal(attn(x, x, x)[0], attn(x, x, x)[0])


class Head(nn.Module):
    """A softmax and a product that have nothing to do with each other."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.weight).softmax(-1)


def test_what_it_cannot_act_on_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Softmax(-1))
    with pytest.raises(dashpot.ConflictError, match=r"AttentionDropout\.on .* no module .* No module with attention"):
        AttentionDropout(0.1).attach(model, sgd(model))
    model = nn.ModuleDict({"attn": nn.MultiheadAttention(4, 1), "head": nn.Linear(4, 4)})
    with pytest.raises(dashpot.ConflictError, match="Did you mean name:attn"):
        AttentionDropout(0.1, on="name:atn").attach(model, sgd(model))
    with pytest.raises(dashpot.ConflictError, match="no module"):
        AttentionDropout(0.1, on="type:Linear").attach(model, sgd(model))
    for wrong in (-0.1, 1.1):
        with pytest.raises(dashpot.ConfigError, match=r"AttentionDropout\.p must be a number in \[0, 1\]"):
            AttentionDropout(wrong)
    with pytest.warns(SingleEpochWarning):
        AttentionDropout(0.1).attach(model, sgd(model), steps=50, steps_per_epoch=50).close()
    model = nn.Sequential(Head())
    assert attends(model[0])
    with (
        AttentionDropout(0.1).attach(model.train(), sgd(model)),
        pytest.raises(dashpot.UsageError, match=r"no attention weights in '0' \(Head\)"),
    ):
        model(numbers(2, 4))


def test_a_model_that_is_one_such_module_is_not_told_to_name_what_has_no_name() -> None:
    model = Head()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with AttentionDropout(0.5).attach(model, optimizer), pytest.raises(dashpot.UsageError) as told:
        model(torch.randn(2, 4))
    assert "the forward pass of Head itself" in str(told.value)
    assert "Leave AttentionDropout out" in str(told.value)
    assert "name:" not in str(told.value)


def test_a_compiled_model_is_refused_and_one_compiled_afterwards_runs_uncompiled() -> None:
    model, x = nn.Sequential(ByHand("fused")).train(), numbers(2, 5, 4)
    with pytest.raises(dashpot.ConflictError, match="compiled already"):
        AttentionDropout(0.1).attach(torch.compile(model, backend="eager"), sgd(model))
    with AttentionDropout(0.4).attach(model, sgd(model), seed=5):
        expected = model(x)
    torch._dynamo.reset()
    with AttentionDropout(0.4).attach(model, sgd(model), seed=5):
        with pytest.raises(torch._dynamo.exc.Unsupported, match="AttentionDropout cannot act in compiled code"):
            torch.compile(model, backend="eager", fullgraph=True)(x)
        assert torch.equal(torch.compile(model, backend="eager")(x), expected)
    torch._dynamo.reset()


def test_sam_sees_the_same_weights_in_both_passes() -> None:
    model = nn.Sequential(ByHand("method")).double().train()
    optimizer, x, outs = sgd(model), numbers(2, 5, 4).double(), list[Tensor]()
    session = (AttentionDropout(0.5) | dashpot.SAM(rho=1e-12)).attach(model, optimizer, closure=True)

    def closure() -> Tensor:
        optimizer.zero_grad()
        outs.append(model(x))
        loss = outs[-1].square().mean()
        loss.backward()
        return loss.detach()

    optimizer.step(closure)
    torch.testing.assert_close(outs[0], outs[1], rtol=1e-9, atol=1e-9)
    session.close()


def test_mc_predict_samples_weights() -> None:
    """Values that are the columns of the identity show the weights: each is 1/4 on average, with dropout's variance."""

    class Shown(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = functional.scaled_dot_product_attention(x * 0, x * 0, x)[:, 0]
            return out

    model, x, samples = nn.Sequential(Shown()), torch.eye(4)[None].expand(3, 4, 4).contiguous(), 4000
    found = dashpot.mc_predict(model, x, samples, recipe="attention-dropout:p=0.2", targets="values")
    std = 0.25 * math.sqrt(0.2 / 0.8)
    assert bool(((found.mean - 0.25).abs() < 6.5 * std / samples**0.5).all())
    # Of a variable with two values the variance of a squared deviation is below its square times 1 / (p (1 - p)).
    assert bool(((found.std**2 - std**2).abs() < 6.5 * std**2 * math.sqrt(1 / 0.16 / samples)).all())
