"""Colours against one image at a time in float64, and against Pillow; the kernel and torch alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from dashpot.imaging import colour, curves, kernels
from tests.imaging.colours import agree, clip, each, equalized, grey, kinds, pictures, turned, unit

F = np.array([1.7, 0.0, 1.0, 0.4])
"""Factors of four images; 1 changes nothing."""


def enhanced(x: Tensor, make: Callable[[Tensor, int], colour.Linear], numbers: np.ndarray) -> Tensor:
    return make(torch.from_numpy(numbers), x.shape[1]).apply(x)


LINEAR: dict[str, tuple[Any, Any]] = {
    "brightness": (colour.brightness, lambda i, f: clip(f * i)),
    "contrast": (colour.contrast, lambda i, f: clip(grey(i).mean() + f * (i - grey(i).mean()))),
    "saturation": (colour.saturation, lambda i, f: clip(grey(i) + f * (i - grey(i)))),
    "hue": (colour.hue, lambda i, f: turned(i, f)),
    "grayscale": (lambda f, c: colour.grayscale(f > 1, c), lambda i, f: 0 * i + grey(i) if f > 1 else i),
    "invert": (lambda f, c: colour.invert(f > 1, c), lambda i, f: 1 - i if f > 1 else i),
}


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("name", LINEAR)
def test_linear_maps(name: str, native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    make, change = LINEAR[name]
    if not native:
        monkeypatch.setattr(kernels, "run", lambda *arguments: None)
    for shape, dtype, last in kinds():
        x = pictures(shape, dtype, last)
        before, factor = x.clone(), F[: len(x)]
        agree(enhanced(x, make, factor), x, each(x, change, factor))
        assert torch.equal(x, before)


def test_an_identity_keeps_every_bit() -> None:
    """Also of values outside the range, and what is no number."""
    x = torch.tensor([-3.0, 0.3, 7.0, torch.nan, torch.inf, 1e-30] * 2).view(2, 3, 2, 1)
    for y in (x, x.double(), x.bfloat16()):
        out = enhanced(y, colour.saturation, np.array([1.0, 0.5]))
        assert torch.equal(out[0].nan_to_num(99), y[0].nan_to_num(99))
        assert not torch.equal(out[1].nan_to_num(99), y[1].nan_to_num(99))


def test_maps_in_turn_are_one_map_clipped_once() -> None:
    x = pictures((4, 3, 6, 7), torch.float64)
    first, second = colour.contrast(torch.from_numpy(F), 3), colour.hue(torch.from_numpy(F), 3)
    third = colour.contrast(torch.from_numpy(F[::-1].copy()), 3)
    both = first.join(second)
    assert both is not None
    joined = both.join(third)
    assert isinstance(joined, colour.Linear)

    def change(image: np.ndarray, f: float, back: float) -> np.ndarray:
        image = grey(image).mean() + f * (image - grey(image).mean())
        to = np.array(colour.YIQ)
        angle = 2 * np.pi * f
        turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
        image = np.tensordot(np.linalg.inv(to) @ turn @ to, image, 1)
        return clip(grey(image).mean() + back * (image - grey(image).mean()))

    agree(joined.apply(x), x, each(x, change, F, F[::-1]))


def test_bytes_become_floats_without_rounding_between() -> None:
    x = pictures((4, 3, 6, 7), torch.uint8)
    for name, (make, change) in LINEAR.items():
        out = make(torch.from_numpy(F), 3).apply(x, unit=True)
        assert out.dtype == torch.float32
        np.testing.assert_allclose(out.numpy(), each(x, change, F), atol=1e-6, err_msg=name)
    plain = colour.identity(4, 3).apply(x, unit=True)
    assert torch.equal(plain, x.float() / 255)


def as_pillow(x: Tensor) -> list[Image.Image]:
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in x]


def from_pillow(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2).astype(int)


@pytest.mark.parametrize("name", ["Brightness", "Contrast", "Color"])
def test_as_pillow_enhances(name: str) -> None:
    """Within one level; Pillow cuts fractions off, and rounds the grey of saturation and contrast."""
    make = {"Brightness": colour.brightness, "Contrast": colour.contrast, "Color": colour.saturation}[name]
    x = pictures((4, 3, 24, 20), torch.uint8)
    theirs = [getattr(ImageEnhance, name)(i).enhance(f) for i, f in zip(as_pillow(x), F, strict=True)]
    found = enhanced(x, make, F).int().numpy()
    assert np.abs(found - from_pillow(theirs)).max() <= 1


def test_as_pillow_curves() -> None:
    x = pictures((3, 3, 40, 30), torch.uint8)
    x[1] = x[1] // 3 + 20  # a narrow range
    x[2, 0] = 77  # one value
    n = torch.zeros(3, dtype=torch.int64)
    images = as_pillow(x)
    found = curves.curve(x, n + curves.EQUALIZE, n.float()).int().numpy()
    assert np.array_equal(found, from_pillow([ImageOps.equalize(i) for i in images]))
    found = curves.curve(x, n + curves.AUTOCONTRAST, n.float()).int().numpy()
    difference = found - from_pillow([ImageOps.autocontrast(i) for i in images])
    assert difference.min() >= 0  # Pillow cuts fractions off
    assert difference.max() <= 1
    for threshold in (0, 128, 255):
        level = torch.full((3,), threshold / 255)
        found = curves.curve(x, n + curves.SOLARIZE, level).int().numpy()
        assert np.array_equal(found, from_pillow([ImageOps.solarize(i, threshold) for i in images]))
    for bits in range(1, 9):
        found = curves.curve(x, n + curves.POSTERIZE, n.float() + bits).int().numpy()
        assert np.array_equal(found, from_pillow([ImageOps.posterize(i, bits) for i in images]))


CURVES: dict[int, Any] = {
    curves.NONE: lambda i, level: i,
    curves.SOLARIZE: lambda i, level: np.where(i >= level, 1 - i, i),
    curves.POSTERIZE: lambda i, level: (
        i if level == 8 else np.floor(np.floor(i * 255 + 0.5) / 2 ** (8 - level)) * 2 ** (8 - level) / 255
    ),
    curves.EQUALIZE: lambda i, level: np.stack([equalized(c) for c in i]),
    curves.AUTOCONTRAST: lambda i, level: np.stack([(c - c.min()) / (c.max() - c.min()) for c in i]),
}


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("unit_out", [False, True])
def test_curves(native: bool, unit_out: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:
        monkeypatch.setattr(kernels, "run", lambda *arguments: None)
    for shape, dtype, last in kinds():
        if dtype == torch.bfloat16 or shape[2] == 2:
            continue  # levels between bytes are not bfloat16's
        x = pictures((5, *shape[1:]), dtype, last)
        level = np.array([0, 100.5 / 255, 3, 0, 0])
        kind = np.array([curves.NONE, curves.SOLARIZE, curves.POSTERIZE, curves.EQUALIZE, curves.AUTOCONTRAST])
        before = x.clone()
        found = curves.curve(x, torch.from_numpy(kind), torch.from_numpy(level), unit=unit_out)
        expected = each(x, lambda i, k, v: CURVES[k](i, v), kind, level)
        if unit_out and dtype == torch.uint8:
            np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
        else:
            agree(found, x, expected)
        assert torch.equal(x, before)


@pytest.mark.parametrize("native", [True, False])
def test_what_is_no_number_stays_and_does_not_count(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:
        monkeypatch.setattr(kernels, "run", lambda *arguments: None)
    x = pictures((4, 1, 8, 8), torch.float32)
    x[:, :, 2, 3] = torch.nan
    kind = torch.tensor([curves.SOLARIZE, curves.POSTERIZE, curves.EQUALIZE, curves.AUTOCONTRAST])
    out = curves.curve(x, kind, torch.tensor([0.5, 2, 0, 0]))
    assert torch.equal(out.isnan(), x.isnan())
    assert float(out[3].nan_to_num(0.5).max()) == 1


def test_curves_that_are_off_keep_every_bit() -> None:
    x = torch.tensor([-3.0, 0.3, 7.0, 1e-30]).view(1, 1, 2, 2).repeat(3, 1, 1, 1)
    kind = torch.tensor([curves.NONE, curves.SOLARIZE, curves.POSTERIZE])
    for y in (x, x.double()):
        assert torch.equal(curves.curve(y, kind, torch.tensor([0.0, 1.5, 8.0])), y)


def test_any_number_of_threads_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    x = pictures((9, 3, 17, 13), torch.float32)
    maps = colour.contrast(torch.linspace(0, 2, 9), 3)
    alone = maps.apply(x)
    monkeypatch.setattr(kernels, "SMALL", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert torch.equal(maps.apply(x), alone)
    assert np.isfinite(unit(alone)).all()
