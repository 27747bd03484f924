"""Policies: each image has its own operation of the table, as if it were alone; and chains that are blended."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

import dashpot
from dashpot.augment import AugMix, RandAugment, TrivialAugment
from dashpot.imaging import kernels
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.execute import execute
from dashpot.imaging.mixture import weighted
from dashpot.techniques.augment.picture import PictureTechnique
from dashpot.techniques.augment.policies import tables
from tests.imaging.colours import agree, clip, each, equalized, grey, pictures, smoothed, unit


def moved(image: np.ndarray, inner: Any, shift: Any = (0, 0)) -> np.ndarray:
    """Read at ``inner @ (x, y)`` about the middle, plus ``shift``; bilinear, mirrored."""
    middle = (np.array(image.shape[:0:-1]) - 1) / 2
    inner = np.array(inner, dtype=float)
    offset = middle - inner @ middle + np.array(shift)
    turned, back = inner[::-1, ::-1], offset[::-1]  # scipy counts (y, x)
    return np.stack([ndimage.affine_transform(c, turned, back, order=1, mode="mirror") for c in image])


def meant(image: np.ndarray, name: str, table: tables.Table, amount: float, sign: int) -> np.ndarray:
    """What the table says, of one image."""
    m, (height, width) = amount * sign, image.shape[1:]
    f, a = 1 + m * table.factor, np.deg2rad(m * table.degrees)
    low, high = table.bits
    lost = 2 ** (8 - round(low + (high - low) * amount))
    shift = [int(m * min(table.pixels, table.shift * side)) for side in (width, height)]
    flat = grey(image)
    return {
        "identity": lambda: image,
        "shear-x": lambda: moved(image, [[1, m * table.shear], [0, 1]]),
        "shear-y": lambda: moved(image, [[1, 0], [m * table.shear, 1]]),
        "translate-x": lambda: moved(image, np.eye(2), (shift[0], 0)),
        "translate-y": lambda: moved(image, np.eye(2), (0, shift[1])),
        "rotate": lambda: moved(image, [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]),
        "brightness": lambda: clip(f * image),
        "contrast": lambda: clip(flat.mean() + f * (image - flat.mean())),
        "saturation": lambda: clip(flat + f * (image - flat)),
        "sharpness": lambda: clip(smoothed(image) + f * (image - smoothed(image))),
        "autocontrast": lambda: np.stack([(c - c.min()) / (c.max() - c.min()) for c in image]),
        "equalize": lambda: np.stack([equalized(c) for c in image]),
        "posterize": lambda: np.floor(np.round(image * 255) / lost) * lost / 255,
        "solarize": lambda: np.where(image >= 1 - amount, 1 - image, image),
    }[name]()


@pytest.mark.parametrize("table", [tables.RAND_AUGMENT, tables.TRIVIAL_AUGMENT, tables.AUG_MIX])
@pytest.mark.parametrize("channels", [3, 1])
def test_each_image_has_its_own_operation(table: tables.Table, channels: int) -> None:
    count = len(table.names)
    x = pictures((2 * count, channels, 21, 18), torch.float32)
    which, sign = np.tile(np.arange(count), 2), np.repeat([1, -1], count)
    amount = np.linspace(0.1, 0.95, 2 * count)
    size = Size(*x.shape)
    found = execute(x, tables.step(table, which, amount, sign, size, "reflect"))
    names = np.array(table.names)[which]
    expected = each(x, lambda i, n, a, s: meant(i, n, table, a, s), names, amount, sign)
    agree(found, x, expected, loose=1e-4)
    assert torch.equal(found[::count], x[::count])  # the identity, bit for bit


def test_operations_that_no_image_has_are_left_out() -> None:
    size, none = Size(3, 3, 8, 8), np.zeros(3, dtype=int)
    assert tables.step(tables.RAND_AUGMENT, none, none + 0.5, none + 1, size, "zero") == []


POLICIES: tuple[PictureTechnique, ...] = (RandAugment(count=2, magnitude=7), TrivialAugment(p=0.8), AugMix(severity=6))


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.kind())
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_bytes_and_floats_alike(policy: PictureTechnique, channels: int) -> None:
    """Within the rounding of some operations in turn; labels of few levels may fall on the other side."""
    x = pictures((24, channels, 16, 20), torch.uint8)
    before = x.clone()
    operations = policy.operations(SampleDraws(3, 24), Size(*x.shape))
    found = execute(x, operations)
    floats = execute(x.float() / 255, operations)
    assert torch.equal(x, before)
    assert found.dtype == torch.uint8
    near = np.abs(unit(found) - unit(floats)) < 0.02
    assert near.mean() > 0.97
    last = execute(x.contiguous(memory_format=torch.channels_last), operations)
    assert (last.int() - found.int()).abs().max() <= 1
    assert np.abs(unit(execute(x, operations, unit=True)) - unit(found)).max() < 1.01 / 255


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.kind())
def test_without_kernels_alike(policy: PictureTechnique, monkeypatch: pytest.MonkeyPatch) -> None:
    x = pictures((24, 3, 16, 20), torch.float32)
    operations = policy.operations(SampleDraws(3, 24), Size(*x.shape))
    found = execute(x, operations)
    monkeypatch.setattr(kernels, "run", lambda *arguments: None)
    assert float(((execute(x, operations) - found).abs() < 1e-4).double().mean()) > 0.99


def test_operations_are_drawn_alike() -> None:
    u = SampleDraws(1, 14_000).uniforms(1)[0]
    count = np.bincount(tables.drawn(tables.RAND_AUGMENT, u), minlength=14)
    assert len(count) == 14
    assert abs(count - 1000).max() < 150
    assert tables.drawn(tables.AUG_MIX, u, first=1).min() == 1


def test_chains_are_blended() -> None:
    for dtype in (torch.uint8, torch.float32, torch.float64):
        for last in (False, True):
            parts = [pictures((3, 3, 9, 8), dtype, last, seed) for seed in range(3)]
            weights = np.array([[0.2, 0.5, 0.3], [1, 0, 0], [0, 0.25, 0.75]])
            expected = sum(w[:, None, None, None] * unit(p) for w, p in zip(weights.T, parts, strict=True))
            found = weighted(parts, torch.from_numpy(weights))
            agree(found, parts[0], np.asarray(expected))
            assert torch.equal(found[1], parts[0][1])


def test_augmix_leaves_the_rest_as_they_are() -> None:
    x = pictures((200, 3, 8, 8), torch.uint8)
    out = execute(x, AugMix(p=0.3).operations(SampleDraws(2, 200), Size(*x.shape)))
    changed = (out != x).flatten(1).any(1).double().mean()
    assert 0.15 < float(changed) < 0.45


EVERY = [cls for cls in vars(dashpot.augment).values() if isinstance(cls, type) and issubclass(cls, PictureTechnique)]


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_odd_batches(cls: type[PictureTechnique], native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No sample, one pixel, parts of other memory, numbers that are none: the same shape and type, and no write."""
    if not native:
        monkeypatch.setattr(kernels, "run", lambda *arguments: None)
    technique = cls(**{"p": 1.0} if "p" in cls.fields() else {})
    bytes_ = pictures((4, 3, 16, 18), torch.uint8)
    for x in (
        bytes_[:0],
        bytes_[:1, :1, :1, :1],
        bytes_[1:, :, ::2, 1::2],
        bytes_.permute(0, 1, 3, 2)[..., :8, :],
        bytes_.half()[:1].expand(3, -1, -1, -1) / 255,
        torch.full((2, 2, 5, 1), torch.nan),
        torch.full((2, 3, 1, 6), -torch.inf),
    ):
        before = x.clone()
        out = execute(x, technique.operations(SampleDraws(7, len(x)), Size(*x.shape)))
        assert out.shape[:2] == x.shape[:2]
        assert out.dtype == x.dtype
        assert torch.equal(x.nan_to_num(), before.nan_to_num())


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_in_place_alike(cls: type[PictureTechnique]) -> None:
    """Where images may be written over, every bit is the same."""
    technique = cls(**{"p": 0.7} if "p" in cls.fields() else {})
    for dtype in (torch.uint8, torch.float32, torch.float64):
        for last in (False, True):
            x = pictures((6, 3, 16, 18), dtype, last)
            for operation in technique.operations(SampleDraws(7, len(x)), Size(*x.shape)):
                mine = x.clone()
                assert torch.equal(operation.apply(mine, owned=True), operation.apply(x))
