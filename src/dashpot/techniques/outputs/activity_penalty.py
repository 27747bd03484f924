"""Activity penalty: L1 or L2 on what layers return."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dashpot.core.errors import ConflictError, UsageError
from dashpot.core.fields.domains import Choice, Range, Selection
from dashpot.core.fields.select import Where, activations
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Handle, Technique


def absolute_sum(h: Float[Tensor, "batch *shape"], strength: float | Float[Tensor, ""]) -> Float[Tensor, " batch"]:
    """``strength * |h|``, summed over each sample."""
    return strength * h.reshape(len(h), -1).abs().sum(dim=1)


def square_sum(h: Float[Tensor, "batch *shape"], strength: float | Float[Tensor, ""]) -> Float[Tensor, " batch"]:
    """``strength / 2 * h^2``, summed over each sample."""
    return strength / 2 * h.reshape(len(h), -1).square().sum(dim=1)


class ActivityPenalty(Technique):
    r"""Penalize what layers return, as Keras's ``activity_regularizer`` does.

    .. math:: \ell_a = \ell + s \sum_{k} |h_k| \quad\text{or}\quad \ell + \tfrac{s}{2} \sum_k h_k^2

    over all values of a sample that the chosen modules return in the loop's pass, summed over modules and calls. L1
    makes hidden values sparse, L2 small. As a loss is the mean over samples, so is the penalty: Keras's ``L1(s)`` is
    ``strength=s`` and its ``L2(s)`` is ``strength=2 s`` here, as L2 has a half everywhere in Dashpot. Batches are the
    first axis of what a module returns.

    Args:
        strength: s >= 0, for each value: wide layers need a smaller one. 0 is off; 1e-5 to 1e-3 is usual.
        norm: ``"l1"`` or ``"l2"``.
        on: after which modules, by role, type or name; activations by default.

    Raises:
        ConflictError: no module matches ``on`` (a model with functional activations only: name its modules), or a
            compiled model.
        UsageError: no pass of the model in training mode came before ``session.loss``, or a module returned no tensor
            with a row for each sample.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> session = dashpot.outputs.ActivityPenalty(0.1).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> x, y = session.batch(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> out = model(x)
        >>> plain = torch.nn.functional.cross_entropy(out, y)
        >>> loss = session.loss(torch.nn.CrossEntropyLoss(), out)
        >>> bool(torch.isclose(loss, plain + 0.1 * model[:2](x).sum(1).mean()))
        True

    Paper: Glorot, Bordes and Bengio, "Deep Sparse Rectifier Neural Networks", AISTATS 2011; Merity, McCann and Socher,
    "Revisiting Activation Regularization for Language RNNs", 2017, arXiv 1708.01009.

    When not to use it: in front of a normalization, which undoes a smaller scale: it then only changes the learning
    rate.
    """

    summary = "penalizes what layers return"
    order = 10  # after what blends the plain loss with something else

    strength: Annotated[float, Range(0.0, float("inf"), search=(1e-6, 1e-2), log=True, off=0.0)] = field(
        default=1e-4, kw_only=False
    )
    norm: Annotated[Literal["l1", "l2"], Choice(("l1", "l2"))] = "l1"
    on: Annotated[Where, Selection()] = activations

    def check(self, view: ModelView, ctx: Context) -> None:
        if not view.places(self.on):
            raise ConflictError(
                f"ActivityPenalty.on ({self.on}) matches no module of {type(view.model).__name__}. Name modules by type"
                " or glob, such as on='name:layer?'."
            )

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        seen = _seen[ctx] = Seen(ctx)
        return [
            view.model.register_forward_pre_hook(_eager(seen.begin)),
            *(module.register_forward_hook(_eager(seen.of(name))) for name, module in view.places(self.on).items()),
        ]

    def on_loss(self, loss: Tensor, out: Any, ctx: Context) -> Tensor:
        if self.strength == 0:
            return loss
        value = absolute_sum if self.norm == "l1" else square_sum
        total: Tensor | None = None
        for name, h in _seen[ctx].taken():
            if not isinstance(h, Tensor) or not h.ndim or len(h) != len(loss):
                shown = f"a tensor {list(h.shape)}" if isinstance(h, Tensor) else type(h).__name__
                raise UsageError(
                    f"ActivityPenalty needs outputs with a row for each of the {len(loss)} losses, but {name!r}"
                    f" returned {shown}. Choose other modules with on=."
                )
            # A sum over many values in half precision would lose most of them.
            each = value(h.float() if h.dtype in (torch.float16, torch.bfloat16) else h, self.strength)
            total = each if total is None else total + each
        if total is None:
            raise UsageError(
                "ActivityPenalty saw no pass of the model in training mode since the last loss. Call the model that the"
                " recipe is attached to before session.loss."
            )
        return loss + total.to(loss.dtype).reshape(-1, *[1] * (loss.ndim - 1))

    def describe(self, view: ModelView) -> str:
        return f"{self.summary}, by {self.norm}: {', '.join(view.places(self.on))}"


class Seen:
    """What modules returned in the loop's last pass in training mode."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._found: list[tuple[str, Any]] = []
        self._open = False

    def begin(self, module: nn.Module, args: Any) -> None:
        """A pass begins. Those that techniques ask for do not count."""
        self._open = module.training and not self._ctx.extra and torch.is_grad_enabled()
        if self._open:
            self._found = []

    def of(self, name: str) -> Any:
        """The hook of a module."""

        def hook(module: nn.Module, args: Any, out: Any) -> None:
            if self._open and not self._ctx.extra:
                # Of a recurrent layer's output and state, the output.
                self._found.append((name, out[0] if type(out) is tuple and out else out))

        return hook

    def taken(self) -> list[tuple[str, Any]]:
        """All of it, once: what is kept would keep the graph."""
        found, self._found, self._open = self._found, [], False
        return found


_seen: weakref.WeakKeyDictionary[Context, Seen] = weakref.WeakKeyDictionary()
"""Of each session with the technique: what a pass returned is no part of the state that is kept."""


def _eager(function: Any) -> Any:
    """A hook that torch.compile leaves out. Only here is the compiler imported, which takes seconds."""
    return torch.compiler.disable(function)  # type: ignore[no-untyped-call]  # torch has no types here
