"""Laws of a technique's pure functions, and of penalties' proximal maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dashpot.techniques.penalties.penalty import Penalty, Proximal
from dashpot.testing.row import Pure, Row


def keeps_dtype(row: Row) -> None:
    """float64, float32 and bfloat16 in, the same out."""
    for pure in row.functions:
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            assert pure.function(*pure.arguments(dtype)).dtype == dtype, f"{_name(pure)} changes {dtype}"


def agrees_with_reference(row: Row) -> None:
    """Equal to an independent float64 reference."""
    for pure in row.functions:
        arguments = pure.arguments(torch.float64)
        expected = pure.reference(*(a.cpu().numpy() if isinstance(a, Tensor) else a for a in arguments))
        np.testing.assert_allclose(
            pure.function(*arguments).cpu().numpy(), expected, rtol=1e-6, atol=1e-9, err_msg=_name(pure)
        )


def does_not_write(row: Row) -> None:
    """A pure function leaves its arguments alone."""
    for pure in row.functions:
        arguments = pure.arguments(torch.float32)
        before = [a.clone() if isinstance(a, Tensor) else a for a in arguments]
        pure.function(*arguments)
        for old, new in zip(before, arguments, strict=True):
            assert not isinstance(new, Tensor) or torch.equal(old, new), f"{_name(pure)} writes to its argument"


def vmaps_over_strengths(row: Row) -> None:
    """A population's strengths in one call: what each gives alone, to the rounding of float64. No bit for bit: batched
    sums, exponentials and decompositions may be computed in another order than single ones.
    """
    for pure in row.functions:
        if pure.strength is None:
            continue
        arguments = list(pure.arguments(torch.float64))
        strengths = torch.stack([arguments[pure.strength] * share for share in (0.0, 0.5, 1.0)])
        alone = [pure.function(*(s if i == pure.strength else a for i, a in enumerate(arguments))) for s in strengths]
        dims = tuple(0 if i == pure.strength else None for i in range(len(arguments)))
        arguments[pure.strength] = strengths
        together = torch.func.vmap(pure.function, in_dims=dims)(*arguments)
        expected = torch.stack(alone)
        assert torch.allclose(together, expected, rtol=1e-12, atol=1e-13), f"{_name(pure)} differs under vmap"


def differentiates(row: Row) -> None:
    """Gradients agree with finite differences in float64."""
    for pure in row.functions:
        if pure.differentiable:
            first, *rest = pure.arguments(torch.float64)
            assert torch.autograd.gradcheck(
                lambda x, f=pure.function, r=tuple(rest): f(x, *r),
                first.requires_grad_(),
                nondet_tol=0.0 if row.toy.device == "cpu" else 1e-12,  # sums on a GPU have no fixed order
            ), _name(pure)


def compiles(row: Row) -> None:
    """One graph, and the same numbers as eager."""
    for pure in row.functions:
        arguments = pure.arguments(torch.float32)
        compiled = torch.compile(pure.function, fullgraph=True)
        torch.testing.assert_close(compiled(*arguments), pure.function(*arguments), msg=_name(pure))


def prox_is_optimal(row: Row) -> None:
    """No point beats the proximal map, for one step and for one step per weight; it is non-expansive if convex; zero
    stays zero; stationarity vanishes at its result.
    """
    penalty = row.technique
    if not isinstance(penalty, Proximal):
        return
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(row.toy.device)

    w, v = 3 * normal(8, 6), 3 * normal(8, 6)
    steps: list[float | Tensor] = [0.1, 1.0, 7.0]
    if penalty.scaling == "adaptive" and not penalty.scalar_only:
        # Adam's steps differ by orders of magnitude between the weights of one group.
        steps += [torch.exp(normal(8, 6)), torch.exp(3 * normal(8, 6))]
    for step in steps:

        def cost(u: Tensor, step: float | Tensor = step) -> Tensor:
            return ((u - w).square() / (2 * step)).sum() + penalty.value(u)

        u = penalty.prox(w, step)
        mine = cost(u)
        candidates = [torch.zeros_like(w), w, v] + [
            u + size * normal(8, 6) for size in (1e-4, 1e-2, 0.1, 1.0) for _ in range(50)
        ]
        candidates += [u * factor for factor in (0.9, 0.99, 1.01, 1.1)]
        for point in candidates:
            # Random points are outside of a constraint; their projections are not.
            for one in (point, penalty.prox(point, step)):
                assert mine <= cost(one) + 1e-9, "a random point beats the map"
        if penalty.separable:
            _no_grid_point_is_better(penalty, w, u, step)
        if penalty.convex and not isinstance(step, Tensor):
            assert (penalty.prox(v, step) - u).norm() <= (v - w).norm() + 1e-12, "the map expands"
        assert penalty.stationarity(u, (u - w) / step).abs().max() < 1e-8, "the result is not stationary"
    zero = torch.zeros(4, 6, device=row.toy.device)
    assert torch.equal(penalty.prox(zero, 0.0 if isinstance(penalty, Penalty) else 1.0), zero), "prox(0, 0) is not 0"
    if isinstance(penalty, Penalty):
        assert torch.equal(penalty.prox(w, 0.0), w), "a step of 0 moves weights"
        assert torch.equal(replace(penalty, strength=0.0).prox(w, 1.0), w), "a strength of 0 moves weights"


def _no_grid_point_is_better(penalty: Proximal, w: Tensor, u: Tensor, step: float | Tensor) -> None:
    grid = torch.linspace(-10, 10, 2001, dtype=torch.float64, device=w.device)
    price = torch.stack([penalty.value(point.reshape(1, 1)) for point in grid])
    each = torch.as_tensor(step, dtype=torch.float64, device=w.device).expand_as(w)
    for start, found, s in zip(w.reshape(-1), u.reshape(-1), each.reshape(-1), strict=True):
        mine = (found - start).square() / 2 + s * penalty.value(found.reshape(1, 1))
        assert mine <= ((grid - start).square() / 2 + s * price).min() + 1e-9, (
            f"a grid point beats the map at {float(start)}"
        )


def _name(pure: Pure) -> str:
    return str(getattr(pure.function, "__name__", pure.function))
