"""``Log``: trackers beside a loop of one's own, with one call for each epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from dashpot.core.environment import versions
from dashpot.core.fields.codec import dumps
from dashpot.core.points import Verdict
from dashpot.core.recipe import Recipe
from dashpot.core.running.session import Session
from dashpot.tracking.observed import exact_zeros, observed, parameters_of
from dashpot.tracking.tracker import End, Plain, Start, Status
from dashpot.tracking.tracking import Tracking


class Log:
    """A session's run, told to trackers.

    Args:
        session: attached; a state that it goes on from is loaded before.
        log: see :func:`dashpot.tracking.trackers_of`.
        name: of the run.
        parameters: further ones, such as the learning rate or a fingerprint of the data.
        folder: where the trackers' own names of this run are kept, so that a resumed run goes on with them.
        resume: go on with the runs that ``folder`` names, where it does.

    Raises:
        ConfigError: as :func:`dashpot.tracking.trackers_of`.

    Example:
        >>> import tempfile, torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        >>> with (
        ...     tempfile.TemporaryDirectory() as place,
        ...     (dashpot.L1(1e-3) | dashpot.EarlyStopping()).attach(model, optimizer) as session,
        ...     dashpot.tracking.Log(session, dashpot.tracking.TensorBoard(place)) as log,
        ... ):
        ...     for _ in range(3):
        ...         optimizer.zero_grad(); loss = model(torch.ones(2, 4)).square().mean(); loss.backward()
        ...         _ = optimizer.step()
        ...         verdict = log.epoch({"objective": float(loss.detach()), "val_loss": float(loss.detach())})
        >>> verdict.best
        True
    """

    def __init__(
        self,
        session: Session,
        log: Any,
        *,
        name: str = "loop",
        parameters: Mapping[str, Plain] | None = None,
        folder: str | Path | None = None,
        resume: bool = False,
    ) -> None:
        self.session = session
        self._tracking, self._own = Tracking.of(log)
        self._reason, self._stopped = "", False
        start = start_of(session, name, "loop", parameters or {})
        self._tracking.begin(start, folder, resume=resume)

    def epoch(self, scores: Mapping[str, float]) -> Verdict:
        """Close an epoch, in place of ``session.epoch``, which it calls, and log it. Every rank calls it.

        Args:
            scores: ``train_*`` and ``val_*``, as for :meth:`Session.epoch`; ``objective`` is the mean loss of the
                batches as trained.
        """
        verdict = self.session.epoch(scores)
        self.log(scores, verdict)
        return verdict

    def log(self, scores: Mapping[str, float], verdict: Verdict) -> None:
        """Log an epoch that ``session.epoch`` has closed."""
        if self._tracking:
            self._tracking.epoch(self.session.epochs, *observed(self.session, scores, verdict))
        self._reason = verdict.reason if verdict.stop else self._reason

    def end(self, status: Status = "finished", reason: str = "", files: tuple[Path, ...] = ()) -> None:
        """The run is over. Leaving ``with`` calls it; a second call does nothing."""
        if self._own and self._tracking:
            # Where it failed the other ranks may not come to count.
            shares = {"final/zeros": exact_zeros(self.session.view).get("all", 0.0)} if status == "finished" else {}
            self._tracking.end(End(status, reason or self._reason, shares, files))

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.end()
        else:
            self.end("failed" if isinstance(error, Exception) else "interrupted", type(error).__name__)


def start_of(session: Session, name: str, kind: str, parameters: Mapping[str, Plain]) -> Start:
    """What a session's run begins with."""
    recipe = Recipe.coerce(tuple(session.recipe))
    own = {f"versions.{library}": version for library, version in versions().items()}
    known = {**parameters_of(recipe), "seed": session.seed, **parameters, **own}
    texts = {"recipe.toml": dumps(recipe), "plan": session.plan()}
    return Start(name, kind, known, texts, session.epochs)
