"""What colour, noise and erasing techniques draw: each image its own, within the bounds of their fields."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import dashpot
from dashpot.augment import (
    AutoContrast,
    Blur,
    Brightness,
    ColorJitter,
    Contrast,
    Cutout,
    Equalize,
    Grayscale,
    GridMask,
    Hue,
    Invert,
    PixelNoise,
    Posterize,
    RandomErasing,
    SaltAndPepper,
    Saturation,
    Sharpness,
    Solarize,
)
from dashpot.core.technique import Technique
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.execute import execute
from tests.imaging.colours import clip, grey, pictures, turned, unit

N = 300


def drawn(technique: Technique, x: Tensor) -> Tensor:
    """What a session makes of a batch; its labels stay."""
    model = torch.nn.Linear(1, 1)
    with technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), seed=3) as session:
        y = torch.arange(len(x))
        batch = session.batch(x, y)
        assert batch.y is y
        out = batch.x
        assert isinstance(out, Tensor)
        return out


def test_factors_are_uniform_and_each_images_own() -> None:
    factor = (
        drawn(Brightness(strength=0.6), torch.full((N, 1, 2, 2), 0.5, dtype=torch.float64))[:, 0, 0, 0].numpy() / 0.5
    )
    assert len(np.unique(factor)) == N
    assert 0.4 <= factor.min() < 0.45
    assert 1.55 < factor.max() <= 1.6
    assert abs(factor.mean() - 1) < 0.06


@pytest.mark.parametrize(
    "technique",
    [
        ColorJitter(0.5, degrees=20, p=0.3),
        *(Brightness(0.5, p=0.3), Contrast(0.5, p=0.3), Saturation(0.5, p=0.3), Hue(90, p=0.3), Grayscale(0.3)),
        *(Invert(0.3), Solarize(0.3, threshold=0.0), Posterize(0.4, bits=1), Equalize(0.3), AutoContrast(0.3)),
        *(Blur(2.0, p=0.3), Sharpness(0.9, p=0.3), PixelNoise(0.2, p=0.3), SaltAndPepper(0.3, p=0.3)),
        *(Cutout(0.5, p=0.3), RandomErasing(0.3), GridMask(0.5, p=0.3)),
    ],
    ids=lambda t: t.kind(),
)
def test_p_is_the_share_of_images(technique: Technique) -> None:
    x = pictures((N, 3, 16, 16), torch.float32) * 0.8 + 0.1
    changed = (drawn(technique, x) != x).flatten(1).any(1).double().mean()
    assert 0.2 < float(changed) < 0.42


def test_hue_keeps_the_grey() -> None:
    x = pictures((20, 3, 6, 6), torch.float64) * 0.2 + 0.4
    for before, after in zip(unit(x), unit(drawn(Hue(180), x)), strict=True):
        np.testing.assert_allclose(grey(after), grey(before), atol=1e-3)


def test_bits_of_posterize() -> None:
    x = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(N, 1, 1, 1)
    levels = {len(image.unique()) for image in drawn(Posterize(1.0, bits=5), x)}
    assert levels == {32, 64, 128, 256}


def erased(technique: Technique, h: int = 32, w: int = 24) -> np.ndarray:
    """Which pixels each image lost, bool [n, h, w]; all channels alike."""
    out = drawn(technique, torch.ones(N, 3, h, w))
    gone = out == 0
    assert torch.equal(gone.any(1), gone.all(1))
    return gone[:, 0].numpy()


def test_cutout_is_a_square_that_the_border_cuts() -> None:
    gone = erased(Cutout(0.5, fill="zero"))
    heights, widths = gone.any(2).sum(1), gone.any(1).sum(1)
    assert np.array_equal(heights * widths, gone.sum((1, 2)))  # a rectangle
    assert heights.max() == widths.max() == 12
    assert heights.min() == widths.min() == 6  # at least half of it along each axis
    assert gone.any(0).all()  # no pixel is always spared


def test_random_erasing_is_a_rectangle_of_the_area() -> None:
    gone = erased(RandomErasing(1.0, area=0.4, least=0.05, ratio=2.0, fill="zero"))
    heights, widths, share = gone.any(2).sum(1), gone.any(1).sum(1), gone.mean((1, 2))
    assert np.array_equal(heights * widths, gone.sum((1, 2)))
    assert 0.03 < share.min() < 0.1
    assert 0.35 < share.max() < 0.45
    assert np.abs(np.log(heights / widths)).max() < np.log(2) + 0.35  # whole pixels


def test_grid_mask_erases_its_share() -> None:
    gone = erased(GridMask(0.4, p=1.0, shortest=0.25, longest=0.5), 96, 96)
    assert abs(gone.mean() - 0.6**2) < 0.03
    assert gone.any((1, 2)).all()


def test_bounds_that_contradict_each_other() -> None:
    with pytest.raises(dashpot.ConfigError, match=r"RandomErasing\.least must be at most area"):
        RandomErasing(area=0.1, least=0.2)
    with pytest.raises(dashpot.ConfigError, match=r"GridMask\.shortest must be at most longest"):
        GridMask(shortest=0.9, longest=0.5)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_color_jitter_is_four_changes_clipped_once(channels: int) -> None:
    x = pictures((40, channels, 7, 6), torch.float64) * 0.5 + 0.2
    technique = ColorJitter(0.3, degrees=40, p=0.7)
    found = unit(execute(x, technique.operations(SampleDraws(7, 40), Size(*x.shape))))
    chosen, *changes = SampleDraws(7, 40).uniforms(5)
    for image, out, on, b, c, s, h in zip(unit(x), found, chosen < 0.7, *changes, strict=True):
        expected = image
        if on:
            expected = image * (0.7 + 0.6 * b)
            mean = grey(expected).mean()
            expected = mean + (0.7 + 0.6 * c) * (expected - mean)
            if channels > 1:
                expected = grey(expected) + (0.7 + 0.6 * s) * (expected - grey(expected))
            expected = clip(turned(expected, 40 * (2 * h - 1) / 360))
        np.testing.assert_allclose(out, expected, atol=1e-6)
    assert len({out.tobytes() for out in found}) == 40
