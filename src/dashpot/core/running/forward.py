"""``ctx.forward``: the model once more on a batch, beside the pass of the loop."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dashpot.core.errors import UsageError
from dashpot.core.rng import derive, seed_global
from dashpot.core.running.copies import Guest
from dashpot.core.running.nested import called
from dashpot.core.running.passes import GlobalRandomness, frozen_statistics
from dashpot.core.running.run import Run
from dashpot.core.running.view import is_compiled


class Forward:
    """Runs the model again as it ran in the loop: in the same mode, under the same autocast, with statistics of
    normalization left alone. The loop's random draws, and those of other techniques, are as if it had not run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        # Under DistributedDataParallel the plain module: its wrapper takes one pass for each backward.
        wrapper = run.view.wrapper
        inner = wrapper.module if isinstance(wrapper, DistributedDataParallel) else wrapper
        compiled = is_compiled(inner) and not isinstance(inner._orig_mod, DistributedDataParallel)
        self._module: nn.Module = inner if compiled else run.view.model
        self._watch = _Watch(run)
        self._handle = self._module.register_forward_pre_hook(self._watch)
        self._guest = Guest(self._module, [self._handle.id], {})

    def remove(self) -> None:
        self._guest.remove()
        self._handle.remove()

    def __call__(self, x: Any, key: int, *, same: bool, weights: Mapping[str, Tensor] | None) -> Any:
        run, model, watch = self._run, self._run.view.model, self._watch
        seen = watch.seen if watch.seen is not None and watch.seen.moment == (run.step, run.micro) else None
        if same and seen is None:
            raise UsageError(
                "ctx.forward(same=True) needs the randomness of the first pass, which was not seen: call the model in"
                " training mode before session.loss, and attach to the compiled model where it is compiled."
            )
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        clocks = run.clocks()
        number = run.forwards
        run.forwards += 1
        watch.resting = True
        with contextlib.ExitStack() as stack:
            stack.callback(setattr, watch, "resting", False)
            stack.callback(setattr, run, "extra", run.extra)
            run.extra = True
            stack.callback(run.set_clocks, clocks)
            stack.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))
            stack.enter_context(frozen_statistics(model.modules()))
            if seen is not None and seen.autocast is not None and not torch.is_autocast_enabled(device.type):
                stack.enter_context(torch.autocast(device.type, dtype=seen.autocast))
            if same and seen is not None:
                seen.randomness.restore()
                run.set_clocks(seen.clocks)
            else:
                seed_global(derive(key, run.step, run.micro, run.rank, number) >> 1, device)
                run.set_clocks([clock + torch.tensor([0, (number + 1) << 32], device="cpu") for clock in clocks])
            if weights is None:
                return called(self._module, x)
            return called(lambda *args, **kwargs: torch.func.functional_call(model, dict(weights), args, kwargs), x)


class _Seen:
    """The circumstances of a pass of the loop."""

    def __init__(self, run: Run, model: nn.Module) -> None:
        self.moment, self.clocks, self.randomness = (run.step, run.micro), run.clocks(), GlobalRandomness(model)
        kind = next((p.device.type for p in model.parameters()), "cpu")
        known = torch.amp.is_autocast_available(kind)
        self.autocast = torch.get_autocast_dtype(kind) if known and torch.is_autocast_enabled(kind) else None


class _Watch:
    """The forward pre-hook that records each pass."""

    def __init__(self, run: Run) -> None:
        self._run, self.resting = run, False
        self.seen: _Seen | None = None

    def __call__(self, module: nn.Module, args: Any) -> None:
        if torch.compiler.is_compiling() or self.resting or not module.training:
            return
        self.seen = _Seen(self._run, self._run.view.model)
