"""The maths that all penalties on groups share, on folded tensors: ``dims`` are the axes inside a group."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.techniques.penalties.proximal import Scalar

ROUNDS = 12
"""Newton steps of the root: two or three reach float precision where steps differ by a hundred within a group, ten
where they differ by a million.
"""


def group_norm(w: Float[Tensor, "*shape"], dims: tuple[int, ...]) -> Float[Tensor, "*groups"]:
    """The 2-norm of each group, 1 long along ``dims``."""
    return w.square().sum(dims, keepdim=True).sqrt()


def group_threshold(
    w: Float[Tensor, "*shape"],
    step: float | Float[Tensor, "*#shape"],
    threshold: Scalar | Float[Tensor, "*#shape"],
    dims: tuple[int, ...],
) -> Float[Tensor, "*shape"]:
    """``argmin_u sum (u - w)^2 / (2 step) + threshold * sum over groups |u_g|``.

    One step for all: ``w * max(1 - step * threshold / |w_g|, 0)``. One step for each weight: ``u = w * r / (r + step *
    threshold)``, where r = ``|u_g|`` is the root of ``sum w^2 / (r + step * threshold)^2 = 1``, found for all groups at
    once by Newton's method on the reciprocal norm, which is concave in r, so that it climbs from the left and never
    overshoots. The group is zero where ``sum (w / (step * threshold))^2 <= 1``.
    """
    dtype = w.dtype
    wide = torch.promote_types(dtype, torch.float32)
    w = w.to(wide)
    t = step * threshold
    norm = group_norm(w, dims)
    if not isinstance(t, Tensor) or t.ndim == 0:
        alive = norm > t
        return (w * torch.where(alive, 1 - t / torch.where(alive, norm, 1), 0)).to(dtype)
    t = t.to(wide).expand(w.shape)
    tiny = torch.finfo(wide).tiny
    alive = (w / t.clamp(min=tiny)).square().sum(dims, keepdim=True) > 1
    # Not above the root, by Jensen's inequality.
    r = torch.where(
        alive, (norm - (w.square() * t).sum(dims, keepdim=True) / norm.square().clamp(min=tiny)).clamp(min=0), 1
    )
    for _ in range(ROUNDS):
        inverse = 1 / (r + t).clamp(min=tiny)
        scaled = (w * inverse).square()
        g = scaled.sum(dims, keepdim=True)
        slope = (scaled * inverse).sum(dims, keepdim=True)
        r = r + torch.where(alive, g * (g.sqrt() - 1) / slope.clamp(min=tiny), 0).clamp(min=0)
    return (w * torch.where(alive, r / (r + t).clamp(min=tiny), 0)).to(dtype)


def group_stationarity(
    w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"], threshold: Scalar, dims: tuple[int, ...]
) -> Float[Tensor, "*shape"]:
    """The distance of ``-grad`` from the subdifferential of ``threshold * |w_g|``: a ball of that radius at zero, its
    normal elsewhere.
    """
    norm, slope = group_norm(w, dims), group_norm(grad, dims)
    zero = norm == 0
    off = grad + threshold * w / torch.where(zero, 1, norm)
    at = (
        grad * (1 - threshold / torch.where(slope > threshold, slope, threshold + 1)).clamp(min=0) * (slope > threshold)
    )
    return torch.where(zero, at, off).abs()


def ball(
    w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"], radius: Scalar, dims: tuple[int, ...]
) -> Float[Tensor, "*shape"]:
    """``argmin_u sum (u - w)^2 / (2 step)`` under ``|u_g| <= radius``: ``u = w / (1 + step * m)``, the multiplier m >=
    0 by Newton's method on ``1 / |u_g|``.
    """
    dtype = w.dtype
    wide = torch.promote_types(dtype, torch.float32)
    w = w.to(wide)
    norm = group_norm(w, dims)
    outside = norm > radius
    if not isinstance(step, Tensor) or step.ndim == 0:
        return (w * torch.where(outside, radius / torch.where(outside, norm, 1), 1)).to(dtype)
    # Only the ratios of the steps matter, and Adam's may be tiny.
    s = step.to(wide).expand(w.shape)
    s = s / s.amax(dims, keepdim=True).clamp(min=torch.finfo(wide).tiny)
    m = torch.zeros_like(norm)
    for _ in range(ROUNDS):
        u = w / (1 + s * m)
        n = group_norm(u, dims)
        slope = (s * u.square() / (1 + s * m)).sum(dims, keepdim=True)
        m = m + torch.where(outside, n.square() * (n / radius - 1) / torch.where(slope > 0, slope, 1), 0).clamp(min=0)
    u = w / (1 + s * m)
    # The root's last rounding must not leave the ball.
    return (u * torch.where(outside, radius / group_norm(u, dims).clamp(min=torch.finfo(wide).tiny), 1)).to(dtype)
