"""A network's answers on rows whose truth is known."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from dashpot.core.running.tensor_rows import TensorRows
from dashpot.data import Prepared
from dashpot.evaluation.decision import Decision
from dashpot.evaluation.losses import predict
from dashpot.report.images.cases import Judged


class _Pictures:
    """Rows of a tensor as arrays, one by one."""

    def __init__(self, rows: TensorRows) -> None:
        self.rows = rows

    def __getitem__(self, i: int) -> np.ndarray:
        return np.asarray(self.rows[i : i + 1][0])


def judged_rows(
    network: nn.Module,
    prepared: Prepared,
    rows: np.ndarray,
    decision: Decision | None = None,
    outputs: torch.Tensor | None = None,
) -> Judged:
    """The answers of a network for some rows.

    Args:
        decision: from outputs to classes; by default the most probable one.
        outputs: for the rows, where they are known.
    """
    index = torch.as_tensor(rows)
    # Of all images only batches are copied, and later those few that a figure shows.
    x, y = TensorRows(prepared.x, index), prepared.y[index]
    out = predict(network, x) if outputs is None else outputs
    return Judged.of(
        _Pictures(x),
        y.numpy(),
        out.detach().double().cpu().numpy(),
        rows,
        decision=decision,
        classes=prepared.target.classes,
        scale=prepared.target.scale,
        mean=prepared.target.mean,
        weight=None if prepared.weight is None else prepared.weight[index].double().numpy(),
    )
