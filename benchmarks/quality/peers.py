"""What users could pick for a table instead of Dashpot, measured one by one: a line of JSON per (set, split, peer).

Boosted trees and networks learn from the training part and stop by the validation part; the linear models, which need
no such part, learn from both. All are at their defaults, on one thread, except for what early stopping needs: boosted
trees may grow to 1000 rounds, and XGBoost and CatBoost stop after 50 rounds without gain in validation loss and go back
to the best one. Scikit-learn's histogram boosting does not go back, so it keeps its own patience of 10. RealMLP-TD and
TabM-D choose their epoch by validation error (root mean square or share of misses), as pytabkit does by default.

Lines that are in the file already are skipped, so the script may be killed and started again. Splits come one after
another, and within a split small sets first, so that what is there can be read at any time. The slow peers come after
the others of the same split. Each peer first has an uncounted run on a small made-up table, so that imports do not
count.

Run: ``python benchmarks/quality/peers.py --splits 2``. It needs xgboost, catboost, and pytabkit with lightning,
torchmetrics, skorch, dill, dask and msgpack-numpy; a peer whose package is missing leaves lines with an error.
"""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before NumPy reads them
    os.environ.setdefault(_variable, "1")

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tables import DATA, PEER_LINES, SETS, Case, Prediction, case_of, lines, measure

from dashpot.data import Problem
from dashpot.data.rows import frame_rows

ROUNDS, PATIENCE = 1000, 50
Fit = Callable[[Any, Any, np.ndarray, Any, np.ndarray], Any]


def outputs(model: Any, case: Case, rows: np.ndarray) -> np.ndarray:
    """Probabilities in the order of the class codes, or values."""
    x, _ = case.part(rows)
    if not case.classes:
        return np.asarray(model.predict(x), dtype=np.float64).reshape(len(rows))
    found = np.zeros((len(rows), case.classes))
    found[:, np.asarray(model.classes_).astype(int)] = model.predict_proba(x)
    return found


def stopped(model: Any, case: Case, fit: Fit) -> Prediction:
    """Of a model that learns from the training part and stops by the validation part."""
    fit(model, *case.part(case.split.train), *case.part(case.split.valid))
    return Prediction(outputs(model, case, case.split.test), outputs(model, case, case.split.valid))


def linear(case: Case) -> Prediction:
    """Strength by folds of the pool, then fitted to the pool; the validation rows are predicted by a fit of the same
    strength without them.
    """
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, Ridge, RidgeCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    nominal = list(case.nominal)
    numeric = [name for name in case.frame if name not in nominal]

    def on_columns(model: Any) -> Any:
        scaled, spread = (
            make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
            OneHotEncoder(handle_unknown="ignore"),
        )
        return make_pipeline(make_column_transformer((scaled, numeric), (spread, nominal), sparse_threshold=0), model)

    if case.classes:
        folds = StratifiedKFold(5, shuffle=True, random_state=case.seed)
        options = {
            "cv": folds,
            "scoring": "neg_log_loss",
            "max_iter": 1000,
            "l1_ratios": (0.0,),
            "use_legacy_attributes": False,
        }
        whole = on_columns(LogisticRegressionCV(Cs=np.logspace(-4, 3, 8), **options)).fit(*case.part(case.pool))
        part = on_columns(LogisticRegression(C=float(whole[-1].C_), max_iter=1000))
    else:
        whole = on_columns(RidgeCV(alphas=np.logspace(-3, 5, 33))).fit(*case.part(case.pool))
        part = on_columns(Ridge(alpha=float(whole[-1].alpha_)))
    part.fit(*case.part(case.split.train))
    return Prediction(outputs(whole, case, case.split.test), outputs(part, case, case.split.valid))


def histogram_boosting(case: Case) -> Prediction:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if case.classes else HistGradientBoostingRegressor
    model = kind(max_iter=ROUNDS, early_stopping=True, random_state=case.seed)
    return stopped(model, case, lambda m, x, y, x_valid, y_valid: m.fit(x, y, X_val=x_valid, y_val=y_valid))


