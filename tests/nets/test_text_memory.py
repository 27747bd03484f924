"""What networks for texts remember, and their sums, against what is counted and summed anew."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from dashpot.nets.text_bag import TextBag
from dashpot.nets.text_memory import Remembered
from dashpot.nets.text_sums import WeightedSums
from dashpot.texts.lexicon import Lexicon

TEXTS = [["a", "red", "car"], ["a", "red", "house"], ["the", "car"], ["the", "the", "red", "cart"], []]


def bags(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row: its numbers above 0 that are even, with weights."""
    kept = [row[(row > 0) & (row % 2 == 0)].long() for row in x]
    sizes = torch.tensor([len(ids) for ids in kept])
    return torch.cat(kept), sizes.cumsum(0) - sizes, torch.cat(kept) / 7


def same(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(p, q) and p.dtype == q.dtype for p, q in zip(a, b, strict=True))


def test_only_rows_that_are_new_are_counted() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 9, (20, 6), generator=g, dtype=torch.int32)
    x[3], x[4] = x[5], 0  # one twice, and one without features
    asked: list[Tensor] = []

    def count(new: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        asked.append(new)
        return bags(new)

    memory = Remembered()
    for rows in (x[:8], x[4:14], x.flip(0), x):
        assert same(memory.bags(rows, count), bags(rows))
    rows_asked = [tuple(row.tolist()) for row in torch.cat(asked)]
    assert len(set(rows_asked)) == len(rows_asked)
    wide = torch.cat([x, torch.zeros(20, 3, dtype=x.dtype)], dim=1).long()
    assert same(memory.bags(wide, lambda new: pytest.fail("zeros behind a row say nothing")), bags(x))
    for row in torch.tensor([[[2, 0, 4]], [[2, 4, 0]]]):  # zeros within it do
        asked.clear()
        memory.bags(row, count)
        assert asked


def test_a_full_memory_begins_anew() -> None:
    memory = Remembered(most=10)
    for i in range(1, 9):
        x = torch.full((2, 4), 2 * i)
        x[1, 0] = 1
        assert same(memory.bags(x, bags), bags(x))
        assert memory.held == 7
        assert len(memory) == 2
    x = torch.full((3, 4), 2) + 2 * torch.arange(3)[:, None]
    assert same(memory.bags(x, bags), bags(x))  # more than it may hold
    assert memory.held == 0


def test_networks_remember_together_until_their_tables_differ() -> None:
    lexicon = Lexicon.fit(TEXTS)
    x = torch.from_numpy(lexicon.transform(TEXTS))
    first = TextBag.of(lexicon, 2)
    second = copy.deepcopy(first)
    third = pickle.loads(pickle.dumps(first))
    before = first.bags(x)
    other = TextBag.of(lexicon, 3)
    assert same(other.bags(x), before)
    assert other._memory._remembered is first._memory._remembered
    assert same(second.bags(x), before)
    assert same(third.bags(x), before)
    second.begin(x[:3], torch.tensor([0, 1, 0]))  # other frequencies
    assert same(second.bags(x), second._bags(x))
    assert not torch.equal(second.bags(x)[2], before[2])
    assert same(first.bags(x), before)
    second.load_state_dict(first.state_dict())
    assert same(second.bags(x), before)
    double = copy.deepcopy(first).double()
    assert double.bags(x)[2].dtype is torch.float64
    assert same(first.bags(x[:0]), first._bags(x[:0]))


@pytest.mark.parametrize("weighted", [True, False])
def test_sums_and_their_gradient_are_those_of_a_loop(weighted: bool) -> None:
    g = torch.Generator().manual_seed(0)
    sums = WeightedSums(11, 3).double()
    ids, starts = torch.randint(0, 11, (14,), generator=g), torch.tensor([0, 0, 4, 5, 14])
    weights = torch.rand(14, generator=g, dtype=torch.float64) if weighted else None
    out = sums(ids, starts, weights)
    part = torch.rand(5, 3, generator=g, dtype=torch.float64)
    torch.autograd.backward((out * part).sum())
    wanted, slope = torch.zeros(5, 3, dtype=torch.float64), torch.zeros(11, 3, dtype=torch.float64)
    for i, (start, end) in enumerate(zip(starts.tolist(), [*starts.tolist()[1:], 14], strict=True)):
        for j in range(start, end):
            weight = 1.0 if weights is None else weights[j]
            wanted[i] += weight * sums.weight.detach()[ids[j]]
            slope[ids[j]] += weight * part[i]
    assert isinstance(sums, nn.EmbeddingBag)
    assert torch.allclose(out, wanted)
    assert sums.weight.grad is not None
    assert torch.allclose(sums.weight.grad, slope)
