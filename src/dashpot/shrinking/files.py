"""Shrunk networks as files: safetensors with the plan as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from torch import nn

from dashpot.core.errors import DataError, StorageError
from dashpot.core.files import write_atomic
from dashpot.shrinking.plan import Plan
from dashpot.shrinking.shrink import Shrunk

KEY = "dashpot-plan"


def save_shrunk(shrunk: Shrunk, path: str | Path) -> None:
    """Write a shrunk network: its tensors as safetensors, with the plan in the file's metadata.

    Args:
        shrunk: what :func:`dashpot.shrink` gave; its network may have been trained further.
        path: of the file, such as ``small.safetensors``.

    Raises:
        StorageError: the file cannot be written.

    Example:
        >>> import tempfile, torch, dashpot
        >>> build = lambda: torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> model = build()
        >>> with torch.no_grad():
        ...     _ = model[0].weight[2:7].zero_()
        >>> shrunk = dashpot.shrink(model, torch.randn(2, 4))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     dashpot.save_shrunk(shrunk, folder + "/small.safetensors")
        ...     again = dashpot.load_shrunk(build, folder + "/small.safetensors")
        >>> torch.equal(again(torch.ones(1, 4)), shrunk.model(torch.ones(1, 4)))
        True
    """
    from safetensors.torch import save

    state = shrunk.model.state_dict()
    own = {name: t.detach().cpu().contiguous() for name, t in state.items() if name not in shrunk.plan.shared}
    write_atomic(path, save(own, metadata={KEY: json.dumps(shrunk.plan.to_dict())}))


def load_shrunk(build: Callable[[], nn.Module], path: str | Path) -> nn.Module:
    """The network of a file of :func:`save_shrunk`, made smaller from one of the full size. No code of the file is run.

    Args:
        build: makes the network at its full size, with any weights.
        path: of the file.

    Raises:
        StorageError: no file that can be read.
        DataError: a file without a plan, or of another network.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            told = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{path} cannot be read as safetensors: {error}") from error
    if told is None:
        raise DataError(f"{path} has no plan of a shrunk network. Write it with dashpot.save_shrunk.")
    plan = Plan.from_dict(json.loads(told))
    model = build()
    try:
        plan.apply(model)
        missing = set(model.load_state_dict(tensors, strict=False).missing_keys) - plan.shared.keys()
        extra = tensors.keys() - model.state_dict().keys()
    except (RuntimeError, IndexError) as error:
        raise DataError(f"{path} is not of the network that build() makes: {error}") from error
    if missing or extra:
        names = ", ".join(sorted(missing | extra)[:4])
        raise DataError(f"{path} is not of the network that build() makes: it differs in {names}.")
    return model
