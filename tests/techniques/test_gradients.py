"""Clipping by layer and by unit, and centralization: against loops by hand over outputs, filters and gates."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.core.errors import ConfigError, ConflictError
from dashpot.core.running.selecting import SelectionWarning
from dashpot.gradient import AdaptiveGradientClipping, GradientCentralization

MODULES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(5, 3),
    "convolution": lambda: nn.Conv2d(4, 6, 3),
    "grouped convolution": lambda: nn.Conv1d(4, 6, 3, groups=2),
    "transposed convolution": lambda: nn.ConvTranspose2d(4, 6, 3),
    "transposed in groups": lambda: nn.ConvTranspose1d(4, 6, 3, groups=2),
    "recurrent": lambda: nn.LSTM(5, 3),
    "attention": lambda: nn.MultiheadAttention(4, 2),
}


def rows_by_hand(module: nn.Module, t: Tensor) -> list[Tensor]:
    """Views of the numbers of each output, by the documented shapes of torch's layers."""
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d):  # [inputs, outputs / groups, ...]
        inputs = t.shape[0] // module.groups
        return [t[g * inputs : (g + 1) * inputs, o] for g in range(module.groups) for o in range(t.shape[1])]
    return list(t)


def with_gradients(module: nn.Module) -> dict[str, Tensor]:
    """Random ones, which are kept."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, p in module.named_parameters():
        p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
        found[name] = p.grad.clone()
    return found


def after(technique: Any, module: nn.Module, lr: float = 0.0) -> dict[str, Tensor]:
    """The gradients that an optimizer finds."""
    optimizer = torch.optim.SGD(module.parameters(), lr=lr)
    seen: dict[str, Tensor] = {}
    with technique.attach(module, optimizer):
        optimizer.register_step_post_hook(
            lambda *_: seen.update({n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None})
        )
        optimizer.step()
    return seen


@pytest.mark.parametrize("kind", MODULES)
def test_centralization_takes_the_mean_of_each_output_away(kind: str) -> None:
    torch.manual_seed(0)
    module = MODULES[kind]().double()
    given = with_gradients(module)
    found = after(GradientCentralization(), module)
    for name, g in given.items():
        expected = g.clone()
        if g.ndim > 1:
            for row in rows_by_hand(module, expected):
                row.sub_(row.mean())
        torch.testing.assert_close(found[name], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", MODULES)
def test_adaptive_clipping_bounds_each_output_by_its_weights(kind: str) -> None:
    torch.manual_seed(0)
    module = MODULES[kind]().double()
    given = with_gradients(module)
    found = after(AdaptiveGradientClipping(clipping=0.3, head=True), module)
    clipped = 0
    for name, p in module.named_parameters():
        expected = given[name].clone()
        weight = p.detach()
        pairs = [(expected, weight)]
        if p.ndim > 1:
            pairs = list(zip(rows_by_hand(module, expected), rows_by_hand(module, weight), strict=True))
        for g, w in pairs:
            bound = 0.3 * max(math.sqrt(float((w * w).sum())), 1e-3)
            length = math.sqrt(float((g * g).sum()))
            if length > bound:
                g.mul_(bound / length)
                clipped += 1
        torch.testing.assert_close(found[name], expected, rtol=1e-9, atol=1e-12)
    assert clipped > 3


def test_tokens_are_units_of_an_embedding() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 2)).double()
    given = with_gradients(model)["0.weight"]
    found = after(AdaptiveGradientClipping(clipping=0.1), model)["0.weight"]
    lengths = 0.1 * model[0].weight.detach().norm(dim=1, keepdim=True)
    torch.testing.assert_close(found, given / given.norm(dim=1, keepdim=True) * lengths, rtol=1e-9, atol=1e-12)


class TestAdaptive:
    def test_the_head_is_left_alone_and_the_rest_is_not(self) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2), nn.LayerNorm(2))
        given, found = with_gradients(model), after(AdaptiveGradientClipping(clipping=0.01), model)
        same = {name for name, g in given.items() if torch.equal(found[name], g)}
        assert same == {"2.weight", "2.bias"}

    def test_the_head_is_left_alone_where_it_is_computed(self) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)))
        given, found = with_gradients(model), after(AdaptiveGradientClipping(clipping=0.01), model)
        assert {name for name, g in given.items() if torch.equal(found[name], g)} == {n for n in given if n[0] == "1"}

    def test_weights_of_zero_may_grow(self) -> None:
        layer = nn.Linear(3, 2)
        nn.init.zeros_(layer.weight)
        with_gradients(layer)
        found = after(AdaptiveGradientClipping(clipping=0.5, eps=0.2, head=True), layer)["weight"]
        torch.testing.assert_close(found.norm(dim=1), torch.full((2,), 0.1), rtol=1e-5, atol=1e-7)

    def test_gradients_of_zero_stay(self) -> None:
        layer = nn.Linear(3, 2)
        for p in layer.parameters():
            p.grad = torch.zeros_like(p)
        found = after(AdaptiveGradientClipping(head=True), layer)
        assert all(torch.equal(g, torch.zeros_like(g)) for g in found.values())

    @pytest.mark.parametrize("freeze", [True, False])
    def test_where_only_the_head_is_trained_it_says_so(self, freeze: bool) -> None:
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
        if freeze:
            dashpot.freeze(model, "0")
        else:
            model = nn.Sequential(nn.Linear(4, 2))
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        with pytest.warns(SelectionWarning, match=r"leaves the last layer \(.\) alone, .* Give head=True"):
            AdaptiveGradientClipping().attach(model, optimizer).close()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            AdaptiveGradientClipping(head=True).attach(model, optimizer).close()

    def test_complex_and_bad_values(self) -> None:
        layer = nn.Linear(2, 2, dtype=torch.complex64)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        with pytest.raises(ConflictError, match=r"AdaptiveGradientClipping acts on dense real weights, and weight is"):
            AdaptiveGradientClipping().attach(layer, optimizer)
        for values in ({"clipping": 0.0}, {"clipping": -1.0}, {"eps": 0.0}):
            with pytest.raises(ConfigError, match=f"{next(iter(values))} must be a number > 0"):
                AdaptiveGradientClipping(**values)


class TestCentralization:
    def test_sums_of_weights_stay_under_sgd(self) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)).double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        x = torch.randn(32, 6, generator=torch.Generator().manual_seed(1)).double()
        before = [model[i].weight.detach().clone() for i in (0, 2)]
        with GradientCentralization().attach(model, optimizer):
            for _ in range(5):
                optimizer.zero_grad()
                (model(x)[:, 0] - x[:, 0]).square().mean().backward()
                optimizer.step()
        for old, i in zip(before, (0, 2), strict=True):
            now = model[i].weight.detach()
            torch.testing.assert_close(now.sum(dim=1), old.sum(dim=1), rtol=1e-9, atol=1e-9)
            assert float((now - old).abs().max()) > 1e-3

    def test_a_unit_with_one_input_still_learns(self) -> None:
        model = nn.Sequential(nn.Linear(1, 3), nn.Linear(3, 2))
        given = with_gradients(model)
        assert torch.equal(after(GradientCentralization(), model)["0.weight"], given["0.weight"])

    def test_computed_weights_and_sparse_gradients_are_refused(self) -> None:
        model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), nn.Linear(2, 2))
        with pytest.raises(ConflictError, match=r"GradientCentralization.on .* selects '0.weight', which"):
            GradientCentralization().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        table = nn.Embedding(4, 3, sparse=True)
        with pytest.raises(ConflictError, match=r"works on dense gradients"):
            GradientCentralization(on="embeddings").attach(table, torch.optim.SGD(table.parameters(), lr=0.1))


class TestClippingByLayer:
    def test_each_layer_by_its_own_norm(self) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2, bias=False))
        given = with_gradients(model)
        given["1.weight"] = given["1.weight"] * 1e-3  # a small gradient stays, whatever the others are
        model[1].weight.grad = given["1.weight"].clone()
        found = after(dashpot.GradientClipping(0.5, by="layer"), model)
        first = math.sqrt(sum(float(given[f"0.{leaf}"].square().sum()) for leaf in ("weight", "bias")))
        for leaf in ("weight", "bias"):
            torch.testing.assert_close(found[f"0.{leaf}"], given[f"0.{leaf}"] * (0.5 / first), rtol=1e-5, atol=1e-7)
        assert torch.equal(found["1.weight"], given["1.weight"])

    def test_sparse_half_and_complex_gradients(self) -> None:
        table, half = nn.Embedding(6, 3, sparse=True), nn.Linear(3, 2).bfloat16()
        field = nn.Linear(2, 2, bias=False, dtype=torch.complex64)
        model = nn.ModuleDict({"table": table, "low": half, "field": field})
        table(torch.tensor([1, 1, 4])).sum().mul(100.0).backward()
        for p in half.parameters():
            p.grad = torch.full_like(p, 100.0)
        field.weight.grad = torch.full((2, 2), 30 + 40j)
        found = after(dashpot.GradientClipping(1.0, by="layer"), model)
        lengths = {
            "table": found["table.weight"].to_dense().norm(),
            "half": torch.stack([found[f"low.{leaf}"].float().norm() for leaf in ("weight", "bias")]).norm(),
            "field": found["field.weight"].abs().norm(),
        }
        for length in lengths.values():
            assert float(length) == pytest.approx(1.0, rel=1e-2)

    def test_an_unknown_way_names_the_known_ones(self) -> None:
        with pytest.raises(ConfigError, match=r"one of norm, layer, value, got 'neuron'"):
            dashpot.GradientClipping(by="neuron")  # type: ignore[arg-type]  # that is the point
