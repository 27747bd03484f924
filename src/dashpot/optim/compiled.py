"""Update and map as one function of tensors, compiled by torch: one pass for any separable penalty, on CPU and GPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.proximal import Proximal


def adam_update(p: Tensor, g: Tensor, m: Tensor, v: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """AdamW's arithmetic, not in place. ``s`` holds keep, blend, beta2, 1 - beta2, 1 / sqrt(correction 2), eps, lr /
    correction 1, lr, and further ones that are not read.

    Returns:
        weight, first moment, second moment, and the step ``lr / (sqrt(v_hat) + eps)``.
    """
    keep, blend, b2, w2, root, eps, size, lr = s[:8].unbind()
    m = m + blend * (g - m)
    v = b2 * v + w2 * g * g
    inverse = 1 / (v.sqrt() * root + eps)
    return p * keep - size * m * inverse, m, v, lr * inverse


def flat_alias(t: Tensor) -> Tensor:
    """A flat tensor on the same memory that is no view: a view would make the compiled pass depend on the shape of what
    it views.
    """
    return torch.empty(0, dtype=t.dtype, device=t.device).set_(
        t.untyped_storage(), t.storage_offset(), (t.numel(),), (1,)
    )


@functools.cache
def compiled_adam(penalty: Proximal) -> Callable[..., None]:
    """A compiled in-place pass over flat tensors: ``pass_(p, g, m, v, scalars)``, the strength being the ninth
    scalar.

    Learning rate, bias corrections and strength are in a tensor, or each step would compile again; sizes are dynamic,
    so that one compilation serves all tensors.
    """

    def one_pass(p: Tensor, g: Tensor, m: Tensor, v: Tensor, s: Tensor) -> None:
        w, first, second, step = adam_update(p, g, m, v, s)
        step = step if penalty.scaling == "adaptive" else s[7]
        w = penalty.penalty_prox(w, step, s[8]) if isinstance(penalty, Penalty) else penalty.prox(w, step)
        p.copy_(w)
        m.copy_(first)
        v.copy_(second)

    compiled: Any = torch.compile(one_pass, dynamic=True, fullgraph=True)
    return compiled  # type: ignore[no-any-return]  # torch.compile is typed as Any
