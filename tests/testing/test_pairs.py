"""Every technique beside every other, and beside a penalty of the optimizer."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import nn

import dashpot
from dashpot.core.recipe import Recipe
from dashpot.core.technique import Technique
from dashpot.techniques.augment.text.base import TextTechnique
from dashpot.techniques.penalties.penalty import Proximal
from dashpot.testing import Toy, refused_by_name, stand_together
from tests.covering import covering
from tests.rows import CHANNELS, COMPUTED, ROWS, collide

Optimize = Callable[[nn.Module], torch.optim.Optimizer]
TOY, PICTURES, SIGNALS = Toy(), Toy(modality="image"), Toy(modality="signal")
TEXTS = Toy(modality="text", strings=True)
TECHNIQUES = {cls: row.technique for cls, row in ROWS.items()}


def toy(*classes: type[Technique]) -> Toy | None:
    """What all of them can learn from; None: there is nothing."""
    kinds = (TOY, PICTURES, SIGNALS, TEXTS)
    return next((kind for kind in kinds if all(learns(cls, kind) for cls in classes)), None)


def learns(cls: type[Technique], kind: Toy) -> bool:
    """Whether a technique can learn from it: of inputs that are strings only those on texts take some."""
    on_inputs = TECHNIQUES[cls].defines("on_batch") and not issubclass(cls, TextTechnique)
    there = not ROWS[cls].only or kind.modality in ROWS[cls].only
    return there and cls.requires.fits(kind.modality) and not (kind == TEXTS and on_inputs)


def together(classes: tuple[type[Technique], ...]) -> bool:
    """Whether they may stand in one recipe, and something is there that all of them can learn from."""
    return toy(*classes) is not None and not any(itertools.starmap(collide, itertools.combinations(classes, 2)))


GROUPS = covering(list(TECHNIQUES), together, size=5)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: "+".join(cls.kind() for cls in group))
def test_beside_every_other(group: tuple[type[Technique], ...]) -> None:
    """Each pair is in one group at least; in one order or the other: in which is told by their places in the table. A
    group that fails says which pair of it fails alone.
    """
    stand(group)


def stand(classes: tuple[type[Technique], ...]) -> None:
    common, names = toy(*classes), list(TECHNIQUES)
    assert common is not None
    recipe = [TECHNIQUES[cls] for cls in classes]
    turned = sum(names.index(cls) for cls in classes) % 2
    try:
        stand_together(common, Recipe(recipe[::-1] if turned else recipe))
    except Exception:  # of a group: the pair that does not stand together says so
        for pair in itertools.combinations(classes, 2) if len(classes) > 2 else ():
            stand(pair)
        raise


@pytest.mark.parametrize("first", TECHNIQUES, ids=lambda cls: cls.kind())
def test_beside_itself_and_what_it_does_not_go_with(first: type[Technique]) -> None:
    names = list(TECHNIQUES)
    for second in names[names.index(first) :]:
        common = toy(first, second)
        pair = [TECHNIQUES[first], TECHNIQUES[second]]
        turned = (names.index(first) + names.index(second)) % 2
        recipe = Recipe(pair[::-1] if turned else pair)
        if common is not None and collide(first, second):
            refused_by_name(common, recipe)
        elif common is not None and first is second:
            stand_together(common, recipe)


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return dashpot.optim.AdamW(model, lr=0.02, weight_decay=0.0, penalty=dashpot.L1(strength=0.05))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return dashpot.optim.SGD(model, lr=0.05, momentum=0.9, penalty=dashpot.GroupLasso(strength=0.05))


@pytest.mark.parametrize("optimize", [adamw, sgd])
@pytest.mark.parametrize("cls", TECHNIQUES, ids=lambda cls: cls.kind())
def test_beside_a_penalty_of_the_optimizer(
    cls: type[Technique], optimize: Callable[..., torch.optim.Optimizer]
) -> None:
    recipe = Recipe((TECHNIQUES[cls],))
    if issubclass(cls, (Proximal, *CHANNELS, *COMPUTED)):
        refused_by_name(TOY, recipe, optimize=optimize, names=("L1",) if optimize is adamw else ("GroupLasso",))
    else:
        common = toy(cls)
        assert common is not None
        stand_together(common, recipe, optimize=optimize)


def test_a_penalty_of_the_optimizer_and_one_of_the_recipe_on_other_parameters() -> None:
    biases = Recipe((dashpot.L1(strength=0.1, on="biases"), dashpot.EMA(decay=0.7)))
    stand_together(TOY, biases, optimize=adamw)
