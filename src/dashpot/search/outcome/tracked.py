"""A search that is told to trackers: its settings, then its candidates, the winner and the contributions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dashpot.core.environment import versions
from dashpot.core.fields.codec import dumps
from dashpot.core.recipe import Recipe
from dashpot.data import Problem
from dashpot.report.tune.record import TuneRecord
from dashpot.report.tune.trial_record import TrialRecord, finite
from dashpot.search.config import SearchConfig
from dashpot.tracking.tracker import Candidate, End, Start
from dashpot.tracking.tracking import Tracking, report_files

SETTINGS = ("budget", "trials", "cv", "metric", "epochs", "seed", "sampler", "schedule", "ensemble", "study")


def begin(tracking: Tracking, problem: Problem, config: SearchConfig, folder: Path, *, resume: bool = False) -> None:
    """Tell that a search begins, or goes on."""
    if tracking:
        asked = {name: getattr(config, name) for name in SETTINGS}
        data = {"name": problem.name, "rows": problem.n, "task": problem.task, "fingerprint": problem.fingerprint}
        known = {
            **{f"data.{name}": value for name, value in data.items()},
            **{name: _plain(value) for name, value in asked.items() if value is not None},
            **{f"versions.{name}": value for name, value in versions().items()},
        }
        kept = folder if folder.is_dir() and folder.name != "tune" else None
        tracking.begin(Start(folder.name, "tune", known), kept, resume=resume)


def end(tracking: Tracking, record: TuneRecord, recipe: Recipe, folder: Path | None, *, hurried: bool = False) -> None:
    """Tell what it found.

    Args:
        recipe: of the winner.
        folder: with the report and the figures, where they are kept.
        hurried: the user interrupted it.
    """
    if tracking:
        candidates = [_candidate(one, one.number == record.chosen) for one in record.candidates]
        files = report_files(folder) if folder is not None else ()
        status: Any = "interrupted" if hurried else "finished"
        reason = f"the winner is candidate {record.chosen}, {recipe if len(recipe) else 'no technique'}: {record.why}"
        tracking.end(End(status, reason, scores_of(record), files, candidates, {"winner.toml": dumps(recipe)}))


def scores_of(record: TuneRecord) -> dict[str, float]:
    """Test scores, and contributions with their intervals, by name."""
    found: dict[str, Any] = {}
    for who, scores in (("chosen", record.test.chosen), ("baseline", record.test.baseline)):
        found |= {f"test/{who}/{name}": value for name, value in scores.items()}
    for effect in (*record.contributions, *record.interactions):
        name = f"contribution/{'+'.join(effect.techniques)}/{effect.kind.replace(' ', '_')}"
        found |= {name: effect.difference, f"{name}/low": effect.low, f"{name}/high": effect.high}
    winner = next((one for one in record.candidates if one.number == record.chosen), None)
    if winner is not None:
        found |= {f"winner/{record.proper}": winner.score, f"winner/{record.metric}": winner.metric_score}
    found |= {"seconds": record.seconds, "candidates": len(record.candidates)}
    return {name: float(value) for name, value in found.items() if finite(value) is not None}


def _candidate(trial: TrialRecord, chosen: bool) -> Candidate:
    scores = {
        "score": trial.score,
        "se": trial.se,
        "metric": trial.metric_score,
        "train_score": trial.train_score,
        "epochs": trial.epochs,
        "folds": trial.folds,
        "seconds": trial.seconds,
    }
    known = {name: float(value) for name, value in scores.items() if value is not None and finite(value) is not None}
    settings: Mapping[str, Any] = {name: _plain(value) for name, value in trial.params.items()}
    return Candidate(trial.number, trial.recipe, trial.state, settings, known, chosen)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else str(value)
