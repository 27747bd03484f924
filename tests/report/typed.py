"""A record of each kind, as a typed value."""

from __future__ import annotations

import torch

import dashpot
from dashpot.report.compare.record import Arm, ArmRun, CompareRecord
from dashpot.report.fit.record import FitRecord
from dashpot.report.path.record import PathRecord

RUN = ArmRun(0, 0, 1.5, {"accuracy": 1.0}, {}, {"accuracy": 0.5}, zeros=0.0)
COMPARED = CompareRecord(
    dataset="demo",
    metric="accuracy",
    repeats=1,
    train_rows=6,
    test_rows=2,
    arms=(
        Arm("baseline", "network", "Recipe()", (RUN,)),
        Arm("ridge", "reference", None, (ArmRun(0, 0, 0.1, error="it failed"),)),
    ),
    versions={"torch": "2"},
)
FITTED = FitRecord({"loss": 0.1}, {"loss": 0.2}, {"loss": 0.3}, {"train - test": 0.0}, {"all": 0.5}, 3, "done", 1.0, 0)


def walked() -> PathRecord:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    make = lambda: torch.nn.Linear(3, 1)  # noqa: E731
    result = dashpot.path(make, (x, x[:, :1]), dashpot.L1(), points=3, cv=2)
    return result.record(dataset="demo", seed=0)
