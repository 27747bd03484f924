"""Every law on every row, on the device."""

from __future__ import annotations

from dataclasses import replace

import torch

from dashpot.testing import LAWS, applies
from dashpot.testing.toys import start
from tests.cuda.helpers import DEVICE, GPU, cuda, deterministic, each, never_waiting, step_on
from tests.rows import ROWS

pytestmark = cuda

BY_KIND = {cls.kind(): row.on(DEVICE) for cls, row in ROWS.items()}
NO_TENSORS = {"codec_round_trip", "fields_refuse"}
COMPILED = "compiles"
WAITS = {
    "nuclear-norm": "a singular value decomposition looks at its own result",
    "total-variation": "its map is made on the CPU",
}


def cases(compiled: bool) -> list[str]:
    """Each law that a row can keep; on other kinds of data those of draws and of resuming."""
    found = []
    for kind, row in BY_KIND.items():
        laws = [law for law in LAWS if law not in NO_TENSORS and (law == COMPILED) == compiled and applies(law, row)]
        found += [f"{kind}: table: {law}" for law in laws]
        others = [toy.modality for toy in row.toys() if toy.modality != "table"]
        found += [f"{kind}: {other}: resume_is_exact" for other in others if not compiled]
    return found


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
