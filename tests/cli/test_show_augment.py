"""``dashpot show-augment``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dashpot
from dashpot.cli.show_augment import show_augment
from dashpot.report.images import sheet


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The lines of each sheet."""
    found: list[Any] = []
    draw = sheet.draw_sheet
    monkeypatch.setattr(
        sheet, "draw_sheet", lambda lines, *args, **more: (found.append(lines), draw(lines, *args, **more))[1]
    )
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "photos.npz", X=rng.integers(0, 256, (9, 12, 10, 3), dtype=np.uint8), y=np.arange(9) % 3)
    return tmp_path / "photos.npz"


def test_each_original_is_beside_its_draws(photos: Path, tmp_path: Path, drawn: list[Any]) -> None:
    show_augment(photos, ["horizontal-flip:p=0.5"], images=9, draws=4, out=tmp_path / "sheet.png")
    pixels = np.load(photos)["X"].transpose(0, 3, 1, 2)
    flipped = 0
    for (name, (original, *draws)), image, label in zip(drawn[0], pixels, np.arange(9) % 3, strict=True):
        assert name == str(label)
        assert (original == image).all()
        assert len(draws) == 4
        for one in draws:  # the image, or its mirror image, in [0, 1]
            whole = np.round(one * 255)
            assert (whole == image).all() or (whole == image[:, :, ::-1]).all()
            flipped += bool((whole != image).any())
    assert 8 < flipped < 28
    assert (tmp_path / "sheet.png").stat().st_size > 5000
    assert (tmp_path / "sheet.svg").exists()


def test_the_same_seed_draws_the_same(photos: Path, tmp_path: Path, drawn: list[Any]) -> None:
    for seed in (0, 0, 1):
        show_augment(photos, ["rotation"], images=2, draws=2, seed=seed, out=tmp_path / "sheet.png")
    first, again, other = ([one for _, line in lines for one in line] for lines in drawn)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any(a.shape != b.shape or (a != b).any() for a, b in zip(first, other, strict=True))


def test_without_techniques_each_has_a_line(photos: Path, tmp_path: Path, drawn: list[Any]) -> None:
    show_augment(photos, draws=3, out=tmp_path / "sheet.png")
    names = [name for name, _ in drawn[0]]
    assert names[0] == "originals"
    assert {"horizontal-flip", "rotation", "cutout", "rand-augment", "hue"} <= set(names)
    assert all(len(line) == 3 for _, line in drawn[0])


def test_what_cannot_be_shown_is_named(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(dashpot.DashpotError, match=r"Dropout does not act on inputs.*Leave it out"):
        show_augment(photos, ["dropout:p=0.1"], out=tmp_path / "sheet.png")
    with pytest.raises(dashpot.DashpotError, match=r"--out must be a file name that ends in \.png or \.svg"):
        show_augment(photos, out=tmp_path / "sheet.jpg")
    (tmp_path / "table.csv").write_text("a,target\n1,2\n")
    with pytest.raises(dashpot.DashpotError, match="must hold images: a folder of class folders"):
        show_augment(tmp_path / "table.csv", out=tmp_path / "sheet.png")
    with pytest.raises(dashpot.DashpotError, match="there is no such file or folder"):
        show_augment(tmp_path / "nowhere", out=tmp_path / "sheet.png")
    assert list(tmp_path.glob("sheet*")) == []
