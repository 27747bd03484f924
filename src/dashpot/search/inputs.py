"""Data and networks of the Python interface, made into a problem and a factory."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dashpot.core.errors import ConfigError, DataError
from dashpot.data import Prepared, Problem, load_problem
from dashpot.data.files.arrays import as_inputs
from dashpot.data.kinds import kind_of
from dashpot.data.rows import Rows, decided, is_missing, to_rows
from dashpot.data.tables.monotone import directed
from dashpot.data.tables.reading import Reading
from dashpot.data.texts.rows import as_texts, how_of, is_texts, texts_in
from dashpot.data.texts.words import all_texts
from dashpot.nets.standardize import standardized
from dashpot.population.members import built
from dashpot.runs.factories import made_with
from dashpot.search.arguments import name_of
from dashpot.search.racing.task import Factory
from dashpot.search.tensor_problem import TensorProblem
from dashpot.texts.cutting import tokenizer_of
from dashpot.texts.encoder import encoder_of


@dataclass(frozen=True)
class Inputs:
    """A problem, and the classes as the caller wrote them, or None where their names are all there is."""

    problem: Problem
    labels: np.ndarray | None = None


def problem_of(
    data: Any,
    target: str | None,
    task: str | None,
    own: bool,
    weight: Any = None,
    columns: tuple[Iterable[str] | None, Iterable[str] | None, Iterable[str] | None] = (None, None, None),
    kind: str | None = None,
    tokenizer: Any = None,
    vectors: str | Path | None = None,
    encoder: Any = None,
    monotone: Any = None,
) -> Inputs:
    """A problem from a path, from (X, y), or from a problem.

    Args:
        weight: of the rows of (X, y), or the column of a table that holds them.
        own: whether the network is the caller's: arrays and tensors are then used as they are.
        columns: those of numbers, of dates and of names in a table, as the caller says.
        kind: of the inputs; of (X, y) ``"text"`` or None, of a problem None.
        tokenizer: of texts; None is the default one.
        vectors: of texts, a file of vectors of words.
        monotone: directions of numeric columns of a table; see :func:`dashpot.data.tables.monotone.directions`.
        encoder: of texts, a folder of a model; see :func:`dashpot.texts.encoder.encoder_of`.

    Raises:
        ConfigError: something else.
        DataError, StorageError: data that cannot be used.
    """
    reading = Reading.of(*columns)
    given: dict[str, Any] = {
        "kind": kind,
        "tokenizer": tokenizer,
        "vectors": vectors,
        "encoder": encoder,
        "monotone": monotone,
    }
    said = " and ".join(name for name, value in given.items() if value is not None)
    if isinstance(data, Problem):
        if weight is not None:
            raise ConfigError("sample_weight", "None with a Problem", type(weight).__name__, "Give it to the Problem.")
        if reading != Reading():
            raise ConfigError("data", "a path or (X, y) with numeric, dates or categorical", "a Problem")
        if said:
            raise ConfigError("data", f"a path or (X, y) with {said}", "a Problem")
        return Inputs(data)
    if isinstance(data, str | Path):
        if weight is not None and not isinstance(weight, str):
            rule = "the name of a column where data are a path"
            raise ConfigError("sample_weight", rule, type(weight).__name__)
        return Inputs(load_problem(data, target, task, weight, **given, **vars(reading)))
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ConfigError("data", "a path, a pair (X, y) or a dashpot.data.Problem", type(data).__name__)
    x, y = data
    if target is not None:
        raise ConfigError("target", "None where data are (X, y)", target, "y is the target.")
    values = target_values(y)
    rows = len(x) if not hasattr(x, "shape") else int(x.shape[0])
    if rows != len(values):
        raise DataError(f"X and y must have as many rows as each other, got {rows} and {len(values)}.")
    numbers = isinstance(x, Tensor) or (isinstance(x, np.ndarray) and x.dtype.kind in "fiub")
    if own and numbers and reading != Reading():
        raise ConfigError("data", "a table with numeric, dates or categorical", "numbers for a model of your own")
    if own and numbers:
        if said:
            raise ConfigError(said, "None where numbers are given to a model of your own", "a value")
        tensor = torch.as_tensor(x).detach().cpu()
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        if not torch.isfinite(tensor).all():
            raise DataError("X must hold finite numbers, got NaN or infinity. Fill or remove those rows.")
        problem: Problem = TensorProblem(
            tensor, values, task or ("regression" if values.dtype.kind == "f" else "classification"), weight
        )
    else:
        values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        if values.ndim != 1:
            raise DataError(
                f"y must have one dimension for a built-in network, got {list(values.shape)}. Give a model of your own"
                " for several outputs."
            )
        inputs, how = _prepared_inputs(x, reading, kind, tokenizer=tokenizer, vectors=vectors, encoder=encoder)
        how |= directed(monotone, kind_of(inputs).name)
        problem = Problem("data", inputs, values, task, weight=weight, weight_name="sample_weight", how=how)
    values = values if problem.kept is None else values[problem.kept]
    return Inputs(problem, originals(values, problem.classes) if problem.task == "classification" else None)


def _prepared_inputs(
    x: Any, reading: Reading, kind: str | None, **of_texts: Any
) -> tuple[Rows | np.ndarray, dict[str, Any]]:
    """Inputs that Dashpot prepares, and of texts what else their preprocessing is fitted with."""
    if kind not in (None, "text"):
        raise ConfigError("kind", "'text' or None where data are (X, y)", kind, "None finds tables, images and texts.")
    plain = x.detach().cpu().numpy() if isinstance(x, Tensor) else x
    how: dict[str, Any] = {}
    inputs: Rows | np.ndarray
    if is_texts(plain):
        if reading != Reading():
            raise ConfigError("data", "a table with numeric, dates or categorical", "texts")
        inputs, how = as_texts("X", plain), {"columns": ("text",)}
    elif isinstance(plain, np.ndarray) and plain.ndim > 2:
        if reading != Reading() or kind is not None:
            option = "kind" if kind is not None else "numeric, dates or categorical"
            raise ConfigError("data", f"a table with {option}", "images or signals")
        inputs = as_inputs("X", plain)
    else:
        inputs = rows = decided(to_rows(_listed(plain) if isinstance(plain, list) else plain), reading)
        if kind == "text" or all_texts(rows, reading.categorical):
            inputs, how = texts_in(rows), how_of(rows, reading.categorical)
    for name, value in of_texts.items():
        if value is not None and not how:
            way = "Say kind='text' if its columns are texts."
            raise ConfigError(name, "None for other data than texts", str(value), way)
        if value is not None:
            how[name] = {"tokenizer": tokenizer_of, "encoder": encoder_of}.get(name, lambda given: given)(value)
    return inputs, how


def _listed(rows: list[Any]) -> np.ndarray:
    """Lists of cells, of one type or of several, as an array."""
    try:
        return np.asarray(rows)
    except ValueError:
        raise DataError(
            "X must be rows of as many cells each, got lists of different lengths or cells that are lists."
        ) from None


def target_values(y: Any) -> np.ndarray:
    """A target as an array: numbers as they are, of anything else what is missing as None.

    Raises:
        DataError: more than one dimension of classes, or nothing that has rows.
    """
    try:
        values = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
    except ValueError:  # lists of different lengths
        raise DataError(
            f"y must be classes [n], or values [n] or [n, outputs], got {type(y).__name__} of lists."
        ) from None
    if values.dtype.kind in "mMc":
        raise DataError(f"y must be classes or numbers, got {values.dtype}. Give it as numbers, or classes as text.")
    if values.ndim == 2 and values.shape[1] == 1 and values.dtype.kind != "f":
        values = values[:, 0]
    if values.ndim == 0 or (values.ndim > 1 and values.dtype.kind != "f"):
        raise DataError(
            f"y must be classes [n], or values [n] or [n, outputs], got {list(values.shape)} of {values.dtype}."
        )
    if values.ndim > 2:
        raise DataError(f"y must be values [n] or [n, outputs], got {list(values.shape)}.")
    if values.dtype == object:
        # pandas' own NA answers no comparison, so it is known by name.
        values = np.array([None if type(v).__name__ == "NAType" or is_missing(v) else v for v in values], dtype=object)
    return values


def originals(values: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """The classes as they were given, in the order of their names."""
    if values.dtype != object:
        return np.unique(values)
    known = {str(value): value for value in values}
    found = np.empty(len(names), dtype=object)
    found[:] = [known[name] for name in names]
    return found


def factory_of(model: Any) -> Factory:
    """A caller's factory as the search calls it, with the network's options as keywords.

    Raises:
        ConfigError: it is no function that returns a module.
    """
    if isinstance(model, nn.Module) or not callable(model):
        raise ConfigError(
            "model",
            "a function that returns a fresh nn.Module",
            type(model).__name__,
            "For example model=lambda: MyNet().",
        )

    @functools.wraps(model, assigned=("__module__", "__qualname__"), updated=())
    def make(options: Mapping[str, Any]) -> nn.Module:
        try:
            network = model(**options)
        except TypeError as error:
            called = ", ".join(f"{name}={value!r}" for name, value in options.items())
            way = f"The names in net= are its keywords; it is {name_of(model)}."
            raise ConfigError("model", f"callable as model({called})", str(error), way) from error
        if not isinstance(network, nn.Module):
            raise ConfigError("what model returns", "an nn.Module", type(network).__name__, f"It is {name_of(model)}.")
        return made_with(network, options)

    return make


def staged(make: Factory, prepared: Prepared) -> Factory:
    """A factory whose networks standardize raw pixels first, where the data are such, and have no lazy layers: those
    take their shapes from two rows.
    """

    @functools.wraps(make)
    def ready(options: Mapping[str, Any]) -> nn.Module:
        network = standardized(make(options), **prepared.stage) if prepared.stage else make(options)
        if any(is_lazy(p) for p in network.parameters()):
            mode = network.training
            with contextlib.suppress(Exception), torch.no_grad():  # told where a network is first checked
                network.eval()(prepared.x[:2])
            network.train(mode)
        return network

    return ready


def layers(make: Factory, options: Mapping[str, Any]) -> str | None:
    """What tells networks of one name apart: how many tensors and values they have, and a hash of names and shapes."""
    try:
        state = built(lambda: make(options)).state_dict()
    except Exception:  # whatever the user's own code raises; its candidates fail, and say why
        return None
    shapes = repr([(name, tuple(t.shape)) for name, t in state.items()])
    count = sum(t.numel() for t in state.values())
    return f"{len(state)} tensors, {count:,} values, {hashlib.sha256(shapes.encode()).hexdigest()[:8]}"
