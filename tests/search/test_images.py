"""Images on a CPU: fewer pixels in the race, and a final network for the time that is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dashpot.data.problem import Problem
from dashpot.nets import Net
from dashpot.nets.ensemble import Ensemble
from dashpot.search import images
from dashpot.search.config import SearchConfig
from dashpot.search.outcome import final
from dashpot.search.run import Search
from dashpot.search.space import images as points
from dashpot.search.space.defaults import first_candidates


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
        assert result.report.final == "one network, 4 epochs at full size on all 48 rows but the test part"
        assert isinstance(result.network, Net)
        assert not isinstance(result.network, Ensemble)
        assert result.is_built_in
        assert result.predict(problem().inputs[:7]).shape == (7,)  # type: ignore[index]  # images are an array
        assert any("4 epochs" in note for note in notes)
        assert sum(map(sum, result.report.images["confusion"])) == 12
        # What was trained to its end is taken from its checkpoint, with the same plan.
        again = one.finish(store, training)
    finally:
        store.close()
    for a, b in zip(result.network.state_dict().values(), again.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_images_begin_with_combinations_of_their_own(tmp_path: Path) -> None:
    space = search(tmp_path, recipe=None).space
    names = {part.name for part in space.techniques}
    assert {name for techniques, _ in points.PHOTOS.values() for name in techniques} <= names
    first = first_candidates(space)
    assert len(first) == len(points.PHOTOS) + 2  # and the baseline, and everything
    assert not first[0].size
    assert "HorizontalFlip" in str(first[1].recipe)
