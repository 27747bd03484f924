"""Numbers that follow the training do so in a stack as they do alone, step by step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import dashpot
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.population.models import StackedModels
from tests.population.helpers import alone, demand_as_alone, demand_equal, member, population

D: Any = dashpot
SCHEDULED: dict[str, tuple[Any, ...]] = {
    "dropout that ends": (D.Dropout(p="0.4to0"),),
    "dropout that begins": (D.Dropout(p="0to0.3@cosine@until=50%"),),
    "SAM in the last tenth": (D.SAM(rho="0.1@from=90%"),),
    "SAM at first": (D.SAM(rho="0.1@until=1epochs"),),
    "L1": (D.L1(strength="0to1e-3@until=50%"),),
    "group lasso": (D.GroupLasso(strength="1e-3to5e-3@from=1epochs@until=3epochs"),),
    "a constraint": (D.MaxNorm(maximum="0.7to0.3"),),
    "mixup": (D.Mixup(alpha="0.5to0@from=3steps@until=9steps"),),
    "input noise": (D.InputNoise(std="0.3to0"),),
    "label smoothing": (D.LabelSmoothing(smoothing="0.2@until=50%"),),
    "L2": (D.L2(strength="0.1to0"),),
    "weight decay": (D.WeightDecay(strength="0to2"),),
    "cautious decay": (D.penalties.CautiousWeightDecay(strength="0to2"),),
    "corrected decay": (D.penalties.CorrectedWeightDecay(strength="2to0.1"),),
    "a timescale": (D.WeightDecay(timescale="1to8", layer_factor="1to0.5"),),
    "adaptive clipping": (D.gradient.AdaptiveGradientClipping(clipping="0.1to0.001"),),
    "L2-SP": (D.fine_tuning.L2SP(strength="0to2"),),
    "clipping": (D.GradientClipping(maximum="1to0.05"),),
    "averages": (D.EMA(decay="0.5to0.9", warmup=False),),
}


@pytest.mark.parametrize("name", SCHEDULED)
def test_beside_members_with_the_same_number_all_the_time_and_without(name: str) -> None:
    first, last = (tuple(t.at(step, 16, 4) for t in SCHEDULED[name]) for step in (0, 15))
    members = [
        member(techniques=SCHEDULED[name], seed=1),
        member(techniques=first, seed=2),
        member(techniques=last, seed=3),
        member(seed=4),
        member(techniques=SCHEDULED[name], seed=5, lr=3e-3),
    ]
    (group, _), *others = demand_as_alone(members)._groups
    assert not others
    assert isinstance(group, StackedModels)


@pytest.mark.parametrize("name", SCHEDULED)
def test_the_course_makes_a_difference(name: str) -> None:
    """Or the test above would say nothing."""
    always = tuple(t.at(15, 16, 4) for t in SCHEDULED[name])
    together = population([member(techniques=SCHEDULED[name]), member(techniques=always)])
    together.train(4)
    assert not torch.equal(together.tensors(0)["body.0.weight"], together.tensors(1)["body.0.weight"])


MIXED = (
    D.Mixup(alpha=0.3),
    D.Dropout(p="0.4to0@until=75%"),
    D.L1(strength="0to3e-3@until=50%"),
    D.EMA(decay=0.9),
    D.EarlyStopping(patience=9),
)


def test_batches_of_different_sizes() -> None:
    """A share of the run is another number of steps for each."""
    sizes = (None, 17, 48, 500, 17)
    demand_as_alone([member(techniques=MIXED, seed=k, batch_size=size) for k, size in enumerate(sizes)])


def test_members_that_are_removed_added_and_copied() -> None:
    members = [member(techniques=MIXED if k % 2 else (D.Dropout(p=0.2),), seed=k) for k in range(4)]
    together = population(members)
    together.train(1)
    together.keep([3, 1, 0])
    together.train(1)
    late = together.add([member(techniques=MIXED, seed=1)])[0]
    twin = together.clone(3)
    together.train(4)
    for i, original in ((3, members[3]), (1, members[1]), (0, members[0]), (late, members[1]), (twin, members[3])):
        demand_equal(together.tensors(i), alone(original)[0], i)


def test_one_by_one_too() -> None:
    demand_as_alone([member(techniques=MIXED, seed=1), member(techniques=SCHEDULED["SAM at first"])], stack=False)


def test_a_course_that_the_run_cannot_hold_is_refused_before_work() -> None:
    impossible = member(techniques=(D.L1(strength="0to1e-3@from=90%@until=2steps"),))
    for stack in (True, False):
        with pytest.raises(D.ConflictError, match=r"begins at step 14.4 of this run and ends at step 2"):
            population([impossible], stack=stack)


def test_members_without_schedules_do_no_further_work(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = StackedTechnique.follow
    monkeypatch.setattr(
        StackedTechnique, "follow", lambda self: read.append(type(self.declared[0]).__name__) or original(self)
    )
    population([member(techniques=(D.Dropout(p=0.2), D.L1(strength=1e-3)))]).train(1)
    assert not read
    population([member(techniques=(D.Dropout(p="0.2to0"), D.L1(strength=1e-3)))]).train(1)
    assert read == ["Dropout"] * 4
