"""Each geometric technique by itself: what it draws, in which range, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dashpot import augment
from dashpot.core.errors import ConfigError, DataError
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.execute import execute
from dashpot.imaging.operations import Warp
from dashpot.techniques.augment.picture import PictureTechnique

SIZE = Size(4000, 3, 20, 30)
ALL = [
    augment.HorizontalFlip(p=0.5),
    augment.VerticalFlip(p=0.5),
    augment.Rotation(degrees=30),
    augment.Translation(fraction=0.2),
    augment.Zoom(scale=0.3),
    augment.Shear(degrees=15),
    augment.RandomCrop(padding=3),
    augment.RandomCrop(padding=0.2),
    augment.RandomResizedCrop(scale=0.4),
    augment.Perspective(distortion=0.3),
    augment.Elastic(alpha=1.0, sigma=3.0),
    augment.Elastic(alpha=0.08, sigma=0.25, unit="side"),
]


def drawn(technique: PictureTechnique, size: Size = SIZE, key: int = 7) -> Warp:
    (operation,) = technique.operations(SampleDraws(key, size.n), size)
    assert isinstance(operation, Warp)
    return operation


def matrix(technique: PictureTechnique, size: Size = SIZE) -> np.ndarray:
    return drawn(technique, size).matrix.numpy()


def test_angles_are_uniform_and_the_middle_stays() -> None:
    m = matrix(augment.Rotation(degrees=30))
    angles = np.rad2deg(np.arctan2(m[:, 1, 0], m[:, 0, 0]))
    assert np.abs(angles).max() <= 30
    np.testing.assert_allclose(np.quantile(angles, [0.25, 0.5, 0.75]), [-15, 0, 15], atol=1.5)
    np.testing.assert_allclose(m @ np.array([14.5, 9.5, 1.0]), np.tile([14.5, 9.5, 1.0], (4000, 1)))


def test_moves_are_whole_where_asked() -> None:
    m = matrix(augment.Translation(fraction=0.2))
    assert set(np.unique(m[:, 0, 2])) == set(range(-6, 7))
    assert set(np.unique(m[:, 1, 2])) == set(range(-4, 5))
    fine = matrix(augment.Translation(fraction=0.2, whole=False))
    assert 5.9 < fine[:, 0, 2].max() <= 6
    assert (np.round(fine[:, 0, 2]) != fine[:, 0, 2]).mean() > 0.99


def test_factors_are_as_often_small_as_large() -> None:
    m = matrix(augment.Zoom(scale=1.0))
    factor = 1 / m[:, 0, 0]
    assert 0.5 <= factor.min() < 0.51
    assert 1.98 < factor.max() <= 2
    assert abs((factor > 1).mean() - 0.5) < 0.03
    np.testing.assert_allclose(m[:, 0, 0], m[:, 1, 1])


def test_shear_acts_along_its_axis() -> None:
    for axis, moves in (("x", (True, False)), ("y", (False, True)), ("both", (True, True))):
        m = matrix(augment.Shear(degrees=15, axis=axis))
        assert (bool(m[:, 0, 1].any()), bool(m[:, 1, 0].any())) == moves
    assert abs(np.abs(m[:, 0, 1]).max() - np.tan(np.deg2rad(15))) < 0.001


def test_crops_reach_every_place_equally_often() -> None:
    m = matrix(augment.RandomCrop(padding=3))
    places, counts = np.unique(m[:, 0, 2], return_counts=True)
    assert list(places) == [-3, -2, -1, 0, 1, 2, 3]
    assert counts.min() > 4000 / 7 * 0.85
    window = drawn(augment.RandomCrop(padding=0, size=16))
    assert window.size == (16, 16)
    assert set(np.unique(window.matrix[:, 0, 2])) == set(range(15))
    assert set(np.unique(window.matrix[:, 1, 2])) == set(range(5))


def test_windows_have_their_areas_shapes_and_places() -> None:
    m = matrix(augment.RandomResizedCrop(scale=0.3, ratio=1.2))
    wide, high = m[:, 0, 0], m[:, 1, 1]
    assert wide.max() <= 1
    assert high.max() <= 1
    uncut = (wide < 1) & (high < 1)
    area, ratio = (wide * high)[uncut], (wide / high)[uncut]
    assert 0.3 <= area.min() < 0.32
    assert 1 / 1.2 <= ratio.min() < 0.84
    assert 1.19 < ratio.max() <= 1.2
    left, right = m[:, 0, 2] + 0.5 - wide / 2, m[:, 0, 2] + 0.5 - wide / 2 + 30 * wide
    assert left.min() > -1e-9
    assert right.max() < 30 + 1e-9


@pytest.mark.parametrize("technique", ALL, ids=lambda t: t.kind())
def test_samples_have_draws_of_their_own_that_type_memory_and_company_do_not_change(
    technique: PictureTechnique,
) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (1, 2, 15, 19), generator=g, dtype=torch.uint8).repeat(16, 1, 1, 1)
    size = Size(16, 2, 15, 19)
    found = execute(x, technique.operations(SampleDraws(5, 16), size))
    assert len({image.numpy().tobytes() for image in found}) > (2 if "flip" in technique.kind() else 10) - 1
    floats = execute(x.float(), technique.operations(SampleDraws(5, 16), size))
    last = execute(x.to(memory_format=torch.channels_last), technique.operations(SampleDraws(5, 16), size))
    fewer = execute(x[:5], technique.operations(SampleDraws(5, 5), Size(5, 2, 15, 19)))
    assert float((floats - found.float()).abs().max()) <= 0.55  # half a level, and six bits behind the byte
    assert torch.equal(last, found)
    if technique.kind() != "elastic":  # its grid is drawn for the batch as a whole
        assert float((fewer.float() - found[:5].float()).abs().max()) <= 1


@pytest.mark.parametrize("technique", ALL, ids=lambda t: t.kind())
def test_off_values_do_nothing_at_all(technique: PictureTechnique) -> None:
    for name, off in technique.off_values().items():
        silent = type(technique)(**{name: off})
        assert list(silent.operations(SampleDraws(5, 16), Size(16, 3, 8, 8))) == []


@pytest.mark.parametrize(
    "technique", [t for t in ALL if hasattr(t, "border") and hasattr(t, "p")], ids=lambda t: t.kind()
)
def test_a_probability_leaves_the_others_bit_for_bit(technique: PictureTechnique) -> None:
    fields = {name: getattr(technique, name) for name in type(technique).fields()} | {"p": 0.5}
    x = torch.rand(64, 3, 12, 12)
    x[:, 0, 5, 5] = torch.nan
    found = execute(x, type(technique)(**fields).operations(SampleDraws(2, 64), Size(64, 3, 12, 12)))
    same = (found.nan_to_num(5.0) == x.nan_to_num(5.0)).flatten(1).all(1)
    assert 16 < int(same.sum()) < 50


def test_images_smaller_than_the_crop_are_refused() -> None:
    with pytest.raises(DataError, match=r"at least 16 pixels .* got 12 x 40"):
        augment.RandomCrop(padding=1, size=16).operations(SampleDraws(0, 2), Size(2, 3, 12, 40))


def test_fields_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"Rotation.border must be one of reflect, zero, replicate, got 'wrap'"):
        augment.Rotation(border="wrap")
    with pytest.raises(ConfigError, match=r"RandomResizedCrop.scale must be a number in \(0, 1\]"):
        augment.RandomResizedCrop(scale=0)
    with pytest.raises(ConfigError, match=r"RandomCrop.padding must be a part below 1, or a whole number .* got 2.5"):
        augment.RandomCrop(padding=2.5)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (16, 24), (9, 40)])
def test_a_padding_below_one_is_a_part_of_each_side(height: int, width: int) -> None:
    (warp,) = augment.RandomCrop(padding=0.125).operations(SampleDraws(3, 4000), Size(4000, 1, height, width))
    moves = warp.matrix[:, :2, 2].numpy()
    for found, side in zip(moves.T, (width, height), strict=True):
        most = round(side / 8)
        assert sorted(set(found)) == list(range(-most, most + 1))
    whole = augment.RandomCrop(padding=4).operations(SampleDraws(3, 50), Size(50, 1, 32, 32))
    part = augment.RandomCrop(padding=0.125).operations(SampleDraws(3, 50), Size(50, 1, 32, 32))
    assert torch.equal(whole[0].matrix, part[0].matrix)


def test_a_field_in_parts_of_the_side_is_one_in_pixels() -> None:
    size = Size(5, 1, 20, 30)
    (part,) = augment.Elastic(alpha=0.1, sigma=0.25, unit="side").operations(SampleDraws(3, 5), size)
    (pixels,) = augment.Elastic(alpha=2.0, sigma=5.0).operations(SampleDraws(3, 5), size)
    assert part.spacing == pixels.spacing
    assert torch.equal(part.knots, pixels.knots)
