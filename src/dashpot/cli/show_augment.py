"""``dashpot show-augment``: what augmentation makes of the images or texts of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dashpot.cli.options import RecipeFile, Seed, With, data_path, read_recipe
from dashpot.cli.reading import Encoding

if TYPE_CHECKING:
    from dashpot.data.texts.files import TextFile

SHOWN = 1_000
"""Characters of a text that are printed."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="show-augment")(show_augment)


def show_augment(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            parser=data_path,
            help="A folder of class folders of images, an .npz file of pixels, or a file of texts.",
        ),
    ],
    with_: With = None,
    recipe: RecipeFile = None,
    images: Annotated[int, typer.Option("--images", min=1, max=40, help="Lines of the sheet, or texts.")] = 8,
    draws: Annotated[int, typer.Option("--draws", min=1, max=20, help="Draws of each.")] = 7,
    out: Annotated[Path, typer.Option("--out", help="The picture: NAME.png, and NAME.svg beside it.")] = Path(
        "augment.png"
    ),
    seed: Seed = 0,
    column: Annotated[str | None, typer.Option("--column", help="Of a file of texts: the column with them.")] = None,
    encoding: Encoding = None,
) -> None:
    """Draw a contact sheet: some images of DATA, each beside what training would see of it. Without techniques: one
    line for each technique on images, at its defaults, but acting on every image.

    Of a file of texts (.txt, .csv, .tsv, .jsonl) print some, each above its draws.
    """
    import numpy as np
    import torch

    from dashpot.cli.sheets import lines_of
    from dashpot.core.errors import ConfigError, DataError
    from dashpot.core.recipe import Recipe
    from dashpot.core.registry import registry
    from dashpot.data import load_problem
    from dashpot.data.pictures.images import existing
    from dashpot.data.texts.files import TextFile
    from dashpot.report.images.sheet import draw_sheet
    from dashpot.report.style import save
    from dashpot.techniques.augment.picture import PictureTechnique
    from dashpot.techniques.augment.shown import draws_of
    from dashpot.techniques.augment.text.base import TextTechnique

    if out.suffix not in (".png", ".svg"):
        raise ConfigError("--out", "a file name that ends in .png or .svg", str(out))
    chosen = read_recipe(recipe, with_)
    existing(data)
    of_texts = data.suffix in (".txt", ".jsonl") or column is not None or encoding is not None
    if of_texts or any(isinstance(t, TextTechnique) for t in chosen):
        _show_texts(TextFile(data, column, encoding), chosen, images, draws, seed)
        return
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
                # What it does, not how often.
                technique = kind(**({"p": 1.0} if "p" in kind.fields() else {}))
                try:
                    lines.append((name, list(draws_of(Recipe((technique,)), x, y, classes, 1, seed)[0].x.numpy())))
                except DataError:  # not for these images, such as hue for grey ones
                    continue
        figure = draw_sheet(lines, "Techniques on images, at their defaults, on every image", note, marked=False)
    png, svg = save(figure, out.with_suffix(""))
    typer.echo(f"{png} and {svg.name}")


def _show_texts(file: TextFile, recipe: Any, lines: int, draws: int, seed: int) -> None:
    """Some texts, each above its draws; without techniques above a draw of each technique on texts."""
    import numpy as np

    from dashpot.core.errors import ConfigError
    from dashpot.core.registry import registry
    from dashpot.report.texts.words import as_shown
    from dashpot.techniques.augment.text.base import TextTechnique
    from dashpot.training.text_transform import TextTransform

    texts = [row[file.column] for row in file.rows()]
    some = np.sort(np.random.default_rng(seed).permutation(len(texts))[: lines if len(recipe) else 2]).tolist()
    transforms = {}
    for name, kind in registry().items() if not len(recipe) else ():
        if issubclass(kind, TextTechnique):
            try:
                transforms[name] = TextTransform(kind(), seed)
            except ConfigError:  # needs a table or a translator
                continue
    drawn = [(str(draw + 1), TextTransform(recipe, seed), draw) for draw in range(draws if len(recipe) else 0)]
    drawn += [(name, transform, 0) for name, transform in transforms.items()]
    width = max(len("original"), *(len(name) for name, *_ in drawn))
    for place in some:
        typer.echo(f"{'original':>{width}}  {as_shown(texts[place], SHOWN)}")
        for name, transform, epoch in drawn:
            found = transform(texts[place], index=place, epoch=epoch)
            typer.echo(f"{name:>{width}}  {as_shown(found, SHOWN) if found != texts[place] else '(the same)'}")
        typer.echo()
