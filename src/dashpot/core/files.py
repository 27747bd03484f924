"""Writing files so that a crash, a kill or a full disk never damages what was there."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from dashpot.core.errors import StorageError


def write_atomic(path: str | Path, data: bytes | str | Callable[[str], None]) -> None:
    """Write ``data`` to ``path``: a temporary name in the same folder, flushed to the disk, then renamed. Data that
    are too large to be held twice are a function that writes them to the path that it is given.

    Readers see the old file or the new one, never a part.

    Raises:
        StorageError: the file could not be written; whatever stood at ``path`` is untouched.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(descriptor, "wb") as handle:
            if not callable(data):
                handle.write(data.encode() if isinstance(data, str) else data)
                handle.flush()
                os.fsync(handle.fileno())
        if callable(data):
            data(temporary)
            with open(temporary, "rb+") as handle:  # it may be another file of that name now
                os.fsync(handle.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise StorageError(
            f"{path} could not be written: {error.strerror or error}. What was there before is untouched; free some"
            " space or name another place."
        ) from error
