"""Proximal optimizers: torch's AdamW and SGD with a penalty, update and proximal map in one pass over memory."""

from dashpot.optim.adamw import AdamW
from dashpot.optim.sgd import SGD

__all__ = ["SGD", "AdamW"]
