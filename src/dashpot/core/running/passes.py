"""A second pass over the same batch that must not count as a second batch: same random masks, statistics untouched."""

from __future__ import annotations

import contextlib
import hashlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from dashpot.core.errors import ConflictError, UsageError


class GlobalRandomness:
    """torch's global generators as they stand now, to be set again (for a model's own ``nn.Dropout``)."""

    def __init__(self, model: nn.Module) -> None:
        self._cpu = torch.get_rng_state()
        # A second gradient asks at each step, so parameters are only looked at where one can be on a GPU.
        there = model.parameters() if torch.cuda.is_available() else ()
        devices = {p.device for p in there if p.device.type == "cuda"}
        self._cuda = {device: torch.cuda.get_rng_state(device) for device in devices}

    def restore(self) -> None:
        torch.set_rng_state(self._cpu)
        for device, state in self._cuda.items():
            torch.cuda.set_rng_state(state, device)


@contextlib.contextmanager
def frozen_statistics(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Normalize by the batch, as in training, but leave running statistics and their counters alone."""
    tracking = [m for m in modules if isinstance(m, _NormBase) and m.track_running_stats]
    for module in tracking:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True


def without_sync(wrapper: nn.Module) -> contextlib.AbstractContextManager[None]:
    """No gradient all-reduce, where the model is distributed; elsewhere nothing."""
    return wrapper.no_sync() if isinstance(wrapper, DistributedDataParallel) else contextlib.nullcontext()


@contextlib.contextmanager
def fresh_gradients(optimizer: Optimizer, names: str) -> Iterator[None]:
    """Check that what runs inside makes the gradients of the whole step: it clears them, and calls ``backward``.

    Raises:
        UsageError: it does not; techniques of these ``names`` need to evaluate it again.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    came: list[bool] = []  # for each gradient that arrives first, whether it stands alone
    arriving: dict[int, Tensor] = {}
    # One parameter tells of all, and the smallest is the cheapest to compare.
    watched = min((p for p in parameters if p.grad is not None), key=Tensor.numel, default=None)
    handles = []
    if watched is not None:

        def arrives(gradient: Tensor) -> None:
            if watched.grad is None and not came:  # cleared: no need to compare, for which a GPU would have to wait
                came.append(True)
            elif not came:
                arriving.setdefault(0, gradient.detach().clone())

        def arrived(parameter: Tensor) -> None:
            if not came and arriving and parameter.grad is not None:  # FSDP2 shows only the sum
                came.append(bool((parameter.grad == arriving[0]).logical_or(arriving[0].isnan()).all()))

        handles = [watched.register_hook(arrives), watched.register_post_accumulate_grad_hook(arrived)]
    before = [_gradient_now(p) for p in parameters]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    moved = any(
        p.grad is not known() or (p.grad is not None and p.grad._version != version)
        for p, (known, version) in zip(parameters, before, strict=True)
    )
    if not moved:
        raise UsageError(
            f"{names} evaluates loss and gradient again, but the closure of optimizer.step() ran no backward pass. Pass"
            " one that clears the gradients, computes the loss, calls backward and returns the loss."
        )
    if came == [False]:
        raise UsageError(
            f"{names} evaluates loss and gradient again, but the closure of optimizer.step() adds to earlier gradients"
            " and would leave these out. Let it clear the gradients and go through all micro-batches of the step."
        )


def _gradient_now(parameter: Tensor) -> tuple[Callable[[], Tensor | None], int]:
    """A parameter's gradient, by a reference that does not keep its memory, and its version."""
    gradient = parameter.grad
    return (lambda: None, 0) if gradient is None else (weakref.ref(gradient), gradient._version)


def mean_over_ranks(scores: Mapping[str, float], wrapper: nn.Module) -> Mapping[str, float]:
    """The scores, averaged over the ranks of a distributed model, so that all ranks decide the same.

    Raises:
        ConflictError: on all ranks: they have other scores than each other.
    """
    place = _ranks(wrapper)
    if place is None:
        return scores
    group, device = place
    if not _alike("\n".join(sorted(scores)), place):
        raise ConflictError(
            f"all ranks must give the same scores to session.epoch, and this one has {', '.join(scores) or 'none'},"
            " others than another's. Give those that every rank has."
        )
    values = torch.tensor([scores[name] for name in sorted(scores)], dtype=torch.float64, device=device)
    torch.distributed.all_reduce(values, group=group)
    means = dict(zip(sorted(scores), (values / torch.distributed.get_world_size(group)).tolist(), strict=True))
    return {name: means[name] for name in scores}


def demand_same_recipe(recipe: str, wrapper: nn.Module) -> None:
    """Refuse ranks of a distributed model that attach other recipes than each other. Every rank calls it.

    Raises:
        ConflictError: on all ranks.
    """
    place = _ranks(wrapper)
    if place is not None and not _alike(recipe, place):
        raise ConflictError(
            f"all ranks must attach the same recipe, and this one has {recipe or 'none'}, which differs from another's."
            " Make it, and resolve relative strengths, on one rank, and send its text to the others."
        )


def _alike(text: str, place: tuple[Any, torch.device]) -> bool:
    """Whether all ranks have the same text."""
    group, device = place
    own = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")
    ends = torch.tensor([own, -own], dtype=torch.int64, device=device)
    torch.distributed.all_reduce(ends, op=torch.distributed.ReduceOp.MAX, group=group)
    return bool(ends.tolist() == [own, -own])


def _ranks(wrapper: nn.Module) -> tuple[Any, torch.device] | None:
    """The process group of a distributed model, and the device of what its ranks exchange; None for any other model."""
    first = next(wrapper.parameters(), None)
    meshes = (getattr(p, "device_mesh", None) for p in wrapper.parameters())
    mesh = next((mesh for mesh in meshes if mesh is not None), None)  # of DTensors
    if first is None or not (isinstance(wrapper, DistributedDataParallel) or mesh is not None):
        return None
    group: Any = wrapper.process_group if isinstance(wrapper, DistributedDataParallel) else None
    if mesh is not None and mesh.ndim == 1:
        group = mesh.get_group()
    return group, torch.device("cpu") if first.device.type == "cpu" else first.device
