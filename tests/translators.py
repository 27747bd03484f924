"""Stand-ins for translators, which a recipe can name."""

from __future__ import annotations

from collections.abc import Sequence


def louder(texts: Sequence[str]) -> list[str]:
    return [text.upper() for text in texts]


def longer(texts: Sequence[str]) -> list[str]:
    return [f"{text} indeed" for text in texts]
