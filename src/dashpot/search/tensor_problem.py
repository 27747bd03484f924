"""``TensorProblem``: data for a network of the caller's own, used as they are."""

from __future__ import annotations

import hashlib
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from dashpot.data import Prepared, Problem, Target
from dashpot.search.outcome.result import AsTheyAre


class TensorProblem(Problem):
    """Inputs of any shape for a network of the caller's own; nothing is done to them, nor to values to predict.

    Args:
        x: [n, ...].
        y: classes or values [n], or values [n, outputs].
        task: ``"classification"`` or ``"regression"``.
    """

    def __init__(self, x: Tensor, y: np.ndarray, task: str, weight: Any = None) -> None:
        # Of inputs only their number is asked, and some rows.
        super().__init__("data", x, y, task, weight=weight, weight_name="sample_weight")  # type: ignore[arg-type]
        self.kind, self.x = "tensor", cast(Tensor, self.inputs)

    @property
    def fingerprint(self) -> str:
        """A short hash of inputs and target."""
        digest = hashlib.sha256(f"{self.x.dtype} {tuple(self.x.shape)}".encode())
        digest.update(self.x.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        for part in (self.labels, self.weight):
            digest.update(b"" if part is None else np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:16]

    def prepare(self, train: np.ndarray, *, scaling: str = "standard") -> Prepared:
        """The tensors as they are."""
        y = torch.from_numpy(self.labels if self.task == "classification" else self.labels.astype(np.float32))
        how = AsTheyAre(tuple(self.x.shape[1:]), str(self.x.dtype).removeprefix("torch."))
        return Prepared(self.x, y, cast(Any, how), Target(self.task, self.classes), weight=self.weights)
