"""Population-based training: the worst go on from networks of the best, and their way can be trained again, step for
step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

import dashpot
from dashpot.population.members import initial
from dashpot.population.population import Population
from dashpot.report.tune.trial_record import StageRecord
from dashpot.report.tune.words import changes
from dashpot.search.outcome import ablation, ensemble
from dashpot.search.racing import checkpoints
from dashpot.search.racing.executor import ParallelTrials
from dashpot.search.racing.networks import with_networks
from dashpot.search.racing.planning import exchanges
from dashpot.search.racing.pruning import perturbed
from dashpot.search.racing.race import Race
from dashpot.search.racing.task import Task, proper_score
from dashpot.search.racing.trial import Stage, TrainingBudget, Trial, task_schedule
from dashpot.search.racing.worker import Worker, remembered
from dashpot.search.space.distributions import Numeric
from dashpot.search.space.space import Candidate, Space
from dashpot.search.space.technique import technique_spaces
from dashpot.search.storage.study import Store
from tests.search.helpers import FOLDS, candidate, small_space, small_task

TRAINING = TrainingBudget(epochs=16, batch_size=16, rungs=(), folds=FOLDS, parallel=6, schedule="population")
FIRST = exchanges(16)[0]
WHOLE_SPACE = Space(
    technique_spaces(
        ["l1:strength=1e-5..1e-2", "dropout:p=0.1..0.5", "ema:decay=0.5..0.9", dashpot.EarlyStopping(patience=3)]
    ),
    lr=Numeric(1e-6, 1.0, log=True),
)
POINTS: list[dict[str, Any]] = [
    {"lr": 1e-5},
    {"lr": 2e-2, "l1": True, "l1.strength": 1e-3, "ema": True, "ema.decay": 0.8},
    {"lr": 1e-2, "dropout": True, "dropout.p": 0.3, "early-stopping": True, "l1": True, "l1.strength": 1e-2},
    {"lr": 1e-6, "dropout": True, "dropout.p": 0.1},
    {"lr": 3e-2, "early-stopping": True},
    {"lr": 1e-4, "ema": True, "ema.decay": 0.9},
    {"lr": 5e-3},
    {"lr": 1e-3, "l1": True, "l1.strength": 1e-5},
]


def point(params: dict[str, Any]) -> Candidate:
    return WHOLE_SPACE.candidate({**dict.fromkeys(("l1", "dropout", "ema", "early-stopping"), False), **params})


def raced(task: Task, training: TrainingBudget = TRAINING, **options: Any) -> list[Trial]:
    """A race of the points, the first of which (it is bad) is protected."""
    trials = [Trial(i, point(p)) for i, p in enumerate(POINTS)]
    return Race(
        task,
        training,
        trials,
        folds=range(training.folds),
        protected=[0],
        explore=partial(perturbed, WHOLE_SPACE),
        **options,
    ).run()


@pytest.fixture(scope="module")
def found() -> list[Trial]:
    return raced(small_task())


def same(a: Trial, b: Trial, close: float = 1e-4) -> None:
    assert a.scores == pytest.approx(b.scores, rel=close)
    assert [e for e, _ in a.history] == [e for e, _ in b.history]
    assert [s for _, s in a.history] == pytest.approx([s for _, s in b.history], rel=close)
    assert a.best_epoch == b.best_epoch
    for mine, theirs in zip(a.outputs, b.outputs, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-3)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def once(lr: float) -> Any:
    """An exploration that finds a candidate at its first call only."""
    calls: list[int] = []

    def explore(c: Candidate, rng: np.random.Generator) -> Candidate | None:
        calls.append(1)
        return candidate(lr=lr) if len(calls) == 1 else None

    return explore


def lower_later(progress: float) -> float:
    return task_schedule(progress) * (0.8 if progress >= FIRST / 16 - 1e-9 else 1.0)


def test_the_worst_goes_on_from_the_best() -> None:
    """By ``dashpot.fit``: one network whose learning rate changes after the exchange."""
    task = small_task()
    training = replace(TRAINING, parallel=3)
    trials = [Trial(i, candidate(lr=lr)) for i, lr in enumerate((1e-2, 3e-3, 1e-6))]
    good, _, bad = Race(task, training, trials, folds=range(FOLDS), explore=once(8e-3)).run()
    assert [(s.epoch, s.candidate.lr) for s in bad.lineage] == [(0, 1e-2), (FIRST, 8e-3)]
    assert bad.candidate.lr == 8e-3
    assert good.lineage == []
    before = {e: s for e, s in bad.history if e < FIRST}
    assert before == {e: s for e, s in good.history if e < FIRST}
    alone = []
    for fold in range(FOLDS):
        m = task.member(candidate(lr=1e-2), fold)
        model = initial(m)
        options: dict[str, Any] = {
            "epochs": 16,
            "batch_size": 16,
            "device": "cpu",
            "progress": False,
            "seed": m.seed,
            "lr": 1e-2,
        }
        dashpot.fit(model, (task.x[m.rows], task.y[m.rows]), schedule=lower_later, **options)
        rows = task.folds[fold][1]
        with torch.no_grad():
            p = model(task.x[rows]).double().softmax(1).numpy()
        alone.append(float(log_loss(task.y[rows].numpy(), p, labels=[0, 1, 2])))
    assert dict(bad.history)[16] == pytest.approx(np.mean(alone), rel=2e-4)
    assert dict(bad.history)[16] != pytest.approx(dict(good.history)[16], rel=1e-3), "the test can fail"
    as_asked = Race(task, training, [Trial(2, candidate(lr=1e-6))], folds=range(FOLDS)).run(rungs=())[0]
    assert bad.asked == pytest.approx(min(s for e, s in as_asked.history if e <= FIRST), rel=1e-5)


def test_stages_are_trained_by_hand(found: list[Trial]) -> None:
    """Strengths too: a population of one member that becomes its own copy at each stage."""
    task = small_task()
    changed = [
        r
        for r in found
        if r.lineage and r.tensors and not any(isinstance(t, dashpot.EarlyStopping) for t in r.candidate.recipe)
    ]
    assert changed
    for r in changed:
        m = task.member(r.lineage[0].candidate, 1)
        population = Population(
            [m], [(task.x, task.y)], epochs=16, batch_size=16, schedule=task_schedule, device="cpu", bfloat16=False
        )
        number = 0
        for stage, following in zip(r.lineage, [*r.lineage[1:], None], strict=True):
            if stage.epoch:
                number = population.clone(number, recipe=stage.candidate.recipe, lr=stage.candidate.lr)
                population.keep([number])
            population.train((following.epoch if following else r.best_epoch) - stage.epoch)
        for name, tensor in population.tensors(number).items():
            assert torch.allclose(r.tensors[1][name], tensor, atol=1e-5), name


def test_whole_ways_are_trained_again(found: list[Trial]) -> None:
    task = small_task()
    assert sum(bool(r.lineage) for r in found) >= 2
    assert max(len(r.lineage) for r in found) >= 3, "copies of copies"
    ends = [r for r in found if r.state == "complete"]
    again = Race(task, TRAINING, [r.untrained() for r in ends], folds=range(FOLDS)).run(rungs=())
    for a, b in zip(ends, again, strict=True):
        same(a, b)
        assert a.lineage == b.lineage
        assert (b.state, b.epochs) == ("complete", 16)


@pytest.mark.parametrize("stack", [True, False])
def test_several_populations_exchange(found: list[Trial], two_threads: None, stack: bool) -> None:
    """Spread over threads, or one by one: the same copies are made."""
    other = raced(small_task(stack=stack))
    assert any(r.lineage for r in other)
    for a, b in zip(found, other, strict=True):
        assert a.stage_records == b.stage_records
        if a.state == "complete":
            same(a, b, 5e-3)


def test_lineages(found: list[Trial]) -> None:
    assert found[0].lineage == []
    assert found[0].state == "complete", "baseline is the second worst, and stays what it is"
    assert all(r.state == "complete" or r.lineage for r in found), "no trial is pruned"
    assert all(r.epochs == 16 for r in found)
    for r in (r for r in found if r.lineage):
        at = [s.epoch for s in r.lineage]
        assert at[0] == 0
        assert at == sorted(set(at))
        assert set(at[1:]) <= set(exchanges(16))
        assert r.lineage[-1].candidate == r.candidate
        beginnings = [point(p).params for p in POINTS]
        assert r.lineage[0].candidate.params in beginnings, "it goes back to one of the first candidates"
        assert len({tuple(t.kind() for t in s.candidate.recipe) for s in r.lineage}) == 1, "one structure all the way"
        for s in r.lineage:
            for name, value in s.candidate.params.items():
                d = WHOLE_SPACE.distributions()[name]
                if isinstance(d, Numeric):
                    assert d.low <= value <= d.high
        assert r.asked is not None
        assert r.state == "pruned" or r.best_epoch > at[-1], "what is kept is of its last stage"


def test_weights_outputs_and_scores_agree() -> None:
    """Also where early stopping keeps other weights than it trains on with, and right after a copy was made."""
    task, seen = small_task(noise=2.0), []

    def report(r: Trial) -> None:
        for tensors, score, (_, valid) in zip(r.tensors, r.scores, task.folds, strict=False):
            model = task.make(dict(r.candidate.net))
            model.load_state_dict(dict(tensors))
            with torch.no_grad():
                assert proper_score(model.eval()(task.x[valid]), task.y[valid]) == pytest.approx(score, rel=1e-4), (
                    r.number,
                    r.epochs,
                )
            seen.append(bool(r.lineage) and any(isinstance(t, dashpot.EarlyStopping) for t in r.candidate.recipe))

    found = raced(task, report=report)
    assert sum(seen) > 3
    scores = [tuple(r.scores) for r in found if r.state == "complete"]
    assert len(set(scores)) == len(scores), "a copy that is still what was copied is no candidate of its own"


def test_what_cannot_be_copied_is_not_replaced() -> None:
    """All folds or none: where one has ended by early stopping, nothing changes."""
    task = small_task()
    baseline, ends = candidate(lr=1e-2), candidate(dashpot.EarlyStopping(patience=1), lr=0.3)
    members = [[task.member(baseline, 0), task.member(baseline, 1)], [task.member(baseline, 0), task.member(ends, 1)]]
    executor = ParallelTrials(
        members, [(task.x, task.y)], threads=1, epochs=40, batch_size=16, device="cpu", bfloat16=False
    )
    for _ in range(30):
        executor.train(None)
    (population,) = executor._populations
    assert len(population.alive) == 3, "the test can fail"
    before = {place: executor.tensors(place) for place in ((0, 0), (0, 1))}
    alive = list(population.alive)
    assert not executor.replace([((0, 0), (1, 0)), ((0, 1), (1, 1))], baseline.recipe, 1e-3)
    assert population.alive == alive
    for place, tensors in before.items():
        assert all(torch.equal(t, executor.tensors(place)[name]) for name, t in tensors.items())
    assert executor.replace([((0, 1), (1, 0))], baseline.recipe, 1e-3)
    assert all(torch.equal(t, executor.tensors((1, 0))[name]) for name, t in executor.tensors((0, 1)).items())
    assert len(population.alive) == 3, "a replaced member is removed"
    executor.close()


def test_folds_that_have_ended_do_not_hold_up_the_others() -> None:
    """A way that is gone again on other folds: some end by early stopping before a stage, and stay as they are."""
    task = small_task()
    c = candidate(dashpot.EarlyStopping(patience=1), lr=0.3)
    way = [Stage(0, c), Stage(14, replace(c, lr=0.1))]
    there, constant = (
        Race(task, TRAINING, [Trial(0, c, lineage=w)], folds=range(FOLDS)).run(rungs=(), only=16)[0] for w in (way, [])
    )
    assert (there.state, there.epochs) == ("complete", 16)
    equal = [a == pytest.approx(b, rel=1e-6) for a, b in zip(there.scores, constant.scores, strict=True)]
    assert any(equal)


def test_nothing_to_explore_is_no_exchange() -> None:
    trials = [Trial(i, point(p)) for i, p in enumerate(POINTS)]
    for explore in (None, lambda c, rng: None):
        fresh = [r.untrained() for r in trials]
        for r in Race(small_task(), replace(TRAINING, epochs=4), fresh, folds=[0], explore=explore).run():
            assert (r.lineage, r.asked, r.state) == ([], None, "complete")


def test_files_and_other_machines(found: list[Trial], tmp_path: Path) -> None:
    """From its file, trained again where there is none, and on a fold that the race left out: the same network."""
    task = small_task()
    best = next(r for r in found if r.lineage and r.state == "complete")
    checkpoints.save(tmp_path, best)
    loaded = checkpoints.load(tmp_path, best.number, best.candidate, 0, best.lineage)
    assert loaded is not None
    assert loaded.lineage == best.lineage
    assert checkpoints.load(tmp_path, best.number, best.candidate) is None, (
        "of the same strengths all the way it would be another network"
    )
    options: dict[str, Any] = {"folds": range(FOLDS), "deadline": None, "say": lambda *args: None}
    elsewhere = with_networks(task, TRAINING, tmp_path / "elsewhere", [best], **options)[0]
    same(elsewhere, best)
    two = Race(task, TRAINING, [best.untrained()], folds=[0, 1]).run(rungs=())[0]
    checkpoints.save(tmp_path / "part", two)
    whole = with_networks(task, TRAINING, tmp_path / "part", [two], **options)[0]
    assert whole.lineage == best.lineage
    third = Race(task, TRAINING, [best.untrained()], folds=[2]).run(rungs=())[0]
    assert whole.scores == pytest.approx([*two.scores, *third.scores], rel=1e-5)
    seed = with_networks(task, TRAINING, tmp_path, [best.untrained(1)], **options)[0]
    assert seed.lineage == best.lineage
    assert seed.scores != pytest.approx(best.scores, rel=1e-3)


def test_refit_goes_the_same_way(found: list[Trial]) -> None:
    """On the training rows of a fold it is the network of that fold."""
    task = small_task()
    none = [r for r in found if not any(isinstance(t, dashpot.EarlyStopping) for t in r.candidate.recipe)]
    best = next(r for r in none if r.lineage and r.state == "complete")
    choice = ensemble.Choice(best, best, "")
    made = ensemble.refit(
        task, TRAINING, task.folds[0][0], choice, ensemble.assemble(task, [best], choice, range(FOLDS), "folds")
    )
    for name, tensor in best.tensors[0].items():
        assert torch.allclose(made.network.state_dict()[name], tensor, atol=1e-5), name


def test_effects_go_the_same_way(found: list[Trial]) -> None:
    task = small_task()
    best = next(r for r in found if r.lineage and r.state == "complete" and len(r.candidate.recipe))
    whole = Race(task, TRAINING, [ablation.staged(best, lambda c: c)], folds=range(FOLDS)).run(rungs=())[0]
    same(whole, best)
    options: dict[str, Any] = {
        "deadline": None,
        "seconds_per_member": 0.0,
        "say": lambda *args: None,
        "note": lambda text: None,
    }
    found_ = ablation.measure(task, TRAINING, WHOLE_SPACE, best, range(FOLDS), **options)
    name = found_.contributions[0]["technique"]
    lineage = [Stage(s.epoch, WHOLE_SPACE.without(s.candidate, name)) for s in best.lineage]
    without = Race(task, TRAINING, [Trial(0, lineage[-1].candidate, lineage=lineage)], folds=range(FOLDS)).run(
        rungs=()
    )[0]
    gain = np.mean(without.scores) - np.mean(best.scores)
    assert found_.contributions[0]["difference"] == pytest.approx(gain, abs=1e-4)


def test_the_store_remembers_the_way(tmp_path: Path) -> None:
    """What a search that is resumed reads is what the race had; a sampler learns what the point it asked
    for was worth.
    """
    space = small_space()
    store = Store(str(tmp_path / "journal.log"), "study", {}, sampler="random", seed=1)
    training = replace(TRAINING, folds=1, parallel=8)
    worker = Worker(small_task(), space, training, store, tmp_path, deadline=None, trials=8)
    worker.run()
    store.close()
    other = Store(str(tmp_path / "journal.log"), "study", {}, sampler="random")
    by_number = {r.number: r for r in remembered(other, space)}
    values = {t.number: t.value for t in other.trials()}
    other.close()
    assert any(r.lineage for r in worker.raced)
    for r in worker.raced:
        known = by_number[r.number]
        assert (known.state, known.stage_records, dict(known.candidate.params)) == (
            r.state,
            r.stage_records,
            dict(r.candidate.params),
        )
        assert known.candidate == r.candidate
        assert known.scores == r.scores
        if r.state == "complete":
            assert values[r.number] == (r.score if r.asked is None else r.asked)
    row = next(r for r in by_number.values() if r.lineage).record().to_dict()
    assert row["stages"][-1]["params"] == row["params"]


def test_interrupted_in_the_middle(tmp_path: Path) -> None:
    space = small_space()
    store = Store(str(tmp_path / "journal.log"), "study", {}, sampler="random", seed=1)

    def say(stage: str, trials: Any, epoch: int) -> None:
        if any(r.lineage for r in trials):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Worker(
            small_task(),
            space,
            replace(TRAINING, folds=1, parallel=8),
            store,
            tmp_path,
            deadline=None,
            trials=8,
            say=say,
        ).run()
    known = remembered(store, space)
    store.close()
    assert len(known) == 8
    assert sum(bool(r.lineage) for r in known) >= 1
    assert all(r.lineage[-1].candidate == r.candidate for r in known if r.lineage)
    assert all(r.scores for r in known), "right after a copy was made it has the score of what it copied"


def test_words() -> None:
    way = [Stage(0, candidate(lr=0.01)), Stage(5, candidate(lr=0.008)), Stage(10, candidate(lr=0.01))]
    r = Trial(0, way[-1].candidate, lineage=way)
    assert changes(r.stage_records) == [
        "  its strengths changed while it trained, after epochs 5, 10: lr 0.01 → 0.008 → 0.01"
    ]
    assert changes(Trial(0, way[0].candidate).stage_records) == []
    many = [StageRecord(e, {f"s{k}": e + k for k in range(9)}) for e in (0, 4)]
    assert changes(many)[0].endswith("s5 5 → 9; 3 more in report.json")
