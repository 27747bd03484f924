"""Regularization for PyTorch: apply any recipe in any training loop, and see what each technique contributes."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Nothing loads torch until it is used: the command line sets how its threads wait before that.
if TYPE_CHECKING:
    from dashpot import (
        augment,
        averaging,
        dropout,
        fine_tuning,
        gradient,
        labels,
        noise,
        normalization,
        optim,
        outputs,
        penalties,
        schedules,
        sharpness,
        stopping,
    )
    from dashpot.augment import CutMix, Cutout, InputNoise, Mixup, RandAugment
    from dashpot.averaging import EMA
    from dashpot.comparison.robustness import RobustnessResult, robustness
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
    from dashpot.estimators import DashpotClassifier, DashpotRegressor
    from dashpot.evaluation.losses import scores
    from dashpot.evaluation.monotone import Violations, monotone_violations
    from dashpot.gradient import GradientClipping
    from dashpot.labels import LabelSmoothing
    from dashpot.penalties import L1, L2, Compress, ElasticNet, GroupLasso, WeightDecay
    from dashpot.runs.run import Run, load_run
    from dashpot.search.config import SearchConfig
    from dashpot.search.outcome.result import TuneResult
    from dashpot.search.tune import tune
    from dashpot.sharpness import SAM
    from dashpot.shrinking.files import load_shrunk, save_shrunk
    from dashpot.shrinking.folding import fold_batch_norm
    from dashpot.shrinking.shrink import Shrunk, shrink
    from dashpot.shrinking.to_size import shrink_to
    from dashpot.sparsity.inspect import inspect, stationarity
    from dashpot.sparsity.path import path
    from dashpot.sparsity.result import PathResult
    from dashpot.sparsity.selection import selected_features, stability_selection
    from dashpot.sparsity.sizes import size_path
    from dashpot.stopping import EarlyStopping
    from dashpot.techniques.penalties.strengths import max_strength, resolve_strengths
    from dashpot.training.cutting import cut
    from dashpot.training.ensemble_gap import EnsembleGap, dropout_ensemble_gap
    from dashpot.training.ensembles import ensemble_predict
    from dashpot.training.exporting import Exported, export
    from dashpot.training.loop import FitResult, fit
    from dashpot.training.mc_dropout import MCResult, mc_predict
    from dashpot.training.recalibrate import recalibrate
    from dashpot.training.soups import greedy_soup, interpolate, soup
    from dashpot.training.tta import TTAResult, tta_predict

__version__ = "0.1.0"

__all__ = [
    "EMA",
    "L1",
    "L2",
    "SAM",
    "TTA",
    "Batch",
    "Compress",
    "ConfigError",
    "ConflictError",
    "CutMix",
    "Cutout",
    "DashpotClassifier",
    "DashpotError",
    "DashpotRegressor",
    "DataError",
    "DivergedError",
    "Dropout",
    "EarlyStopping",
    "ElasticNet",
    "EnsembleGap",
    "Exported",
    "FitResult",
    "GradientClipping",
    "GroupLasso",
    "InputNoise",
    "LabelSmoothing",
    "MCResult",
    "Mixup",
    "PathResult",
    "RandAugment",
    "Recipe",
    "RobustnessResult",
    "Run",
    "SearchConfig",
    "Session",
    "Shrunk",
    "StorageError",
    "TTAResult",
    "Technique",
    "TuneResult",
    "UnknownNameError",
    "UsageError",
    "Verdict",
    "Violations",
    "WeightDecay",
    "Where",
    "augment",
    "averaging",
    "cut",
    "dropout",
    "dropout_ensemble_gap",
    "ensemble_predict",
    "export",
    "fine_tuning",
    "finetune_groups",
    "fit",
    "fold_batch_norm",
    "freeze",
    "gradient",
    "greedy_soup",
    "inspect",
    "interpolate",
    "labels",
    "load_run",
    "load_shrunk",
    "max_strength",
    "mc_predict",
    "monotone_violations",
    "noise",
    "normalization",
    "optim",
    "outputs",
    "path",
    "penalties",
    "recalibrate",
    "replace_head",
    "resolve_strengths",
    "robustness",
    "save_shrunk",
    "schedules",
    "scores",
    "selected_features",
    "sharpness",
    "shrink",
    "shrink_to",
    "size_path",
    "soup",
    "stability_selection",
    "stationarity",
    "stopping",
    "tta_predict",
    "tune",
]

_HOMES = {
    "Batch": "dashpot.core.running.batch",
    "Compress": "dashpot.penalties",
    "ConfigError": "dashpot.core.errors",
    "ConflictError": "dashpot.core.errors",
    "CutMix": "dashpot.augment",
    "Cutout": "dashpot.augment",
    "DashpotClassifier": "dashpot.estimators",
    "DashpotError": "dashpot.core.errors",
    "DashpotRegressor": "dashpot.estimators",
    "DataError": "dashpot.core.errors",
    "DivergedError": "dashpot.core.errors",
    "Dropout": "dashpot.dropout",
    "EMA": "dashpot.averaging",
    "EarlyStopping": "dashpot.stopping",
    "EnsembleGap": "dashpot.training.ensemble_gap",
    "MCResult": "dashpot.training.mc_dropout",
    "ElasticNet": "dashpot.penalties",
    "Exported": "dashpot.training.exporting",
    "FitResult": "dashpot.training.loop",
    "GradientClipping": "dashpot.gradient",
    "GroupLasso": "dashpot.penalties",
    "InputNoise": "dashpot.augment",
    "L1": "dashpot.penalties",
    "L2": "dashpot.penalties",
    "LabelSmoothing": "dashpot.labels",
    "Mixup": "dashpot.augment",
    "PathResult": "dashpot.sparsity.result",
    "RandAugment": "dashpot.augment",
    "Recipe": "dashpot.core.recipe",
    "RobustnessResult": "dashpot.comparison.robustness",
    "SAM": "dashpot.sharpness",
    "Run": "dashpot.runs.run",
    "SearchConfig": "dashpot.search.config",
    "Session": "dashpot.core.running.session",
    "Shrunk": "dashpot.shrinking.shrink",
    "StorageError": "dashpot.core.errors",
    "Technique": "dashpot.core.technique",
    "TTA": "dashpot.training.versions",
    "TTAResult": "dashpot.training.tta",
    "TuneResult": "dashpot.search.outcome.result",
    "UnknownNameError": "dashpot.core.errors",
    "UsageError": "dashpot.core.errors",
    "Verdict": "dashpot.core.technique",
    "Violations": "dashpot.evaluation.monotone",
    "WeightDecay": "dashpot.penalties",
    "Where": "dashpot.core.fields.select",
    "cut": "dashpot.training.cutting",
    "dropout_ensemble_gap": "dashpot.training.ensemble_gap",
    "ensemble_predict": "dashpot.training.ensembles",
    "export": "dashpot.training.exporting",
    "finetune_groups": "dashpot.training.finetune",
    "fit": "dashpot.training.loop",
    "fold_batch_norm": "dashpot.shrinking.folding",
    "freeze": "dashpot.training.finetune",
    "greedy_soup": "dashpot.training.soups",
    "inspect": "dashpot.sparsity.inspect",
    "interpolate": "dashpot.training.soups",
    "load_run": "dashpot.runs.run",
    "load_shrunk": "dashpot.shrinking.files",
    "max_strength": "dashpot.techniques.penalties.strengths",
    "mc_predict": "dashpot.training.mc_dropout",
    "monotone_violations": "dashpot.evaluation.monotone",
    "path": "dashpot.sparsity.path",
    "recalibrate": "dashpot.training.recalibrate",
    "replace_head": "dashpot.training.finetune",
    "resolve_strengths": "dashpot.techniques.penalties.strengths",
    "robustness": "dashpot.comparison.robustness",
    "save_shrunk": "dashpot.shrinking.files",
    "scores": "dashpot.evaluation.losses",
    "selected_features": "dashpot.sparsity.selection",
    "shrink": "dashpot.shrinking.shrink",
    "shrink_to": "dashpot.shrinking.to_size",
    "size_path": "dashpot.sparsity.sizes",
    "soup": "dashpot.training.soups",
    "stability_selection": "dashpot.sparsity.selection",
    "stationarity": "dashpot.sparsity.inspect",
    "tta_predict": "dashpot.training.tta",
    "tune": "dashpot.search.tune",
}
_FAMILIES = tuple(name for name in __all__ if name not in _HOMES)
_ROOMS = ("core", "evaluation", "techniques", "training", "data", "nets", "report", "runs", "population", "tracking")
_ALWAYS = ("dashpot.training.loop", *(f"dashpot.{family}" for family in _FAMILIES))
"""What is loaded with the first name: all but what needs scikit-learn."""


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for module in _ALWAYS:
        importlib.import_module(module)
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value  # once only; also shadows the submodule of the same name
        return value
    if name in (*_FAMILIES, *_ROOMS):
        return importlib.import_module(f"dashpot.{name}")
    penalties = importlib.import_module("dashpot.penalties")
    if hasattr(penalties, name):  # all penalties are found here too; the classics are shown
        return getattr(penalties, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
