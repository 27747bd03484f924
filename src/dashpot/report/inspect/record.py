"""The record of a look at weights: ``inspect.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dashpot.core.errors import DataError
from dashpot.core.records import Record


@dataclass(frozen=True)
class InspectRecord(Record):
    """The weights of a model.

    Attributes:
        name: of the model or its run.
        layers: what :class:`dashpot.sparsity.inspect.LayerInspection` holds, each as a dictionary.
        paths: of each input column its share of all paths to the outputs, or None.
        names: of the columns.
    """

    FILE: ClassVar[str] = "inspect.json"
    COMMAND: ClassVar[str] = "dashpot inspect"

    name: str
    layers: tuple[Mapping[str, Any], ...]
    paths: tuple[float, ...] | None = None
    names: tuple[str, ...] = ()

    @classmethod
    def _read(cls, fields: dict[str, Any]) -> dict[str, Any]:
        try:
            layers = tuple(dict(layer) for layer in fields["layers"])
            paths = fields.get("paths")
            found = {"layers": layers, "paths": None if paths is None else tuple(map(float, paths))}
            return {**fields, **found, "names": tuple(map(str, fields.get("names") or ()))}
        except (TypeError, ValueError) as error:
            raise DataError(f"{cls.FILE} must hold layers and shares, got one that does not fit: {error}.") from None
