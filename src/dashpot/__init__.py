"""Dashpot: regularization for PyTorch. Apply any recipe to any model in any training loop, and see what it earned."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dashpot import optim
from dashpot.core.batch import Batch
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
from dashpot.core.recipe import Recipe
from dashpot.core.select import Where
from dashpot.core.session import Session
from dashpot.core.technique import Technique, Verdict
from dashpot.fit import FitResult, fit
from dashpot.scores import scores
from dashpot.strengths import absolute, strength_max
from dashpot.techniques import (
    EMA,
    L0,
    L1,
    L2,
    MCP,
    SAM,
    SCAD,
    Dropout,
    EarlyStopping,
    ElasticNet,
    GradientClipping,
    GroupElasticNet,
    GroupLasso,
    HardThreshold,
    InputNoise,
    LabelSmoothing,
    MaxNorm,
    Mixup,
    NOfM,
    NonNegative,
    NuclearNorm,
    Orthogonality,
    SparseGroupLasso,
    TotalVariation,
    UnitNorm,
    WeightDecay,
)
from dashpot.techniques.penalties.grouping import Grouping
from dashpot.techniques.penalties.metric import register_metric

if TYPE_CHECKING:
    from dashpot.diagnosis import inspect, stationarity
    from dashpot.estimators import DashpotClassifier, DashpotRegressor
    from dashpot.path_result import PathResult
    from dashpot.paths import path
    from dashpot.search.python import tune
    from dashpot.search.result import TuneResult
    from dashpot.selection import selected_features, stability_selection

__version__ = "0.1.0"

__all__ = [
    "EMA",
    "L0",
    "L1",
    "L2",
    "MCP",
    "SAM",
    "SCAD",
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
    "GroupElasticNet",
    "GroupLasso",
    "Grouping",
    "HardThreshold",
    "InputNoise",
    "LabelSmoothing",
    "MaxNorm",
    "Mixup",
    "NOfM",
    "NonNegative",
    "NuclearNorm",
    "Orthogonality",
    "PathResult",
    "Recipe",
    "Session",
    "SparseGroupLasso",
    "StorageError",
    "Technique",
    "TotalVariation",
    "TuneResult",
    "UnitNorm",
    "UnknownNameError",
    "UsageError",
    "Verdict",
    "WeightDecay",
    "Where",
    "absolute",
    "fit",
    "inspect",
    "optim",
    "path",
    "register_metric",
    "scores",
    "selected_features",
    "stability_selection",
    "stationarity",
    "strength_max",
    "tune",
]

# What needs scikit-learn loads on first use.
_LAZY = {
    "DashpotClassifier": "dashpot.estimators",
    "DashpotRegressor": "dashpot.estimators",
    "PathResult": "dashpot.path_result",
    "TuneResult": "dashpot.search.result",
    "inspect": "dashpot.diagnosis",
    "path": "dashpot.paths",
    "selected_features": "dashpot.selection",
    "stability_selection": "dashpot.selection",
    "stationarity": "dashpot.diagnosis",
    "tune": "dashpot.search.python",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value  # once only; also shadows the submodule of the same name
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
