"""Retries of a storage that does not answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

from dashpot.core.errors import StorageError
from dashpot.search.storage.backends import first_line, meaning, passing, shown

T = TypeVar("T")


def with_retries(action: Callable[[], T], storage: Any, url: str, name: str, seconds: float) -> T:
    """The result of an action on a storage, retried with growing delays for so many seconds.

    Raises:
        StorageError: it did not answer, or refused.
    """
    limit, pause = time.monotonic() + seconds, 0.2
    while True:
        try:
            return action()
        except Exception as error:  # every backend has errors of its own; what does not pass is raised again
            if passing(error):
                if time.monotonic() > limit:
                    raise StorageError(
                        f"the storage {shown(url)} has not answered for {seconds:.0f} s: {first_line(error)}."
                    ) from error
            elif (known := meaning(error, url, name)) is not None:
                raise known from error
            else:
                raise
            # A session whose connection was cut in the middle does not recover by itself.
            with contextlib.suppress(Exception):
                getattr(storage, "remove_session", lambda: None)()
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
