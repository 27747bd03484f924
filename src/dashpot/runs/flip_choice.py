"""Whether predictions should be means over mirror images, by rows that the network was not trained on."""

from __future__ import annotations

from typing import Any

from torch import nn

from dashpot.core.digits import digits
from dashpot.evaluation.losses import scores
from dashpot.training.versions import TTA


def flips_that_help(network: nn.Module, tta: TTA | None, valid: tuple[Any, ...], task: str) -> tuple[TTA | None, str]:
    """The mean over mirror images, if the loss on validation rows is lower with it, and a sentence that says so.

    Args:
        network: a trained one, from images to logits or values.
        tta: the mirror images that it was trained on; None where there were none.
        valid: images, targets and perhaps weights that it was not trained on.
        task: ``"classification"`` (by log loss) or ``"regression"`` (by squared error).
    """
    if tta is None:
        return None, "predictions are of each image as it is: the recipe has no flips to average over"
    targets, what = ("values", "squared error") if task == "regression" else ("classes", "log loss")
    x, y, *weight = valid
    own = weight[0] if weight else None
    plain = scores(network, x, y, weight=own)["loss"]
    mean = scores(tta.network(network, targets).eval(), x, y, weight=own)["loss"]
    measured = f"{what} on the validation rows {digits(mean)}, without {digits(plain)}"
    if mean < plain:
        return tta, f"predictions are the mean over {tta.versions} mirror images of each image: {measured}"
    return None, f"predictions are of each image as it is, as a mean over mirror images is no better: {measured}"
