"""``cut``: units that are exactly zero leave a network while it trains, and what belongs to the training follows."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConflictError, UsageError
from dashpot.core.running.modes import evaluating
from dashpot.core.running.nested import called, map_tensors, moved
from dashpot.core.running.session import Session
from dashpot.shrinking.in_place import cut_in_place, cut_of, demand_plain, moments_of
from dashpot.shrinking.plan import Plan
from dashpot.shrinking.renumbered import leaving, renumbered
from dashpot.shrinking.shrink import Shrunk, example_arguments, shrink_exactly
from dashpot.shrinking.value import mapped
from dashpot.techniques.penalties.on_channels import OnChannels


def cut(session: Session, example_inputs: Any = None) -> Shrunk:
    """Take units that are exactly zero out of the network of a session, in place, and go on training.

    Model, modules, parameters and optimizer stay the same objects: parameters become smaller, and the moments of the
    optimizer, averages, kept weights and whatever else techniques keep for them follow by index. Training then goes on
    as that of the large network would whose empty units stay empty, step for step, at the cost of the small one. A
    learning-rate schedule goes on. Masks of dropout are drawn for the sizes of now.

    ``dashpot.fit`` does this by itself with :class:`~dashpot.Compress`. In a loop of your own call it between two
    steps, such as after an epoch. An optimizer of your own beside the session's keeps moments of the former sizes: its
    next step is an error.

    Args:
        session: open, of the plain model, or of a compiled one, which is compiled again.
        example_inputs: as :func:`dashpot.shrink` takes them; not needed with :class:`~dashpot.Compress` and
            :class:`~dashpot.penalties.ChannelLasso` after a training pass.

    Returns:
        As of :func:`dashpot.shrink`; ``model`` is the session's own. Where nothing can leave, ``layers`` is empty.

    Raises:
        ConflictError: units that leave give constants, which go into biases (averages would need their own); a
            technique or an optimizer that keeps what cannot follow; modules that a technique has replaced; a model
            under DistributedDataParallel or FSDP; what :func:`dashpot.shrink` refuses. Nothing has been changed then.
        UsageError: no example, or a session that is closed.

    Example:
        >>> import torch, dashpot
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
        >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        >>> x = torch.randn(64, 4)
        >>> with dashpot.penalties.ChannelLasso(strength=0.02).attach(model, optimizer) as session:
        ...     for step in range(300):
        ...         optimizer.zero_grad(); (model(x)[:, 0] - x[:, 0]).square().mean().backward(); _ = optimizer.step()
        ...         if step % 100 == 99:
        ...             small = dashpot.cut(session)
        >>> model[0].out_features == len(optimizer.state[model[0].bias]["exp_avg"]) < 32
        True
    """
    model = session.view.model
    args, kwargs = _example(session, example_inputs)
    plain = copy.deepcopy(model)  # without hooks
    found = shrink_exactly(plain, args, kwargs)
    if found.layers:
        demand_plain(plain, found)
        cut_by(session, found.plan)
    return replace(found, model=model)


def cut_by(session: Session, plan: Plan) -> None:
    """The model of a session by a plan, with all that belongs to it.

    Raises:
        ConflictError: something cannot follow; nothing has been changed.
    """
    view, optimizer = session.view, session.optimizer
    model = view.model
    if view.sharded or isinstance(view.parallel, nn.parallel.DistributedDataParallel):
        raise ConflictError(
            f"{type(view.parallel).__name__} knows the sizes that parameters had when it was made, and they would"
            " change. Call dashpot.shrink after the training."
        )
    replaces = [type(t).__name__ for t, _ in session.attached if t.defines("on_build")]
    if replaces:
        raise ConflictError(
            f"{', '.join(replaces)} has put modules in the place of the model's own, which would keep their sizes. Call"
            " dashpot.shrink after the training."
        )
    change = cut_of(plan, model)
    states = moments_of(optimizer, model, change)
    known = [(t, ctx, t.seen(ctx)) for t, ctx in session.attached if isinstance(t, OnChannels)]
    followers = [(t, ctx, units, leaving(units, plan)) for t, ctx, units in known if units is not None]
    session.resize(change, lambda: cut_in_place(plan, model, optimizer, states))
    for technique, ctx, units, left in followers:
        technique.follow(ctx, renumbered(units, plan, left, view.parameters), left)


def called_with(model: nn.Module, x: Any) -> tuple[Any, Any]:
    """What a network is called with for a batch of inputs as the data hold it, two rows."""
    seen: list[tuple[Any, Any]] = []

    def look(module: nn.Module, args: Any, kwargs: Any) -> None:
        seen.append((args, kwargs))

    def two(leaf: Tensor) -> Tensor:
        rows = torch.cat([leaf[:2], leaf[:1]])[:2] if leaf.ndim else leaf
        return rows.float() / 255 if rows.dtype == torch.uint8 else rows

    handle = model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        with evaluating(model), torch.no_grad():
            called(model, map_tensors(two, x))
    finally:
        handle.remove()
    return seen[0]


def _example(session: Session, given: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if given is not None:
        return example_arguments(session.view.model, given)
    found = [t.example(ctx) for t, ctx in session.attached if isinstance(t, OnChannels)]
    example = next((one for one in found if one is not None), None)
    if example is None:
        raise UsageError(
            "dashpot.cut needs example_inputs, two rows as the model takes them: no technique on channels has seen a"
            " training pass."
        )
    device = next(session.view.model.parameters()).device
    args, kwargs = mapped(example, lambda leaf: moved(leaf, device))
    return tuple(args), dict(kwargs)
