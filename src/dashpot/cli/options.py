"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dashpot.core.errors import ConfigError, StorageError
from dashpot.core.language import say

if TYPE_CHECKING:
    from dashpot.core.recipe import Recipe


def data_path(text: str) -> Path:
    """A path, or the copy of what is at a URL."""
    from dashpot.data.files.remote import at_hand

    try:
        found = at_hand(text)
    except ConfigError as error:  # which the parser would put into words of its own
        raise StorageError(str(error)) from error
    if found.is_dir() and any((found / name).is_file() for name in ("tune.json", "recipe.toml")):
        run = quote(text)
        raise StorageError(
            f"DATA must be data, and {text} is the folder of a run. To go on with it: dashpot tune --resume {run}, or"
            f" the same dashpot fit DATA ... --out {run} --resume."
        )
    return found


Data = Annotated[
    Path | None,
    typer.Argument(
        parser=data_path,
        metavar="DATA",
        help=(
            "CSV, CSV.gz, JSON lines, Parquet, .npz, or a folder of class folders of images or texts; or a URL of one"
            " (https://, s3://, gs://). Without it: scikit-learn's digits."
        ),
        show_default=False,
    ),
]
TargetName = Annotated[str | None, typer.Option("--target", help="The column to predict.")]
Task = Annotated[
    str | None, typer.Option("--task", help="classification or regression; guessed from the target by default.")
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="The column that says how much each row counts: 0 is absent, 2 is two rows. It is no input.",
        metavar="COLUMN",
    ),
]


def technique_names(incomplete: str) -> list[tuple[str, str]]:
    """For the shell's completion: names of techniques, and what they do."""
    from dashpot.core.registry import summaries

    return [(name, say(summary)) for name, summary in summaries().items() if name.startswith(incomplete)]


With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        help="A technique, such as mixup:alpha=0.2; repeat for more.",
        metavar="TECHNIQUE",
        autocompletion=technique_names,
    ),
]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", help="A recipe.toml; --with adds to it.")]
Out = Annotated[Path | None, typer.Option("--out", help="A new folder for the results; runs/<command>-<n> by default.")]
Seed = Annotated[int, typer.Option("--seed", min=0)]
Epochs = Annotated[int | None, typer.Option("--epochs", min=1, help="By default about 3,000 steps (1,000 for images).")]
Tta = Annotated[
    list[str] | None,
    typer.Option(
        "--tta",
        help=(
            "Of images: predict by the mean over versions of each: flip (both mirror images), or techniques such as"
            " translation; repeat for more. none: without. auto, of tune the default: flip where the recipe does;"
            " for fit, if the loss on the validation rows is lower with it."
        ),
        metavar="TECHNIQUE",
    ),
]
TtaDraws = Annotated[
    int | None,
    typer.Option("--tta-draws", help="Versions beside the image itself. [default: 8; of flips all]", min=1),
]
OwnTokenizer = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        help="Of a run with a tokenizer of your own: MODULE:FUNCTION, as in training.",
        metavar="FUNCTION",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help=(
            "A network of your own in place of the built-in one: MODULE:FUNCTION or FILE.py:FUNCTION, which returns a"
            " fresh torch.nn.Module. It is trained on standardized data."
        ),
        metavar="FUNCTION",
    ),
]
Monotone = Annotated[
    list[str] | None,
    typer.Option(
        "--monotone",
        help=(
            "A numeric column of a table with which the prediction never falls (=1) or never rises (=-1), certified by"
            " the network's construction; of two classes the probability of the second one; repeat for more."
        ),
        metavar="COLUMN=1|-1",
    ),
]
Robustness = Annotated[
    bool,
    typer.Option(
        "--robustness/--no-robustness",
        help="Report how the score on test rows falls as inputs get worse; seconds, 1 % of a budget at most.",
    ),
]
Log = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        help=(
            "A tracker that is told everything: tensorboard, mlflow, wandb or trackio, with a place as in"
            " tensorboard:runs or mlflow:http://host:5000,experiment=digits; repeat for more."
        ),
        metavar="TRACKER",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")]


def read_tta(texts: list[str] | None, draws: int | None) -> Any:
    """What ``--tta`` and ``--tta-draws`` say: a :class:`dashpot.TTA` or None.

    Raises:
        ConfigError: techniques that are none of images, ``none`` beside others, or draws without techniques.
    """
    from dashpot.training.versions import TTA

    given = None if not texts else texts[0] if len(texts) == 1 else texts
    return TTA.of(given, draws)


def read_search_tta(texts: list[str] | None, draws: int | None) -> Any:
    """The same of a search, as plain JSON: without ``--tta`` it is ``auto``.

    Raises:
        ConfigError: as :func:`read_tta`.
    """
    if draws is None and (texts or ["auto"]) == ["auto"]:
        return "auto"
    found = read_tta(texts, draws)
    return "none" if found is None else found.to_dict()


def read_recipe(file: Path | None, texts: list[str] | None) -> Recipe:
    """The recipe of ``--recipe`` and ``--with`` together."""
    from dashpot.core.fields.codec import loads
    from dashpot.core.recipe import Recipe

    recipe = Recipe()
    if file is not None:
        try:
            recipe = loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise StorageError(f"--recipe {file} cannot be read: {error}. Check the path.") from error
    return recipe | Recipe.coerce(texts)
