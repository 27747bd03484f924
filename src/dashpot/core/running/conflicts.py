"""What cannot act together is found here, at attach, before any work."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from dashpot.core.errors import ConflictError
from dashpot.core.points import Attached, Points
from dashpot.core.running.selecting import demand_selected, refuse_sparse
from dashpot.core.running.sharded import refuse_flat, refuse_split
from dashpot.core.running.view import ModelView, is_compiled

PROXIMAL = "proximal step"


def check_wrapper(view: ModelView, at: Mapping[str, list[Attached]]) -> None:
    """Refuse a wrapped model where the techniques need the plain one.

    Raises:
        ConflictError: a compiled model that would get hooks or other modules, or other modules under
            DistributedDataParallel; FSDP1; what cannot act on shards.
    """
    if any(at.values()):
        refuse_flat(view.wrapper, view.wrapper)
        refuse_split(view.parameters, view.sharded, at)
    compiled = is_compiled(view.wrapper) or getattr(view.wrapper, "_compiled_call_impl", None) is not None
    if compiled and (at["on_model"] or at["on_build"]):
        raise ConflictError(
            "the model is compiled already, and hooks added now would be ignored. Attach first, then call"
            " torch.compile."
        )
    if at["on_build"] and view.wrapper is not view.model:
        names = ", ".join(type(t).__name__ for t, _ in at["on_build"])
        raise ConflictError(
            f"{names} replaces modules, and {type(view.wrapper).__name__} knows those that were there when it was made."
            f" Attach first, then wrap the model."
        )


def check(attached: list[Attached], view: ModelView, *, batch_size: int | None, closure: bool) -> frozenset[str]:
    """Refuse what cannot work.

    Returns:
        The names of the parameters that a proximal step keeps sparse, the recipe's or the optimizer's own.

    Raises:
        ConflictError: with the techniques and the model's parts named.
    """
    _check_optimizer(attached, view)
    holders = _claimed(attached, view)
    for technique, ctx in attached:
        demand_selected(technique, view)
        refuse_sparse(technique, view)
        _check_gradients(technique, view)
        technique.requires.check(type(technique).__name__, targets=ctx.targets, closure=closure, modality=ctx.modality)
    _check_rows(view, batch_size)
    for technique, ctx in attached:
        technique.check(view, ctx)
    for name, penalty in view.penalties().items():
        if (other := holders.get((PROXIMAL, name))) is not None:
            raise ConflictError(
                f"{other} and the optimizer's penalty {penalty} both want the {PROXIMAL} of {name!r}. Keep one of them."
            )
    return frozenset(target for slot, target in holders if slot == PROXIMAL) | view.penalties().keys()


def _check_optimizer(attached: list[Attached], view: ModelView) -> None:
    """An optimizer of another model, such as of the one that this is a copy of; a schedule-free one, whose weights in
    the model are not those that it goes on from.
    """
    trained = [id(p) for group in view.optimizer.param_groups for p in group["params"]]
    own = {id(p) for p in view.model.parameters()}
    if attached and own and trained and own.isdisjoint(trained):
        raise ConflictError(
            f"none of the {len(trained)} parameters of this {type(view.optimizer).__name__} belongs to this"
            f" {type(view.model).__name__}. Make the optimizer for the model that you attach to; a deep copy has"
            " parameters of its own."
        )
    moving = [type(t).__name__ for t, _ in attached if t.defines("on_update") or PROXIMAL in t.exclusive]
    kind = type(view.optimizer)
    if moving and callable(getattr(kind, "train", None)) and callable(getattr(kind, "eval", None)):
        raise ConflictError(
            f"{', '.join(moving)} moves weights, and {kind.__name__} keeps a second copy of them, which it averages:"
            " zeros would not last, and decay would act on one of both. Use its own weight_decay, L2, or another"
            " optimizer."
        )


def _claimed(attached: list[Attached], view: ModelView) -> dict[tuple[str, str], str]:
    """Who holds which slot of which part."""
    holders: dict[tuple[str, str], str] = {}
    for technique, ctx in attached:
        for slot, target in technique.claims(view):
            other = holders.setdefault((slot, target), ctx.path)
            if other != ctx.path:
                place = f" of {target!r}" if target else ""
                both = (t for t, own in attached if own.path in (other, ctx.path))
                apart = all(hasattr(t, "on") and not t.every_parameter for t in both)
                way = "Keep one, or give them disjoint `on`." if apart else "Keep one of them."
                raise ConflictError(
                    f"{other} and {ctx.path} both want the {slot}{place}, and neither order is right. {way}"
                )
    return holders


def _check_gradients(technique: Points, view: ModelView) -> None:
    """How often loss and gradient are evaluated in a step."""
    if isinstance(view.optimizer, torch.optim.LBFGS) and (
        technique.defines("on_gradient") or technique.defines("on_update")
    ):
        raise ConflictError(refuse_many(type(view.optimizer).__name__, [type(technique).__name__]))


def _check_rows(view: ModelView, batch_size: int | None) -> None:
    """Batch normalization cannot train on one row."""
    if batch_size == 1:
        norm = next((name for name, module in view.modules.items() if isinstance(module, nn.BatchNorm1d)), None)
        if norm is not None:
            raise ConflictError(
                f"batch_size must be at least 2, got 1: the batch normalization {norm!r} cannot train on one sample."
            )


def refuse_many(optimizer: str, names: list[str]) -> str:
    """Why techniques cannot act on an optimizer's gradient, and the way out."""
    return (
        f"{optimizer} evaluates loss and gradient several times in a step, and {', '.join(names)} can act on one of"
        " them only. Use another optimizer, or leave them out; techniques that act after the step, such as EMA or"
        " L1(scaling='decoupled'), work with it."
    )
