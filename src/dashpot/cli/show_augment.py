"""``dashpot show-augment``: what augmentation makes of the images of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dashpot.cli.options import RecipeFile, Seed, With, read_recipe


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="show-augment")(show_augment)


def show_augment(
    data: Annotated[Path, typer.Argument(help="A folder of class folders of images, or an .npz file of pixels.")],
    with_: With = None,
    recipe: RecipeFile = None,
    images: Annotated[int, typer.Option("--images", min=1, max=40, help="Lines of the sheet.")] = 8,
    draws: Annotated[int, typer.Option("--draws", min=1, max=20, help="Draws of each image.")] = 7,
    out: Annotated[Path, typer.Option("--out", help="The picture: NAME.png, and NAME.svg beside it.")] = Path(
        "augment.png"
    ),
    seed: Seed = 0,
) -> None:
    """Draw a contact sheet: some images of DATA, each beside what training would see of it. Without techniques: one
    line for each technique on images, at its defaults.
    """
    import numpy as np
    import torch

    from dashpot.cli.sheets import lines_of
    from dashpot.core.errors import ConfigError, DataError
    from dashpot.core.recipe import Recipe
    from dashpot.core.registry import registry
    from dashpot.data import load_problem
    from dashpot.data.images import existing
    from dashpot.report.images.sheet import draw_sheet
    from dashpot.report.style import save
    from dashpot.techniques.augment.picture import PictureTechnique
    from dashpot.techniques.augment.shown import draws_of

    if out.suffix not in (".png", ".svg"):
        raise ConfigError("--out", "a file name that ends in .png or .svg", str(out))
    chosen = read_recipe(recipe, with_)
    existing(data)
    problem = load_problem(data) if data.is_dir() or data.suffix == ".npz" else None
    if problem is None or problem.kind != "image":
        raise DataError(f"{data} must hold images: a folder of class folders, or an .npz file of pixels.")
    prepared = problem.prepare(np.arange(problem.n))
    every = np.random.default_rng(seed).permutation(problem.n)
    rows = torch.as_tensor(np.sort(every[: images if len(chosen) else draws]))
    x, y = prepared.x[rows], prepared.y[rows]
    classes = len(problem.classes) or None
    note = f"Images {', '.join(str(int(row) + 1) for row in rows)} of {problem.n:,}. Seed {seed}."
    if len(chosen):
        lines = lines_of(chosen, prepared, rows, draws, seed)
        figure = draw_sheet(lines, str(chosen), f"{note} The original has a frame.", columns=("original",))
    else:
        lines = [("originals", list(x.numpy()))]
        for name, kind in registry().items():
            if issubclass(kind, PictureTechnique):
                try:
                    lines.append((name, list(draws_of(Recipe((kind(),)), x, y, classes, 1, seed)[0].x.numpy())))
                except DataError:  # not for these images, such as hue for grey ones
                    continue
        figure = draw_sheet(lines, "Techniques on images, at their defaults", note, marked=False)
    png, svg = save(figure, out.with_suffix(""))
    typer.echo(f"{png} and {svg.name}")
