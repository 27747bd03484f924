"""Adversarial examples: train on the worst inputs nearby."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.errors import ConflictError, UsageError
from dashpot.core.fields.domains import Choice, Flag, Range
from dashpot.core.requires import Requires
from dashpot.core.running.batch import Batch, float_input
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Technique
from dashpot.evaluation.losses import Criterion, default_criterion
from dashpot.techniques.gradient.clipping import clip_value


def ascend_max(
    shift: Float[Tensor, "batch *shape"], gradient: Float[Tensor, "batch *shape"], size: float, epsilon: float | Tensor
) -> Float[Tensor, "batch *shape"]:
    """A step of ``size`` along the sign of the gradient, each value then in [-epsilon, epsilon]."""
    return clip_value(shift + size * gradient.sign(), epsilon)


def ascend_length(
    shift: Float[Tensor, "batch *shape"], gradient: Float[Tensor, "batch *shape"], size: float, epsilon: float | Tensor
) -> Float[Tensor, "batch *shape"]:
    """A step of length ``size`` along each sample's gradient, then back to a length of at most ``epsilon``."""
    moved = shift + size * gradient / _length(gradient)
    return moved * torch.clamp(epsilon / _length(moved), max=1.0)


def _length(x: Tensor) -> Tensor:
    """Of each sample, above 0."""
    tiny = torch.finfo(x.dtype).tiny
    length: Tensor = torch.linalg.vector_norm(x.reshape(len(x), -1), dim=1)
    return length.clamp(min=tiny).reshape(-1, *[1] * (x.ndim - 1))


class AdversarialExamples(Technique):
    r"""Train on inputs that were moved, within a small ball, to where the loss is larger.

    .. math:: \tilde x = x + \arg\max_{\lVert \delta \rVert \le \epsilon} \ell(f(x+\delta), y)

    by ``steps`` steps up the gradient with respect to the input: 1 is the fast gradient sign method (with a random
    start it is "fast is better than free"), more are projected gradient descent. Each step costs a pass forward and
    back. The attacked network runs in training mode, with dropout masks of each step's own, and leaves running
    statistics alone. The loss of the attack is cross entropy for classes, binary cross entropy for labels and the
    squared error for values, of the targets as they are mixed, whatever the loop trains on. Images
    (``modality="image"``) stay within [0, 1].

    Args:
        epsilon: ε >= 0, in the units of the input: the largest change of a value, or of the length. 0 is off; for
        pixels
            in [0, 1] 2/255 to 8/255 is usual, for standardized columns 0.02 to 0.2.
        steps: of the attack, 1 to 20.
        norm: ``"max"`` bounds each value, ``"length"`` the 2-norm of a sample's change.
        start: begin at a random point of the ball, and not at the input.
        p: probability in (0, 1] with which a sample is attacked; the others stay as they are.

    Raises:
        ConfigError: a negative ``epsilon``, no step, another ``norm``.
        UsageError: inputs that are not floating point, no target, or a model without one tensor of outputs.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 3)
        >>> session = dashpot.noise.AdversarialExamples(0.1).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> x, y = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
        >>> moved, _ = session.batch(x, y)
        >>> loss = torch.nn.functional.cross_entropy
        >>> bool(loss(model(moved), y) > loss(model(x), y)), bool((moved - x).abs().max() <= 0.1001)
        (True, True)

    Paper: Goodfellow, Shlens and Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015; Madry et al.,
    "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018, arXiv 1706.06083; Wong, Rice and Kolter,
    "Fast is Better than Free", ICLR 2020, arXiv 2001.03994.

    When not to use it: where only clean inputs matter and ε is large: accuracy on them falls; with one step and no
    random start a network may learn to defend against that step only; inputs on different scales (standardize first).
    """

    requires = Requires(float_input=True)
    summary = "moves inputs to where the loss is larger (a pass more per step)"
    forwards = 1
    order = 70  # after augmentation and mixing

    epsilon: Annotated[float, Range(0.0, float("inf"), search=(0.005, 0.3), log=True, off=0.0)] = field(
        default=0.03, kw_only=False
    )
    steps: Annotated[int, Range(1, 20, integer=True)] = 1
    norm: Annotated[Literal["max", "length"], Choice(("max", "length"))] = "max"
    start: Annotated[bool, Flag()] = True
    p: Annotated[float, Range(0.0, 1.0, open="low")] = 1.0

    def check(self, view: ModelView, ctx: Context) -> None:
        if not any(p.is_floating_point() for p in view.model.parameters()):
            raise ConflictError(f"AdversarialExamples attacks {type(view.model).__name__}, which has no parameters.")

    def on_batch(self, batch: Batch, ctx: Context) -> Batch:
        if self.epsilon == 0:
            return batch
        x = float_input(batch.x, "AdversarialExamples").detach()
        criterion = _criterion(batch, ctx)
        draws = ctx.draws()
        share, point = draws.uniform((len(x),), x.device), draws.uniform(x.shape, x.device)
        shift = self._begun(x, point.to(x.dtype))
        size = 1.25 * self.epsilon if self.steps == 1 else 2.5 * self.epsilon / self.steps
        ascend = ascend_max if self.norm == "max" else ascend_length
        for _ in range(self.steps):
            gradient = self._gradient(batch, self._within(x, shift, ctx) + x, criterion, ctx)
            shift = self._within(x, ascend(shift, gradient, size, self.epsilon), ctx)
        attacked = (share < self.p).reshape(-1, *[1] * (x.ndim - 1))
        return batch.replace(x=torch.where(attacked, x + shift, x))

    def _begun(self, x: Tensor, point: Tensor) -> Tensor:
        """Where the attack starts."""
        if not self.start:
            return torch.zeros_like(x)
        shift = (2 * point - 1) * self.epsilon
        return shift if self.norm == "max" else shift * torch.clamp(self.epsilon / _length(shift), max=1.0)

    def _within(self, x: Tensor, shift: Tensor, ctx: Context) -> Tensor:
        """A change that keeps pixels in [0, 1]."""
        return (x + shift).clamp(0, 1) - x if ctx.modality == "image" else shift

    def _gradient(self, batch: Batch, x: Tensor, criterion: Criterion, ctx: Context) -> Tensor:
        """Of the sum of the losses, with respect to the input."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            out = ctx.forward(batch.replace(x=x))
            if not isinstance(out, Tensor):
                raise UsageError(f"AdversarialExamples needs one tensor of outputs, got {type(out).__name__}.")
            return torch.autograd.grad(criterion(out, batch.y).sum(), x)[0]


def _criterion(batch: Batch, ctx: Context) -> Criterion:
    """The loss of the attack, by the kind of the targets as they came."""
    y: Any = batch.y
    if not isinstance(y, Tensor) or not isinstance(batch.truth, Tensor):
        raise UsageError("AdversarialExamples needs a target tensor: call session.batch(x, y).")
    return default_criterion(batch.truth, ctx.targets)
