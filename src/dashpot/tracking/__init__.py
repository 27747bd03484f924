"""Experiment trackers: what a run is made of, its numbers epoch by epoch, and its report, in the tool of the user."""

from dashpot.tracking.loop import Log
from dashpot.tracking.mlflow import MLflow
from dashpot.tracking.names import trackers_of
from dashpot.tracking.tensorboard import TensorBoard
from dashpot.tracking.tracker import Candidate, End, Start, Tracker, TrackerWarning
from dashpot.tracking.tracking import Tracking
from dashpot.tracking.wandb import Trackio, WandB

__all__ = [
    "Candidate",
    "End",
    "Log",
    "MLflow",
    "Start",
    "TensorBoard",
    "Tracker",
    "TrackerWarning",
    "Tracking",
    "Trackio",
    "WandB",
    "trackers_of",
]
