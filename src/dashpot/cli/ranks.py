"""Ranks of torchrun in a command: begun, kept alike, and ended."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dashpot.core.errors import ConfigError, ConflictError, DashpotError

if TYPE_CHECKING:
    from torch import nn

TRAINS = "fit"
"""The one command that trains over several ranks."""


def of_torchrun() -> tuple[int, int]:
    """This process's rank, and how many there are; 0 and 1 where torchrun did not start it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 0, 1
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def refuse_others(arguments: list[str]) -> None:
    """Refuse several ranks for all commands but ``fit``: each would do the whole by itself, and all would write to one
    folder.

    Raises:
        ConfigError: in the first of them; the others end without a word.
    """
    rank, count = of_torchrun()
    if count == 1 or arguments[:1] == [TRAINS]:
        return
    if rank:
        sys.exit(2)
    raise ConfigError(
        "ranks of torchrun",
        f"1 for other commands than dashpot {TRAINS}",
        count,
        "Leave torchrun out; `dashpot tune --workers` uses several processes, and --storage several machines.",
    )


class Ranks:
    """The ranks of a command, over gloo; by itself this process is the only one.

    Args:
        device: of the command.
        budget: of the command; clocks of ranks differ.

    Raises:
        ConfigError: another device than the CPU, or a budget, with several ranks.
    """

    def __init__(self, device: str, budget: str | None) -> None:
        self.rank, self.count = of_torchrun()
        if self.count == 1:
            return
        import torch

        if budget is not None:
            raise ConfigError("--budget", "left out with several ranks of torchrun", budget, "Give --epochs.")
        if device != "cpu" and (device != "auto" or torch.cuda.is_available()):
            way = "Give --device cpu; for GPUs write a loop of your own, with recipe.attach (docs/distributed.md)."
            raise ConfigError("--device", "cpu with several ranks of torchrun", device, way)
        torch.distributed.init_process_group("gloo")

    @property
    def first(self) -> bool:
        """Whether this one writes and says."""
        return self.rank == 0

    @contextlib.contextmanager
    def alike(self) -> Iterator[dict[str, Any]]:
        """What all ranks do alike: an error on one ends all, and is said once. What is put into the dict must be the
        same on all.

        Raises:
            ConflictError: what another rank raised, or that they differ.
        """
        known: dict[str, Any] = {}
        if self.count == 1:
            yield known
            return
        import torch

        failed: DashpotError | None = None
        try:
            yield known
        except DashpotError as error:
            failed = error
        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, (None if failed is None else str(failed), known))
        if failed is not None:
            raise failed
        for rank, (said, theirs) in enumerate(found):
            if said is not None:
                raise ConflictError(f"rank {rank}: {said}")
            if theirs != known:
                raise ConflictError(f"all ranks must have the same data, and rank {rank} has {theirs}, not {known}.")

    def wrapped(self, network: nn.Module) -> nn.Module:
        """A network as its ranks train it."""
        if self.count == 1:
            return network
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(network)

    def end(self) -> None:
        """All have trained: the others may go, while the first goes on to the report."""
        if self.count > 1:
            import torch

            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
