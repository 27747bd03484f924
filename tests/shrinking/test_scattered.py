"""Sparse layers: the same answers with the weights that are not zero, where a clock says that it pays."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import dashpot
from dashpot.core.errors import ConfigError, ConflictError
from dashpot.shrinking import scattered
from dashpot.shrinking.scattered import SparseLinear, dense_again


def build() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 30, bias=False), nn.Tanh(), nn.Linear(30, 3))


def with_zeros(*zeros: float) -> nn.Sequential:
    """A network whose layers have these shares of zeros, in every row and column some weight."""
    torch.manual_seed(0)
    model = build()
    with torch.no_grad():
        for layer, share in zip((model[0], model[2], model[4]), zeros, strict=True):
            kept = torch.rand_like(layer.weight) > share
            kept[torch.arange(max(kept.shape)) % kept.shape[0], torch.arange(max(kept.shape)) % kept.shape[1]] = True
            layer.weight.mul_(kept)
    return model


@pytest.fixture
def sparse_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scattered, "latencies", lambda pairs: [2.0, 1.0])


@pytest.mark.usefixtures("sparse_is_faster")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_answers_and_gradients_of_inputs_are_those_of_the_whole_matrix(dtype: torch.dtype) -> None:
    model = with_zeros(0.0, 0.95, 0.0).to(dtype)
    small = dashpot.shrink(model, torch.randn(2, 6, dtype=dtype), sparse=True)
    layer = small.model[2]
    assert isinstance(layer, SparseLinear)
    assert small.plan.sparse == {"2": int(np.count_nonzero(model[2].weight.detach().numpy()))}
    assert "2: a sparse matrix of" in small.summary()
    assert torch.equal(layer.weight, model[2].weight)
    for shape in ((1, 6), (70, 6), (2, 5, 6)):
        x = torch.randn(shape, dtype=dtype, requires_grad=True)
        given = [torch.autograd.grad(net(x).square().sum(), x)[0] for net in (model, small.model)]
        torch.testing.assert_close(small.model(x), model(x))
        torch.testing.assert_close(given[1], given[0])
    assert layer.extra_repr().endswith(f"entries={small.plan.sparse['2']}")


@pytest.mark.usefixtures("sparse_is_faster")
def test_sizes_are_of_what_is_kept() -> None:
    model = with_zeros(0.0, 0.95, 0.0)
    small = dashpot.shrink(model, torch.randn(2, 6), sparse=True)
    entries = small.plan.sparse["2"]
    assert small.before.parameters - small.after.parameters == 1200 - entries
    assert small.before.macs - small.after.macs == 1200 - entries
    assert small.after.macs == 6 * 40 + entries + 30 * 3


@pytest.mark.usefixtures("sparse_is_faster")
def test_a_file_holds_what_is_not_zero_and_gives_the_same_answers(tmp_path: Path) -> None:
    small = dashpot.shrink(with_zeros(0.0, 0.97, 0.0), torch.randn(2, 6), sparse=True)
    dashpot.save_shrunk(small, tmp_path / "small.safetensors")
    again = dashpot.load_shrunk(build, tmp_path / "small.safetensors")
    x = torch.randn(5, 6)
    assert torch.equal(again(x), small.model(x))
    assert again[2].values.numel() == small.plan.sparse["2"]
    whole = dense_again(again)
    assert isinstance(whole[2], nn.Linear)
    torch.testing.assert_close(whole(x), small.model(x))
    assert isinstance(again[2], SparseLinear)
    assert dense_again(whole) is whole


@pytest.mark.usefixtures("sparse_is_faster")
def test_other_programs_get_the_whole_matrix(tmp_path: Path) -> None:
    small = dashpot.shrink(with_zeros(0.0, 0.95, 0.0), torch.randn(2, 6), sparse=True).model
    dashpot.export(small, torch.randn(2, 6), tmp_path / "model.pt2")
    x = torch.randn(7, 6)
    torch.testing.assert_close(torch.export.load(tmp_path / "model.pt2").module()(x), small(x))


@pytest.mark.usefixtures("sparse_is_faster")
def test_it_is_for_inference_and_shrinks_no_further() -> None:
    model = with_zeros(0.0, 0.95, 0.0)
    small = dashpot.shrink(model, torch.randn(2, 6), sparse=True)
    with pytest.raises(ConflictError, match="for inference"):
        small.plan.carry(torch.optim.Adam(model.parameters()), model, small.model)
    with pytest.raises(ConflictError, match="sparse matrices"):
        dashpot.shrink(small.model, torch.randn(2, 6))


def test_what_stays_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scattered, "latencies", lambda pairs: [1.0, 2.0])
    found = dashpot.shrink(with_zeros(0.0, 0.95, 0.5), torch.randn(2, 6), sparse=True)
    assert found.plan.sparse == {}
    assert found.whole == {"2": "as a sparse matrix it is 0.5 times as fast with 64 rows"}
    monkeypatch.setattr(scattered, "latencies", lambda pairs: [2.0, 1.0])
    tied = with_zeros(0.0, 0.0, 0.0)
    tied[2] = tied[4] = nn.Linear(40, 40)
    tied.append(nn.Linear(40, 3))
    with torch.no_grad():
        tied[2].weight.copy_(torch.eye(40))
    found = dashpot.shrink(tied, torch.randn(2, 6), sparse=True)
    assert found.whole == {"2": "its weight is used in several places"}
    with pytest.raises(ConfigError, match="sparse must be True or False, got 'yes'"):
        dashpot.shrink(tied, torch.randn(2, 6), sparse="yes")  # type: ignore[arg-type]  # a wrong type is meant


@pytest.mark.usefixtures("sparse_is_faster")
def test_beside_units_that_leave_and_nothing_is_said_of_betas() -> None:
    model = with_zeros(0.0, 0.95, 0.0)
    with torch.no_grad():
        model[0].weight[:10] = 0
        model[0].bias[:10] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = dashpot.shrink(model, torch.randn(2, 6), sparse=True)
    assert (small.model[0].out_features, small.model[2].in_features) == (30, 30)
    x = torch.randn(9, 6)
    torch.testing.assert_close(small.model(x), model(x))


@pytest.mark.usefixtures("sparse_is_faster")
def test_inspect_reports_the_whole_matrix() -> None:
    model = with_zeros(0.0, 0.95, 0.0)
    small = dashpot.shrink(model, torch.randn(2, 6), sparse=True).model
    before, after = dashpot.inspect(model), dashpot.inspect(small)
    assert [layer.name for layer in after.layers] == [layer.name for layer in before.layers]
    assert after.layers[1].zeros == before.layers[1].zeros > 0.9


@pytest.mark.usefixtures("sparse_is_faster")
@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16])
def test_sixteen_bits_are_multiplied_in_thirty_two(narrow: torch.dtype) -> None:
    model = with_zeros(0.0, 0.95, 0.0)
    small, x = dashpot.shrink(model, torch.randn(2, 6), sparse=True).model, torch.randn(9, 6)
    with torch.autocast("cpu", dtype=narrow):
        torch.testing.assert_close(small(x).float(), model(x).float(), rtol=0.05, atol=0.02)
    expected = model(x)
    out = small.to(narrow)(x.to(narrow))
    assert out.dtype == narrow
    torch.testing.assert_close(out.float(), expected, rtol=0.05, atol=0.02)
