"""Test-time augmentation of the model that a search ends with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.evaluation.decision import Decision
from dashpot.runs.saved import load_run
from dashpot.search.outcome.folder import to_json
from dashpot.search.outcome.tested import in_words, tta_of

QUICK: dict[str, Any] = {"trials": 2, "epochs": 1, "cv": 2, "progress": False}


def pictures(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).integers(0, 200, (n, 1, 8, 8), dtype=np.uint8)
    y = np.arange(n) % 2
    x[y == 1, :, :4] += 50
    return x, y


def test_auto_is_the_mean_over_the_flips_of_the_recipe() -> None:
    flips = dashpot.Recipe.coerce("horizontal-flip:p=0.2 | rotation | vertical-flip:p=0.3")
    assert str(tta_of("auto", flips)) == "HorizontalFlip(p=0.5) | VerticalFlip(p=0.5)"
    assert tta_of("none", flips) is None
    for none in ("horizontal-flip:p=0", "rotation", "dropout"):
        assert tta_of("auto", dashpot.Recipe.coerce(none)) is None
    assert (
        in_words(dashpot.TTA("flip | vertical-flip"))
        == "predictions are the mean over all 4 mirror images of each image"
    )


def test_a_search_predicts_measures_and_saves_it(tmp_path: Path) -> None:
    x, y = pictures()
    config = dashpot.SearchConfig(explain=False, tta="vertical-flip", ensemble="folds")
    result = dashpot.tune((x, y), recipe=["dropout"], config=config, **QUICK)
    assert str(result.tta) == "VerticalFlip(p=0.5)"
    assert result.record["final"].endswith("; predictions are the mean over both mirror images of each image")

    def answers(pixels: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            both = [result.network(torch.from_numpy(p.copy())).softmax(1) for p in (pixels, pixels[:, :, ::-1])]
        decision = result.decision or Decision()
        return np.asarray(decision.probabilities(((both[0] + both[1]) / 2).log().double().numpy()))

    np.testing.assert_allclose(result.predict_proba(x), answers(x), atol=1e-5)
    test = answers(x[result.test])
    right = ((result.decision or Decision()).decide(test) == y[result.test]).mean()
    assert result.record["test"]["chosen"]["accuracy"] == pytest.approx(right)
    network, _, _ = load_run(result.save(tmp_path / "run"))
    with torch.no_grad():
        out = network(torch.from_numpy(x)).double().numpy()
    np.testing.assert_allclose((result.decision or Decision()).probabilities(out), answers(x), atol=1e-5)


def test_of_a_network_of_ones_own() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(x.float().flatten(1) / 255)
            return out

    x, _ = pictures()
    config = dashpot.SearchConfig(explain=False, tta=dashpot.TTA("flip"))
    values = x[:, 0].mean(axis=(1, 2)) / 100
    result = dashpot.tune((x, values), model=Net, recipe=["weight-decay"], config=config, **QUICK)
    with torch.no_grad():
        mean = sum(result.network(torch.from_numpy(p.copy())) for p in (x, x[..., ::-1])) / 2
    np.testing.assert_allclose(result.predict(x), mean[:, 0].numpy(), atol=1e-5)


def test_configuration_is_plain_json() -> None:
    for given in ("auto", "none", "flip", dashpot.TTA(["translation"], 3)):
        stored = json.loads(json.dumps(to_json(dashpot.SearchConfig(trials=2, tta=given))))
        again = dashpot.SearchConfig(trials=2, tta=stored["tta"]).check()
        assert tta_of(again.tta, dashpot.Recipe()) == tta_of(given, dashpot.Recipe())


@pytest.mark.parametrize(
    ("given", "message"), [("flip", "tta must be None for other inputs"), ("mixup", "recipe of tta")]
)
def test_refusals_come_before_work(given: str, message: str) -> None:
    table = np.random.default_rng(0).normal(size=(30, 3)), np.arange(30) % 2
    with pytest.raises(dashpot.ConfigError, match=message):
        dashpot.tune(table, config=dashpot.SearchConfig(tta=given), **QUICK)
