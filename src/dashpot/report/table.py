"""The table of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dashpot.report.stats import Interval, Row, summarize

if TYPE_CHECKING:
    from rich.table import Table

METRICS = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "r2": "R2", "rmse": "RMSE", "loss": "loss"}
_HEADS = ("", "test {metric}", "minus plain, 95 % interval", "train-test", "zeros", "sec")


def compare_table(record: Mapping[str, Any]) -> Table:
    """A rich table: the networks, then the references."""
    from rich import box
    from rich.table import Table

    metric = METRICS[record["metric"]]
    table = Table(box=box.SIMPLE_HEAD, title=title(record), title_justify="left", pad_edge=False)
    for i, head in enumerate(_HEADS):
        table.add_column(
            head.format(metric=metric), justify="left" if i == 0 else "right", no_wrap=i > 0, overflow="fold", min_width=16 if i == 0 else None
        )
    rows = summarize(record)
    best = max((row.score for row in rows if row.score is not None), default=None)
    for i, row in enumerate(rows):
        last = i + 1 < len(rows) and rows[i + 1].kind != row.kind
        style = "bold" if row.score == best and best is not None else "dim" if row.kind == "reference" else ""
        table.add_row(*cells(row), style=style, end_section=last)
    return table


def cells(row: Row) -> tuple[str, ...]:
    """The text of a row's cells."""
    if row.score is None:
        return (row.name, "failed", "", "", "", "")
    score = f"{row.score:.4f}" + (f" ± {row.error:.4f}" if row.error is not None else "")
    zeros = "" if row.zeros is None else f"{row.zeros:.1%}"
    return (row.name, score, difference_text(row.difference), f"{row.gap:+.4f}", zeros, f"{row.seconds:.1f}")


def difference_text(difference: Interval | None) -> str:
    """``+0.0123 [-0.0010, +0.0256]``, or the mean alone where there is one run."""
    if difference is None:
        return ""
    if difference.low is None:
        return f"{difference.mean:+.4f}"
    return f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


def title(record: Mapping[str, Any]) -> str:
    """What was compared."""
    repeats = record["repeats"]
    splits = f"{repeats} splits" if repeats != 1 else "1 split, so no intervals"
    return f"{record['dataset']}: {record['rows']:,} rows, {record['features']:,} features, {splits}"


def notes(record: Mapping[str, Any]) -> list[str]:
    """What failed, a line for each arm."""
    return [f"{row.name}: {row.failed}" for row in summarize(record) if row.failed]
