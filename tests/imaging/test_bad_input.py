"""Inputs that augmentation cannot take, and odd ones that it can."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dashpot
from dashpot import augment
from dashpot.core.registry import registry
from dashpot.core.technique import Technique
from dashpot.techniques.augment.mixing.base import Mixing
from dashpot.techniques.augment.picture import PictureTechnique

FLOATS, BYTES = torch.rand(6, 3, 8, 8), torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8)
LABELS = torch.arange(6) % 3
PICTURES = [cls for cls in registry().values() if issubclass(cls, PictureTechnique) and "dashpot." in cls.__module__]
MIXERS = [
    cls for cls in registry().values() if issubclass(cls, Mixing) and "dashpot." in cls.__module__ and cls.stacked
]
"""Those that blend inputs, not what a network makes of them."""


def batch(technique: Technique, x: Any, y: Any = None, **options: Any) -> Any:
    model = nn.Linear(1, 1)
    with technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), **options) as session:
        return session.batch(x) if y is None else session.batch(x, y)


BAD = {
    "whole numbers": BYTES.long(),
    "truth values": BYTES > 3,
    "complex numbers": FLOATS + 0j,
    "one image": FLOATS[0],
    "a video": FLOATS[None],
    "no rows": FLOATS[:, :, :0],
    "no channels": FLOATS[:, :0],
    "sparse": FLOATS.to_sparse(),
    "an array": FLOATS.numpy(),
    "a list": [FLOATS],
    "a mapping": {"pixels": FLOATS},
}


@pytest.mark.parametrize("cls", PICTURES, ids=lambda cls: cls.kind())
def test_what_is_no_batch_of_images_is_refused(cls: type[PictureTechnique]) -> None:
    rule = rf"{cls.__name__} needs images \[batch, channels, height, width\] of uint8 or floating point, got"
    for x in BAD.values():
        with pytest.raises(dashpot.UsageError, match=rule):
            batch(cls(), x)


def strong(cls: type[Any]) -> Any:
    """At full probability, where it has one."""
    return cls(**({"p": 1.0} if "p" in cls.fields() else {}))


@pytest.mark.parametrize("cls", PICTURES, ids=lambda cls: cls.kind())
@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (1, 3, 8, 8), (6, 1, 1, 1), (6, 3, 1, 9), (5, 2, 3, 2), (3, 7, 8, 8)])
def test_odd_images_are_images(cls: type[PictureTechnique], shape: tuple[int, ...]) -> None:
    """No sample, one, one pixel, one row, fewer pixels than a box or a filter has, any number of channels."""
    for x in (torch.rand(shape), (torch.rand(shape) * 255).to(torch.uint8), torch.rand(shape).half()):
        before = x.clone()
        out = batch(strong(cls), x).x
        assert (out.shape, out.dtype) == (x.shape, x.dtype)
        assert torch.isfinite(out.float()).all()
        assert torch.equal(x, before)


@pytest.mark.parametrize("cls", [augment.Hue, augment.Saturation, augment.Grayscale], ids=lambda cls: cls.kind())
def test_colours_of_grey_images_are_the_identity(cls: type[Any]) -> None:
    for x in (FLOATS[:, :1], BYTES[:, :1]):
        assert torch.equal(batch(strong(cls), x).x, x)


def test_hue_of_other_channels_is_the_identity() -> None:
    for channels in (2, 4):
        x = torch.rand(6, channels, 8, 8)
        assert torch.equal(batch(augment.Hue(degrees=90), x).x, x)


@pytest.mark.parametrize("size", [9, 100])
def test_a_crop_larger_than_the_image(size: int) -> None:
    with pytest.raises(dashpot.DataError, match=rf"at least {size} pixels high and wide .* got 8 x 8\. Make size"):
        batch(augment.RandomCrop(padding=0, size=size), FLOATS)
    assert batch(augment.RandomResizedCrop(size=size), FLOATS).x.shape == (6, 3, size, size)


@pytest.mark.parametrize(
    "cls", [augment.HorizontalFlip, augment.RandomCrop, augment.Translation, augment.Cutout], ids=lambda cls: cls.kind()
)
def test_what_is_no_number_stays_in_its_image(cls: type[Any]) -> None:
    x = torch.rand(64, 3, 8, 8)
    x[7, 1, 4, 4] = torch.nan
    out = batch(strong(cls), x).x
    broken = torch.isnan(out).flatten(1).any(1)
    assert not broken[:7].any()
    assert not broken[8:].any()


class TestMixing:
    @pytest.mark.parametrize("cls", MIXERS, ids=lambda cls: cls.kind())
    def test_targets_that_cannot_be_mixed(self, cls: type[Any]) -> None:
        cases: list[tuple[Any, dict[str, Any], str]] = [
            (None, {"classes": 3}, "needs a target tensor, got a NoneType"),
            ([0, 1, 2, 0, 1, 2], {"classes": 3}, "needs a target tensor, got a list"),
            ({"class": LABELS}, {"classes": 3}, r"needs a target tensor, got a dict with class \(int64\)"),
            (torch.zeros(6, 2, dtype=torch.long), {}, r"integer targets of shape \[batch\], got \[6, 2\]"),
            (torch.tensor(1), {"classes": 3}, r"integer targets of shape \[batch\], got \[\]"),
            (LABELS, {}, "needs to know how many classes there are"),
            (LABELS[:4], {"classes": 3}, "a target for each sample, got 6 samples and 4 targets"),
            (torch.rand(4, 2), {}, "a target for each sample, got 6 samples and 4 targets"),
        ]
        for y, options, message in cases:
            with pytest.raises(dashpot.UsageError, match=f"{cls.__name__} .*{message}"):
                batch(strong(cls), FLOATS, y, **options)
        with pytest.raises(dashpot.DataError, match="must be classes 0 to 2, got 3 to 5"):
            batch(strong(cls), FLOATS, LABELS + 3, classes=3)

    @pytest.mark.parametrize("cls", MIXERS, ids=lambda cls: cls.kind())
    def test_whole_numbers_are_no_pixels(self, cls: type[Any]) -> None:
        with pytest.raises(dashpot.UsageError, match=f"{cls.__name__} needs"):
            batch(strong(cls), BYTES.long(), LABELS, classes=3)

    @pytest.mark.parametrize("cls", MIXERS, ids=lambda cls: cls.kind())
    def test_one_sample_is_its_own_partner(self, cls: type[Any]) -> None:
        out = batch(strong(cls), FLOATS[:1], LABELS[:1], classes=3)
        if cls is not augment.ResizeMix and cls is not augment.RandomMix:  # which paste the image smaller
            torch.testing.assert_close(out.x, FLOATS[:1])
        torch.testing.assert_close(out.y, torch.eye(3)[:1])


class TestArrays:
    def test_pixels_that_are_no_numbers_are_found(self) -> None:
        x = np.random.default_rng(0).random((12, 8, 8, 3)).astype(np.float32)
        y = np.arange(12) % 2
        x[4, 1, 2, 0], x[9] = np.nan, np.inf
        message = r"X must hold finite numbers, got NaN or infinity in 2 of 12 images, the first in row 4\. Fill"
        with pytest.raises(dashpot.DataError, match=message):
            dashpot.tune((x, y), trials=2, progress=False)

    @pytest.mark.parametrize("shape", [(12, 0, 8, 3), (12, 8, 0), (12, 3, 8, 0)])
    def test_images_without_pixels(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(dashpot.DataError, match="X must hold images of one pixel or more"):
            dashpot.tune((np.zeros(shape), np.arange(12) % 2), trials=2, progress=False)

    @pytest.mark.parametrize("shape", [(12, 8, 8, 8), (12, 5, 8, 5), (12, 1, 8, 8, 3)])
    def test_other_numbers_of_channels(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(dashpot.DataError, match="with 1 or 3 channels or fewer .*, got .* Choose or add channels"):
            dashpot.tune((np.zeros(shape), np.arange(12) % 2), trials=2, progress=False)
