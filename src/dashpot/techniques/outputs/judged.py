"""What a loss holds against what: classes, yes/no labels or values, and terms of the outputs in the loss's shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    log_softmax,
    logsigmoid,
    mse_loss,
    softplus,
)

from dashpot.core.errors import UsageError
from dashpot.core.running.context import Context
from dashpot.core.running.criteria import Samples
from dashpot.core.running.targets import aligned, demand_labels

Kind = Literal["classes", "labels", "values"]


def is_of_labels(loss: Tensor, out: Tensor, y: Any, targets: str | None) -> bool:
    """Whether a loss is of yes/no labels, each with an output of its own, and not of classes.

    So it is by what the loop says of the targets; where a loss has the shape of the outputs, or there is one output for
    each sample; and where the target has the shape of the outputs and is no distribution over classes.
    """
    if targets == "multilabel" or out.shape == loss.shape or out.ndim < 2 or out.shape[1] == 1:
        return True
    if targets is not None or not isinstance(y, Tensor) or y.shape != out.shape:
        return False
    return not y.is_floating_point() or not bool(((y.sum(dim=1) - 1).abs() < 1e-3).all())


def in_shape_of(loss: Tensor, each: Tensor, logits: Tensor, y: Any, technique: str) -> Tensor:
    """A number for each label, made of each sample as its loss is: one by one, or their mean or sum.

    Args:
        loss: of each label, or of each sample.
        each: of each label, of the shape of the logits.
        y: the target, or None where it is not known; then a loss that can be the mean is taken for it.

    Raises:
        UsageError: the loss is none of these, with the technique named.
    """
    if each.numel() == loss.numel() and len(each) == len(loss):
        return each.reshape(loss.shape)
    rest = tuple(range(loss.ndim, each.ndim))
    if not rest or each.shape[: loss.ndim] != loss.shape:
        rest = ()
    elif isinstance(y, Tensor) and y.numel() == logits.numel():
        labels = y.reshape(logits.shape).to(logits.dtype)
        plain = binary_cross_entropy_with_logits(logits, labels, reduction="none").detach()
        for made in (Tensor.mean, Tensor.sum):
            if torch.allclose(made(plain, dim=rest), loss.detach().to(plain.dtype), rtol=1e-3, atol=1e-5):
                return made(each, dim=rest)
    else:
        least, most = (softplus(sign * logits.detach().abs()).mean(dim=rest) for sign in (-1, 1))
        room = 1e-3 * most + 1e-5
        if bool(((loss >= least - room) & (loss <= most + room)).all()):
            return each.mean(dim=rest)
    raise UsageError(
        f"{technique} needs the loss of each label, of the shape of the logits {list(logits.shape)}, or their mean"
        f' or sum, got {list(loss.shape)}. Compute it with reduction="none", or pass the criterion itself:'
        " session.loss(criterion, out)."
    )


def divergence(
    truth: Float[Tensor, "batch classes *rest"], logits: Float[Tensor, "batch classes *rest"]
) -> Float[Tensor, "batch *rest"]:
    """Kullback and Leibler's, of the distribution of ``logits`` from that of the logits ``truth``."""
    log_p, log_q = log_softmax(truth, dim=1), log_softmax(logits, dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def binary_divergence(truth: Float[Tensor, "*shape"], logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The same of yes and no, of each label."""
    yes, no = logsigmoid(truth), logsigmoid(-truth)
    return yes.exp() * (yes - logsigmoid(logits)) + no.exp() * (no - logsigmoid(-logits))


@dataclass(frozen=True)
class Judged:
    """Outputs and their target, as a loss compares them.

    Attributes:
        technique: who asks, for errors.
        kind: ``"classes"``, ``"labels"`` (yes or no) or ``"values"``.
        loss: as the criterion gave it; of classes [batch, ...], of others of each output, or of each sample.
        out: logits [batch, classes, ...] of classes, logits of labels, or values; at least float32.
        target: classes [batch, ...] or class probabilities [batch, classes, ...]; labels or values in the shape of
            ``out``; None where nobody needs it.
        probabilities: the model gives probabilities of yes, of which ``out`` has the logits.
        judged: the outputs that ``loss`` is of, where they are not ``out``.
    """

    technique: str
    kind: Kind
    loss: Tensor
    out: Tensor
    target: Tensor | None
    probabilities: bool = False
    judged: Tensor | None = None

    def beside(self, out: Tensor) -> Judged:
        """Other outputs of the same batch, from :meth:`taken`, held against the same target."""
        return replace(self, out=out, judged=self.out)

    def taken(self, out: Any, what: str) -> Tensor:
        """Other outputs for the same batch, as ``out`` is.

        Raises:
            UsageError: they are none of its shape.
        """
        if not isinstance(out, Tensor) or out.shape != self.out.shape:
            shown = f"a tensor {list(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
            raise UsageError(f"{self.technique}: {what} gives {shown} where the model gives {list(self.out.shape)}.")
        out = out.to(self.out.dtype)
        return torch.logit(out, eps=torch.finfo(out.dtype).eps) if self.probabilities else out

    def from_other(self, other: Tensor, temperature: float = 1.0) -> Tensor:
        """How far the outputs are from ``other``, the truth here: their divergence, times the squared temperature; of
        values the squared difference. In the shape of the loss.
        """
        if self.kind == "values":
            return self.placed((self.out - other).square())
        ours, theirs = self.out / temperature, other / temperature
        each = divergence(theirs, ours) if self.kind == "classes" else binary_divergence(theirs, ours)
        return self.placed(temperature**2 * each)

    def squared(self) -> Tensor:
        """The squared errors of values, in the shape of the loss."""
        if self.target is None:
            raise TypeError("squared needs a target")
        return self.placed((self.out - self.target).square())

    def placed(self, each: Tensor) -> Tensor:
        """Numbers of each position (classes) or each output (others), in the shape and type of the loss."""
        if self.kind == "labels":
            logits = self.out if self.judged is None else self.judged
            each = in_shape_of(self.loss, each, logits, self.target, self.technique)
        elif self.kind == "values" and each.shape != self.loss.shape:
            whole = each.numel() == self.loss.numel()
            each = each.reshape(self.loss.shape) if whole else each.reshape(*self.loss.shape, -1).mean(dim=-1)
        return each.to(self.loss.dtype)

    def of_target(self, term: Callable[..., Tensor], by_class: Tensor | None = None) -> Tensor:
        """A function of -log p of what is true, in the shape of the loss: of a class or label; where the target is a
        distribution, its mean under that.

        Args:
            by_class: of classes, a number of each, [1 or batch, classes], which ``term`` takes second, each beside its
                -log p.
        """
        if self.target is None:
            raise TypeError("of_target needs a target")
        if self.kind == "labels":
            y = self.target
            return self.placed(y * term(softplus(-self.out)) + (1 - y) * term(softplus(self.out)))
        nll = -log_softmax(self.out, dim=1)
        more = () if by_class is None else (by_class.to(nll).reshape(*by_class.shape, *[1] * (nll.ndim - 2)),)
        if self.target.is_floating_point():
            return self.placed((self.target * term(nll, *more)).sum(dim=1))
        # What is ignored may have any number; it stays out of the loss.
        codes = torch.where((self.target >= 0) & (self.target < nll.shape[1]), self.target, 0)
        own = [part.expand_as(nll).gather(1, codes.unsqueeze(1)).squeeze(1) for part in (nll, *more)]
        return self.placed(term(*own))


def judged(
    technique: str, loss: Tensor, out: Any, ctx: Context, *, target: bool = True, values: bool = False
) -> Judged:
    """What a loss in ``on_loss`` is of.

    Args:
        target: whether it is needed.
        values: whether the technique is for values, too.

    Raises:
        UsageError: no outputs, no target where one is needed, shapes that do not fit, or targets that may be values as
            well as labels; with the technique named.
        DataError: labels outside [0, 1].
    """
    if not isinstance(out, Tensor):
        raise UsageError(f"{technique} needs the model's output: call session.loss(per_sample, out).")
    samples = ctx.samples or Samples(loss)
    y, raw = samples.target, samples.values  # what others have made of the loss says nothing of how it was made
    kind = _kind(technique, loss, out, y, ctx, samples, values)
    if target and not isinstance(y, Tensor):
        raise UsageError(
            f"{technique} needs the target. Call session.batch(x, y) first, or session.loss(criterion, out, target)."
        )
    wide = out.float() if out.dtype in (torch.float16, torch.bfloat16) else out
    if kind == "classes":
        if (out.shape[0], *out.shape[2:]) != tuple(loss.shape):
            raise UsageError(
                f"{technique} needs logits [batch, classes, ...] for a loss of shape {list(loss.shape)}, got"
                f" {list(out.shape)}."
            )
        return Judged(technique, kind, raw, wide, aligned(cross_entropy, wide, y) if target else None)
    if kind == "values":
        return Judged(technique, kind, raw, wide, aligned(mse_loss, wide, y) if target else None)
    if samples.probabilities:
        wide = torch.logit(wide, eps=torch.finfo(wide.dtype).eps)
    labels = aligned(binary_cross_entropy_with_logits, wide, y) if isinstance(y, Tensor) else None
    if labels is not None:
        counting = labels if ctx.ignore_index is None else labels[labels != ctx.ignore_index]
        demand_labels(counting, f"the target of {technique}")
        labels = labels.clamp(0, 1)  # those that are ignored
    return Judged(technique, kind, raw, wide, labels, samples.probabilities)


def _kind(technique: str, loss: Tensor, out: Tensor, y: Any, ctx: Context, samples: Samples, values: bool) -> Kind:
    if ctx.targets == "values":
        return "values"
    if not is_of_labels(loss, out, y, ctx.targets):
        return "classes"
    if ctx.targets == "multilabel" or samples.even is not None:
        return "labels"
    if values and not (isinstance(y, Tensor) and not y.is_floating_point()):
        raise UsageError(
            f"{technique} cannot tell whether the targets are values or yes/no labels. Attach with targets='values' or"
            " targets='multilabel'."
        )
    return "labels"
