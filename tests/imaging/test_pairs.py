"""Samples mixed with partners, by the C++ kernels, against torch; and outputs so large that caches are passed by."""

from __future__ import annotations

import math

import pytest
import torch

from dashpot.imaging import kernels, matrices, pairs, warp
from dashpot.imaging.draws import Size

SMALL, WIDE = (5, 3, 9, 7), (3, 3, 700, 702)
CAN = kernels.library("pairs") is not None
pytestmark = pytest.mark.skipif(not CAN, reason="there is no C++ compiler")


def images(shape: tuple[int, ...], dtype: torch.dtype, last: bool) -> torch.Tensor:
    x = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    x = x if dtype == torch.uint8 else x.float() / 255
    return x.to(memory_format=torch.channels_last) if last else x


@pytest.mark.parametrize("shape", [SMALL, WIDE], ids=["small", "past the caches"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("last", [False, True])
def test_boxes_of_partners_are_pasted_bit_for_bit(shape: tuple[int, ...], dtype: torch.dtype, last: bool) -> None:
    x = images(shape, dtype, last)
    kept, (n, _, h, w) = x.clone(), shape
    order = torch.arange(n).flip(0)
    boxes = torch.tensor([[0, h, 0, w], [2, 5, 1, w - 1], [3, 3, 2, 5], [h - 1, h, 0, 1], [1, h, 2, 3]])[:n]
    found = pairs.pasted(x, order, boxes)
    assert found is not None
    for k, (top, bottom, left, right) in enumerate(boxes.tolist()):
        wanted = x[k].clone()
        wanted[:, top:bottom, left:right] = x[order[k], :, top:bottom, left:right]
        assert torch.equal(found[k], wanted)
    assert found.stride() == x.stride()
    assert torch.equal(x, kept)


@pytest.mark.parametrize("shape", [SMALL, WIDE, (6, 11), (4, 5, 3)], ids=str)
def test_blends_are_those_of_lerp(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    order, share = torch.arange(len(x)).roll(1), torch.linspace(0, 1, len(x))
    found = pairs.blended(x, order, share)
    assert found is not None
    wanted = torch.lerp(x[order].double(), x.double(), share.double().view(-1, *[1] * (x.ndim - 1)))
    assert torch.allclose(found.double(), wanted, atol=1e-6)
    assert torch.equal(found[0], x[order[0]])
    assert torch.equal(found[-1], x[-1])
    assert pairs.blended(x.double(), order, share) is None
    assert pairs.blended(x.clone().requires_grad_(), order, share) is None


@pytest.mark.parametrize("shape", [SMALL, (6, 11)], ids=str)
def test_rows_with_gaps_between_them_mix_as_they_would_without(shape: tuple[int, ...]) -> None:
    """As of a slice with a step: what came first must not have been written over when it is another's partner."""
    x = torch.randn(2 * shape[0], *shape[1:], generator=torch.Generator().manual_seed(0))[::2]
    kept, order, share = x.clone(), torch.arange(len(x)).roll(1), torch.full((len(x),), 0.5)
    found = pairs.blended(x, order, share)
    assert found is not None
    assert torch.allclose(found, (kept + kept[order]) / 2, atol=1e-6)
    assert torch.equal(x, kept)
    if x.ndim == 4:
        boxes = torch.tensor([[1, 4, 2, 5]]).expand(len(x), 4)
        found = pairs.pasted(x, order, boxes)
        assert found is not None
        wanted = kept.clone()
        wanted[:, :, 1:4, 2:5] = kept[order][:, :, 1:4, 2:5]
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("border", ["reflect", "zero"])
def test_whole_moves_past_the_caches_are_exact(dtype: torch.dtype, last: bool, border: str) -> None:
    n, _, h, w = shape = (12, 3, 700, 702) if dtype == torch.uint8 else WIDE
    x, size = images(shape, dtype, last), Size(*shape)
    maps = matrices.moves(*([[0.0, 3, -700][k % 3] for k in range(n)] for _ in range(2)))
    maps = matrices.flips(size, [k % 2 == 1 for k in range(n)], [k % 4 == 2 for k in range(n)]) @ maps
    found = warp.warp(x, matrices.tensor(maps), border=border)
    for k in range(3):
        place = maps[k, 0, 0] * torch.arange(w) + maps[k, 0, 2], maps[k, 1, 1] * torch.arange(h) + maps[k, 1, 2]
        ix, iy = mirrored(place[0], w), mirrored(place[1], h)
        wanted = x[k][:, iy][:, :, ix]
        if border == "zero":
            inside = [(at >= 0) & (at < length) for at, length in zip(place, (w, h), strict=True)]
            wanted = wanted * (inside[1][:, None] & inside[0])
        assert torch.equal(found[k], wanted)
    assert found.stride() == x.stride()


def mirrored(at: torch.Tensor, length: int) -> torch.Tensor:
    at = at.long().remainder(2 * (length - 1))
    return torch.minimum(at, 2 * (length - 1) - at)


def test_boxes_have_the_area_that_the_share_leaves() -> None:
    generator, (h, w) = torch.Generator().manual_seed(0), (9, 14)
    share, centres = torch.rand(3, 40, generator=generator), torch.rand(3, 40, 2, generator=generator)
    share[0, :2] = torch.tensor([0.0, 1.0])
    found = pairs.boxes(share, centres, h, w)
    assert found is not None
    for k, (one, (y, x)) in enumerate(zip(share.flatten().tolist(), centres.reshape(-1, 2).tolist(), strict=True)):
        tall, wide = round(math.sqrt(1 - one) * h), round(math.sqrt(1 - one) * w)
        top, left = math.floor(y * h) - tall // 2, math.floor(x * w) - wide // 2
        bottom, right, top, left = min(top + tall, h), min(left + wide, w), max(top, 0), max(left, 0)
        assert found[0].reshape(-1, 4)[k].tolist() == [top, bottom, left, right]
        assert float(found[1].flatten()[k]) == pytest.approx(1 - (bottom - top) * (right - left) / (h * w), abs=1e-7)
