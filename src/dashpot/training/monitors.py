"""The scores that techniques and schedules watch, against those that are computed."""

from __future__ import annotations

from typing import Any

import torch

from dashpot.core.errors import ConflictError, UnknownNameError
from dashpot.core.recipe import Recipe
from dashpot.evaluation.losses import SCORES
from dashpot.evaluation.refined import REFINED, refinable
from dashpot.techniques.stopping.best_weights import HELD_OUT, Stopping
from dashpot.training.batches import Batches
from dashpot.training.plateau import Plateau


def check_monitors(
    recipe: Recipe, held_out: Batches | None, schedule: Any, targets: str | None = None, y: Any = None
) -> None:
    """Refuse to monitor a score that is not computed; once the ``targets`` are known (and some of them, ``y``), any
    other name.

    Raises:
        ConflictError: a score of validation rows, where there are none.
        UnknownNameError: a score that is not computed.
    """
    parts = ("train", "val") if held_out is not None else ("train",)
    scores: list[str] = []
    if targets:
        scores += SCORES[targets]
        single = isinstance(y, torch.Tensor) and y.numel() == len(y)
        scores += ["balanced_accuracy"] if targets == "multilabel" and single else []
        scores += [REFINED] if isinstance(y, torch.Tensor) and refinable(y, targets) else []
    known = ["objective", *(f"{part}_{name}" for part in parts for name in scores)] if targets else []
    watching: list[tuple[Any, str, tuple[str, ...]]] = [
        (t, type(t).__name__, t.watching) for t in recipe if isinstance(t, Stopping)
    ]
    # Of a technique of another package its field alone is known.
    watching += [(t, "", (str(getattr(t, "monitor", "")),)) for t in recipe if not isinstance(t, Stopping)]
    watching += [(schedule, "schedule", (schedule.monitor,))] if isinstance(schedule, Plateau) else []
    for technique, name, monitors in watching:
        for monitor in monitors:
            if held_out is None and monitor.startswith(HELD_OUT):
                raise ConflictError(
                    f"{technique} watches a validation score, but there are no validation data. Pass valid=, or"
                    " monitor='train_loss'."
                )
            if known and name and monitor not in known:
                raise UnknownNameError(f"{name}.monitor", monitor, known)
