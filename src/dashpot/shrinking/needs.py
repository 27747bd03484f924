"""Sizes that are written in code: which lines fail with fewer units, and what stays because of them."""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dashpot.core.errors import ConflictError
from dashpot.shrinking.limits import Back, Lasting
from dashpot.shrinking.units import along
from dashpot.shrinking.value import Step

Lines = tuple[str, ...]
"""Where in the code an operation is called, as ``"file:number"``, the outermost call first."""
MOST = 12
"""So many lines are tried."""
WAY_OUT = "write -1, or read the size from a tensor's shape or a layer's attribute"


class SizesError(ConflictError):
    """The small network cannot be called; ``lines`` say where it fails, the outermost call first."""

    def __init__(self, message: str, lines: Sequence[str]) -> None:
        super().__init__(message)
        self.lines = tuple(lines)


class Needs:
    """Of lines that failed how much stays: 1, of what is split in two along an axis the first number; 2, everything."""

    def __init__(self) -> None:
        self.levels: dict[Lines, int] = {}

    def learn(self, failed: Sequence[str], known: Iterable[Lines]) -> bool:
        """Ask more of the operation that failed; whether one is known and there is more to ask for."""
        key = _match(failed, known)
        if key is None or self.levels.get(key, 0) >= 2 or len(self.levels) >= MOST:
            return False
        self.levels[key] = self.levels.get(key, 0) + 1
        return True

    def ask(self, step: Step) -> None:
        """Keep what the operation needs."""
        level = self.levels.get(step.lines, 0)
        if level == 0:
            return
        reason = f"{said(step.lines)}, has sizes of its own: {WAY_OUT}"
        if level == 1:
            split = _split(step)
            if split is not None:
                step.limits.append(Rows(f"rows of step {id(step)}", reason, split))
            return
        for value in [*step.tensors(), *step.made]:
            step.units.pin(value.label, reason)


class Rows:
    """Of each of some labels' rows at least one stays, so that their number does."""

    def __init__(self, weight: str, where: str, rows: Tensor) -> None:
        self.weight, self.where, self.rows = weight, where, rows

    def labels(self) -> Tensor:
        return self.rows.reshape(-1)

    def back(self, lasting: Lasting) -> Back:
        empty = ~lasting(self.rows).any(1)
        if bool(empty.any()):
            yield self.rows[empty][:, 0], self.where


def _split(step: Step) -> Tensor | None:
    """Where a step makes two axes of one, the labels [first, all others]; None where it does not."""
    if step.operation not in ("view", "reshape", "_unsafe_view", "unflatten") or len(step.made) != 1:
        return None
    label = step.made[0].label
    axes = along(label)
    if len(axes) != 2 or label.ndim <= step.sources[0].value.ndim:
        return None
    for d in range(label.ndim):
        if d not in axes:
            label = label.narrow(d, 0, 1)
    return torch.movedim(label, axes, [0, 1]).reshape(label.shape[axes[0]], -1)


def _match(failed: Sequence[str], known: Iterable[Lines]) -> Lines | None:
    """The operation that is called by lines of those, in their order; the longest one."""
    best: Lines | None = None
    for lines in known:
        there = iter(failed)
        if lines and all(line in there for line in lines) and (best is None or len(lines) > len(best)):
            best = lines
    return best


def said(lines: Sequence[str]) -> str:
    """The innermost line that is not torch's own, as text."""
    package = str(Path(torch.__file__).parent)
    own = [line for line in lines if not line.startswith(package)] or list(lines)
    if not own:
        return "its forward"
    file, _, number = own[-1].rpartition(":")
    code = linecache.getline(file, int(number)).strip()
    return f"{Path(file).name}:{number}, `{code[:80]}`" if code else f"{Path(file).name}:{number}"
