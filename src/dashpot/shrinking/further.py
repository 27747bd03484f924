"""What is done to a small network on request: batch norms folded, layers of low rank in two factors, sparse layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dashpot.shrinking import folding
from dashpot.shrinking.factors import factor
from dashpot.shrinking.plan import Plan
from dashpot.shrinking.scattered import make_sparse


def further(
    small: nn.Module, plan: Plan, low_rank: bool, fold: bool, sparse: bool, example: tuple[Any, Any]
) -> tuple[Plan, dict[str, str]]:
    """Change a small network in place, which is called with ``example``.

    Returns:
        The plan with what was done, and what could not be, by the names of modules.
    """
    stay: dict[str, str] = {}
    if fold:
        plan = replace(plan, folded=tuple(folding.fold(small)))
        reason = "it is not alone behind a linear layer or convolution, or one of them is used twice"
        stay |= {name: reason for name, module in small.named_modules() if isinstance(module, _BatchNorm)}
    if low_rank:
        ranks, why = factor(small)
        plan = replace(plan, factors=ranks)
        stay |= why
    if sparse:
        entries, why = make_sparse(small, *example)
        plan = replace(plan, sparse=entries)
        stay |= why
    return plan, stay
