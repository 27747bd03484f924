"""Distributions of weights and strengths of paths, against NumPy and sums over paths; the figure and the command."""

from __future__ import annotations

import csv
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kurtosis
from torch import nn

import dashpot
from dashpot.nets import MLP, ConvNet
from dashpot.report.inspect.figure import draw_weights
from dashpot.report.inspect.record import InspectRecord
from dashpot.sparsity.spread import LEVELS, path_strengths, spread_of


def test_the_distribution_is_numpys() -> None:
    random = np.random.default_rng(0)
    w = random.laplace(size=(40, 30))
    w[random.random(w.shape) < 0.3] = 0.0
    w[random.random(w.shape) < 0.1] *= 1e-4
    found = spread_of(torch.from_numpy(w))
    np.testing.assert_allclose(found.quantiles, np.quantile(w, LEVELS), rtol=1e-12, atol=1e-15)
    moment = np.mean(w**4) / np.mean(w**2) ** 2
    assert found.kurtosis == pytest.approx(moment, rel=1e-12)
    there = w[w != 0]
    near = (np.abs(w) < 0.01 * np.sqrt(np.mean(there**2))) & (w != 0)
    assert found.near_zeros == near.mean()
    assert found.counts == tuple(np.histogram(there, 61, (-found.edge, found.edge))[0].tolist())
    normal = random.normal(size=200_000)
    assert spread_of(torch.from_numpy(normal)).kurtosis == pytest.approx(kurtosis(normal, fisher=False), rel=1e-3)


def test_ends_of_the_range() -> None:
    assert spread_of(torch.zeros(3, 3)).kurtosis == 0.0
    assert spread_of(torch.zeros(0, 3)).quantiles == (0.0,) * 7
    assert spread_of(torch.tensor([float("nan"), 1.0])).quantiles == (1.0,) * 7


def by_paths(matrices: list[np.ndarray]) -> np.ndarray:
    """Each path by itself: one unit of every layer."""
    total = np.zeros(matrices[0].shape[1])
    for path in itertools.product(*[range(n) for n in (matrices[0].shape[1], *(m.shape[0] for m in matrices))]):
        product = 1.0
        for matrix, start, end in zip(matrices, path[:-1], path[1:], strict=True):
            product *= abs(matrix[end, start])
        total[path[0]] += product
    return total / total.sum()


def test_strengths_are_sums_over_paths() -> None:
    torch.manual_seed(0)
    model = MLP(4, 2, width=3, depth=2)
    with torch.no_grad():
        model.body[0].weight[:, 1] = 0.0
    matrices = [m.weight.detach().double().numpy() for m in model.modules() if isinstance(m, nn.Linear)]
    found = path_strengths(model)
    assert found is not None
    np.testing.assert_allclose(found, by_paths(matrices), rtol=1e-9)
    assert found[1] == 0.0
    before = [p.clone() for p in model.parameters()]
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_batch_normalization_and_residual_connections_count() -> None:
    torch.manual_seed(1)
    normed = MLP(3, 1, width=4, depth=1, norm="batch")
    for _ in range(5):
        normed(torch.randn(64, 3) * torch.tensor([1.0, 5.0, 0.2]))
    norm = normed.body[1]
    factor = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().double().numpy()
    first, last = (m.weight.detach().double().numpy() for m in (normed.body[0], normed.head))
    np.testing.assert_allclose(path_strengths(normed), by_paths([first * factor[:, None], last]), rtol=1e-5)

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.relu, self.head = nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x + self.relu(self.first(x)))

    model = Residual()
    one, two = (m.weight.detach().abs().double().numpy() for m in (model.first, model.head))
    total = (two @ (np.eye(3) + one)).sum(axis=0)
    np.testing.assert_allclose(path_strengths(model), total / total.sum(), rtol=1e-9)


def test_other_networks_have_none() -> None:
    normalized = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    for model in (ConvNet(1, 2), normalized, nn.Embedding(5, 3)):
        assert path_strengths(model) is None
        assert dashpot.inspect(model).paths is None
    empty = nn.Linear(3, 1)
    nn.init.zeros_(empty.weight)
    assert path_strengths(empty) is None


def test_l1_shows_in_the_distribution_and_the_paths(tmp_path: Path) -> None:
    x = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] - 2 * x[:, 1]).unsqueeze(1)

    def trained(recipe: str | None) -> nn.Module:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
        dashpot.fit(model, (x, y), recipe=recipe, lr=0.02, epochs=60, progress=False, device="cpu")
        return model

    names = ["apples", "pears", "c", "d", "e", "f"]
    plain, sparse = (dashpot.inspect(trained(r), names=names) for r in (None, "l1:strength=0.03"))
    assert plain.paths is not None
    assert sparse.paths is not None
    assert {name for name, _ in sparse.strongest()[:2]} == {"apples", "pears"}
    assert sum(sparse.paths[2:]) < 0.5 * sum(plain.paths[2:])
    first, other = sparse.layers[0].spread, plain.layers[0].spread
    assert first is not None
    assert other is not None
    assert first.kurtosis > other.kurtosis
    assert sparse.layers[0].zeros > 0.3
    text = sparse.details()
    assert "apples" in text
    assert "kurtosis" in text
    png, svg = sparse.plot(tmp_path / "weights", plain, "with L1", "without")
    assert png.stat().st_size > 10_000
    drawn = svg.read_text()
    assert "apples" in drawn
    assert "Grey: without" in drawn
    record = InspectRecord.from_dict(json.loads(json.dumps(sparse.record("run").to_dict())))
    assert draw_weights(record).axes
    assert record.paths == sparse.paths
    with pytest.raises(dashpot.ConfigError, match="6 names"):
        dashpot.inspect(trained(None), names=["one"])


def test_the_command(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(120, 3))
    with (tmp_path / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["height", "b", "colour", "price"])
        writer.writerows([a, b, "red" if c > 0 else "blue", 3 * a] for a, b, c in x.tolist())

    def dashpot_(*words: object) -> str:
        command = [sys.executable, "-m", "dashpot", *map(str, words)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    for name, more in (("plain", ()), ("sparse", ("--with", "l1:strength=0.01"))):
        dashpot_("fit", "table.csv", "--target", "price", "--epochs", 5, "--out", name, *more)
    said = dashpot_("inspect", "sparse", "--beside", "plain", "--out", "look")
    assert "height" in said
    assert "colour=red" in said
    assert (tmp_path / "look" / "weights.png").exists()
    record = InspectRecord.from_dict(json.loads((tmp_path / "look" / "inspect.json").read_text()))
    assert record.names[0] == "height"
    assert record.paths is not None
    assert np.argmax(record.paths) == 0
