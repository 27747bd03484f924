"""A network as a list of steps that the C++ interpreter in ``program.cpp`` takes, member by member."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from dashpot.evaluation.losses import cross_entropy, squared_error
from dashpot.nets.layers import NominalEmbedding, Scaling
from dashpot.nets.numeric import Periodic, PiecewiseLinear
from dashpot.population.members import Data, Plan
from dashpot.population.program.executor import OP, Program, kernel
from dashpot.population.program.tracer import Recording, UnknownStepError, recorded
from dashpot.population.stack import NotStackableError, StackedLinear, unchecked
from dashpot.population.tensors import Block

LINEAR, BATCH_NORM, LAYER_NORM, ACTIVATION, DROPOUT, SCALING, ADD, COPY, PIECEWISE, PERIODIC, NOMINAL = range(11)
LEAVES = ("weight", "bias", "frequency", "phase")
ACTIVATIONS: dict[type[nn.Module], int] = {nn.ReLU: 1, nn.SiLU: 2, nn.SELU: 3, nn.Mish: 4, nn.Tanh: 5}

EMBEDDINGS = (PiecewiseLinear, Periodic, NominalEmbedding)
"""They stand at the input, whose gradient nobody wants."""


def program_of(
    template: nn.Module, block: Block, columns: int, places: Sequence[str], seen: Recording | None = None
) -> Program | None:
    """The steps of ``template``, a member's network, for inputs [batch, columns]; None where there is a step that the
    interpreter does not know.

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
    def __init__(self, template: nn.Module, block: Block, columns: int, places: Sequence[str]) -> None:
        self.modules = dict(template.named_modules())
        self.places, self.block = list(places), block
        self.segments = {s.name: (t, s) for t, s in enumerate(block.segments)}
        self.twins = dict(block.network.named_modules())
        self.ops: list[dict[str, Any]] = []
        self.widths: list[int] = [columns]
        self.norms: list[str] = []
        self.tables: list[str] = []
        self.used: set[int] = set()

    def written(self, recording: Recording) -> Program:
        slots, makers = {0: 0}, dict[int, str | None]()
        cuts: dict[int, tuple[int, int]] = {}  # of the input
        reads = Counter(number for step in recording.steps for number in step.inputs)
        calls = Counter(step.name for step in recording.steps)
        if not set(self.places) <= set(calls) or any(
            calls[name] > 1 for name in self.places
        ):  # a second call would draw afresh
            raise UnknownStepError
        if any(not reads[step.output] and step.output != recording.output for step in recording.steps):
            raise UnknownStepError  # gradients would be those of another step
        for step in recording.steps:
            first = step.inputs[0]
            if step.cut is not None:
                if first != 0:
                    raise UnknownStepError
                slots[step.output], cuts[step.output] = 0, step.cut
            elif step.join:
                slots[step.output] = self._join([(slots[n], cuts.get(n), reads[n] == 1) for n in step.inputs])
            elif first in cuts and step.name is not None:
                slots[step.output] = self._at_input(step.name, *cuts[first])
            elif any(n in cuts for n in step.inputs):
                raise UnknownStepError
            elif step.name is None:
                slots[step.output] = self._add(slots[first], slots[step.inputs[1]])
            elif first == 0 and type(self.modules[step.name]) in EMBEDDINGS:
                slots[step.output] = self._at_input(step.name, 0, self.widths[0])
            else:
                slots[step.output] = self._module(
                    step.name, slots[first], only=reads[first] == 1, name_before=makers.get(first)
                )
            makers[step.output] = step.name
        if not self.ops or self.ops[-1]["out"] != slots[recording.output]:
            raise UnknownStepError
        self._gradients()
        ops = np.zeros(len(self.ops), OP)
        for row, op in zip(ops, self.ops, strict=True):
            for name, value in op.items():
                row[name] = value
        return Program(
            ops,
            np.array(self.widths, dtype=np.int32),
            self.places,
            self.norms,
            self.tables,
            self.used,
            self.block.network,
        )

    def _module(self, name: str, source: int, only: bool, name_before: str | None) -> int:
        """``only``: nothing else reads what this module reads."""
        module, width = self.modules[name], self.widths[source]
        place = self.places.index(name) if name in self.places else -1
        kind, dot = type(module), f"{name}." if name else ""
        if kind is nn.Linear:
            if module.in_features != width:
                raise UnknownStepError
            twin = self.twins[name]
            low = (
                isinstance(twin, StackedLinear)
                and twin.low
                and min(module.in_features, module.out_features) >= StackedLinear.WIDE
            )
            slot = self._step(
                LINEAR,
                source,
                module.out_features,
                weight=f"{dot}weight",
                bias=module.bias is not None and f"{dot}bias",
                low=low,
            )
        elif kind is nn.BatchNorm1d or kind is nn.LayerNorm:
            if (
                (module.num_features,) != (width,)
                if kind is nn.BatchNorm1d
                else tuple(module.normalized_shape) != (width,)
            ):
                raise UnknownStepError
            if name in self.norms:
                raise UnknownStepError
            weight, bias = (getattr(module, leaf) is not None and f"{dot}{leaf}" for leaf in ("weight", "bias"))
            self.norms.append(name)
            which, momentum = (BATCH_NORM, module.momentum) if kind is nn.BatchNorm1d else (LAYER_NORM, 0.0)
            slot = self._step(
                which,
                source,
                width,
                weight=weight,
                bias=bias,
                norm=len(self.norms) - 1,
                eps=module.eps,
                momentum=momentum,
            )
        elif kind is Scaling:
            slot = self._step(SCALING, source, width, weight=f"{dot}theta", speed=module.speed)
        elif kind in ACTIVATIONS:
            return self._step(ACTIVATION, source, width, act=ACTIVATIONS[kind], place=place)
        elif kind is nn.Identity or isinstance(module, nn.modules.dropout._DropoutNd):
            if place < 0:
                return source
            last = self.ops[-1] if self.ops else None
            if (
                only
                and last is not None
                and last["kind"] == ACTIVATION
                and last["place"] < 0
                and type(self.modules.get(name_before or "")) in ACTIVATIONS
            ):
                last["place"] = place
                return source
            slot = source
        else:
            raise UnknownStepError
        return slot if place < 0 else self._step(DROPOUT, slot, self.widths[slot], place=place)

    def _at_input(self, name: str, start: int, stop: int) -> int:
        """A layer on some columns of the input."""
        module, width = self.modules[name], stop - start
        if name in self.places:
            raise UnknownStepError
        if type(module) is PiecewiseLinear:
            features, bins, size = module.weight.shape
            if features != width or f"{name}.edges" in self.tables:
                raise UnknownStepError
            self.tables.append(f"{name}.edges")
            fields = {"weight": f"{name}.weight", "bias": f"{name}.bias", "count": bins, "table": len(self.tables) - 1}
            return self._step(PIECEWISE, 0, width * (size + 1), ins=width, begin=start, **fields)
        if type(module) is Periodic:
            features, waves, size = module.weight.shape
            if features != width:
                raise UnknownStepError
            fields = {leaf: f"{name}.{leaf}" for leaf in LEAVES} | {"count": waves}
            return self._step(PERIODIC, 0, width * (size + 1), ins=width, begin=start, **fields)
        if type(module) is NominalEmbedding:
            if module.weight.shape[0] != width:
                raise UnknownStepError
            return self._step(NOMINAL, 0, module.weight.shape[1], ins=width, begin=start, weight=f"{name}.weight")
        if type(module) is nn.Identity:
            return self._step(COPY, 0, width, ins=width, begin=start)
        raise UnknownStepError

    def _join(self, parts: list[tuple[int, tuple[int, int] | None, bool]]) -> int:
        """Columns side by side. A part is a slot, or a cut of the input; where nothing else reads what an embedding
        makes, it is made in its place.
        """
        made = {op["out"]: op for op in self.ops if op["kind"] >= COPY}
        widths = [self.widths[slot] if cut is None else cut[1] - cut[0] for slot, cut, _ in parts]
        joined, at = len(self.widths), 0
        self.widths.append(sum(widths))
        for (slot, cut, alone), width in zip(parts, widths, strict=True):
            if cut is None and alone and slot in made and made[slot]["outs"] == self.widths[slot]:
                made[slot] |= {"out": joined, "to": at}
                self.widths[slot] = 0
            else:
                self._step(COPY, slot, width, ins=width, begin=cut[0] if cut else 0, into=joined, to=at)
            at += width
        return joined

    def _add(self, a: int, b: int) -> int:
        if self.widths[a] != self.widths[b]:
            raise UnknownStepError
        return self._step(ADD, a, self.widths[a], other=b)

    def _step(self, kind: int, source: int, outs: int, **fields: Any) -> int:
        """A step into a slot of its own, or ``into`` another."""
        names = {leaf: fields.pop(leaf, False) for leaf in LEAVES}
        into = fields.pop("into", None)
        out = len(self.widths) if into is None else into
        op = {
            "kind": kind,
            "in": source,
            "other": -1,
            "out": out,
            "ins": self.widths[source],
            "outs": outs,
            "act": 0,
            "place": -1,
        }
        op |= {"add": 0, "add_other": 0, "low": 0, "norm": -1, "table": -1} | dict.fromkeys(LEAVES, -1) | fields
        for leaf, name in names.items():
            if name:
                t, segment = self.segments[name]
                if t in self.used:
                    raise UnknownStepError  # used twice: gradients would have to be added
                self.used.add(t)
                op[leaf] = segment.start
        self.ops.append(op)
        if into is None:
            self.widths.append(outs)
        return int(op["out"])

    def _gradients(self) -> None:
        """Which gradients are wanted, and which are added to what is there."""
        below = {0: False}
        for op in self.ops:
            own = any(op[leaf] >= 0 for leaf in LEAVES)
            op["wants"] = below[op["in"]]
            below[op["out"]] = own or below[op["in"]] or below.get(op["other"], False) or below.get(op["out"], False)
            if op["kind"] == ADD and not (below[op["in"]] and below[op["other"]]):
                raise UnknownStepError
        filled: set[int] = set()
        for op in reversed(self.ops):
            if op["wants"]:
                op["add"] = op["in"] in filled
                filled.add(op["in"])
            if op["other"] >= 0:
                op["add_other"] = op["other"] in filled
                filled.add(op["other"])


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
    if not fits or kernel() is None or (plan.low and not kernel().dashpot_has_low()):
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
