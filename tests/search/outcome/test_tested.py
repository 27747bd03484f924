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
from dashpot.core.digits import digits
from dashpot.evaluation.decision import Decision
from dashpot.evaluation.metrics import METRICS
from dashpot.runs.saved import load_run
from dashpot.search.outcome.folder import to_json
from dashpot.search.outcome.tested import in_words, kept, of_trial, tta_of
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import Trial
from dashpot.search.space.space import Candidate

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
    said = "; predictions are the mean over both mirror images of each image (held-out log loss "
    assert said in result.record["final"]

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


def sides(n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """A class is the brighter side, so that a mirror image shows the other one."""
    x, y = pictures(n)
    x[y == 1, :, :4] -= 50
    x[y == 1, :, :, :4] += 50
    x[y == 0, :, :, 4:] += 50
    return x, y


class Linear(nn.Module):
    """Of pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.float().flatten(1) / 255 - 0.5)
        return out


def raced(data: tuple[np.ndarray, np.ndarray]) -> tuple[Task, Trial]:
    """A task with two folds, and a candidate with a network for each: of the pixels, by least squares."""
    x, y = (torch.from_numpy(part) for part in data)
    half = np.arange(len(y) // 2)
    folds = [(half, half + len(half)), (half + len(half), half)]
    task = Task(x, y, folds, lambda net: Linear(), METRICS["accuracy"], classes=2, seed=0, calibrated=True)
    trial = Trial(0, Candidate(dashpot.Recipe(), 0.1, {}, {}))
    for train, valid in folds:
        network = Linear()
        flat = torch.cat([x[train].float().flatten(1) / 255 - 0.5, torch.ones(len(train), 1)], dim=1)
        found = torch.linalg.lstsq(flat, 2.0 * y[train].float() - 1, driver="gelsd").solution
        with torch.no_grad():
            network.layer.weight.copy_(torch.stack([-found[:-1], found[:-1]]))
            network.layer.bias.copy_(torch.stack([-found[-1], found[-1]]))
        trial.tensors.append({name: t.clone() for name, t in network.state_dict().items()})
        with torch.no_grad():
            trial.outputs.append(network(x[valid]))
    return task, trial


def test_flips_are_averaged_over_where_held_out_rows_say_so() -> None:
    tta = dashpot.TTA("flip")
    for data, help_ in ((pictures(120), True), (sides(), False)):
        task, trial = raced(data)
        both = of_trial(task, trial, [0, 1], tta, unit=False)
        x = torch.from_numpy(data[0])
        for fold, (_, valid) in enumerate(task.folds):
            network = Linear()
            network.load_state_dict(dict(trial.tensors[fold]))
            with torch.no_grad():
                mean = (network(x[valid]).softmax(1) + network(x[valid].flip(3)).softmax(1)) / 2
            torch.testing.assert_close(both.outputs[fold].softmax(1), mean)
        rows = np.concatenate([valid for _, valid in task.folds])
        plain, several = (torch.cat(one.outputs) for one in (trial, both))
        found, told = kept(task, tta, (plain, rows), (several, rows), asked=False)
        assert (found is not None) is help_
        assert f"each image alone {digits(task.proper(plain, rows))}" in told
        assert kept(task, tta, (plain, rows), (several, rows), asked=True)[0] is tta


def test_a_search_does_without_flips_that_hurt() -> None:
    """A few flips in training blur the classes; a mean over both mirror images would lose them."""
    x, y = sides()
    config = dashpot.SearchConfig(explain=False, ensemble="folds")
    options: dict[str, Any] = {"trials": 2, "epochs": 8, "cv": 2, "progress": False, "config": config}
    result = dashpot.tune((x, y), model=Linear, recipe=["horizontal-flip:p=0.1"], **options)
    assert result.recipe == dashpot.Recipe.coerce("horizontal-flip:p=0.1")
    assert result.tta is None
    assert "as the mean over both mirror images of each image is no better" in result.record["final"]
    assert (result.predict(x[result.test]) == y[result.test]).all()


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
