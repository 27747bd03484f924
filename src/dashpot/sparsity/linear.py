"""Penalized linear models, solved exactly: accelerated proximal gradient steps on the few features that matter, checked
on all.

One strength is solved as Tibshirani et al. 2012 do for the lasso: on the features that are not zero, and then again
with those whose optimality condition is broken, until none is. For a penalty that is no sum over single weights all
features are taken at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dashpot.core.threads import scoped, threads_for
from dashpot.evaluation.losses import is_classification
from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.strengths import zero_gradient

TOLERANCE = 1e-7
"""How far from stationary a solution may be, as a share of the smallest strength that zeroes everything."""
MOST_STEPS = 20_000
"""Proximal steps for one strength, in all."""
LARGEST_HESSIAN = 1500
"""Weights and intercepts that the second-order model of a classification may have; above, every step goes through the
rows.
"""
Prox = Callable[[Tensor, float], Tensor]
Gap = Callable[[Tensor, Tensor], float]
_EVERY = 10
"""Steps between two checks of the optimality conditions."""


@dataclass(frozen=True)
class Solution:
    """A solved linear model: weight [outputs, features] and bias [outputs] in float64, and whether it is within the
    tolerance.
    """

    weight: Tensor
    bias: Tensor
    converged: bool
    steps: int


class LinearPath:
    """A linear model with a penalty on its weights, to be solved at one strength after another.

    Args:
        x: [rows, features], finite.
        y: classes [rows], or values [rows] or [rows, outputs].
        outputs: of the layer.
        technique: the penalty.
        intercept: whether there is an (unpenalized) bias.
        weight: of the rows [rows], above 0; the loss is their weighted mean. None: each counts once.

    Example:
        >>> import torch, dashpot
        >>> x = torch.tensor([[1.0], [-1.0]]); y = torch.tensor([2.0, -2.0])
        >>> LinearPath(x, y, 1, dashpot.L1(), intercept=True).solve(1.0).weight  # 2 - strength / 2
        tensor([[1.5000]], dtype=torch.float64)
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        outputs: int,
        technique: Penalty,
        *,
        intercept: bool,
        weight: Tensor | None = None,
    ) -> None:
        x = x.detach().cpu().double()
        self.technique, self.intercept, self.outputs = technique, intercept, outputs
        self.n = len(x)
        weight = torch.ones(self.n, device="cpu") if weight is None else weight.detach().cpu()
        self.share = weight.double() / weight.double().sum()
        """Of each row in the loss [rows]."""
        self.shift = self.share @ x if intercept else torch.zeros_like(x[0])
        # Centred columns and the intercept do not disturb each other.
        self.x = x - self.shift
        self.classes = is_classification(y)
        y = y.detach().cpu()
        self.target = functional.one_hot(y, outputs).double() if self.classes else y.reshape(self.n, -1).double()
        self.scale = float(zero_gradient(self.x, y, outputs, intercept, self.share).abs().max())
        self.weight = torch.zeros(outputs, x.shape[1], dtype=torch.float64, device="cpu")
        self.bias = self._start()

    def solve(self, strength: float, *, warm: bool = True) -> Solution:
        """The optimum at one strength, from the one found before or (without ``warm``) from zero."""
        if not warm:
            self.weight, self.bias = torch.zeros_like(self.weight), self._start()
        penalty = self.technique.with_strength(strength)
        limit = TOLERANCE * self.scale
        steps = 0
        work = self._support() if penalty.separable else torch.arange(self.weight.shape[1], device="cpu")
        while True:
            grad, slope = self._gradient()
            gap = penalty.stationarity(self.weight, grad).amax(dim=0)
            if float(gap.max()) <= limit and float(slope.abs().max()) <= limit:
                return self._solution(True, steps)
            if steps >= MOST_STEPS:
                return self._solution(False, steps)
            if penalty.separable:
                # The worst first, about as many as there are: those that come in often put the others right.
                broken = torch.argsort(gap, descending=True)[: max(20, len(work))]
                work = torch.unique(torch.cat([self._support(), broken[gap[broken] > limit]]))
            steps += self._descend(penalty, work, limit, MOST_STEPS - steps)

    def _start(self) -> Tensor:
        if not self.intercept:
            return torch.zeros(self.outputs, dtype=torch.float64, device="cpu")
        mean = self.share @ self.target
        # A class without rows has no finite best intercept; far below the others is far enough.
        return mean.clamp(min=1e-6).log() if self.classes else mean

    def _support(self) -> Tensor:
        return (self.weight != 0).any(dim=0).nonzero()[:, 0]

    def _gradient(self) -> tuple[Tensor, Tensor]:
        work = self._support()
        miss = self._miss(self.weight[:, work] @ self.x[:, work].T + self.bias[:, None])
        slope = miss.sum(dim=1) if self.intercept else torch.zeros_like(self.bias)
        return miss @ self.x, slope

    def _miss(self, out: Tensor) -> Tensor:
        """The loss's gradient in the outputs [outputs, rows]."""
        if self.classes:
            return (out.softmax(dim=0) - self.target.T) * self.share
        return (out - self.target.T) * (2 / self.outputs * self.share)

    def _descend(self, penalty: Penalty, work: Tensor, limit: float, most: int) -> int:
        """Proximal steps on the features ``work``, until they are stationary; returns how many."""
        k = len(work)
        a = self.x[:, work]
        scaled = a * self.share.sqrt()[:, None]
        gram = scaled.T @ scaled if k <= self.n else scaled @ scaled.T
        largest = float(torch.linalg.eigvalsh(gram)[-1]) if k else 0.0
        # The intercept as one more column, as steep as the steepest direction of the others, so that it moves as fast.
        c = max(largest, 1e-12) ** 0.5 if self.intercept else 0.0
        a = torch.cat([a, torch.full((self.n, 1), c, dtype=a.dtype, device="cpu")], dim=1)
        step = 1 / max((0.5 if self.classes else 2 / self.outputs) * largest * (1 + 1e-9), 1e-12)

        def gap(v: Tensor, grad: Tensor) -> float:
            own = float(penalty.stationarity(v[:, :k], grad[:, :k]).max()) if k else 0.0
            return max(own, float(grad[:, k:].abs().max()) / (c or 1))

        def prox(v: Tensor, step: float) -> Tensor:
            v[:, :k] = penalty.prox(v[:, :k], step)
            return v

        v = torch.cat(
            [self.weight[:, work], self.bias[:, None] / c if c else torch.zeros_like(self.bias[:, None])], dim=1
        )
        if self.classes and penalty.convex and self.outputs * (k + 1) <= min(self.n / 2, LARGEST_HESSIAN):
            v, steps = self._newton(penalty, a, v, prox, gap, limit * 0.5, most)
        elif self.classes or k >= self.n:
            v, steps = _accelerate(
                lambda u: self._miss(u @ a.T) @ a, prox, gap, v, step, limit * 0.5, most, penalty.convex
            )
        else:  # a squared error needs the rows only once
            scaled = a * (2 / self.outputs * self.share)[:, None]
            gram, shift = a.T @ scaled, self.target.T @ scaled
            v, steps = _accelerate(lambda u: u @ gram - shift, prox, gap, v, step, limit * 0.5, most, penalty.convex)
        self.weight = torch.zeros_like(self.weight)
        self.weight[:, work] = v[:, :k]
        self.bias = v[:, k] * c if self.intercept else self.bias
        return steps

    def _newton(
        self, penalty: Penalty, a: Tensor, v: Tensor, prox: Prox, gap: Gap, limit: float, most: int
    ) -> tuple[Tensor, int]:
        """Proximal Newton: the loss's second-order model takes the rows' place between two passes over them (Lee, Sun
        and Saunders 2014).
        """

        def objective(u: Tensor) -> float:
            out = u @ a.T
            loss = (out.logsumexp(dim=0) - (out * self.target.T).sum(dim=0)) @ self.share
            return float(loss + penalty.value(u[:, :-1]))

        steps, value = 0, objective(v)
        while steps < most:
            chance = (v @ a.T).softmax(dim=0)
            grad = ((chance - self.target.T) * self.share) @ a
            here = gap(v, grad)
            if here <= limit:
                break
            hessian = torch.cat(
                [
                    torch.cat([self._block(a, chance, i, j) for j in range(self.outputs)], dim=1)
                    for i in range(self.outputs)
                ]
            )
            # No eigenvalue is above the largest sum of sizes in a row; a small matrix is worth its true one.
            bound = (
                torch.linalg.eigvalsh(hessian)[-1] * (1 + 1e-9)
                if len(hessian) <= 200
                else hessian.abs().sum(dim=1).max()
            )
            step = 1 / max(float(bound), 1e-12)
            slope, centre, square = grad, v, hessian

            def model(u: Tensor) -> Tensor:
                # Called before the next round.
                return slope + (square @ (u - centre).reshape(-1)).reshape(u.shape)  # noqa: B023

            new, taken = _accelerate(model, prox, gap, v, step, max(0.05 * here, 0.3 * limit), most - steps, True)
            steps += max(taken, 1)
            reached = objective(new)
            for _ in range(20):
                if reached <= value + 1e-12 * abs(value):
                    break
                new = (new + v) / 2
                reached = objective(new)
            v, value = new, reached
        return v, steps

    def _block(self, a: Tensor, chance: Tensor, i: int, j: int) -> Tensor:
        curve = chance[i] * (float(i == j) - chance[j]) * self.share
        return a.T @ (curve[:, None] * a)

    def _solution(self, converged: bool, steps: int) -> Solution:
        bias = self.bias - self.weight @ self.shift
        return Solution(self.weight.clone(), bias, converged, steps)


