"""Random insertion: words of the text, or synonyms of them, are put in."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Any

import numpy as np

from dashpot.core.fields.domains import Range
from dashpot.techniques.augment.text.base import Edited, WordTechnique
from dashpot.texts.many import Many, Numbers
from dashpot.texts.tables import Replacements, Source
from dashpot.texts.tokens import Words


def with_insertions(
    tokens: Sequence[str], places: Sequence[int], draws: Sequence[float], rate: float, inserted: Sequence[Sequence[str]]
) -> tuple[list[str], list[int]]:
    """The tokens with one of ``inserted``, of one group drawn, after each of ``places`` whose number is below ``rate``.

    Args:
        draws: three numbers of each token: whether, which group, which of the group.
        inserted: groups of words, none of them empty.

    Example:
        >>> with_insertions(["a", "b"], [0, 1], [0.0, 0.9, 0.99, 0, 0, 0], 0.1, [["x"], ["y"]])
        (['a', 'y', 'b'], [0, -1, 1])
    """
    free, n = set(places) if inserted else set(), len(tokens)
    found: list[str] = []
    origins: list[int] = []
    for i, token in enumerate(tokens):
        found.append(token)
        origins.append(i)
        if i in free and draws[i] < rate:
            group = inserted[int(draws[n + i] * len(inserted))]
            found.append(group[int(draws[2 * n + i] * len(group))])
            origins.append(-1)
    return found, origins


class RandomInsertion(WordTechnique):
    r"""After each word put in a word with probability rate: a synonym of a random word of the text, or a copy of one.

    .. math:: w_i \to w_i \, s, \quad s \in S(w_j), \; j \text{ uniform, where } u_i < \text{rate}

    With ``synonyms`` a word is drawn among those that have some, and one of its synonyms is put in; a text without
    such words stays as it is. Without, copies of the text's own words are put in. Nothing that is protected is copied.

    Args:
        rate: probability of each word, in [0, 1]; 0 is off. 0.1 is usual.
        synonyms: see :class:`SynonymReplacement`; None: copies.
        tokenizer: see :class:`RandomDeletion`.
        protect: see :class:`RandomDeletion`.

    Raises:
        UsageError: inputs that are no texts or lists of tokens.
        DataError: a text that is none, such as None; a file of synonyms with a bad line.

    Example:
        >>> import dashpot
        >>> insertion = dashpot.augment.text.RandomInsertion(0.3, synonyms={"film": ["movie", "picture"]})
        >>> dashpot.augment.text.TextTransform(insertion, seed=0)("this film was not bad, but long", index=0)
        'this film picture was picture not bad, but long'

    Paper: Wei and Zou, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification Tasks",
    EMNLP 2019, arXiv 1901.11196.

    When not to use it: where a text's length or the exact number of its words matters.
    """

    summary = "puts in words of the text or synonyms of them"
    numbers = (3, 0)

    rate: Annotated[float, Range(0.0, 1.0, search=(0.02, 0.3), off=0.0)] = field(default=0.1, kw_only=False)
    synonyms: Annotated[Any, Source()] = None

    def edit(self, words: Words, draws: Sequence[float]) -> Edited:
        own = [words.tokens[i] for i in words.places]
        source: Replacements | None = self.synonyms
        groups = [[word] for word in own] if source is None else [found for word in own if (found := source.of(word))]
        return with_insertions(words.tokens, words.places, draws, self.rate, groups)

    def edit_all(self, many: Many, numbers: Numbers) -> Many:
        source: Replacements | None = self.synonyms
        chosen = many.free & (numbers.of_tokens(0) < self.rate)
        grouped = many.free
        if source is not None:
            grouped = grouped & many.strings.ask(source.count, many.tokens).astype(bool)
        groups, starts = np.flatnonzero(grouped), many.before(grouped)
        sizes = np.diff(starts)
        texts = many.texts_of()
        where = np.flatnonzero(chosen & (sizes[texts] > 0))
        own = texts[where]
        drawn = groups[starts[own] + (numbers.of_tokens(1, where) * sizes[own]).astype(np.int64)]
        put_in = many.tokens[drawn]
        if source is not None:
            pairs = zip(many.strings.of(put_in), numbers.of_tokens(2, where).tolist(), strict=True)
            put_in = many.strings.numbers([(of := source.of(word))[int(u * len(of))] for word, u in pairs])
        return many.with_inserted(where, put_in)
