"""Regularization for PyTorch: apply any recipe in any training loop, and see what each technique contributes."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dashpot import (
    augment,
    averaging,
    dropout,
    gradient,
    labels,
    optim,
    penalties,
    schedules,
    sharpness,
    stopping,
)
from dashpot.augment import InputNoise, Mixup
from dashpot.averaging import EMA
from dashpot.core.errors import (
    ConfigError,
    ConflictError,
    DashpotError,
    DataError,
    DivergedError,
    StorageError,
    UnknownNameError,
    UsageError,
)
from dashpot.core.fields.select import Where
from dashpot.core.recipe import Recipe
from dashpot.core.running.batch import Batch
from dashpot.core.running.session import Session
from dashpot.core.technique import Technique, Verdict
from dashpot.dropout import Dropout
from dashpot.evaluation.losses import scores
from dashpot.gradient import GradientClipping
from dashpot.labels import LabelSmoothing
from dashpot.penalties import L1, L2, ElasticNet, GroupLasso, WeightDecay
from dashpot.sharpness import SAM
from dashpot.stopping import EarlyStopping
from dashpot.techniques.penalties.strengths import max_strength, resolve_strengths
from dashpot.training.loop import FitResult, fit

if TYPE_CHECKING:
    from dashpot.estimators import DashpotClassifier, DashpotRegressor
    from dashpot.search.config import SearchConfig
    from dashpot.search.outcome.result import TuneResult
    from dashpot.search.tune import tune
    from dashpot.sparsity.inspect import inspect, stationarity
    from dashpot.sparsity.path import path
    from dashpot.sparsity.result import PathResult
    from dashpot.sparsity.selection import selected_features, stability_selection

__version__ = "0.1.0"

__all__ = [
    "EMA",
    "L1",
    "L2",
    "SAM",
    "Batch",
    "ConfigError",
    "ConflictError",
    "DashpotClassifier",
    "DashpotError",
    "DashpotRegressor",
    "DataError",
    "DivergedError",
    "Dropout",
    "EarlyStopping",
    "ElasticNet",
    "FitResult",
    "GradientClipping",
    "GroupLasso",
    "InputNoise",
    "LabelSmoothing",
    "Mixup",
    "PathResult",
    "Recipe",
    "SearchConfig",
    "Session",
    "StorageError",
    "Technique",
    "TuneResult",
    "UnknownNameError",
    "UsageError",
    "Verdict",
    "WeightDecay",
    "Where",
    "augment",
    "averaging",
    "dropout",
    "fit",
    "gradient",
    "inspect",
    "labels",
    "max_strength",
    "optim",
    "path",
    "penalties",
    "resolve_strengths",
    "schedules",
    "scores",
    "selected_features",
    "sharpness",
    "stability_selection",
    "stationarity",
    "stopping",
    "tune",
]

# What needs scikit-learn loads on first use.
_LAZY = {
    "DashpotClassifier": "dashpot.estimators",
    "DashpotRegressor": "dashpot.estimators",
    "PathResult": "dashpot.sparsity.result",
    "SearchConfig": "dashpot.search.config",
    "TuneResult": "dashpot.search.outcome.result",
    "inspect": "dashpot.sparsity.inspect",
    "path": "dashpot.sparsity.path",
    "selected_features": "dashpot.sparsity.selection",
    "stability_selection": "dashpot.sparsity.selection",
    "stationarity": "dashpot.sparsity.inspect",
    "tune": "dashpot.search.tune",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value  # once only; also shadows the submodule of the same name
        return value
    if hasattr(penalties, name):  # all penalties are found here too; the classics are shown
        return getattr(penalties, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
