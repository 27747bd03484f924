"""Fields that are functions: tokenizers and translators. In text they are names such as ``jieba:lcut``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Domain


@dataclass(frozen=True)
class Named:
    """A function that writes itself as ``module:function``; called like it.

    >>> str(Named(str.split)), Named(str.split)("a b")
    ('builtins:str.split', ['a', 'b'])
    """

    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)

    def __str__(self) -> str:
        owner = getattr(self.function, "__objclass__", self.function)
        # Of a lambda this is a name that cannot be read back: reading says so.
        return f"{getattr(owner, '__module__', None)}:{getattr(self.function, '__qualname__', self.function)}"


@dataclass(frozen=True)
class Function(Domain):
    """A function, its name ``module:function``, or one of the ``options``; None where it is ``optional``.

    To read such a name imports the module: as with code, read recipes only from whom you trust.
    """

    what: str
    options: tuple[str, ...] = ()
    optional: bool = False

    @property
    def rule(self) -> str:
        named = "".join(f"{option}, " for option in self.options)
        return f"{named}{self.what} or its name module:function" + (" or None" if self.optional else "")

    def check(self, parameter: str, value: Any) -> Any:
        if (value is None and self.optional) or (isinstance(value, str) and value in self.options):
            return value
        if isinstance(value, Named):
            return value
        if isinstance(value, str):
            return self._imported(parameter, value)
        if not callable(value):
            raise ConfigError(parameter, self.rule, value)
        return Named(value)

    def parse(self, parameter: str, text: str) -> Any:
        return None if self.optional and text.lower() == "none" else self.check(parameter, text)

    def _imported(self, parameter: str, name: str) -> Named:
        found = _found(name)
        if not callable(found):
            module = name.partition(":")[0]
            remedy = f"There is no such function in {module}." if ":" in name else ""
            if remedy and not _is_there(module):
                remedy = f"There is no module {module} here. Install its package, or write another name."
            raise ConfigError(parameter, self.rule, name, remedy)
        return Named(found)


def _is_there(module: str) -> bool:
    try:
        importlib.import_module(module)
    except (ImportError, ValueError):
        return False
    return True


def _found(name: str) -> Any:
    """What ``module:a.b`` names, or None."""
    module, _, path = name.partition(":")
    if not module or not path:
        return None
    try:
        found: Any = importlib.import_module(module)
    except (ImportError, ValueError):
        return None
    for part in path.split("."):
        found = getattr(found, part, None)
    return found
