"""Every technique beside every other in a stack: each pair trains as it does alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

import dashpot
from dashpot.core.technique import Technique
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


@pytest.mark.parametrize("first", TECHNIQUES, ids=lambda cls: cls.kind())
def test_beside_every_other(first: type[Technique]) -> None:
    """Members with one technique in common, each with another one beside it, and one with none."""
    names = list(TECHNIQUES)
    others = [cls for cls in names[names.index(first) + 1 :] if not collide(first, cls)]
    members = [member(network(first), (TECHNIQUES[first],))]
    members += [
        member(network(first, cls), (TECHNIQUES[first], TECHNIQUES[cls]), seed=k) for k, cls in enumerate(others)
    ]
    together = population(members, epochs=2)
    together.train(2)
    for i, m in enumerate(members):
        demand_equal_alone(together, i, m, epochs=2)
