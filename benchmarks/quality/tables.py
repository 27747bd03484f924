"""What the arms of ``tune.py`` and ``peers.py`` share: sets and splits, scores, and files of results.

A set is split 60/20/20 by ``Problem.split``. An arm may use the first two parts, the pool, as it likes, and never sees
the test part. Decisions and one temperature are fitted on the validation part alike for every arm that says what it
predicts there; see :func:`scored`.
"""

from __future__ import annotations

import datetime
import json
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import RESULTS

from dashpot.data import Problem, Split
from dashpot.data.rows import frame_rows

DATA = Path("data")
PEER_LINES, DASHPOT_LINES = RESULTS / "tune-peers.jsonl", RESULTS / "tune-dashpot.jsonl"
SMALL = (
    "credit-g",
    "vehicle",
    "kc1",
    "car",
    "phoneme",
    "australian",
    "kr-vs-kp",
    "cnae-9",
    "blood-transfusion",
    "mfeat-factors",
    "segment",
    "spambase",
)
SETS = (*SMALL, "concrete", "kin8nm", "california-housing", "diamonds", "adult")


@dataclass(frozen=True)
class Case:
    """One split of one set: ``frame`` has the inputs, nominal columns as pandas categories, in the order of the rows of
    ``problem``.
    """

    problem: Problem
    frame: Any
    nominal: tuple[str, ...]
    split: Split
    seed: int

    @property
    def classes(self) -> int:
        return len(self.problem.classes)

    @property
    def pool(self) -> np.ndarray:
        return np.sort(np.concatenate([self.split.train, self.split.valid]))

    def part(self, rows: np.ndarray) -> tuple[Any, np.ndarray]:
        """Inputs and targets of ``rows``."""
        return self.frame.iloc[rows].reset_index(drop=True), self.problem.labels[rows]


@dataclass(frozen=True)
class Prediction:
    """What an arm says of the validation and test rows: probabilities [rows, classes] or values [rows].

    An arm that fits decisions and temperature by itself, within the pool, has no ``valid`` and gives its classes of the
    test rows as ``decided``.
    """

    test: np.ndarray
    valid: np.ndarray | None = None
    decided: np.ndarray | None = None


@cache
def read(name: str, folder: Path = DATA) -> tuple[Problem, Any, tuple[str, ...]]:
    """Problem, inputs as a data frame with plain names, and its nominal columns; all arms take the same columns as
    nominal.
    """
    import pandas

    about = json.loads((folder / "meta.json").read_text())[name]
    frame, nominal = pandas.read_csv(folder / about["file"]), tuple(about["categorical"])
    target = frame.pop("target").to_numpy()
    frame = frame.astype({column: float for column in frame if column not in nominal})
    for column in nominal:
        frame[column] = frame[column].astype(object).map(str, na_action="ignore")
    problem = Problem(
        name,
        frame_rows(frame),
        target,
        {"clf": "classification", "reg": "regression"}[about["kind"]],
        target_name="target",
    )
    for column in nominal:
        frame[column] = frame[column].where(frame[column].notna(), "missing").astype("category")
    plain = {column: f"x{i}" for i, column in enumerate(frame)}  # XGBoost takes no brackets in names
    return problem, frame.rename(columns=plain), tuple(plain[column] for column in nominal)


def case_of(name: str, split: int, folder: Path = DATA) -> Case:
    problem, frame, nominal = read(name, folder)
    return Case(problem, frame, nominal, problem.split(split), split)


def scored(case: Case, prediction: Prediction) -> dict[str, float]:
    """Test scores: plain, and with decisions and one temperature fitted on the validation rows (or by the arm itself,
    where it has no ``valid``).
    """
    y = case.problem.labels[case.split.test]
    if not case.classes:
        error = np.square(prediction.test - y).mean()
        return {"R2": float(1 - error / y.var()), "RMSE": float(error**0.5)}
    test = certain(prediction.test)
    learned = case.pool if prediction.valid is None else case.split.train
    prior = np.bincount(case.problem.labels[learned], minlength=case.classes) / len(learned)
    row = {
        "accuracy": float((test.argmax(1) == y).mean()),
        "balanced accuracy": recall(test.argmax(1), y),
        "log-loss": log_loss(test, y),
    }
    row["balanced accuracy, p/prior"] = recall((test / prior).argmax(1), y)
    if prediction.valid is None:
        decided = test.argmax(1) if prediction.decided is None else prediction.decided
        return row | {
            "balanced accuracy, p/prior^tau": recall(decided, y),
            "log-loss, one temperature": row["log-loss"],
        }
    valid, y_valid = certain(prediction.valid), case.problem.labels[case.split.valid]
    tau, temperature = best_tau(valid, y_valid, prior), best_temperature(valid, y_valid)
    row["balanced accuracy, p/prior^tau"] = recall((test / prior**tau).argmax(1), y)
    row["log-loss, one temperature"] = log_loss(softened(test, temperature), y)
    return row | {"tau": tau, "temperature": temperature}


