"""Blur, sharpness, noise and erasing against SciPy, Pillow, statistics and one image at a time in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from scipy import ndimage, stats

from dashpot.imaging import boxes, filters, kernels, noise
from dashpot.imaging.draws import SampleDraws
from tests.imaging.colours import agree, clip, each, kinds, pictures, smoothed

NATIVE = pytest.mark.parametrize("native", [True, False])


@pytest.fixture
def without_kernels(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:
        monkeypatch.setattr(kernels, "run", lambda *arguments: None)


@NATIVE
@pytest.mark.usefixtures("without_kernels")
def test_blur_is_scipys(native: bool) -> None:
    """Widths of one image each, up to one that is wider than the picture."""
    sigma = np.array([0.0, 0.5, 1.7, 6.0])

    def change(image: np.ndarray, s: float) -> np.ndarray:
        if s == 0:
            return image
        radius = int(np.ceil(3 * s))
        blurred = [ndimage.gaussian_filter(c, s, mode="mirror", radius=radius) for c in image]
        return np.stack(blurred)

    for shape, dtype, last in kinds():
        x = pictures((4, *shape[1:]), dtype, last)
        before = x.clone()
        found = filters.gaussian_blur(x, torch.from_numpy(sigma))
        agree(found, x, each(x, change, sigma))
        assert torch.equal(x, before)
        assert torch.equal(found[0], x[0])


@NATIVE
@pytest.mark.usefixtures("without_kernels")
def test_sharpness(native: bool) -> None:
    factor = np.array([0.0, 1.9, 1.0, 0.3])
    for shape, dtype, last in kinds():
        x = pictures((4, *shape[1:]), dtype, last)
        expected = each(x, lambda i, f: clip(smoothed(i) + f * (i - smoothed(i))), factor)
        found = filters.sharpness(x, torch.from_numpy(factor))
        agree(found, x, expected)
        assert torch.equal(found[2], x[2])


def test_sharpness_is_pillows() -> None:
    """Within one level, since Pillow rounds the smooth picture."""
    x = pictures((3, 3, 20, 24), torch.uint8)
    factor = [0.0, 0.5, 1.9]
    found = filters.sharpness(x, torch.tensor(factor)).int().permute(0, 2, 3, 1).numpy()
    for image, f, ours in zip(x, factor, found, strict=True):
        theirs = ImageEnhance.Sharpness(Image.fromarray(image.permute(1, 2, 0).numpy())).enhance(f)
        assert np.abs(np.asarray(theirs).astype(int) - ours).max() <= 1


def keys(n: int, key: int = 5) -> torch.Tensor:
    return noise.image_keys(SampleDraws(key, n))


def test_noise_is_normal_and_each_images_own() -> None:
    z = noise.normal_pixels(keys(2), torch.Size((2, 3, 100, 100)), torch.device("cpu"))
    assert stats.kstest(z.flatten().numpy(), "norm").pvalue > 0.01
    assert abs(float((z[0] * z[1]).mean())) < 0.02
    longer = noise.normal_pixels(keys(5), torch.Size((5, 3, 100, 100)), torch.device("cpu"))
    assert torch.equal(longer[:2], z)


@NATIVE
@pytest.mark.usefixtures("without_kernels")
def test_gaussian_noise(native: bool) -> None:
    std = np.array([0.0, 0.1, 0.02, 3.0])
    for shape, dtype, last in kinds():
        x = pictures((4, *shape[1:]), dtype, last)
        z = noise.normal_pixels(keys(4), x.shape, torch.device("cpu")).double().numpy()
        found = noise.gaussian_noise(x, torch.from_numpy(std), keys(4))
        agree(found, x, each(x, lambda i, s, e: clip(i + s * e), std, z), loose=1e-5)
        assert torch.equal(found[0], x[0])


@NATIVE
@pytest.mark.usefixtures("without_kernels")
def test_salt_and_pepper(native: bool) -> None:
    for dtype, last in ((torch.uint8, False), (torch.float32, True)):
        x = pictures((3, 3, 60, 60), dtype, last) // 2 + 1 if dtype == torch.uint8 else pictures((3, 3, 60, 60), dtype)
        x = x if dtype == torch.uint8 else x * 0.5 + 0.25
        top = 255 if dtype == torch.uint8 else 1
        out = noise.salt_and_pepper(x, torch.tensor([0.0, 0.3, 1.0]), keys(3))
        assert torch.equal(out[0], x[0])
        black, white = (out == 0).all(1), (out == top).all(1)
        assert torch.equal((out != x).any(1), black | white)
        for share, image in ((0.3, 1), (1.0, 2)):
            for some in (black, white):
                assert abs(float(some[image].float().mean()) - share / 2) < 0.03


@NATIVE
@pytest.mark.parametrize("fill", boxes.FILLS)
@pytest.mark.usefixtures("without_kernels")
def test_erase(fill: str, native: bool) -> None:
    for shape, dtype, last in kinds():
        x = pictures((4, *shape[1:]), dtype, last)
        n, h, w = 4, *shape[2:]
        start = np.array([-3, 0, 1, 5])
        end = np.array([1, 0, h + 4, 2])  # clipped, empty, to the end, turned round
        rows, columns = boxes.spans(start, end, h), boxes.stripes(np.array([0, 1, -1, 2]), np.full(n, 3), np.ones(n), w)
        before = x.clone()
        found = boxes.erase(x, rows, columns, keys(n), fill)
        u = noise.uniform_pixels(keys(n), x.shape, torch.device("cpu")).double().numpy()

        def change(image: np.ndarray, r: np.ndarray, c: np.ndarray, e: np.ndarray) -> np.ndarray:
            new = {"zero": 0 * image, "mean": 0 * image + image.mean((1, 2), keepdims=True), "noise": e}[fill]
            return np.where(np.outer(r, c).astype(bool), new, image)

        agree(found, x, each(x, change, rows.numpy(), columns.numpy(), u))
        assert torch.equal(x, before)
        assert torch.equal(found[1], x[1])


@pytest.mark.parametrize("last", [False, True], ids=["planes", "channels last"])
def test_erase_past_the_caches(last: bool) -> None:
    x = torch.rand(23, 3, 251, 257)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    rows, columns = (torch.rand(23, length) < 0.4 for length in x.shape[2:])
    rows[0] = False
    found = boxes.erase(x, rows.byte(), columns.byte(), keys(23), "mean")
    gone = rows[:, None, :, None] & columns[:, None, None, :]
    torch.testing.assert_close(found, torch.where(gone, x.mean((2, 3), keepdim=True), x), rtol=1e-5, atol=0)
    assert torch.equal(found[0], x[0])


def test_marks() -> None:
    assert boxes.spans(np.array([-1, 2]), np.array([2, 9]), 4).tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    marks = boxes.stripes(np.array([1, 0]), np.array([3, 4]), np.array([1, 2]), 7)
    assert marks.tolist() == [[0, 1, 0, 0, 1, 0, 0], [1, 1, 0, 0, 1, 1, 0]]


def test_bytes_become_floats() -> None:
    x = pictures((2, 3, 9, 9), torch.uint8)
    off = torch.zeros(2)
    for out in (
        filters.gaussian_blur(x, off, unit=True),
        filters.sharpness(x, off + 1, unit=True),
        noise.gaussian_noise(x, off, keys(2), unit=True),
        noise.salt_and_pepper(x, off, keys(2), unit=True),
        boxes.erase(x, torch.zeros(2, 9).byte(), torch.ones(2, 9).byte(), keys(2), unit=True),
    ):
        assert torch.equal(out, x.float() / 255)
