"""A record of each kind, as a typed value."""

from __future__ import annotations

import torch

import dashpot
from dashpot.report.compare.record import Arm, ArmRun, CompareRecord
from dashpot.report.fit.record import FitRecord
from dashpot.report.path.record import PathRecord
from dashpot.report.robustness.record import Cell, RobustnessRecord
from dashpot.report.shrink.record import ShrinkRecord

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

WORSE = RobustnessRecord(
    dataset="demo",
    kind="table",
    task="classification",
    rows=200,
    metric="accuracy",
    clean={"runs/fit-1": 0.9},
    units={"noise": "standard deviations of each column"},
    cells=tuple(
        Cell("runs/fit-1", "noise", k, 0.1 * k, 0.9 - 0.1 * k, 0.8 - 0.1 * k, 0.95 - 0.1 * k) for k in range(1, 6)
    ),
    draws=3,
)
SMALLER = ShrinkRecord(
    run="runs/fit-1",
    before={"parameters": 12_000, "macs": 11_000, "bytes": 48_000},
    after={"parameters": 3_000, "macs": 2_500, "bytes": 12_000},
    asked="3k parameters",
    how="trained",
    epochs=7,
    latency={"1": [0.4, 0.2], "64": [3.0, 1.0]},
    by_layer=[{"name": "head", "kind": "Linear", "parameters": [9, 3], "macs": [9, 3], "ms_64": [2.0, 1.0]}],
    scores={"test": {"loss": [0.30, 0.32], "accuracy": [0.91, 0.905]}},
)


def walked() -> PathRecord:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    make = lambda: torch.nn.Linear(3, 1)  # noqa: E731
    result = dashpot.path(make, (x, x[:, :1]), dashpot.L1(), points=3, cv=2)
    return result.record(dataset="demo", seed=0)
