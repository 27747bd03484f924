"""Total variation: neighbouring weights become exactly equal."""

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.errors import ConfigError
from dashpot.core.running.tensors import beside
from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.proximal import Scalar, spread


def total_variation_value(w: Float[Tensor, "*rows columns"], strength: Scalar) -> Float[Tensor, ""]:
    """``strength * sum |w_{i,j+1} - w_{i,j}|`` along each row."""
    return strength * w.diff(dim=-1).abs().sum()


def smooth_row(y: list[float], weight: list[float], strength: float) -> list[float]:
    """``argmin_u sum weight (u - y)^2 / 2 + strength * sum |u_{j+1} - u_j|``, exactly, by dynamic programming in linear
    time.

    Let ``f_j(u)`` be the least cost of the first j values when the j-th is u. Its slope is increasing and piecewise
    linear, and the absolute difference clips it to [-strength, strength]. Only the slope's kinks are kept, as (place,
    change of rise, change of level) of its linear pieces, in an array that is cut at both ends. The places where the
    clipping sets in then bound the solution from behind.
    """
    n = len(y)
    start, stop = n, n
    room: list[tuple[float, float, float]] = [(0.0, 0.0, 0.0)] * (2 * n + 2)
    low, high = [0.0] * n, [0.0] * n
    for j in range(n - 1):
        rise, level = weight[j], -weight[j] * y[j]
        # The leftmost linear piece is clipped at -strength, so that it starts from there; the rightmost from +strength.
        first, last = (rise, level - (strength if j else 0.0)), (rise, level + (strength if j else 0.0))
        while start < stop and first[0] * room[start][0] + first[1] <= -strength:
            first = (first[0] + room[start][1], first[1] + room[start][2])
            start += 1
        while start < stop and last[0] * room[stop - 1][0] + last[1] >= strength:
            last = (last[0] - room[stop - 1][1], last[1] - room[stop - 1][2])
            stop -= 1
        low[j], high[j] = (-strength - first[1]) / first[0], (strength - last[1]) / last[0]
        start -= 1
        room[start] = (low[j], first[0], first[1] + strength)
        room[stop] = (high[j], -last[0], strength - last[1])
        stop += 1
    rise, level = weight[-1], -weight[-1] * y[-1] - (strength if n > 1 else 0.0)
    while start < stop and rise * room[start][0] + level <= 0:
        rise, level = rise + room[start][1], level + room[start][2]
        start += 1
    u = [0.0] * n
    u[-1] = -level / rise
    for j in range(n - 2, -1, -1):
        u[j] = min(max(u[j + 1], low[j]), high[j])
    return u


@torch.library.custom_op("dashpot::smooth_rows", mutates_args=())
def _smooth_rows(w: Tensor, step: Tensor, strength: Tensor) -> Tensor:
    inverse = 1 / step.detach().cpu().double()
    price = float(strength)
    rows = [
        smooth_row(y, weight, price)
        for y, weight in zip(w.detach().cpu().double().tolist(), inverse.tolist(), strict=True)
    ]
    return torch.tensor(rows, dtype=torch.float64, device="cpu").to(w)


@_smooth_rows.register_fake
def _(w: Tensor, step: Tensor, strength: Tensor) -> Tensor:
    return torch.empty_like(w)


def total_variation_prox(
    w: Float[Tensor, "*rows columns"], step: float | Float[Tensor, "*#rows #columns"], strength: Scalar
) -> Float[Tensor, "*rows columns"]:
    """The map of each row, on the CPU in float64, with one step per weight where ``step`` is a tensor."""
    if w.numel() == 0:
        return w.clone()
    wide = beside(step, w, torch.float64).expand(w.shape)
    # The map is made on the CPU; a number of the caller's is there already.
    price = (
        strength.double() if isinstance(strength, Tensor) else torch.tensor(strength, dtype=torch.float64, device="cpu")
    )
    width = w.shape[-1]
    rows, steps = w.reshape(-1, width), wide.clamp(min=1e-300).reshape(-1, width)
    smooth = _smooth_rows(rows.contiguous(), steps.contiguous(), price).reshape(w.shape)
    # Without a step or a strength nothing may change, not even by rounding; nor may a row with a NaN be smoothed over.
    idle = (wide * price.to(w.device, non_blocking=True) == 0) | ~w.isfinite().all(dim=-1, keepdim=True)
    return torch.where(idle, w, smooth)


class TotalVariation(Penalty):
    r"""Penalize differences of neighbouring weights along the inputs of each row, so that runs of weights become
    exactly equal (fused).

    .. math:: \mathrm{strength} \sum_{i,j} |w_{i,j+1} - w_{i,j}|

    For inputs whose order means something: time steps, frequencies, positions. Convolutions are taken as [filters,
    everything else].

    Args:
        strength, relative, scaling, on: as for :class:`L1`; ``on`` should name the first
            layer. ``relative`` is refused when it is made absolute: strong penalties make rows constant, not zero.

    Raises:
        ConfigError: both ``strength`` and ``relative``; ``relative`` when it is made absolute.
        ConflictError: as for :class:`L1`.

    Example:
        >>> import torch, dashpot
        >>> dashpot.TotalVariation(strength=0.5).prox(torch.tensor([[1.0, 1.2, 5.0, 5.4]]), step=1.0)
        tensor([[1.3500, 1.3500, 4.9500, 4.9500]])

    Papers: Rudin, Osher and Fatemi, "Nonlinear Total Variation Based Noise Removal Algorithms", Physica D 1992;
    Johnson, "A Dynamic Programming Algorithm for the Fused Lasso and L0-Segmentation", JCGS 2013.

    When not to use it: on inputs in no order, and on large layers: each row is solved by a loop in Python, about a
    microsecond a weight.
    """

    summary = "makes neighbouring weights of a row equal"

    def penalty_value(self, w: Float[Tensor, "*shape"], strength: Scalar) -> Float[Tensor, ""]:
        return total_variation_value(self.axes.matrices(w), strength)

    def penalty_prox(
        self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"], strength: Scalar
    ) -> Float[Tensor, "*shape"]:
        rows, steps = self.axes.matrices(w), spread(self.axes, step, w)
        return self.axes.restored(total_variation_prox(rows, steps, strength), w.shape)

    def max_strength(self, grad: Float[Tensor, "*shape"]) -> float:
        remedy = "This one makes neighbours equal, and not everything zero, at any strength: give strength= instead."
        raise ConfigError(
            "TotalVariation.relative", "used with a penalty that has a largest strength", self.relative, remedy
        )
