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
from dashpot.evaluation.losses import scores
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
from dashpot.techniques.penalties.step_rules import register_step_rule
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
    "SearchConfig",
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
    "fit",
    "inspect",
    "max_strength",
    "optim",
    "path",
    "register_step_rule",
    "resolve_strengths",
    "scores",
    "selected_features",
    "stability_selection",
    "stationarity",
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
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
