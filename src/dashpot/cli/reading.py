"""Options that say how a table is to be read."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

Numeric = Annotated[
    list[str] | None,
    typer.Option("--numeric", help="A column of numbers; repeat for more. By default seen from its values."),
]
Dates = Annotated[list[str] | None, typer.Option("--dates", help="A column of dates; repeat for more.")]
Categorical = Annotated[
    list[str] | None, typer.Option("--categorical", help="A column of names, also of digits; repeat for more.")
]
Decimal = Annotated[str | None, typer.Option("--decimal", help="The decimal mark of numbers in text: . or ,")]
DayFirst = Annotated[
    bool | None, typer.Option("--day-first/--month-first", help="What comes first in dates such as 05/01/2024.")
]
Encoding = Annotated[
    str | None,
    typer.Option("--encoding", help="Of a text file, such as latin-1 or gb18030; UTF-8 and UTF-16 are found."),
]
Separator = Annotated[
    str | None, typer.Option("--separator", help="Of a text file; comma, semicolon, tab and | are found.")
]
Kind = Annotated[
    str | None,
    typer.Option(
        "--kind", help="table, image, signal (columns or the last axis are steps in time) or text; mostly seen."
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        help=(
            "Of texts: words, characters, a tokenizer.json of Hugging Face's tokenizers, or MODULE:FUNCTION, a"
            " function of a text that gives its tokens. [default: words]"
        ),
    ),
]
Vectors = Annotated[
    str | None,
    typer.Option(
        "--vectors",
        help=(
            "Of texts: a file of vectors of words (.vec, .txt, .npy) from which a convolutional network starts;"
            " FILE:frozen=true keeps them as they are. random: no start. [default: vectors learned from the training"
            " texts]"
        ),
        metavar="FILE",
    ),
]
Encoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        help=(
            "Of texts: a folder of a model of Hugging Face's transformers with its tokenizer, whose vectors a small"
            " network learns from; options behind a colon, as DIR:pool=cls,length=128; DIR:frozen=false trains it"
            " further."
        ),
        metavar="DIR",
    ),
]

OPTIONS: Mapping[str, Any] = {
    "numeric": Numeric,
    "dates": Dates,
    "categorical": Categorical,
    "decimal": Decimal,
    "day_first": DayFirst,
    "encoding": Encoding,
    "separator": Separator,
    "kind": Kind,
    "tokenizer": Tokenizer,
    "vectors": Vectors,
    "encoder": Encoder,
}


def reads_tables(command: Callable[..., None]) -> Callable[..., None]:
    """A command with these options in the place of its argument ``reading``, in which it gets those that were given, as
    the arguments of :func:`dashpot.data.load_problem`.
    """
    own = inspect.signature(command, eval_str=True)
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in OPTIONS.items()
    ]
    parameters: list[inspect.Parameter] = []
    for parameter in own.parameters.values():
        parameters += options if parameter.name == "reading" else [parameter]

    @functools.wraps(command)
    def with_options(*arguments: Any, **given: Any) -> None:
        said = {name: given.pop(name, None) for name in OPTIONS}
        command(*arguments, **given, reading={name: value for name, value in said.items() if value is not None})

    with_options.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]  # functions may
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options
