"""The C++ kernel against the torch path, and against itself with more threads."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from dashpot.imaging import matrices, native, warp
from dashpot.imaging.draws import Size

pytestmark = pytest.mark.skipif(native.kernel() is None, reason="there is no C++ compiler")
SHAPES = ((3, 32, 32), (1, 28, 28), (3, 17, 40), (4, 9, 33), (5, 12, 8), (2, 1, 30), (3, 25, 1), (64, 6, 6))


def arguments(channels: int, height: int, width: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Copies, affine maps and perspectives in one batch."""
    n = 8
    r = np.random.default_rng(channels)
    x = torch.from_numpy(r.integers(0, 256, (n, channels, height, width), dtype=np.uint8))
    size = Size(n, channels, height, width)
    m = matrices.rotations(r.uniform(-90, 90, n), size) @ matrices.zooms(*r.uniform(0.6, 1.6, (2, n)), size)
    m[:2] = matrices.flips(size, np.arange(n) == 0, np.arange(n) == 1)[:2]
    m[2] = matrices.moves(np.full(n, -3.0), np.full(n, 4.0))[2]
    m[3] = matrices.rotations(np.full(n, 90.0), size)[3]
    if min(height, width) > 2:  # else the horizon is in the picture, and places are thousands of pixels away
        m[4] = m[4] @ matrices.quadrilaterals(r.uniform(0, 0.2, (n, 4, 2)), size)[4]
    return (x if dtype == torch.uint8 else x.float() / 255), torch.from_numpy(m)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["bytes", "floats", "bytes to floats"])
@pytest.mark.parametrize("border", native.BORDERS)
def test_gives_what_torch_gives(
    shape: tuple[int, int, int], kind: str, border: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, m = arguments(*shape, torch.float32 if kind == "floats" else torch.uint8)
    g = torch.Generator().manual_seed(0)
    bend = torch.randn(8, 2, 6, 6, generator=g) * torch.tensor([0.0, 1, 0, 1, 1, 1, 1, 1]).view(-1, 1, 1, 1)
    spacing = max(shape[1:]) / 2.5
    for last, mode, size, knots in itertools.product(
        (False, True), ("bilinear", "nearest"), (None, (7, 11)), (None, bend)
    ):
        if mode == "nearest" and knots is not None:
            continue  # a place half-way between two pixels is rounded either way
        given = x.to(memory_format=torch.channels_last) if last else x
        options = {"border": border, "mode": mode, "unit": kind == "bytes to floats"}
        monkeypatch.setattr(warp, "can_warp", native.can_warp)
        ours = warp.warp(given, m, size, knots, spacing, **options)
        monkeypatch.setattr(warp, "can_warp", lambda x: False)
        theirs = warp.warp(given, m, size, knots, spacing, **options)
        assert ours.dtype == theirs.dtype
        assert ours.stride() == theirs.stride()
        apart = (ours.double() - theirs.double()).abs()
        most, mean = {"bytes": (1.0, 2e-2), "floats": (2e-4, 1e-5), "bytes to floats": (4e-4, 1e-4)}[kind]
        assert float(apart.max()) <= most  # blends of bytes have six bits beyond the byte
        assert float(apart.mean()) <= mean
        assert torch.equal(ours[[0, 2]], theirs[[0, 2]])  # copies, bent by nothing


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_threads_change_no_bit(kind: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    x, m = arguments(3, 21, 30, kind)
    one = warp.warp(x, m)
    for threads in (2, 3, 20):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert torch.equal(warp.warp(x, m), one)


def test_takes_views_that_are_neither_memory_format() -> None:
    x, m = arguments(3, 16, 20, torch.uint8)
    view = x.transpose(0, 1).contiguous().transpose(0, 1)[:, :, :, ::2]
    assert torch.equal(warp.warp(view, m), warp.warp(view.contiguous(), m))
