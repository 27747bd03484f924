"""The contribution of each technique: signs, pairs, intervals, and what the time does not allow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

import dashpot
from dashpot.search.outcome import ablation
from dashpot.search.outcome.ablation import arms, contributions, interactions, measure, strongest_pairs
from dashpot.search.outcome.gains import interval
from dashpot.search.racing.race import Race
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import TrainingBudget, Trial
from dashpot.search.space.space import Candidate
from tests.search.helpers import FOLDS, own_clock, race, small_task
from tests.search.outcome.explaining import EVERY, TRAINING, by_name, run, space_of


def test_arms() -> None:
    space = space_of("l1:strength=1e-5..1e-2", "dropout:p=0.1..0.5", "ema")
    chosen = space.without(space.default(), "ema")
    found = arms(space, chosen)
    recipes = {name: [t.name for t in c.recipe] for name, c in found.items()}
    assert recipes == {
        "without l1": ["dropout"],
        "without dropout": ["l1"],
        "only l1": ["l1"],
        "only dropout": ["dropout"],
        "none": [],
    }
    assert all(c.lr == chosen.lr and c.net == chosen.net for c in found.values())
    assert list(arms(space, space.alone(chosen, "l1"))) == ["without l1"], (
        "with one technique, alone is the same comparison"
    )
    assert arms(space, space.baseline()) == {}


def test_signs_and_pairs() -> None:
    """A penalty that leaves no weight hurts, with and without the other; and each number is that of trainings of their
    own.
    """
    task = small_task()
    space = space_of(dashpot.L1(strength=1.0), dashpot.Dropout(p=0.5))
    winner, found, notes = run(task, space, space.default())
    assert not notes
    gains = by_name(found)
    assert gains["l1", "left out"]["difference"] < -0.05
    assert gains["l1", "alone"]["difference"] < -0.05
    none, l1, dropout = race(
        task,
        [space.baseline(), *(space.alone(space.default(), name) for name in ("l1", "dropout"))],
        TRAINING,
        rungs=(),
    )
    whole = np.array(winner.scores)
    expected = {
        ("l1", "left out"): np.array(dropout.scores) - whole,
        ("dropout", "left out"): np.array(l1.scores) - whole,
        ("l1", "alone"): np.array(none.scores) - np.array(l1.scores),
        ("dropout", "alone"): np.array(none.scores) - np.array(dropout.scores),
    }
    assert set(gains) == set(expected)
    for key, differences in expected.items():
        assert gains[key]["folds"] == pytest.approx(list(differences), abs=2e-3)
    (pair,) = found.interactions
    assert set(pair["pair"]) == {"l1", "dropout"}
    together = np.array(none.scores) - whole
    assert pair["folds"] == pytest.approx(
        list(together - expected["l1", "left out"] - expected["dropout", "left out"]), abs=4e-3
    )


def test_others_have_the_seed_of_the_winner_they_are_compared_with() -> None:
    task, space = small_task(), space_of(dashpot.Dropout(p=0.5))

    def trained(candidate: Candidate, repeat: int) -> Trial:
        return Race(task, TRAINING, [Trial(0, candidate, repeat=repeat)], folds=EVERY).run(rungs=())[0]

    options: dict[str, Any] = {
        "deadline": None,
        "seconds_per_member": 0.0,
        "say": lambda *args: None,
        "note": lambda text: None,
    }
    for repeat in (0, 1):
        winner, other = trained(space.default(), repeat), trained(space.baseline(), repeat)
        (row,) = measure(task, TRAINING, space, winner, EVERY, **options).contributions
        np.testing.assert_allclose(row["folds"], np.subtract(other.scores, winner.scores), rtol=1e-3, atol=1e-6)


def test_help_is_positive() -> None:
    """Labels of which a third are wrong, memorized by a wide network: strong decay helps."""
    task = small_task(noise=3.0)
    space = space_of(dashpot.WeightDecay(strength=20.0))
    _, found, _ = run(task, space, space.default(), TrainingBudget(60, 16, (), FOLDS, 4))
    # Each keeps its best evaluation, so that what remains is the contribution of decay itself.
    assert found.contributions[0]["kind"] == "left out"
    assert found.contributions[0]["difference"] > 0
    assert found.interactions == []


def test_intervals() -> None:
    """Nadeau and Bengio by hand: variance (1/k + 1/(k - 1)) s^2, k - 1 degrees of freedom."""
    gain = np.array([0.1, 0.3, 0.2, 0.4, 0.15])
    found = interval(gain)
    half = student.ppf(0.975, 4) * (gain.var(ddof=1) * (1 / 5 + 1 / 4)) ** 0.5
    assert (found["difference"], found["low"], found["high"]) == pytest.approx(
        (gain.mean(), gain.mean() - half, gain.mean() + half)
    )
    assert found["folds"] == list(gain)
    one = interval(np.array([0.2]))
    assert (one["difference"], one["low"], one["high"]) == (0.2, None, None)


def test_interactions_by_hand() -> None:
    """Losses of a made-up table: a gains 3, b gains 2, both 4: together 1 less than the sum. c gains nothing, and with
    a exactly that.
    """
    loss = {
        frozenset("abc"): 10.0,
        frozenset("bc"): 13.0,
        frozenset("ac"): 12.0,
        frozenset("ab"): 10.0,
        frozenset("c"): 14.0,
        frozenset("b"): 13.0,
    }
    folds = np.array([0.0, 1.0, 2.0])
    scores = {"whole": loss[frozenset("abc")] + folds}
    scores |= {f"without {name}": loss[frozenset("abc") - {name}] + folds for name in "abc"}
    rows = contributions(scores)
    assert {row["technique"]: row["difference"] for row in rows} == pytest.approx({"a": 3.0, "b": 2.0, "c": 0.0})
    assert strongest_pairs(rows) == [("a", "b"), ("a", "c"), ("b", "c")]
    found = interactions(scores, {("a", "b"): loss[frozenset("c")] + folds, ("a", "c"): loss[frozenset("b")] + folds})
    assert {tuple(row["pair"]): row["difference"] for row in found} == pytest.approx(
        {("a", "b"): -1.0, ("a", "c"): 0.0}
    )


def test_only_the_strongest_are_paired() -> None:
    rows = [
        {"technique": name, "kind": "left out", "difference": d}
        for name, d in zip("abcdef", (0.1, -0.6, 0.3, 0.0, 0.5, -0.2), strict=True)
    ]
    rows += [{"technique": "d", "kind": "alone", "difference": 9.0}]
    pairs = strongest_pairs(rows)
    assert {name for pair in pairs for name in pair} == set("becf")
    assert len(pairs) == 6


def test_three_techniques_and_their_pairs() -> None:
    task = small_task()
    space = space_of(dashpot.WeightDecay(strength=1.0), dashpot.Dropout(p=0.5), dashpot.Mixup(alpha=0.5))
    training = TrainingBudget(5, 16, (), FOLDS, 4)
    winner, found, _ = run(task, space, space.default(), training)
    assert len(found.contributions) == 6
    assert len(found.interactions) == 3
    row = next(r for r in found.interactions if set(r["pair"]) == {"dropout", "mixup"})
    alone = [
        space.alone(space.default(), "weight-decay"),
        space.without(space.default(), "dropout"),
        space.without(space.default(), "mixup"),
    ]
    neither, no_dropout, no_mixup = (np.array(r.scores) for r in race(task, alone, training, rungs=()))
    assert row["folds"] == pytest.approx(list(neither - no_dropout - no_mixup + np.array(winner.scores)), abs=2e-3)


def test_what_the_time_does_not_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    task = small_task()
    space = space_of(dashpot.WeightDecay(strength=1.0), dashpot.Dropout(p=0.5), dashpot.Mixup(alpha=0.5))
    training = TrainingBudget(4, 16, (), FOLDS, 4)
    now = [0.0]
    own_clock(monkeypatch, lambda: now[0])
    _, none, notes = run(task, space, space.default(), training, deadline=1.0, seconds_per_member=1.0)
    assert none == ablation.Effects()
    assert "no time" in notes[0]
    # 1.1 s x 3 folds x 7 arms are more than 20 s, 3 arms less.
    _, some, notes = run(task, space, space.default(), training, deadline=20.0, seconds_per_member=1.0)
    assert {row["kind"] for row in some.contributions} == {"left out"}
    assert "alone" in notes[0]

    def tick(*args: Any) -> None:
        now[0] += 1.0

    # It takes longer than was thought: what was cut off after two of four epochs must not count as bad.
    _, cut, notes = run(task, space, space.default(), training, deadline=2.0, seconds_per_member=0.0, say=tick)
    assert cut == ablation.Effects()
    assert "left out" in notes[0]
    # Enough for the arms, not for the pairs.
    now[0] = 0.0
    _, first, _ = run(task, space, space.default(), training, deadline=4.5, seconds_per_member=0.0, say=tick)
    assert len(first.contributions) == 6
    assert first.interactions == []


def test_a_winner_that_was_cut_off_is_trained_again() -> None:
    task = small_task()
    space = space_of(dashpot.WeightDecay(strength=1.0), dashpot.Dropout(p=0.5))
    training = TrainingBudget(6, 16, (), FOLDS, 4)
    winner = race(task, [space.default()], training, rungs=())[0]
    short = Trial(0, space.default(), "complete", epochs=2, scores=[9.0] * FOLDS)
    options: dict[str, Any] = {
        "deadline": None,
        "seconds_per_member": 0.0,
        "say": lambda *args: None,
        "note": lambda text: None,
    }
    expected = measure(task, training, space, winner, EVERY, **options)
    found = measure(task, training, space, short, EVERY, **options)
    for a, b in zip(expected.contributions, found.contributions, strict=True):
        assert a["folds"] == pytest.approx(b["folds"], abs=2e-3)


def test_an_arm_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an arm diverges there is no number for it, nor for its pairs; the others stay."""
    task = small_task()
    space = space_of(dashpot.GradientClipping(maximum=1.0), dashpot.Dropout(p=0.2))
    winner = race(task, [space.default()], TRAINING, rungs=())[0]
    member = Task.member

    def broken(self: Task, c: Candidate, fold: int, repeat: int = 0) -> Any:
        names = [t.name for t in c.recipe]
        return member(self, replace(c, lr=1e30) if names == ["gradient-clipping"] and fold == 1 else c, fold, repeat)

    monkeypatch.setattr(Task, "member", broken)
    found = measure(
        task,
        TRAINING,
        space,
        winner,
        EVERY,
        deadline=None,
        seconds_per_member=0.0,
        say=lambda *args: None,
        note=lambda text: None,
    )
    assert set(by_name(found)) == {("gradient-clipping", "left out"), ("dropout", "alone")}
    assert found.interactions == []
