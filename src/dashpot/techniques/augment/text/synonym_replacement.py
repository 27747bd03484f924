"""Synonym replacement: words are replaced by what a table or a function gives for them."""

from dataclasses import field
from typing import Annotated, Any

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Range
from dashpot.techniques.augment.text.each_word import EachWord
from dashpot.texts.tables import Source


class SynonymReplacement(EachWord):
    r"""Replace each word that has synonyms by one of them, with probability rate.

    .. math:: w_i \leftarrow s, \quad s \in S(w_i) \text{ uniform, where } u_i < \text{rate}

    A word with a capital, or in capitals, is looked up in small letters where the table lacks it, and its replacement
    is written likewise. A table of characters that sound or look alike makes of it an augmentation of Chinese. For
    words of several characters give a ``tokenizer`` that finds them, such as ``"jieba:lcut"``.

    Args:
        rate: probability of each word, in [0, 1]; 0 is off. 0.1 to 0.3 is usual.
        synonyms: a dict from words to their replacements; a function of a word that gives some; the path of a file of
            two columns: a word, a tab or comma, and its replacements with ``|`` between them; or ``"wordnet:LEXICON"``:
            the other words of all its meanings in a lexicon of the package ``wn``, such as ``wordnet:oewn:2024``
            (``pip install "dashpot[wn]"``, then ``python -m wn download oewn:2024`` once). There is none by default. A
            function, such as a language model, is asked once for each word. In a recipe file write a path, or
            ``module:function``.
        tokenizer: see :class:`RandomDeletion`.
        protect: see :class:`RandomDeletion`.

    Raises:
        ConfigError: without synonyms, before work begins.
        UsageError: inputs that are no texts or lists of tokens.
        DataError: a text that is none, such as None; a file of synonyms with a bad line, whose number is told.
        StorageError: the file cannot be read.

    Example:
        >>> import dashpot
        >>> synonyms = dashpot.augment.text.SynonymReplacement(0.9, synonyms={"film": ["movie"], "天": ["日"]})
        >>> transform = dashpot.augment.text.TextTransform(synonyms, seed=0)
        >>> transform("Film of the year, not a film", index=0), transform("今天很好", index=1)
        ('Movie of the year, not a movie', '今日很好')

    Paper: Zhang, Zhao and LeCun, "Character-level Convolutional Networks for Text Classification", NeurIPS 2015,
    arXiv 1509.01626.

    When not to use it: with a table that knows no meanings in context, where words are ambiguous.
    """

    summary = "replaces words by synonyms of a table or function"
    numbers = (2, 0)

    rate: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.5), off=0.0)] = field(default=0.1, kw_only=False)
    synonyms: Annotated[Any, Source()] = None

    def demand(self) -> None:
        if self.synonyms is None and not self.silent():
            raise ConfigError(
                "SynonymReplacement.synonyms",
                "a dict, a function, or the path of a file of two columns",
                None,
                "Give one, such as synonyms='synonyms.tsv'.",
            )

    def change(self, word: str, *draws: float) -> str:
        self.demand()
        choices = self.synonyms.of(word)
        return choices[int(draws[0] * len(choices))] if choices else word
