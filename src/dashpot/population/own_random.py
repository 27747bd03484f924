"""torch's global random state, lent to one network after another, no longer than it is needed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch

from dashpot.population.members import RANDOM


@contextlib.contextmanager
def own_random(device: torch.device) -> Iterator[Callable[[], None]]:
    """The global random state for one epoch of a network, which seeds it; it is put back afterwards.

    Threads share that state, so only one of them at a time may train a network that draws from it: one with a
    dropout layer of torch's own, say. Most draw nothing from it, since masks of techniques are hashes.

    Yields:
        What to call after the first step: where that has drawn nothing on the CPU, the state is put back at once, and
        the other threads train beside this one.
    """
    with contextlib.ExitStack() as held:
        held.enter_context(RANDOM)
        held.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))

        def stepped() -> None:
            if device.type == "cpu" and _untouched():
                held.close()

        yield stepped


def _untouched() -> bool:
    """Whether torch's generator of the CPU is as it was when it was last seeded."""
    now = torch.default_generator
    fresh = torch.Generator().manual_seed(now.initial_seed())
    return torch.equal(fresh.get_state(), now.get_state())
