"""Robustness in the reports of ``dashpot fit`` and ``dashpot tune``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def robustness_part(
    problem: Any,
    prepared: Any,
    network: Any,
    rows: Any,
    folder: Path,
    *,
    decision: Any = None,
    budget: float | None = None,
    seed: int = 0,
    note: Callable[[str], None],
) -> tuple[dict[str, Any], dict[str, tuple[Path, Path]]]:
    """What a report holds of it, and its figure, which is written; both empty where nothing could be measured.

    Args:
        problem, prepared, network, rows, decision, seed: as :func:`~dashpot.comparison.brief_robustness` takes them.
        budget: of the training, of which it takes a small share at most.
        note: told where measuring failed.
    """
    from dashpot.comparison.brief_robustness import brief_robustness, seconds_for
    from dashpot.report.robustness.figure import robustness_figure

    try:
        found = brief_robustness(problem, prepared, network, rows, decision, seconds=seconds_for(budget), seed=seed)
    except Exception as error:  # whatever a network of the user's own does: the training counts
        note(f"robustness could not be measured: {error}")
        return {}, {}
    if found is None:
        return {}, {}
    return found.to_dict(), {"robustness": robustness_figure(found, folder / "robustness")}
