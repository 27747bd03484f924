"""Weights & Biases, and trackio, whose interface is the same: one call for each epoch; a search as a table."""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

from dashpot.tracking.tracker import End, Start, Tracker


class WandB(Tracker):
    """Runs of Weights & Biases; without a network set ``WANDB_MODE=offline``, and ``wandb sync`` sends them later.

    Args:
        place: the project.
        run: the run's name; by default that of the training.
        entity: the user or team.
        mode: ``"online"``, ``"offline"`` or ``"disabled"``; by default what ``WANDB_MODE`` says.

    Example:
        >>> import dashpot
        >>> dashpot.tracking.WandB("digits", mode="offline").place
        'digits'
    """

    name = "wandb"
    module: ClassVar[str] = "wandb"
    options: ClassVar[tuple[str, ...]] = ("run", "entity", "mode")

    def __init__(
        self, place: str = "dashpot", *, run: str | None = None, entity: str | None = None, mode: str | None = None
    ) -> None:
        self.place, self.run, self.entity, self.mode = place, run, entity, mode
        self._run: Any = None
        self._own = ""

    def begin(self, start: Start) -> Any:
        library = importlib.import_module(self.module)
        own = uuid.uuid4().hex[:8] if start.token is None else str(start.token)
        options = {"entity": self.entity, "mode": self.mode}
        self._run = library.init(
            project=self.place,
            name=self.run or start.name,
            id=own,
            # Of an id that nobody knows yet this begins a run; offline the parts are joined when they are sent.
            resume="allow" if start.token is not None and self.mode != "offline" else None,
            job_type=start.kind,
            config={**start.parameters, **start.texts},
            reinit="create_new",
            **{name: value for name, value in options.items() if value is not None},
        )
        self._own = str(own)
        return own

    def epoch(self, number: int, values: Mapping[str, float], notes: Mapping[str, str]) -> None:
        self._run.log({**values, "epoch": number}, step=number)
        for title, words in notes.items():
            self._run.summary[title] = words

    def end(self, end: End) -> None:
        library = importlib.import_module(self.module)
        self._summarize({**end.scores, **end.texts, "ended": f"{end.status}: {end.reason}"})
        if end.candidates:
            columns, rows = table_of(end)
            self._run.log({"candidates": library.Table(columns=columns, data=rows)})
        pictures = [path for path in end.files if path.suffix == ".png"]
        if pictures:
            self._run.log({path.stem: library.Image(str(path)) for path in pictures})
        if end.files:
            artifact = library.Artifact(f"report-{self._own}", type="report")
            for path in end.files:
                artifact.add_file(str(path))
            self._run.log_artifact(artifact)
        self._finish(end)

    def _summarize(self, last: Mapping[str, Any]) -> None:
        """What a run ends with."""
        self._run.summary.update(last)

    def _finish(self, end: End) -> None:
        self._run.finish(exit_code=0 if end.status == "finished" else 1)


class Trackio(WandB):
    """Runs of trackio, on this machine; ``trackio show`` opens them.

    Args:
        place: the project.
        run: the run's name; by default that of the training. A resumed run goes on under the same name.

    Example:
        >>> import dashpot
        >>> dashpot.tracking.Trackio("digits").name
        'trackio'
    """

    name = "trackio"
    module: ClassVar[str] = "trackio"
    options: ClassVar[tuple[str, ...]] = ("run",)

    def __init__(self, place: str = "dashpot", *, run: str | None = None) -> None:
        super().__init__(place, run=run)

    def begin(self, start: Start) -> Any:
        library = importlib.import_module(self.module)
        # It knows runs by their names.
        own = start.token or self.run or f"{start.name}-{uuid.uuid4().hex[:8]}"
        self._run = library.init(
            project=self.place,
            name=own,
            resume="allow" if start.token is not None else "never",
            config={**start.parameters, **start.texts},
        )
        self._own = str(own)
        return own

    def epoch(self, number: int, values: Mapping[str, float], notes: Mapping[str, str]) -> None:
        self._run.log({**values, **notes}, step=number)

    def _summarize(self, last: Mapping[str, Any]) -> None:
        self._run.log(dict(last))

    def _finish(self, end: End) -> None:
        self._run.finish()


def table_of(end: End) -> tuple[list[str], list[list[Any]]]:
    """The candidates of a search: columns, and a row for each."""
    settings = list(dict.fromkeys(name for one in end.candidates for name in one.parameters))
    scores = list(dict.fromkeys(name for one in end.candidates for name in one.scores))
    rows = [
        [one.number, one.state, one.chosen, one.recipe]
        + [one.scores.get(name) for name in scores]
        + [None if one.parameters.get(name) is None else str(one.parameters[name]) for name in settings]
        for one in end.candidates
    ]
    return ["number", "state", "chosen", "recipe", *scores, *settings], rows
