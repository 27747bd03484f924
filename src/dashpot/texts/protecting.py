"""What an augmentation must leave as it is: numbers, negations, placeholders, and the user's own patterns."""

from __future__ import annotations

import functools
import re
from typing import Any

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Domain

# Words with digits are numbers, too: 20th, MP3. Repetitions are bounded where a long text could make them slow.
NUMBERS = r"[-+−]?(?<![A-Za-z\d])[A-Za-z]{0,20}\d[A-Za-z\d]*(?:[.,:/]\d+)*%?"
NEGATIONS = (
    r"\b(?:not|no|non|nor|never|none|nothing|nobody|nowhere|neither|without|cannot|hardly|\w+n['’]t"  # English
    r"|nicht|kein\w{0,2}|nie|niemals|nichts|niemand|ohne|weder"  # German
    r"|ne|pas|jamais|rien|aucune?|sans|ni"  # French
    r"|nunca|nada|nadie|sin|tampoco|não|nem|nessun\w?|mai|senza|niet|geen|nooit"
    r"|не|нет|ни|никогда|без)\b"
    r"|没有|沒有|[不没沒无無未勿]|ません|ない|않"  # Chinese, Japanese, Korean
)
PLACEHOLDERS = (
    r"https?://\S*[\w/]|www\.\S*[\w/]|(?<![\w.+-])[\w.+-]{1,64}@[\w-]+\.[\w.-]*\w"
    r"|<[!/]?[A-Za-z][^<>]{0,200}>|&\#?\w{1,8};"
    r"|\{\{?\s{0,3}[\w.\[\]-]{0,80}\s{0,3}\}?\}|\[[A-Z][A-Z_\d]{0,40}\]|\$\{\w+\}|%\(\w+\)[sdf]|%[sdf]\b|(?<!\w)[@#]\w+"
)
NAMED = {"numbers": NUMBERS, "negations": NEGATIONS, "placeholders": PLACEHOLDERS}
DEFAULT = "|".join(NAMED)
NONE = "none"


@functools.cache
def protecting(protect: str) -> re.Pattern[str] | None:
    """The pattern of what is protected; None: nothing is.

    Args:
        protect: ``"none"``, or a regular expression in which the alternatives ``numbers``, ``negations`` and
            ``placeholders`` stand for those of this file. Case does not matter.

    Raises:
        re.error: no regular expression.

    Example:
        >>> protecting("numbers|dashpot").findall("Dashpot 2 costs 3.50")
        ['Dashpot', '2', '3.50']
    """
    if protect == NONE:
        return None
    parts = protect.split("|")
    own = "|".join(part for part in parts if part not in NAMED)
    # Placeholders first: a number within an address is part of it.
    named = [f"(?:{NAMED[name]})" for name in ("placeholders", "numbers", "negations") if name in parts]
    return re.compile("|".join([*([f"(?:{own})"] if own else []), *named]), re.IGNORECASE)


class Protect(Domain):
    """A regular expression of what stays as it is; see :func:`protecting`."""

    @property
    def rule(self) -> str:
        return "none, or a regular expression; numbers, negations and placeholders are understood in it"

    def check(self, parameter: str, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(parameter, self.rule, value)
        try:
            pattern = protecting(value)
        except re.error as error:
            raise ConfigError(parameter, self.rule, value, f"It is none: {error}.") from None
        if pattern is not None and pattern.search(""):
            raise ConfigError(parameter, self.rule, value, "It must not match an empty text.")
        if pattern is not None and pattern.groups:
            raise ConfigError(parameter, self.rule, value, "Write its groups as (?:...).")
        return value

    def parse(self, parameter: str, text: str) -> str:
        return self.check(parameter, text)
