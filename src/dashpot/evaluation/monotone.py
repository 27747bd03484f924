"""Whether a model's answers rise and fall with inputs as they should, by sampled pairs of rows."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.fields.domains import check_whole
from dashpot.core.running.modes import evaluating


@dataclass(frozen=True)
class Violations:
    """What was found.

    Attributes:
        pairs: that were compared.
        count: of those in which the answer went the wrong way.
        largest: by how much at most, 0 where none did.
    """

    pairs: int
    count: int
    largest: float


def monotone_violations(
    model: nn.Module, x: Any, signs: Mapping[int, int], *, pairs: int = 10_000, seed: int = 0, tolerance: float = 1e-9
) -> Violations:
    """Sample pairs of rows that differ in the inputs that have a direction, and count answers that go the wrong way.

    The second row of a pair is the first one with the directed inputs of other rows where these are further along; half
    of the pairs differ in one input, half in all. The model is evaluated in float64, as a copy.

    Args:
        model: gives one value for each row, or the logits of two classes, whose second one counts.
        x: rows [n, inputs] to sample from.
        signs: 1 or -1 for inputs by their place.
        pairs: how many.
        seed: of the samples.
        tolerance: what rounding may do, as a share of the largest answer.

    Returns:
        How many pairs violate the directions, and by how much.

    Raises:
        ConfigError: no direction, or one that is not 1 or -1 for an input of ``x``.
        DataError: rows that are none, or answers of another shape.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(2, 1)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, -1.0]]))
        >>> dashpot.monotone_violations(model, torch.randn(50, 2), {0: 1, 1: -1}, pairs=100).count
        0
        >>> dashpot.monotone_violations(model, torch.randn(50, 2), {1: 1}, pairs=100).count > 50
        True

    When not to use it: as a proof. That no pair was found says little of rare ones; :class:`dashpot.nets.MonotoneNet`
    is monotone by construction.
    """
    rows = torch.as_tensor(x).detach().double().cpu()
    if rows.ndim != 2 or len(rows) < 2:
        raise DataError(f"x must be at least 2 rows [n, inputs], got {list(rows.shape)}.")
    pairs = check_whole("pairs", pairs)
    wrong = [i for i, sign in signs.items() if sign not in (-1, 1) or not 0 <= i < rows.shape[1]]
    if not signs or wrong:
        raise ConfigError("signs", f"1 or -1 for some of {rows.shape[1]} inputs by place", dict(signs))
    generator = torch.Generator().manual_seed(seed)

    def drawn(high: int, count: int = pairs) -> Tensor:
        return torch.randint(high, (count,), generator=generator)

    low, other = rows[drawn(len(rows))], rows[drawn(len(rows))]
    places = torch.tensor(list(signs))
    which = places[drawn(len(places))].unsqueeze(1) == torch.arange(rows.shape[1])
    every = torch.zeros(rows.shape[1], dtype=torch.bool).index_fill(0, places, True)
    changed = torch.where((drawn(2) == 1).unsqueeze(1), which, every)
    sign = torch.zeros(rows.shape[1], dtype=torch.float64).index_put(
        (places,), torch.tensor([*signs.values()]).double()
    )
    up = (other - low) * sign
    low, high = torch.where(changed & (up < 0), other, low), torch.where(changed & (up > 0), other, low)
    twin = copy.deepcopy(model).double().cpu()
    with torch.no_grad(), evaluating(twin):
        out = twin(torch.cat([low, high]))
    if out.ndim == 2 and out.shape[1] in (1, 2):
        out = out[:, -1] - out[:, 0] if out.shape[1] == 2 else out[:, 0]
    if out.shape != (2 * pairs,):
        raise DataError(f"the model must give one value or two classes for each row, got {list(out.shape)}.")
    before, after = out[:pairs], out[pairs:]
    back = (before - after).clamp_min(0)
    count = int((back > tolerance * float(out.abs().max())).sum())
    return Violations(pairs, count, float(back.max()) if count else 0.0)
