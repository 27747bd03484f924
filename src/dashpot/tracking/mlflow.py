"""MLflow: epochs in few calls; a search as nested runs."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from dashpot.tracking.tracker import Candidate, End, Start, Tracker

STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""Where the user says nothing: a server that is gone must not hold a training up for minutes."""
AT_ONCE, LONGEST = 100, 500
"""What all servers take: parameters and metrics in one call, and characters of a parameter."""
SHARE = 40
"""An epoch waits with others until so many times as long as the last call took have passed: short epochs would else
wait for the server more than they train.
"""


class MLflow(Tracker):
    """Runs of an MLflow server, or of a folder (``mlflow ui --backend-store-uri sqlite:///FOLDER/mlflow.db``).

    Args:
        place: the address of a server, as ``MLFLOW_TRACKING_URI``, which counts where this is None; or a folder.
        experiment: its name; made where there is none.
        run: the run's name; by default that of the training.

    Example:
        >>> import dashpot
        >>> dashpot.tracking.MLflow("http://127.0.0.1:5000").experiment
        'dashpot'
    """

    name = "mlflow"
    module: ClassVar[str] = "mlflow"
    options: ClassVar[tuple[str, ...]] = ("experiment", "run")

    def __init__(self, place: str | Path | None = None, *, experiment: str = "dashpot", run: str | None = None) -> None:
        self.place, self.experiment, self.run = None if place is None else str(place), experiment, run
        self._client: Any = None
        self._id = ""
        self._waiting: list[tuple[str, float, int, int]] = []
        self._sent, self._took = 0.0, 0.0

    def begin(self, start: Start) -> str:
        self._waiting, self._sent, self._took = [], 0.0, 0.0
        with _patient():
            from mlflow.tracking import MlflowClient

            uri, artifacts = self._where()
            self._client = MlflowClient(tracking_uri=uri)
            if start.token is not None:
                self._id = str(start.token)
                self._client.update_run(self._id, status="RUNNING")
                return self._id
            self._experiment_id = self._experiment(artifacts)
            made = self._client.create_run(
                self._experiment_id,
                run_name=self.run or start.name,
                tags={"dashpot.kind": start.kind},
            )
            self._id = str(made.info.run_id)
            self._parameters(self._id, start.parameters)
            for title, words in start.texts.items():
                self._client.log_text(self._id, words, title if "." in title else f"{title}.txt")
        return self._id

    def epoch(self, number: int, values: Mapping[str, float], notes: Mapping[str, str]) -> None:
        now = int(time.time() * 1000)
        self._waiting += [(_key(name), float(value), now, number) for name, value in values.items()]
        if not notes and time.monotonic() - self._sent < SHARE * self._took:
            return
        with _patient():
            self._send()
            for title, words in notes.items():
                self._client.set_tag(self._id, f"dashpot.{title}", words)

    def end(self, end: End) -> None:
        with _patient():
            self._send()
            self._metrics(self._id, end.scores, 0)
            for path in end.files:
                self._client.log_artifact(self._id, str(path))
            for title, words in end.texts.items():
                self._client.log_text(self._id, words, title)
            if end.candidates:
                self._experiment_id = self._client.get_run(self._id).info.experiment_id
                for candidate in end.candidates:
                    self._nested(candidate)
            if end.reason:
                self._client.set_tag(self._id, "dashpot.ended", end.reason)
            self._client.set_terminated(self._id, STATUS[end.status])

    def _send(self) -> None:
        """The epochs that wait, in as few calls as a server takes."""
        from mlflow.entities import Metric

        began = time.monotonic()
        for some in _parts(self._waiting):
            self._client.log_batch(self._id, metrics=[Metric(*one) for one in some])
        self._waiting, self._sent = [], time.monotonic()
        self._took = self._sent - began

    def _where(self) -> tuple[str | None, str | None]:
        """The address of the store, and where its artifacts lie if that is not its own matter."""
        if self.place is None or re.match(r"[a-z+]+:", self.place):
            return self.place, None
        folder = Path(self.place).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri()

    def _experiment(self, artifacts: str | None) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        if found is None:
            from mlflow.exceptions import MlflowException

            try:
                return str(self._client.create_experiment(self.experiment, artifact_location=artifacts))
            except MlflowException:  # another process was quicker
                found = self._client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _nested(self, candidate: Candidate) -> None:
        tags = {"mlflow.parentRunId": self._id, "dashpot.recipe": candidate.recipe, "dashpot.state": candidate.state}
        if candidate.chosen:
            tags["dashpot.chosen"] = "true"
        own = self._client.create_run(self._experiment_id, run_name=candidate.name, tags=tags).info.run_id
        self._parameters(own, candidate.parameters)
        self._metrics(own, candidate.scores, 0)
        self._client.set_terminated(own, "FAILED" if candidate.state == "failed" else "FINISHED")

    def _parameters(self, run: str, parameters: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        for some in _parts(list(parameters.items())):
            self._client.log_batch(run, params=[Param(_key(name), str(value)[:LONGEST]) for name, value in some])

    def _metrics(self, run: str, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for some in _parts(list(values.items())):
            metrics = [Metric(_key(name), float(value), now, step) for name, value in some]
            self._client.log_batch(run, metrics=metrics)


def _parts(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE)]


def _key(name: str) -> str:
    """A name of the characters that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name)


@contextlib.contextmanager
def _patient() -> Iterator[None]:
    new = {name: value for name, value in PATIENCE.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)
