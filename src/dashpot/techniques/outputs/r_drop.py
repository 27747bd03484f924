"""R-Drop: two passes with masks of their own must agree."""

from __future__ import annotations

import warnings
from dataclasses import field
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.errors import UsageError
from dashpot.core.fields.domains import Range
from dashpot.core.running.context import Context
from dashpot.core.technique import Technique
from dashpot.techniques.outputs.judged import judged


def r_drop(
    loss: Float[Tensor, "*shape"],
    forth: Float[Tensor, "*shape"],
    back: Float[Tensor, "*shape"],
    strength: float | Float[Tensor, ""],
) -> Float[Tensor, "*shape"]:
    """``loss + strength * (forth + back) / 2``, of the divergences of two passes from each other."""
    return loss + strength * (forth + back) / 2


class SamePassesWarning(UserWarning):
    """Two passes that should differ by dropout or noise are the same, so that nothing is learned from them."""


class RDrop(Technique):
    r"""Run each batch twice, with dropout masks of its own, and draw the two outputs together.

    .. math:: \ell_r = \ell + \alpha \cdot \tfrac12 \big( \mathrm{KL}(p_1 \Vert p_2) + \mathrm{KL}(p_2 \Vert p_1) \big)

    Gradients flow through both passes; the second leaves running statistics alone. Of yes/no labels it is the
    divergence of each label, of values the squared difference. The paper adds the cross entropies of both passes, which
    have the same mean: here the loss is that of the first, so that α is half of the paper's. It needs
    ``session.batch(x, y)`` in the loop, and costs a second pass. Mixed and augmented batches are the same in both.
    Where both passes of the first batch agree to the last bit, a warning says that nothing drops or adds noise.

    Args:
        strength: α >= 0. 0 is off; 0.5 to 5 is usual.

    Raises:
        UsageError: ``session.loss`` got no ``out``, or ``session.batch`` was not called; or the loop has not said
            whether floating-point targets are values or labels.

    Example:
        >>> import torch, dashpot
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
        >>> session = dashpot.outputs.RDrop(1.0).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> x, y = session.batch(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> out = model(x)
        >>> bool(session.loss(nn.CrossEntropyLoss(), out) > nn.functional.cross_entropy(out, y))
        True

    Paper: Liang et al., "R-Drop: Regularized Dropout for Neural Networks", NeurIPS 2021, arXiv 2106.14448.

    When not to use it: without dropout or other noise in the network, where both passes agree and it costs time only;
    where the doubled time buys more as twice the epochs.
    """

    summary = "draws the outputs of two dropout masks together (a second pass)"
    forwards = 1
    order = 10  # after what blends the plain loss with something else

    strength: Annotated[float, Range(0.0, float("inf"), search=(0.1, 5.0), log=True, off=0.0)] = field(
        default=1.0, kw_only=False
    )

    def on_loss(self, loss: Tensor, out: Any, ctx: Context) -> Tensor:
        if self.strength == 0:
            return loss
        if ctx.batch is None:
            raise UsageError("RDrop runs the batch once more: call session.batch(x, y) before session.loss.")
        found = judged("RDrop", loss, out, ctx, target=False, values=True)
        again = found.taken(ctx.forward(ctx.batch), "the second pass")
        # Not on a GPU, where an answer would have to be waited for.
        if ctx.step == 0 and again.device.type == "cpu" and torch.equal(again, found.out):
            warnings.warn(
                f"RDrop: two passes of the first batch through {type(ctx.model).__name__} agree to the last bit, so it"
                " costs a pass and changes nothing. Give the network dropout or noise, such as Dropout(0.1) | RDrop(),"
                " unless a schedule brings some later.",
                SamePassesWarning,
                stacklevel=5,
            )
        return r_drop(loss, found.from_other(again), found.beside(again).from_other(found.out), self.strength)
