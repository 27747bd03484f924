"""Every error that Dashpot raises on purpose.

    DashpotError
    ├── ConfigError (ValueError)        a parameter has a value outside its domain
    │   └── UnknownNameError            an unknown name; the nearest known one is suggested
    ├── ConflictError (ValueError)      two choices that cannot act together, found at attach
    ├── DataError (ValueError)          the data cannot be used as they are
    │   └── DataTypeError (TypeError)   a value is of a type that no column can have
    ├── UsageError (RuntimeError)       a call came too early, too late or not at all
    ├── DivergedError (ArithmeticError) the loss became NaN or infinite
    └── StorageError (OSError)          a file could not be read or written

Each names the parameter, the rule, the value it got and the way out, in that order, in one message.
The command line prints that message and exits with 2; it never shows a traceback for these.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

MANY, ALIKE = 40, 6
"""Of more names than these a message tells the few most like the one that was given."""


class DashpotError(Exception):
    """The root: ``except DashpotError`` catches all that Dashpot raises on purpose.

    Example:
        >>> import dashpot
        >>> try:
        ...     dashpot.Dropout(p=1.5)
        ... except dashpot.DashpotError as error:
        ...     print(type(error).__name__, error, isinstance(error, ValueError))
        ConfigError Dropout.p must be a number in [0, 1], got 1.5. True
    """


class ConfigError(DashpotError, ValueError):
    """A parameter has a value that its rule forbids."""

    def __init__(self, parameter: str, rule: str, value: object, remedy: str = "") -> None:
        self.parameter, self.rule, self.value, self.remedy = parameter, rule, value, remedy
        super().__init__(f"{parameter} must be {rule}, got {value!r}." + (f" {remedy}" if remedy else ""))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.parameter, self.rule, self.value, self.remedy)


def listed(names: Sequence[str], most: int = 24) -> str:
    """Names for a message; of many the first, the last, where a target often stands, and how many are between.

    >>> listed(["a", "b"]), listed([str(n) for n in range(100)], 4)
    ('a, b', '0, 1, 2, (96 more), 99')
    """
    if len(names) <= most:
        return ", ".join(names)
    return ", ".join([*names[: most - 1], f"({len(names) - most} more)", names[-1]])


class UnknownNameError(ConfigError):
    """An unknown name; the nearest known one is suggested."""

    def __init__(self, parameter: str, value: str, known: Iterable[str], remedy: str = "") -> None:
        self.known = tuple(known)
        lowered = {name.lower(): name for name in self.known}
        near = difflib.get_close_matches(value.lower(), lowered, n=1)
        if not near:  # a looser match, as of "l3" or "acc", has at least the first letter in common
            near = difflib.get_close_matches(
                value.lower(), [name for name in lowered if name[:1] == value[:1].lower()], n=1, cutoff=0.5
            )
        hint = f"Did you mean {lowered[near[0]]!r}?" if near else ""
        super().__init__(
            parameter, f"one of {_named(self.known, value)}", value, " ".join(filter(None, (hint, remedy)))
        )
        self._remedy = remedy

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.parameter, self.value, self.known, self._remedy)


def _named(known: Sequence[str], value: str) -> str:
    """The names, or of many those that are most alike, with how many more there are."""
    if len(known) <= MANY:
        return ", ".join(known) or "(none)"
    shown = difflib.get_close_matches(value.lower(), known, n=ALIKE, cutoff=0.4) or known[:ALIKE]
    return f"{len(known)} names, such as {', '.join(shown)}"


class ConflictError(DashpotError, ValueError):
    """Two choices that cannot act together; raised at attach, before any work."""


class DataError(DashpotError, ValueError):
    """The data cannot be used as they are."""


class DataTypeError(DataError, TypeError):
    """A value is of a type that no column can have. Checks of scikit-learn ask for a TypeError here."""


class UsageError(DashpotError, RuntimeError):
    """A call came too early, too late or not at all."""


class DivergedError(DashpotError, ArithmeticError):
    """The loss became NaN or infinite."""


class StorageError(DashpotError, OSError):
    """A file could not be read or written."""
