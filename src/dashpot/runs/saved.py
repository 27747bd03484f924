"""A saved run: a folder of safetensors, TOML and JSON. Loading one never runs code from it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dashpot import nets
from dashpot.core.errors import ConfigError, ConflictError, StorageError
from dashpot.core.fields.codec import dumps
from dashpot.core.files import write_atomic
from dashpot.core.recipe import Recipe
from dashpot.core.tree import save_tensors
from dashpot.data import Prepared, Target
from dashpot.data.kinds import KINDS, Prepares
from dashpot.data.texts.preprocessing import TextPreprocessing
from dashpot.evaluation.decision import Decision
from dashpot.runs.factories import describe, from_description, holds_own
from dashpot.shrinking.plan import Plan
from dashpot.training.checkpoint import FILE as CHECKPOINT
from dashpot.training.versions import TTA, demand_images

MODEL, RECIPE, PREPROCESSING = "model.safetensors", "recipe.toml", "preprocessing.json"
SHRUNK = "shrunk"
"""The plans by which the network became smaller, in the order in which it did."""
SAVED = "saved"
"""The test-time augmentation that a run was saved with."""
UNREAD = "unread"
"""For a tokenizer: neither one nor an encoder is needed, since only the network counts."""


def open_folder(out: str | Path, *, resume: bool = False) -> Path:
    """Make ``out`` ready to be written to.

    Raises:
        ConfigError: it is not empty, and the run is not resumed.
        StorageError: it cannot be made.
    """
    folder = Path(out)
    try:
        if folder.exists() and not folder.is_dir():
            raise ConfigError("--out", "a folder", str(folder))
        if folder.exists() and any(folder.iterdir()) and not resume:
            raise ConfigError(
                "--out",
                "a new or empty folder",
                str(folder),
                "Name another one, or pass --resume to go on with the run in it.",
            )
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"--out {folder} cannot be made: {error.strerror}. Name another place.") from error
    return folder


@contextlib.contextmanager
def discarded_unless_started(folder: Path) -> Iterator[None]:
    """Take the setup files away again if the recipe is refused before anything was trained, so that a corrected command
    can use the folder.
    """
    try:
        yield
    except (ConfigError, ConflictError):
        if not (folder / CHECKPOINT).exists():
            for name in (RECIPE, PREPROCESSING):
                (folder / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def next_folder(kind: str, root: str | Path = "runs") -> Path:
    """The first of ``runs/fit-1``, ``runs/fit-2``, ... that does not exist."""
    n = 1
    while (Path(root) / f"{kind}-{n}").exists():
        n += 1
    return Path(root) / f"{kind}-{n}"


def save_setup(folder: Path, network: nn.Module, prepared: Prepared, recipe: Recipe, tta: TTA | None = None) -> None:
    """What is known before training: recipe, preprocessing, the shape of the network, and test-time augmentation."""
    write_atomic(folder / RECIPE, dumps(recipe))
    target = prepared.target
    setup = {
        "inputs": prepared.preprocessing.to_dict(),
        "target": {
            "task": target.task,
            "classes": list(target.classes),
            "mean": target.mean,
            "scale": target.scale,
            "name": target.name,
            "weight": target.weight,
        },
        "network": describe(network),
        **({"tta": tta.to_dict()} if tta is not None else {}),
    }
    write_json(folder / PREPROCESSING, setup)


def save_model(folder: Path, network: nn.Module) -> None:
    """The final weights."""
    taken: set[int] = set()
    tensors = {}
    for name, tensor in network.state_dict().items():
        own = tensor.detach().cpu().contiguous()
        storage = own.untyped_storage()
        if storage.data_ptr() in taken or storage.nbytes() != own.nbytes:  # a file holds no tensor twice
            own = own.clone()
        taken.add(storage.data_ptr())
        tensors[name] = own
    save_tensors(folder / MODEL, tensors)


def write_json(path: Path, data: Any) -> None:
    """Readable JSON, written as a whole."""
    write_atomic(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def load_run(
    folder: str | Path,
    tta: Any = SAVED,
    make: Callable[..., nn.Module] | None = None,
    tokenizer: Any = None,
    encoder: Any = None,
) -> tuple[nn.Module, Prepares, Target]:
    """The network of a finished run, in evaluation mode, with how to prepare its inputs and read its outputs.

    Args:
        tta: test-time augmentation in any form that :meth:`dashpot.TTA.of` reads, or None; by default the run's own.
            With one the network is a :class:`~dashpot.training.versions.TTANetwork` around the trained one.
        make: of a run whose network is the user's own the function that made it.
        tokenizer: of a run whose tokenizer is a function of the user's own that function, or its name;
            :data:`UNREAD` where no texts will be read.
        encoder: of a run with an encoder its folder, where it has been moved since training.

    Raises:
        ConfigError: ``tta`` that is none, or is given for a table; or ``make``, ``tokenizer`` or ``encoder`` that is
            missing, is not that of the run, or is given where the run needs none.
        StorageError: a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        finished = (folder / MODEL).exists()
    except OSError as error:
        raise StorageError(f"RUN {folder} cannot be read: {error.strerror}. Check its rights.") from error
    if not finished:
        raise StorageError(
            f"RUN must be the folder of a finished `dashpot fit` or `dashpot tune`; {folder / MODEL} does not exist."
        )
    try:
        setup = json.loads((folder / PREPROCESSING).read_text(encoding="utf-8"))
        kind = setup["inputs"]["kind"]
        preprocessing: Prepares = KINDS[kind].preprocessing.from_dict(setup["inputs"])
        preprocessing = _reading(preprocessing, tokenizer, encoder)
        target = Target(**{**setup["target"], "classes": tuple(setup["target"]["classes"])})
        own_network = holds_own(setup["network"])
        _demand_make(make, own_network)
        network, weights = from_description(setup["network"], make, preprocessing.stage), load_file(folder / MODEL)
        for plan in setup.get(SHRUNK, ()):
            Plan.from_dict(plan).apply(network)
        if kind == "image" and "low" not in setup["inputs"]:
            # A run from before pixels kept their range: its network took standardized images.
            network = nets.from_description(_staged(setup["network"], preprocessing.stage))
            weights = {**{n: t for n, t in network.state_dict().items() if "standardize." in n}, **weights}
        _load(network, weights, own_network)
        _demand_fit(network, preprocessing, target)
        own = TTA.of(setup.get("tta"))
    except (MakeError, FolderError):
        raise
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError, ConfigError),
    ) as error:
        raise StorageError(f"the run in {folder} is damaged: {error}. Train it again.") from error
    return tested(network.eval(), own if tta is SAVED else TTA.of(tta), preprocessing, target), preprocessing, target


