"""Method cards: a technique's docstring with its fields, ranges and version."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Mapping
from typing import Any

from dashpot.core.fields.domains import Domain, FieldSpec, Range
from dashpot.core.language import say
from dashpot.core.rules import sentence
from dashpot.core.technique import Technique


def card(cls: type[Technique], width: int = 100) -> str:
    """The card of a technique as plain text: what it does, its formula, its fields, its paper, when not to use it.

    Args:
        cls: a technique's class.
        width: columns; code and formulas keep their own lines.

    Example:
        >>> from dashpot import L1
        >>> print(card(L1).splitlines()[0])
        l1 (version 2): soft-thresholds weights to exact zeros
    """
    lines = [
        f"{cls.kind()} (version {cls.version}): {say(cls.summary)}",
        "",
        *_prose(inspect.cleandoc(cls.__doc__ or ""), width),
        "",
        "Fields:",
    ]
    for spec in cls.fields().values():
        lines += textwrap.wrap(
            _field(spec), width, initial_indent="  ", subsequent_indent="      ", break_long_words=False
        )
        facts = facts_of(spec.domain)
        if facts:
            lines.append("      " + "; ".join(facts))
    if not cls.fields():
        lines.append("  none")
    if cls.evaluations > 1:
        lines.append(f"Gradients per step: {cls.evaluations}; the optimizer is stepped with a closure.")
    if cls.rules:
        lines += ["", "In combination:"]
    for rule in cls.rules:
        lines += textwrap.wrap(
            f"  With {rule.meets}: {sentence(rule.trouble)} {sentence(rule.outcome)}: {sentence(rule.way)}",
            width,
            subsequent_indent="      ",
        )
    for law, reason in cls.waivers.items():
        lines += textwrap.wrap(f"Law not kept, {law}: {reason}", width, subsequent_indent="    ")
    return "\n".join(lines)


def listing(classes: Mapping[str, type[Technique]]) -> str:
    """One line for each technique."""
    width = max(map(len, classes), default=0)
    return "\n".join(f"{name:<{width}}  {say(cls.summary)}" for name, cls in classes.items())


def _field(spec: FieldSpec) -> str:
    return f"{spec.name} = {_text(spec.default)}: {spec.domain.rule}"


def facts_of(domain: Domain) -> list[str]:
    """The range of a search, and the value that is off."""
    search = getattr(domain, "search", None)
    facts = []
    if isinstance(domain, Range) and domain.search is not None:
        low, high = domain.search
        facts.append(f"searched from {low:g} to {high:g}" + (" on a log scale" if domain.log else ""))
    elif search is True:
        facts.append("searched over all values")
    if isinstance(domain, Range) and domain.schedulable:
        facts.append("may follow a schedule")
    if domain.off is not None:
        facts.append(f"off at {_text(domain.off)}")
    return facts


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return repr(value) if isinstance(value, str | int | None) else str(value)


def _prose(text: str, width: int) -> list[str]:
    """The docstring for a terminal: paragraphs filled, Sphinx's marks taken off, code and formulas left alone."""
    lines: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        if block.lstrip().startswith(".. math::"):
            lines += ["  " + line.strip() for line in block.replace(".. math::", "", 1).strip().splitlines()]
        else:
            lines += _paragraph(block.splitlines(), width)
        lines.append("")
    return lines[:-1]


def _paragraph(block: list[str], width: int) -> list[str]:
    code = next((i for i, line in enumerate(block) if line.lstrip().startswith(">>>")), len(block))
    items: list[str] = []
    for line in block[:code]:
        indent = len(line) - len(line.lstrip())
        # Entries of a section are indented by 4, and their further lines by more; a section's name stands alone.
        continues = bool(items) and indent != 4 and not re.fullmatch(r"\w+:", items[-1])
        if continues:
            items[-1] += " " + line.strip()
        else:
            items.append(line)
    lines = []
    for item in items:
        hanging = " " * 8 if item.startswith(" ") else ""
        lines += textwrap.wrap(_unmarked(item), width, subsequent_indent=hanging, break_long_words=False)
    return lines + block[code:]


def _unmarked(text: str) -> str:
    text = re.sub(r":math:`([^`]*)`", r"\1", text)
    return re.sub(r":\w+:`~?(?:[\w.]*\.)?([^`]*)`", r"\1", text).replace("``", "`")
