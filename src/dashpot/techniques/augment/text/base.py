"""Techniques on texts: each says what becomes of a list of tokens; the base does strings, batches and ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dashpot.core.errors import DataError, UsageError
from dashpot.core.requires import Requires
from dashpot.core.rng import derive_all
from dashpot.core.running.batch import Batch
from dashpot.core.running.context import Context
from dashpot.core.running.nested import told
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Technique
from dashpot.texts.chunks import chunks
from dashpot.texts.functions import Function
from dashpot.texts.many import Many, Numbers
from dashpot.texts.protecting import DEFAULT, Protect
from dashpot.texts.rows import uniform_rows
from dashpot.texts.tokens import Words, joined, splitter

_FEW, _BLOCK = 4, 2048  # texts of which each is edited alone; texts whose arrays stay in the processor's cache

Edited = tuple[Sequence[Any], Sequence[int]]
"""The new tokens, and for each the place of the old one whose space it takes; -1 for one that was put in."""


class TextTechnique(Technique):
    """The base class of techniques on texts: strings, and, where a class says so, lists of tokens and ids [n, length].

    A subclass has fields and says in :meth:`texts` what becomes of strings. Most are made of :class:`WordTechnique`.
    """

    requires = Requires(modality=("text",))
    on_ids: ClassVar[bool] = False

    def silent(self) -> bool:
        """Whether its fields are such that it changes nothing."""
        return any(getattr(self, name) == off for name, off in self.off_values().items())

    def demand(self) -> None:
        """Refuse fields with which it cannot work; raise ConfigError. Called before work begins."""

    def check(self, view: ModelView, ctx: Context) -> None:
        self.demand()

    def texts(self, texts: Sequence[str], keys: np.ndarray) -> list[str]:
        """Strings as the technique leaves them.

        Args:
            texts: a list.
            keys: of the draws of each, uint64 [n].
        """
        raise NotImplementedError  # each technique defines it

    def token_lists(self, lists: Sequence[Sequence[str]], keys: np.ndarray) -> list[list[str]]:
        """Lists of tokens as the technique leaves them."""
        name = type(self).__name__
        raise UsageError(f"{name} needs whole texts, got lists of tokens. Join them first, or leave {name} out.")

    def ids(self, x: Tensor, mask: Tensor | None, keys: np.ndarray, view: ModelView) -> Tensor:
        """Ids [n, length] as the technique leaves them; of techniques on ids only."""
        raise UsageError(
            f"{type(self).__name__} needs texts or lists of tokens, got ids, whose words it cannot know. Apply it"
            " before they are turned into ids: dashpot.augment.text.TextTransform does."
        )

    def on_batch(self, batch: Batch, ctx: Context) -> Batch:
        x = batch.x
        n = len(x) if hasattr(x, "__len__") else 0
        keys = derive_all(np.full(n, ctx.draws().key, dtype=np.uint64), np.arange(n, dtype=np.uint64))
        if isinstance(x, Tensor):
            if x.ndim != 2 or x.is_floating_point() or x.dtype == torch.bool:
                raise self._refused(x)
            mask = batch.mask
            if mask is not None and mask.dtype != torch.bool:
                mask = torch.arange(x.shape[1], device=mask.device) < mask[:, None]
            return batch if self.silent() else batch.replace(x=self.ids(x, mask, keys, ctx.view))
        return batch.replace(x=self.changed(x, keys))

    def changed(self, x: Any, keys: np.ndarray) -> Any:
        """Texts, or lists of tokens, of any kind that a batch may have.

        Raises:
            UsageError: neither.
            DataError: one of them is no text.
        """
        if isinstance(x, str | bytes) or not isinstance(x, list | tuple | np.ndarray):
            raise self._refused(x)
        rows = x.tolist() if isinstance(x, np.ndarray) else list(x)
        if rows and isinstance(rows[0], list | tuple):
            check_texts([token for tokens in rows for token in tokens])
            return self.token_lists(rows, keys)
        check_texts(rows)
        found = self.texts(rows, keys)
        return np.array(found, dtype=object) if isinstance(x, np.ndarray) else type(x)(found)

    def _refused(self, x: Any) -> UsageError:
        kinds = "texts, lists of tokens or whole numbers [batch, length]" if self.on_ids else "texts or lists of tokens"
        shape = f" of shape {list(x.shape)}" if isinstance(x, Tensor) else ""
        name = type(self).__name__
        return UsageError(f"{name} needs {kinds}, got {told(x)}{shape}. Pass a list of them, or leave {name} out.")


class WordTechnique(TextTechnique):
    """The base class of techniques that see a text as a list of tokens.

    A subclass has fields and says in :meth:`edit` what becomes of the tokens of one text. The text is put together
    again with the space that was there. It may say the same of many texts at once in :meth:`edit_all`, in a tenth of
    the time.

    Class attributes:
        numbers: random numbers that :meth:`edit` takes, for each token and for each text.

    Example:
        >>> import dashpot
        >>> from dashpot.techniques.augment.text.base import WordTechnique
        >>> class Shout(WordTechnique):
        ...     def edit(self, words, draws):
        ...         loud = [token.upper() if u < 0.5 else token for token, u in zip(words.tokens, draws)]
        ...         return loud, range(len(loud))
        >>> transform = dashpot.augment.text.TextTransform(Shout(), seed=1)
        >>> transform("it was a dark,  dark night", index=0)
        'IT was a dark,  DARK night'
    """

    numbers: ClassVar[tuple[int, int]] = (1, 0)

    tokenizer: Annotated[Any, Function("a function of a text that gives its tokens", ("words", "characters"))] = "words"
    protect: Annotated[str, Protect()] = DEFAULT

    def edit(self, words: Words, draws: Sequence[float]) -> Edited:
        """What becomes of a text that has a place to change.

        Args:
            words: its tokens, and which of them may change; not to be written to.
            draws: as many numbers in [0, 1) as the class says in ``numbers``: those of each token first.
        """
        raise NotImplementedError  # each technique defines it

    def edit_all(self, many: Many, numbers: Numbers) -> Many:
        """What becomes of many texts, with the same bits as :meth:`edit` of each.

        Args:
            many: texts, of which those without a token that may change must stay; not to be written to.
            numbers: of their tokens and texts.
        """
        raise NotImplementedError  # where a technique does not define it, each text is edited alone

    def texts(self, texts: Sequence[str], keys: np.ndarray) -> list[str]:
        if self.silent():
            return list(texts)
        if len(texts) >= _FEW and _edits_many(type(self)):
            together = chunks(self.tokenizer, self.protect)
            return [new for some, own in _blocks(texts, keys) for new in self._all(together(some), own).texts()]
        split = splitter(self.tokenizer, self.protect)
        found = [split(text) for text in texts]
        edited = self._edited(found, keys)
        return [
            text if new is None else joined(*new, words.gaps)
            for text, words, new in zip(texts, found, edited, strict=True)
        ]

    def token_lists(self, lists: Sequence[Sequence[str]], keys: np.ndarray) -> list[list[str]]:
        if self.silent():
            return [list(tokens) for tokens in lists]
        if len(lists) >= _FEW and _edits_many(type(self)):
            together = chunks(self.tokenizer, self.protect)
            return [new for some, own in _blocks(lists, keys) for new in self._all(together.listed(some), own).lists()]
        split = splitter(self.tokenizer, self.protect)
        found = [split.listed(tokens) for tokens in lists]
        edited = self._edited(found, keys)
        return [words.tokens if new is None else list(new[0]) for words, new in zip(found, edited, strict=True)]

    def _all(self, many: Many, keys: np.ndarray) -> Many:
        return self.edit_all(many, Numbers(keys, many))

    def _edited(self, found: Sequence[Words], keys: np.ndarray) -> list[Edited | None]:
        """What becomes of each; None: it has nothing to change."""
        each, once = self.numbers
        rows = uniform_rows(keys, [each * len(w.tokens) + once if w.places else 0 for w in found])
        return [self.edit(words, row) if words.places else None for words, row in zip(found, rows, strict=True)]


def _edits_many(kind: type[WordTechnique]) -> bool:
    """Whether ``edit_all`` is of the class that says in ``edit`` what is done, or of one derived from it."""
    for base in kind.__mro__:
        if "edit_all" in vars(base):
            return base is not WordTechnique
        if "edit" in vars(base):
            return False
    return False


def _blocks(rows: Sequence[Any], keys: np.ndarray) -> Iterator[tuple[Sequence[Any], np.ndarray]]:
    for start in range(0, len(rows), _BLOCK):
        yield rows[start : start + _BLOCK], keys[start : start + _BLOCK]


def check_texts(texts: Sequence[Any]) -> None:
    """Refuse what is no text.

    Raises:
        DataError: with the place of the first.
    """
    if set(map(type, texts)) <= {str}:
        return
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                f"text {place} must be a str, got {text!r}. Replace missing texts by '' and decode bytes first."
            )