def xgboost(case: Case) -> Prediction:
    from xgboost import XGBClassifier, XGBRegressor

    kind = XGBClassifier if case.classes else XGBRegressor
    model = kind(
        n_estimators=ROUNDS, early_stopping_rounds=PATIENCE, enable_categorical=True, n_jobs=1, random_state=case.seed
    )
    return stopped(
        model, case, lambda m, x, y, x_valid, y_valid: m.fit(x, y, eval_set=[(x_valid, y_valid)], verbose=False)
    )


def catboost(case: Case) -> Prediction:
    from catboost import CatBoostClassifier, CatBoostRegressor

    kind = CatBoostClassifier if case.classes else CatBoostRegressor
    quiet = {"verbose": False, "allow_writing_files": False}
    rounds = {"iterations": ROUNDS, "early_stopping_rounds": PATIENCE}
    model = kind(cat_features=list(case.nominal), thread_count=1, random_seed=case.seed, **rounds, **quiet)
    return stopped(model, case, lambda m, x, y, x_valid, y_valid: m.fit(x, y, eval_set=(x_valid, y_valid)))


def _pytabkit(case: Case, name: str) -> Prediction:
    import pytabkit

    model = getattr(pytabkit, f"{name}_{'Classifier' if case.classes else 'Regressor'}")(
        device="cpu", random_state=case.seed, n_threads=1
    )
    nominal = list(case.nominal)
    return stopped(
        model, case, lambda m, x, y, x_valid, y_valid: m.fit(x, y, X_val=x_valid, y_val=y_valid, cat_col_names=nominal)
    )


def realmlp(case: Case) -> Prediction:
    return _pytabkit(case, "RealMLP_TD")


def tabm(case: Case) -> Prediction:
    return _pytabkit(case, "TabM_D")


PEERS: dict[str, tuple[Callable[[Case], Prediction], str]] = {
    "linear, cross-validated": (linear, "scikit-learn"),
    "histogram boosting": (histogram_boosting, "scikit-learn"),
    "XGBoost": (xgboost, "xgboost"),
    "CatBoost": (catboost, "catboost"),
    "RealMLP-TD": (realmlp, "pytabkit"),
    "TabM-D": (tabm, "pytabkit"),
}
SLOW = ("TabM-D",)
FAMILIES = {
    "linear": ("linear, cross-validated",),
    "boosted trees": ("histogram boosting", "XGBoost", "CatBoost"),
    "networks": ("RealMLP-TD", "TabM-D"),
}


def warm_up(peer: str) -> None:
    """An uncounted run on random numbers; what is wrong with the peer shows in its first line."""
    import pandas

    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(rng.normal(size=(120, 3)), columns=["a", "b", "c"])
    frame["d"] = pandas.Categorical(rng.choice(["u", "v"], 120))
    problem = Problem("made up", frame_rows(frame), rng.integers(2, size=120), "classification")
    with contextlib.suppress(Exception):  # what is wrong with it shows in its first line
        PEERS[peer][0](Case(problem, frame, ("d",), problem.split(0), 0))


def jobs(sets: Sequence[str], splits: int, peers: Sequence[str]) -> Iterator[tuple[str, int, str]]:
    """Set, split and peer of each job, in the order in which they are done."""
    for split in range(splits):
        for group in ([p for p in peers if p not in SLOW], [p for p in peers if p in SLOW]):
            yield from ((name, split, peer) for name in sets for peer in group)


def main() -> None:
    from importlib.metadata import version

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--peers", nargs="+", choices=tuple(PEERS), default=tuple(PEERS))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--to", type=Path, default=PEER_LINES)
    parser.add_argument("--keep", type=Path, help="a folder for the predictions themselves")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    have, warm = {(line["set"], line["split"], line["arm"]) for line in lines(options.to)}, set()
    for name, split, peer in jobs(options.sets, options.splits, options.peers):
        if (name, split, peer) in have:
            continue
        if peer not in warm:
            warm_up(peer)
            warm.add(peer)
        predict, package = PEERS[peer]
        try:
            by = f"{package} {version(package)}"
        except ImportError:
            by = package
        measure(options.to, case_of(name, split, options.data), peer, predict, by, options.keep)


if __name__ == "__main__":
    main()
