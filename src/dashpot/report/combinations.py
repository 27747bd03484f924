"""What goes with what: the rules that techniques declare, and what follows from their slots and places in a step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from dashpot.core.points import POINTS, Points
from dashpot.core.rules import Rule, sentence
from dashpot.core.technique import Technique

Classes = Mapping[str, type[Technique]]
AT = {
    "on_batch": "the batch",
    "on_loss": "the loss",
    "on_gradient": "the gradient",
    "on_step": "the weights after the update",
}
"""Points where several techniques may act one after the other, in the order of a step."""


def rules(classes: Classes) -> dict[Rule, list[str]]:
    """Every rule, by its name, and the techniques that declare it."""
    found: dict[Rule, list[str]] = defaultdict(list)
    for name, cls in classes.items():
        for rule in cls.rules:
            found[rule].append(name)
    return dict(sorted(found.items(), key=lambda item: item[0].name))


def slots(classes: Classes) -> dict[str, list[str]]:
    """What only one technique of a recipe may hold, and which want it."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, cls in classes.items():
        for slot in cls.exclusive:
            found[slot].append(name)
    return {slot: names for slot, names in sorted(found.items()) if len(names) > 1}


def places(classes: Classes) -> dict[str, list[list[str]]]:
    """For each point of a step the techniques that act there, in the order of their classes: those in one list act in
    the recipe's order.
    """
    found: dict[str, list[list[str]]] = {}
    for point in (point for point in POINTS if point in AT):
        by_order: dict[int, list[str]] = defaultdict(list)
        for name, cls in classes.items():
            if getattr(cls, point) is not getattr(Points, point):
                by_order[cls.order].append(name)
        found[AT[point]] = [names for _, names in sorted(by_order.items())]
    return found


def page(classes: Classes) -> str:
    """All of it as Markdown, which ``docs/combinations.md`` holds and ``dashpot techniques --rules`` prints."""
    lines = [
        "# What goes with what",
        "",
        "Techniques declare these rules on their classes (`rules`, `exclusive`, `order`), and this page is made of",
        "them: `dashpot techniques --rules`. What is refused or warned about is so at attach, before any work.",
        "",
        "## Rules",
        "",
        "| technique | meets | without the rule | outcome | what is done, or to do |",
        "|---|---|---|---|---|",
    ]
    for rule, names in rules(classes).items():
        cells = (_named(names), rule.meets, sentence(rule.trouble), rule.outcome, sentence(rule.way))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += ["", "## One of each", "", "Of these a recipe holds one, for the same part of a network:", ""]
    lines += [f"- {slot}: {_named(names)}" for slot, names in slots(classes).items()]
    lines += [
        "",
        "## Order",
        "",
        "Techniques at different points of a step never change places, and nor do the groups below, which act one",
        "after the other whatever the recipe's order. Within a group the recipe's order counts.",
        "",
    ]
    for point, groups in places(classes).items():
        lines += [f"On {point}:", "", *(f"{n}. {_named(names)}" for n, names in enumerate(groups, 1)), ""]
    return "\n".join(lines).rstrip() + "\n"


def _named(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
