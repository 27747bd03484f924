"""Method cards say everything that a technique's fields and docstring say."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Annotated, ClassVar

import pytest

from dashpot.core.fields.codec import registry
from dashpot.core.fields.domains import Choice, Flag, Range
from dashpot.core.technique import Technique
from dashpot.report.cards import card, listing


class Toy(Technique):
    r"""Do nothing, at length: this sentence goes on so that it must be broken where the card is narrow, and it names
    :class:`~dashpot.L1` in passing.

    .. math:: a \le b

    Args:
        strength: how much, in words that go on and on until the line of the docstring is full and has to be broken
            and continued.
        kind: which.

    Example:
        >>> very_long_call_that_must_stay_on_its_own_line_however_long_it_is = "because code is copied" + "x"
        'an answer   with   blanks'
    """

    summary = "does nothing"
    version: ClassVar[int] = 3
    evaluations: ClassVar[int] = 2
    waivers: ClassVar[Mapping[str, str]] = {"off": "there is nothing to switch off"}
    strength: Annotated[float, Range(0.0, inf, search=(1e-6, 1e-1), log=True, off=0.0)] = 1e-4
    steps: Annotated[int, Range(1, 10, search=(2, 5), integer=True)] = 2
    kind_of: Annotated[str, Choice(("a", "b"), search=True)] = "a"
    flag: Annotated[bool, Flag()] = True


def test_a_card_in_full() -> None:
    text = card(Toy, width=80)
    assert text.splitlines()[0] == "toy (version 3): does nothing"
    for line in (
        "  strength = 0.0001: a number >= 0, finite",
        "      searched from 1e-06 to 0.1 on a log scale; may follow a schedule; off at 0",
        "  steps = 2: a whole number in [1, 10]",
        "      searched from 2 to 5",
        "  kind_of = 'a': one of a, b",
        "      searched over all values",
        "  flag = True: True or False",
        "  a \\le b",
        "    kind: which.",
        "    'an answer   with   blanks'",
        "Gradients per step: 2; the optimizer is stepped with a closure.",
        "Law not kept, off: there is nothing to switch off",
    ):
        assert line in text.splitlines(), line
    assert "names L1 in passing" in " ".join(text.split())
    assert 'copied" + "x"' in text
    prose = [line for line in text.splitlines() if ">>>" not in line]
    assert max(map(len, prose)) <= 80


@pytest.mark.parametrize("name", sorted(registry()))
def test_every_card_has_every_word_and_every_field(name: str) -> None:
    cls = registry()[name]
    text = card(cls)
    assert text.startswith(f"{name} (version {cls.version}): {cls.summary}")
    assert ":class:" not in text
    assert ":math:" not in text
    for field in cls.fields():
        assert f"\n  {field} = " in text
    for line in text.splitlines():
        code = line.lstrip().startswith((">>>", "...")) or "\\" in line
        assert code or len(line) <= 100, line
    words = [word for word in (cls.__doc__ or "").split() if word.isalpha()]
    assert set(words) <= set(text.replace("`", " ").split()) | set(text.split())


def test_the_list_has_a_line_for_each() -> None:
    lines = listing(registry()).splitlines()
    assert len(lines) == len(registry())
    assert len({line.index(registry()[line.split()[0]].summary) for line in lines}) == 1
    assert listing({}) == ""
