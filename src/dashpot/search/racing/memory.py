"""How many networks fit into memory at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dashpot.core.memory import free_memory
from dashpot.population.members import built
from dashpot.search.racing.task import Task
from dashpot.search.space.space import Candidate
from dashpot.training.setup import pick_device

COPIES = 24
"""What a member holds, in sizes of its network: weights, gradients, two moments, an average, the best so far of early
stopping and of the race, what is saved in case memory ends, and what goes through it. Measured: 20 to 25."""
SHARE = 0.5
"""Of the memory that is free."""


def most_members(task: Task, candidates: Sequence[Candidate], processes: int = 1) -> int:
    """How many members fit into half of the free memory of the device, shared by so many processes of this machine; at
    least one.
    """
    largest = max(size(task, candidate) for candidate in {str(c.net): c for c in candidates}.values())
    return max(1, int(SHARE * free(task.device) / processes / max(COPIES * largest, 1)))


def size(task: Task, candidate: Candidate) -> int:
    """Bytes of a candidate's parameters and buffers."""
    try:
        network = built(lambda: task.make(dict(candidate.net)))
    except Exception:  # whatever the user's own code raises; the candidate will fail in its race, and says why
        return 0
    return sum(t.numel() * t.element_size() for t in (*network.parameters(), *network.buffers()))


def free(device: str) -> float:
    """Free bytes: of the accelerator, or of this machine or the part of it that a container may use."""
    where = pick_device(device)
    if where.type == "cuda":
        return float(torch.cuda.mem_get_info(where)[0])
    return free_memory()
