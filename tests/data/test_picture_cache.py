"""Images that do not fit are decoded once, into a mapped file that later runs and other processes use again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dashpot.core.errors import DataError, StorageError
from dashpot.data import load_problem
from dashpot.data.pictures import cache as picture_cache
from dashpot.data.pictures import decoding
from dashpot.data.pictures.cache import HEAD, Name, mapped, written
from dashpot.data.pictures.decoding import read_images
from dashpot.data.pictures.images import image_files
from dashpot.data.tables.columnar import DataWarning

GENERATOR = np.random.default_rng(0)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the mapped files, into which all images go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(picture_cache, "free_memory", lambda: 100.0)
    return tmp_path / "cache" / "dashpot" / "images"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are opened from now on."""
    seen: list[Path] = []
    original = decoding._opened

    def opened(path: Path) -> object:
        seen.append(path)
        return original(path)

    monkeypatch.setattr(decoding, "_opened", opened)
    return seen


def folder(place: Path, shapes: tuple[tuple[int, ...], ...] = ((8, 10, 3),) * 6) -> Path:
    """Images of these shapes in two classes."""
    for i, shape in enumerate(shapes):
        (place / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(GENERATOR.integers(0, 256, shape, dtype=np.uint8)).save(place / "ab"[i % 2] / f"{i}.png")
    return place


def test_mapped_images_are_those_in_memory(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = image_files(folder(tmp_path / "images"))
    found = read_images(files)
    expected = np.stack([np.asarray(Image.open(file)).transpose(2, 0, 1) for file in files])
    assert np.array_equal(found, expected)
    (kept,) = cache.glob("*.pixels")
    assert kept.read_bytes()[HEAD:] == expected.tobytes()
    monkeypatch.setattr(picture_cache, "free_memory", lambda: 1e12)
    kept.unlink()
    assert np.array_equal(read_images(files), expected)
    assert not list(cache.glob("*.pixels"))


def test_a_second_reading_opens_no_image_and_warns_again(tmp_path: Path, cache: Path, decoded: list[Path]) -> None:
    place = folder(tmp_path / "images", ((8, 10, 3),) * 5 + ((30, 20, 3),))
    told = "1 of 6 images are not 10 pixels wide and 8 high"
    with pytest.warns(DataWarning, match=told):
        first = load_problem(place)
    assert sorted(set(decoded)) == image_files(place)
    decoded.clear()
    with pytest.warns(DataWarning, match=told):
        second = load_problem(place)
    assert decoded == []
    assert np.array_equal(first.inputs, second.inputs)
    assert first.fingerprint == second.fingerprint


@pytest.mark.parametrize("named", ["images", "./images", "images/../images", "link"])
def test_a_folder_has_the_same_file_however_it_is_named(
    tmp_path: Path, cache: Path, decoded: list[Path], monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    read_images(image_files(folder(tmp_path / "images")))
    (tmp_path / "link").symlink_to("images")
    monkeypatch.chdir(tmp_path)
    decoded.clear()
    read_images(image_files(Path(named)))
    assert decoded == []
    assert len(list(cache.glob("*.pixels"))) == 1


def test_what_is_written_into_mapped_images_reaches_neither_file_nor_others(tmp_path: Path, cache: Path) -> None:
    files = image_files(folder(tmp_path / "images"))
    one, other = read_images(files), read_images(files)
    before = other.copy()
    one[:] = 7
    assert np.array_equal(other, before)
    assert np.array_equal(read_images(files), before)


@pytest.mark.parametrize("change", ["content", "time", "name", "added", "size"])
def test_a_change_of_any_file_is_seen_and_the_old_file_removed(
    tmp_path: Path, cache: Path, decoded: list[Path], change: str
) -> None:
    place = folder(tmp_path / "images")
    read_images(image_files(place))
    some = place / "a" / "0.png"
    stamp = some.stat().st_mtime_ns
    if change in ("content", "size"):
        Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(some)
        os.utime(some, ns=(stamp, stamp + (change == "content")))
    elif change == "time":
        os.utime(some, ns=(stamp, stamp + 1000))
    elif change == "name":
        some.rename(place / "a" / "00.png")
    else:
        Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(place / "b" / "9.png")
    decoded.clear()
    files = image_files(place)
    found = read_images(files)
    assert set(decoded) == set(files)
    assert np.array_equal(found[0], np.asarray(Image.open(files[0])).transpose(2, 0, 1))
    assert len(list(cache.glob("*.pixels"))) == 1


def test_another_size_and_another_folder_have_files_of_their_own(tmp_path: Path, cache: Path) -> None:
    files = image_files(folder(tmp_path / "images"))
    read_images(files)
    assert read_images(files, (1, 4, 5)).shape == (6, 1, 4, 5)
    read_images(image_files(folder(tmp_path / "others")))
    assert len(list(cache.glob("*.pixels"))) == 3
    assert read_images(files).shape == (6, 3, 8, 10)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:HEAD],
        lambda data: b"",
        lambda data: b"not json".ljust(HEAD) + data[HEAD:],
        lambda data: json.dumps({"format": 0, "shape": [6, 3, 8, 10], "kept": {}}).encode().ljust(HEAD) + data[HEAD:],
        lambda data: json.dumps({"format": 1}).encode().ljust(HEAD) + data[HEAD:],
    ],
)
def test_a_file_that_is_not_whole_is_made_again(tmp_path: Path, cache: Path, damage: Callable[[bytes], bytes]) -> None:
    files = image_files(folder(tmp_path / "images"))
    expected = read_images(files).copy()
    (kept,) = cache.glob("*.pixels")
    whole = kept.read_bytes()
    kept.unlink()
    kept.write_bytes(damage(whole))
    assert mapped(kept) is None
    assert np.array_equal(read_images(files), expected)
    assert kept.read_bytes() == whole


