"""Passes through a network in evaluation mode with dropout on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from dashpot.core.errors import ConfigError, ConflictError, DataError
from dashpot.core.fields.domains import check_whole
from dashpot.core.recipe import Recipe
from dashpot.core.rng import derive, seeded, stream
from dashpot.core.running.modes import evaluating
from dashpot.core.running.nested import called, map_tensors, moved, rows, told
from dashpot.techniques.dropout.hook import drop_hooks

KINDS = ("classes", "multilabel", "values")
Targets = Literal["classes", "multilabel", "values"]


def passes(
    model: nn.Module, x: Any, samples: int, *, recipe: Any, targets: str, seed: int, batch_size: int
) -> Iterator[tuple[int, Tensor]]:
    """Answers of sub-networks: the first of some rows, and float64 [rows, times, outputs] on the CPU; all rows get
    ``samples``, in one pass or several. Arguments and errors are those of :func:`mc_predict`.
    """
    samples, seed = check_whole("samples", samples, 2), check_whole("seed", seed, 0)
    batch_size = check_whole("batch_size", batch_size)
    if targets not in KINDS:
        raise ConfigError("targets", f"one of {', '.join(KINDS)}", targets)
    x = as_tensors(x)
    with sampling(model, recipe, seed) as whole_batches:
        most = 1 if whole_batches else min(samples, batch_size)
        step = max(1, batch_size // most)
        for start, part in parts_of(x, step, model):
            count, left = rows(part) or 0, samples
            while left:
                times = min(left, most)
                out = outputs(called(model, map_tensors(partial(_repeated, times=times), part)), count * times)
                yield start, answers(out, targets).reshape(count, times, -1)
                left -= times


def as_tensors(x: Any) -> Any:
    """Inputs as tensors.

    Raises:
        DataError: there are none.
    """
    x = x if rows(x) is not None else torch.as_tensor(x)
    if not rows(x):
        raise DataError("there must be at least one row of inputs, got none.")
    return x


def parts_of(x: Any, step: int, model: nn.Module) -> Iterator[tuple[int, Any]]:
    """Rows from each start on, where the parameters of the model are."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    for start in range(0, rows(x) or 0, step):
        yield start, moved(map_tensors(partial(_some, start=start, stop=start + step), x), device)


def answers(out: Tensor, targets: str) -> Tensor:
    """Probabilities or values of outputs, float64 on the CPU."""
    out = out.double().cpu()
    return out.softmax(-1) if targets == "classes" else out.sigmoid() if targets == "multilabel" else out


def _some(t: Tensor, start: int, stop: int) -> Tensor:
    return t[start:stop]


def _repeated(t: Tensor, times: int) -> Tensor:
    return t.repeat_interleave(times, dim=0)


@contextlib.contextmanager
def sampling(model: nn.Module, recipe: Any = None, seed: int = 0) -> Iterator[bool]:
    """``model`` in evaluation mode with dropout on, without gradients; whether some mask holds for a whole batch.

    Raises:
        ConfigError: a technique of ``recipe`` that does not drop.
        ConflictError: nothing drops.
    """
    with contextlib.ExitStack() as stack:
        if recipe is not None:
            stack.enter_context(_attached(model, recipe))
        hooks = drop_hooks(model)
        if refused := next((hook.refuses_sampling for hook in hooks if hook.refuses_sampling), ""):
            raise ConflictError(refused)
        own = [m for m in model.modules() if _drops(m)]
        if not hooks and not own:
            raise ConflictError(
                f"nothing drops in {type(model).__name__}: it has no dropout module with a rate above 0, and no dropout"
                " is attached. Name the technique that it was trained with, such as recipe='dropout:p=0.2'; of"
                " functional.dropout inside a forward nothing is known."
            )
        stack.enter_context(evaluating(model))
        for module in own:
            module.training = True  # of it alone: what is inside has modes of its own
        for number, hook in enumerate(hooks):
            stack.callback(hook.clock.copy_, hook.clock.clone())
            hook.clock.copy_(torch.tensor([-1 - seed, number << 32], device="cpu"))  # no step of a training
            hook.sampling = True
            stack.callback(setattr, hook, "sampling", False)
        # Its fused kernels for evaluation would pass over the dropout inside.
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(seeded(derive(stream(seed, "mc-dropout"), 0) >> 1))
        stack.enter_context(torch.no_grad())
        yield any(hook.whole_batch for hook in hooks)


def _drops(module: nn.Module) -> bool:
    """Whether it drops by itself in training mode."""
    rate = 0.0
    if isinstance(module, _DropoutNd):
        rate = module.p
    elif isinstance(module, nn.MultiheadAttention | nn.RNNBase):
        rate = module.dropout
    return rate > 0


@contextlib.contextmanager
def _attached(model: nn.Module, recipe: Any) -> Iterator[None]:
    """The dropouts of a recipe, and nothing else of it."""
    chosen = Recipe.coerce(recipe)
    for technique in chosen:
        if not type(technique).__module__.startswith("dashpot.techniques.dropout."):
            raise ConfigError("recipe", "dropouts only", technique.name, "Leave out what acts in training alone.")
        if technique.defines("weights"):
            way = "A finished model has its weights scaled already: leave scaling='training'."
            raise ConfigError("recipe", "dropouts that leave weights as they are", str(technique), way)
        if technique.defines("on_build"):
            way = "Its rates are those that it learns: sample inside the session in which it did."
            raise ConfigError("recipe", "dropouts whose rates are given", str(technique), way)
    spare = nn.Parameter(torch.zeros((), device="cpu"))
    parameters = list(model.parameters()) or [spare]
    with chosen.attach(model, torch.optim.SGD(parameters, lr=0.0)):
        yield


def outputs(out: Any, n: int) -> Tensor:
    """The outputs of a pass.

    Raises:
        DataError: the model gives something else than [n, outputs].
    """
    if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != n:
        raise DataError(f"the model must give a tensor [{n}, outputs] for {n} rows, got {told(out)}.")
    return out
