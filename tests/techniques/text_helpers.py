"""What tests of techniques on texts share."""

from __future__ import annotations

from typing import Any

from dashpot.augment import text
from dashpot.core.draws import uniform_by
from dashpot.core.rng import derive, stream

PLAIN = "one two three four five six seven eight nine ten"
CHINESE = "今天天气很好，我们去公园散步。你想一起去吗？"
WORDS = {word: [word.upper() + "X", word + "ly"] for word in PLAIN.split()} | {"天": ["日"], "好": ["佳", "妙"]}
EDGES = ("", " ", "a", "好", "...", "7", "not", "👍", "a\x00b", "שלום עולם", "x" * 3000, "<br>", "\udc80 b")
EVERY = [
    text.RandomDeletion(0.9),
    text.RandomSwap(0.9),
    text.RandomInsertion(0.9),
    text.RandomInsertion(0.9, synonyms=WORDS),
    text.PunctuationInsertion(0.9),
    text.SynonymReplacement(0.9, synonyms=WORDS),
    text.WordMasking(0.9, mask="口"),
    text.SpanMasking(0.9, mask="口"),
    text.SpanMasking(0.9, mask="口", merge=True),
    text.SentenceShuffle(0.9),
]
LATIN = [text.CharacterNoise(0.9), text.KeyboardNoise(0.9), text.CaseChange(0.9), text.WidthChange(0.9)]
"""Those that leave Chinese characters alone."""


def numbers(name: str, seed: int, epoch: int, index: int, count: int) -> list[float]:
    """What is drawn for a text, by the definition."""
    own: list[float] = uniform_by([derive(stream(seed, name), epoch, index)], count)[0].tolist()
    return own


def apply(technique: Any, texts: list[Any], seed: int = 0, epoch: int = 0) -> list[Any]:
    return text.TextTransform(technique, seed).batch(texts, index=range(len(texts)), epoch=epoch)
