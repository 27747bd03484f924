"""Scores against sizes: ``dashpot.size_path`` and ``dashpot path --technique compress``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.core.errors import ConfigError, ConflictError
from dashpot.report.page.sizes import sizes_page
from dashpot.report.sizes.record import SizesRecord
from dashpot.sparsity.points import fresh_model
from dashpot.sparsity.sizes import SizePath


def rows(n: int = 120) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] * x[:, 1] > 0).long()


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 20), nn.ReLU(), nn.Linear(20, 2))


@pytest.fixture(scope="module")
def found() -> SizePath:
    return dashpot.size_path(net, rows(), ["1x parameters", "0.1x parameters", "300 parameters"], cv=3, epochs=8)


def test_each_network_has_the_size_that_was_asked_for(found: SizePath) -> None:
    record, full = found.record, sum(p.numel() for p in net().parameters())
    assert record.sizes == ["0.1x parameters", "300 parameters", "1x parameters"]  # from small to large
    for count, most in zip(record.parameters, (0.1 * full, 300, full), strict=True):
        assert 0.85 * most <= count <= most
    for model, count, bytes_ in zip(found.models, record.parameters, record.bytes, strict=True):
        assert sum(p.numel() for p in model.parameters()) == count
        assert bytes_ == 4 * count
        assert not model.training
    shapes = [tuple(p.shape) for p in found.model(0).parameters() if p.ndim == 2]
    assert record.macs[0] == sum(a * b for a, b in shapes)  # a perceptron's


def test_scores_are_those_of_networks_trained_by_fit_on_each_fold(found: SizePath) -> None:
    from sklearn.model_selection import StratifiedKFold

    x, y = rows()
    splitter = StratifiedKFold(3, shuffle=True, random_state=0)
    train, valid = next(iter(splitter.split(np.zeros(len(x)), y.numpy())))
    model = fresh_model(net, 0)
    done = dashpot.fit(
        model, (x[train], y[train]), recipe=dashpot.Compress(to="300 parameters"), epochs=8, progress=False
    )
    with torch.no_grad():
        right = (done.model.eval()(x[valid]).argmax(1) == y[valid]).double().mean()
    assert found.record.fold_scores[0][1] == pytest.approx(float(right), abs=1e-9)
    scores = np.array(found.record.fold_scores, dtype=float)
    assert found.record.score == pytest.approx(scores.mean(0).tolist())
    assert found.record.score_se == pytest.approx((scores.std(0, ddof=1) / 3**0.5).tolist())


def test_the_record_comes_back_and_makes_its_page_and_figure(found: SizePath) -> None:
    again = SizesRecord.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found.record
    assert "300 parameters" in str(sizes_page(again))
    assert len(found.figure().axes) == 4
    assert "score against size" in (found._repr_html_() or "")
    assert all(fast > 0 for fast in (*again.ms_1, *again.ms_64))


def test_a_technique_gives_the_smallest_size_and_its_moment() -> None:
    found = dashpot.size_path(net, rows(), "compress:to=0.2x macs,by=25%", points=3, cv=2, epochs=4, recipe="ema")
    assert found.record.sizes == ["0.2x macs", "0.447x macs", "1x macs"]
    assert "by=25%" in found.record.technique
    default = dashpot.size_path(net, rows(), points=2, cv=2, epochs=4)
    assert default.record.sizes == ["0.05x parameters", "1x parameters"]


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        (["1x macs", "0.5x parameters"], "one measure"),
        (["2x faster"], "times are measured"),
        ("l1", "a Compress"),
        ([], "one measure"),
        (["small"], "a size such as"),
    ],
)
def test_sizes_that_are_none(sizes: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        dashpot.size_path(net, rows(), sizes)


def test_a_size_that_cannot_be() -> None:
    with pytest.raises(ConflictError, match="with one unit in each layer"):
        dashpot.size_path(net, rows(), ["0.001x parameters"])
    with pytest.raises(ConfigError, match="points"):
        dashpot.size_path(net, rows(), points=1)
    with pytest.raises(ConflictError, match=r"EarlyStopping.* holds no rows back .* Use monitor='train_loss'"):
        dashpot.size_path(net, rows(), ["0.5x parameters"], recipe=dashpot.EarlyStopping())


def test_the_command(tmp_path: Path) -> None:
    x, y = rows()
    frame = pd.DataFrame(x.numpy(), columns=list("abcdef"))
    frame["target"] = np.where(y.numpy() > 0, "yes", "no")
    frame.to_csv(tmp_path / "table.csv", index=False)

    def run(*more: str) -> Any:
        command = [sys.executable, "-m", "dashpot", "path", "table.csv", "--target", "target", *more]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    quick = ("--points", "2", "--cv", "2", "--epochs", "3")
    done = run("--technique", "compress:to=0.1x macs", *quick, "--out", "out")
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"sizes.json", "sizes.png", "sizes.svg", "report.html"}
    record = SizesRecord.from_dict(json.loads((tmp_path / "out" / "sizes.json").read_text()))
    assert (record.dataset, record.task, record.seed, record.features) == ("table", "classification", 0, 6)
    assert "dashpot fit table.csv --target target" in done.stdout
    for wrong, words in (("--network linear", "mlp"), ("--stability", "left out"), ("--points 1", "points")):
        refused = run("--technique", "compress", *wrong.split(), "--out", "none")
        assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
        assert words in refused.stderr
        assert not (tmp_path / "none").exists()
