"""The record of a run whose network became smaller: ``shrunk.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dashpot.core.language import mark
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
    folded: Sequence[str] = ()
    whole: Mapping[str, str] = field(default_factory=dict)

    def summary(self) -> str:
        """Before and after as a table, each layer in a line, and what it costs."""
        rows = [("", "before", "after", "ratio")]
        for name, said in UNITS.items():
            old, new = self.before[name], self.after[name]
            rows.append((said, f"{old:,}", f"{new:,}", f"{old / max(new, 1):.3g}x smaller"))
        for batch, (slow, fast) in self.latency.items():
            rows.append((f"ms at batch {batch}", f"{slow:.4g}", f"{fast:.4g}", f"{slow / fast:.3g}x faster"))
        for part, scores in self.scores.items():
            for name, (first, second) in scores.items():
                rows.append((f"{part} {name.replace('_', ' ')}", f"{first:.4f}", f"{second:.4f}", ""))
        lines = [*_table(rows), ""]
        if self.by_layer:
            told = [("layer", "parameters", "multiply-adds", "ms at batch 64")]
            for layer in self.by_layer:
                pairs = (layer["parameters"], layer["macs"])
                counts = [_pair(*(f"{n:,}" for n in pair)) for pair in pairs]
                told.append((layer["name"] or layer["kind"], *counts, _pair(*(f"{n:.3g}" for n in layer["ms_64"]))))
            lines += [*_table(told), ""]
        if self.reached is not None:
            lines.append(f"{self.asked} asked for; measured: {self.reached:.3g}x")
        lines += self.further()
        lines += [f"{n} zero {'units' if n > 1 else 'unit'} stayed: {why}" for why, n in self.stayed.items()]
        if self.how == "cut":
            lines.append("without training: the units that matter least by their weights left")
            lines.append(f"outputs on random inputs moved by {self.changed or 0.0:.0%} of the largest one")
            if not self.scores:
                lines.append("accuracy was not measured and may be far lower: train further with --data FILE")
        else:
            lines.append(f"the cut changed outputs by {self.difference:.1e} of the largest one at most")
        if self.left_out:
            lines.append(f"without {', '.join(self.left_out)}, which do not go with the penalty")
        return "\n".join(lines)

    def further(self) -> list[str]:
        """What was done to it besides, as sentences."""
        lines = [f"batch norms folded: {', '.join(self.folded)}"] if self.folded else []
        lines += [f"{name}: two factors of rank {rank}" for name, rank in self.factors.items()]
        return [*lines, *(f"{name} stays: {why}" for name, why in self.whole.items())]


def _pair(old: str, new: str) -> str:
    return old if old == new else f"{old} > {new}"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(part.rjust(w) for part, w in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    ]
