"""Logit normalization: train on logits of one length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dashpot.core.errors import UsageError
from dashpot.core.fields.domains import Range
from dashpot.core.requires import Requires
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Handle, Technique


def logit_norm(
    logits: Float[Tensor, "batch classes *rest"], temperature: float | Float[Tensor, ""]
) -> Float[Tensor, "batch classes *rest"]:
    """Logits of length ``1 / temperature`` in their direction; as they are at ``temperature = 0``."""
    t = temperature if isinstance(temperature, Tensor) else torch.tensor(temperature, device="cpu")
    length = torch.linalg.vector_norm(logits, dim=1, keepdim=True) + 1e-7
    t = t.to(logits.device, logits.dtype, non_blocking=True)
    return logits / torch.where(t > 0, t * length, 1)


class LogitNorm(Technique):
    r"""Train on logits of one length, so that the loss cannot fall by making them longer.

    .. math:: \tilde z = \frac{z}{\tau \lVert z \rVert_2}

    A hook on the model normalizes its outputs in training mode: the loss and all techniques on losses see them so. In
    evaluation mode and after ``close()`` the model gives its own logits, whose order is the same but whose length was
    never trained: fit a temperature before probabilities are read (estimators and ``tune`` do), and watch the accuracy,
    not the loss, for early stopping.

    Args:
        temperature: τ >= 0, at training; the loss of C classes cannot fall below about log(1 + (C-1) exp(-1/τ)). 0 is
            off; 0.04 in the paper, up to 1.

    Raises:
        ConflictError: targets that are no classes, a compiled model, or another technique of its kind.
        UsageError: a model that returns no logits [batch, classes, ...].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 3)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with dashpot.outputs.LogitNorm(0.5).attach(model, optimizer):
        ...     lengths = model(torch.randn(6, 4)).norm(dim=1)
        >>> bool(torch.allclose(lengths, torch.full((6,), 2.0)))
        True

    Paper: Wei et al., "Mitigating Neural Network Overconfidence with Logit Normalization", ICML 2022, arXiv 2205.09310.

    When not to use it: where probabilities are read without a temperature; with early stopping on the validation loss.
    """

    requires = Requires(task=("classification",))
    summary = "trains on logits of one length"
    exclusive = ("length of the logits",)

    temperature: Annotated[float, Range(0.0, float("inf"), search=(0.02, 1.0), log=True, off=0.0)] = field(
        default=0.04, kw_only=False
    )

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        return [_Hooked(view.model, _Hook(ctx.scalar("temperature")))]


class _Hook:
    """Of a class, not a closure, so that it can be compiled."""

    def __init__(self, temperature: Tensor) -> None:
        self.temperature = temperature

    def __call__(self, module: nn.Module, args: Any, out: Any) -> Any:
        if not module.training:
            return None
        if not isinstance(out, Tensor) or out.ndim < 2 or out.shape[1] < 2 or not out.is_floating_point():
            shown = f"a tensor {list(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
            raise UsageError(
                f"LogitNorm needs logits [batch, classes, ...], and the model returns {shown}. Leave it out."
            )
        return logit_norm(out, self.temperature)


class _Hooked:
    """The hook, until it is removed."""

    def __init__(self, module: nn.Module, hook: _Hook) -> None:
        self._hook, self._handle = hook, module.register_forward_hook(hook)

    def remove(self) -> None:
        self._hook.temperature.zero_()  # code compiled with the hook inside keeps it; at 0 it is the identity
        self._handle.remove()