def certain(p: np.ndarray) -> np.ndarray:
    """Probabilities of at least 1e-12 that sum to one, in float64."""
    p = np.maximum(np.asarray(p, dtype=np.float64), 1e-12)
    return p / p.sum(axis=1, keepdims=True)


def recall(decided: np.ndarray, y: np.ndarray) -> float:
    """Balanced accuracy: the mean share of hits over the classes that occur in ``y``."""
    return float(np.mean([(decided[y == c] == c).mean() for c in np.unique(y)]))


def log_loss(p: np.ndarray, y: np.ndarray) -> float:
    return float(-np.log(p[np.arange(len(y)), y]).mean())


def softened(p: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities with their logarithms divided by a temperature."""
    logits = np.log(p) / temperature
    return certain(np.exp(logits - logits.max(axis=1, keepdims=True)))


def best_temperature(p: np.ndarray, y: np.ndarray) -> float:
    """The temperature from 1/20 to 20 with the least log-loss."""
    from scipy.optimize import minimize_scalar

    return float(
        np.exp(
            minimize_scalar(lambda log_t: log_loss(softened(p, np.exp(log_t)), y), bounds=(-3, 3), method="bounded").x
        )
    )


def best_tau(p: np.ndarray, y: np.ndarray, prior: np.ndarray) -> float:
    """The power of the prior, from 0 to 2, with the best balanced accuracy; of several, the one in the middle."""
    taus = np.linspace(0, 2, 41)
    found = np.array([recall((p / prior**tau).argmax(1), y) for tau in taus])
    best = taus[found >= found.max() - 1e-12]
    return float(best[len(best) // 2])


def lines(path: Path) -> list[dict[str, Any]]:
    """The results in a file, without errors and without a last line that was cut off; of two for the same thing the
    later counts.
    """
    found: dict[tuple[str, int, str], dict[str, Any]] = {}
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if "error" not in line:
            found[line["set"], line["split"], line["arm"]] = line
    return list(found.values())


def append(path: Path, line: dict[str, Any]) -> None:
    """Add ``line`` to a file, on a line of its own even after one that was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cut_off = path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.write(("\n" if cut_off else "") + json.dumps(line) + "\n")


def measure(
    path: Path, case: Case, arm: str, predict: Callable[[Case], Prediction], by: str, keep: Path | None = None
) -> None:
    """Score one arm on one case and append a line to ``path``; ``by`` is package and version, ``keep`` a folder for the
    predictions themselves.

    An error is a line as well, and the next run tries again.
    """
    name, task = case.problem.name, case.problem.task
    line: dict[str, Any] = {
        "set": name,
        "split": case.seed,
        "arm": arm,
        "task": task,
        "by": by,
        "date": datetime.date.today().isoformat(),
    }
    line["test rows"] = (  # arms are compared only where they saw the same ones
        f"{zlib.crc32(case.split.test.astype('<i8').tobytes()):08x}"
    )
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            prediction = predict(case)
        line |= {"seconds": round(time.perf_counter() - wall, 3), "cpu seconds": round(time.process_time() - cpu, 3)}
        line["scores"] = {key: round(value, 6) for key, value in scored(case, prediction).items()}
        if keep is not None:
            keep.mkdir(exist_ok=True, parents=True)
            parts = {key: value for key, value in vars(prediction).items() if value is not None}
            np.savez_compressed(keep / f"{name}-{case.seed}-{arm}.npz", **parts)
    except Exception as error:  # a peer may fail in any way, which the line then says
        line["error"] = f"{type(error).__name__}: {error}"[:500]
    append(path, line)
    print(
        f"{datetime.datetime.now():%H:%M:%S} {name:<18} {case.seed} {arm:<23} {line.get('seconds', 0):7.1f} s "
        f" {line.get('error') or line['scores']}",
        flush=True,
    )
