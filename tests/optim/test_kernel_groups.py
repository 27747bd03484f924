"""Groups on columns, channels, heads and blocks by the kernel: as the plain maps have it, and as bisection does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.optim import SGD, AdamW
from dashpot.techniques.penalties import native
from dashpot.techniques.penalties.penalty import Penalty
from tests.optim.helpers import bisected

pytestmark = pytest.mark.skipif(native.kernel() is None, reason="no C++ compiler")

SHAPES: dict[str, list[tuple[int, ...]]] = {
    "columns": [(37, 53), (1, 70), (70, 1), (300, 65), (40, 6, 3, 3), (6, 4, 9, 9), (24, 12, 1), (2, 3000), (5, 1024)],
    "input-channels": [(16, 5, 5, 5), (130, 17, 1)],
    "filters": [(16, 5, 5, 5)],
    "heads:2": [(12, 8), (130, 33)],
    "heads:2x3": [(12, 8), (36, 130)],
    "block:2": [(12, 8), (130, 34)],
    "block:4x8": [(12, 8), (16, 136)],
    "element": [(13, 7)],
}
CASES = [(groups, shape) for groups, shapes in SHAPES.items() for shape in shapes]
MAKES: dict[str, Any] = {
    "adamw": lambda params, **more: AdamW(params, lr=0.01, weight_decay=0.1, **more),
    "sgd": lambda params, **more: SGD(params, lr=0.1, **more),
    "momentum": lambda params, **more: SGD(params, lr=0.05, momentum=0.9, dampening=0.5, weight_decay=0.01, **more),
    "nesterov": lambda params, **more: SGD(params, lr=0.05, momentum=0.9, nesterov=True, **more),
}
PENALTIES: dict[str, Any] = {
    "lasso": dashpot.GroupLasso,
    "sparse": dashpot.SparseGroupLasso,
    "elastic": dashpot.GroupElasticNet,
}


def trained(make: Any, penalty: Penalty, shape: tuple[int, ...], engine: str, steps: int = 3) -> Tensor:
    p = nn.Parameter(0.05 * torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    optimizer = make([p], penalty=penalty, engine=engine)
    for step in range(steps):
        generator = torch.Generator().manual_seed(step + 1)
        # Second moments that differ by orders of magnitude within a group.
        p.grad = p.detach() - torch.randn(shape, generator=generator) * torch.rand(shape, generator=generator) ** 3
        optimizer.step()
    return p.detach()


@pytest.mark.parametrize(("scaling", "strengths"), [("adaptive", (1e-3, 3e-2)), ("decoupled", (0.1, 0.5))])
@pytest.mark.parametrize(
    ("kind", "make"),
    [(kind, "adamw") for kind in PENALTIES] + [("lasso", "momentum"), ("elastic", "nesterov"), ("sparse", "sgd")],
)
@pytest.mark.parametrize(("groups", "shape"), CASES, ids=[f"{groups}-{shape}" for groups, shape in CASES])
def test_the_kernel_gives_what_the_plain_map_gives(
    groups: str, shape: tuple[int, ...], kind: str, make: str, scaling: str, strengths: tuple[float, ...]
) -> None:
    for strength in strengths:
        penalty = PENALTIES[kind](strength=strength, groups=groups, scaling=scaling)
        got, want = (trained(MAKES[make], penalty, shape, engine) for engine in ("native", "eager"))
        torch.testing.assert_close(got, want, rtol=2e-5, atol=2e-6)
        differ = (got == 0) != (want == 0)  # at the edge of a threshold rounding decides
        assert (torch.maximum(got.abs(), want.abs())[differ] < 1e-5).all()


@pytest.mark.parametrize("groups", ["columns", "heads:2x3", "block:4x8"])
def test_it_is_the_kernel_that_does_it(groups: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    run = native.run
    monkeypatch.setattr(native, "run", lambda rule, *args, **more: (done.append(rule), run(rule, *args, **more)))
    penalty = dashpot.GroupLasso(strength=1e-2, groups=groups)
    trained(MAKES["adamw"], penalty, (192, 192), "auto", steps=1)
    assert done == ["adam"]
    model = nn.Linear(192, 192, bias=False)
    optimizer = torch.optim.AdamW(model.parameters())
    penalty.attach(model, optimizer)
    model.weight.grad = torch.ones_like(model.weight)
    optimizer.step()
    assert done == ["adam", "map"]


def mapped(w: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The kernel's map of the columns with thresholds ``1 / sqrt(v)``."""
    got = w.copy()
    jobs = np.zeros(1, native.JOB)
    jobs["p"], jobs["v"], jobs["numel"] = got.ctypes.data, v.ctypes.data, got.size
    jobs["row"], jobs["across"], jobs["down"], jobs["root"], jobs["step"], jobs["lg"] = 1, *w.shape[::-1], 1, 1, 1
    native.run("map", jobs, True)
    return got