class MakeError(ConfigError):
    """``--model``, ``--tokenizer`` or ``--encoder`` is missing, superfluous or not that of the run."""


class FolderError(StorageError):
    """The folder of the run's encoder is not there."""


def _reading(preprocessing: Prepares, tokenizer: Any, encoder: Any) -> Prepares:
    """With the user's tokenizer and encoder, where the run has them."""
    if tokenizer is UNREAD:
        return preprocessing
    if not isinstance(preprocessing, TextPreprocessing):
        for name, given in (("tokenizer", tokenizer), ("encoder", encoder)):
            if given is not None:
                raise MakeError(name, "left out for a run on other data than texts", str(given))
        return preprocessing
    try:
        return preprocessing.named_again(tokenizer, encoder)
    except StorageError as error:
        raise FolderError(f"{error} Its place now can be named with encoder= (--encoder).") from None
    except ConfigError as error:
        raise MakeError(error.parameter, error.rule, error.value, error.remedy) from None


def _demand_make(make: Any, wanted: bool) -> None:
    if wanted and make is None:
        way = "No code is run because a folder says so: name the function again."
        raise MakeError("--model", "given for a run whose network is one of your own", None, way)
    if make is not None and not wanted:
        raise MakeError("--model", "left out for a run whose network is built in", _name(make))


def _load(network: nn.Module, weights: dict[str, torch.Tensor], own: bool) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        if not own:
            raise
        rule = "the function that made the network of this run"
        raise MakeError("--model", rule, "another one", str(error).split("\n")[1].strip()) from error


def _name(make: Any) -> str:
    return f"{make.__module__}:{getattr(make, '__qualname__', type(make).__qualname__)}"


def tested(network: nn.Module, tta: TTA | None, inputs: Prepares, target: Target) -> nn.Module:
    """The network with test-time augmentation, if there is one.

    Raises:
        ConfigError: it is for another kind of data.
    """
    if tta is None:
        return network
    demand_images(tta, network, torch.zeros(2, *inputs.shape), inputs.kind)
    return tta.network(network, "values" if target.task == "regression" else "classes")


def _staged(description: dict[str, Any], stage: Mapping[str, Any]) -> dict[str, Any]:
    """A network's description with a stage that standardizes at its front."""
    if "networks" in description:
        return {**description, "networks": [_staged(one, stage) for one in description["networks"]]}
    return {**description, **stage}


def _demand_fit(network: nn.Module, inputs: Prepares, target: Target) -> None:
    """ValueError where inputs, network and target of a saved run do not fit each other."""
    inputs.check()
    numbers = np.asarray((target.mean, target.scale))
    if numbers.dtype.kind not in "fi" or not np.isfinite(numbers).all() or target.scale <= 0:
        raise ValueError("the target must have a finite mean, and a scale above 0")
    with torch.no_grad():
        outputs = network.eval()(torch.zeros(1, *inputs.shape)).numel()
    if target.task not in ("classification", "regression") or outputs != max(len(target.classes), 1):
        raise ValueError(
            f"the network has {outputs} outputs, and the target is a {target.task} with {len(target.classes)} classes"
        )


def load_decision(folder: str | Path) -> Decision | None:
    """The temperature and decision rule of a tuned run, or None."""
    saved = json.loads((Path(folder) / PREPROCESSING).read_text(encoding="utf-8")).get("decision")
    return None if saved is None else Decision.from_dict(saved)


def predictions(
    network: nn.Module, x: torch.Tensor, target: Target, decision: Decision | None = None
) -> dict[str, list[Any]]:
    """Columns of a prediction table: ``prediction``, and the (calibrated) probability of each class."""
    from dashpot.evaluation.losses import predict

    out = predict(network, x).float()
    out = out.reshape(len(out), -1)
    if target.task == "regression":
        return {"prediction": (out[:, 0].double() * target.scale + target.mean).tolist()}
    decision = decision or Decision()
    probability = decision.probabilities(out.double().cpu().numpy())
    columns: dict[str, list[Any]] = {"prediction": [target.classes[i] for i in decision.decide(probability).tolist()]}
    for i, name in enumerate(target.classes):
        columns[f"p({name})"] = probability[:, i].tolist()
    return columns
