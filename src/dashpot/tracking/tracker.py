"""``Tracker``: the three methods by which a run is told to somebody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Plain = str | int | float
Status = Literal["finished", "failed", "interrupted"]


class TrackerWarning(UserWarning):
    """A tracker failed; the training went on without it."""


@dataclass(frozen=True)
class Start:
    """What a run begins with.

    Attributes:
        name: of the run, such as ``"fit-3"``.
        kind: ``"fit"``, ``"tune"`` or ``"loop"``.
        parameters: settings and versions by name; the recipe as text, each technique's fields as ``"l1.strength"``.
        texts: longer ones by name: the recipe as TOML, the plan.
        epochs: completed before, in a run that goes on.
        token: what :meth:`Tracker.begin` returned then; None in a new run.
    """

    name: str
    kind: str = "fit"
    parameters: Mapping[str, Plain] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    epochs: int = 0
    token: Any = None


@dataclass(frozen=True)
class Candidate:
    """A candidate of a search.

    Attributes:
        number: in the study.
        recipe: in words.
        state: ``"complete"``, ``"pruned"`` or ``"failed"``.
        parameters: its settings.
        scores: its final scores, those that it has.
        chosen: it is the winner.
    """

    number: int
    recipe: str
    state: str
    parameters: Mapping[str, Plain]
    scores: Mapping[str, float]
    chosen: bool = False

    @property
    def name(self) -> str:
        """Such as ``"candidate-7"``."""
        return f"candidate-{self.number}"


@dataclass(frozen=True)
class End:
    """What a run ends with.

    Attributes:
        status: ``"finished"``, ``"failed"`` or ``"interrupted"``.
        reason: why, in a few words.
        scores: of the final model, and contributions, by name.
        files: the report and the figures.
        candidates: of a search.
        texts: longer ones by name, such as the winner of a search as TOML.
    """

    status: Status = "finished"
    reason: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    files: Sequence[Path] = ()
    candidates: Sequence[Candidate] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


class Tracker:
    """The base class of trackers. Whatever has these three methods can be one; each may raise what it likes: the run
    then goes on without it, with one warning.

    Example:
        >>> import torch, dashpot
        >>> class Printed(dashpot.tracking.Tracker):
        ...     def epoch(self, number, values, notes):
        ...         print(number, sorted(values)[:2])
        >>> x = torch.randn(64, 5)
        >>> result = dashpot.fit(torch.nn.Linear(5, 1), (x, x[:, :1]), epochs=1, log=Printed(), progress=False)
        1 ['loss/data', 'loss/penalty']
    """

    name: str = "tracker"
    """In warnings, and in the file by which a resumed run finds its earlier one."""

    def begin(self, start: Start) -> Any:
        """A run begins, or goes on where ``start.token`` is given; a tracker object may begin again after an end.

        Returns:
            Plain JSON by which a later process finds this run, or None.
        """
        return None

    def epoch(self, number: int, values: Mapping[str, float], notes: Mapping[str, str]) -> None:
        """An epoch is done; 1 is the first. In a run that was killed and resumed the last one may come twice, with the
        same numbers.
        """

    def end(self, end: End) -> None:
        """The run is over. After it the process may end at once, so all must be written."""
