"""The training loop: what it learns, resumes, refuses and reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss, r2_score, root_mean_squared_error
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import dashpot
from dashpot.training.loop import DivergenceWarning
from dashpot.training.setup import schedule_of


def problem(n: int = 90, regression: bool = False) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] + x[:, 1]) if regression else (x[:, 0] + x[:, 1] > 0).long()


def network(outputs: int = 2, dropout: float = 0.3) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, outputs))


def weights(model: nn.Module) -> list[Tensor]:
    return [t.detach().clone() for t in model.state_dict().values()]


def fit(model: nn.Module, data: Any, **options: Any) -> dashpot.FitResult:
    return dashpot.fit(model, data, **{"epochs": 6, "batch_size": 16, "lr": 0.01, "progress": False, **options})


RECIPE = (
    dashpot.Mixup(alpha=0.3) | dashpot.L1(strength=1e-3) | dashpot.EMA(decay=0.9) | dashpot.EarlyStopping(patience=4)
)


@pytest.mark.parametrize("kind", ["tensors", "arrays", "dataset", "loader"])
def test_learns_from_whatever_data_come_in(kind: str) -> None:
    x, y = problem()
    data: Any = {
        "tensors": (x, y),
        "arrays": (x.numpy().astype(np.float64), y.numpy()),
        "dataset": TensorDataset(x, y),
        "loader": DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True),
    }[kind]
    result = fit(network(dropout=0.0), data, valid=(x, y), epochs=25)
    assert result.history[-1]["val_accuracy"] > 0.9
    assert result.stopped == "all epochs done"
    assert not result.model.training


@pytest.mark.parametrize(
    "recipe",
    [None, RECIPE, dashpot.SAM() | dashpot.Dropout(p=0.2), dashpot.dropout.ConcreteDropout() | dashpot.EarlyStopping()],
    ids=str,
)
@pytest.mark.parametrize("loader", [False, True])
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(tmp_path: Path, recipe: Any, loader: bool) -> None:
    class Stop(Exception):
        pass

    def stops_at(schedule_epoch: float) -> Any:
        def factor(progress: float) -> float:
            if progress >= schedule_epoch:
                raise Stop
            return 1 - progress

        return factor

    def data() -> Any:
        return DataLoader(TensorDataset(*problem()), batch_size=16, shuffle=True) if loader else problem()

    options = {"valid": problem(30), "recipe": recipe, "seed": 4}
    whole = fit(network(), data(), schedule=lambda t: 1 - t, **options)
    with pytest.raises(Stop):
        fit(network(), data(), schedule=stops_at(0.45), checkpoint=tmp_path, **options)
    torch.rand(5)
    parts = fit(network(), data(), schedule=lambda t: 1 - t, checkpoint=tmp_path, resume=True, **options)
    for a, b in zip(weights(whole.model), weights(parts.model), strict=True):
        assert torch.equal(a, b)
    strip = [{k: v for k, v in row.items() if k != "seconds"} for row in whole.history]
    assert strip == [{k: v for k, v in row.items() if k != "seconds"} for row in parts.history]
    again = fit(network(), data(), schedule=lambda t: 1 - t, checkpoint=tmp_path, resume=True, **options)
    assert all(torch.equal(a, b) for a, b in zip(weights(again.model), weights(parts.model), strict=True))


def test_resume_without_a_checkpoint_starts_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = fit(network(), problem(), checkpoint=tmp_path / "new", resume=True, progress=True)
    assert len(result.history) == 6
    assert "starting from the beginning" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 9}, "seed must be"),
        ({"epochs": 9}, "epochs must be"),
        ({"recipe": dashpot.L1()}, "recipe must be"),
        ({"data": problem(50)}, "data must be"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_resume_refuses_another_run(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    fit(network(), problem(), checkpoint=tmp_path, epochs=2)
    options = {"epochs": 2, **change}
    with pytest.raises(dashpot.ConfigError, match=message):
        fit(network(), options.pop("data", problem()), checkpoint=tmp_path, resume=True, **options)


def test_a_damaged_checkpoint_is_one_clear_error(tmp_path: Path) -> None:
    fit(network(), problem(), checkpoint=tmp_path, epochs=2)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"nonsense")
    with pytest.raises(dashpot.StorageError, match="not a readable checkpoint"):
        fit(network(), problem(), checkpoint=tmp_path, resume=True, epochs=2)


def test_a_diverged_loss_stops_says_where_and_keeps_the_best_weights() -> None:
    x, y = problem(regression=True)
    model = nn.Linear(5, 1)

    def explode(out: Tensor, target: Tensor) -> Tensor:
        loss = (out[:, 0] - target).square()
        calls.append(1)
        return loss * (float("nan") if model.training and len(calls) > 40 else 1.0)

    calls: list[int] = []
    with pytest.warns(DivergenceWarning, match=r"got nan in epoch \d+ at step \d+ of 6"):
        result = fit(model, (x, y), valid=(x, y), loss=explode, epochs=20)
    assert result.diverged
    best = min(row["val_loss"] for row in result.history)
    assert dashpot.scores(model, x, y)["loss"] == pytest.approx(best, rel=1e-5)
    with pytest.raises(dashpot.DivergedError, match="epoch"):
        result.raise_if_diverged()


def test_the_callers_random_state_and_data_stay() -> None:
    x, y = problem()
    before, model = x.clone(), nn.Linear(5, 2)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    fit(model, (x, y), recipe=dashpot.Mixup() | dashpot.InputNoise())
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(x, before)


def test_the_seed_decides_everything() -> None:
    runs = [weights(fit(network(), problem(), valid=problem(30), recipe=RECIPE, seed=seed).model) for seed in (1, 1, 2)]
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not torch.equal(runs[0][0], runs[2][0])


def test_a_last_batch_of_one_joins_the_one_before() -> None:
    assert len(fit(network(), problem(33)).history) == 6


def test_sample_weights_count_as_repetitions() -> None:
    x, y = problem(32, regression=True)
    weight = (torch.arange(32) % 3).float()
    twice = torch.arange(32).repeat_interleave(weight.long())

    def train(*data: Tensor) -> Tensor:
        torch.manual_seed(0)
        return fit(
            nn.Linear(5, 1), data, batch_size=999, optimizer=lambda p: torch.optim.SGD(p, lr=0.1)
        ).model.weight.detach()

    torch.testing.assert_close(train(x, y, weight), train(x[twice], y[twice]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number >= 1"),
        ({"epochs": True}, "epochs must be"),
        ({"batch_size": 2.5}, "batch_size must be"),
        ({"lr": float("nan")}, "lr must be"),
        ({"lr": 0}, "lr must be a number > 0"),
        ({"schedule": "linear"}, "schedule must be one of cosine, constant, one-cycle"),
        ({"device": "warp"}, "device must be"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(dashpot.ConfigError, match=message):
        fit(network(), problem(), **options)


def test_a_monitored_score_that_is_not_computed_is_refused_before_training() -> None:
    with pytest.raises(dashpot.ConflictError, match="valid="):
        fit(network(), problem(), recipe=dashpot.EarlyStopping())


def test_bad_data() -> None:
    x, y = problem()
    for data, message in (
        ((x, y[:-1]), "one length"),
        (3, "must be"),
        ((x[:0], y[:0]), "above 0"),
        (([["a"]], y), "numeric"),
    ):
        with pytest.raises(dashpot.DataError, match=message):
            fit(network(), data)
    with pytest.raises(dashpot.DataError, match="same number of values"):
        fit(nn.Linear(5, 3), problem(regression=True))


def test_scores_against_scikit_learn() -> None:
    x, y = problem()
    model = network().eval()
    probability = model(x).detach().double().softmax(1).numpy()
    got = dashpot.scores(model, x, y)
    assert got["loss"] == pytest.approx(log_loss(y, probability), rel=1e-5)
    assert got["accuracy"] == accuracy_score(y, probability.argmax(1))
    assert got["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, probability.argmax(1)))
    x, y = problem(regression=True)
    model = network(1).eval()
    out = model(x)[:, 0].detach().numpy()
    got = dashpot.scores(model, x, y)
    assert got["r2"] == pytest.approx(r2_score(y, out), rel=1e-5)
    assert got["rmse"] == pytest.approx(root_mean_squared_error(y, out), rel=1e-5)


def test_a_score_of_training_is_taken_on_the_untouched_truth() -> None:
    x, y = problem()
    result = fit(network(dropout=0.0), (x, y), recipe=dashpot.Mixup(alpha=1.0), valid=(x, y), epochs=2)
    assert result.history[-1]["train_accuracy"] == result.history[-1]["val_accuracy"]


@pytest.mark.parametrize("monitor", ["val_nope", "val_r2", "val_loss.x", "loss"])
def test_a_monitor_that_no_epoch_scores_is_refused_before_the_first(monitor: str) -> None:
    steps: list[float] = []

    def rate(progress: float) -> float:
        steps.append(progress)
        return 1.0

    x = torch.randn(30, 4)
    y = (x[:, 0] > 0).long()
    recipe = dashpot.EarlyStopping(monitor=monitor, mode="min")
    with pytest.raises(dashpot.UnknownNameError, match="one of objective, train_loss, .*val_balanced_accuracy"):
        dashpot.fit(torch.nn.Linear(4, 2), (x, y), valid=(x, y), recipe=recipe, schedule=rate, progress=False)
    assert not steps


def test_the_known_scores_are_those_that_are_computed() -> None:
    from dashpot.evaluation.losses import SCORES, metrics_of

    values = torch.randn(6, 1)
    assert tuple(metrics_of(torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2]))) == SCORES["classes"]
    assert set(metrics_of(values + 1, values)) == set(SCORES["values"])
    labels = torch.tensor([[0, 1], [1, 1], [0, 0]])
    criterion = torch.nn.BCEWithLogitsLoss(reduction="none")
    found = metrics_of(torch.randn(3, 2), labels, lambda o, t: criterion(o, t.float()), targets="multilabel")
    assert set(found) == set(SCORES["multilabel"])


def test_one_cycle_goes_up_in_a_quarter_and_down_to_zero() -> None:
    factor = schedule_of("one-cycle")
    assert [factor(t) for t in (0.0, 0.125, 0.25, 0.625, 1.0)] == [0.0, 0.5, 1.0, 0.5, 0.0]
