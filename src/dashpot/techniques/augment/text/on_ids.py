"""Techniques on texts that need not know the words, and so act on ids and on rows of networks for texts, too."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dashpot.core.draws import uniform_by
from dashpot.core.errors import ConfigError, ConflictError
from dashpot.core.fields.domains import Domain, Range
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.techniques.augment.text.base import WordTechnique
from dashpot.techniques.augment.text.units import Change, Units, put_back
from dashpot.texts.lexicon import EDGE, NOTHING, SHAPES, SPECIAL, UNKNOWN
from dashpot.texts.spelling import DIGITS, FIELD, MARK, MIXED
from dashpot.texts.token_table import TokenTable
from dashpot.texts.tokens import splitter


class Ids(Domain):
    """Whole numbers >= 0: a tuple of them, or text such as ``"101 102"``."""

    @property
    def rule(self) -> str:
        return "whole numbers >= 0, such as (101, 102) or '101 102'"

    def check(self, parameter: str, value: Any) -> tuple[int, ...]:
        if isinstance(value, str) and re.fullmatch(r"[\s(]*(?:\d+[\s,]*)*[)\s]*", value):
            return tuple(int(number) for number in re.findall(r"\d+", value))
        whole = isinstance(value, tuple | list) and all(type(n) is int and n >= 0 for n in value)
        if not whole:
            raise ConfigError(parameter, self.rule, value)
        return tuple(value)

    def parse(self, parameter: str, text: str) -> tuple[int, ...]:
        return self.check(parameter, text)


class IdTechnique(WordTechnique):
    """The base class of techniques on texts, on ids [n, length], in which ``padding_id`` fills short texts, and on the
    rows of networks for texts.

    A subclass says in :meth:`edit` what becomes of the tokens of one text, and in :meth:`change` what becomes of a
    batch of them; the same numbers are drawn for both.

    Of ids, the batch's mask or lengths say which positions are tokens; else all but those of ``padding_id``. Rows
    (:class:`dashpot.texts.lexicon.Lexicon`) are known by the model: a module of it has the attribute ``first_piece``,
    as those of networks for texts have. A word moves with its pieces, and edges and marks stay. What is protected is
    known by the words of the lexicon, where that module has them in ``vocabulary``, and by their shape: numbers among
    unknown words are protected, too. Of tokens of an encoder that is trained further a word moves with its pieces, and
    is known by its first one. What is longer than a word, such as an address, is not known in a row. The values
    of other columns that stand in a row stay.
    """

    on_ids: ClassVar[bool] = True

    padding_id: Annotated[int, Range(0, float("inf"), integer=True)] = 0
    protected_ids: Annotated[tuple[int, ...], Ids()] = ()

    def change(self, free: Tensor, draws: Sequence[Tensor]) -> Change:
        """What becomes of a batch.

        Args:
            free: bool [batch, units], the words that may change.
            draws: as many tensors float32 [batch, units] of numbers in [0, 1) as the class says in ``numbers``.
        """
        raise NotImplementedError  # each technique defines it

    def check(self, view: ModelView, ctx: Context) -> None:
        super().check(view, ctx)
        for module in view.modules.values():
            if why := getattr(module, "wordless", None):
                name = type(self).__name__
                raise ConflictError(
                    f"{name} changes words, and the network takes {why}. Leave {name} out, or change the texts before:"
                    " `dashpot augment-text`."
                )

    def ids(self, x: Tensor, mask: Tensor | None, keys: np.ndarray, view: ModelView) -> Tensor:
        if not x.numel():
            return x
        if (encoder := next((m for m in view.modules.values() if _table_of(m) is not None), None)) is not None:
            return self._tokens(x, mask, keys, encoder)
        tables = next((m for m in view.modules.values() if isinstance(getattr(m, "first_piece", None), int)), None)
        if tables is None:
            there = x != self.padding_id if mask is None else mask
            kept = torch.tensor(self.protected_ids, dtype=x.dtype, device=x.device)
            units = Units.of(x, there, there, there, there & ~torch.isin(x, kept))
            return put_back(x, there, self._drawn(units, keys, vars(self).get("mask_id", 0), self.padding_id))
        before, x = x[:, : getattr(tables, "before", 0)], x[:, getattr(tables, "before", 0) :]
        there = x != NOTHING if mask is None else mask[:, before.shape[1] :] & (x != NOTHING)
        units = self._rows(x, there, tables)
        found = put_back(x, there, self._drawn(units, keys, SHAPES * UNKNOWN, NOTHING))
        return torch.cat([before, found], dim=1) if before.shape[1] else found

    def _tokens(self, x: Tensor, mask: Tensor | None, keys: np.ndarray, encoder: Any) -> Tensor:
        """Rows that begin with the tokens of an encoder, the number of each and 1."""
        width, table = int(encoder.before), _table_of(encoder)
        assert table is not None, "the caller has looked"
        own, behind = x[:, :width], x[:, width:]
        there = own > 0 if mask is None else mask[:, :width] & (own > 0)
        number = (own - 1).clamp_min(0).long()
        begins, special = table.begins.to(x.device)[number], table.special.to(x.device)[number]
        known = _free(_Same(table.words), self.tokenizer, self.protect).to(x.device, non_blocking=True)
        word = there & begins & ~special
        units = Units.of(own, there, there & begins, word, word & known[number + SPECIAL])
        found = put_back(own, there, self._drawn(units, keys, table.mask + 1, 0))
        return torch.cat([found, behind], dim=1) if behind.shape[1] else found

    def _drawn(self, units: Units, keys: np.ndarray, mask: int, padding: int) -> Tensor:
        each = self.numbers[0]
        table = uniform_by(keys, each * units.x.shape[1], units.x.device)
        last = table.shape[1] - 1
        draws = [table.gather(1, (units.token + k * units.tokens[:, None]).clamp_max(last)) for k in range(each)]
        return units.changed(self.change(units.free, draws), mask, padding)

    def _rows(self, x: Tensor, there: Tensor, tables: Any) -> Units:
        first, words = int(tables.first_piece), getattr(tables, "vocabulary", ())
        number, shape = torch.div(x, SHAPES, rounding_mode="floor").long(), x % SHAPES
        piece = number >= first
        word = there & ~piece & (number != EDGE)
        free = word & (shape != MARK)
        if words:
            known = _free(_Same(words), self.tokenizer, self.protect).to(x.device, non_blocking=True)
            free &= known[number.clamp_max(len(known) - 1)]
        if "numbers" in self.protect.split("|"):
            digits = (shape == DIGITS) | (shape == MIXED)
            free &= ~(digits & (number == UNKNOWN if words else digits))
        return Units.of(x, there, there & ~piece, word, free)


def _table_of(module: Any) -> TokenTable | None:
    """The tokens of a network that takes those of an encoder."""
    table = getattr(module, "token_table", None)
    return table if isinstance(table, TokenTable) else None


class _Same:
    """The words of a lexicon, by identity: to hash all of them takes longer than a batch."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words

    def __hash__(self) -> int:
        return id(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.words is self.words


@functools.lru_cache(maxsize=64)
def _free(same: _Same, tokenizer: Any, protect: str) -> Tensor:
    """Which entries may change, bool [entries of words and of what is none]."""
    free = torch.zeros(SPECIAL + len(same.words), dtype=torch.bool, device="cpu")
    free[UNKNOWN] = True
    places = splitter(tokenizer, protect).listed(same.words).places
    # The value of another column is no word of a text.
    free[[SPECIAL + i for i in places if not same.words[i].startswith(FIELD)]] = True
    return free
