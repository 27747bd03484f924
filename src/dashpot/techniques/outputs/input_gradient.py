"""The base of penalties on the gradient of something with respect to the input."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

import torch
from torch import Tensor

from dashpot.core.errors import ConflictError, UsageError
from dashpot.core.fields.domains import Range
from dashpot.core.requires import Requires
from dashpot.core.running.batch import Batch, float_input
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView, is_compiled
from dashpot.core.technique import Technique


class InputGradient(Technique):
    """Differentiates with respect to the batch that the loop's pass saw, and adds a penalty for each sample."""

    requires = Requires(float_input=True)
    shards = False
    order = 80  # on batches it acts last, and sees the input as the model does; on losses it adds, before flooding

    strength: Annotated[float, Range(0.0, float("inf"), off=0.0)] = field(default=0.1, kw_only=False)

    def check(self, view: ModelView, ctx: Context) -> None:
        if is_compiled(view.wrapper):
            raise ConflictError(
                f"{type(self).__name__} differentiates twice, which torch.compile cannot. Attach to the model as it is,"
                " without torch.compile."
            )

    def on_batch(self, batch: Batch, ctx: Context) -> Batch:
        x = float_input(batch.x, type(self).__name__)
        return batch if self.strength == 0 or x.requires_grad else batch.replace(x=x.detach().requires_grad_())

    def gradient(self, value: Tensor, ctx: Context) -> Tensor:
        """Of a sum over samples with respect to the input, [batch, ...], through which gradients flow.

        Raises:
            UsageError: it does not depend on the batch's input.
        """
        name, x = type(self).__name__, None if ctx.batch is None else ctx.batch.x
        found = None
        if isinstance(x, Tensor) and x.requires_grad and value.requires_grad:
            found = torch.autograd.grad(value, x, create_graph=True, allow_unused=True)[0]
        if found is None:
            raise UsageError(
                f"{name} needs outputs that depend on the batch's input. Call session.batch(x, y), then"
                " model(batch.x), before session.loss."
            )
        return found

    def added(self, loss: Tensor, penalty: Tensor) -> Tensor:
        """The loss with a penalty for each sample [batch].

        Raises:
            UsageError: the loss has no row for each sample.
        """
        if len(loss) != len(penalty):
            raise UsageError(
                f"{type(self).__name__} adds to the loss of each of {len(penalty)} samples, and got {list(loss.shape)}."
                ' Compute it with reduction="none", batch first.'
            )
        return loss + penalty.to(loss.dtype).reshape(-1, *[1] * (loss.ndim - 1))
