"""Batch sizes in a search: what may be asked for, what candidates do with their own, and what is reported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

import dashpot
from dashpot.core.errors import ConfigError
from dashpot.population.members import initial
from dashpot.report.tune.stats import ranked
from dashpot.report.tune.strengths import _panels
from dashpot.report.tune.words import opening
from dashpot.search.config import SearchConfig
from dashpot.search.outcome import ablation, ensemble
from dashpot.search.outcome.folder import read_config, write_config
from dashpot.search.racing import checkpoints
from dashpot.search.racing.networks import with_networks
from dashpot.search.racing.race import Race
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import Stage, TrainingBudget, Trial, task_schedule
from dashpot.search.run import Search, run
from dashpot.search.space.batch_sizes import LARGEST, default_batch_size, sizes_of, usual_sizes, with_batches
from dashpot.search.space.distributions import Categorical, Numeric
from dashpot.search.space.space import Candidate, Space
from dashpot.search.space.technique import technique_spaces
from dashpot.training.defaults import batch_size_for
from tests.search.helpers import FOLDS, ROWS, candidate, race, searching, small_space, small_task, table, trial, tuned

ONE = TrainingBudget(epochs=6, batch_size=16, rungs=(), folds=FOLDS, parallel=4)
EVERY = list(range(FOLDS))
SHORT: dict[str, Any] = {
    "cv": 3,
    "epochs": 3,
    "device": "cpu",
    "bfloat16": False,
    "networks": ("width=16", "depth=1", "embedding=none"),
}


def sized(size: int | None, *techniques: Any, **options: Any) -> Candidate:
    made = candidate(*techniques, **options)
    return made if size is None else replace(made, batch_size=size, params={**made.params, "batch_size": size})


MIXED = [
    sized(None),
    sized(8, dashpot.L1(strength=1e-3)),
    sized(40, dashpot.Dropout(p=0.3), dashpot.EMA(decay=0.9), width=12),
    sized(16, lr=0.05),
]


def alone(task: Task, c: Candidate, fold: int, rows: np.ndarray, epochs: int = 6) -> tuple[torch.nn.Module, float]:
    """A candidate on a fold by ``dashpot.fit`` in its own batches, and its log loss by scikit-learn."""
    m = task.member(c, fold)
    model = initial(m)
    options: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": c.batch_size or 16,
        "schedule": task_schedule,
        "device": "cpu",
        "progress": False,
    }
    dashpot.fit(model, (task.x[m.rows], task.y[m.rows]), recipe=m.recipe, lr=m.lr, seed=m.seed, **options)
    with torch.no_grad():
        p = model(task.x[rows]).double().softmax(1).numpy()
    return model, float(log_loss(task.y[rows].numpy(), p, labels=[0, 1, 2]))


def demand_same(tensors: Any, model: torch.nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        assert torch.allclose(tensors[name], tensor, atol=1e-4), name


# --- what may be asked for -------------------------------------------------------------------------------------------


def test_sizes_as_they_are_written() -> None:
    asked = [None, 64, "64", " 64 ", [64], "32,64,128", (32, 64, 128), "32, 64 ,32", np.array([32, 64])]
    expected = [None, 64, 64, 64, 64, (32, 64, 128), (32, 64, 128), (32, 64), (32, 64)]
    assert [sizes_of(given) for given in asked] == expected


@pytest.mark.parametrize(
    "wrong", ["big", "", "32,,64", "32,big", "3.5", "-3", 0, -1, 2.5, True, [], [32, 0], [32, "x"], "1e2", float("nan")]
)
def test_sizes_that_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="^batch_size must be") as caught:
        sizes_of(wrong)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="^batch_size must be"):
        SearchConfig(trials=4, batch_size=wrong).check()


def test_usual_sizes() -> None:
    for rows in [*range(8, 400, 7), 1000, 3000, 10_000, 1_000_000]:
        once, found = batch_size_for(rows), usual_sizes(rows)
        if found is None:
            assert rows < 8 * once
            continue
        assert found.values == (once, 2 * once)
        assert max(found.values) <= LARGEST
        assert 4 * max(found.values) <= rows
    assert usual_sizes(1_000_000) == Categorical((256, 512))


def test_which_space_gets_which() -> None:
    space = small_space()
    assert with_batches(space, None, 1000, usual=False).batch_size is None
    assert with_batches(space, 50, 1000, usual=True).batch_size is None, "one number is no choice"
    usual = with_batches(space, None, 1000, usual=True)
    assert (usual.batch_size, usual.batch_default) == (usual_sizes(1000), batch_size_for(1000))
    own = with_batches(space, None, 1000, usual=True, once=64)
    assert (own.batch_size, own.batch_default) == (Categorical((64, 128)), 64)
    assert with_batches(space, None, 300, usual=True, once=64).batch_size is None, "twice would be too large"
    for sizes, near in (((8, 40, 400), 40), ((200, 100), 100), ((1000, 1), 1000)):
        asked = with_batches(space, sizes, 1000, usual=True)
        assert (asked.batch_size, asked.batch_default) == (Categorical(sizes), near)
        assert default_batch_size(asked, sizes, 1000) == near
    own = space.with_batches(Categorical((8, 16)), 8)
    assert with_batches(own, None, 1000, usual=True).batch_size == Categorical((8, 16)), "a space's own stay"
    assert (
        default_batch_size(own, None, 1000),
        default_batch_size(space, 50, 1000),
        default_batch_size(space, None, 1000),
    ) == (
        8,
        50,
        batch_size_for(1000),
    )
    assert {**usual.baseline().params, "batch_size": None} == {
        **space.baseline().params,
        "batch_size": None,
    }, "and nothing else has changed"


@pytest.mark.parametrize(
    ("space", "asked", "words"),
    [
        (small_space(), 101, "batch_size must be at most 100, the training rows of a fold, got 101"),
        (small_space(), (50, 200), "at most 100.*got 200"),
        (small_space().with_batches(Numeric(16, 128), 32), None, "at most 100.*got 128"),
        (
            small_space().with_batches(Categorical((16, 32)), 32),
            64,
            r"without a space that has batch sizes.*searches 16 \| 32",
        ),
    ],
)
def test_batches_that_no_search_can_have(space: Space, asked: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        with_batches(space, asked, 100, usual=True)
    with_batches(small_space(), 100, 100, usual=True)


# --- candidates ------------------------------------------------------------------------------------------------------


def test_candidates_of_a_race_are_as_alone() -> None:
    task = small_task()
    for r in Race(task, ONE, [Trial(i, c) for i, c in enumerate(MIXED)], folds=EVERY).run(only=6):
        for fold in EVERY:
            model, score = alone(task, r.candidate, fold, task.folds[fold][1])
            assert r.scores[fold] == pytest.approx(score, rel=2e-4)
            demand_same(r.tensors[fold], model)


def test_two_threads_change_nothing() -> None:
    task = small_task()
    one = race(task, MIXED, ONE)
    torch.set_num_threads(2)
    try:
        two = race(task, MIXED, ONE)
    finally:
        torch.set_num_threads(1)
    assert [r.scores for r in two] == [pytest.approx(r.scores, rel=1e-5) for r in one]


def test_folds_that_were_left_out_are_trained_in_the_same_batches(tmp_path: Path) -> None:
    task = small_task()
    some = race(task, MIXED, ONE, folds=[0])
    first = {r.number: r.tensors[0] for r in some}
    for r in some:
        checkpoints.save(tmp_path, r)
    found = with_networks(task, ONE, tmp_path, some, folds=EVERY, deadline=None, say=lambda *args: None)
    by_number = {r.number: r for r in found}
    assert sorted(by_number) == list(range(len(MIXED)))
    for number, mixed in enumerate(MIXED):
        other = by_number[number]
        assert other.candidate.batch_size == mixed.batch_size
        assert len(other.scores) == FOLDS
        assert all(torch.equal(other.tensors[0][name], t) for name, t in first[number].items())
        rest = race(task, [mixed], ONE, folds=[1, 2])[0]
        assert other.scores[1:] == pytest.approx(rest.scores, rel=1e-5)


def test_refit_is_in_the_batches_of_the_winner() -> None:
    task, pool = small_task(), np.arange(ROWS)
    first = race(task, [MIXED[1]], ONE)[0]
    choice = ensemble.Choice(replace(first, best_epoch=6), first, "")
    made = ensemble.refit(task, ONE, pool, choice, ensemble.assemble(task, [first], choice, EVERY, "folds"))
    whole = replace(task, folds=[(pool, pool[:1])])
    demand_same(made.network.state_dict(), alone(whole, MIXED[1], 0, pool[:1])[0])


def test_the_contribution_of_a_technique_is_measured_in_the_batches_of_the_winner() -> None:
    task = small_task()
    space = Space(
        technique_spaces([dashpot.L1(strength=1e-2)]),
        lr=Numeric(1e-4, 1.0, log=True),
        lr_default=2e-2,
        batch_size=Categorical((16, 8)),
    )
    chosen = space.candidate({**space.default().params, "batch_size": 8})
    assert {name: c.batch_size for name, c in ablation.arms(space, chosen).items()} == {"without l1": 8}
    winner = race(task, [chosen], ONE)[0]
    options: dict[str, Any] = {
        "deadline": None,
        "seconds_per_member": 0.0,
        "say": lambda *args: None,
        "note": lambda text: None,
    }
    (row,) = ablation.measure(task, ONE, space, winner, EVERY, **options).contributions
    bare = race(task, [space.without(chosen, "l1")], ONE)[0]
    other = race(task, [space.baseline()], ONE)[0]
    assert row["difference"] == pytest.approx(bare.score - winner.score, abs=1e-6)
    assert row["difference"] != pytest.approx(other.score - winner.score, abs=1e-4)


def test_it_counts_as_no_technique() -> None:
    best, other = trial(0, [0.5, 0.6, 0.7], 1), trial(1, [0.5, 0.61, 0.7], 1)
    best.candidate = replace(best.candidate, batch_size=8, params={**best.candidate.params, "batch_size": 8})
    assert best.candidate.size == other.candidate.size == 1
    assert ensemble.choose([best, other]).chosen is best


def test_a_copied_network_keeps_its_batch_size() -> None:
    from dashpot.search.racing.pruning import perturbed

    space = small_space().with_batches(Categorical((8, 16, 32)), 16)
    point = space.candidate({**space.default().params, "batch_size": 8})
    for seed in range(5):
        other = perturbed(space, point, np.random.default_rng(seed))
        assert other is not None
        assert (other.batch_size, other.params["batch_size"]) == (8, 8)


def test_a_lineage_is_trained_again_in_its_batches() -> None:
    task = small_task()
    later = replace(MIXED[1], lr=2e-3, params={**MIXED[1].params, "lr": 2e-3})
    lineage = [Stage(0, MIXED[1]), Stage(3, later)]
    same = [Stage(0, MIXED[1]), Stage(3, MIXED[1])]
    found = Race(task, ONE, [Trial(0, later, lineage=lineage), Trial(1, MIXED[1], lineage=same)], folds=EVERY).run(
        rungs=(), only=6
    )
    assert found[0].scores != pytest.approx(found[1].scores, rel=1e-3)
    for fold in EVERY:
        assert found[1].scores[fold] == pytest.approx(alone(task, MIXED[1], fold, task.folds[fold][1])[1], rel=2e-4)


# --- whole searches --------------------------------------------------------------------------------------------------


def test_a_search_tries_several_and_tells(tmp_path: Path) -> None:
    record = run(
        table(), SearchConfig(trials=18, batch_size=(8, 20), explain=False, recipe=("l1",), **SHORT), tmp_path
    ).record
    sizes = {row["number"]: row["params"]["batch_size"] for row in record["candidates"]}
    assert set(sizes.values()) == {8, 20}
    assert record["space"]["batch_size"] == "8 | 20"
    assert record["batch_size"] == sizes[record["baseline"]] == 20, (
        "the usual number for so few rows is 32: the nearest is baseline's"
    )
    shown = "\n".join(opening(record))
    assert f"batch_size {sizes[record['chosen']]}" in shown
    (panel,) = [p for p in _panels(ranked(record), {}) if p.name == "batch_size"]
    assert [text for _, text in panel.ticks] == ["8", "20"]
    steps = {8: 8, 20: 4}  # of 64 rows (80 % of 120, two folds of three)
    assert record["train_rows"] == 96
    assert record["member_steps"] == sum(
        steps[row["params"]["batch_size"]] * row["epochs"] * row["folds"] for row in record["candidates"]
    )


def test_one_number_is_for_all(tmp_path: Path) -> None:
    record = run(table(), SearchConfig(trials=4, batch_size=20, explain=False, **SHORT), tmp_path).record
    assert record["batch_size"] == 20
    assert "batch_size" not in record["space"]
    assert all("batch_size" not in row["params"] for row in record["candidates"])


def test_first_candidates_have_the_default(tmp_path: Path) -> None:
    search = searching(table(), tmp_path, batch_size=(10, 20, 40))
    assert search.space.batch_default == 40
    assert {c.batch_size for c in search.first_candidates()} == {40}
    assert search.space.grid()["batch_size"] == [10, 20, 40]


def test_a_grid_over_a_range_has_whole_numbers(tmp_path: Path) -> None:
    def own(prepared: Any) -> Space:
        return Space(technique_spaces(["l1"]), lr=Numeric(1e-3, 1e-2, log=True), batch_size=Numeric(7, 30, log=True))

    search = Search(table(), SearchConfig(trials=4, **SHORT), tmp_path, space=own)
    assert search.space.grid()["batch_size"] == [7, 14, 30]
    assert search.settings()["space"]["batch_size"] == "7..30 (log)"


def test_too_large_batches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch_size must be at most 64, the training rows of a fold, got 65"):
        Search(table(), SearchConfig(trials=4, batch_size=65, **SHORT), tmp_path)


def test_they_survive_the_file_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,target\n" + "".join(f"{i},{i % 2}\n" for i in range(60)))
    for asked in (None, 16, (8, 16)):
        options = SearchConfig(trials=4, batch_size=asked)
        write_config(tmp_path, path, "target", None, options)
        problem, again, _ = read_config(tmp_path)
        assert sizes_of(again.batch_size) == asked
        again.check()
        folders = [tmp_path / f"{asked}-{k}" for k in range(2)]
        settings = [Search(problem, o, folder).settings() for o, folder in zip((options, again), folders, strict=True)]
        assert json.dumps(settings[0]) == json.dumps(settings[1])


def test_from_python() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 4))
    y = np.where(x[:, 0] > 0, "yes", "no")
    options: dict[str, Any] = {"trials": 3, "epochs": 1, "cv": 2, "explain": False, "progress": False, "recipe": ["l1"]}

    def searched(**more: Any) -> Any:
        return tuned((x, y), **options, **more).record["space"].get("batch_size")

    def make() -> torch.nn.Module:
        return torch.nn.Linear(4, 2)

    assert searched(batch_size=[8, 16]) == "8 | 16"
    assert searched(batch_size=16, model=make) is None
    assert searched(batch_size="8,16", model=make) == "8 | 16"
    del options["recipe"]
    ready = Space(technique_spaces(["l1"]), lr=Numeric(1e-3, 1e-2, log=True))
    assert searched(space=ready) is None
    assert searched(space=ready.with_batches(Categorical((8, 12)), 8)) == "8 | 12"
    with pytest.raises(ConfigError, match="without a space that has batch sizes"):
        searched(space=ready.with_batches(Categorical((8, 12)), 8), batch_size=16)
