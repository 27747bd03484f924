"""TensorBoard: one event for each epoch; figures as images; a search as its table of hyper-parameters."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from dashpot.tracking.tracker import End, Start, Tracker

ROOT = "runs/tensorboard"


class TensorBoard(Tracker):
    """Event files that ``tensorboard --logdir PLACE`` shows.

    Args:
        place: the folder of all runs; each has one of its own in it.
        run: its name; by default the run's, with the time.

    Example:
        >>> import dashpot
        >>> dashpot.tracking.TensorBoard("logs", run="first").place
        'logs'
    """

    name = "tensorboard"
    module: ClassVar[str] = "tensorboard"
    options: ClassVar[tuple[str, ...]] = ("run",)

    def __init__(self, place: str | Path = ROOT, *, run: str | None = None) -> None:
        self.place, self.run = str(place), run
        self._writer: Any = None
        self._start = Start("")
        self._last: dict[str, float] = {}

    def begin(self, start: Start) -> str:
        from torch.utils.tensorboard import FileWriter

        summary = _summary()
        name = start.token or self.run or f"{start.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        self._folder = self._free(name) if start.token is None and self.run is None else Path(self.place) / name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._writer, self._start, self._last = FileWriter(str(self._folder)), start, {}
        if start.token is not None:
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog

            # What a killed process wrote after the epoch that is gone on from is not shown.
            self._writer.add_event(Event(session_log=SessionLog(status=SessionLog.START)), start.epochs + 1)
        rows = "\n".join(f"| {name} | {value} |" for name, value in start.parameters.items())
        self._writer.add_summary(summary.text("parameters", f"| parameter | value |\n|---|---|\n{rows}"), start.epochs)
        for title, words in start.texts.items():
            self._writer.add_summary(summary.text(title, f"```\n{words}\n```"), start.epochs)
        self._writer.flush()
        return self._folder.name

    def _free(self, name: str) -> Path:
        """A folder that no other run has."""
        found, k = Path(self.place) / name, 1
        while found.exists():
            found, k = Path(self.place) / f"{name}-{k}", k + 1
        return found

    def epoch(self, number: int, values: Mapping[str, float], notes: Mapping[str, str]) -> None:
        summary = _summary()
        self._scalars(self._writer, values, number)
        self._last = {name: value for name, value in values.items() if name.partition("/")[0] in ("train", "val")}
        for title, words in notes.items():
            self._writer.add_summary(summary.text(title, words), number)
        self._writer.flush()

    def end(self, end: End) -> None:
        from torch.utils.tensorboard import FileWriter

        summary = _summary()
        self._scalars(self._writer, end.scores, 0)
        self._hyper(self._writer, self._start.parameters, {**self._last, **end.scores})
        for path in end.files:
            if path.suffix == ".png":
                self._picture(path)
            elif path.suffix in (".json", ".toml", ".txt"):
                words = path.read_text(encoding="utf-8")
                self._writer.add_summary(summary.text(path.name, f"```\n{words}\n```"), 0)
        for title, words in end.texts.items():
            self._writer.add_summary(summary.text(title, f"```\n{words}\n```"), 0)
        if end.reason:
            self._writer.add_summary(summary.text("ended", f"{end.status}: {end.reason}"), 0)
        self._writer.flush()
        self._writer.close()
        for candidate in end.candidates:
            writer = FileWriter(str(self._folder / candidate.name))
            self._scalars(writer, candidate.scores, 0)
            self._hyper(writer, {**candidate.parameters, "state": candidate.state}, candidate.scores)
            writer.close()

    @staticmethod
    def _scalars(writer: Any, values: Mapping[str, float], step: int) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        # All in one event: an event for each number would take ten times as long.
        writer.add_summary(
            Summary(value=[Summary.Value(tag=name, simple_value=float(value)) for name, value in values.items()]), step
        )

    @staticmethod
    def _hyper(writer: Any, parameters: Mapping[str, Any], scores: Mapping[str, float]) -> None:
        summary = _summary()
        plain = {name: value for name, value in parameters.items() if isinstance(value, bool | int | float | str)}
        for part in summary.hparams(plain, dict(scores)):
            writer.add_summary(part)

    def _picture(self, path: Path) -> None:
        from PIL import Image
        from tensorboard.compat.proto.summary_pb2 import Summary

        with Image.open(path) as image:
            width, height = image.size
        picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes())
        self._writer.add_summary(Summary(value=[Summary.Value(tag=path.stem, image=picture)]), 0)


def _summary() -> Any:
    """torch's makers of TensorBoard's messages, which have no types."""
    return importlib.import_module("torch.utils.tensorboard.summary")
