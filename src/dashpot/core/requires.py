"""``Requires``: what a technique needs of data, task and loop, readable without a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from dashpot.core.errors import ConfigError, ConflictError

Modality = Literal["table", "image", "signal", "text"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
Task = Literal["classification", "regression", "multilabel"]
TASK_OF: Mapping[str, Task] = {"classes": "classification", "values": "regression", "multilabel": "multilabel"}
"""The task that a kind of targets means."""


def check_modality(modality: object) -> None:
    """Refuse what is no kind of inputs; None does not say.

    Raises:
        ConfigError: anything else.
    """
    if modality not in (None, *MODALITIES):
        raise ConfigError("modality", f"one of {', '.join(MODALITIES)} or None", modality)


@dataclass(frozen=True)
class Requires:
    """What a technique needs. A search leaves out what does not fit; ``attach`` and ``fit`` refuse it.

    Attributes:
        modality: the kinds of input it is for; empty: any.
        task: the tasks it is for; empty: any.
        float_input: inputs must be floating point.
        closure: the optimizer is stepped with a closure; true of every technique with ``evaluations`` above 1.

    Example:
        >>> import dashpot
        >>> dashpot.LabelSmoothing.requires.task, dashpot.SAM.requires.closure
        (('classification', 'multilabel'), True)
        >>> dashpot.LabelSmoothing.requires.fits("table", "regression")
        False
    """

    modality: tuple[Modality, ...] = ()
    task: tuple[Task, ...] = ()
    float_input: bool = False
    closure: bool = False

    def fits(self, modality: str | None = None, task: str | None = None) -> bool:
        """Whether it is for such inputs and such a task; None: not known."""
        return not (self.modality and modality is not None and modality not in self.modality) and not (
            self.task and task is not None and task not in self.task
        )

    def check(self, name: str, *, targets: str | None, closure: bool, modality: str | None = None) -> None:
        """Refuse at attach what does not fit.

        Args:
            name: the technique's class.
            targets: ``"classes"``, ``"values"``, ``"multilabel"`` or None: not known.
            closure: the loop steps with a closure.
            modality: of the inputs, or None: not known.

        Raises:
            ConflictError: with the way out.
        """
        if self.closure and not closure:
            raise ConflictError(
                f"{name} needs a second gradient in each step. Call optimizer.step(closure) in the loop and attach with"
                " closure=True."
            )
        if not self.fits(modality=modality):
            kinds = {"table": "tables", "image": "images", "signal": "signals", "text": "text"}
            known = " or ".join(kinds[kind] for kind in self.modality)
            way = "Leave it out."
            if modality == "table" and "text" in self.modality:  # whose columns of sentences are topics by default
                way = "Say kind='text' (--kind text) if columns hold texts, or leave it out."
            raise ConflictError(f"{name} is for {known}, but the inputs are {kinds[modality or '']}. {way}")
        task = TASK_OF.get(targets or "")
        if task is not None and not self.fits(task=task):
            way = f"Leave it out for {task}."
            if task == "multilabel" and "regression" in self.task:
                way = "Pass them as floats with targets='values', or leave it out."
            elif task == "regression" and "multilabel" in self.task:
                way = "Say targets='multilabel' if they are yes and no, or leave it out."
            raise ConflictError(f"{name} is for {' or '.join(self.task)}, but the targets are {targets}. {way}")
