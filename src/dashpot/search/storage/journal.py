"""The journal file of a study, safe against writers that are killed and disks that are full."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

UNTIL_LATER = {5, 7, 8}
"""Of ``JournalOperation``: a parameter, a score on the way, an attribute of a trial. They mean nothing without the
change of state after them.
"""


class Journal(JournalFileBackend):
    """Optuna's journal file, with three differences.

    Its lock is the kernel's: a writer that is killed holds nothing, where a lock file would make all others wait for
    half a minute. And a last line that was cut off, by a full disk, is taken away before the next is written, so that
    it cannot spoil that one. And parameters and intermediate scores of a candidate do not wait for the disk, which
    took as long as to train small networks: the end of the candidate waits for all.

    Args:
        path: of the file; its folder is made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(str(path), lock_obj=JournalFileOpenLock(str(path)))
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write some lines, all or none."""
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with open(self._path, "r+b", buffering=0) as file, _locked(file, self):
            end = _whole(file)
            try:
                if file.write(text) != len(text):
                    raise OSError(28, os.strerror(28))  # a write that is cut off means a full disk
                if any(log.get("op_code") not in UNTIL_LATER for log in logs):
                    os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise


@contextlib.contextmanager
def _locked(file: BinaryIO, journal: Journal) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # not a POSIX system: Optuna's lock file
        journal._lock.acquire()
        try:
            yield
        finally:
            journal._lock.release()
        return
    fcntl.flock(file, fcntl.LOCK_EX)  # closing the file, or dying, releases it
    yield


def _whole(file: Any) -> int:
    """Cut off what follows the last whole line, go there, and say where that is."""
    end = int(file.seek(0, os.SEEK_END))
    keep = end
    while keep:
        start = max(0, keep - 65536)
        file.seek(start)
        block: bytes = file.read(keep - start)
        if (at := block.rfind(b"\n")) >= 0:
            keep = start + at + 1
            break
        keep = start
    if keep != end:
        file.truncate(keep)
    return int(file.seek(keep))
