"""From a problem to a task and a space."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import dashpot
from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.data import Problem
from dashpot.data.rows import to_rows
from dashpot.evaluation.metrics import find_metric
from dashpot.search.networks import BINS, FEW_BINS, chosen_networks, factory
from dashpot.search.setup import make_task
from dashpot.search.space.defaults import default_space, default_techniques, starting_points
from dashpot.search.space.distributions import Categorical, Numeric, clipped
from tests.search.helpers import regression, searching, table


def images(n: int = 60) -> Problem:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    x = rng.integers(0, 60, (n, 1, 8, 8)).astype(np.uint8)
    x[np.arange(n), 0, y * 2] += 150
    return Problem("dots", x, y)


@pytest.mark.parametrize("make", [table, regression, images])
def test_every_default_candidate_trains(make: Any, tmp_path: Path) -> None:
    """What the default space holds can be built and gives one output per class, for each choice of each option."""
    search = searching(make(), tmp_path)
    outputs = max(search.task.classes, 1)
    distributions = {name: d for name, d in search.space.distributions().items() if name.startswith("net.")}
    for values in itertools.product(*(d.values for d in distributions.values() if isinstance(d, Categorical))):
        net = {name.removeprefix("net."): value for name, value in zip(distributions, values, strict=True)}
        assert search.task.make(net)(search.task.x[:4]).shape == (4, outputs)
    for c in search.first_candidates():
        network = search.task.make(dict(c.net))
        session = c.recipe.attach(
            network,
            torch.optim.AdamW(network.parameters(), lr=c.lr, weight_decay=0),
            seed=0,
            classes=search.task.classes or None,
        )
        session.close()


def test_the_default_space_fits_the_data() -> None:
    names = {
        kind: [t if isinstance(t, str) else t.name for t in default_techniques(*kind)]
        for kind in itertools.product(("table", "image"), ("classification", "regression"))
    }
    has = {kind: {name.split(":")[0] for name in found} for kind, found in names.items()}
    assert all(("input-noise" in found) == (kind == "table") for (kind, _), found in has.items())
    assert all(("label-smoothing" in found) == (task == "classification") for (_, task), found in has.items())
    for (kind, _), found in has.items():
        assert {"weight-decay", "dropout", "mixup", "ema", "early-stopping"} <= found
        assert ("l1" in found) == (kind == "table")


def test_folds_part_the_pool(tmp_path: Path) -> None:
    search = searching(table(), tmp_path, cv=4)
    valid = np.concatenate([v for _, v in search.task.folds])
    assert sorted(valid) == sorted(search.pool)
    assert not set(search.test) & set(search.pool)
    assert len(search.test) + len(search.pool) == 120
    sizes = {len(train) for train, _ in search.task.folds}
    assert len(sizes) == 1
    for train, v in search.task.folds:
        assert not set(train) & set(v)
        assert not set(train) & set(search.test)
        share = search.task.y[v].float().mean() - search.task.y[search.pool].float().mean()
        assert abs(share) < 0.05, "stratified"


def test_without_a_test_part_all_rows_are_searched_on(tmp_path: Path) -> None:
    search = searching(table(), tmp_path, test=False)
    assert len(search.pool) == 120
    assert len(search.test) == 0


def test_test_rows_change_nothing(tmp_path: Path) -> None:
    """Other inputs and other labels in the test part: every number that is trained on is the same."""
    problem = table()
    test = problem.pool_and_test(0)[1]
    one = make_task(
        problem,
        problem.prepare(problem.pool_and_test(0)[0], scaling="robust"),
        problem.pool_and_test(0)[0],
        3,
        find_metric("accuracy", "classification", 2),
        0,
        "cpu",
        False,
    )
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": rng.normal(size=120), "b": rng.normal(size=120), "c": rng.choice([f"level {i}" for i in range(12)], 120)}
    )
    frame.loc[test, ["a", "b"]] = 1e6
    frame.loc[test, "c"] = "never seen"
    target = np.array([problem.classes[k] for k in problem.labels], dtype=object)
    spoiled = Problem("made", to_rows(frame), target, target_name="t", fixed_test=test)
    pool = problem.pool_and_test(0)[0]
    two = make_task(
        spoiled,
        spoiled.prepare(pool, scaling="robust"),
        pool,
        3,
        find_metric("accuracy", "classification", 2),
        0,
        "cpu",
        False,
    )
    assert torch.equal(one.x[pool], two.x[pool])
    net = {"width": 16, "depth": 1, "embedding": "piecewise"}
    for (name, a), (_, b) in zip(one.make(net).named_buffers(), two.make(net).named_buffers(), strict=True):
        assert torch.equal(a, b), name


def test_same_seed_same_weights(tmp_path: Path) -> None:
    """The bins of an embedding are fitted once and then copied: no network differs by which came first."""
    search = searching(table(), tmp_path)
    nets = [{"width": 128, "depth": 2, "embedding": e} for e in ("piecewise", "periodic", "none")]
    found = []
    for net in nets * 2:
        torch.manual_seed(3)
        found.append(search.task.make(net).state_dict())
    for one, two in zip(found[:3], found[3:], strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_bins_where_there_is_enough_to_learn_them_from() -> None:
    """Values, or many rows, get more bins than few rows of classes; what a network then has is what its own embedding
    says.
    """
    net = {"width": 16, "depth": 1, "embedding": "piecewise"}

    def bins(problem: Problem) -> int:
        prepared = problem.prepare(np.arange(problem.n), scaling="robust")
        embedding = factory(problem, prepared, np.arange(problem.n))(net).embedding
        return int(embedding.edges.shape[1]) - 1

    assert bins(regression()) == bins(table(5000)) == BINS
    assert bins(table()) == FEW_BINS < BINS


def test_starting_points_name_only_what_the_default_space_has(tmp_path: Path) -> None:
    """A misspelt name would be left out in silence."""
    space = searching(table(), tmp_path).space
    known = space.distributions()
    for name, point in starting_points(space).items():
        assert set(point) <= set(known), name
        for key, value in point.items():
            assert clipped(value, known[key]) == value, (name, key)


def test_wanted_and_without() -> None:
    problem = table()
    prepared = problem.prepare(np.arange(100))
    own = default_space(problem, prepared, ["l1:strength=1e-6..1e-2", dashpot.Mixup(alpha=0.1)])
    assert [part.name for part in own.techniques] == ["l1", "mixup"]
    less = default_space(problem, prepared, None, ["mixup", "ema"])
    assert not {"mixup", "ema"} & {part.name for part in less.techniques}
    assert len(less.techniques) == len(default_space(problem, prepared, None).techniques) - 2
    with pytest.raises(UnknownNameError, match="--without.*'mixpu'.*Did you mean 'mixup'"):
        default_space(problem, prepared, None, ["mixpu"])


def test_networks() -> None:
    problem = table()
    prepared = problem.prepare(np.arange(100))
    space = default_space(problem, prepared, None, (), ["width=32,64", "skip=true", "embedding=none"])
    distributions = space.distributions()
    assert distributions["net.width"] == Categorical((32, 64))
    assert distributions["net.skip"] == Categorical((True,))
    assert space.baseline().net["embedding"] == "none"
    assert space.baseline().net["width"] in (32, 64)
    with pytest.raises(UnknownNameError, match="--net.*'widht'"):
        default_space(problem, prepared, None, (), ["widht=32"])
    with pytest.raises(ConfigError, match="name=value"):
        chosen_networks(["width"], ("width",))
    for wrong in ("width=0", "embedding=nope", "activation=nope", "depth=x"):
        with pytest.raises(ConfigError, match=wrong.split("=")[0]):
            default_space(problem, prepared, None, (), [wrong])


def test_starting_points_follow_what_the_user_asked_for(tmp_path: Path) -> None:
    search = searching(
        table(),
        tmp_path,
        recipe=["weight-decay:strength=0.5", "dropout:p=0.4..0.6", "l1:strength=1e-6..1e-5"],
        networks=["depth=1,2", "embedding=none"],
    )
    found = search.first_candidates()
    assert found[0].params == search.space.baseline().params
    assert len({str(sorted(c.params.items(), key=str)) for c in found}) == len(found)
    light = next(c for c in found if {t.name for t in c.recipe} == {"weight-decay", "dropout"})
    assert {t.name: t for t in light.recipe} == {
        "weight-decay": dashpot.WeightDecay(strength=0.5),
        "dropout": dashpot.Dropout(p=0.4),
    }, "moved into the range"
    sparse = next(c for c in found if [t.name for t in c.recipe] == ["l1"])
    assert sparse.params["l1.strength"] == 1e-5
    assert sparse.net["depth"] in (1, 2)
    distributions = search.space.distributions()
    for c in found:
        for name, value in c.params.items():
            d = distributions[name]
            assert value in d.values if isinstance(d, Categorical) else d.low <= value <= d.high
    assert isinstance(distributions["lr"], Numeric)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trials": None}, "budget"),
        ({"trials": 1}, "trials.*>= 2"),
        ({"budget": 0.0}, "budget.*> 0"),
        ({"budget": float("nan")}, "budget"),
        ({"budget": float("inf")}, "budget"),
        ({"cv": 1}, "cv.*>= 2"),
        ({"cv": 60}, "cv must be at most"),
        ({"ensemble": "all"}, "ensemble.*finalists, folds, refit"),
        ({"metric": "rmse"}, "metric.*classification"),
        ({"metric": "acuracy"}, "Did you mean 'accuracy'"),
        ({"recipe": ["l1:strength=1..1"]}, "low below high"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match=words):
        searching(table(), tmp_path, **options)
    assert list(tmp_path.iterdir()) == []
