"""The page of a run, from the files in its folder."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from dashpot.core.errors import DashpotError, StorageError
from dashpot.core.fields import codec
from dashpot.core.recipe import Recipe
from dashpot.report.compare.record import CompareRecord
from dashpot.report.fit.record import FitRecord
from dashpot.report.page.blocks import Page, Picture
from dashpot.report.page.compare import compare_page
from dashpot.report.page.fit import fit_page
from dashpot.report.page.path import path_page
from dashpot.report.page.robust import robustness_page
from dashpot.report.page.several import Side
from dashpot.report.page.shrink import shrink_page
from dashpot.report.page.sizes import sizes_page
from dashpot.report.page.source import Source
from dashpot.report.page.tune import tune_page
from dashpot.report.page.write import FILE, write_page
from dashpot.report.path.record import PathRecord
from dashpot.report.robustness.record import RobustnessRecord
from dashpot.report.shrink.record import ShrinkRecord
from dashpot.report.sizes.record import SizesRecord
from dashpot.report.tune.record import TuneRecord
from dashpot.report.tune.stats import by_role, ranked
from dashpot.runs.saved import MODEL, RECIPE
from dashpot.runs.text_report import FILE as TEXTS
from dashpot.runs.weights import layers_of

TUNE = "report.json"
PICTURES = {"mistakes.png": "The most confident mistakes: images of the test rows with what the model said"}
SMALL = 400_000
"""Pictures with more bytes stay out of the page, which is to be below a megabyte."""


def write_run_page(folder: Path, *, data: str = "", target: str = "", out: Path | None = None) -> Path:
    """Write ``report.html`` into the folder of a run, or to ``out``.

    Args:
        data, target: the file and the column as one types them, where the folder does not know them.

    Raises:
        StorageError: no run, a damaged one, or a file that cannot be written.
    """
    return write_page(run_page(folder, data=data, target=target), out or folder / FILE)


def run_page(folder: Path, *, data: str = "", target: str = "") -> Page:
    """The page of the run in a folder.

    Raises:
        StorageError: no run is in it, or a damaged one.
    """
    kind, record = record_of(folder)
    source = _source(folder, record, data, target, weights=kind in ("fit", "tune", "shrink"))
    if isinstance(record, ShrinkRecord):
        return shrink_page(record, source)
    if isinstance(record, FitRecord):
        return fit_page(record, _history(folder), source)
    if isinstance(record, TuneRecord):
        return tune_page(record, source)
    if isinstance(record, CompareRecord):
        return compare_page(record, source)
    if isinstance(record, SizesRecord):
        return sizes_page(record, source)
    return path_page(record, source) if isinstance(record, PathRecord) else robustness_page(record, source)


Any_ = TuneRecord | FitRecord | CompareRecord | PathRecord | SizesRecord | RobustnessRecord | ShrinkRecord
READ: Mapping[str, tuple[str, Callable[[Any], Any_]]] = {
    # First: the folder of a smaller network has the records of the large one too.
    ShrinkRecord.FILE: ("shrink", ShrinkRecord.from_dict),
    TUNE: ("tune", TuneRecord.from_dict),
    FitRecord.FILE: ("fit", FitRecord.from_dict),
    CompareRecord.FILE: ("compare", CompareRecord.from_dict),
    PathRecord.FILE: ("path", PathRecord.from_dict),
    SizesRecord.FILE: ("path", SizesRecord.from_dict),
    RobustnessRecord.FILE: ("robustness", RobustnessRecord.from_dict),
}


def record_of(folder: Path) -> tuple[str, Any_]:
    """The command that made a run, and its record.

    Raises:
        StorageError: there is none, or it cannot be read.
    """
    for name, (kind, read) in READ.items():
        try:
            text = (folder / name).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise StorageError(f"{folder / name} cannot be read: {error}. Check its rights.") from error
        try:
            record = read(json.loads(text))
            if isinstance(record, ShrinkRecord) and not record.by_layer:
                continue  # of a training that cut on its way
            return kind, record
        except DashpotError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StorageError(f"{folder / name} is damaged: {error}. Run `dashpot {kind}` again.") from error
    names = ", ".join(READ)
    way = "Name the folder that --out was given."
    if (folder / "tune.json").exists():
        way = f"It was not finished: `dashpot tune --resume {quote(str(folder))}` goes on."
    elif (folder / RECIPE).exists():
        way = f"It was not finished: the same `dashpot fit` with --out {quote(str(folder))} --resume goes on."
    raise StorageError(f"RUN must be the folder of a run, with one of {names}; {folder} has none. {way}")


def side_of(folder: Path) -> Side:
    """A run for the page of several.

    Raises:
        StorageError: no run, a damaged one, or one without test scores.
    """
    kind, record = record_of(folder)
    if isinstance(record, TuneRecord):
        chosen = by_role(ranked(record), "chosen")
        recipe = (chosen.recipe if chosen else "") or "no technique"
        return Side(shown(folder), kind, record.dataset, recipe, record.test.chosen, record.seconds)
    if isinstance(record, FitRecord):
        recipe = str(_recipe(folder) or "no technique")
        return Side(shown(folder), kind, str(record.data.get("name", "")), recipe, record.test, record.seconds)
    raise StorageError(
        f"Several runs must be of `dashpot fit` or `dashpot tune`, got one of `dashpot {kind}`: {folder}."
    )


def shown(folder: Path) -> str:
    """A folder as one types it from here; of one that is elsewhere only its name, as the rest may say who made it."""
    if not folder.is_absolute():
        return str(folder)
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else folder.name


def _source(folder: Path, record: Any_, data: str, target: str, *, weights: bool) -> Source:
    found = _where(folder, record)
    name = data or str(found.get("data") or "")
    return Source(
        run=shown(folder),
        data=Path(name).name,
        target=target or str(found.get("target") or ""),
        options=found.get("options") or {},
        training=_training(folder, record),
        recipe=_recipe(folder),
        layers=layers_of(folder / MODEL) if weights else (),
        pictures=_pictures(folder),
        texts=_json(folder / TEXTS),
    )


def _where(folder: Path, record: Any_) -> Mapping[str, Any]:
    """The data and the target that a run was made from; of a smaller network those of the large one."""
    if found := _json(folder / "tune.json"):
        return found
    if isinstance(record, CompareRecord | PathRecord | SizesRecord):
        return {"data": record.data.get("source")}
    if not isinstance(record, FitRecord | ShrinkRecord):
        return {}
    own = record.data if isinstance(record, FitRecord) else _json(folder / FitRecord.FILE).get("data") or {}
    # A run from before the place of its data was kept.
    unknown = "" if own.get("name") == "digits" else "DATA"
    return {"data": own.get("source", unknown), "target": own.get("target"), "options": own.get("options")}


def _training(folder: Path, record: Any_) -> Mapping[str, Any]:
    """Learning rate and network of a training, or of a search's chosen candidate."""
    if isinstance(record, FitRecord):
        return record.training
    if not isinstance(record, TuneRecord) or (chosen := by_role(ranked(record), "chosen")) is None:
        return {}
    params = {name: value for name, value in chosen.params.items() if value is not None}
    net = {name.removeprefix("net."): value for name, value in params.items() if name.startswith("net.")}
    own, lr = _json(folder / "tune.json").get("model"), params.get("lr")
    return {**({"model": own} if own else {}), **({"lr": lr} if lr else {}), **({"net": net} if net else {})}


def data_at_hand(folder: Path, record: Any_) -> str:
    """The data that a run was made from, as one types them from here; empty where they are not there any more."""
    found = str(_where(folder, record).get("data") or "")
    path = Path(found)
    return (shown(path) if path.is_relative_to(Path.cwd()) else found) if found and path.exists() else ""


def _recipe(folder: Path) -> Recipe | None:
    try:
        return codec.loads((folder / RECIPE).read_text(encoding="utf-8"))
    except (OSError, DashpotError, UnicodeDecodeError):  # of a technique that this installation does not have
        return None


def _history(folder: Path) -> list[Mapping[str, Any]]:
    try:
        lines = (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return []


def _pictures(folder: Path) -> list[Picture]:
    found = []
    for name, alt in PICTURES.items():
        path = folder / name
        if path.exists() and path.stat().st_size <= SMALL:
            data = base64.b64encode(path.read_bytes()).decode()
            found.append(Picture(f"data:image/png;base64,{data}", alt))
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
