"""What a page knows beside the record: the run's folder as it was typed, its recipe, its weights, its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dashpot.core.fields import codec
from dashpot.core.language import say
from dashpot.core.recipe import Recipe
from dashpot.report.page.blocks import Copy, Picture
from dashpot.report.page.onward import data_words, model_words, training_words, typed


@dataclass(frozen=True)
class Source:
    """Beside the record.

    Attributes:
        run: the folder, as a command takes it.
        data: the file that the run was made from, without the folders above it; "" for the digits.
        target: the column.
        recipe: of the model; None where it has none.
        layers: of the weights, as the content of an inspect.json.
        pictures: figures that only exist as pixels.
        texts: the content of a texts.json.
        options: of the data's reading, as records keep them.
        training: learning rates and options of the network: ``{"lr": 0.003, "net": {"width": 16}}``.
    """

    run: str = "RUN"
    data: str = ""
    target: str = ""
    recipe: Recipe | None = None
    layers: Sequence[Mapping[str, Any]] = ()
    pictures: Sequence[Picture] = ()
    texts: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shown_data(self) -> str:
        """The data as a command takes it."""
        if not self.data:
            return ""
        return data_words({"source": self.data, "target": self.target, "options": self.options}, folders=False)


def recipe_copies(source: Source) -> list[Copy]:
    """The recipe as Python, TOML and a command; nothing without one."""
    if source.recipe is None:
        return []
    recipe, text = source.recipe, codec.to_text(source.recipe, full=False)
    with_ = f"--with {_quoted(text)}" if text else ""
    command = typed("dashpot fit", source.shown_data, with_, training_words(source.training))
    return [
        Copy(
            (
                ("Python", python_text(recipe)),
                ("TOML", codec.dumps(recipe)),
                (say("command line"), command),
            )
        )
    ]


def python_text(recipe: Recipe) -> str:
    """The recipe as a program that attaches it.

    >>> import dashpot
    >>> print(python_text(dashpot.Recipe((dashpot.L1(1e-4),))))
    import dashpot
    <BLANKLINE>
    recipe = dashpot.Recipe.coerce("l1:strength=0.0001")
    session = recipe.attach(model, optimizer)
    """
    text = codec.to_text(recipe, full=False)
    made = f'dashpot.Recipe.coerce("{_escaped(text)}")' if text else "dashpot.Recipe()"
    return f"import dashpot\n\nrecipe = {made}\nsession = recipe.attach(model, optimizer)"


def next_commands(source: Source, command: str, onward: Sequence[tuple[str, str]] = (), more: str = "") -> Copy:
    """What one does next with a run, as commands that can be typed.

    Args:
        command: that made it.
        onward: what comes first.
        more: how a search goes on for longer (:func:`dashpot.report.page.onward.longer`).
    """
    from shlex import quote

    run, data = quote(source.run), quote(source.data) if source.data else ""
    own = model_words(source.training)
    page = (say("make this page again"), f"dashpot report {run}")
    if command not in ("tune", "fit", "shrink"):
        return Copy((*onward, page))
    every = [*onward, (say("predict"), typed("dashpot predict", run, data or "DATA", "--out predictions.csv", own))]
    every += [(say("go on, for longer"), typed("dashpot tune --resume", run, more, own))] if command == "tune" else []
    every += [(say("look at the weights"), typed("dashpot inspect", run, own))]
    every += [(say("robustness"), typed("dashpot robustness", run, data, own))]
    return Copy((*every, page))


def _quoted(text: str) -> str:
    from shlex import quote

    return quote(text)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
