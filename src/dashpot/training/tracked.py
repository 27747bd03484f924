"""A training that is told to trackers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from dashpot.core.points import Verdict
from dashpot.core.running.session import Session
from dashpot.tracking.loop import start_of
from dashpot.tracking.observed import exact_zeros, observed
from dashpot.tracking.tracker import End
from dashpot.tracking.tracking import Tracking
from dashpot.training.resuming import OPTION


class Tracked:
    """What :func:`dashpot.fit` tells; without trackers every method does nothing.

    Args:
        tracking: the trackers.
        session: of the training.
        settings: of the run, as a checkpoint has them.
        ends: end the runs of the trackers, too; else whoever made the tracking does, with its report.
    """

    def __init__(self, tracking: Tracking, session: Session, settings: Mapping[str, Any], ends: bool) -> None:
        self._tracking, self._session, self._ends = tracking, session, ends
        plain = {k: v if isinstance(v, str | int | float) else str(v) for k, v in settings.items()}
        self._settings = {name.replace(OPTION, "optimizer."): value for name, value in plain.items()}
        self._end: End | None = None

    def begin(self, folder: str | Path | None, resume: bool) -> None:
        """After a checkpoint was loaded, so that all know from where."""
        if self._tracking:
            name = Path(folder).resolve().name if folder is not None else "fit"
            start = start_of(self._session, name, "fit", self._settings)
            self._tracking.begin(start, folder, resume=resume)

    def epoch(self, row: Mapping[str, Any], verdict: Verdict) -> None:
        """An epoch is done. It is told before it is saved, so that a run that is killed in between tells it twice."""
        if self._tracking:
            self._tracking.epoch(int(row["epoch"]), *observed(self._session, row, verdict))

    def done(self, reason: str, best_epoch: int | None, diverged: str | None) -> None:
        """The final weights are in the model."""
        if self._tracking:
            scores = {"final/zeros": exact_zeros(self._session.view).get("all", 0.0)}
            scores |= {} if best_epoch is None else {"best_epoch": float(best_epoch)}
            self._end = End("failed" if diverged else "finished", diverged or reason, scores)
            if not self._ends:
                self._tracking.ending = self._end

    def __enter__(self) -> Tracked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            status: Any = "failed" if isinstance(error, Exception) else "interrupted"
            self._tracking.end(End(status, type(error).__name__))
        elif self._ends and self._end is not None:
            self._tracking.end(self._end)
