"""Techniques that change texts while training."""

from __future__ import annotations

from dashpot.techniques.augment.text.back_translation import BackTranslation
from dashpot.techniques.augment.text.case_change import CaseChange
from dashpot.techniques.augment.text.character_noise import CharacterNoise
from dashpot.techniques.augment.text.keyboard_noise import KeyboardNoise
from dashpot.techniques.augment.text.punctuation_insertion import PunctuationInsertion
from dashpot.techniques.augment.text.random_deletion import RandomDeletion
from dashpot.techniques.augment.text.random_insertion import RandomInsertion
from dashpot.techniques.augment.text.random_swap import RandomSwap
from dashpot.techniques.augment.text.sentence_shuffle import SentenceShuffle
from dashpot.techniques.augment.text.span_masking import SpanMasking
from dashpot.techniques.augment.text.synonym_replacement import SynonymReplacement
from dashpot.techniques.augment.text.width_change import WidthChange
from dashpot.techniques.augment.text.word_masking import WordMasking
from dashpot.training.text_transform import TextTransform

__all__ = [
    "BackTranslation",
    "CaseChange",
    "CharacterNoise",
    "KeyboardNoise",
    "PunctuationInsertion",
    "RandomDeletion",
    "RandomInsertion",
    "RandomSwap",
    "SentenceShuffle",
    "SpanMasking",
    "SynonymReplacement",
    "TextTransform",
    "WidthChange",
    "WordMasking",
]
