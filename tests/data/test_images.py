"""Folders and files of images as people have them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dashpot
from dashpot.data import DataWarning, load_problem
from dashpot.data.pictures.decoding import read_images
from dashpot.data.pictures.images import image_files


def fill(*folders: Path, count: int = 4) -> None:
    rng = np.random.default_rng(0)
    for folder in folders:
        folder.mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / f"{i}.png")


class TestHiddenFiles:
    @pytest.mark.parametrize("hidden", [".ipynb_checkpoints", "__MACOSX", "cat/.thumbs", "__MACOSX/cat"])
    def test_folders_of_tools_are_no_classes(self, tmp_path: Path, hidden: str) -> None:
        root = tmp_path / ".data"  # a hidden folder that the user names is data
        fill(root / "cat", root / "dog", root / hidden)
        problem = load_problem(root)
        assert (problem.classes, problem.n) == (("cat", "dog"), 8)

    def test_files_of_tools_are_no_images(self, tmp_path: Path) -> None:
        fill(tmp_path / "cat", tmp_path / "dog")
        (tmp_path / "cat" / "._0.png").write_bytes(b"no image")
        (tmp_path / "._1.png").write_bytes(b"no image")
        assert load_problem(tmp_path).n == 8


class TestParts:
    def test_folders_that_name_parts(self, tmp_path: Path) -> None:
        for part, count in (("Train", 5), ("val", 3), ("test", 4)):
            fill(tmp_path / part / "cat", tmp_path / part / "dog", count=count)
        with pytest.warns(
            DataWarning,
            match=(
                "folders Train, test, val name parts of the data, not classes: the 8 images in 'test' are the test part"
            ),
        ):
            problem = load_problem(tmp_path)
        assert problem.classes == ("cat", "dog")
        files = image_files(tmp_path)
        assert [problem.classes[code] for code in problem.labels] == [file.parent.name for file in files]
        expected = [i for i, file in enumerate(files) if file.parts[-3] == "test"]
        for seed in (0, 1):
            assert problem.split(seed).test.tolist() == expected

    def test_without_test_the_test_part_is_drawn(self, tmp_path: Path) -> None:
        for part in ("train", "val"):
            fill(tmp_path / part / "cat" / "deeper", tmp_path / part / "dog" / "deeper", count=5)
        with pytest.warns(DataWarning, match="none is the test part, so that is drawn as always"):
            problem = load_problem(tmp_path)
        assert (problem.classes, problem.fixed_test) == (("cat", "dog"), None)

    def test_images_of_no_class_in_a_part_are_refused(self, tmp_path: Path) -> None:
        fill(tmp_path / "train" / "cat", tmp_path / "train" / "dog")
        fill(tmp_path / "test", count=3)
        with pytest.raises(dashpot.DataError, match="test must hold one folder per class.* 3 images lie outside"):
            load_problem(tmp_path)

    def test_one_other_name_makes_them_classes(self, tmp_path: Path) -> None:
        fill(tmp_path / "train", tmp_path / "test", tmp_path / "bus")
        assert load_problem(tmp_path).classes == ("bus", "test", "train")


class TestPixels:
    @pytest.mark.parametrize("kind", ["<u2", ">u2"])
    @pytest.mark.parametrize("suffix", ["png", "tif"])
    def test_of_16_bits_the_upper_8_count(self, tmp_path: Path, kind: str, suffix: str) -> None:
        values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
        order = "I;16" if kind == "<u2" else "I;16B"
        image = Image.frombytes(order, (8, 8), values.astype(kind).tobytes())
        image.save(tmp_path / f"a.{suffix}")
        np.testing.assert_array_equal(read_images([tmp_path / f"a.{suffix}"])[0, 0], values // 256)

    @pytest.mark.parametrize("kind", [np.float32, np.int32])
    def test_pixels_without_a_range_are_refused(self, tmp_path: Path, kind: type) -> None:
        Image.fromarray(
            (np.arange(64).reshape(8, 8) / 64 if kind is np.float32 else np.arange(64).reshape(8, 8)).astype(kind)
        ).save(tmp_path / "a.tif")
        with pytest.raises(dashpot.DataError, match=r"image .*a\.tif must be .*whose range is not known"):
            read_images([tmp_path / "a.tif"])

    def test_a_cameras_orientation_is_followed(self, tmp_path: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 255, (9, 12, 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        tags = image.getexif()
        tags[274] = 6  # the camera was turned: show it a quarter clockwise
        image.save(tmp_path / "a.png", exif=tags)
        np.testing.assert_array_equal(read_images([tmp_path / "a.png"])[0].transpose(1, 2, 0), np.rot90(pixels, -1))

    def test_too_large_an_image_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Image.new("L", (30, 30)).save(tmp_path / "a.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(dashpot.DataError, match=r"image .*a\.png must be"):
            read_images([tmp_path / "a.png"])


class TestRights:
    """By broken calls: who runs the tests may be allowed everything."""

    def test_an_unreadable_class_folder_is_not_passed_over(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(tmp_path / "cat", tmp_path / "dog", tmp_path / "locked")
        scan = os.scandir

        def refuse(path: object) -> object:
            if str(path).endswith("locked"):
                raise PermissionError(13, "Permission denied", str(path))
            return scan(path)  # type: ignore[call-overload]  # paths of any kind

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(dashpot.StorageError, match="locked cannot be read: Permission denied"):
            load_problem(tmp_path)

    def test_a_path_that_cannot_be_looked_at(self) -> None:
        with pytest.raises(dashpot.StorageError, match="cannot be read: File name too long"):
            load_problem("x" * 5000 + ".csv", "t")


def test_a_folder_is_read_in_the_same_order_everywhere(tmp_path: Path) -> None:
    fill(tmp_path / "b", tmp_path / "a", tmp_path / "c", count=3)
    before = [str(file.relative_to(tmp_path)) for file in image_files(tmp_path)]
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "copy").rename(tmp_path / "a")
    assert (
        [str(file.relative_to(tmp_path)) for file in image_files(tmp_path)]
        == before
        == [f"{n}/{i}.png" for n in "abc" for i in range(3)]
    )


class TestFilesOfAllKinds:
    def test_transparent_pixels_are_seen_on_white(self, tmp_path: Path) -> None:
        pixels = np.zeros((8, 8, 4), dtype=np.uint8)
        pixels[:4] = (200, 100, 0, 255)
        pixels[4] = (0, 0, 0, 51)  # a fifth of black, four fifths of white
        Image.fromarray(pixels).save(tmp_path / "a.png")
        found = read_images([tmp_path / "a.png"])[0]
        assert found[:, 0, 0].tolist() == [200, 100, 0]
        assert found[:, 4, 0].tolist() == [204, 204, 204]
        assert found[:, 5:].min() == 255

    def test_grey_with_transparency_is_grey(self, tmp_path: Path) -> None:
        Image.fromarray(np.full((8, 8, 2), (40, 255), dtype=np.uint8)).save(tmp_path / "a.png")
        found = read_images([tmp_path / "a.png"])
        assert (found.shape, found.min(), found.max()) == ((1, 1, 8, 8), 40, 40)

    def test_of_an_animation_the_first_image_counts(self, tmp_path: Path) -> None:
        frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
        frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
        assert read_images([tmp_path / "a.gif"])[0, :, 0, 0].tolist() == [255, 0, 0]

    def test_sizes_are_mixed_and_turned(self, tmp_path: Path) -> None:
        files = []
        for i, size in enumerate([(9, 12), (30, 20), (12, 9), (9, 12)]):
            image = Image.new("RGB", size, (i, 0, 0))
            tags = image.getexif()
            tags[274] = 6 if size == (12, 9) else 1  # stored lying, shown standing
            files.append(tmp_path / f"{i}.png")
            image.save(files[-1], exif=tags)
        with pytest.warns(DataWarning, match="1 of 4 images are not 9 pixels wide and 12 high, .* stretched to it"):
            found = read_images(files)
        assert found.shape == (4, 3, 12, 9)
        assert found[:, 0, 0, 0].tolist() == [0, 1, 2, 3]

    def test_photographs_are_made_smaller(self, tmp_path: Path) -> None:
        """Each block of 2 x 2 pixels is of one colour, so that half the size is known whatever filter makes it."""
        small = np.random.default_rng(0).integers(0, 255, (224, 300, 3), dtype=np.uint8)
        paths = [tmp_path / f"{i}.png" for i in range(3)]
        for path in paths:
            Image.fromarray(small).resize((600, 448), Image.Resampling.NEAREST).save(path)
        with pytest.warns(DataWarning, match="made 300 pixels wide and 224 high, .* shorter side has 224"):
            pixels = read_images(paths)
        assert pixels.shape == (3, 3, 224, 300)
        # Pillow smooths over the neighbours, too: near the colours on average, far less than colours differ.
        assert np.abs(pixels[0].transpose(1, 2, 0).astype(int) - small).mean() < 40
        assert read_images(paths, (3, 448, 600)).shape == (3, 3, 448, 600)  # what a network was trained on is kept

    def test_of_many_sizes_the_median_counts(self, tmp_path: Path) -> None:
        """A size that two of six share by chance is not that of all."""
        paths = []
        for i, size in enumerate([(9, 9), (9, 9), (20, 40), (22, 41), (24, 42), (26, 43)]):
            paths.append(tmp_path / f"{i}.png")
            Image.new("L", size).save(paths[-1])
        with pytest.warns(DataWarning, match="6 of 6 images are not 21 pixels wide and 40 high, the median size"):
            assert read_images(paths).shape == (6, 1, 40, 21)

    def test_broken_files_are_named(self, tmp_path: Path) -> None:
        fill(tmp_path / "a", count=12)
        whole = (tmp_path / "a" / "3.png").read_bytes()
        (tmp_path / "a" / "3.png").write_bytes(whole[: len(whole) - 30])
        with pytest.raises(dashpot.DataError, match=r"3\.png must be complete .* Replace or remove the file\.$"):
            read_images(image_files(tmp_path))
        for name in range(4, 11):
            (tmp_path / "a" / f"{name}.png").write_bytes(whole[: len(whole) - 30])
        others = r"So it is with 7 more: 3\.png, 4\.png, 5\.png, 6\.png, 7\.png and others\.$"
        with pytest.raises(dashpot.DataError, match=others):
            read_images(image_files(tmp_path))

    @pytest.mark.parametrize(("content", "why"), [(b"", "a file of 0 bytes"), (b"no image", "cannot identify")])
    def test_what_is_no_image_is_said(self, tmp_path: Path, content: bytes, why: str) -> None:
        fill(tmp_path / "a", tmp_path / "b")
        (tmp_path / "a" / "0.png").write_bytes(content)
        (tmp_path / "b" / "0.png").write_bytes(content)
        with pytest.raises(dashpot.DataError, match=rf"got: {why}.* So it is with 1 more: 0\.png\.$"):
            load_problem(tmp_path)

    @pytest.mark.parametrize(
        ("mode", "suffix", "colours"),
        [("P", "png", True), ("P", "gif", True), ("CMYK", "jpg", True), ("CMYK", "tif", True), ("1", "png", False)],
    )
    def test_palettes_and_inks_are_the_colours_they_show(
        self, tmp_path: Path, mode: str, suffix: str, colours: bool
    ) -> None:
        halves = np.zeros((8, 8, 3), dtype=np.uint8)
        halves[:4] = (255, 0, 0) if colours else (255, 255, 255)
        Image.fromarray(halves).convert(mode).save(tmp_path / f"a.{suffix}")
        found = read_images([tmp_path / f"a.{suffix}"])[0].astype(int)
        assert found.shape == ((3, 8, 8) if colours else (1, 8, 8))
        assert np.abs(found[:, :3] - (halves.transpose(2, 0, 1)[: len(found), :3])).max() < 30
        assert found[:, 5:].max() < 30

    def test_a_palette_with_transparency_is_seen_on_white(self, tmp_path: Path) -> None:
        image = Image.new("P", (8, 8), 0)
        image.putpalette([10, 20, 30, 200, 100, 50])
        image.paste(1, (0, 0, 8, 4))
        image.save(tmp_path / "a.png", transparency=0)
        found = read_images([tmp_path / "a.png"])[0]
        assert found[:, 0, 0].tolist() == [200, 100, 50]
        assert found[:, 7].min() == 255

    def test_names_of_any_script_and_deep_folders(self, tmp_path: Path) -> None:
        fill(tmp_path / "кошка" / "deep" / "er", tmp_path / "犬 🐕")
        (tmp_path / "犬 🐕" / "0.png").rename(tmp_path / "犬 🐕" / "größe 1.PNG")
        problem = load_problem(tmp_path)
        assert (problem.classes, problem.n) == (("кошка", "犬 🐕"), 8)

    def test_what_is_passed_over_is_said(self, tmp_path: Path) -> None:
        fill(tmp_path / "cat", tmp_path / "dog")
        for name in ("Thumbs.db", "desktop.ini", ".DS_Store"):
            (tmp_path / "cat" / name).write_bytes(b"x")
        assert load_problem(tmp_path).n == 8  # without a warning
        (tmp_path / "cat" / "0.heic").write_bytes(b"x")
        (tmp_path / "owl").mkdir()
        with pytest.warns(DataWarning) as caught:
            problem = load_problem(tmp_path)
        assert (problem.n, problem.classes) == (8, ("cat", "dog"))
        assert [str(warning.message) for warning in caught] == [
            f"1 file is no image by its name, and passed over: {Path('cat', '0.heic')}.",
            "the folder 'owl' holds no images, so it is no class.",
        ]
        (tmp_path / "bat").mkdir()
        for name in "abcd":
            (tmp_path / "dog" / f"{name}.txt").write_bytes(b"x")
        with pytest.warns(DataWarning) as caught:
            load_problem(tmp_path)
        named = ", ".join(str(Path(name)) for name in ("cat/0.heic", "dog/a.txt", "dog/b.txt"))
        assert str(caught[0].message) == f"5 files are no images by name, and passed over: {named} and others."
        assert "the folders 'bat', 'owl' hold no images, so they are no classes." in str(caught[1].message)

    def test_thousands_of_files_of_many_sizes(self, tmp_path: Path) -> None:
        """Most are copies: what is asked for is that thousands are read, not that they differ."""
        rng = np.random.default_rng(0)
        for name in ("cat", "dog"):
            (tmp_path / name).mkdir()
            for i in range(20):
                size = (9, 12) if i < 12 else tuple(rng.integers(1, 30, 2))
                Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(tmp_path / name / f"{i}.png")
            for i in range(20, 2500):
                os.link(tmp_path / name / f"{i % 20}.png", tmp_path / name / f"{i}.png")
        with pytest.warns(DataWarning, match="2000 of 5000 images are not 12 pixels wide and 9 high"):
            problem = load_problem(tmp_path)
        assert problem.inputs.shape == (5000, 3, 9, 12)  # type: ignore[union-attr]  # images are an array
        assert np.bincount(problem.labels).tolist() == [2500, 2500]

    def test_one_class_is_refused_before_a_file_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "cat").mkdir()
        (tmp_path / "cat" / "a.png").write_bytes(b"no image")
        with pytest.raises(dashpot.DataError, match="at least 2 classes, one folder each, got only 'cat'"):
            load_problem(tmp_path)

    def test_a_class_of_one_image_is_trained_on_with_a_warning(self, tmp_path: Path) -> None:
        fill(tmp_path / "cat", tmp_path / "dog", count=8)
        fill(tmp_path / "owl", count=1)
        with pytest.warns(DataWarning, match=r"too few rows to be judged .*'owl' \(1\)"):
            problem = load_problem(tmp_path)
        assert (problem.labels == 2)[problem.split(0).train].sum() == 1
