"""Work on a device that is not the CPU, shown where there is no GPU; ``tests/cuda`` shows it on one."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dashpot
from dashpot.core.technique import Technique
from dashpot.population.members import Member
from dashpot.population.models import StackedModels
from dashpot.population.population import Population
from dashpot.testing.toys import start
from tests.cuda.foreign import META, Answers, answering, without_generators
from tests.cuda.helpers import step_on
from tests.rows import ROWS

D: Any = dashpot


@pytest.mark.parametrize("cls", ROWS, ids=lambda cls: cls.kind())
def test_steps_on_a_device_meet_no_tensor_of_another_and_wait_for_nothing(
    cls: type[Technique], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ROWS[cls].on(META)
    with answering(monkeypatch):  # at attach a technique may look
        model, optimizer, session = start(row.toy, row.technique)
        x, y = row.toy.data()
        step_on(row.toy, model, optimizer, session, x, y, 1)
    waits = Answers()
    with waits:
        for _ in range(2):
            step_on(row.toy, model, optimizer, session, x, y, 2)
    # Total variation's map is made on the CPU; on meta its operator is only a shape.
    assert waits.asked == [] or cls is D.Compress  # which decides in each step by the weights what leaves
    assert session.step == 3
    assert {t.device.type for t in session.snapshot().values()} == {META}


@pytest.mark.parametrize("scaling", ["adaptive", "decoupled"])
@pytest.mark.parametrize("kind", ["SGD", "Adam", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad"])
def test_maps_behind_every_optimizer_that_is_known(kind: str, scaling: str) -> None:
    model = nn.Linear(6, 4).to(META)
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.1)
    waits = Answers()
    with D.GroupLasso(strength=0.1, scaling=scaling).attach(model, optimizer), waits:
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.empty(3, 6, device=META)).sum().backward()
            optimizer.step()
    assert waits.asked == []


def test_what_asks_is_found_out() -> None:
    """Or the tests above would say nothing."""
    there = torch.empty(3, device=META)
    waits = Answers()
    with waits:
        bool(there.sum() > 0)
        there.sum().item()
        there.to(META)
        torch.ones(3).to(META, non_blocking=True)
        assert waits.asked == ["__bool__", "item"]
        torch.ones(3).to(META)
        torch.tensor([1.0, 2.0], device=META)
        assert waits.asked == ["__bool__", "item", "to", "tensor"]
    with pytest.raises(RuntimeError, match="expected device meta"):
        there + torch.zeros(3)


@pytest.mark.parametrize("cls", ROWS, ids=lambda cls: cls.kind())
def test_a_default_device_leaves_the_cpus_work_there(cls: type[Technique]) -> None:
    row = ROWS[cls]
    found = []
    for default in ("cpu", META):
        model, data = row.toy.network(), row.toy.data()
        with torch.device(default), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            options: dict[str, Any] = {"epochs": 2, "batch_size": 8, "progress": False, "device": "cpu"}
            if row.toy.strings:  # a step by hand: torch's own DataLoader does not work with another default device
                optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
                step_on(row.toy, model, optimizer, row.toy.attach(row.technique, model, optimizer), *data)
            else:
                D.fit(model, data, valid=data, recipe=row.technique, **options)
        found.append(model.state_dict())
    assert all(torch.equal(t, found[1][name]) for name, t in found[0].items())


TECHNIQUES = (
    D.Mixup(alpha=0.3),
    D.InputNoise(std=0.1),
    D.Dropout(p=0.2, on="type:ReLU"),
    D.LabelSmoothing(smoothing=0.1),
    D.WeightDecay(strength=0.1),
    D.L1(strength=3e-3),
    D.EMA(decay=0.9),
)
OTHERS = (D.SAM(rho=0.1), D.L2(strength=0.1), D.GradientClipping(maximum=0.1), D.GroupLasso(strength=0.1))


def small() -> nn.Module:
    with torch.device("cpu"):
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def population(device: str) -> Population:
    x, y = torch.randn(48, 6, device="cpu"), torch.arange(48, device="cpu") % 3
    members = [
        Member(make=small, recipe=D.Recipe(own), lr=0.01, seed=k, rows=np.arange(40))
        for k, own in enumerate((TECHNIQUES, (), OTHERS))
    ]
    return Population(members, [(x, y)], epochs=3, batch_size=16, device=device, bfloat16=False)


def test_a_population_on_a_device_is_one_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(monkeypatch) as answers:
        together = population(META)
        assert together.notes == []
        assert [type(group) for group, _ in together._groups] == [StackedModels]
        begun = len(answers.asked)
        assert together.train(1)
        # Once an epoch it asks for the losses.
        assert [name for name in answers.asked[begun:] if name != "to"] == ["cpu"]
        copied = together.clone(0)
        together.keep([0, 2, copied])
        assert together.train(1)
        assert {out.device.type for out in together.outputs({0: np.arange(5)}).values()} == {META}
        assert {p.device.type for p in together.model(0).parameters()} == {"cpu"}


def test_a_population_under_a_default_device() -> None:
    with torch.device(META):
        together = population("cpu")
        assert together.train(2)
        assert together.outputs({0: np.arange(5)})[0].isfinite().all()


def test_the_optimizer_with_a_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    without_generators(monkeypatch)
    for make in (D.optim.AdamW, D.optim.SGD):
        model = nn.Linear(6, 4).to(META)
        optimizer = make(model, lr=0.1, penalty=D.L1(strength=0.1), foreach=True)
        waits = Answers()
        with waits:
            for _ in range(2):
                optimizer.zero_grad()
                model(torch.empty(3, 6, device=META)).sum().backward()
                optimizer.step()
        assert waits.asked == []


def test_fused_steps_count_on_the_device() -> None:
    """torch's fused step reads the counts there; a saved state brings them from the CPU."""
    p = nn.Parameter(torch.ones(4))
    p.grad = torch.ones(4)
    optimizer = D.optim.AdamW([p], lr=0.1, fused=None)
    optimizer.step()
    assert optimizer.state[p]["step"].dtype == torch.float32
    optimizer.state[p]["step"] = optimizer.state[p]["step"].double()
    optimizer.step()
    assert optimizer.state[p]["step"].dtype == torch.float32
    assert float(optimizer.state[p]["step"]) == 2.0


def test_places_of_groups_are_copied_once() -> None:
    from dashpot.techniques.penalties.grouping import Grouping

    layout = Grouping.index(torch.tensor([0, 1, 1, 2])).layout((4,))
    there = layout.on(torch.device(META))
    assert there.places is not None
    assert there.places.device.type == META
    assert layout.on(torch.device(META)) is there
    assert layout.on(torch.device("cpu")) is layout
    again = replace(layout)  # not compared as a whole: from Python 3.13 on that compares the tensors
    assert (again.shape, again.dims) == (layout.shape, layout.dims)
    assert again.places is layout.places
