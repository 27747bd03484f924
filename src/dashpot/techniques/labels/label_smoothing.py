"""Label smoothing: give every class a small share of the target."""

from dataclasses import field
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import log_softmax, softplus

from dashpot.core.errors import UsageError
from dashpot.core.fields.domains import Range
from dashpot.core.preset import Preset
from dashpot.core.requires import Requires
from dashpot.core.running.context import Context
from dashpot.core.running.criteria import Samples
from dashpot.core.running.targets import demand_labels
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique
from dashpot.evaluation.losses import cross_entropy
from dashpot.techniques.augment.mixing.mixed_targets import class_probabilities
from dashpot.techniques.labels.prior import Shares, demand_classes
from dashpot.techniques.outputs.judged import in_shape_of, is_of_labels


def label_smoothing(
    loss: Float[Tensor, "batch *rest"],
    logits: Float[Tensor, "batch classes *rest"],
    smoothing: float | Float[Tensor, ""],
    prior: Float[Tensor, "#batch classes"] | None = None,
) -> Float[Tensor, "batch *rest"]:
    """``(1 - smoothing) * loss + smoothing * (cross entropy against the prior)``, which is uniform where it is None."""
    against = -log_softmax(logits, dim=1)
    if prior is None:
        even = against.mean(dim=1)
    else:
        even = (against * prior.to(against).reshape(*prior.shape, *[1] * (logits.ndim - 2))).sum(dim=1)
    return (1 - smoothing) * loss + smoothing * even.to(loss.dtype)


def smoothed_target(
    target: Float[Tensor, "batch classes"],
    smoothing: float | Float[Tensor, "#batch 1"],
    prior: Float[Tensor, "#batch classes"] | None = None,
) -> Float[Tensor, "batch classes"]:
    """``(1 - smoothing) * target + smoothing * prior``, by default ``1 / classes``: cross entropy against it is the
    smoothed one.
    """
    if prior is None:
        return (1 - smoothing) * target + smoothing / target.shape[1]
    return (1 - smoothing) * target + smoothing * prior.reshape(*prior.shape, *[1] * (target.ndim - 2))


def binary_label_smoothing(
    loss: Float[Tensor, "*shape"], logits: Float[Tensor, "*shape"], smoothing: float | Float[Tensor, ""]
) -> Float[Tensor, "*shape"]:
    """The same for independent yes/no targets: each moves towards one half."""
    return (1 - smoothing) * loss + smoothing * even_loss(logits).to(loss.dtype)


