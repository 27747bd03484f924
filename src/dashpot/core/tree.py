"""Nested state as named tensors and JSON, in one safetensors file: nothing that is loaded can run code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dashpot.core.errors import StorageError
from dashpot.core.files import write_atomic


def flatten(tree: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """JSON for ``tree``, with each tensor moved to ``tensors`` under its path."""
    if isinstance(tree, Tensor):
        name = path or "value"
        tensors[name] = tree.detach().cpu().contiguous().clone()
        return {"$tensor": name}
    if isinstance(tree, Mapping):
        # Pairs, not an object: optimizer states have integer keys, and JSON would make text of them.
        return {"$items": [[key, flatten(value, tensors, f"{path}/{key}")] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        items = [flatten(value, tensors, f"{path}/{i}") for i, value in enumerate(tree)]
        return {"$tuple": items} if isinstance(tree, tuple) else items
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TypeError(
        f"{path}: a {type(tree).__name__} cannot be saved; use tensors, numbers, text and containers of them"
    )


def unflatten(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of :func:`flatten`."""
    if isinstance(node, list):
        return [unflatten(value, tensors) for value in node]
    if isinstance(node, dict):
        if "$tensor" in node:
            return tensors[node["$tensor"]]
        if "$tuple" in node:
            return tuple(unflatten(value, tensors) for value in node["$tuple"])
        return {key: unflatten(value, tensors) for key, value in node["$items"]}
    return node


def save_tree(tree: Any, path: str | Path) -> None:
    """Write ``tree`` to one file, atomically.

    Raises:
        StorageError: it could not be written.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = flatten(tree, tensors)
    save_tensors(path, tensors, {"tree": json.dumps(skeleton)})


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], told: dict[str, str] | None = None) -> None:
    """Write tensors on the CPU to one safetensors file, atomically and without a second copy of them in memory.

    Args:
        told: texts for the file's head.

    Raises:
        StorageError: it could not be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    def write(temporary: str) -> None:
        try:
            save_file(dict(tensors), temporary, metadata=told)
        except SafetensorError as error:  # what it says of a full disk
            raise OSError(str(error)) from error

    write_atomic(path, write)


def load_tree(path: str | Path) -> Any:
    """Read what :func:`save_tree` wrote.

    Raises:
        StorageError: the file is missing, unreadable or no such file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            skeleton = json.loads((file.metadata() or {})["tree"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
        return unflatten(skeleton, tensors)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise StorageError(
            f"{path} is not a readable checkpoint ({error}). Start without resume, or restore the file."
        ) from error
