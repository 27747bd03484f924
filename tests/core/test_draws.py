"""Uniform numbers by hashing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from dashpot.core import draws
from dashpot.core.draws import SIDE_BY_SIDE, beta_by, permutation_by, uniform_by
from dashpot.core.rng import Draws, derive, derive_all, kept_at, mix, stream, uniform_at

KEYS = [stream(k, "test") for k in range(6)]
EDGES = [0, 1, (1 << 32) - 1, 1 << 32, (1 << 64) - 1]
needs_kernel = pytest.mark.skipif(draws.kernel() is None, reason="no C++ compiler here")


def plain(monkeypatch: pytest.MonkeyPatch, draw: Any) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(draws, "kernel", lambda: None)
        return draw()


@needs_kernel
def test_the_kernel_and_torch_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for n in (1, 7, 1000):
        for draw in (lambda n=n: uniform_by(KEYS + EDGES, n), lambda n=n: permutation_by(KEYS + EDGES, n)):
            assert torch.equal(draw(), plain(monkeypatch, draw))


@needs_kernel
@pytest.mark.parametrize("chance", [None, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("centres", [False, True])
def test_all_draws_of_a_mixture_in_one_call_are_those_of_each(chance: float | None, centres: bool) -> None:
    keys, n, streams = np.array(KEYS + EDGES, dtype=np.uint64), 37, np.array([5, 9, 2, 7], dtype=np.uint64)
    shapes = np.linspace(0.1, 3, len(keys))
    chances = None if chance is None else np.full(len(keys), chance)
    found = draws.pairs_by(keys, shapes, chances, streams, n, centres=centres)
    assert found is not None
    shares, chosen, places, corners = (derive_all(keys, int(stream)) for stream in streams)
    share = beta_by(shares, shapes, n)
    if chance is not None:
        share = torch.where(uniform_by(chosen, n) < chance, share, 1.0)
    assert torch.equal(found[0], share)
    assert torch.equal(found[1], permutation_by(places, n))
    if centres:
        assert found[2] is not None
        assert torch.equal(found[2], uniform_by(corners, 2 * n).view(len(keys), n, 2))
    else:
        assert found[2] is None


@needs_kernel
@pytest.mark.parametrize(
    ("numbers", "expected"), [([0, 2, 1], True), ([0, 3], False), ([-1, 1], False), ([1 << 62], False), ([], True)]
)
def test_codes_of_classes(numbers: list[int], expected: bool) -> None:
    assert draws.within(torch.tensor(numbers, dtype=torch.int64), 3) is expected


@needs_kernel
@pytest.mark.parametrize("a", [1e-3, 0.1, 0.5, 1.0, 1.0001, 2.5, 50.0, 1e4])
def test_the_kernel_and_numpy_give_the_same_shares(a: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw() -> Any:
        return beta_by(KEYS, [a] * len(KEYS), 500)

    assert torch.allclose(draw(), plain(monkeypatch, draw), rtol=0, atol=1e-7)


def test_rows_depend_on_their_own_key_only_and_short_ones_begin_long_ones() -> None:
    assert torch.equal(uniform_by(KEYS, 50), torch.cat([uniform_by([key], 80)[:, :50] for key in KEYS]))
    assert torch.equal(permutation_by(KEYS, 50), torch.cat([permutation_by([key], 50) for key in KEYS]))
    shapes = [0.1, 0.5, 1.0, 2.0, 3.0, 4.0]
    assert torch.equal(
        beta_by(KEYS, shapes, 50), torch.cat([beta_by([key], [a], 50) for key, a in zip(KEYS, shapes, strict=True)])
    )


def test_known_bits() -> None:
    """Computed by plain Python integers: saved runs rely on these draws."""

    def scramble(h: int) -> int:
        h ^= h >> 16
        h = h * 0x21F0AAAD & 0xFFFFFFFF
        h ^= h >> 15
        h = h * 0xD35A2D97 & 0xFFFFFFFF
        return h ^ (h >> 15)

    for key in KEYS[:2] + EDGES:
        own = [(scramble(scramble((i * 0x9E3779B1 + key) & 0xFFFFFFFF) ^ (key >> 32)) >> 8) / 2**24 for i in range(20)]
        assert uniform_by([key], 20)[0].tolist() == own


def test_uniform() -> None:
    u = uniform_by(KEYS, 50_000).numpy()
    assert u.min() >= 0
    assert u.max() < 1
    for row in u:
        assert scipy.stats.kstest(row, "uniform").pvalue > 1e-4
        assert scipy.stats.chisquare(np.histogram(row, 256, (0, 1))[0]).pvalue > 1e-4
        pairs = np.histogram2d(row[:-1], row[1:], 16, ((0, 1), (0, 1)))[0]
        assert scipy.stats.chisquare(pairs.ravel()).pvalue > 1e-4
    low_bits = (u * 2**24).astype(np.int64) & 0xFF
    assert scipy.stats.chisquare(np.bincount(low_bits.ravel(), minlength=256)).pvalue > 1e-4


@pytest.mark.parametrize(
    "keys",
    [
        [derive(KEYS[0], step) for step in range(64)],
        [derive(KEYS[0], 0, call) for call in range(64)],
        [stream(seed, "dropout") for seed in range(64)],
        list(range(64)),
        [k << 32 for k in range(64)],
    ],
    ids=["steps", "calls", "seeds", "numbers", "high numbers"],
)
def test_keys_are_independent(keys: list[int]) -> None:
    n = 20_000
    u = uniform_by(keys, n).double()
    correlation = torch.corrcoef(u) - torch.eye(len(keys))
    # Of the 2016 pairs the largest is about 3.6 standard deviations where nothing is correlated.
    assert float(correlation.abs().max()) < 5.5 / n**0.5
    shifted = torch.corrcoef(torch.stack([u[0, 1:], u[1, :-1]]))[0, 1]
    assert abs(float(shifted)) < 5 / n**0.5
    assert scipy.stats.kstest(u[:, 0].numpy(), "uniform").pvalue > 1e-4


@pytest.mark.parametrize("a", [0.05, 0.3, 1.0, 1.5, 4.0, 100.0])
def test_beta(a: float) -> None:
    share = beta_by(KEYS[:2], [a, a], 20_000).double().numpy()
    # Below 0.1 many shares round to 0 or 1 in float32, where the distribution of the rounded is compared.
    for row in share:
        inner = row[(row > 1e-6) & (row < 1 - 1e-6)]
        law = scipy.stats.beta(a, a)
        low, high = law.cdf(1e-6), law.cdf(1 - 1e-6)
        assert (
            scipy.stats.kstest(inner, lambda x, law=law, low=low, high=high: (law.cdf(x) - low) / (high - low)).pvalue
            > 1e-4
        )
        assert abs((row <= 1e-6).mean() - low) < 5 * (low * (1 - low) / len(row)) ** 0.5 + 1e-4
    assert abs(np.corrcoef(share)[0, 1]) < 5 / 20_000**0.5


def test_permutations() -> None:
    orders = permutation_by([derive(KEYS[1], k) for k in range(5000)], 4)
    assert torch.equal(orders.sort(dim=1).values, torch.arange(4).expand(5000, 4))
    _, counts = orders.unique(dim=0, return_counts=True)
    assert len(counts) == 24
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-4


def test_keys_of_many_at_once() -> None:
    keys = np.array(KEYS + EDGES, dtype=np.uint64)
    for counters in ((0,), (5, 3), (7, 0, 0), ((1 << 64) - 1,)):
        assert derive_all(keys, *counters).tolist() == [derive(int(key), *counters) for key in keys]
    assert mix(0, 0) == 0xE220A8397B1DCDAF  # the first output of SplitMix64 from 0, as published
    asked = Draws(KEYS[0])
    assert Draws(KEYS[0]).keys(2) == [asked._next(), asked._next()]


def test_compiled_code_draws_the_same() -> None:
    clock = torch.tensor([3, 1])
    eager = uniform_at(KEYS[0], clock, (4, 5), torch.device("cpu"))
    compiled = torch.compile(
        lambda c: uniform_at(KEYS[0], c, (4, 5), torch.device("cpu")), backend="aot_eager", fullgraph=True
    )(clock)
    assert torch.equal(eager, compiled)
    assert torch.equal(eager, uniform_by([derive(KEYS[0], 3, 1)], 20).view(4, 5))


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("key", [KEYS[0], (1 << 64) - 1])
def test_masks_are_those_of_the_numbers(key: int, rate: float) -> None:
    """The same bits as by comparing, on one thread and on several, at any step and call."""
    p, threads = torch.tensor(rate), torch.get_num_threads()
    scale = 1 / torch.clamp(1 - p, min=torch.finfo(torch.float32).tiny)
    for step, call, n in ((3, 1, 77), (0, 5 << 32, 1), (-4, 0, SIDE_BY_SIDE + 3), (2**40, 2, 0)):
        clock = torch.tensor([step, call])
        uniform = uniform_at(key, clock, (n,), torch.device("cpu"))
        for count in (1, 3):
            torch.set_num_threads(count)
            kept = kept_at(key, clock, (n,), p)
            torch.set_num_threads(threads)
            assert kept is None or torch.equal(kept, (uniform >= p) * scale)


def test_draws_do_not_depend_on_torch_s_default_type() -> None:
    """Kernels write float32: into memory of another type they once wrote numbers that are none."""

    def drawn() -> list[Tensor]:
        draws = Draws(5)
        return [draws.beta(0.4, 6), draws.beta(0, 6), draws.permutation(6), draws.uniform((6,)), draws.normal((6,))]

    plain = [*drawn(), uniform_by([3], 5)]
    torch.set_default_dtype(torch.float64)
    try:
        wide = [*drawn(), uniform_by([3], 5)]
    finally:
        torch.set_default_dtype(torch.float32)
    for a, b in zip(plain, wide, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
