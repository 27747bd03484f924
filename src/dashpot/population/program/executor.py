"""The C++ interpreter of programs, and what it runs on."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core import native
from dashpot.population.tensors import Block

OP = np.dtype(
    [
        (name, np.int32)
        for name in (
            "kind",
            "in",
            "other",
            "out",
            "ins",
            "outs",
            "act",
            "place",
            "wants",
            "add",
            "add_other",
            "low",
            "norm",
        )
    ]
    + [(name, np.int32) for name in ("begin", "to", "count", "table")]
    + [(name, np.float32) for name in ("eps", "momentum", "speed")]
    + [(name, np.int64) for name in ("weight", "bias", "frequency", "phase")],
    align=True,
)
"""``struct Op`` of program.cpp."""
TASK = np.dtype(
    [(name, np.int64) for name in ("members", "batch", "slots", "ops", "width", "classes")]
    + [
        (name, np.uint64)
        for name in (
            "widths",
            "x",
            "soft",
            "hard",
            "shares",
            "values",
            "grads",
            "buffers",
            "tables",
            "keys",
            "rates",
            "scales",
            "objective",
            "outputs",
        )
    ]
    + [(name, np.int64) for name in ("training", "learn", "squares")],
    align=True,
)
"""``struct Task`` of program.cpp."""


@functools.cache
def kernel() -> Any:
    """The loaded library, or None."""
    library = native.library(Path(__file__).with_name("program.cpp"))
    if library is None:
        return None
    library.dashpot_op_size.restype = library.dashpot_task_size.restype = ctypes.c_int64
    if (library.dashpot_op_size(), library.dashpot_task_size()) != (OP.itemsize, TASK.itemsize):
        return None
    library.dashpot_program.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
    library.dashpot_program.restype = None
    return library


@dataclass
class Program:
    """The steps of a network.

    Attributes:
        ops: an array of :data:`OP`.
        widths: of the slots; slot 0 is the input, the last step's the output.
        places: the names of the modules after which dropout acts.
        norms: the names of the normalizations, in the order of ``Op.norm``, with running statistics or not.
        tables: the names of the constant buffers, in the order of ``Op.table``.
        parameters: the positions of the parameters that get gradients.
    """

    ops: np.ndarray
    widths: np.ndarray
    places: list[str]
    norms: list[str]
    tables: list[str]
    parameters: set[int]
    network: nn.Module = field(repr=False)

    @property
    def outputs(self) -> int:
        """The width of the output."""
        return int(self.widths[self.ops[-1]["out"]])


NOTHING = np.zeros(0, dtype=np.float32)


class ProgramExecutor:
    """A program on the parameters of a block.

    Args:
        program: the steps.
        block: the parameters, which stay where they are; their gradients come in the same layout.
    """

    def __init__(self, program: Program, block: Block) -> None:
        self.program, self.block = program, block
        self.grads = torch.zeros_like(block.values)
        self.views = [block.view(self.grads, segment) for segment in block.segments]
        named = block.buffers
        pairs = [
            named.get(f"{norm}.{leaf}".lstrip("."))
            for norm in program.norms
            for leaf in ("running_mean", "running_var")
        ]
        counts = [named.get(f"{norm}.num_batches_tracked".lstrip(".")) for norm in program.norms]
        self._counts = [count for count in counts if count is not None]
        # What is the same in every step; the arrays must live as long as their addresses are in use.
        self._buffers = np.array([0 if b is None else b.data_ptr() for b in pairs], dtype=np.uint64)
        self._tables = np.array([named[name].data_ptr() for name in program.tables], dtype=np.uint64)
        self._task = np.zeros(1, TASK)
        settings = {
            "slots": len(program.widths),
            "ops": len(program.ops),
            "width": block.values.shape[1],
            "classes": program.outputs,
        }
        settings |= {
            "widths": program.widths.ctypes.data,
            "values": block.values.data_ptr(),
            "grads": self.grads.data_ptr(),
        }
        settings |= {"buffers": self._buffers.ctypes.data, "tables": self._tables.ctypes.data}
        for name, value in settings.items():
            self._task[name] = value
        self._rates: tuple[np.ndarray | None, np.ndarray, np.ndarray] = (None, NOTHING, NOTHING)

    def train(
        self,
        x: Tensor,
        y: Tensor,
        keys: np.ndarray,
        rates: np.ndarray,
        *,
        learn: bool,
        squares: bool,
        share: Tensor | None = None,
    ) -> Tensor:
        """Put the gradients of each member's mean loss into ``grads``.

        Args:
            x: inputs [member, batch, columns].
            y: classes [member, batch], class probabilities [member, batch, classes], or values.
            keys: of dropout [place, member], uint64.
            rates: of dropout [place, member], float32.
            learn: whether running statistics move.
            squares: squared error, else cross entropy.
            share: of each sample in its member's loss, float32 [member, batch]; by default 1 / batch.

        Returns:
            The losses [member].
        """
        objective = torch.empty(len(x), dtype=torch.float32, device="cpu")
        if self._rates[0] is not rates:
            own = np.ascontiguousarray(rates, dtype=np.float32)
            self._rates = rates, own, np.float32(1) / np.maximum(np.float32(1) - own, np.finfo(np.float32).tiny)
        y, keys = y.contiguous(), np.ascontiguousarray(keys, dtype=np.uint64)
        soft = y.is_floating_point()
        share = None if share is None else share.contiguous()
        y = y.float() if soft else y
        addresses = {
            "soft": y.data_ptr() if soft else 0,
            "hard": 0 if soft else y.data_ptr(),
            "shares": 0 if share is None else share.data_ptr(),
            "objective": objective.data_ptr(),
        }
        addresses |= {
            "keys": keys.ctypes.data,
            "rates": self._rates[1].ctypes.data,
            "scales": self._rates[2].ctypes.data,
        }
        if learn:
            for count in self._counts:
                count.add_(1)
        self._run(self._task, x, addresses | {"training": 1, "learn": int(learn), "squares": int(squares)})
        return objective

    def outputs(self, x: Tensor, values: Tensor | None = None, buffers: Mapping[str, Tensor] | None = None) -> Tensor:
        """[member, batch, columns] to [member, batch, outputs], in evaluation mode.

        Args:
            values: weights instead of the block's.
            buffers: buffers instead of the block's, all of them.
        """
        out = torch.empty(*x.shape[:2], self.program.outputs, dtype=torch.float32, device="cpu")
        task = self._task.copy()
        values, named = (
            self.block.values if values is None else values.contiguous(),
            self.block.buffers if buffers is None else buffers,
        )
        held = [
            named.get(f"{norm}.{leaf}".lstrip("."))
            for norm in self.program.norms
            for leaf in ("running_mean", "running_var")
        ]
        pairs = np.array([0 if b is None else b.data_ptr() for b in held], dtype=np.uint64)
        tables = np.array([named[name].data_ptr() for name in self.program.tables], dtype=np.uint64)
        addresses = {"values": values.data_ptr(), "buffers": pairs.ctypes.data, "tables": tables.ctypes.data}
        self._run(task, x, addresses | {"outputs": out.data_ptr(), "training": 0})
        return out

    def _run(self, task: np.ndarray, x: Tensor, extra: Mapping[str, int]) -> None:
        x = x.contiguous()
        row = task[0]
        row["members"], row["batch"], row["x"] = x.shape[0], x.shape[1], x.data_ptr()
        for name, value in extra.items():
            row[name] = value
        kernel().dashpot_program(self.program.ops.ctypes.data, task.ctypes.data, torch.get_num_threads())
