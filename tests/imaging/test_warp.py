"""Warps: against a slow sampler, scipy.ndimage and PIL; whole pixels bit for bit; any type, memory and border."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from torch import Tensor

from dashpot.imaging import flow, matrices
from dashpot.imaging.draws import Size
from dashpot.imaging.execute import execute, joined
from dashpot.imaging.operations import Warp
from dashpot.imaging.warp import warp
from tests.imaging import slow

BORDERS = ("reflect", "zero", "replicate")
TYPES = (torch.uint8, torch.float32, torch.float64, torch.float16, torch.bfloat16)


def images(n: int, channels: int, height: int, width: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (n, channels, height, width), generator=g)
    return x.to(torch.uint8) if dtype == torch.uint8 else (x.double() / 255).to(dtype)


def some_matrices(n: int, height: int, width: int, seed: int = 0, perspective: bool = False) -> np.ndarray:
    """Maps of all kinds, that look beyond the border too."""
    r = np.random.default_rng(seed)
    size = Size(n, 1, height, width)
    found = matrices.rotations(r.uniform(-180, 180, n), size) @ matrices.shears(
        r.uniform(-20, 20, n), r.uniform(-20, 20, n), size
    )
    found = found @ matrices.zooms(r.uniform(0.5, 2, n), r.uniform(0.5, 2, n), size)
    found = found @ matrices.moves(r.uniform(-width, width, n), r.uniform(-height, height, n))
    return found @ matrices.quadrilaterals(r.uniform(0, 0.2, (n, 4, 2)), size) if perspective else found


def tolerance(dtype: torch.dtype) -> float:
    return {torch.uint8: 1.0, torch.float64: 1e-9, torch.float32: 1e-4}.get(dtype, 0.01)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_is_the_slow_sampler(border: str, dtype: torch.dtype, memory: torch.memory_format) -> None:
    for perspective, size in itertools.product((False, True), (None, (5, 13))):
        x = images(3, 3, 9, 11, dtype).to(memory_format=memory)
        before, m = x.clone(), some_matrices(3, 9, 11, perspective=perspective)
        got = warp(x, torch.from_numpy(m), size, border=border)
        expected = slow.warped(x.double().numpy(), m, size, border=border)
        assert got.dtype == dtype
        assert got.is_contiguous(memory_format=memory)
        assert np.abs(got.double().numpy() - expected).max() <= tolerance(dtype)
        assert torch.equal(x, before)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_nearest_is_the_slow_sampler(border: str, dtype: torch.dtype) -> None:
    x, m = images(4, 2, 8, 10, dtype), some_matrices(4, 8, 10, 1)
    got = warp(x, torch.from_numpy(m), border=border, mode="nearest")
    assert torch.equal(
        got.double(), torch.from_numpy(slow.warped(x.double().numpy(), m, None, None, border, "nearest"))
    )


@settings(max_examples=60, deadline=None)
@given(
    channels=st.integers(1, 5),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    border=st.sampled_from(BORDERS),
    mode=st.sampled_from(["bilinear", "nearest"]),
    dtype=st.sampled_from(TYPES),
    last=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_shape_type_and_memory(
    channels: int, height: int, width: int, border: str, mode: str, dtype: torch.dtype, last: bool, seed: int
) -> None:
    x = images(2, channels, height, width, dtype, seed)
    x = x.to(memory_format=torch.channels_last) if last else x
    m = some_matrices(2, height, width, seed)
    m[1] = np.round(m[1])  # whole moves among the maps too, of one sample of the two
    m[1, :2, :2] = np.eye(2)
    got = warp(x, torch.from_numpy(m), border=border, mode=mode)
    expected = slow.warped(x.double().numpy(), m, border=border, mode=mode)
    assert np.abs(got.double().numpy() - expected).max() <= tolerance(dtype)
    assert np.array_equal(got[1].double().numpy(), expected[1])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_whole_moves_are_copies_and_nan_harms_no_neighbour(dtype: torch.dtype, memory: torch.memory_format) -> None:
    x = images(5, 3, 9, 12, dtype).to(memory_format=memory)
    if dtype.is_floating_point:
        x[:, :, 4, 5] = torch.nan
        x[:, :, 2, 2] = torch.inf
    size = Size(5, 3, 9, 12)
    m = matrices.flips(size, np.array([0, 1, 0, 1, 0], bool), np.array([0, 0, 1, 1, 0], bool))
    got = warp(x, torch.from_numpy(m))
    expected = torch.stack([x[0], x[1].flip(2), x[2].flip(1), x[3].flip(1, 2), x[4]])
    assert torch.equal(got.nan_to_num(7.0), expected.nan_to_num(7.0))
    moved = warp(x, torch.from_numpy(matrices.moves(np.full(5, -3.0), np.full(5, 2.0))), border="zero")
    assert torch.equal(moved[:, :, :-2, 3:].nan_to_num(7.0), x[:, :, 2:, :-3].nan_to_num(7.0))
    assert bool((moved[:, :, :, :3] == 0).all())
    assert bool((moved[:, :, -2:] == 0).all())


def test_quarter_turns_of_squares_are_copies() -> None:
    x = images(4, 2, 7, 7, torch.float32)
    m = matrices.rotations(np.array([90.0, 180.0, 270.0, -90.0]), Size(4, 2, 7, 7))
    got = warp(x, torch.from_numpy(m))
    assert torch.equal(got, torch.stack([torch.rot90(x[i], k, (1, 2)) for i, k in enumerate((1, 2, 3, -1))]))


@pytest.mark.parametrize(
    ("border", "theirs"), [("reflect", "mirror"), ("replicate", "nearest"), ("zero", "grid-constant")]
)
def test_is_scipy(border: str, theirs: str) -> None:
    x, m = images(3, 2, 12, 9), some_matrices(3, 12, 9, 3)
    got = warp(x, torch.from_numpy(m), border=border).numpy()
    turned = m[:, [1, 0, 2]][:, :, [1, 0, 2]]  # scipy's coordinates are (row, column)
    for k, c in itertools.product(range(3), range(2)):
        expected = ndimage.affine_transform(x[k, c].numpy(), turned[k], order=1, mode=theirs)
        np.testing.assert_allclose(got[k, c], expected, atol=1e-9)


def test_fields_are_scipy_map_coordinates() -> None:
    g = torch.Generator().manual_seed(0)
    rows, columns, spacing = flow.knots_of(12, 15, 3.0)
    knots = torch.randn(2, 2, rows, columns, generator=g)
    x, m = images(2, 1, 12, 15), some_matrices(2, 12, 15, 5)
    got = warp(x, torch.from_numpy(m), None, knots, spacing, border="reflect").numpy()
    bend = flow.field(knots, spacing, 12, 15).double().numpy()
    for k in range(2):
        i, j = np.mgrid[:12, :15]
        u, v, _ = np.einsum("ab,bij->aij", m[k], np.stack([j + bend[k, 0], i + bend[k, 1], np.ones((12, 15))]))
        expected = ndimage.map_coordinates(x[k, 0].numpy(), [v, u], order=1, mode="mirror")
        np.testing.assert_allclose(got[k, 0], expected, atol=1e-5)


def test_fields_are_sums_of_cubic_splines_with_the_deviation_of_their_knots() -> None:
    from scipy.interpolate import BSpline

    g = torch.Generator().manual_seed(0)
    rows, columns, spacing = flow.knots_of(20, 17, 2.5)
    knots = torch.randn(300, 2, rows, columns, generator=g)
    got = flow.field(knots, spacing, 20, 17).numpy()
    bump = BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)
    parts = [
        np.nan_to_num(bump(np.arange(pixels)[:, None] / spacing + 1 - np.arange(count)))
        for pixels, count in ((20, rows), (17, columns))
    ]
    expected = np.einsum("ia,ncab,jb->ncij", parts[0], knots.numpy(), parts[1])
    np.testing.assert_allclose(got, expected / (151 / 315), atol=1e-5)
    assert abs(got.std() - 1) < 0.03
    np.testing.assert_allclose(parts[0].sum(1), 1)  # the grid covers the whole picture
    np.testing.assert_allclose(parts[1].sum(1), 1)


@pytest.mark.parametrize("degrees", [30.0, -75.0, 90.0])
def test_angles_turn_as_in_pil(degrees: float) -> None:
    x = images(1, 1, 16, 16, torch.uint8)
    m = matrices.rotations(np.array([degrees]), Size(1, 1, 16, 16))
    got = warp(x, torch.from_numpy(m), border="zero")[0, 0].numpy().astype(int)
    theirs = np.asarray(Image.fromarray(x[0, 0].numpy()).rotate(degrees, Image.Resampling.BILINEAR)).astype(int)
    inside = np.hypot(*(np.mgrid[:16, :16] - 7.5)) < 6.5  # PIL leaves pixels near the edge black
    assert np.abs(got - theirs)[inside].max() <= 1


def test_resized_windows_are_torchs_interpolation() -> None:
    from dashpot.techniques.augment.geometry.random_resized_crop import windows

    x, whole = images(2, 3, 10, 14, torch.float32), np.ones(2)
    for out in ((16, 16), (9, 20)):
        m = windows(whole, whole, whole * 0, whole * 0, Size(2, 3, 10, 14), out)
        theirs = torch.nn.functional.interpolate(x, out, mode="bilinear", align_corners=False)
        torch.testing.assert_close(execute(x, [Warp(torch.from_numpy(m), out)]), theirs, rtol=1e-5, atol=1e-5)
    part = windows(whole * 0.25, whole, whole, whole * 0, Size(2, 3, 10, 14), (10, 14))  # the upper right quarter
    theirs = torch.nn.functional.interpolate(x[:, :, :5, 7:], (10, 14), mode="bilinear", align_corners=False)
    got = execute(x, [Warp(torch.from_numpy(part))])
    torch.testing.assert_close(got[:, :, :-1, 1:], theirs[:, :, :-1, 1:], rtol=1e-5, atol=1e-5)


def test_the_corners_of_a_perspective_are_where_they_are_asked() -> None:
    size = Size(6, 1, 11, 21)
    inwards = np.random.default_rng(0).uniform(0, 0.4, (6, 4, 2))
    m = matrices.quadrilaterals(inwards, size)
    for k in range(6):
        for corner, (sx, sy), (cx, cy) in zip(
            range(4), ((1, 1), (-1, 1), (-1, -1), (1, -1)), ((0, 0), (20, 0), (20, 10), (0, 10)), strict=True
        ):
            moved = cx + sx * inwards[k, corner, 0] * 21, cy + sy * inwards[k, corner, 1] * 11
            u, v, w = m[k] @ np.array([*moved, 1.0])
            np.testing.assert_allclose([u / w, v / w], [cx, cy], atol=1e-9)
    still = matrices.quadrilaterals(np.zeros((1, 4, 2)), size)[0]
    np.testing.assert_allclose(still / still[2, 2], np.eye(3), atol=1e-12)


@pytest.mark.parametrize("perspective", [False, True])
def test_the_inverse_gives_the_image_back_away_from_the_border(perspective: bool) -> None:
    i, j = torch.meshgrid(torch.arange(32.0), torch.arange(40.0), indexing="ij")
    x = torch.stack([torch.sin(i / 6) + torch.cos(j / 7), i * j / 500])[None].double()
    r = np.random.default_rng(0)
    size = Size(1, 2, 32, 40)
    m = matrices.rotations(np.array([12.0]), size) @ matrices.zooms(np.array([1.1]), np.array([0.95]), size)
    m = m @ matrices.quadrilaterals(r.uniform(0, 0.05, (1, 4, 2)), size) if perspective else m
    there = warp(x, torch.from_numpy(m))
    back = warp(there, torch.from_numpy(np.linalg.inv(m)))
    assert float((back - x)[:, :, 10:-10, 10:-10].abs().max()) < 0.02


def test_warps_join_to_one_sampling_where_they_agree() -> None:
    size = Size(4, 1, 9, 9)
    turn = Warp(
        torch.from_numpy(matrices.rotations(np.array([10.0, -20, 30, 5]), size)), border="reflect", mode="bilinear"
    )
    flip = Warp(torch.from_numpy(matrices.flips(size, np.array([1, 0, 1, 0], bool))))
    crop = Warp(torch.from_numpy(matrices.moves(np.full(4, 2.0), np.full(4, -1.0))), (7, 8), border="reflect")
    (one,) = joined([turn, flip, crop])
    x = images(4, 2, 9, 9)
    assert isinstance(one, Warp)
    assert one.size == (7, 8)
    assert one.resized(size) == Size(4, 1, 7, 8)
    m = turn.matrix.numpy() @ flip.matrix.numpy() @ crop.matrix.numpy()
    expected = slow.warped(x.numpy(), m, (7, 8), border="reflect")
    np.testing.assert_allclose(execute(x, [turn, flip, crop]).numpy(), expected, atol=1e-9)
    zero = Warp(turn.matrix, border="zero", mode="bilinear")
    assert len(joined([turn, flip, zero])) == 2
    bent = Warp(turn.matrix, knots=torch.zeros(4, 2, 5, 5), spacing=4.0, border="reflect", mode="bilinear")
    assert len(joined([turn, bent])) == 1
    assert len(joined([bent, turn])) == 2


def test_bytes_become_floats_in_one_where_asked() -> None:
    x = images(3, 3, 8, 8, torch.uint8)
    m = torch.from_numpy(some_matrices(3, 8, 8))
    got = execute(x, [Warp(m, border="reflect")], unit=True)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, warp(x, m).float() / 255, rtol=0, atol=0.51 / 255)
    torch.testing.assert_close(execute(x, [], unit=True), x.float() / 255)


def test_gradients_reach_the_pixels() -> None:
    x = images(2, 1, 5, 6).requires_grad_()
    m = torch.from_numpy(some_matrices(2, 5, 6))
    assert torch.autograd.gradcheck(lambda v: warp(v, m, border="reflect"), x)
