"""What a user gives of pictures that cannot be used ends in one line and exit code 2, before any work; what is only odd
is trained on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dashpot.cli import main

NOISE = np.random.default_rng(0)


def image(*shape: int, top: int = 255, kind: type = np.uint8) -> Image.Image:
    return Image.fromarray(NOISE.integers(0, top, shape).astype(kind))


def folder(place: Path, made: Callable[[int], Image.Image], classes: str = "ab", suffix: str = "png") -> Path:
    """24 images in folders for classes; of a class in upper case the first image only."""
    for i in range(24):
        name = classes[i % len(classes)]
        if not name.isupper() or i < len(classes):
            file = place / name / f"{i}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            more = {"save_all": True, "append_images": [made(i), made(i)]} if suffix == "gif" else {}
            made(i).save(file, **more)
    return place


@pytest.fixture
def dashpot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The command in an empty folder: what it says on its error stream, and that it ends as expected."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["dashpot", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert (ended.value.code or 0) == code
        said = capsys.readouterr().err
        assert "Traceback" not in said
        return said

    return run


def refused(said: str) -> str:
    """The one error."""
    (line,) = [line for line in said.splitlines() if line.startswith("error")]
    assert said.rstrip().endswith(line)
    return line


@pytest.mark.parametrize("command", ["fit", "tune", "show-augment"])
def test_a_folder_that_is_not_there(dashpot: Callable[..., str], command: str) -> None:
    said = refused(dashpot(command, "nowhere/", code=2))
    assert said == "error: data 'nowhere' must exist, and there is no such file or folder. Check the path."


@pytest.mark.parametrize("command", ["fit", "tune", "show-augment"])
@pytest.mark.parametrize(
    ("technique", "message"),
    [
        ("mixup:alpha=-1", "Mixup.alpha must be a number >= 0, finite, got -1."),
        ("hue:degrees=900", "Hue.degrees must be a number in [0, 180], got 900."),
        ("cutmix:p=2", "CutMix.p must be a number in [0, 1], got 2."),
        ("pixel-noise:std=nan", "PixelNoise.std must be a number >= 0, finite, got nan."),
    ],
)
def test_numbers_out_of_range(dashpot: Callable[..., str], command: str, technique: str, message: str) -> None:
    said = refused(dashpot(command, folder(Path("images"), lambda i: image(12, 12, 3)), "--with", technique, code=2))
    assert said == f"error: {message}"
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", ["fit", "tune"])
def test_one_class(dashpot: Callable[..., str], command: str) -> None:
    said = refused(dashpot(command, folder(Path("images"), lambda i: image(12, 12, 3), "a"), code=2))
    assert "must hold images of at least 2 classes, one folder each, got only 'a'" in said
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", ["fit", "tune"])
def test_not_a_number(dashpot: Callable[..., str], command: str) -> None:
    pixels = NOISE.random((24, 12, 12, 3)).astype(np.float32)
    pixels[3, 2, 2] = np.nan
    np.savez("images.npz", X=pixels, y=np.arange(24) % 2)
    said = refused(dashpot(command, "images.npz", code=2))
    assert "X must hold finite numbers, got NaN or infinity in 1 of 24 images, the first in row 3" in said


def test_images_smaller_than_the_crop(dashpot: Callable[..., str]) -> None:
    place = folder(Path("images"), lambda i: image(12, 12, 3))
    for command in ("fit", "show-augment"):
        said = refused(dashpot(command, place, "--with", "random-crop:size=40,padding=0", code=2))
        assert "images must be at least 40 pixels high and wide" in said
        assert "got 12 x 12. Make size smaller or padding larger." in said


@pytest.mark.parametrize(
    ("made", "suffix", "technique"),
    [
        (lambda i: image(12, 12), "png", "hue"),  # which grey has none of
        (lambda i: image(12, 12), "png", "saturation"),
    ],
    ids=["hue of grey", "saturation of grey"],
)
def test_odd_images_are_trained_on(
    dashpot: Callable[..., str], made: Callable[[int], Image.Image], suffix: str, technique: str
) -> None:
    place = folder(Path("images"), made, suffix=suffix)
    dashpot("fit", place, "--epochs", "1", "--with", technique, "--out", "run", code=0)
    assert Path("run/model.safetensors").exists()
