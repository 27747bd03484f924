"""What the tables of a search are made of: the frame, columns of numbers, and cells that know how to be narrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dashpot.core.language import columns
from dashpot.report.style import wrap

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.measure import Measurement
    from rich.table import Table


def new_table(title: str, caption: str) -> Table:
    """A table without a frame, its title above and its caption below."""
    from rich import box
    from rich.table import Table

    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        title=plain(title),
        title_justify="left",
        caption=plain(caption) if caption else None,
        caption_justify="left",
    )


def number_column(table: Table, name: str) -> None:
    # Where nothing fits any more a cut number must look cut.
    table.add_column(plain(name), justify="right", no_wrap=False, overflow="ellipsis")


def plain(text: str, style: str = "") -> Any:
    """As it is, never read as markup."""
    from rich.text import Text

    return Text(text, style=style)


class Clipped:
    """Text on two lines at most, as wide as its column; what does not fit is left out of the middle."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.measure import Measurement

        return Measurement(min(24, columns(self.text)), columns(self.text))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield plain(wrap(self.text, max(options.max_width, 4), 2))


class Gain:
    """A gain and its interval: side by side where there is room, else one below the other, and never broken inside."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.measure import Measurement

        return Measurement(max(map(len, self.text.split(" ", 1))), len(self.text))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        text = self.text if len(self.text) <= options.max_width else self.text.replace(" ", "\n", 1)
        yield Text(text, justify="right", no_wrap=True, overflow="ellipsis")
