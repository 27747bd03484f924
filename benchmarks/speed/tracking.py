"""What trackers take of an epoch of ``dashpot.fit``: the time inside of their three methods and of what is measured for
them, beside the time of the epoch, in one process and run by run, so that other work on the machine slows both alike.

    .venv/bin/python benchmarks/speed/tracking.py [--rounds N] [--only tensorboard mlflow wandb] [--result FILE]

Two trainings: 8,000 rows in a perceptron of 2 x 256 (an epoch of about half a second), and scikit-learn's digits in one
of 2 x 64 (an epoch of some hundredths, for which no tracker is quick). MLflow writes to a SQLite file, Weights & Biases
works offline.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import write_result

import dashpot
from dashpot.tracking import MLflow, TensorBoard, Tracker, WandB
from dashpot.training import tracked

RECIPE = "dropout:p=0.3to0 | l1:strength=1e-4 | early-stopping:patience=100"


def network(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))
    )


def data(name: str) -> tuple[Any, Any, int]:
    if name == "digits":
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        return torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y), 64
    made = torch.Generator().manual_seed(0)
    x = torch.randn(10_000, 64, generator=made)
    return x, (x @ torch.randn(64, 10, generator=made)).argmax(1), 256


def shares(name: str, log: Any, epochs: int) -> tuple[list[float], list[float], float]:
    """Seconds of telling and of each whole epoch, and of what stands at the run's ends."""
    x, y, width = data(name)
    rows = len(x) * 4 // 5
    told: list[float] = []
    original = tracked.Tracked.epoch

    def timed(self: Any, *given: Any) -> None:
        began = time.perf_counter()
        original(self, *given)
        told.append(time.perf_counter() - began)

    tracked.Tracked.epoch = timed  # type: ignore[method-assign]  # taken back below
    began = time.perf_counter()
    try:
        torch.manual_seed(0)
        model = network(x.shape[1], width, 10)
        result = dashpot.fit(
            model,
            (x[:rows], y[:rows]),
            valid=(x[rows:], y[rows:]),
            recipe=RECIPE,
            epochs=epochs,
            batch_size=64,
            progress=False,
            log=log,
        )
    finally:
        tracked.Tracked.epoch = original  # type: ignore[method-assign]  # as it was
    whole = time.perf_counter() - began
    trained = [row["seconds"] for row in result.history]
    return told, trained, whole - sum(told) - sum(trained)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", nargs="*", default=["measured alone", "tensorboard", "mlflow", "wandb"])
    options.add_argument("--result", type=Path, default=None)
    asked = options.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("WANDB_SILENT", "true")
    warnings.simplefilter("error", dashpot.tracking.TrackerWarning)
    table = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        os.environ["WANDB_DIR"] = place
        makers = {
            "measured alone": lambda: Tracker(),
            "tensorboard": lambda: TensorBoard(f"{place}/tb"),
            "mlflow": lambda: MLflow(f"{place}/ml"),
            "wandb": lambda: WandB(mode="offline"),
        }
        for case, epochs in (("8,000 rows, 2 x 256", 6), ("digits", 20)):
            for name in asked.only:
                found, ends = [], []
                for _ in range(asked.rounds):
                    told, trained, rest = shares(case, makers[name](), epochs)
                    # The first epoch loads libraries.
                    found += [t / (t + s) for t, s in zip(told[1:], trained[1:], strict=True)]
                    ends.append(rest)
                    milliseconds = 1e3 * statistics.median(told[1:])
                low, middle, high = statistics.quantiles(found, n=4)
                row = {"training": case, "tracker": name, "share": middle, "low": low, "high": high}
                row |= {"ms_per_epoch": milliseconds, "ms_trained": 1e3 * statistics.median(trained)}
                row |= {"s_at_the_ends": statistics.median(ends)}
                table.append(row)
                print(row, flush=True)
    write_result("tracking", {"aim": 0.03, "rows": table}, asked.result)


if __name__ == "__main__":
    main()
