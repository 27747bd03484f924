"""A network as a program: a list of steps that ``program.cpp`` runs for each member."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from dashpot.evaluation.losses import cross_entropy, squared_error
from dashpot.population.members import Data, Plan
from dashpot.population.program.executor import Program, kernel
from dashpot.population.program.layers import (
    ACTIVATION,
    ACTIVATIONS,
    ADD,
    AT_INPUT,
    COPY,
    DROPOUT,
    EMBEDDINGS,
    LAYERS,
)
from dashpot.population.program.steps import Steps
from dashpot.population.program.tracer import Recording, Step, UnknownStepError, recorded
from dashpot.population.stack import NotStackableError, unchecked
from dashpot.population.tensors import Block


def program_of(
    template: nn.Module, block: Block, columns: int, places: Sequence[str], seen: Recording | None = None
) -> Program | None:
    """The program of ``template``, a member's network, for inputs [batch, columns]; None where there is no compiler, a
    parameter is frozen, or the network does something that no step does.

    Args:
        block: where the parameters of all members lie.
        places: the modules after which dropout acts.
        seen: what the network does, where that was recorded before.
    """
    if kernel() is None or not all(p.requires_grad for p in template.parameters()):
        return None
    try:
        return _Writer(template, block, columns, places).written(seen or recorded(template, columns))
    except UnknownStepError:
        return None
    except Exception:  # the network's own code ran, on rows that are not its data
        return None


class _Writer:
    """From a recorded network to steps: the slot of each value."""

    def __init__(self, template: nn.Module, block: Block, columns: int, places: Sequence[str]) -> None:
        self.modules = dict(template.named_modules())
        self.places = list(places)
        self.steps = Steps(block, columns)
        self.slots = {0: 0}  # of each value
        self.cuts: dict[int, tuple[int, int]] = {}  # values that are columns of the input
        self.makers: dict[int, str | None] = {}  # the module that made each value
        self.reads: Counter[int] = Counter()

    def written(self, recording: Recording) -> Program:
        calls = Counter(step.name for step in recording.steps)
        self.reads = Counter(number for step in recording.steps for number in step.inputs)
        # A second call of a place would draw afresh.
        if not set(self.places) <= set(calls) or any(calls[name] > 1 for name in self.places):
            raise UnknownStepError
        if any(not self.reads[step.output] and step.output != recording.output for step in recording.steps):
            raise UnknownStepError  # its gradient would be that of what last stood in its slot
        for step in recording.steps:
            self.slots[step.output] = self._slot_of(step)
            self.makers[step.output] = step.name
        steps = self.steps
        if not steps.ops or steps.ops[-1]["out"] != self.slots[recording.output]:
            raise UnknownStepError
        widths = np.array(steps.widths, dtype=np.int32)
        return Program(steps.finished(), widths, self.places, steps.norms, steps.tables, steps.used, steps.network)

    def _slot_of(self, step: Step) -> int:
        first = step.inputs[0]
        if step.cut is not None:
            if first != 0:
                raise UnknownStepError
            self.cuts[step.output] = step.cut
            return 0
        if step.join:
            return self._join(step.inputs)
        if first in self.cuts and step.name is not None:
            return self._at_input(step.name, *self.cuts[first])
        if any(number in self.cuts for number in step.inputs):
            raise UnknownStepError
        if step.name is None:
            return self._sum(self.slots[first], self.slots[step.inputs[1]])
        if first == 0 and type(self.modules[step.name]) in EMBEDDINGS:
            return self._at_input(step.name, 0, self.steps.widths[0])
        return self._module(step.name, first)

    def _module(self, name: str, value: int) -> int:
        """A layer, an activation or an idle dropout, and the dropout that a technique wants after it."""
        steps, module, source = self.steps, self.modules[name], self.slots[value]
        place = self.places.index(name) if name in self.places else -1
        kind = type(module)
        if kind in ACTIVATIONS:
            return steps.add(ACTIVATION, source, steps.widths[source], act=ACTIVATIONS[kind], place=place)
        if kind in LAYERS:
            slot = LAYERS[kind](steps, name, module, source)
        elif kind is nn.Identity or isinstance(module, nn.modules.dropout._DropoutNd):
            if place >= 0 and self._fused(value, place):
                return source
            slot = source
        else:
            raise UnknownStepError
        return slot if place < 0 else steps.add(DROPOUT, slot, steps.widths[slot], place=place)

    def _fused(self, value: int, place: int) -> bool:
        """Whether dropout can be done by the activation just before it, whose value nothing else reads."""
        last = self.steps.ops[-1] if self.steps.ops else None
        maker = type(self.modules.get(self.makers.get(value) or ""))
        if self.reads[value] > 1 or last is None or maker not in ACTIVATIONS:
            return False
        if last["kind"] != ACTIVATION or last["place"] >= 0:
            return False
        last["place"] = place
        return True

    def _at_input(self, name: str, start: int, stop: int) -> int:
        """A layer on some columns of the input."""
        write = AT_INPUT.get(type(self.modules[name]))
        if write is None or name in self.places:
            raise UnknownStepError
        return write(self.steps, name, self.modules[name], start, stop)

    def _join(self, values: Sequence[int]) -> int:
        """Columns side by side. A part is a slot, or a cut of the input; where nothing else reads what an embedding
        makes, it is made in its place.
        """
        steps = self.steps
        made = {op["out"]: op for op in steps.ops if "begin" in op}  # what reads columns of the input
        parts = [(self.slots[value], self.cuts.get(value), self.reads[value] == 1) for value in values]
        widths = [steps.widths[slot] if cut is None else cut[1] - cut[0] for slot, cut, _ in parts]
        joined, at = len(steps.widths), 0
        steps.widths.append(sum(widths))
        for (slot, cut, alone), width in zip(parts, widths, strict=True):
            if cut is None and alone and slot in made and made[slot]["outs"] == steps.widths[slot]:
                made[slot] |= {"out": joined, "to": at}
                steps.widths[slot] = 0
            else:
                steps.add(COPY, slot, width, ins=width, begin=cut[0] if cut else 0, into=joined, to=at)
            at += width
        return joined

    def _sum(self, a: int, b: int) -> int:
        if self.steps.widths[a] != self.steps.widths[b]:
            raise UnknownStepError
        return self.steps.add(ADD, a, self.steps.widths[a], other=b)


def fitting_program(
    template: nn.Module, block: Block, data: Data, plan: Plan, places: Sequence[str], seen: Recording | None = None
) -> Program | None:
    """The network as a program, where there is one for these data and this loss: the same arithmetic,
    without autograd.
    """
    fits = (
        data.device.type == "cpu"
        and data.x.dtype == torch.float32
        and data.x.ndim == 2
        and plan.loss in (cross_entropy, squared_error)
    )
    if not fits or kernel() is None or (plan.bfloat16 and not kernel().dashpot_has_low()):
        return None
    program = program_of(template, block, data.x.shape[1], places, seen)
    if program is None:
        return None
    count, y = program.outputs, data.y
    if plan.loss is squared_error:
        usable = y.dtype == torch.float32 and y[0].numel() == count
    elif data.classification:
        usable = y.ndim == 1 and int(y.min()) >= 0 and int(y.max()) < count
    else:
        usable = y.dtype == torch.float32 and y.shape[1:] == (count,)
    return program if usable else None


def programmed(model: nn.Module, data: Data, plan: Plan) -> Recording | None:
    """What members like this one do, where they run as a program. That their stack computes the same is checked when it
    is made.
    """
    if kernel() is None or data.x.ndim != 2:
        return None
    try:
        block, seen = Block(unchecked([model])), recorded(model, data.x.shape[1])
    except NotStackableError:
        return None
    except Exception:  # the network's own code ran, on rows that are not its data
        return None
    return seen if fitting_program(model, block, data, plan, [], seen) is not None else None
