"""Images on a CPU: fewer pixels in the race, and a final network for the time that is left."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dashpot
from dashpot.data.problem import Problem
from dashpot.nets import Net
from dashpot.nets.ensemble import Ensemble
from dashpot.search import images
from dashpot.search.config import SearchConfig
from dashpot.search.networks import RACED
from dashpot.search.outcome import brief, final, gains
from dashpot.search.racing.trial import TrainingBudget, Trial
from dashpot.search.run import Search
from dashpot.search.space import images as points
from dashpot.search.space.defaults import first_candidates
from dashpot.search.space.distributions import Categorical
from dashpot.search.space.space import Candidate


def problem(size: int = 24, n: int = 60) -> Problem:
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    x = rng.integers(0, 90, (n, 1, size, size)).astype(np.uint8)
    x[y == 1, :, : size // 2] += 120
    return Problem("halves", x, y)


def search(folder: Path, size: int = 24, **options: object) -> Search:
    given: dict[str, object] = {"budget": 600.0, "recipe": ["weight-decay"], "device": "cpu", **options}
    return Search(problem(size), SearchConfig(**given), folder)  # type: ignore[arg-type]  # options of any field


@pytest.mark.parametrize("size", [24, 25])
def test_half_the_size_is_the_mean_of_four_pixels(size: int) -> None:
    x = torch.randint(0, 256, (3, 2, size, size), dtype=torch.uint8)
    got = images.halved(x)
    even = x[..., : size // 2 * 2, : size // 2 * 2].numpy().astype(float)
    expected = even.reshape(3, 2, size // 2, 2, size // 2, 2).mean(axis=(3, 5))
    assert got.dtype == torch.uint8
    assert np.abs(got.numpy() - expected).max() <= 0.5
    assert torch.allclose(images.halved(x.double() / 255), torch.from_numpy(expected / 255))


def test_a_race_has_half_the_pixels_and_a_third_fold_at_most(tmp_path: Path) -> None:
    one = search(tmp_path)
    assert one.whole is not None
    assert one.whole.x.shape[-2:] == (24, 24)
    assert one.task.x.shape[-2:] == (12, 12)
    assert (len(one.task.folds), len(one.whole.folds)) == (3, 5)
    assert one.setup().whole is one.whole


@pytest.mark.parametrize(
    ("options", "apart", "pixels", "folds"),
    [
        ({"cv": 4}, True, 12, 4),
        ({"ensemble": "refit"}, True, 12, 3),
        ({"ensemble": "folds"}, False, 24, 5),
        ({"budget": None, "trials": 4}, False, 24, 5),
        ({"size": 16}, True, 16, 3),
    ],
)
def test_what_is_asked_for_stays(
    tmp_path: Path, options: dict[str, object], apart: bool, pixels: int, folds: int
) -> None:
    one = search(tmp_path, **options)  # type: ignore[arg-type]  # options of any field
    assert (one.whole is not None, one.task.x.shape[-1], len(one.task.folds)) == (apart, pixels, folds)


def test_the_race_has_its_share_of_what_setting_up_leaves() -> None:
    assert images.race_share(0.0, 100.0) == pytest.approx(images.RACE)
    assert images.race_share(50.0, 100.0) == pytest.approx(0.5 + images.RACE / 2)
    assert images.race_share(500.0, 100.0) == 1.0


def test_the_whole_search_ends_with_one_network_at_full_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(final, "MOST", 4)
    monkeypatch.setattr(final, "WIDTHS", (16,))
    notes: list[str] = []
    one = Search(
        problem(),
        SearchConfig(budget=600.0, recipe=["weight-decay", "early-stopping"], trials=2, epochs=2, explain=False),
        tmp_path,
        note=notes.append,
    )
    store = one.open()
    try:
        training = one.training_budget(store)
        one.work(store, training)
        result = one.finish(store, training)
        assert training.folds == 1
        assert result.report.final == (
            "one network of width 16, 4 epochs at full size on all 48 rows but the test part"
        )
        assert isinstance(result.network, Net)
        assert not isinstance(result.network, Ensemble)
        assert result.is_run
        assert result.predict(problem().inputs[:7]).shape == (7,)  # type: ignore[index]  # images are an array
        assert any("4 epochs" in note for note in notes)
        assert sum(map(sum, result.report.answers["confusion"])) == 12
        # What was trained to its end is taken from its checkpoint, with the same plan.
        again = one.finish(store, training)
    finally:
        store.close()
    for a, b in zip(result.network.state_dict().values(), again.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_race_has_one_width_unless_one_was_asked_for(tmp_path: Path) -> None:
    def widths(**options: object) -> tuple[object, ...]:
        found = search(tmp_path, recipe=None, **options).space.net["width"]
        assert isinstance(found, Categorical)
        return found.values

    assert widths() == (RACED,)
    assert widths(networks=("depth=2",)) == (RACED,)
    assert widths(networks=("width=8,32",)) == (8, 32)
    assert len(widths(budget=None, trials=4)) > 1


@pytest.mark.parametrize(("net", "expected"), [(None, (RACED,)), ({"width": 8}, (8,)), ({"depth": (1, 2)}, (RACED,))])
def test_what_python_says_of_the_network_is_said(
    monkeypatch: pytest.MonkeyPatch, net: dict[str, Any] | None, expected: tuple[int, ...]
) -> None:
    seen: list[Search] = []

    class Seen(Exception):
        pass

    def finished(search: Search, *others: object) -> None:
        seen.append(search)
        raise Seen

    monkeypatch.setattr("dashpot.search.tune.finished", finished)
    made = problem()
    data, given = (made.inputs, made.labels), SearchConfig(budget=600.0, recipe=["weight-decay"], device="cpu")
    with pytest.raises(Seen):
        dashpot.tune(data, net=net, config=given, progress=False)
    found = seen[0].space.net
    assert isinstance(found["width"], Categorical)
    assert found["width"].values == expected
    assert set(found) == {"width", *(net or {})}
    assert seen[0].whole is not None


@pytest.mark.parametrize(("left", "expected"), [(1.0, 16), (70.0, 24), (100.0, 32), (200.0, 64), (10_000.0, 96)])
def test_the_final_network_is_as_wide_as_lets_it_see_its_rows_often_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: float, expected: int
) -> None:
    one = search(tmp_path)
    setup, chosen = one.setup(), one.space.candidate(one.space.baseline().params)
    assert setup.whole is not None
    rows = [torch.zeros(8000)]  # 20 epochs are enough

    def pace(setup: object, whole: object, candidate: Candidate, parts: object, batch: object) -> float:
        return float(candidate.net["width"]) / 8  # seconds of an epoch: 2, 3, 4, 6, 8 and 12

    monkeypatch.setattr(final, "_pace", pace)
    monkeypatch.setattr(final, "_left", lambda setup: left)
    assert final._net(setup, setup.whole, chosen, rows, 32)["width"] == expected
    for options in ({"budget": None}, {"networks": ("width=16",)}):
        fixed = replace(setup, config=replace(setup.config, **options))  # type: ignore[arg-type]  # of any field
        assert final._net(fixed, setup.whole, chosen, rows, 32)["width"] == 16


@pytest.mark.parametrize(("budget", "behind"), [(1500.0, 105.0), (300.0, 21.0), (60.0, 9.0), (20.0, 5.0)])
def test_the_final_network_leaves_time_for_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: float, behind: float
) -> None:
    setup = replace(search(tmp_path, budget=budget).setup(), started=100.0)
    monkeypatch.setattr(time, "monotonic", lambda: 110.0)
    assert final._left(setup) == pytest.approx(budget - behind - 10.0)


def test_contributions_are_on_one_fold_where_all_would_take_too_long(tmp_path: Path) -> None:
    one = search(tmp_path, recipe=["weight-decay", "label-smoothing"])
    setup, training = one.setup(), TrainingBudget(20, 32, (6,), 3, 4)
    chosen = Trial(3, one.space.default(), scores=[1.0, 2.0, 3.0])
    needed = brief.SLACK * 2 * 3 * 20 * 0.1  # without each of two techniques, on three folds
    for seconds, faster, folds in ((0.9, 1.0, 1), (1.1, 1.0, 3), (0.9, 2.0, 3)):
        until = time.monotonic() + seconds * needed
        found, over = brief.explained_on(replace(setup, faster=faster), training, chosen, range(3), 0.1, until)
        assert len(found) == folds
        assert (over is gains.FOLDS) == (folds == 3)
    assert brief.explained_on(setup, training, chosen, range(3), 0.1, None) == (range(3), gains.FOLDS)
    assert len(brief.explained_on(setup, training, chosen, range(1), 0.1, None)[0]) == 1
    assert brief.on_folds(chosen, range(1)).scores == [1.0]


def test_finals_take_place_where_two_candidates_fit(tmp_path: Path) -> None:
    setup, training = search(tmp_path).setup(), TrainingBudget(20, 32, (6,), 1, 4)
    needed = brief.SLACK * 3 * 2 * 20 * 0.1  # two candidates and the baseline on two more folds
    assert brief.finals_fit(setup, training, 0.1, time.monotonic() + 1.1 * needed)
    assert not brief.finals_fit(setup, training, 0.1, time.monotonic() + 0.9 * needed)
    assert brief.finals_fit(setup, training, 0.1, None)


def test_images_begin_with_combinations_of_their_own(tmp_path: Path) -> None:
    space = search(tmp_path, recipe=None).space
    names = {part.name for part in space.techniques}
    assert {name for techniques, _ in points.PHOTOS.values() for name in techniques} <= names
    first = first_candidates(space)
    assert len(first) == len(points.PHOTOS) + 2  # and the baseline, and everything
    assert not first[0].size
    assert "HorizontalFlip" in str(first[1].recipe)
