"""Opening a study: made by the first worker, joined by the others."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from dashpot.core.errors import DashpotError, StorageError
from dashpot.search.storage.backends import (
    first_line,
    open_storage,
    passing,
    restarting,
    samplers,
    shares_its_seed,
    shown,
)

OPENING = 5.0
"""Seconds for which a first connection is tried again; a wrong address is likelier then than a restart."""
RESTART = 60.0
"""Seconds for which it is tried again after a server has shown that it is there, and busy with itself."""


def open_study(
    url: str, name: str, worker: str, sampler: str, seed: int, grid: Mapping[str, Sequence[Any]] | None
) -> tuple[Any, Any, bool]:
    """Optuna's storage and study, and whether this worker made it.

    Raises:
        StorageError: the storage cannot be reached.
    """
    import optuna

    first = samplers(sampler, seed, grid)
    limit, patient = time.monotonic() + OPENING, False
    while True:
        try:
            storage = open_storage(url)
            try:
                made = optuna.create_study(study_name=name, storage=storage, sampler=first, direction="minimize")
                return storage, made, True
            except optuna.exceptions.DuplicatedStudyError:
                # Workers of one seed would ask for the same candidates.
                own = int.from_bytes(hashlib.sha256(f"{seed} {worker}".encode()).digest()[:4], "big")
                own_sampler = samplers(sampler, seed if shares_its_seed(sampler) else own, grid)
                return storage, optuna.load_study(study_name=name, storage=storage, sampler=own_sampler), False
        except DashpotError:
            raise
        except Exception as error:  # every backend has errors of its own
            if not patient and restarting(error):
                patient, limit = True, time.monotonic() + RESTART
            if time.monotonic() > limit or (isinstance(error, OSError) and not passing(error)):
                raise StorageError(
                    f"the storage {shown(url)} must be reachable, got: {first_line(error)}. Start the server, or"
                    " correct --storage."
                ) from error
            time.sleep(0.3)
