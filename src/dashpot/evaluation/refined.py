"""The refined loss: the log loss of classifiers after the one temperature that suits the very rows best."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from dashpot.core.running.targets import class_codes
from dashpot.evaluation.calibration import fit_temperature

REFINED = "refined_loss"


def refinable(y: Tensor, targets: str | None) -> bool:
    """Whether there is such a loss: of classes as whole numbers, and of one yes or no in a row."""
    single = y.numel() == len(y)
    return (targets == "classes" and not y.is_floating_point()) or (targets == "multilabel" and single)


def refined_loss(out: Tensor, y: Tensor, *, weight: Tensor | None = None, targets: str | None = None) -> float:
    """The log loss after temperature: how well a model tells the classes apart, whatever it says of how sure it is.

    A log loss is a refinement loss and a calibration loss. The second is repaired after training, by a temperature, and
    often rises while the first still falls; so stop by the first (Berta, Holzmüller, Jordan and Bach, "Rethinking
    Early Stopping: Refine, Then Calibrate", 2025).

    Args:
        out: logits [n, classes, ...], or of one yes or no [n] or [n, 1].
        y: classes [n, ...], or yes/no.
        weight: of the rows [n].
        targets: ``"multilabel"`` for yes or no; else classes.

    Returns:
        The mean log loss at the temperature of :func:`~dashpot.evaluation.calibration.fit_temperature`; NaN where a
        logit is not finite.

    Example:
        >>> import torch
        >>> y = torch.tensor([0, 0, 0, 1] * 1000)
        >>> sure = torch.tensor([[40.0, 0.0]]).expand(4000, 2)  # right in 3 of 4 rows, and far too sure
        >>> round(refined_loss(sure, y), 3)  # -3/4 log 3/4 - 1/4 log 1/4, but for the highest temperature, 20
        0.627
    """
    z = out.detach().double().cpu()
    if targets == "multilabel":
        z = torch.stack([torch.zeros_like(z.reshape(-1)), z.reshape(-1)], dim=1)
        codes = (y.detach().cpu().reshape(-1) > 0.5).long()
    else:
        codes = class_codes(y, out).detach().cpu().reshape(-1)
        z = z.movedim(1, -1).reshape(-1, out.shape[1])
    if z.shape[1] < 2 or not bool(z.isfinite().all()):
        return 0.0 if z.shape[1] < 2 and bool(z.isfinite().all()) else math.nan
    share = np.ones(len(y)) if weight is None else weight.detach().cpu().double().numpy()
    share = np.repeat(share, len(z) // len(y))
    kept = share > 0
    logits, truth, share = z.numpy()[kept], codes.numpy()[kept], share[kept]
    sharp = torch.from_numpy(logits) / fit_temperature(logits, truth, weight=None if weight is None else share)
    each = -sharp.log_softmax(dim=1)[torch.arange(len(truth)), torch.from_numpy(truth)]
    return float(np.average(each.numpy(), weights=share))
