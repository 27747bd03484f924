"""Batches of any structure: tensors in dicts, tuples, lists and dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


def map_tensors(change: Callable[[Any], Any], tree: Any) -> Any:
    """The same structure with each tensor changed; what holds no tensor stays as it is.

    >>> map_tensors(lambda t: t + 1, {"a": torch.zeros(2), "b": (torch.ones(1), "text")})
    {'a': tensor([1., 1.]), 'b': (tensor([2.]), 'text')}
    """
    if isinstance(tree, Tensor | PackedSequence):
        return change(tree)
    if isinstance(tree, Mapping):
        changed = {key: map_tensors(change, value) for key, value in tree.items()}
        return changed if type(tree) is dict else type(tree)(changed)  # type: ignore[call-arg]  # as dict-likes take it
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_tensors(change, value) for value in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(map_tensors(change, value) for value in tree)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        parts = {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree) if field.init}
        return dataclasses.replace(tree, **{name: map_tensors(change, value) for name, value in parts.items()})
    return tree


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """What a structure holds, each with its place, such as ``("input_ids", tensor)``."""
    if isinstance(tree, PackedSequence):
        yield path, tree.data
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from leaves(value, f"{path}.{number}" if path else str(number))
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        for field in dataclasses.fields(tree):
            yield from leaves(getattr(tree, field.name), f"{path}.{field.name}" if path else field.name)
    else:
        yield path, tree


def rows(tree: Any) -> int | None:
    """The length of the first axis of the first tensor; None where there is none."""
    return next((len(leaf) for _, leaf in leaves(tree) if isinstance(leaf, Tensor) and leaf.ndim), None)


def moved(tree: Any, device: torch.device | str, non_blocking: bool = False) -> Any:
    """The same structure on ``device``."""
    return map_tensors(lambda part: part.to(device, non_blocking=non_blocking), tree)


def told(tree: Any) -> str:
    """What a structure is, for messages: ``a dict with input_ids (int64), image (float32)``."""
    if isinstance(tree, Tensor):
        return f"a tensor of {str(tree.dtype).removeprefix('torch.')}"
    parts = [
        f"{path} ({str(leaf.dtype).removeprefix('torch.')})" for path, leaf in leaves(tree) if isinstance(leaf, Tensor)
    ]
    return f"a {type(tree).__name__}" + (f" with {', '.join(parts)}" if parts else "")


def called(model: nn.Module | Callable[..., Any], x: Any) -> Any:
    """The model's output for an input of any structure: a mapping is passed by name, a tuple by place (but one of
    strings, which are a batch of texts), anything else as it is.

    >>> called(lambda a, b: a - b, {"b": 1, "a": 3}), called(lambda a, b: a - b, (3, 1)), called(len, [3, 1])
    (2, 2, 2)
    """
    if isinstance(x, Mapping):
        return model(**x)
    texts = isinstance(x, tuple) and len(x) > 0 and isinstance(x[0], str)  # so a DataLoader collates strings
    if isinstance(x, tuple) and not isinstance(x, PackedSequence) and not texts:
        return model(*x)
    return model(x)
