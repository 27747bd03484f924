"""Units that may leave, whatever the weights: which weights make them, and what leaves with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.core.errors import ConflictError
from dashpot.shrinking.channels import channels_of
from dashpot.shrinking.costs import MEASURES
from dashpot.shrinking.likeness import known_by
from tests.shrinking.zoo import ZOO, Tied


def trained(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_parameters()]


@pytest.mark.parametrize("name", ["perceptron", "residual", "dense", "mobile", "gated", "encoder", "ours for images"])
def test_what_is_emptied_leaves_and_costs_what_was_said(name: str) -> None:
    """Random units, against the size of the network that is really made."""
    make, example = ZOO[name]
    torch.manual_seed(0)
    model, x = make().eval(), example()
    found = channels_of(model, (x[:2],), {}, trained(model))
    draw, there = np.random.default_rng(0), np.ones(found.count, bool)
    for unit in draw.permutation(found.count)[: found.count // 2]:
        if not found.last(int(unit), there):
            there[unit] = False
    found.empty(model, ~there)
    small = dashpot.shrink(model, x[:2])
    for measure in MEASURES:
        assert found.costs[measure].size(np.ones(found.count, bool)) == getattr(small.before, measure), measure
        assert found.costs[measure].size(there) == getattr(small.after, measure), measure


def test_a_unit_of_a_residual_stream_is_made_by_all_that_is_added() -> None:
    make, example = ZOO["residual"]
    found = channels_of(make(), (example(),), {}, trained(make()))
    by_first = {bucket.parts[0].name: {(part.name, part.axis) for part in bucket.parts} for bucket in found.buckets}
    assert by_first["stem.weight"] == {
        *(("stem.weight", 0), ("stem.bias", 0), ("second.weight", 0), ("second.bias", 0)),
        *(("depthwise.weight", 0), ("depthwise.bias", 0)),
    }
    assert by_first["first.weight"] == {("first.weight", 0), ("norm.weight", 0), ("norm.bias", 0)}
    assert not any("head" in name for names in by_first.values() for name, _ in names)


def test_rows_are_of_one_unit_and_go_back() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    (bucket,) = channels_of(model, (torch.randn(2, 3),), {}, trained(model)).buckets
    tensors = {name: p.detach().clone() for name, p in model.named_parameters()}
    rows = bucket.rows(tensors)
    expected = np.concatenate(
        [
            model[0].weight.detach().numpy(),
            *(p.detach().numpy()[:, None] for p in (model[0].bias, model[1].weight, model[1].bias)),
        ],
        axis=1,
    )
    np.testing.assert_array_equal(rows.numpy(), expected)
    bucket.put(tensors, rows * 2)
    assert all(torch.equal(tensors[n], p * 2) == (not n.startswith("3.")) for n, p in model.named_parameters())


def test_what_leaves_is_the_difference_of_sizes() -> None:
    make, example = ZOO["mobile"]
    model = make()
    found = channels_of(model, (example(),), {}, trained(model))
    draw = np.random.default_rng(1)
    there = draw.random(found.count) < 0.7
    for cost in found.costs.values():
        leaving = cost.leaving(there)
        for unit in draw.choice(found.count, 9, replace=False):
            other = there.copy()
            other[unit] = not there[unit]
            assert abs(cost.size(other) - cost.size(there)) == pytest.approx(leaving[unit])


def test_the_units_do_not_depend_on_the_weights() -> None:
    make, example = ZOO["residual"]

    class Other(nn.Module):
        """One that is not known by its settings."""

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner: Any = inner
            self.key = object()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.inner(x)
            return out

    whole, empty = Other(make()), Other(make())
    with torch.no_grad():
        empty.inner.first.weight[3:9] = 0
        empty.inner.norm.running_mean.normal_()
    one, other = (channels_of(net, (example(),), {}, trained(net)) for net in (whole, empty))
    assert known_by(whole, (), ()) is None
    assert [b.start for b in one.buckets] == [b.start for b in other.buckets]
    assert [[(p.name, p.axis, p.places.tolist()) for p in b.parts] for b in one.buckets] == [
        [(p.name, p.axis, p.places.tolist()) for p in b.parts] for b in other.buckets
    ]


def test_what_is_made_by_frozen_weights_stays_and_tied_matrices_do() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    found = channels_of(model, (torch.randn(2, 3),), {}, [n for n in trained(model) if not n.startswith("0.")])
    assert {name for bucket in found.buckets for name in bucket.names} == {"2.weight", "2.bias"}
    tied = channels_of(Tied(), (torch.randint(11, (2, 3)),), {}, trained(Tied()))
    assert not any("embedding" in name or "head" in name for bucket in tied.buckets for name in bucket.names)


def test_networks_are_known_by_settings_and_shapes() -> None:
    def key(model: nn.Module, rows: int = 2) -> object:
        return known_by(model, ((torch.zeros(rows, 3),), {}), ["0.weight"])

    one = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.1))
    assert key(one) == key(nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.1)))
    assert key(one) != key(one, rows=3)
    assert key(one) != key(nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2)))
    assert key(one) != key(nn.Sequential(nn.Linear(3, 4), nn.AlphaDropout(0.1)))
    assert key(one) != key(nn.Sequential(nn.Linear(3, 4, bias=False), nn.Dropout(0.1)))
    one.register_forward_hook(lambda module, args, out: -out)
    assert key(one) is None


def test_a_network_that_cannot_be_traced_is_refused() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            if float(x.sum()) > 0:
                x = -x
            out: Tensor = self.two(self.one(x).relu())
            return out

    with pytest.raises(ConflictError, match="Branching cannot be shrunk"):
        channels_of(Branching(), (torch.randn(2, 3),), {}, ["one.weight"])
