"""Records: what a command found, as a typed value with a version, written as JSON and read again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from dashpot.core.errors import DataError
from dashpot.core.notebook import shown_by


@dataclasses.dataclass(frozen=True)
class Record:
    """The base of what is written into a run's folder as JSON.

    A subclass is a frozen dataclass; fields without a default must be in a file, others may be missing. ``version`` is
    raised when a field changes its meaning or a new one is needed; a new field with a default needs no new version.

    Attributes:
        FILE: the name of the file.
        VERSION: of what this class writes; files of other versions are refused with one sentence.
        COMMAND: which writes such a file.
        PAGE: the function that makes its page, as ``module:function``; "" where none does.
    """

    FILE: ClassVar[str] = ""
    VERSION: ClassVar[int] = 1
    COMMAND: ClassVar[str] = ""
    PAGE: ClassVar[str] = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, with the version first."""
        fields = {field.name: plain(getattr(self, field.name)) for field in dataclasses.fields(self)}
        return {"version": self.VERSION, **fields}

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """The inverse of :meth:`to_dict`.

        Raises:
            DataError: no such record, one from before records had versions, or one of a newer Dashpot.
        """
        if not isinstance(data, Mapping):
            raise DataError(f"{cls.FILE} must hold a JSON object, got {type(data).__name__}.")
        version = data.get("version")
        if version is None:
            raise DataError(
                f"{cls.FILE} must have a version; this one is from before records had versions, or is no such record."
                f" Run `{cls.COMMAND}` again."
            )
        if version != cls.VERSION:
            raise DataError(
                f"{cls.FILE} must be of version {cls.VERSION}, got {version!r}. "
                + (
                    "It is from a newer Dashpot: install that."
                    if isinstance(version, int) and version > cls.VERSION
                    else f"Run `{cls.COMMAND}` again."
                )
            )
        return cls(**cls._read(cls.fields_of(data)))

    @classmethod
    def fields_of(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """The fields in ``data``, without those that are not known.

        Raises:
            DataError: one without a default is missing, or null.
        """
        found = {field.name: data[field.name] for field in dataclasses.fields(cls) if field.name in data}
        missing = [
            field.name
            for field in dataclasses.fields(cls)
            if found.get(field.name) is None
            and field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        ]
        if missing:
            raise DataError(
                f"{cls.FILE} must have {', '.join(map(repr, missing))}, which this one lacks. Run `{cls.COMMAND}`"
                " again."
            )
        return found

    @classmethod
    def _read(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """From JSON's types to those of the fields, where they differ."""
        return fields

    def _repr_html_(self) -> str | None:
        """In a notebook: the sentences and the first table of its page."""
        return shown_by(self.PAGE, self) if self.PAGE else None

    @classmethod
    def of(cls, given: Self | Mapping[str, Any]) -> Self:
        """A record, from one or from the content of its file."""
        return given if isinstance(given, cls) else cls.from_dict(given)


def plain(value: Any) -> Any:
    """Dataclasses as dictionaries, tuples as lists, and a mapping as a dictionary, all the way down."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value


def finite(values: Any) -> Any:
    """Numbers, or lists of them, with None for NaN and infinity, which JSON has not.

    >>> finite([1.0, [float("nan")]])
    [1.0, [None]]
    """
    if isinstance(values, list):
        return [finite(value) for value in values]
    return values if math.isfinite(values) else None
