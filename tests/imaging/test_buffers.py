"""Memory that is used again: never while anything refers to it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from dashpot.imaging import buffers

SHAPE = (2, 3, 4, 5)


@pytest.fixture(autouse=True)
def every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "LEAST", 0)
    monkeypatch.setattr(buffers, "_blocks", [])


def place(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


def empty(channels_last: bool = False) -> Tensor:
    return buffers.empty(SHAPE, torch.float32, channels_last)


def test_a_block_is_used_again_when_its_tensor_and_its_views_are_gone() -> None:
    x = empty()
    first = place(x)
    assert place(empty()) != first
    view = x[1:, 0]
    del x
    assert place(empty()) != first
    del view
    assert place(empty()) == first


def test_a_graph_keeps_its_block() -> None:
    x, weight = empty().zero_(), torch.ones(SHAPE, requires_grad=True)
    first = place(x)
    loss = (weight * x).sum()
    del x
    other = empty().fill_(7)
    assert place(other) != first
    loss.backward()
    assert weight.grad is not None
    assert not weight.grad.any()


def test_shape_type_and_format() -> None:
    for last in (False, True):
        for dtype in (torch.uint8, torch.float32):
            x = buffers.empty(SHAPE, dtype, last)
            assert x.shape == SHAPE
            assert x.dtype == dtype
            assert x.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
            assert x.data_ptr() % 64 == 0


def test_only_some_blocks_are_kept() -> None:
    many = [empty() for _ in range(3 * buffers.MOST)]
    assert len({place(x) for x in many}) == len(many)
    assert len(buffers._blocks) == buffers.MOST
    larger = buffers.empty((20, 3, 4, 5), torch.float32)
    assert larger.numel() == 1200


def test_threads_share_nothing() -> None:
    def work(number: int) -> bool:
        x = empty().fill_(number)
        return all(bool((x.add_(1) == number + k).all()) for k in range(1, 50))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(40)))
