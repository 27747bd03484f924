"""Method cards: a technique's docstring with its fields, ranges and version."""

from __future__ import annotations

import inspect
from typing import Any

from dashpot.core.select import Where
from dashpot.core.space import Range
from dashpot.core.technique import Technique


def card(cls: type[Technique]) -> str:
    """The card of a technique as plain text: what it does, its formula, its fields, its paper, when not to use it."""
    lines = [f"{cls.kind()} (version {cls.version}): {cls.summary}", "", inspect.cleandoc(cls.__doc__ or ""), "", "Fields:"]
    for name, spec in cls.fields().items():
        lines.append(f"  {name} = {_text(spec.default)}: {spec.domain.rule}")
        if isinstance(spec.domain, Range):
            if spec.domain.search:
                low, high = spec.domain.search
                lines.append(f"      searched from {low:g} to {high:g}" + (" on a log scale" if spec.domain.log else ""))
            if spec.domain.off is not None:
                lines.append(f"      off at {spec.domain.off:g}")
    for law, reason in cls.waivers.items():
        lines.append(f"Law not kept, {law}: {reason}")
    return "\n".join(lines)


def listing(classes: dict[str, type[Technique]]) -> str:
    """One line for each technique."""
    width = max(map(len, classes))
    return "\n".join(f"{name:<{width}}  {cls.summary}" for name, cls in classes.items())


def _text(value: Any) -> str:
    return str(value) if isinstance(value, Where) else f"{value:g}" if isinstance(value, float) else repr(value)
