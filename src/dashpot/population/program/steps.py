"""The steps of a program while it is written: their slots, weights, normalizations and constant tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from dashpot.population.program.executor import OP
from dashpot.population.program.tracer import UnknownStepError
from dashpot.population.tensors import Block

LEAVES = ("weight", "bias", "frequency", "phase")


class Steps:
    """What is written so far.

    Attributes:
        ops: a dictionary for each step; see ``struct Op`` of program.cpp.
        widths: of the slots; slot 0 is the input.
        norms, tables: names of normalizations and of constant buffers, in the order of their numbers.
        used: the positions of the parameters that get gradients.
        network: the stacked network.
    """

    def __init__(self, block: Block, columns: int) -> None:
        self.network = block.network
        self.ops: list[dict[str, Any]] = []
        self.widths: list[int] = [columns]
        self.norms: list[str] = []
        self.tables: list[str] = []
        self.used: set[int] = set()
        self._segments = {s.name: (t, s) for t, s in enumerate(block.segments)}
        self._twins = dict(block.network.named_modules())

    def twin(self, name: str) -> nn.Module | None:
        """The stacked form of a layer."""
        return self._twins.get(name)

    def add(self, kind: int, source: int, outs: int, **fields: Any) -> int:
        """A step into a slot of its own, or ``into`` another; returns the slot. The fields ``weight``, ``bias``,
        ``frequency`` and ``phase`` are names of parameters, or False.

        Raises:
            UnknownStepError: a parameter is used twice, and its gradients would have to be added.
        """
        names = {leaf: fields.pop(leaf, False) for leaf in LEAVES}
        into = fields.pop("into", None)
        out = len(self.widths) if into is None else into
        op = {"kind": kind, "in": source, "other": -1, "out": out, "ins": self.widths[source], "outs": outs}
        op |= {"act": 0, "place": -1, "add": 0, "add_other": 0, "low": 0, "norm": -1, "table": -1}
        op |= dict.fromkeys(LEAVES, -1) | fields
        for leaf, name in names.items():
            if name:
                t, segment = self._segments[name]
                if t in self.used:
                    raise UnknownStepError
                self.used.add(t)
                op[leaf] = segment.start
        self.ops.append(op)
        if into is None:
            self.widths.append(outs)
        return int(op["out"])

    def norm(self, name: str) -> int:
        """The number of a normalization, which may be called once."""
        return _numbered(self.norms, name)

    def table(self, name: str) -> int:
        """The number of a constant buffer, which may be read once."""
        return _numbered(self.tables, name)

    def finished(self) -> np.ndarray:
        """The steps as an array of :data:`OP`, with the gradients that are wanted, and which of them are added to what
        is there.
        """
        self._say_what_is_wanted()
        filled: set[int] = set()
        for op in reversed(self.ops):
            if op["wants"]:
                op["add"] = op["in"] in filled
                filled.add(op["in"])
            if op["other"] >= 0:
                op["add_other"] = op["other"] in filled
                filled.add(op["other"])
        ops = np.zeros(len(self.ops), OP)
        for row, op in zip(ops, self.ops, strict=True):
            for name, value in op.items():
                row[name] = value
        return ops

    def _say_what_is_wanted(self) -> None:
        below = {0: False}
        for op in self.ops:
            own = any(op[leaf] >= 0 for leaf in LEAVES)
            op["wants"] = below[op["in"]]
            below[op["out"]] = own or below[op["in"]] or below.get(op["other"], False) or below.get(op["out"], False)
            if op["other"] >= 0 and not (below[op["in"]] and below[op["other"]]):
                raise UnknownStepError


def _numbered(names: list[str], name: str) -> int:
    if name in names:
        raise UnknownStepError
    names.append(name)
    return len(names) - 1