def _accelerate(
    gradient: Callable[[Tensor], Tensor],
    prox: Prox,
    gap: Gap,
    start: Tensor,
    step: float,
    limit: float,
    most: int,
    convex: bool,
) -> tuple[Tensor, int]:
    """Accelerated proximal gradient steps until the gap is within the limit; returns where that is, and how many they
    were.
    """
    old = ahead = start
    t, steps = 1.0, 0
    while steps < most:
        steps += 1
        new = prox(ahead - step * gradient(ahead), step)
        if convex:
            # Momentum is dropped where it points uphill (O'Donoghue and Candes 2015).
            move = new - old
            t = 1.0 if float(((ahead - new) * move).sum()) > 0 else t
            faster = (1 + (1 + 4 * t * t) ** 0.5) / 2
            ahead, t = new + (t - 1) / faster * move, faster
        else:
            ahead = new
        old = new
        if steps % _EVERY == 0 and gap(old, gradient(old)) <= limit:
            break
    return old, steps


def solve_path(
    x: Tensor,
    y: Tensor,
    outputs: int,
    technique: Penalty,
    strengths: Sequence[float],
    *,
    intercept: bool,
    warm: bool,
    weight: Tensor | None = None,
) -> list[Solution]:
    """A :class:`LinearPath` at each of the strengths, in their order."""
    # What takes long is thousands of passes over the rows, each of two products.
    with scoped(threads_for(4.0 * x.numel() * outputs)):
        problem = LinearPath(x, y, outputs, technique, intercept=intercept, weight=weight)
        return [problem.solve(strength, warm=warm) for strength in strengths]
