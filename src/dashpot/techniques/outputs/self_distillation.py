"""Self-distillation: imitate an average of one's own weights."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.errors import UsageError
from dashpot.core.fields.domains import Range
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView, Params
from dashpot.core.technique import State, Technique
from dashpot.techniques.outputs.judged import judged


def consistency(
    loss: Float[Tensor, "*shape"], divergence: Float[Tensor, "*shape"], strength: float | Float[Tensor, ""]
) -> Float[Tensor, "*shape"]:
    """``loss + strength * divergence``."""
    return loss + strength * divergence


class SelfDistillation(Technique):
    r"""Imitate a moving average of the network's own weights.

    .. math:: \ell_d = \ell + \beta\, T^2\, \mathrm{KL}\big( p_T(x; \bar w) \,\Vert\, p_T(x; w) \big), \quad
        \bar w \leftarrow d\,\bar w + (1-d)\,w

    with :math:`p_T` the softmax of the logits over T. The teacher sees the same batch in the same mode, with dropout
    masks of its own, and gets no gradient. Of yes/no labels it is the divergence of each label, of values the squared
    difference. The average begins with the weights at attach, is short at first (``min(d, (1 + t) / (10 + t))``), and
    is saved with the session. It needs ``session.batch(x, y)`` in the loop, and costs a second pass without gradients.
    What is evaluated stays the raw network: add :class:`EMA` for its average.

    Args:
        strength: β >= 0. 0 is off; 0.1 to 3 is usual, often from 0 on: ``"0to1@until=30%"``.
        decay: d in [0, 1), of the teacher's average.
        temperature: T > 0, of logits; of no meaning for values.

    Raises:
        ConfigError: ``decay`` outside [0, 1), a temperature of 0.
        UsageError: ``session.loss`` got no ``out``, or ``session.batch`` was not called; or the loop has not said
            whether floating-point targets are values or labels.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 3)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        >>> session = dashpot.outputs.SelfDistillation(1.0, decay=0.9).attach(model, optimizer)
        >>> for step in range(2):
        ...     x, y = session.batch(torch.ones(6, 4), torch.tensor([0, 0, 0, 0, 1, 2]))
        ...     out = model(x)
        ...     loss = session.loss(torch.nn.CrossEntropyLoss(), out)
        ...     optimizer.zero_grad(); loss.backward(); optimizer.step()
        >>> bool(loss > torch.nn.functional.cross_entropy(out, y))
        True

    Paper: Tarvainen and Valpola, "Mean Teachers are Better Role Models", NeurIPS 2017, arXiv 1703.01780.

    When not to use it: trainings of few steps, in which the average is the network itself; where dropout, noise or
    augmentation are off, it draws the network towards its past only.
    """

    summary = "imitates an average of its own weights (a second pass)"
    shards = False
    forwards = 1
    order = 10  # after what blends the plain loss with something else

    strength: Annotated[float, Range(0.0, float("inf"), search=(0.1, 3.0), log=True, off=0.0)] = field(
        default=1.0, kw_only=False
    )
    decay: Annotated[float, Range(0.0, 1.0, search=(0.9, 0.999), open="high")] = 0.99
    temperature: Annotated[float, Range(0.0, float("inf"), open="low")] = 1.0

    def init(self, view: ModelView, ctx: Context) -> State:
        return {"teacher": {name: _begun(p) for name, p in view.parameters.items()}}

    def on_loss(self, loss: Tensor, out: Any, ctx: Context) -> Tensor:
        if self.strength == 0:
            return loss
        if ctx.batch is None:
            raise UsageError("SelfDistillation runs the batch once more: call session.batch(x, y) before session.loss.")
        found = judged("SelfDistillation", loss, out, ctx, target=False, values=True)
        own, teacher = ctx.view.parameters, ctx.state["teacher"]
        with torch.no_grad():
            weights = {name: average.to(own[name].dtype) for name, average in teacher.items() if name in own}
            taught = found.taken(ctx.forward(ctx.batch, weights=weights), "the average network")
        return consistency(loss, found.from_other(taught, self.temperature), self.strength)

    def on_step(self, params: Params, ctx: Context) -> None:
        teacher = ctx.state["teacher"]
        share = 1 - min(self.decay, (1 + ctx.step) / (10 + ctx.step))
        for name, p in ctx.view.parameters.items():
            if name in teacher:
                teacher[name].lerp_(p.detach().to(teacher[name].dtype), share)
            else:  # unfrozen since: its average begins here
                teacher[name] = _begun(p)


def _begun(tensor: Tensor) -> Tensor:
    # In bfloat16 a small share of most differences rounds to nothing.
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32), copy=True)
