"""The words that count for each class, and texts as they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

WORDS = 12
"""Of each class."""
LONGEST = 160
"""Characters of a text that are shown."""

Counting = Mapping[str, Sequence[tuple[str, float]]]
"""For each class its words and their weights, the largest first."""


def words_that_count(
    weight: np.ndarray, names: Sequence[str], classes: Sequence[str], most: int = WORDS
) -> dict[str, list[tuple[str, float]]]:
    """Of each class the words, pairs and triples with the largest weights above those of the other classes.

    Args:
        weight: of a linear model [features, classes], or [features, 1] for values.
        names: of the features; pieces of words, which begin with ``#``, are left out, as are those of no word.
        classes: their names; of values none: their words are those that raise and that lower them.
        most: words of a class.

    Example:
        >>> words_that_count(np.array([[2.0, -2.0], [-1.0, 1.0]]), ["good", "bad"], ["up", "down"])
        {'up': [('good', 2.0)], 'down': [('bad', 1.0)]}
    """
    if classes:
        parts = dict(zip(classes, (weight - weight.mean(axis=1, keepdims=True)).T, strict=True))
    else:
        parts = {"higher": weight[:, 0], "lower": -weight[:, 0]}
    shown = np.array([not name.startswith(("#", "<nothing>")) or name == "#" for name in names])
    found = {}
    for name, column in parts.items():
        order = np.argsort(-np.where(shown, column, -np.inf), kind="stable")[:most]
        found[name] = [(names[i], float(column[i])) for i in order if shown[i] and column[i] > 0]
    return found


def words_table(words: Counting) -> str:
    """A line for each class: its words, the first counts most."""
    wide = max((len(as_shown(name)) for name in words), default=0)
    return "\n".join(
        f"{as_shown(name):<{wide}}  {', '.join(as_shown(word) for word, _ in found) or 'none'}"
        for name, found in words.items()
    )


def kept_line(kept: Sequence[str], features: int, most: int = 2 * WORDS) -> str:
    """What is left of how many, by name; empty where nothing is said to be left.

    >>> kept_line(["good", "bad"], 1000)
    '2 of 1,000 words, pieces and grams are kept: good, bad'
    """
    if not kept:
        return ""
    more = ", ..." if len(kept) > most else ""
    named = ", ".join(as_shown(name) for name in kept[:most])
    return f"{len(kept):,} of {features:,} words, pieces and grams are kept: {named}{more}"


def as_shown(text: str, longest: int = LONGEST) -> str:
    """A text in one line: control characters, marks of direction and line breaks are escaped, and it is cut.

    >>> as_shown("two\\nlines\\x1b[31m"), as_shown("long" * 100, 10)
    ('two\\\\nlines\\\\x1b[31m', 'longlonglo…')
    """
    cut = text[: longest + 1]
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut[:longest])
    return safe + "…" * (len(cut) > longest)


def mistakes_table(mistakes: Sequence[Mapping[str, object]]) -> str:
    """A line for each mistake: its row, the truth, what was predicted and how surely, and the text."""
    lines = []
    for case in mistakes:
        said = " ".join(
            value if isinstance(value, str) else f"{value:.3g}"
            for value in (case["truth"], "taken for", case["predicted"], case.get("probability"))
            if isinstance(value, str | float)
        )
        lines.append(f"row {case['row']}: {said}: {as_shown(str(case['text']))}")
    return "\n".join(lines)
