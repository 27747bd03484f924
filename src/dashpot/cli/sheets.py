"""Contact sheets: images of a data set, and what a training sees of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SHOWN, DRAWS = 8, 7
"""Lines of a sheet, and draws of each image, where nobody says how many."""
STEPS = 1000
"""Of a made-up run, in whose middle schedules are shown."""


def recipe_figure(recipe: Any, prepared: Any, rows: Any, folder: Path, name: str, seed: int = 0) -> dict[str, Any]:
    """The contact sheet of a recipe as ``folder/augment.png`` and ``.svg``, by name; empty where no technique changes
    images, or the data are none.

    Args:
        recipe: all techniques; what does not act on inputs is left out.
        prepared: the data as tensors.
        rows: the training rows, of which some of each class are shown.
        folder: where to; it must exist.
        name: of the data, for the title.
        seed: of the choice and the draws.

    Raises:
        StorageError: a file could not be written.
    """
    from dashpot.core.recipe import Recipe
    from dashpot.report.images.sheet import draw_sheet
    from dashpot.report.style import save
    from dashpot.techniques.augment.shown import on_inputs

    scheduled = any(t.schedules() for t in on_inputs(recipe))
    seen = Recipe(t.at(STEPS // 2, STEPS, 1) for t in on_inputs(recipe))
    if prepared.modality != "image" or not len(seen):
        return {}
    shown = spread(rows, prepared.y, prepared.target.classes, seed)
    note = f"Training images {', '.join(str(int(row) + 1) for row in shown)} of {len(prepared.x):,}, and {DRAWS} draws."
    note += " The original has a frame." + " Strengths are those of the middle of the training." * scheduled
    title = f"{name}: what the training sees with {seen}"
    figure = draw_sheet(lines_of(seen, prepared, shown, DRAWS, seed), title, note, columns=("original",))
    return {"augment": save(figure, folder / "augment")}


def spread(rows: Any, y: Any, classes: Any, seed: int) -> Any:
    """Some of the rows at random, by class and in order: of classes as many of each as there is room for."""
    import numpy as np

    mixed = np.random.default_rng(seed).permutation(np.asarray(rows))
    if classes:
        codes = np.asarray(y)[mixed]
        # The first of every class, then the second ...
        turn = np.array([int((codes[:i] == code).sum()) for i, code in enumerate(codes[: 50 * len(classes)])])
        mixed = mixed[np.argsort(turn, kind="stable")]
    shown = mixed[:SHOWN]
    return shown[np.lexsort((shown, np.asarray(y)[shown]))] if classes else np.sort(shown)


def lines_of(recipe: Any, prepared: Any, rows: Any, draws: int, seed: int) -> list[tuple[str, list[Any]]]:
    """For each row its class or value, its image, and its draws.

    Raises:
        ConflictError: a technique of the recipe acts elsewhere than on inputs.
    """
    import torch

    from dashpot.techniques.augment.shown import draws_of

    index, target = torch.as_tensor(rows), prepared.target
    x, y = prepared.x[index], prepared.y[index]
    drawn = [batch.x.numpy() for batch in draws_of(recipe, x, y, len(target.classes) or None, draws, seed)]
    lines = []
    for i, value in enumerate(y.tolist()):
        name = target.classes[value] if target.classes else f"{value * target.scale + target.mean:.3g}"
        lines.append((short(name), [x[i].numpy(), *(one[i] for one in drawn)]))
    return lines


def short(name: str, most: int = 16) -> str:
    """A name that fits beside a line."""
    return name if len(name) <= most else name[: most - 1] + "…"
