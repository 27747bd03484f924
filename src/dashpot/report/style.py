"""The style of all figures, and how they are written."""

from __future__ import annotations

import io
import textwrap
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashpot.core.files import write_atomic
from dashpot.core.language import mark, speaking
from dashpot.evaluation import metrics
from dashpot.report.fonts import with_ideographs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

# Okabe and Ito's palette: told apart with any colour vision.
BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#8C8C8C", "#222222"
FAINT, QUIET = "#F5F6F7", "#5F6368"
MINUS = "\N{MINUS SIGN}"

METRICS = {name: metric.label for name, metric in metrics.METRICS.items()} | {"loss": mark("loss")}
"""The names of scores in tables and figures."""

# Text stays text in the SVG, with Matplotlib's default list of fallbacks and a font with ideographs; names from data
# may hold dollar signs, which are no mathematics.
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "dashpot",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "figure.facecolor": "white",
    "axes.axisbelow": True,
}
_LOCK = threading.RLock()


@contextmanager
def figure_style() -> Iterator[None]:
    """Matplotlib's own defaults with the changes of Dashpot's figures, whatever the user's settings are; those are
    back afterwards.
    """
    import matplotlib

    # The settings belong to the process, so two threads must not hold them at once.
    # Their words are English: fonts with other letters may be missing.
    with _LOCK, matplotlib.rc_context(), speaking("en"):
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        matplotlib.rcParams["font.family"] = ["sans-serif", *with_ideographs()]
        yield


def save(figure: Figure, stem: str | Path) -> tuple[Path, Path]:
    """Write ``stem.png`` and ``stem.svg``, each as a whole; the same figure gives the same bytes.

    Raises:
        StorageError: a file could not be written; what stood there before is untouched.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    paths = Path(f"{stem}.png"), Path(f"{stem}.svg")
    options: tuple[Mapping[str, Any], ...] = (
        {"dpi": 144, "metadata": {"Software": None}},
        {"metadata": {"Date": None, "Creator": None}},
    )
    drawn, engine = [], figure.get_layout_engine()
    with figure_style(), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from", category=UserWarning
        )  # a box in a name from data is no reason to stop
        for path, option in zip(paths, options, strict=True):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=path.suffix[1:], **option)
            drawn.append(buffer.getvalue())
            figure.set_layout_engine("none")  # where the first one put everything, the second one has it too
    figure.set_layout_engine(engine)
    for path, data in zip(paths, drawn, strict=True):
        write_atomic(path, data)
    return paths


def wrap(text: str, width: int, lines: int) -> str:
    """``text`` on at most so many lines; what does not fit is left out of the middle, since names differ at their ends.

    >>> print(wrap("weight-decay + dropout + mixup + l1:strength=1", 16, 2))
    weight-decay + …
    + l1:strength=1
    """
    text = " ".join(text.split())
    parts = textwrap.wrap(text, width) or [""]
    if len(parts) <= lines:
        return "\n".join(parts)
    # The head with its sign of omission, and as many last lines as remain, broken from the end.
    tail = [line[::-1] for line in textwrap.wrap(text[::-1], width)[: lines - 1]][::-1]
    head = textwrap.wrap(text, width - 2)[0]
    return "\n".join([f"{head} …", *tail])


def number(value: float, digits: int = 4, sign: str = "-") -> str:
    """With a true minus sign; from 100 on with ``digits`` significant digits, and with two where it would be 0.

    Args:
        value: the number.
        digits: after the point.
        sign: ``"+"`` to show it always.
    """
    shown = value == 0 or abs(value) >= 0.5 * 10.0**-digits
    form = f"{sign}.{digits}{'f' if abs(value) < 100 else 'g'}" if shown else f"{sign}.2g"
    return f"{value:{form}}".replace("-", MINUS)


def clean(axes: Axes) -> None:
    """No box, quiet axes, small labels."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#BBBBBB")
    axes.tick_params(colors=INK, labelsize=9, color="#BBBBBB")


def layout() -> ConstrainedLayoutEngine:
    """Room around the panels, found from the text itself."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06)


def head(figure: Figure, title: str, note: str = "", letters: int = 172) -> None:
    """The title on top and the small print below, ``letters`` to a line, both from the left edge."""
    figure.suptitle(wrap(title, 88, 2), x=0.012, ha="left", fontsize=13, fontweight="bold", color=INK)
    if note:
        figure.supxlabel("\n".join(textwrap.wrap(note, letters)), x=0.012, ha="left", fontsize=8.5, color=QUIET)
