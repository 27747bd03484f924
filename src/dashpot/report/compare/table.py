"""The table of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashpot.core.digits import digits
from dashpot.core.language import mark, say, told
from dashpot.evaluation.statistics import Interval
from dashpot.report.compare.record import ALL, BASELINE, CompareRecord
from dashpot.report.compare.stats import Given, Row, summarize
from dashpot.report.style import METRICS

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.measure import Measurement
    from rich.table import Table


WARNED = (mark("the solver stopped short of its tolerance for some strengths"),)
"""What a record says of a solver."""


def compare_table(record: Given) -> Table:
    """A rich table: the networks, then the reference models. It needs 97 columns, or 80 with the intervals on lines of
    their own.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    record = CompareRecord.of(record)
    rows = summarize(record)
    spread = any(row.difference is not None and row.difference.low is not None for row in rows)
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        title=Text(title(record)),
        title_justify="left",
        caption=Text(_caption(spread)),
        caption_justify="left",
    )
    table.add_column("", min_width=14, overflow="fold")
    difference = say("minus baseline, 95 % interval") if spread else say("minus baseline")
    tested = say("test {score}", score=say(METRICS.get(record.metric, record.metric)))
    for name in (tested, difference, say("gap"), say("zeros"), say("sec")):
        # Where nothing fits any more a cut number must look cut.
        table.add_column(Text(name), justify="right", no_wrap=name != difference, overflow="ellipsis")
    best = max((row.score for row in rows if row.score is not None), default=None)
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        style = "bold" if row.score is not None and row.score == best else "dim" if row.kind == "reference" else ""
        name, score, _, *rest = cells(row)
        table.add_row(
            Text(name),
            Text(score),
            _Difference(row.difference),
            *map(Text, rest),
            style=style,
            end_section=_ends(row, after),
        )
    return table


def compare_text(record: Given, width: int = 100) -> str:
    """The same as plain text for files and pipes, with a line below for each arm that failed.

    Args:
        record: of a comparison, or the content of its compare.json.
        width: columns.
    """
    import io

    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(compare_table(record))
    lines = [line.rstrip() for line in capture.get().splitlines()]
    return "\n".join([*lines, *notes(record)]).strip("\n") + "\n"


class _Difference:
    """A mean and its interval: side by side where there is room, else one below the other, and never broken inside."""

    def __init__(self, difference: Interval | None) -> None:
        self.text = difference_text(difference)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.measure import Measurement

        parts = self.text.split(" ", 1)
        return Measurement(max(map(len, parts)), len(self.text))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        fits = len(self.text) <= options.max_width
        yield Text(
            self.text if fits else self.text.replace(" ", "\n", 1), justify="right", no_wrap=True, overflow="ellipsis"
        )


def cells(row: Row) -> tuple[str, ...]:
    """The text of a row's cells: arm, test score, difference, gap, exact zeros, seconds."""
    if row.score is None or row.gap is None or row.seconds is None:
        return (named(row), say("failed"), "", "", "", "")
    score = digits(row.score) + (f" ± {digits(row.error)}" if row.error is not None else "")
    zeros = "" if row.zeros is None else f"{row.zeros:.1%}"
    return (
        named(row),
        score,
        difference_text(row.difference),
        digits(row.gap, "+"),
        zeros,
        f"{row.seconds:.{0 if row.seconds >= 100 else 1}f}",
    )


def arm_text(name: str, kind: str = "network") -> str:
    """An arm's name, in the language that is spoken where it is none of a technique."""
    return say(name) if kind == "reference" or name in (BASELINE, ALL) else name


def named(row: Row) -> str:
    """The row's label, in the language that is spoken where the name is none of a technique."""
    own = arm_text(row.name, row.kind)
    if not 0 < row.runs < row.planned:
        return own
    return say("{name} ({runs} of {planned} splits)", name=own, runs=row.runs, planned=row.planned)


def difference_text(difference: Interval | None) -> str:
    """``+0.0123 [-0.0010, +0.0256]``, or the mean alone where there is one run.

    >>> difference_text(Interval(0.0123, -0.001, 0.0256))
    '+0.0123 [-0.0010, +0.0256]'
    """
    if difference is None:
        return ""
    if difference.low is None or difference.high is None:
        return digits(difference.mean, "+")
    mean, low, high = (digits(part, "+") for part in (difference.mean, difference.low, difference.high))
    return f"{mean} [{low}, {high}]"


def title(record: Given) -> str:
    """What was compared."""
    record = CompareRecord.of(record)
    counts = ((record.rows, mark("{n:,} rows")), (record.features, mark("{n:,} features")))
    size = [say(words, n=count) for count, words in counts if count is not None]
    return say(", ").join(
        [
            say("{group}: {name}", group=record.dataset, name=size[0]) if size else record.dataset,
            *size[1:],
            say("{n} splits" if record.repeats != 1 else "1 split, so no intervals", n=record.repeats),
        ]
    )


def notes(record: Given) -> list[str]:
    """What the networks are certified for, and for each arm what failed and what a solver had to say."""
    record = CompareRecord.of(record)
    lines = (
        [say("{what}; of the networks, not of the reference models", what=record.monotone)] if record.monotone else []
    )
    failed = [(arm_text(row.name, row.kind), row.failed) for row in summarize(record) if row.failed]
    warned = [
        (arm_text(arm.name, arm.kind), told(run.note, WARNED)) for arm in record.arms for run in arm.runs if run.note
    ]
    lines += [say("{group}: {name}", group=name, name=text) for name, text in dict.fromkeys(failed + warned)]
    return lines


def _ends(row: Row, after: Row | None) -> bool:
    return after is not None and after.kind != row.kind


def _caption(spread: bool) -> str:
    parts = [say("± standard error; interval: corrected resampled t")] if spread else []
    return say("; ").join([*parts, say("gap: train - test; zeros: of all weights")])
