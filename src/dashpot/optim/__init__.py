"""Proximal optimizers: torch's AdamW and SGD with a penalty, update and proximal map in one pass over memory.

Example:
    >>> import torch, dashpot
    >>> model = torch.nn.Linear(3, 1, bias=False)
    >>> optimizer = dashpot.optim.SGD(model, lr=0.1, penalty=dashpot.L1(strength=100.0))
    >>> model(torch.ones(1, 3)).sum().backward(); _ = optimizer.step()
    >>> int((model.weight != 0).sum())
    0
"""

from dashpot.optim.adamw import AdamW
from dashpot.optim.sgd import SGD

__all__ = ["SGD", "AdamW"]
