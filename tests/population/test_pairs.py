"""Every technique beside every other in a stack: each pair trains as it does alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from torch import nn

import dashpot
from dashpot.core.technique import Technique
from tests.covering import covering
from tests.population.helpers import demand_equal_alone, member, mlp, normed, population
from tests.rows import ROWS, collide

ELSEWHERE = (dashpot.stopping.TimeLimit, dashpot.stopping.StopFile, dashpot.dropout.AttentionDropout)
"""Two end one training by a clock or a file, and are refused where many train side by side; one needs attention."""
WATCHED = {
    dashpot.stopping.DivergenceStopping: dashpot.stopping.DivergenceStopping("val_loss", factor=3.0),
    dashpot.stopping.MultiMetricStopping: dashpot.stopping.MultiMetricStopping("val_loss,val_accuracy:max", patience=1),
}
"""By scores that a population has."""
TECHNIQUES = {
    cls: WATCHED.get(cls, row.technique)
    for cls, row in ROWS.items()
    if row.technique.requires.fits("table") and cls not in ELSEWHERE
}


def network(*classes: type[Technique]) -> Callable[[], nn.Module]:
    """One with batch normalization for what acts on it alone."""
    return normed if dashpot.normalization.GhostBatchNorm in classes else mlp


def together(classes: tuple[type[Technique], ...]) -> bool:
    return not any(itertools.starmap(collide, itertools.combinations(classes, 2)))


GROUPS = covering(list(TECHNIQUES), together, size=4)
"""Each pair is in one of them at least."""
STACK = 12
"""Groups that train side by side."""


@pytest.mark.parametrize("part", [GROUPS[k : k + STACK] for k in range(0, len(GROUPS), STACK)], ids=len)
def test_beside_every_other(part: list[tuple[type[Technique], ...]]) -> None:
    """Members whose techniques stand beside each other, and one with none."""
    make = network(*itertools.chain(*part))
    members = [member(make, ())]
    members += [member(make, tuple(TECHNIQUES[cls] for cls in group), seed=k) for k, group in enumerate(part)]
    stack = population(members, epochs=2)
    stack.train(2)
    for i, m in enumerate(members):
        demand_equal_alone(stack, i, m, epochs=2)
