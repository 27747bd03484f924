"""The two optimizer hooks that drive whatever acts on gradients and weights.

Riding on ``Optimizer.register_step_pre_hook`` and ``register_step_post_hook`` lets any torch optimizer, Lightning,
Hugging Face and skorch work unchanged, and makes every technique act once per optimizer step, however many
micro-batches it has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from dashpot.core.errors import UsageError
from dashpot.core.fields.select import Where
from dashpot.core.points import Attached, Points
from dashpot.core.running.conflicts import refuse_many
from dashpot.core.running.idle import allocates, warn_idle
from dashpot.core.running.passes import GlobalRandomness, fresh_gradients, frozen_statistics, without_sync
from dashpot.core.running.run import Run
from dashpot.core.running.view import Params

_CALLS = {"on_batch": "session.batch(x, y)", "on_loss": "session.loss(per_sample, out)"}


class Stepper:
    """Runs the gradient, update and step methods around ``optimizer.step``."""

    def __init__(self, run: Run, at: Mapping[str, list[Attached]], look: Callable[[], bool]) -> None:
        self._look = look
        self._run, self._gradient, self._update, self._step = run, at["on_gradient"], at["on_update"], at["on_step"]
        self._needs = {point: [type(t).__name__ for t, _ in at[point]] for point in _CALLS if at[point]}
        self._params: dict[int, Params] = {}
        self._all = id(self)
        self._skipped = False
        optimizer = run.optimizer
        self._handles = [optimizer.register_step_pre_hook(self.before), optimizer.register_step_post_hook(self.after)]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def before(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """The optimizer's pre-hook."""
        found_inf = getattr(optimizer, "found_inf", None)
        self._run.asked = True
        closure = args[1] if len(args) > 1 else kwargs.get("closure")  # args[0] is the optimizer
        self._skipped = (found_inf is not None and bool(found_inf)) or (closure is None and allocates(optimizer))
        if self._skipped:
            return None
        if self._look():
            self._params.clear()
        if closure is None:
            self._skipped = self._idle()
            if self._skipped:
                return None
            self._demand_calls()
            needy = next((ctx.technique for _, ctx in self._gradient if ctx.technique.asks(ctx.step) > 1), None)
            if needy is not None:
                raise UsageError(
                    f"{type(needy).__name__} needs a second gradient, but optimizer.step() was called without a"
                    " closure. Call optimizer.step(closure), where closure() clears the gradients, computes the loss,"
                    " calls backward and returns the loss; GradScaler cannot take one, so use bfloat16 autocast"
                    " without a scaler."
                )
        if closure is None:
            self._unscale(optimizer)
            self._gradients(len(self._gradient), None)
            self._run_updates()
            return None
        rest = {k: v for k, v in kwargs.items() if k != "closure"}
        if not (self._gradient or self._update):
            return (optimizer, _Checked(self._run, closure, self._evaluated), *args[2:]), rest
        again = [type(t).__name__ for t, ctx in self._gradient if ctx.technique.asks(ctx.step) > 1]
        expected = sum(ctx.technique.asks(ctx.step) - 1 for _, ctx in self._gradient) + 1
        passes = _Passes(self._run, closure, expected, again)
        self._gradients(len(self._gradient), passes)
        self._evaluated()
        if not self._skipped:
            self._run_updates()
        # The closure has been evaluated; the optimizer, which would evaluate it again, gets the loss instead.
        names = [type(t).__name__ for t, _ in [*self._gradient, *self._update]]
        return (optimizer, _Once(passes.loss, type(optimizer).__name__, names), *args[2:]), rest

    def after(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The optimizer's post-hook. With a fused optimizer and GradScaler it fires on a skipped step too: then nothing
        may advance.
        """
        if self._skipped:
            self._run.rewind()
            return
        with torch.no_grad():
            for technique, ctx in self._step:
                ctx.technique.on_step(self._params_of(technique).live(), ctx)
        self._run.advance()

    def _evaluated(self) -> None:
        """A closure has been evaluated."""
        self._demand_calls()
        self._skipped = self._idle()

    def _idle(self) -> bool:
        """Whether no parameter of the model got a gradient, so that the optimizer changes nothing of it."""
        if self._all not in self._params:
            self._params[self._all] = self._run.view.params()
        if any(p.grad is not None for p in self._params[self._all].tensors):
            return False
        warn_idle(self._run)
        return True

    def _demand_calls(self) -> None:
        """Say so if the loop left out a call that the recipe needs."""
        for point, names in self._needs.items():
            if point not in self._run.called:
                raise UsageError(
                    f"{_CALLS[point]} was not called in training mode before optimizer.step(), and the recipe needs it"
                    f" for: {', '.join(names)}."
                )

    def _run_updates(self) -> None:
        with torch.no_grad():
            for technique, ctx in self._update:
                ctx.technique.on_update(self._params_of(technique).live(), ctx)

    def _gradients(self, upto: int, passes: Callable[[], None] | None) -> None:
        """Leave the gradients as the first ``upto`` techniques make them. One that asks for another gradient gets it
        as all before it make it: ``L2() | SAM()`` ascends on the loss with its L2 term."""
        if upto == 0:
            if passes is not None:
                passes()
            return
        self._gradients(upto - 1, passes)
        technique, ctx = self._gradient[upto - 1]
        with torch.no_grad():
            work = ctx.technique.on_gradient(self._params_of(technique).live(), ctx)
            if work is not None:
                with contextlib.closing(work):
                    for _ in work:
                        self._gradients(upto - 1, passes)

    def _params_of(self, technique: Points) -> Params:
        params = self._params.get(id(technique))
        if params is None:
            on = getattr(technique, "on", None)
            selects = isinstance(on, Where) and not technique.every_parameter
            params = self._params[id(technique)] = self._run.view.params(on if selects else None)
        return params

    def _unscale(self, optimizer: Optimizer) -> None:
        """A fused optimizer under GradScaler unscales inside its kernel; techniques that read gradients need them
        unscaled before.
        """
        scale: Tensor | None = getattr(optimizer, "grad_scale", None)
        if scale is None or not self._gradient:
            return
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        torch._foreach_mul_(grads, scale.to(grads[0].device).double().reciprocal().float())
        optimizer.grad_scale = None  # type: ignore[attr-defined]  # GradScaler sets and deletes this attribute itself


class _Checked:
    """A closure that also says what the loop left out; none of the gradients is final before it returns. Called again,
    it draws what it drew before.
    """

    def __init__(self, run: Run, closure: Callable[[], Any], evaluated: Callable[[], None]) -> None:
        self._back, self._closure, self._evaluated = run.mark(), closure, evaluated

    def __call__(self) -> Any:
        self._back()
        loss = self._closure()
        self._evaluated()
        return loss


class _Once:
    """The loss of a closure that has been evaluated already. An optimizer that asks twice moved the weights in between,
    and would get a stale gradient.
    """

    def __init__(self, loss: Any, optimizer: str, names: list[str]) -> None:
        self._loss, self._optimizer, self._names, self._asked = loss, optimizer, names, False

    def __call__(self) -> Any:
        if self._asked:
            raise UsageError(refuse_many(self._optimizer, self._names))
        self._asked = True
        return self._loss


class _Passes:
    """Evaluates a closure so that each further pass sees what the first one saw."""

    def __init__(self, run: Run, closure: Callable[[], Any], expected: int, needy: list[str]) -> None:
        self._run, self._closure, self._left, self._needy = run, closure, expected, ", ".join(needy)
        # Micro-batches may have come before this step's closure: a pass begins where the first one did.
        self._back = run.mark()
        self._randomness = GlobalRandomness(run.view.model) if expected > 1 else None
        self._first = True
        self.loss: Any = None

    def __call__(self) -> None:
        self._left -= 1
        first, self._first, view = self._first, False, self._run.view
        around: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if not first:
            self._back()
            if self._randomness is not None:
                self._randomness.restore()
            around = frozen_statistics(view.modules.values())
        elif self._needy:
            around = fresh_gradients(self._run.optimizer, self._needy)
        with torch.enable_grad(), without_sync(view.parallel) if self._left > 0 else contextlib.nullcontext(), around:
            loss = self._closure()
        if first:
            # The loss at the weights that the step starts from is the one to report.
            self.loss = loss
