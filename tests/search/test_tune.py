"""``dashpot.tune``: scores and predictions against scikit-learn and closed forms, networks and data of one's own, and
what it refuses.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss, mean_squared_error
from torch import nn

import dashpot
from dashpot.core.durations import seconds
from dashpot.evaluation.decision import Decision
from dashpot.runs.saved import load_decision, load_run, predictions
from dashpot.search.inputs import problem_of
from dashpot.search.outcome.result import AsTheyAre, TuneResult
from dashpot.search.racing.race import Race
from dashpot.search.run import Search
from dashpot.search.space.distributions import Numeric
from dashpot.search.space.space import Space
from dashpot.search.space.technique import technique_spaces
from dashpot.search.tensor_problem import TensorProblem
from tests.search.helpers import tuned

QUICK: dict[str, Any] = {"trials": 3, "epochs": 4, "cv": 2, "explain": False, "progress": False}


def table(rows: int = 160) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(rows, 4))
    return x, np.where(x[:, 0] > 0, "yes", "no")


def tune(data: Any, **options: Any) -> TuneResult:
    return tuned(data, **{**QUICK, **options})


@pytest.fixture(scope="module")
def small() -> TuneResult:
    return tune(table(), explain=True)


def small_net(**options: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(12, options.get("width", 8)), nn.ReLU(), nn.Linear(options.get("width", 8), 2)
    )


def sequences(rows: int = 120) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(rows, 3, 4, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0, 0] > 0).long()


# --- what it gives ---------------------------------------------------------------------------------------------------


def test_the_reported_scores_are_those_of_its_own_predictions(small: TuneResult) -> None:
    x, y = table()
    test, told = small.test, small.record["test"]["chosen"]
    assert len(test) == 32
    assert told["accuracy"] == pytest.approx(accuracy_score(y[test], small.predict(x[test])))
    assert told["log_loss"] == pytest.approx(log_loss(y[test], small.predict_proba(x[test])), rel=1e-6)
    assert accuracy_score(y, small.predict(x)) > 0.8
    assert {c["technique"] for c in small.record["contributions"]} <= {
        "weight-decay",
        "dropout",
        "input-noise",
        "mixup",
        "label-smoothing",
        "l1",
        "ema",
    } | {"early-stopping"}


def test_the_same_call_gives_the_same(small: TuneResult) -> None:
    x, _ = table()
    np.testing.assert_array_equal(tune(table(), explain=True).predict_proba(x), small.predict_proba(x))
    assert not np.array_equal(tune(table(), seed=1).predict_proba(x), small.predict_proba(x))


def test_the_global_random_state_stays() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  (the global state is what is tested)
    expected = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    tune(sequences(), model=small_net, recipe=["dropout:on=type:ReLU"])
    assert torch.equal(torch.rand(1), expected[0])
    assert np.random.rand() == expected[1]  # noqa: NPY002


def test_the_summary_names_what_was_chosen(small: TuneResult) -> None:
    text = small.summary()
    assert "Chosen: #" in text
    assert "logistic regression" in text
    assert max(map(len, small.summary(width=80).splitlines())) <= 80


def test_a_saved_run_predicts_the_same(small: TuneResult, tmp_path: Path) -> None:
    x, _ = table()
    folder = small.save(tmp_path / "run")
    network, preprocessing, target = load_run(folder)
    again = preprocessing.transform(pd_rows(x))
    columns = predictions(network, torch.from_numpy(again), target, load_decision(folder))
    assert columns["prediction"] == small.predict(x).tolist()
    np.testing.assert_allclose(columns["p(yes)"], small.predict_proba(x)[:, 1], rtol=1e-6)
    with pytest.raises(dashpot.ConfigError, match="new or empty folder"):
        small.save(folder)


def pd_rows(x: np.ndarray) -> Any:
    from dashpot.data.rows import to_rows

    return to_rows(x)


def test_out_keeps_the_run_and_a_refused_search_leaves_nothing(tmp_path: Path) -> None:
    result = tune(table(), out=tmp_path / "run")
    network, _, _ = load_run(tmp_path / "run")
    x = result.prepared.x[:5]
    torch.testing.assert_close(network(x), result.network(x))
    with pytest.raises(dashpot.ConfigError, match="metric"):
        tune(table(), metric="rmse", out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_rare_class_is_decided_by_the_metric() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    y = (rng.random(400) < 0.3 / (1 + np.exp(-2 * x[:, 0]))).astype(int)
    result = tune((x, y), metric="balanced_accuracy", recipe=["weight-decay"])
    p = result.predict_proba(x)
    assert isinstance(result.decision, Decision)
    assert result.decision.tau > 0
    assert balanced_accuracy_score(y, result.predict(x)) > balanced_accuracy_score(y, p.argmax(axis=1)) + 0.05
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_ctrl_c_gives_the_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Search.work

    def interrupted(self: Search, *args: Any) -> Any:
        work(self, *args)
        raise KeyboardInterrupt

    monkeypatch.setattr(Search, "work", interrupted)
    result = tune(table(), explain=True)
    assert result.record["contributions"] == []
    assert result.predict(table()[0]).shape == (160,)


# --- data ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (np.where(np.arange(120) % 3 == 0, 30, 7), "i"),
        (np.arange(120) % 2 == 0, "b"),
        (pd.Series(["b", "a"] * 60, dtype="category"), "O"),
        (pl.Series(["b", "a"] * 60), "OU"),
        (torch.arange(120) % 2, "i"),
        (["b", "a"] * 60, "U"),
        (np.array(["b", "a"] * 60)[:, None], "U"),
        (torch.arange(120)[:, None] % 2 + 1, "i"),
    ],
)
def test_classes_come_back_as_they_were_given(y: Any, kind: str) -> None:
    x = np.random.default_rng(0).normal(size=(120, 3))
    inputs = problem_of((x, y), None, None, own=False)
    labels = inputs.labels
    assert labels is not None
    assert labels.dtype.kind in kind
    values = np.asarray(y).reshape(-1)
    np.testing.assert_array_equal(labels[inputs.problem.labels], values)


def test_a_loss_that_compares_every_output_with_every_target_is_refused_before_the_search() -> None:
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    with pytest.raises(dashpot.ConfigError, match="every output with every target"):
        dashpot.tune(
            (x, x[:, 0]), model=lambda: torch.nn.Linear(3, 1), loss=lambda out, y: (out - y) ** 2, trials=2, epochs=1
        )


def test_frames_with_missing_values_and_arrays_of_images() -> None:
    x, y = table(120)
    frame = pd.DataFrame({"a": np.where(x[:, 1] > 1, np.nan, x[:, 0]), "b": np.where(x[:, 2] > 0, "u", None)})
    result = tune((frame, pd.Series(y)))
    assert set(result.predict(frame[:5])) <= {"yes", "no"}
    np.testing.assert_array_equal(
        result.predict(
            pl.DataFrame({"a": frame["a"].to_numpy(), "b": [None if pd.isna(v) else v for v in frame["b"]]})
        ),
        result.predict(frame),
    )
    with pytest.raises(dashpot.DataError, match="missing: 'b'"):
        result.predict(frame[["a"]])
    pixels = np.random.default_rng(0).integers(0, 255, (60, 8, 8), dtype=np.uint8)
    images = tune((pixels, np.arange(60) % 2), trials=2, epochs=1, recipe=["weight-decay"])
    assert images.predict(pixels[:7]).shape == (7,)
    assert images.prepared.x.shape == (60, 1, 8, 8)


def test_a_path(tmp_path: Path) -> None:
    x, y = table(120)
    pd.DataFrame(x, columns=list("abcd")).assign(answer=y).to_csv(tmp_path / "d.csv", index=False)
    result = tune(tmp_path / "d.csv", target="answer", recipe="l1")
    assert set(result.predict(tmp_path / "d.csv")) <= {"yes", "no"}
    np.testing.assert_array_equal(
        result.predict(str(tmp_path / "d.csv")), result.predict(pd.DataFrame(x, columns=list("abcd")))
    )


# --- networks of one's own -------------------------------------------------------------------------------------------


def test_tensors_reach_the_network_as_they_are() -> None:
    x, y = sequences()
    seen: list[torch.Tensor] = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small_net()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not self.training and len(x) == 4:
                seen.append(x)
            return self.inner(x)

    result = tune((x, y), model=Spy, recipe=["weight-decay"])
    torch.testing.assert_close(seen[0], x[:4], rtol=0, atol=0)
    torch.testing.assert_close(result.prepared.x, x, rtol=0, atol=0)
    p = result.network(x).softmax(1)
    temperature = result.decision.temperature if result.decision else 1.0
    np.testing.assert_allclose(
        result.predict_proba(x),
        (p.double() ** (1 / temperature) / (p.double() ** (1 / temperature)).sum(1, keepdim=True)).detach(),
        rtol=1e-5,
    )
    with pytest.raises(dashpot.DataError, match=r"must be \[n, 3, 4\]"):
        result.predict(x[:, :2])
    with pytest.raises(dashpot.DataError, match="must be a tensor"):
        result.predict("d.csv")


def test_numbers_of_tokens_and_what_they_do_not_admit(capsys: pytest.CaptureFixture[str]) -> None:
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(9, 8), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.head(self.embedding(x).mean(1))
            return out

    x = torch.randint(0, 9, (150, 5), generator=torch.Generator().manual_seed(0))
    result = tune((x, (x == 3).any(1).long()), model=Bag, progress=True)
    said = capsys.readouterr().err
    assert "mixup is left out of the default techniques: the inputs are whole numbers" in said
    assert "dropout is left out of the default techniques" in said
    assert result.prepared.x.dtype == torch.int64
    assert "mixup" not in result.record["space"]
    assert "label-smoothing" in result.record["space"]


def test_what_cannot_be_stacked_runs_one_by_one_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = nn.GRU(4, 8, batch_first=True), nn.Linear(8, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.head(self.inner(x)[0][:, -1])
            return out

    x, _ = sequences()
    y = 2 * x[:, -1, 0] + 5
    result = tune((x, y), model=Recurrent, recipe=["weight-decay"], epochs=30, lr=0.03, progress=True)
    assert "trained one by one" in capsys.readouterr().err
    test = result.test
    assert result.predict(x).shape == (120,)
    assert result.record["test"]["chosen"]["rmse"] == pytest.approx(
        mean_squared_error(y[test], result.predict(x[test])) ** 0.5, rel=1e-5
    )
    assert result.record["test"]["chosen"]["r2"] > 0.5


def test_several_values_and_options_of_the_network(tmp_path: Path) -> None:
    x, _ = sequences()
    y = torch.stack([x[:, 0, 0], 100 * x[:, 1, 1]], dim=1)
    asked: set[int] = set()

    def make(width: int, kind: str) -> nn.Module:
        asked.add(width)
        assert kind == "a"
        return small_net(width=width)

    result = tune(
        (x, y), model=make, net={"width": (4, 6), "kind": "a"}, recipe=["weight-decay"], lr=(0.01, 0.1), trials=6
    )
    assert asked == {4, 6}
    assert result.net["width"] in asked
    assert all(0.01 <= c["params"]["lr"] <= 0.1 for c in result.record["candidates"])
    test = result.test
    truth, predicted = y[test].numpy().astype(np.float64), result.predict(x[test])
    assert result.record["test"]["chosen"]["rmse"] == pytest.approx(
        np.sqrt(((truth - predicted) ** 2).mean()), rel=1e-5
    )
    with pytest.raises(dashpot.ConfigError, match="Use predict"):
        result.predict_proba(x)
    folder = result.save(tmp_path / "own")
    from safetensors.torch import load_file

    torch.testing.assert_close(load_file(folder / "model.safetensors"), dict(result.network.state_dict()))
    assert not (folder / "preprocessing.json").exists()
    written = (folder / "recipe.toml").read_text()
    # A submodule that is loaded by then.
    assert dashpot.core.fields.codec.loads(written) == result.recipe  # type: ignore[attr-defined]


def test_the_loss_is_the_callers() -> None:
    """The bias of a constant model under the pinball loss is a quantile, under the default loss the mean."""
    rng = np.random.default_rng(0)
    y = rng.exponential(size=400)
    x = np.zeros((400, 1))

    def pinball(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        gap = y.reshape(len(y), 1) - out.reshape(len(y), -1)
        return torch.maximum(0.9 * gap, -0.1 * gap).mean(1)

    options: dict[str, Any] = {
        "model": lambda: nn.Linear(1, 1),
        "recipe": ["ema"],
        "lr": 0.05,
        "epochs": 60,
        "ensemble": "refit",
    }
    quantile, mean = tune((x, y), loss=pinball, **options), tune((x, y), **options)
    assert quantile.predict(x[:1])[0] == pytest.approx(np.quantile(y, 0.9), rel=0.15)
    assert mean.predict(x[:1])[0] == pytest.approx(y.mean(), rel=0.15)
    assert (quantile.record["proper"], mean.record["proper"]) == ("loss", "rmse")
    assert "Chosen: #" in quantile.summary()


def test_a_ready_space_a_fixed_rate_and_a_batch_size() -> None:
    space = Space(technique_spaces(["mixup"]), lr=Numeric(1e-3, 1e-2, log=True))
    result = tune(sequences(), model=small_net, space=space)
    assert set(result.record["space"]) >= {"mixup", "lr"}
    assert "dropout" not in result.record["space"]
    fixed = tune(
        table(), lr=0.004, net={"width": 16, "depth": [1, 2]}, batch_size=25, recipe=dashpot.Recipe((dashpot.L1(),))
    )
    for candidate in fixed.record["candidates"]:
        assert candidate["params"]["lr"] == 0.004
        assert candidate["params"]["net.width"] == 16
    assert fixed.record["batch_size"] == 25


def test_a_fingerprint_tells_tensors_apart() -> None:
    x, y = sequences()
    one = TensorProblem(x, y.numpy(), "classification").fingerprint
    assert one == TensorProblem(x.clone(), y.numpy(), "classification").fingerprint
    changed = x.clone()
    changed[3, 0, 0] += 1
    assert one != TensorProblem(changed, y.numpy(), "classification").fingerprint
    assert one != TensorProblem(x.reshape(-1, 12), y.numpy(), "classification").fingerprint
    assert one != TensorProblem(x, 1 - y.numpy(), "classification").fingerprint


# --- bad input -------------------------------------------------------------------------------------------------------

X, Y = table(90)
T = torch.zeros(90, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": "5 minutes"}, "budget must be more than 0 seconds, or a time"),
        ({"budget": -3}, "budget must be"),
        ({"budget": True}, "budget must be"),
        ({"trials": 1}, "trials must be a whole number >= 2"),
        ({"trials": 2.5}, "trials must be a whole number"),
        ({"cv": 1}, "cv must be"),
        ({"cv": 70}, "cv must be at most"),
        ({"epochs": 0}, "epochs must be"),
        ({"batch_size": "big"}, "batch_size must be"),
        ({"data": 3}, "data must be a path, a pair"),
        ({"data": (X, Y[:-1])}, "as many rows as each other, got 90 and 89"),
        ({"data": (X, np.where(X[:, 0] > 0, np.nan, X[:, 1]))}, "finite number in every row"),
        ({"data": (X, [None, *Y[1:]])}, "missing in 1 of 90"),
        ({"data": (X, [pd.NA, *Y[1:]])}, "missing in 1 of 90"),
        ({"data": (X, X[:, :2])}, "one dimension for a built-in network"),
        ({"data": (T, T.long()), "model": small_net}, "y must be classes"),
        ({"data": (T / 0, Y), "model": lambda: nn.Linear(3, 2)}, "X must hold finite numbers"),
        ({"target": "y"}, "target must be None"),
        ({"metric": "acc"}, "Did you mean 'accuracy'"),
        ({"metric": "rmse"}, "metric must be one for classification"),
        ({"model": nn.Linear(4, 2)}, "returns a fresh nn.Module"),
        ({"model": 3}, "returns a fresh nn.Module"),
        ({"model": lambda: 3}, "must be an nn.Module"),
        ({"model": lambda: nn.Linear(5, 2)}, r"a network for inputs \[n, 4\]"),
        ({"model": lambda: nn.Linear(4, 3)}, "one logit per class"),
        ({"model": nn.Identity}, "trainable parameters"),
        ({"model": lambda: nn.Linear(4, 2), "net": {"width": [1, 2]}}, r"callable as model\(width=1\)"),
        ({"net": {"widht": [64]}}, "Did you mean 'width'"),
        ({"net": {"width": []}}, "one or several numbers"),
        ({"model": lambda: nn.Linear(4, 2), "loss": nn.CrossEntropyLoss()}, "loss of each sample"),
        ({"loss": 3}, "loss must be a function"),
        ({"lr": (1e-2, 1e-3)}, "low below high"),
        ({"lr": 0}, "lr must be a number > 0"),
        ({"recipe": ["l9"]}, "technique must be one of"),
        ({"recipe": 3}, "recipe must be"),
        ({"without": ["l9"]}, "without must be one of"),
        ({"model": lambda: nn.Linear(4, 2), "recipe": ["dropout"]}, "matches no module"),
        (
            {"recipe": [], "lr": 1e-3, "net": {"width": 64, "depth": 2, "embedding": "none", "activation": "silu"}},
            "something to search",
        ),
        (
            {"space": Space(technique_spaces(["mixup"]), lr=Numeric(1e-3, 1e-2)), "lr": 0.1},
            "space must be given without",
        ),
        ({"ensemble": "x"}, "ensemble must be"),
        ({"sampler": "x"}, "sampler must be"),
    ],
)
def test_bad_input(options: dict[str, Any], message: str) -> None:
    data = options.pop("data", (X, Y))
    with pytest.raises(dashpot.DashpotError, match=message):
        tune(data, **options)


def test_times() -> None:
    assert [seconds(t) for t in (90, 1.5, "90", "90s", "10m", "1.5h")] == [90, 1.5, 90, 90, 600, 5400]
    for bad in ("", "s", "10d", "nan", "inf", None, [1]):
        with pytest.raises(dashpot.ConfigError):
            seconds(bad)


def test_as_they_are_keeps_the_kind_of_numbers() -> None:
    how = AsTheyAre((2,), "float32")
    assert how.transform(np.ones((3, 2))).dtype == torch.float32
    assert how.to_dict() == {"shape": [2], "dtype": "float32", "kind": "tensor"}


def test_ctrl_c_that_a_library_drops_ends_the_race_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pressed in a place where it is swallowed, as in a destructor; the best so far is made ready."""
    before, pressed = signal.getsignal(signal.SIGINT), []
    whole = Race._evaluate

    def evaluate(self: Any, *args: Any) -> None:
        whole(self, *args)
        if not pressed:
            pressed.append(1)
            with contextlib.suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Race, "_evaluate", evaluate)
    result = tuned(table(), trials=400, epochs=30, cv=2, explain=False, progress=True)
    assert pressed
    assert "interrupted: the best so far is made ready" in capsys.readouterr().err
    assert len(result.record["candidates"]) < 40
    assert signal.getsignal(signal.SIGINT) is before
