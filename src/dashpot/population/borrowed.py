"""Networks for a trial run, whose state is restored afterwards."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def as_before(*networks: nn.Module) -> Iterator[list[nn.Module]]:
    """Networks for a trial run: modes and buffers are restored afterwards. A repeated one is copied, as is one with
    modules of unknown classes, which may hold other state."""
    ours = ("torch.nn.", "dashpot.")
    used: list[nn.Module] = []
    for n in networks:
        kinds = {
            kind for m in n.modules() for kind in type(m).__mro__ if issubclass(kind, nn.Module)
        }  # a mapped network's class is made of its own
        lent = all(n is not other for other in used) and all(f"{kind.__module__}.".startswith(ours) for kind in kinds)
        used.append(n if lent else copy.deepcopy(n))
    modes = [(m, m.training) for n in used for m in n.modules()]
    buffers = [(m, name, b, b.clone()) for m, _ in modes for name, b in m._buffers.items() if b is not None]
    try:
        yield used
    finally:
        for m, mode in modes:
            m.training = mode
        for m, name, b, value in buffers:
            m._buffers[name] = b.copy_(value)
