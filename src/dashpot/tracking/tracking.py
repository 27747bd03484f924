"""``Tracking``: all trackers of a run. None of them can end it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dashpot.core.errors import StorageError
from dashpot.core.files import write_atomic
from dashpot.core.running.attach import this_rank
from dashpot.tracking.names import trackers_of
from dashpot.tracking.tracker import End, Plain, Start, TrackerWarning

TOKENS = "trackers.json"
"""In the folder of a run: by which a resumed run finds its earlier one."""
SAID = {"begin": "begin", "epoch": "log an epoch", "end": "end"}
REPORTS = ("report.html", "report.json", "metrics.json", "robustness.json", "recipe.toml", "texts.txt")


class Tracking:
    """Tells a run to all trackers; one that fails is left out from then on, with a warning that names it. Of several
    ranks the first tells.

    Args:
        log: see :func:`dashpot.tracking.trackers_of`.
        parameters: further ones of the run, beside those that it begins with.

    Raises:
        ConfigError: as :func:`dashpot.tracking.trackers_of`.

    Attributes:
        ending: how a training ended whose report is still to be made.

    Example:
        >>> from dashpot.tracking import End, Start, Tracker, Tracking
        >>> class Printed(Tracker):
        ...     def begin(self, start):
        ...         print(start.name, start.parameters)
        >>> tracking = Tracking(Printed(), {"fold": 1}); tracking.begin(Start("a")); tracking.end(End())
        a {'fold': 1}
    """

    def __init__(self, log: Any = None, parameters: Mapping[str, Plain] | None = None) -> None:
        self.trackers: list[Any] = trackers_of(log)
        self.parameters = dict(parameters or {})
        self._working: list[Any] = []
        self._begun = False
        self.ending = End()

    @staticmethod
    def of(log: Any) -> tuple[Tracking, bool]:
        """The tracking of ``log``, and whether whoever asks must end it: it was not one already."""
        return (log, False) if isinstance(log, Tracking) else (Tracking(log), True)

    def __bool__(self) -> bool:
        return bool(self.trackers)

    def begin(self, start: Start, folder: str | Path | None = None, *, resume: bool = False) -> None:
        """Begin once; a second call does nothing.

        Args:
            folder: of the run, which keeps the tokens.
            resume: go on with the runs that it names.
        """
        if self._begun:
            return
        self._begun = True
        self._working = list(self.trackers) if this_rank() == 0 else []
        path = Path(folder) / TOKENS if folder is not None and self._working else None
        before = _tokens(path) if path is not None and resume else {}
        tokens = {}
        for key, tracker in list(self._keyed()):
            known = {**start.parameters, **self.parameters}
            mine = dataclasses.replace(start, parameters=known, token=before.get(key))
            tokens[key] = self._call(tracker, "begin", mine)
        if path is not None:
            try:
                write_atomic(path, json.dumps(tokens) + "\n")
            except (StorageError, TypeError, ValueError) as error:
                _warn(
                    f"{TOKENS} could not be written ({error}), so a resumed run would begin new runs of its trackers."
                )

    def epoch(self, number: int, values: Mapping[str, float], notes: Mapping[str, str]) -> None:
        """An epoch is done."""
        for tracker in list(self._working):
            self._call(tracker, "epoch", number, values, notes)

    def end(self, end: End) -> None:
        """The run is over; a second call does nothing."""
        for tracker in list(self._working):
            self._call(tracker, "end", end)
        self._working, self._begun = [], False

    @contextlib.contextmanager
    def guarded(self, ends: bool = True) -> Iterator[None]:
        """What runs inside ends the runs of the trackers, too, if it is left by an exception."""
        try:
            yield
        except BaseException as error:  # Ctrl-C, too
            if ends:
                self.end(End("failed" if isinstance(error, Exception) else "interrupted", type(error).__name__))
            raise

    def _keyed(self) -> Sequence[tuple[str, Any]]:
        """Each with a key that is the same in a later process."""
        return [(f"{getattr(t, 'name', type(t).__name__)}-{k}", t) for k, t in enumerate(self._working)]

    def _call(self, tracker: Any, method: str, *told: Any) -> Any:
        try:
            return getattr(tracker, method)(*told)
        except Exception as error:  # whatever a tracker's library raises, the training is worth more
            self._working = [t for t in self._working if t is not tracker]
            name = getattr(tracker, "name", type(tracker).__name__)
            said = (str(error).strip().splitlines() or [""])[0][:300]
            _warn(f"{name} failed to {SAID[method]} ({type(error).__name__}: {said}), so the run goes on without it.")
            return None


def report_files(folder: Path) -> list[Path]:
    """The report and the figures in the folder of a run."""
    return [path for path in sorted(folder.iterdir()) if path.name in REPORTS or path.suffix == ".png"]


def _tokens(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _warn(f"{path} could not be read ({error}), so new runs of the trackers begin.")
        return {}
    return found if isinstance(found, dict) else {}


def _warn(text: str) -> None:
    # As an error, which filters may ask for, it would end the training after all.
    try:
        warnings.warn(text, TrackerWarning, stacklevel=4)
    except TrackerWarning:
        import sys

        print(f"warning: {text}", file=sys.stderr)
