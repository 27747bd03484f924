"""Double quotes around text in which a separator may stand, two of them for one inside."""

from __future__ import annotations


def split(text: str, separator: str) -> list[str]:
    """At each separator outside of double quotes."""
    parts, quoted = [""], False
    for character in text:
        quoted ^= character == '"'
        if character == separator and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def quoted(value: str, special: str) -> str:
    """The value, in quotes if a special character or a quote is in it, or space around it."""
    needs = any(character in value for character in f'{special}"') or value != value.strip() or not value
    return '"' + value.replace('"', '""') + '"' if needs else value


def unquoted(value: str) -> str:
    """The inverse of :func:`quoted`; what is in no quotes stays."""
    whole = len(value) > 1 and value[0] == value[-1] == '"'
    return value[1:-1].replace('""', '"') if whole else value
