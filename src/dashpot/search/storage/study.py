"""The study, kept by Optuna: a journal file on one machine, any Optuna storage on many."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from dashpot.core.errors import StorageError
from dashpot.search.storage import heartbeat
from dashpot.search.storage.backends import shown
from dashpot.search.storage.opening import open_study
from dashpot.search.storage.retry import with_retries
from dashpot.search.storage.trials import ASIDE, FORMAT, RECORD, TAKEN, candidates, counted, demand_same, full, unwanted

RETRIES = 60.0
"""Seconds for which a storage that does not answer (a restarting server) is retried."""
JOURNAL = "journal.log"
STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
T = TypeVar("T")


class Store:
    """A study that any number of workers share.

    Args:
        url: a journal file (a path), or an Optuna storage URL such as ``postgresql://...`` or ``sqlite:///...``.
        name: of the study.
        settings: what all workers must agree on; a study with others is refused, and which differ is said.
        sampler, seed: of this worker.
        grid: values per distribution, for the grid sampler.

    Attributes:
        created: whether this worker made the study.
        worker: this worker's name.

    Raises:
        StorageError: the storage cannot be reached.
        ConfigError: the study belongs to other data, another space, or another version.
    """

    def __init__(
        self,
        url: str,
        name: str,
        settings: Mapping[str, Any],
        *,
        sampler: str = "tpe",
        seed: int = 0,
        grid: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self.url, self.name = url, name
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._lock, self._monitor = threading.RLock(), heartbeat.Monitor()
        self._storage, self.study, self.created = open_study(url, name, self.worker, sampler, seed, grid)
        self._heartbeat = heartbeat.Heartbeat(lambda beat: self.set(f"beat:{self.worker}", dict(beat)))
        ours = {"format": FORMAT, **settings}
        try:
            if (theirs := self.turn("settings")) is None:
                self.set("settings", ours)
            else:
                demand_same(f"the study {self.name!r} in {shown(self.url)}", theirs, ours)
        except BaseException:  # Ctrl-C leaves no connection open, either
            self.close()
            raise

    def turn(self, key: str, seconds: float = 300.0) -> Any:
        """A value that the study's first worker makes for all; None where that is this worker, since none has begun
        or the one that had is dead.

        Raises:
            StorageError: it did not come.
        """
        began = time.monotonic()
        while True:
            attrs = self._attrs()
            if key in attrs:
                return attrs[key]
            maker = attrs.get("maker")
            if maker == self.worker:
                return None
            if (
                self._monitor.dead(maker, attrs.get(f"beat:{maker}"))
                if maker
                else self.created or time.monotonic() - began > 5
            ):
                self.set("maker", self.worker)
                if not self.created:
                    time.sleep(2)  # others may have seen the same: the last to write is the one
                continue
            if time.monotonic() - began > seconds:
                raise StorageError(
                    f"the study's first worker must set its {key} within {seconds:.0f} s, and did not. Name another"
                    " study (--study)."
                )
            time.sleep(0.3)

    # --- asking and telling ------------------------------------------------------------------------------------------

    def ask(self, suggest: Callable[[Any], T], *, most: int | None = None) -> tuple[int, T] | None:
        """A new trial: its number, and what ``suggest`` made of it; None where the study has ``most`` candidates
        already.
        """
        import optuna

        while True:
            # A trial that is made is in the study for ever: where there is clearly none left, none is made.
            if most is not None and full(self.trials(), most):
                return None
            trial = self.call(self.study.ask)
            self.call(partial(trial.set_user_attr, "worker", self.worker))
            why = unwanted([t for t in self.trials() if t.number <= trial.number], trial.number, most)
            if why is None:
                drawn: list[Any] = []

                def draw(trial: Any = trial, drawn: list[Any] = drawn) -> T:
                    # Asked once more after an error, it must not draw again what the store has already.
                    fresh = optuna.trial.Trial(self.study, trial._trial_id) if drawn else trial
                    drawn.append(fresh)
                    return suggest(fresh)

                return trial.number, self.call(draw)
            self.tell(trial.number, "failed", None, {ASIDE: why})
            if why.startswith("beyond"):
                return None

    def enqueue(self, params: Mapping[str, Any], **attrs: Any) -> None:
        """A point that must be tried next, unless it is in the study already; with attributes, in any case."""
        self.call(lambda: self.study.enqueue_trial(dict(params), user_attrs=attrs, skip_if_exists=not attrs))

    def report(self, number: int, epoch: int, score: float) -> bool:
        """A score at a rung.

        Returns:
            False where the trial is done: another worker has taken it over.
        """
        import optuna

        try:
            self.call(lambda: self.study._storage.set_trial_intermediate_value(self._id(number), epoch, score))
        except optuna.exceptions.UpdateFinishedTrialError:
            return False
        return True

    def tell(self, number: int, state: str, score: float | None, attrs: Mapping[str, Any]) -> bool:
        """A trial is done: ``complete``, ``pruned`` or ``failed``.

        The change of state is atomic: of two workers that tell, one succeeds.

        Returns:
            False where it was done already by another worker: then it is not counted again.
        """
        import optuna

        storage, values = self.study._storage, None if state == "failed" or score is None else [score]

        def once() -> bool:
            trial = storage.get_trial(trial_id := self._id(number))
            if trial.state.is_finished():
                # Either another was first, or this worker was, and the answer was lost when the server restarted.
                return counted(trial) and state != "failed" and trial.user_attrs.get("worker") == self.worker
            for key, value in attrs.items():
                storage.set_trial_user_attr(trial_id, key, value)
            if state == "pruned" and values:
                storage.set_trial_intermediate_value(
                    trial_id, int(attrs.get(RECORD, attrs).get("epochs", 0)) + 1, values[0]
                )
            return bool(
                storage.set_trial_state_values(trial_id, state=optuna.trial.TrialState[STATES[state]], values=values)
            )

        try:
            return self.call(once)
        except optuna.exceptions.UpdateFinishedTrialError:
            return self.call(once)

    def _id(self, number: int) -> int:
        return int(self.study._storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number))

    def trials(self) -> list[Any]:
        """Optuna's frozen trials; the place of each is its number."""
        return self.call(lambda: self.study.get_trials(deepcopy=False))

    def unfinished(self) -> int:
        """How many candidates wait or are being trained, by any worker."""
        return sum(not t.state.is_finished() for t in self.trials())

    # --- what is shared besides trials -------------------------------------------------------------------------------

    def _attrs(self) -> dict[str, Any]:
        return self.call(lambda: self.study.user_attrs)

    def get(self, key: str) -> Any:
        """A value that some worker has set, or None."""
        return self._attrs().get(key)

    def set(self, key: str, value: Any) -> None:
        """Set a value for all workers."""
        self.call(lambda: self.study.set_user_attr(key, value))

    def count(self, name: str, more: int = 0) -> int:
        """How many of ``name`` all workers have counted so far, and so many more; each counts for itself, so that none
        is lost.
        """
        attrs, own = self._attrs(), f"{name}:{self.worker}"
        if more:
            self.set(own, int(attrs.get(own, 0)) + more)
        return sum(int(value) for key, value in attrs.items() if key.startswith(f"{name}:"))

    # --- heartbeats and taking over ----------------------------------------------------------------------------------

    def take_over(self) -> int:
        """Give the unfinished candidates of dead workers back to the queue, each once.

        A worker is dead if it is a process of this machine that runs no more, or if its heartbeat has not changed
        for a minute.

        Returns:
            How many.
        """
        attrs, taken = self._attrs(), 0
        for trial in self.trials():
            owner = trial.user_attrs.get("worker")
            if trial.state.name != "RUNNING" or owner == self.worker:
                continue
            if self._monitor.dead(str(owner or f"trial {trial.number}"), attrs.get(f"beat:{owner}")):
                self.tell(trial.number, "failed", None, {TAKEN: self.worker})
        # A candidate without a running trial gets a copy, even if the worker that took it over was killed before
        # making one. Of two copies, the one with the lower number is trained.
        for first, family in candidates(self.trials()).items():
            if not any(map(counted, family)):
                # All that is known of it: a worker may have been killed before it had drawn everything.
                drawn = [{**t.system_attrs.get("fixed_params", {}), **t.params} for t in family]
                self.enqueue(max(drawn, key=len), again=first)
                taken += 1
        return taken

    def close(self) -> None:
        """End the heartbeats; what this worker has not finished may be taken over at once."""
        if self._heartbeat.ended:
            return
        self._heartbeat.stop()
        # A storage that does not answer now is not retried: the heartbeats of this worker end anyway.
        with contextlib.suppress(Exception), self._lock:
            self.study.set_user_attr(f"beat:{self.worker}", heartbeat.GONE)
        self._heartbeat.join()
        with contextlib.suppress(Exception):  # a connection that is broken anyway
            engine = getattr(self._storage, "engine", None)
            engine.dispose() if engine is not None else self._storage.close()

    def call(self, action: Callable[[], T]) -> T:
        """An action on the storage, retried while it does not answer.

        Raises:
            StorageError: it did not answer for a minute, or refused.
        """

        def locked() -> T:
            with self._lock:
                return action()

        return with_retries(locked, self._storage, self.url, self.name, RETRIES)
