"""Virtual adversarial training: outputs that stay when the input is moved where they change most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.errors import UsageError
from dashpot.core.fields.domains import Range
from dashpot.core.running.batch import Batch
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Handle, Technique
from dashpot.techniques.noise.shifts import INPUT, Change, Shifts, check_places, kinds, places, unit
from dashpot.techniques.outputs.judged import Judged, judged

TRIAL = 0.1
"""The length of the change at which the direction is sought, as a share of epsilon."""


def smoothness(
    loss: Float[Tensor, "*shape"], divergence: Float[Tensor, "*shape"], strength: float | Float[Tensor, ""]
) -> Float[Tensor, "*shape"]:
    """``loss + strength * divergence``."""
    return loss + strength * divergence


class VirtualAdversarial(Technique):
    r"""Keep outputs as they are where the input, or what the network has made of it, is moved to change them most.

    .. math:: \ell_v = \ell + \beta\, \mathrm{KL}\big( p(x) \,\Vert\, p(x + r) \big), \quad
        r = \arg\max_{\lVert r \rVert_2 \le \epsilon} \mathrm{KL}\big( p(x) \,\Vert\, p(x + r) \big)

    No target is needed for it. The direction is found by power iteration from a random one: each iteration costs a pass
    forward and back, and the penalty another pass. All see the dropout masks of the loop's pass, and leave running
    statistics alone; no gradient goes through p(x). Of yes/no labels it is the divergence of each label, of values the
    squared difference.

    Floating-point inputs are moved themselves. For others, such as texts and categories, hidden vectors are: where the
    model says by ``embeds_at`` that the vectors of words pass, or by ``mixes_at`` that all it knows of a sample does,
    else what its embeddings return.

    Args:
        strength: β >= 0. 0 is off; 1 in the paper.
        epsilon: ε > 0, the length of a sample's change, in the units of input or hidden vectors; 0.1 to 5 is usual.
        iterations: of the search for the direction; 1 is enough, as the paper shows.

    Raises:
        ConflictError: a compiled model. UsageError: ``session.batch`` was not called, or ``session.loss`` got no
        ``out``; inputs that are no floating-point tensor, and a model that has neither ``embeds_at``, ``mixes_at`` nor
        embeddings; or the loop has not said whether floating-point targets are values or labels.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 3)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.noise.VirtualAdversarial(1.0, epsilon=0.5).attach(model, optimizer)
        >>> x, y = session.batch(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> out = model(x)
        >>> bool(session.loss(torch.nn.CrossEntropyLoss(), out) > torch.nn.functional.cross_entropy(out, y))
        True

    Paper: Miyato et al., "Virtual Adversarial Training: A Regularization Method for Supervised and Semi-Supervised
    Learning", TPAMI 2018, arXiv 1704.03976; on embeddings: Miyato, Dai and Goodfellow, "Adversarial Training Methods
    for Semi-Supervised Text Classification", ICLR 2017, arXiv 1605.07725.

    When not to use it: where three times the training time buys more as more epochs; inputs on different scales
    (standardize first); embeddings that may grow without bound, beside which the change becomes small: put a decay on
    them.
    """

    summary = "keeps outputs where inputs or hidden vectors change (3 passes more)"
    forwards = 2
    order = 10  # after what blends the plain loss with something else

    strength: Annotated[float, Range(0.0, float("inf"), search=(0.1, 3.0), log=True, off=0.0)] = field(
        default=1.0, kw_only=False
    )
    epsilon: Annotated[float, Range(0.0, float("inf"), search=(0.05, 5.0), log=True, open="low")] = 1.0
    iterations: Annotated[int, Range(1, 10, integer=True)] = 1

    def check(self, view: ModelView, ctx: Context) -> None:
        check_places("VirtualAdversarial", view)

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        return Shifts.on(view, ctx)

    def on_loss(self, loss: Tensor, out: Any, ctx: Context) -> Tensor:
        if self.strength == 0:
            return loss
        if ctx.batch is None:
            raise UsageError("VirtualAdversarial runs the batch again: call session.batch(x, y) before session.loss.")
        found = judged("VirtualAdversarial", loss, out, ctx, target=False, values=True)
        shifts, batch = Shifts.of_session(ctx), ctx.batch
        likes = kinds(shifts, batch, "VirtualAdversarial", len(found.out))
        draws = ctx.draws()
        along = unit({name: draws.normal(like.shape, like.device) for name, like in likes.items()})
        for _ in range(self.iterations):
            trial = {name: (TRIAL * self.epsilon * d).requires_grad_() for name, d in along.items()}
            with torch.enable_grad():
                far = self._moved(found, batch, trial, shifts, ctx).sum()
            gradient = torch.autograd.grad(far, list(trial.values()), allow_unused=True)
            along = unit(
                {
                    name: torch.zeros_like(t) if g is None else g
                    for (name, t), g in zip(trial.items(), gradient, strict=True)
                },
                along,
            )
        worst = {name: self.epsilon * d for name, d in along.items()}
        return smoothness(loss, self._moved(found, batch, worst, shifts, ctx), self.strength)

    def _moved(self, found: Judged, batch: Batch, change: Change, shifts: Shifts, ctx: Context) -> Tensor:
        """How far outputs are from those of the loop, in the shape of the loss, where the batch is changed so."""
        with shifts.shifted(change):
            x = batch.x + change[INPUT].to(batch.x.dtype) if INPUT in change else batch.x
            moved = found.taken(ctx.forward(batch.replace(x=x), same=True), "the changed batch")
        return found.beside(moved).from_other(found.out.detach())

    def describe(self, view: ModelView) -> str:
        return f"{self.summary}; inputs that are no numbers at: {', '.join(places(view)) or 'no place'}"
