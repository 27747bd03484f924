"""``Rule``: what happens where a technique meets another one, or a part of a model or loop that it does not go with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Outcome = Literal["refused", "warned", "handled", "up to you"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True)
class Rule:
    """A rule of combination, declared on the technique's class as ``rules = (Rule(...), ...)``. Its card prints it, and
    ``dashpot techniques --rules`` lists those of all techniques.

    Attributes:
        name: of the rule, in words with dashes; techniques that share a rule share the object.
        meets: what it is about, such as ``"a batch normalization behind it"``.
        trouble: what happens without the rule.
        outcome: ``"refused"`` at attach, ``"warned"`` at attach, ``"handled"`` without your doing, or ``"up to you"``.
        way: what is done about it, or what to do.

    Example:
        >>> import dashpot
        >>> [rule.outcome for rule in dashpot.Dropout.rules]
        ['warned']
    """

    name: str
    meets: str
    trouble: str
    outcome: Outcome
    way: str


def sentence(text: str) -> str:
    """With a capital letter first."""
    return text[:1].upper() + text[1:]