def test_a_broken_image_leaves_no_file(tmp_path: Path, cache: Path) -> None:
    place = folder(tmp_path / "images")
    data = (place / "b" / "3.png").read_bytes()
    (place / "b" / "3.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"3\.png must be complete"):
        read_images(image_files(place))
    assert not [path for path in cache.iterdir() if path.suffix != ".lock"]


def test_a_full_disk_is_one_message_before_any_image_is_decoded(
    tmp_path: Path, cache: Path, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, start: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    files = image_files(folder(tmp_path / "images"))
    with pytest.raises(StorageError, match="No space left on device. Free some space, or let XDG_CACHE_HOME"):
        read_images(files, (3, 8, 10))
    assert decoded == []
    assert not [path for path in cache.iterdir() if path.suffix != ".lock"]


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path: Path, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file, where the folder would be")
    with pytest.raises(StorageError, match="must hold them"):
        read_images(image_files(folder(tmp_path / "images")))


def test_an_image_that_vanishes_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"gone\.png cannot be read"):
        Name.of([tmp_path / "gone.png"], None)


def test_a_second_process_waits_for_the_first_and_takes_its_file(tmp_path: Path, cache: Path) -> None:
    path = cache / "a-b-c.pixels"
    script = (
        "import sys, time, pathlib, numpy as np\n"
        "from dashpot.data.pictures.cache import written\n"
        "def decode(write):\n"
        "    print('begun', flush=True); time.sleep(0.5)\n"
        "    [write(i, np.full((1, 2, 2), i, np.uint8)) for i in range(3)]\n"
        "written(pathlib.Path(sys.argv[1]), (3, 1, 2, 2), {}, decode)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"begun\n"

        def decode(write: object) -> None:
            raise AssertionError("two processes decode")

        found, _ = written(path, (3, 1, 2, 2), {}, decode)
    assert found[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_a_killed_writer_leaves_nothing_that_is_taken_for_whole(tmp_path: Path, cache: Path) -> None:
    path = cache / "a-b-c.pixels"
    script = (
        "import sys, time, pathlib, numpy as np\n"
        "from dashpot.data.pictures.cache import written\n"
        "def decode(write):\n"
        "    write(0, np.zeros((1, 2, 2), np.uint8)); print('begun', flush=True); time.sleep(60)\n"
        "written(pathlib.Path(sys.argv[1]), (3, 1, 2, 2), {}, decode)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        other.kill()
    assert mapped(path) is None

    def decode(write: picture_cache.Write) -> None:
        for i in range(3):
            write(i, np.full((1, 2, 2), i, np.uint8))

    found, _ = written(path, (3, 1, 2, 2), {}, decode)
    assert found[:, 0, 0, 0].tolist() == [0, 1, 2]  # and the lock of a killed process is free
    assert sorted(file.suffix for file in path.parent.iterdir()) == [".lock", ".pixels"]
