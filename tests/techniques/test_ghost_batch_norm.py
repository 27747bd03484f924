"""Ghost batch normalization against torch's on each part alone; and weight normalization beside decay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dashpot
from dashpot.normalization import GhostBatchNorm

X = torch.randn(10, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def attached(model: nn.Module, technique: Any, **options: Any) -> Any:
    return technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)


def test_each_part_is_normalized_alone_and_the_statistics_move_as_far() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4)).double()
    with attached(model, GhostBatchNorm(size=4)):
        out = model(X).detach().numpy()
    x, mean, variance = X.numpy(), np.zeros(4), np.ones(4)
    kept = 0.9 ** (1 / 3)  # of the old statistics, by each of three parts
    for rows in (slice(0, 4), slice(4, 8), slice(8, 10)):
        part = x[rows]
        expected = (part - part.mean(0)) / np.sqrt(part.var(0) + 1e-5)
        np.testing.assert_allclose(out[rows], expected, rtol=1e-9, atol=1e-9)
        mean = kept * mean + (1 - kept) * part.mean(0)
        variance = kept * variance + (1 - kept) * part.var(0, ddof=1)
    np.testing.assert_allclose(model[0].running_mean.numpy(), mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model[0].running_var.numpy(), variance, rtol=1e-9)


def test_it_shares_all_with_what_it_stands_for_and_leaves() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
    norm = model[1]
    session = attached(model, GhostBatchNorm(size=2))
    assert type(model[1]) is not nn.BatchNorm2d
    assert model[1].weight is norm.weight
    assert model[1].running_mean is norm.running_mean
    assert "1, parts of 2 rows" in session.plan()
    model(torch.randn(6, 2, 5, 5)).sum().backward()
    session.optimizer.step()
    twin = session.export()
    session.close()
    assert model[1] is norm
    assert float(norm.running_mean.abs().sum()) > 0
    assert type(twin[1]) is nn.BatchNorm2d
    assert torch.equal(twin[1].running_mean, norm.running_mean)


def test_a_second_pass_leaves_the_statistics_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen: list[torch.Tensor] = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(X).pow(3).mean()
        loss.backward()
        seen.append(model[1].running_mean.clone())
        return loss

    with (GhostBatchNorm(size=4) | dashpot.SAM(rho=0.5)).attach(model, optimizer, closure=True):
        optimizer.step(closure)
    assert len(seen) == 2
    assert torch.equal(seen[0], seen[1])


@pytest.mark.parametrize(
    ("make", "kind", "told"),
    [
        (lambda: GhostBatchNorm(size=1), dashpot.ConfigError, r"GhostBatchNorm.size must be 0 \(off\) or at least 2"),
        (lambda: GhostBatchNorm(on="name:7"), dashpot.ConflictError, "1|batch normalization"),
    ],
)
def test_bad_input_is_refused_by_name(make: Any, kind: type[Exception], told: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    with pytest.raises(kind, match=told):
        attached(model, make())


def test_a_network_without_any_is_refused() -> None:
    with pytest.raises(dashpot.ConflictError, match="selects none of this Linear, which has no batch normalization"):
        attached(nn.Linear(2, 2), GhostBatchNorm())


def test_batches_of_one_row_are_refused() -> None:
    with pytest.raises(dashpot.ConflictError, match="cannot train on one sample"):
        attached(nn.Sequential(nn.BatchNorm1d(4)), GhostBatchNorm(), batch_size=1)


def test_decay_of_a_normalized_weight_is_refused_since_it_regularizes_nothing() -> None:
    """To shrink a direction changes no output, and makes its next steps longer: no decay, but another learning rate."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), nn.Linear(3, 1)).double()
    direction = model[0].parametrizations.weight.original1

    def gradient() -> tuple[torch.Tensor, torch.Tensor]:
        direction.grad = None
        out = model(X)
        out.sum().backward()
        return out.detach(), direction.grad.clone()

    out, slope = gradient()
    with torch.no_grad():
        direction.mul_(0.5)
    shrunk, steeper = gradient()
    torch.testing.assert_close(shrunk, out)
    torch.testing.assert_close(steeper, 2 * slope)

    with pytest.raises(dashpot.ConflictError, match="WeightNorm computes .* would be none on the weight"):
        attached(model, dashpot.WeightDecay(strength=1.0))
    attached(model, dashpot.WeightDecay(strength=1.0, on="weights & ~name:0.*")).close()
