"""The record of a run whose network became smaller: ``shrunk.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dashpot.core.language import aligned, mark, say
from dashpot.core.records import Record

UNITS = {"parameters": mark("parameters"), "macs": mark("multiply-adds"), "bytes": mark("bytes")}


@dataclass(frozen=True)
class ShrinkRecord(Record):
    """What became smaller, and what that saves.

    Attributes:
        run: the folder of the large network.
        before, after: parameters, macs (of one sample) and bytes.
        layers: of each tensor that became smaller its shape before and after.
        stayed: units that are empty and stayed, by the reason.
        difference: of outputs, as a share of the largest one: between the network with its empty units and without.
        asked: the size that was asked for, or empty.
        reached: where a time was asked for, how many times as fast the network was measured to be.
        how: ``"exact"``, ``"trained"`` further with a penalty, or ``"cut"`` by the size of weights.
        epochs: of the training.
        changed: of a cut how far outputs on random inputs moved, as a share of the largest one.
        latency: by rows of a call milliseconds before and after: medians on one thread.
        by_layer: of each module its name, kind, and [before, after] of parameters, macs, bytes, ms_1 and ms_64.
        scores: by part of the data (``"test"``, ...) scores by name as [before, after]; empty without data.
        data: name, rows and fingerprint of it.
        machine: where times were measured.
        factors: of layers that became two the rank, by name.
        sparse: of layers that became sparse matrices how many weights they have, by name.
        folded: batch norms that became a part of the layer in front of them.
        whole: of layers of low rank, and batch norms, that stayed as they were, why.
        left_out: techniques of the run's recipe that do not go with the penalty.
    """

    FILE: ClassVar[str] = "shrunk.json"
    COMMAND: ClassVar[str] = "dashpot shrink"

    run: str
    before: Mapping[str, int]
    after: Mapping[str, int]
    layers: Mapping[str, Sequence[Sequence[int]]] = field(default_factory=dict)
    stayed: Mapping[str, int] = field(default_factory=dict)
    difference: float = 0.0
    asked: str = ""
    reached: float | None = None
    how: str = "exact"
    epochs: int | None = None
    changed: float | None = None
    latency: Mapping[str, Sequence[float]] = field(default_factory=dict)
    by_layer: Sequence[Mapping[str, Any]] = ()
    scores: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    factors: Mapping[str, int] = field(default_factory=dict)
    sparse: Mapping[str, int] = field(default_factory=dict)
    folded: Sequence[str] = ()
    whole: Mapping[str, str] = field(default_factory=dict)

    def summary(self) -> str:
        """Before and after as a table, each layer in a line, and what it costs."""
        rows = [("", say("before"), say("after"), say("ratio"))]
        for name, said in UNITS.items():
            old, new = self.before[name], self.after[name]
            times = say("{times:.3g}x smaller", times=old / max(new, 1))
            rows.append((say(said), f"{old:,}", f"{new:,}", times))
        for batch, (slow, fast) in self.latency.items():
            times = say("{times:.3g}x faster", times=slow / fast)
            rows.append((say("ms at batch {n}", n=batch), f"{slow:.4g}", f"{fast:.4g}", times))
        for part, scores in self.scores.items():
            for name, (first, second) in scores.items():
                what = say("{part} {score}", part=say(part), score=say(name.replace("_", " ")))
                rows.append((what, f"{first:.4f}", f"{second:.4f}", ""))
        lines = [*aligned(rows, right=True), ""]
        if self.by_layer:
            told = [(say("layer"), say("parameters"), say("multiply-adds"), say("ms at batch {n}", n=64))]
            for layer in self.by_layer:
                pairs = (layer["parameters"], layer["macs"])
                counts = [_pair(*(f"{n:,}" for n in pair)) for pair in pairs]
                told.append((layer["name"] or layer["kind"], *counts, _pair(*(f"{n:.3g}" for n in layer["ms_64"]))))
            lines += [*aligned(told, right=True), ""]
        if self.reached is not None:
            lines.append(say("{size} asked for; measured: {times:.3g}x", size=self.asked, times=self.reached))
        lines += self.further()
        lines += [
            say("{n} zero units stayed: {why}" if n > 1 else "{n} zero unit stayed: {why}", n=n, why=say(why))
            for why, n in self.stayed.items()
        ]
        if self.how == "cut":
            lines.append(say("without training: the units that matter least by their weights left"))
            moved = self.changed or 0.0
            lines.append(say("outputs on random inputs moved by {share:.0%} of the largest one", share=moved))
            if not self.scores:
                lines.append(say("accuracy was not measured and may be far lower: train further with --data FILE"))
        else:
            lines.append(say("the cut changed outputs by {n:.1e} of the largest one at most", n=self.difference))
        if self.left_out:
            lines.append(say("without {names}, which do not go with the penalty", names=say(", ").join(self.left_out)))
        return "\n".join(lines)

    def further(self) -> list[str]:
        """What was done to it besides, as sentences."""
        lines = [say("batch norms folded: {names}", names=say(", ").join(self.folded))] if self.folded else []
        lines += [
            say("{name}: two factors of rank {rank}", name=name, rank=rank) for name, rank in self.factors.items()
        ]
        lines += [say("{name}: a sparse matrix of {n:,} weights", name=name, n=n) for name, n in self.sparse.items()]
        return [*lines, *(say("{name} stays: {why}", name=name, why=say(why)) for name, why in self.whole.items())]


def _pair(old: str, new: str) -> str:
    return old if old == new else f"{old} > {new}"
