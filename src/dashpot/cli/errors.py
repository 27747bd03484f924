"""The errors that one meets most often on the command line, for those who read another language.

An error of any other form stays as it was raised, in English: whole, so that one can search for it.
"""

from __future__ import annotations

from dashpot.core.language import mark, say, told

FORMS = (
    mark("{parameter} must be one of {names}, got {value}. Did you mean {near}?"),
    mark("{parameter} must be one of {names}, got {value}."),
    mark("{parameter} must be a number in {range}, got {value}."),
    mark("{parameter} must be a whole number >= {low}, finite, got {value}."),
    mark("{parameter} must be more than 0 seconds, or a time such as 90s, 10m or 2h, got {value}."),
    mark("{parameter} must be a range low..high with low below high, got {value}."),
    mark("{parameter} must be classification or regression, got {value}."),
    mark("{parameter} must be a column of {file}, got {value}. It has: {names}."),
    mark("{parameter} must name the column to predict. {file} has: {names}."),
    mark("the target must have at least 2 classes, got only {value}."),
    mark("data {file} must exist, and there is no such file or folder. Check the path."),
    mark("{file} must have a header and rows, got an empty file."),
    mark("{option} must be a new or empty folder, got {folder}. Name another one."),
    mark(
        "{option} must be a new or empty folder, got {folder}. Name another one, or pass --resume to go on with the run"
        " in it."
    ),
    mark("RUN must be the folder of a finished `dashpot fit` or `dashpot tune`; {file} does not exist."),
    mark("RUN must be the folder of a run; {folder} does not exist."),
    mark(
        "RUN must be the folder of a run, with one of {names}; {folder} has none. Name the folder that --out was given."
    ),
    mark("--resume must name the folder of a `dashpot tune`; {file} does not exist."),
)
"""The first that fits counts."""


def said(error: Exception) -> str:
    """An error as a line, in the language that is spoken.

    >>> said(ValueError("the target must have at least 2 classes, got only 'a'."))
    "error: the target must have at least 2 classes, got only 'a'."
    """
    return say("error: {text}", text=told(str(error), FORMS))
