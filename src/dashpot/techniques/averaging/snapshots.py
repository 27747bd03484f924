"""Snapshots: the weights at the end of each cycle of the learning rate, kept for an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, ClassVar

from torch import Tensor

from dashpot.core.errors import ConflictError, UsageError
from dashpot.core.fields.domains import Range
from dashpot.core.running.context import Context
from dashpot.core.running.cut import Cut
from dashpot.core.running.session import Session
from dashpot.core.running.view import ModelView, Params
from dashpot.core.technique import State, Technique
from dashpot.techniques.normalization.computed_weight import Rule


def cycle_ends(steps: int, cycles: int) -> list[int]:
    """How many steps are done at the end of each cycle.

    >>> cycle_ends(10, 4)
    [2, 5, 8, 10]
    """
    return [round(steps * k / cycles) for k in range(1, cycles + 1)]


class Snapshots(Technique):
    r"""Keep the network as it is at the end of each cycle of the learning rate: several models from one training.

    .. math:: \bar p(x) = \frac{1}{M} \sum_{m=1}^{M} p(x;\, w_{mT/M})

    Give it with ``schedule=schedules.cyclic(cycles)``: each cycle ends near a minimum, and the next one leaves it.
    Training itself, evaluation and the final model are as without. What is kept is what evaluation sees at that step
    (an average, where the recipe has one) with all buffers, so that each has its own statistics of batch
    normalization; it is saved in checkpoints. ``dashpot.fit`` returns it as ``snapshots``, and
    ``dashpot.averaging.snapshots(session)`` reads it from a loop of your own;
    :func:`dashpot.ensemble_predict` predicts with the mean probabilities.

    Args:
        cycles: M >= 1, as of the schedule; 0 is off. 3 to 6 are usual.

    Raises:
        ConfigError: ``cycles`` below 0.
        ConflictError: at attach, the number of steps is not known (``steps=``, or ``epochs`` of ``fit``) or smaller
            than ``cycles``; a technique such as :class:`WeightNorm` that gives weights other names meanwhile.

    Example:
        >>> import torch, dashpot
        >>> x = torch.randn(64, 4)
        >>> result = dashpot.fit(torch.nn.Linear(4, 1), (x, x[:, :1]), recipe=dashpot.averaging.Snapshots(cycles=3),
        ...     schedule=dashpot.schedules.cyclic(3), epochs=6, progress=False)
        >>> len(result.snapshots), sorted(result.snapshots[0])
        (3, ['bias', 'weight'])
        >>> dashpot.ensemble_predict(result.model, x, result.snapshots, targets="values").mean.shape
        torch.Size([64, 1])

    Paper: Huang et al., "Snapshot Ensembles: Train 1, Get M for Free", ICLR 2017, arXiv 1704.00109.

    When not to use it: where a run is so short that a cycle does not reach a good model; where one model must answer
    (see :func:`dashpot.soup` and :class:`SWA`); memory holds ``cycles`` copies.
    """

    summary = "keeps the network at the end of each cycle for an ensemble"
    exclusive = ("snapshots",)
    order = 20  # after averages, which are what it keeps
    waivers: ClassVar[dict[str, str]] = {"acts": "it changes no training and no evaluation, it keeps copies"}

    cycles: Annotated[int, Range(0, float("inf"), off=0, integer=True)] = field(default=5, kw_only=False)

    def check(self, view: ModelView, ctx: Context) -> None:
        if not self.cycles:
            return
        if ctx.steps is None:
            raise ConflictError(
                f"{self} needs the number of optimizer steps, which is not known. Attach with steps=, or give epochs="
                " in place of a budget."
            )
        if ctx.steps < self.cycles:
            raise ConflictError(
                f"Snapshots.cycles must be at most the {ctx.steps} steps of the run, got {self.cycles}. Train longer."
            )
        rule = next((type(m).__name__.removeprefix("_") for m in view.modules.values() if isinstance(m, Rule)), None)
        if rule is not None:
            raise ConflictError(
                f"Snapshots keeps weights by their names, and {rule} gives them others while it trains. Leave one of"
                " them out."
            )

    def init(self, view: ModelView, ctx: Context) -> State:
        return {"kept": {}} if self.cycles else {}

    def resized(self, cut: Cut, ctx: Context) -> State:
        if not all(cut.fits(weights) for weights in ctx.state.get("kept", {}).values()):
            raise ConflictError(
                "Snapshots keeps networks in which units that would leave are not zero. Cut after the training"
                " (dashpot.shrink)."
            )
        return super().resized(cut, ctx)

    def on_step(self, params: Params, ctx: Context) -> None:
        if self.cycles and ctx.steps is not None and ctx.step + 1 in cycle_ends(ctx.steps, self.cycles):
            # Without what techniques have beside the model, such as a learned rate of dropout.
            beside = tuple(f"{name}." for name, m in ctx.view.modules.items() if not getattr(m, "decays", True))
            kept = {name: tensor for name, tensor in ctx.snapshot().items() if not name.startswith(beside)}
            ctx.state["kept"][str(ctx.step + 1)] = kept


def snapshots(session: Session) -> tuple[dict[str, Tensor], ...]:
    """What :class:`Snapshots` has kept in a session so far, the oldest first: tensors by name.

    Args:
        session: open or closed.

    Raises:
        UsageError: its recipe has no :class:`Snapshots`.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with dashpot.averaging.Snapshots(cycles=2).attach(model, optimizer, steps=4) as session:
        ...     for _ in range(4):
        ...         optimizer.zero_grad(); model(torch.ones(3, 2)).square().mean().backward(); _ = optimizer.step()
        >>> len(dashpot.averaging.snapshots(session))
        2
    """
    states: Sequence[State] = [ctx.state for technique, ctx in session.attached if isinstance(technique, Snapshots)]
    if not states:
        raise UsageError(
            "this session's recipe has no Snapshots, so nothing was kept. Attach with Snapshots(cycles=5)."
        )
    kept = states[0].get("kept", {})
    return tuple(kept[step] for step in sorted(kept, key=int))
