"""Techniques that end a training, against rules written out by hand; at work in loops of all kinds."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import dashpot
from dashpot.comparison.compare import compare
from dashpot.data import Problem
from dashpot.data.rows import Rows
from dashpot.population.members import Member
from dashpot.population.population import Population
from dashpot.stopping import DivergenceStopping, MultiMetricStopping, PrecheltStopping, StopFile, TimeLimit


def attached(technique: dashpot.Technique | dashpot.Recipe) -> tuple[nn.Linear, dashpot.Session]:
    model = nn.Linear(1, 1, bias=False)
    return model, technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1))


def stops_at(technique: dashpot.Technique, rows: list[dict[str, float]]) -> tuple[int, int]:
    """The epoch of the first stop (0: none), and the one whose weights are left."""
    model, session = attached(technique)
    epoch = 0
    for epoch, row in enumerate(rows, start=1):
        nn.init.constant_(model.weight, float(epoch))
        if session.epoch(row).stop:
            break
    else:
        epoch = 0
    session.finish()
    return epoch, round(model.weight.item())


def walks(seed: int, names: tuple[str, ...], epochs: int = 40) -> list[dict[str, float]]:
    random = np.random.default_rng(seed)
    paths = {name: np.exp(0.15 * random.standard_normal(epochs).cumsum()) for name in names}
    return [{name: float(path[t]) for name, path in paths.items()} for t in range(epochs)]


class TestMultiMetric:
    @pytest.mark.parametrize("when", ["all", "any"])
    @pytest.mark.parametrize("seed", range(8))
    def test_the_rule_written_out(self, when: str, seed: int) -> None:
        rows = walks(seed, ("a", "b", "c"))
        for row in rows:
            row["b"] = -row["b"]
        expected, since = 0, {}
        for t in range(1, len(rows) + 1):
            best = {name: min(range(t), key=lambda i, n=name: (rows[i][n], i)) + 1 for name in "ac"}
            best["b"] = max(range(t), key=lambda i: (rows[i]["b"], -i)) + 1
            late = [t - best[name] >= 4 for name in "abc"]
            if all(late) if when == "all" else any(late):
                expected, since = t, best
                break
        technique = MultiMetricStopping("a:min,b:max,c:min", when=when, patience=4)
        at, left = stops_at(technique, rows)
        assert at == expected
        assert left == (since["a"] if expected else 1 + int(np.argmin([row["a"] for row in rows])))

    def test_the_reason_names_the_scores(self) -> None:
        _, session = attached(MultiMetricStopping("val_loss,val_accuracy:max", patience=1))
        session.epoch({"val_loss": 1.0, "val_accuracy": 0.5})
        reason = session.epoch({"val_loss": 2.0, "val_accuracy": 0.5}).reason
        assert "val_loss has not improved for 1 epoch and val_accuracy has not" in reason

    def test_bad_monitors_are_refused(self) -> None:
        with pytest.raises(dashpot.ConfigError, match=r"val_loss:min,val_accuracy:max.*never guessed"):
            MultiMetricStopping("val_loss,val_accuracy")
        with pytest.raises(dashpot.ConfigError, match="each once"):
            MultiMetricStopping("val_loss,val_loss:max")

    def test_as_text(self) -> None:
        read = dashpot.Recipe.coerce("multi-metric-stopping:monitors=val_loss:min,val_accuracy:max,when=any,patience=3")
        assert list(read) == [MultiMetricStopping("val_loss, val_accuracy:max", when="any", patience=3)]


class TestPrechelt:
    @pytest.mark.parametrize("seed", range(6))
    def test_gl(self, seed: int) -> None:
        rows = walks(seed, ("val_loss",))
        losses = np.array([row["val_loss"] for row in rows])
        lost = 100 * (losses / np.minimum.accumulate(losses) - 1)
        first = int(np.argmax(lost > 30)) + 1 if (lost > 30).any() else 0
        best = int(losses[: first or len(losses)].argmin()) + 1
        assert stops_at(PrecheltStopping(alpha=30.0), rows) == (first, best)

    @pytest.mark.parametrize("seed", range(6))
    def test_pq(self, seed: int) -> None:
        rows = walks(seed, ("val_loss", "train_loss"))
        valid, train = (np.array([row[name] for row in rows]) for name in ("val_loss", "train_loss"))
        expected = 0
        for t in range(4, len(rows) + 1, 4):
            strip = train[t - 4 : t]
            gl = 100 * (valid[t - 1] / valid[:t].min() - 1)
            if gl / (1000 * (strip.sum() / (4 * strip.min()) - 1)) > 0.5:
                expected = t
                break
        assert stops_at(PrecheltStopping(criterion="pq", alpha=0.5, strip=4), rows)[0] == expected

    def test_ends_of_the_range(self) -> None:
        losses = [{"val_loss": value} for value in (1.0, math.nan)]
        assert stops_at(PrecheltStopping(), losses) == (2, 1)
        assert stops_at(PrecheltStopping(), [{"val_loss": 0.0}] * 5)[0] == 0
        still = [{"val_loss": value, "train_loss": 1.0} for value in (1.0, 1.0, 1.1, 1.1)]
        assert stops_at(PrecheltStopping(criterion="pq", strip=2), still) == (4, 1)
        assert stops_at(PrecheltStopping(min_epochs=3), [{"val_loss": value} for value in (1.0, 9.0, 9.0)])[0] == 3


class TestDivergence:
    def test_not_finite_and_far_above_the_best(self) -> None:
        losses = [{"train_loss": value} for value in (5.0, 1.0, 2.9, 3.1)]
        assert stops_at(DivergenceStopping(factor=3.0), losses) == (4, 2)
        assert stops_at(DivergenceStopping(factor=3.0, restore=False), losses) == (4, 4)
        for bad in (math.nan, math.inf):
            assert stops_at(DivergenceStopping(), [{"train_loss": value} for value in (2.0, 1.0, bad)]) == (3, 2)

    def test_almost_zero_may_double(self) -> None:
        losses = [{"train_loss": value} for value in (1.0, 1e-6, 1e-3)]
        assert stops_at(DivergenceStopping(factor=3.0), losses)[0] == 0
        assert stops_at(DivergenceStopping(factor=3.0, floor=0.0), losses)[0] == 3

    def test_without_divergence_nothing_is_put_back(self) -> None:
        assert stops_at(DivergenceStopping(), [{"train_loss": value} for value in (1.0, 0.5, 0.6)]) == (0, 3)

    @pytest.mark.parametrize("first", [True, False])
    def test_best_weights_of_another_technique_count(self, first: bool) -> None:
        both = (DivergenceStopping(factor=3.0), dashpot.EarlyStopping(patience=100))
        model, session = attached(dashpot.Recipe(both if first else both[::-1]))
        for epoch, (train, valid) in enumerate([(5.0, 1.0), (1.0, 2.0), (9.0, 3.0)], start=1):
            nn.init.constant_(model.weight, float(epoch))
            verdict = session.epoch({"train_loss": train, "val_loss": valid})
        assert verdict.stop
        session.finish()
        assert model.weight.item() == 1


class TestTimeLimit:
    def test_it_follows_the_clock_through_all_lives(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [100.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        _, session = attached(TimeLimit("1m"))
        now[0] = 140.0
        assert not session.epoch({}).stop
        state = session.state_dict()
        now[0] = 7.0  # after a restart of the machine
        _, resumed = attached(TimeLimit("1m"))
        resumed.load_state_dict(state)
        now[0] = 26.0
        assert not resumed.epoch({}).stop
        now[0] = 27.5
        verdict = resumed.epoch({})
        assert verdict.stop
        assert verdict.reason == "the time limit of 1m is over"

    def test_durations_are_read_as_everywhere(self) -> None:
        assert str(TimeLimit(90)) == str(TimeLimit("90s")) == "TimeLimit(limit='90s')"
        assert list(dashpot.Recipe.coerce("time-limit:limit=1.5h")) == [TimeLimit("1.5h")]
        with pytest.raises(
            dashpot.ConfigError, match=r"TimeLimit\.limit must be more than 0 seconds, or a time such as 90s"
        ):
            TimeLimit("10 minutes")

    def test_in_fit(self) -> None:
        x = torch.randn(32, 3)
        result = dashpot.fit(nn.Linear(3, 1), (x, x[:, :1]), recipe=TimeLimit(1e-9), epochs=9, progress=False)
        assert len(result.history) == 1
        assert "time limit" in result.stopped


class TestStopFile:
    def test_training_ends_when_it_appears_and_resumes_without_it(self, tmp_path: Path) -> None:
        path, x = tmp_path / "stop", torch.randn(32, 3)

        def late(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            seen.append(1)
            if len(seen) == 3:
                path.touch()
            return (out - y).square().mean(dim=1)

        seen: list[int] = []
        model = nn.Linear(3, 1)
        options = {"recipe": StopFile(str(path)), "epochs": 9, "progress": False, "loss": late}
        result = dashpot.fit(model, (x, x[:, :1]), **options)
        assert 1 <= len(result.history) < 9
        assert result.stopped == f"the file {path} appeared"
        assert result.best_epoch is None

    def test_a_forgotten_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "stop").touch()
        with pytest.raises(dashpot.ConflictError, match="there already. Delete it"):
            attached(StopFile(str(tmp_path / "stop")))


def data(n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.standard_normal((n, 4)).astype("float32")
    return x, (x[:, 0] + random.standard_normal(n) > 0).astype(int)


def test_what_watches_no_held_out_rows_takes_none_from_an_estimator() -> None:
    x, y = data()
    sizes = []
    for recipe in (None, "time-limit | divergence-stopping | stop-file", "prechelt-stopping", "early-stopping"):
        model = dashpot.DashpotClassifier(recipe, epochs=2, random_state=0).fit(x, y)
        sizes.append("val_loss" in model.history_[0])
    assert sizes == [False, False, True, True]


def test_a_comparison_takes_them_all() -> None:
    x, y = data()
    problem = Problem("made", Rows(tuple("abcd"), matrix=x.astype(float)), np.where(y > 0, "yes", "no"))
    recipe = dashpot.Recipe.coerce("time-limit:limit=1h | divergence-stopping | prechelt-stopping:criterion=pq")
    record = compare(problem, recipe, repeats=1, epochs=2)
    assert [arm.name for arm in record.arms if any(run.error for run in arm.runs)] == []


def test_many_networks_side_by_side_have_no_clock_of_their_own() -> None:
    x, y = data()
    with pytest.raises(dashpot.ConflictError, match="many side by side"):
        Member(make=lambda: nn.Linear(4, 2), recipe=dashpot.Recipe((TimeLimit(),)), lr=0.1, seed=0, rows=np.arange(9))
    for name in ("time-limit", "stop-file"):
        with pytest.raises(dashpot.ConflictError, match=f"{name} ends one training"):
            dashpot.tune((x, y), recipe=[name], trials=2, epochs=2, progress=False)
    with pytest.raises(dashpot.UnknownNameError, match="val_loss"):
        dashpot.tune((x, y), recipe=["divergence-stopping"], trials=2, epochs=2, progress=False)


def test_a_search_stops_by_scores_of_its_held_out_rows() -> None:
    x, y = data()
    named = ["early-stopping:monitor=val_refined_loss,mode=min,patience=2", "prechelt-stopping:alpha=5..50"]
    for recipe in named:
        result = dashpot.tune((x, y), recipe=[recipe], cv=2, trials=3, epochs=4, progress=False)
        assert result.predict(x[:3]).shape == (3,)


@pytest.mark.parametrize("stack", [True, False])
def test_in_a_population_each_stops_by_its_own_scores(stack: bool) -> None:
    """A member stops where ``fit`` on the same rows stops, and keeps the weights of the same epoch."""
    x, y = (torch.from_numpy(part) for part in data(200))
    recipes = [PrecheltStopping(alpha=0.5), MultiMetricStopping("val_loss,val_accuracy:max", patience=1, when="any")]
    recipes += [dashpot.EarlyStopping("val_refined_loss", mode="min", patience=1)]

    def make() -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))

    rows, watch = np.arange(100), np.arange(100, 200)
    members = [
        Member(make=make, recipe=dashpot.Recipe((t,)), lr=0.03, seed=k, rows=rows, watch=watch)
        for k, t in enumerate(recipes)
    ]
    together = Population(members, [(x, y)], epochs=20, batch_size=25, stack=stack, bfloat16=False, device="cpu")
    together.train(20)
    for k, technique in enumerate(recipes):
        alone = dashpot.fit(
            make(),
            (x[:100], y[:100]),
            valid=(x[100:], y[100:]),
            recipe=technique,
            epochs=20,
            batch_size=25,
            lr=0.03,
            seed=k,
            device="cpu",
            progress=False,
        )
        assert together.best_epochs[k] == alone.best_epoch
        assert len(alone.history) < 20
