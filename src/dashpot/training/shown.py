"""How the result of a training shows itself: in a notebook, and as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dashpot.core.digits import digits
from dashpot.core.notebook import table, titled, words

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Shown:
    """For a result with its history."""

    history: Sequence[Mapping[str, Any]]
    stopped: str
    best_epoch: int | None
    diverged: str | None

    def figure(self, title: str = "training") -> Figure:
        """The curves of loss and score as a matplotlib figure, which a notebook shows and ``savefig`` writes."""
        from dashpot.report.fit.curves import draw_curves

        return draw_curves(self.history, title, self.best_epoch)

    def _repr_html_(self) -> str:
        """In a notebook: how it ended, and the scores of the kept, or the last, epoch."""
        kept = [row for row in self.history if row["epoch"] == self.best_epoch] or list(self.history[-1:])
        names = list(dict.fromkeys(name.partition("_")[2] for row in kept for name in row if name.startswith("train_")))
        parts = {"training": "train", "validation": "val"}
        shown = {
            rows: [digits(row[f"{part}_{name}"]) if f"{part}_{name}" in row else "" for name in names]
            for row in kept
            for rows, part in parts.items()
        }
        found = [(rows, *scores) for rows, scores in shown.items() if any(scores)]
        ended = f"Diverged: {self.diverged}" if self.diverged else f"Ended: {self.stopped}"
        lines = [ended] + ([f"Weights of epoch {self.best_epoch} were kept"] if self.best_epoch else [])
        scores = table(("rows", *(name.replace("_", " ") for name in names)), found) if found else ""
        return titled(f"A training of {len(self.history)} epochs", words(lines), scores)
