"""Techniques on texts that need not know the words, and so act on ids, too."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Domain, Range
from dashpot.techniques.augment.text.base import WordTechnique
from dashpot.texts.tokens import Words


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
    """The base class of techniques on texts and on ids [n, length], in which ``padding_id`` fills short texts.

    Where the batch has a mask or lengths they say which positions are tokens; else all but those of ``padding_id``.
    """

    on_ids: ClassVar[bool] = True

    padding_id: Annotated[int, Range(0, float("inf"), integer=True)] = 0
    protected_ids: Annotated[tuple[int, ...], Ids()] = ()

    def ids(self, x: Tensor, mask: Tensor | None, keys: np.ndarray) -> Tensor:
        rows = x.tolist()
        real = (x != self.padding_id if mask is None else mask).tolist()
        kept = set(self.protected_ids)
        found, where = [], []
        for row, real_ones in zip(rows, real, strict=True):
            where.append([i for i, is_real in enumerate(real_ones) if is_real])
            tokens = [row[i] for i in where[-1]]
            found.append(Words(tokens, [i for i, token in enumerate(tokens) if token not in kept], []))
        for row, places, new in zip(rows, where, self._edited(found, keys), strict=True):
            if new is not None:
                filled = [*new[0], *[self.padding_id] * (len(places) - len(new[0]))]
                for place, token in zip(places, filled, strict=True):
                    row[place] = token
        return torch.tensor(rows, dtype=x.dtype, device=x.device).view(x.shape)
