"""Techniques that end training."""

from __future__ import annotations

from dashpot.techniques.stopping.divergence_stopping import DivergenceStopping
from dashpot.techniques.stopping.early_stopping import EarlyStopping
from dashpot.techniques.stopping.multi_metric_stopping import MultiMetricStopping
from dashpot.techniques.stopping.prechelt_stopping import PrecheltStopping
from dashpot.techniques.stopping.stop_file import StopFile
from dashpot.techniques.stopping.time_limit import TimeLimit

__all__ = ["DivergenceStopping", "EarlyStopping", "MultiMetricStopping", "PrecheltStopping", "StopFile", "TimeLimit"]
