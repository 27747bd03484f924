"""Every law on every row, on the device."""

from __future__ import annotations

from dataclasses import replace

import torch

from dashpot.testing import LAWS
from dashpot.testing.toys import start
from tests.cuda.helpers import DEVICE, GPU, cuda, deterministic, each, never_waiting, step_on
from tests.cuda.law_cases import BY_KIND, cases

pytestmark = cuda

WAITS = {
    "nuclear-norm": "a singular value decomposition looks at its own result",
    "total-variation": "its map is made on the CPU",
}


@each("case", cases(compiled=False))
def test_law(case: str) -> None:
    kind, modality, law = case.split(": ")
    row = BY_KIND[kind]
    with deterministic():
        LAWS[law](replace(row, toy=replace(row.toy, modality=modality)))


@each("kind", [kind for kind in BY_KIND if kind not in WAITS])
def test_no_step_waits_for_the_device(kind: str) -> None:
    row = BY_KIND[kind]
    model, optimizer, session = start(row.toy, row.technique)
    x, y = row.toy.data()
    step_on(row.toy, model, optimizer, session, x, y, 1)  # the first one makes state
    with never_waiting():
        for _ in range(3):
            step_on(row.toy, model, optimizer, session, x, y, 2)
    assert session.step == 4
    assert all(t.device.type == torch.device(DEVICE).type for t in model.state_dict().values())


def test_the_device_is_the_one_asked_for() -> None:
    x, y = BY_KIND["l1"].toy.data()
    assert x.is_cuda == y.is_cuda == GPU