@pytest.mark.parametrize("spread", ["even", "mild", "heavy"])
@pytest.mark.parametrize("size", [1e-3, 1e-2, 0.3, 0.8, 1.2, 5.0])
def test_columns_are_shrunk_as_bisection_says(size: float, spread: str) -> None:
    rows, columns = 64, 37
    rng = np.random.default_rng(round(1e6 * size))
    w = rng.standard_normal((rows, columns)).astype(np.float32)
    t = {
        "even": np.ones_like(w),
        "mild": rng.uniform(0.2, 2.0, w.shape),
        "heavy": 1 / np.maximum(np.abs(rng.standard_normal(w.shape)), 1e-4),
    }[spread] * (size * np.sqrt(rows))
    v = (1 / np.square(t)).astype(np.float32)
    expected = bisected(w.T.astype(float), (1 / np.sqrt(v.T)).astype(float)).T
    np.testing.assert_allclose(mapped(w, v), expected, rtol=3e-6, atol=2e-7)


@pytest.mark.parametrize("size", [1e-5, 1e-3, 0.3, 1.2])
@pytest.mark.parametrize("factor", [0.0, 1e-3, 3.0, 1e3])
def test_columns_whose_runs_differ_are_shrunk_as_bisection_says(factor: float, size: float) -> None:
    """Every fourth row is of another size: those that the kernel guesses from, or others."""
    rows, columns = 512, 13
    rng = np.random.default_rng(1)
    for first in (1, 2):
        w = rng.standard_normal((rows, columns))
        w[first::4] *= factor
        w[:, 0] = 0
        w = w.astype(np.float32)
        t = size * np.sqrt(rows) / np.maximum(np.abs(rng.standard_normal(w.shape)), 1e-5)
        v = (1 / np.square(t)).astype(np.float32)
        expected = bisected(w.T.astype(float), (1 / np.sqrt(v.T)).astype(float)).T
        np.testing.assert_allclose(mapped(w, v), expected, rtol=3e-6, atol=2e-7)


@pytest.mark.parametrize("make", ["adamw", "momentum"])
@pytest.mark.parametrize(
    ("groups", "shape"), [("columns", (300, 333)), ("columns", (70, 30, 5, 5)), ("block:4x8", (256, 320))]
)
def test_the_number_of_threads_changes_nothing(groups: str, shape: tuple[int, ...], make: str) -> None:
    before, ends = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            ends.append(trained(MAKES[make], dashpot.GroupLasso(strength=1e-2, groups=groups), shape, "native"))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])


@pytest.mark.parametrize("groups", ["rows", "columns", "layer", "heads:2x3"])
@pytest.mark.parametrize("make", [AdamW, SGD])
def test_a_learning_rate_of_zero_changes_no_bit(make: Any, groups: str) -> None:
    w = torch.randn(12, 50, generator=torch.Generator().manual_seed(0))
    p = nn.Parameter(w.clone())
    for penalty in (dashpot.GroupElasticNet(strength=1.0, groups=groups), dashpot.SparseGroupLasso(groups=groups)):
        optimizer = make([p], lr=0.0, penalty=penalty, engine="native")
        p.grad = torch.ones_like(p)
        optimizer.step()
        assert torch.equal(p.detach(), w)


@pytest.mark.parametrize("groups", ["rows", "columns", "heads:2x3"])
def test_zeros_stay_and_nan_stays_nan(groups: str) -> None:
    p = nn.Parameter(torch.ones(12, 40))
    p.grad = torch.ones_like(p)
    p.grad[3, 5] = torch.nan
    AdamW([p], lr=0.1, penalty=dashpot.GroupLasso(strength=1.0, groups=groups), engine="native").step()
    assert p[3, 5].isnan()
    p = nn.Parameter(torch.zeros(12, 40))
    p.grad = torch.zeros_like(p)
    AdamW([p], lr=0.1, penalty=dashpot.GroupLasso(strength=1.0, groups=groups), engine="native").step()
    assert not p.any()


@pytest.mark.parametrize("groups", ["rows", "columns", "heads:2"])
@pytest.mark.parametrize("size", [1e20, 1e25])
def test_a_large_gradient_does_not_make_a_weight_nan(size: float, groups: str) -> None:
    """Its square is beyond float32, or the second moment is; torch's step is then small or 0."""
    for column in (3, 16):  # one of several lanes, and one of the tail
        p = nn.Parameter(torch.ones(8, 18))
        p.grad = torch.ones_like(p)
        p.grad[2, column] = size
        AdamW([p], lr=0.1, penalty=dashpot.GroupLasso(strength=0.1, groups=groups), engine="native").step()
        assert p.isfinite().all()


def test_tensor_that_is_not_contiguous_takes_the_plain_way() -> None:
    w = 0.05 * torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    ends = []
    for p in (nn.Parameter(w.t().contiguous().t()), nn.Parameter(w.clone())):
        optimizer = AdamW([p], lr=0.01, penalty=dashpot.GroupLasso(strength=1e-2, groups="columns"), engine="native")
        p.grad = p.detach().sin()
        optimizer.step()
        ends.append(p.detach())
    torch.testing.assert_close(ends[0], ends[1], rtol=2e-5, atol=2e-6)
