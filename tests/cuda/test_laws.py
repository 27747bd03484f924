"""Every law on every row, on the device."""

from __future__ import annotations

import torch

from dashpot.techniques.penalties.penalty import Proximal
from dashpot.testing import LAWS
from dashpot.testing.toys import _start, _step
from tests.cuda.helpers import DEVICE, GPU, cuda, each, never_waiting
from tests.rows import ROWS

pytestmark = cuda

BY_KIND = {cls.kind(): row.on(DEVICE) for cls, row in ROWS.items()}
NO_TENSORS = {"codec_round_trip", "fields_refuse"}
COMPILED = "compiles"
NEEDS_FUNCTIONS = {"keeps_dtype", "agrees_with_reference", "does_not_write", "differentiates", COMPILED}
WAITS = {
    "nuclear-norm": "a singular value decomposition looks at its own result",
    "total-variation": "its map is made on the CPU",
}


def cases(compiled: bool) -> list[str]:
    """Only what can fail."""
    found = []
    for kind, row in BY_KIND.items():
        for law in LAWS:
            fits = law not in NO_TENSORS and (law == COMPILED) == compiled
            fits = fits and (law not in NEEDS_FUNCTIONS or bool(row.functions))
            fits = fits and (law != "prox_is_optimal" or isinstance(row.technique, Proximal))
            fits = fits and (law != "vmaps_over_strengths" or any(p.strength is not None for p in row.functions))
            found += [f"{kind}: {law}"] if fits else []
    return found


@each("case", cases(compiled=False))
def test_law(case: str) -> None:
    kind, law = case.split(": ")
    LAWS[law](BY_KIND[kind])


@each("kind", [kind for kind in BY_KIND if kind not in WAITS])
def test_no_step_waits_for_the_device(kind: str) -> None:
    row = BY_KIND[kind]
    model, optimizer, session = _start(row.toy, row.technique, 0)
    x, y = row.toy.data()
    _step(row.toy, model, optimizer, session, x, y, 1)  # the first one makes state
    with never_waiting():
        for _ in range(3):
            _step(row.toy, model, optimizer, session, x, y, 2)
    assert session.step == 4
    assert all(t.device.type == torch.device(DEVICE).type for t in model.state_dict().values())


def test_the_device_is_the_one_asked_for() -> None:
    x, y = BY_KIND["l1"].toy.data()
    assert x.is_cuda == y.is_cuda == GPU
