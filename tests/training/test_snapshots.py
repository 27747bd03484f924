"""Snapshots of a training with a cyclic learning rate, and the mean answer of them, against a loop by hand."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dashpot
from dashpot import schedules
from dashpot.averaging import Snapshots, snapshots

X = torch.randn(48, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def trained(recipe: Any, **options: Any) -> Any:
    given: dict[str, Any] = {"schedule": schedules.cyclic(3), "epochs": 6, "batch_size": 16, "lr": 0.02}
    return dashpot.fit(network(), (X, Y), recipe=recipe, progress=False, **(given | options))


def test_each_is_the_network_after_its_cycle_and_the_training_is_as_without() -> None:
    plain, result = trained(None), trained(Snapshots(cycles=3))
    for name, tensor in plain.model.state_dict().items():
        assert torch.equal(result.model.state_dict()[name], tensor), name
    assert len(result.snapshots) == 3
    last = result.snapshots[-1]
    assert all(torch.equal(last[name], tensor) for name, tensor in plain.model.state_dict().items())

    model = network()  # the same batches by hand
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    kept = []
    with Snapshots(cycles=2).attach(model, optimizer, steps=7) as session:
        for step in range(7):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(X), Y).backward()
            optimizer.step()
            if step + 1 in (4, 7):  # round(3.5) is 4
                kept.append(copy.deepcopy(model.state_dict()))
        found = snapshots(session)
    assert len(found) == 2
    for one, other in zip(found, kept, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_mean_is_of_probabilities_with_the_statistics_of_each() -> None:
    result = trained(Snapshots(cycles=3))
    means = [one["1.running_mean"] for one in result.snapshots]
    assert not torch.equal(means[0], means[1])
    found = dashpot.ensemble_predict(result.model, X, result.snapshots, batch_size=7)
    parts = []
    for state in result.snapshots:
        w = {name: tensor.double().numpy() for name, tensor in state.items()}
        h = X.double().numpy() @ w["0.weight"].T + w["0.bias"]
        h = (h - w["1.running_mean"]) / np.sqrt(w["1.running_var"] + 1e-5) * w["1.weight"] + w["1.bias"]
        z = np.maximum(h, 0) @ w["3.weight"].T + w["3.bias"]
        e = np.exp(z - z.max(1, keepdims=True))
        parts.append(e / e.sum(1, keepdims=True))
    np.testing.assert_allclose(found.mean.numpy(), np.mean(parts, axis=0), atol=1e-5)
    np.testing.assert_allclose(found.std.numpy(), np.std(parts, axis=0, ddof=1), atol=1e-5)
    assert found.samples == 3
    assert result.model.state_dict()["1.running_mean"].equal(means[2])


def test_averages_are_what_is_kept_and_a_resumed_run_has_all(tmp_path: Any) -> None:
    recipe = Snapshots(cycles=3) | dashpot.EMA(decay=0.8)
    whole = trained(recipe)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(whole.snapshots[-1][name], tensor), name
    first = trained(recipe, checkpoint=tmp_path, epochs=6)
    again = trained(recipe, checkpoint=tmp_path, epochs=6, resume=True)
    for one, other in zip(first.snapshots, again.snapshots, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_networks_of_other_shapes_and_too_few_are_refused() -> None:
    model = nn.Linear(2, 3)
    x = torch.randn(4, 2)
    with pytest.raises(dashpot.ConfigError, match="snapshots must be at least two networks, .* got 1"):
        dashpot.ensemble_predict(model, x, [model])
    with pytest.raises(dashpot.ConfigError, match=r"snapshots\[1\] must be of the model's shape: weight is \[3, 2\]"):
        dashpot.ensemble_predict(model, x, [model, nn.Linear(2, 4)])
    with pytest.raises(dashpot.ConfigError, match="targets must be one of classes"):
        dashpot.ensemble_predict(model, x, [model, model], targets="class")  # type: ignore[arg-type]  # on purpose
    labels = dashpot.ensemble_predict(model, x, [model, model], targets="multilabel")
    torch.testing.assert_close(labels.mean, model(x).sigmoid())
    assert not labels.std.any()


def test_what_is_missing_is_said_at_attach() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(dashpot.ConflictError, match="needs the number of optimizer steps"):
        Snapshots(cycles=3).attach(model, optimizer)
    with pytest.raises(dashpot.ConflictError, match="at most the 2 steps of the run, got 3"):
        Snapshots(cycles=3).attach(model, optimizer, steps=2)
    with pytest.raises(dashpot.ConflictError, match="and WeightNorm gives them others"):
        (Snapshots(cycles=3) | dashpot.normalization.WeightNorm()).attach(model, optimizer, steps=9)
    session = dashpot.EMA().attach(model, optimizer)
    with pytest.raises(dashpot.UsageError, match="has no Snapshots"):
        snapshots(session)
    session.close()