def even_loss(logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Binary cross entropy against one half."""
    return (softplus(logits) + softplus(-logits)) / 2


class StackedLabelSmoothing(StackedTechnique):
    """Cross entropy is linear in the target: there the target is smoothed, which saves a second pass over the outputs;
    another loss is smoothed itself.
    """

    def read(self) -> None:
        self.smoothing = self.values("smoothing", 0.0)
        self.acts = any(self.smoothing)
        self.shares: dict[int, Tensor] = {}
        self.priors: dict[int, Tensor] = {}
        self.informed = any(t is not None and t.prior is not None for t in self.techniques)

    def on_target(self, y: Tensor) -> Tensor:
        if not self.acts or self.stack.plan.loss is not cross_entropy:
            return y
        y = y if y.is_floating_point() else class_probabilities(y, self.stack.outputs_count)
        return smoothed_target(y, self._share(len(y)).reshape(-1, *[1] * (y.ndim - 1)), self._prior(len(y), y.shape[1]))

    def on_loss(self, loss: Tensor, out: Tensor) -> Tensor:
        if not self.acts or self.stack.plan.loss is cross_entropy:
            return loss
        share = self._share(len(loss)).reshape(-1, *[1] * (loss.ndim - 1))
        if is_of_labels(loss, out, None, self.stack.targets):
            if self.informed:
                raise UsageError(NO_PRIOR)
            even = in_shape_of(loss, even_loss(out), out, None, "LabelSmoothing")
            return (1 - share) * loss + share * even.to(loss.dtype)
        return label_smoothing(loss, out, share, self._prior(len(loss), out.shape[1]))

    def by_program(self) -> bool:
        return self.stack.plan.loss is cross_entropy

    def _share(self, rows: int) -> Tensor:
        """The smoothing of each of the rows of all members, [rows]."""
        if rows not in self.shares:
            self.shares[rows] = self.wide(self.smoothing, 1).repeat_interleave(rows // len(self.smoothing))
        return self.shares[rows]

    def _prior(self, rows: int, classes: int) -> Tensor | None:
        """What the target of each of the rows of all members moves to, [rows, classes]; None: all classes alike."""
        if not self.informed:
            return None
        if rows not in self.priors:
            each = [1 / classes] * classes
            found = [each if t is None or t.prior is None else t.prior for t in self.techniques]
            for shares in found:
                demand_classes(tuple(shares), classes, "LabelSmoothing")
            table = torch.tensor(found, dtype=torch.float32, device=self.stack.device)
            self.priors[rows] = table.repeat_interleave(rows // len(found), dim=0)
        return self.priors[rows]


NO_PRIOR = (
    "LabelSmoothing.prior is of classes, and the targets are yes/no labels, which move towards one half. Leave prior"
    " out."
)


class LabelSmoothing(Technique):
    r"""Give every class a small share of the target.

    .. math:: \ell_s = (1-s)\,\ell + s \sum_c \pi_c \cdot (-\log p_c), \qquad \pi_c = \frac1C \text{ or the prior}

    It works on the loss, not on the target, so it smooths once whatever the target is: integer classes, mixed (Mixup)
    or soft ones. ``out`` must be logits (or log-probabilities) [batch, classes, ...]. Class weights are given as sample
    weights, to ``session.batch(x, y, weight)``: both parts of the loss are then weighted by the weight of the sample's
    class. Positions with ``ignore_index`` stay out.

    Yes/no targets (binary cross entropy: ``targets="multilabel"``, or a loss of the shape of the outputs, or one
    output) each move towards one half. The loss may be of each label, or their mean or sum [batch] where the outputs
    are logits.

    Args:
        smoothing: s in [0, 1]. 0 is off, 0.1 usual.
        prior: the shares of the classes that the target moves to, as :func:`dashpot.labels.class_prior` counts them in
            training targets, numbers >= 0 that sum to 1; None: all alike. With it rare classes stay rare.

    Raises:
        ConflictError: targets that are values.
        UsageError: ``session.loss`` got no ``out``, or one whose shape does not fit the loss; or the criterion smooths
            labels itself; or a prior of another number of classes, or of yes/no labels.
        DataError: yes/no targets outside [0, 1].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 3)
        >>> session = dashpot.LabelSmoothing(smoothing=0.1).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> x, y = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
        >>> batch = session.batch(x, y); out = model(batch.x)
        >>> loss = session.loss(torch.nn.functional.cross_entropy(out, batch.y, reduction="none"), out)
        >>> bool(torch.isclose(loss, torch.nn.functional.cross_entropy(out, y, label_smoothing=0.1)))
        True

    Paper: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016.

    When not to use it: where probabilities of rare classes matter (every class gets at least about s/C; give the
    prior), or before distillation from this network.
    """

    requires = Requires(task=("classification", "multilabel"))
    summary = "gives every class a small share of the target"
    stacked = StackedLabelSmoothing
    preset = Preset("smoothing=0.01..0.15", tasks=("classification",), order=50)

    smoothing: Annotated[float, Range(0.0, 1.0, search=(0.01, 0.3), log=True, off=0.0)] = field(
        default=0.1, kw_only=False
    )
    prior: Annotated[tuple[float, ...] | None, Shares()] = None

    def on_loss(self, loss: Tensor, out: Any, ctx: Context) -> Tensor:
        if not isinstance(out, Tensor):
            raise UsageError("LabelSmoothing needs the model's output: call session.loss(per_sample, out).")
        samples = ctx.samples or Samples(loss)
        if samples.smoothing:
            raise UsageError(
                f"the criterion smooths labels already, by label_smoothing={samples.smoothing:g}, and LabelSmoothing"
                " would smooth them twice. Leave one of the two out."
            )
        if is_of_labels(loss, out, samples.target, ctx.targets):
            if self.prior is not None:
                raise UsageError(NO_PRIOR)
            if isinstance(y := samples.target, Tensor):
                demand_labels(
                    y if ctx.ignore_index is None else y[y != ctx.ignore_index], "the target of LabelSmoothing"
                )
            each = even_loss(out) if samples.even is None else samples.even()
            even = in_shape_of(loss, each, out, samples.target, "LabelSmoothing")
            return (1 - self.smoothing) * loss + self.smoothing * even.to(loss.dtype)
        if (out.shape[0], *out.shape[2:]) != tuple(loss.shape):
            raise UsageError(
                f"LabelSmoothing needs logits [batch, classes, ...] for a loss of shape {list(loss.shape)}, got"
                f" {list(out.shape)}."
            )
        if self.prior is None:
            return label_smoothing(loss, out, self.smoothing)
        demand_classes(self.prior, out.shape[1], "LabelSmoothing")
        return label_smoothing(loss, out, self.smoothing, torch.tensor([self.prior], device=out.device))
