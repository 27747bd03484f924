"""Columns of sentences: which ones they are, and their TF-IDF features."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dashpot.data.tables.columnar import MISSING, Levels, Rows
from dashpot.data.texts.topics import Topics

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MAX_TERMS = 4000
"""Terms of a text column; they stay sparse."""
MAX_TOPICS = 256
"""Features of all text columns of a table together."""
CELLS = 1 << 28
"""Features are dense float32: a longer table gets fewer of them, so that they stay within 1 GiB."""
CHUNK = 8192
COUNTED, COUNTED_TEXTS = 8 << 20, 20_000
"""Of a column with more characters, the terms are picked from so many, of so many texts at most: all that there is in
some hundred million characters would take tens of GiB.
"""
LEAST_VALUES, LEAST_WORDS, MANY_VALUES = 10, 3, 100
PIECES_SHARE = 0.25
PIECES_WEIGHT = 0.5

# Marks are words too: "?" and "!" tell much. Pieces lie within words; they carry inflections, misspellings and scripts
# without spaces.
_WORDS: dict[str, Any] = {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\w+|[^\w\s]"}
_PIECES: dict[str, Any] = {"analyzer": "char_wb", "ngram_range": (2, 4)}
_LETTER = re.compile(r"[^\W\d_]")
# Thai, Lao, Burmese, Khmer, Japanese, Chinese: two letters count as a word.
_SPACELESS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def reads_as_text(column: Levels, rows: np.ndarray) -> bool:
    """Whether a column holds sentences rather than names of levels.

    It does if its values in ``rows`` have 3 words or more (the median of the distinct ones; a word is what stands
    between spaces and has a letter in it), are at least 10 different ones, and either more than 100 or mostly distinct:
    at least half as many as there are rows with a value.

    Example:
        >>> import numpy as np
        >>> from dashpot.data.rows import levels_of
        >>> sentences = np.array([f"please call me at {i} o'clock" for i in range(12)], dtype=object)
        >>> reads_as_text(levels_of(sentences), np.arange(12))
        True
        >>> reads_as_text(levels_of(np.array(["dark red wine", "white wine"] * 6, dtype=object)), np.arange(12))
        False
    """
    counts = np.bincount(column.codes[rows], minlength=len(column.names))
    if MISSING in column.names:
        counts[column.names.index(MISSING)] = 0
    seen = np.flatnonzero(counts)
    if len(seen) < LEAST_VALUES or (len(seen) <= MANY_VALUES and 2 * len(seen) < counts.sum()):
        return False
    some = seen[:: max(1, len(seen) // 1000)]
    return bool(np.median([_count_words(column.names[i]) for i in some]) >= LEAST_WORDS)


@dataclass(frozen=True)
class Corpus:
    """Texts, counted once: every fold of a cross-validation picks its terms from these.

    Attributes:
        words, pieces: term -> column of its counts.
        word_counts, piece_counts: sparse float32 [texts, terms].
        places: of a sample, the row of each text of the column, -1 for those that are not in it; else None.
    """

    words: dict[str, int]
    word_counts: csr_matrix
    pieces: dict[str, int]
    piece_counts: csr_matrix
    places: np.ndarray | None = None

    @staticmethod
    def of(texts: Sequence[str]) -> Corpus:
        """Count everything in ``texts``."""
        return Corpus(*_count(texts, _WORDS), *_count(texts, _PIECES))

    @staticmethod
    def of_column(rows: Rows, name: str) -> Corpus:
        """The distinct texts of a column, in the order of ``rows.levels(name)``, where a missing one is empty. Of more
        than 8 million characters a sample: at most 20,000 texts, evenly spread, and of the longest ones the beginning.
        """
        if ("corpus", name) not in rows.memo:
            texts = distinct_texts(rows.levels(name))
            large = sum(map(len, texts)) > COUNTED
            rows.memo["corpus", name] = _sample(texts) if large else Corpus.of(texts)
        found: Corpus = rows.memo["corpus", name]
        return found


@dataclass(frozen=True)
class TextColumn:
    """TF-IDF of a text column, of words and pairs of words, and pieces of 2 to 4 characters within words; and what a
    network takes of it: topics (:class:`dashpot.data.texts.topics.Topics`), or the TF-IDF itself where terms are few.

    Counts are logarithmic (``1 + log(count)``) and weighted by ``log((1 + rows) / (1 + rows with the term)) + 1``;
    words and pieces are brought to length 1 each, pieces count half, and each row is brought to the length
    ``sqrt(terms)``, which a row of as many standardized columns has: a network learns from it at the same pace. A row
    in which no term is known, empty or missing text among them, is all zeros.

    Attributes:
        words, pieces: the terms, each set sorted.
        word_weights, piece_weights: of each term, from the training rows.
        topics: None where the features are the TF-IDF itself.

    Example:
        >>> column = TextColumn.fit(Corpus.of(["a red car", "a blue car", "the red house", ""]), np.arange(4), room=6)
        >>> column.names("note")[:3]
        ('note: a', 'note: car', 'note: red')
        >>> column.transform(["A red car!", "", "?"]).toarray().any(axis=1).tolist()
        [True, False, False]
    """

    words: tuple[str, ...]
    word_weights: tuple[float, ...]
    pieces: tuple[str, ...]
    piece_weights: tuple[float, ...]
    topics: Topics | None = None

    @staticmethod
    def fit(
        corpus: Corpus,
        codes: np.ndarray,
        room: int = MAX_TERMS,
        weight: np.ndarray | None = None,
        *,
        topics: int | None = None,
    ) -> TextColumn:
        """Learn from the training rows: the terms that most of them hold (at least 2 of them, where there are such),
        ``room`` in all.

        Args:
            codes: for each training row the number of its text in ``corpus``.
            weight: of each training row, by default 1.
            topics: at most so many, and one for two different texts, where there are more terms; None keeps the terms.
        """
        if corpus.places is not None:
            codes = corpus.places[codes]
            weight, codes = None if weight is None else weight[codes >= 0], codes[codes >= 0]
        for_pieces = int(PIECES_SHARE * room)
        words = _frequent(corpus.words, corpus.word_counts, codes, room - for_pieces, weight)
        terms = TextColumn(*words, *_frequent(corpus.pieces, corpus.piece_counts, codes, for_pieces, weight))
        repeats = np.bincount(codes, weights=weight, minlength=corpus.word_counts.shape[0])
        distinct = np.flatnonzero(repeats)
        most = None if topics is None else max(1, min(topics, len(distinct) // 2))
        if most is None or len(terms) <= most:
            return terms
        return replace(terms, topics=Topics.fit(terms.transform(corpus)[distinct], repeats[distinct], most))

    def __len__(self) -> int:
        """Features."""
        return len(self.words) + len(self.pieces) if self.topics is None else len(self.topics)

    def names(self, column: str) -> tuple[str, ...]:
        """Feature names: ``"note: topic 3 (late, train, the train)"``, or ``"note: how many"`` and
        ``"note: piece 'ing '"``.
        """
        if self.topics is not None:
            return tuple(f"{column}: {name}" for name in self.topics.names(self.words, self.pieces))
        return (*(f"{column}: {word}" for word in self.words), *(f"{column}: piece {piece!r}" for piece in self.pieces))

    def check(self) -> None:
        """Raise ValueError where values from a file do not fit together."""
        fits = True
        for terms, weights in ((self.words, self.word_weights), (self.pieces, self.piece_weights)):
            numbers = np.asarray(weights)
            fits &= isinstance(terms, tuple) and len(terms) == len(numbers)
            fits &= numbers.dtype.kind in "fi" and bool(np.isfinite(numbers).all())
        if fits and self.topics is not None and len(self.topics):
            fits &= self.topics.numbers.shape[1:] == (len(self.words) + len(self.pieces),)
            fits &= bool(np.isfinite(self.topics.unit))
        if not fits:
            raise ValueError("a column of texts must have a finite weight for each term, and one in each topic")

    def transform(self, texts: Sequence[str] | Corpus) -> csr_matrix:
        """Sparse TF-IDF, float32 [texts, terms]."""
        import scipy.sparse
        from sklearn.feature_extraction.text import TfidfTransformer
        from sklearn.preprocessing import normalize

        if isinstance(texts, Corpus):
            counts = (
                texts.word_counts[:, [texts.words[word] for word in self.words]],
                texts.piece_counts[:, [texts.pieces[p] for p in self.pieces]],
            )
        else:
            counts = _count(texts, _WORDS, self.words)[1], _count(texts, _PIECES, self.pieces)[1]
        parts = []
        for part, weights, share in zip(
            counts, (self.word_weights, self.piece_weights), (1.0, PIECES_WEIGHT), strict=True
        ):
            if weights:
                # As if it had been fitted; from plain lists, so that loading a run needs no pickle.
                made = TfidfTransformer(sublinear_tf=True)
                made.idf_ = np.array(weights)
                parts.append(made.transform(part) * share)
        if not parts:
            return _no_counts(counts[0].shape[0], 0)
        terms = len(self.words) + len(self.pieces)
        result: csr_matrix = (normalize(scipy.sparse.hstack(parts, format="csr")) * np.sqrt(terms)).astype(np.float32)
        return result

    def fill(self, out: np.ndarray, rows: Rows, name: str) -> None:
        """Write the features of a column to ``out`` [rows, features]; from its counts where they are there already."""
        corpus: Corpus | None = rows.memo.get(("corpus", name))
        known = (
            corpus is not None
            and corpus.places is None
            and corpus.words.keys() >= set(self.words)
            and corpus.pieces.keys() >= set(self.pieces)
        )
        texts, codes = distinct_texts(rows.levels(name)), rows.levels(name).codes
        counted = self.transform(corpus) if corpus is not None and known else None
        order = np.argsort(codes, kind="stable")
        edges = np.searchsorted(codes[order], np.arange(0, len(texts) + CHUNK, CHUNK))
        for i, start in enumerate(range(0, len(texts), CHUNK)):
            stop = start + CHUNK
            part = self.transform(texts[start:stop]) if counted is None else counted[start:stop]
            features = part.toarray() if self.topics is None else self.topics.transform(part)
            at = order[edges[i] : edges[i + 1]]
            out[at] = features[codes[at] - start]

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> TextColumn:
        """From plain JSON, as ``dataclasses.asdict`` gives it; what was saved before there were topics loads too."""
        terms = {name: tuple(values) for name, values in data.items() if name != "topics"}
        saved = data.get("topics")
        return TextColumn(**terms, topics=saved and Topics(saved["unit"], tuple(saved["weights"])))


def distinct_texts(column: Levels) -> list[str]:
    """The distinct values of a column; missing is empty."""
    return ["" if name == MISSING else name for name in column.names]


def _sample(texts: Sequence[str]) -> Corpus:
    picked = np.unique(np.linspace(0, len(texts) - 1, min(len(texts), COUNTED_TEXTS)).astype(np.int64))
    some = [texts[i] for i in picked]
    lengths = np.sort([len(text) for text in some])
    # The longest that a text may be for all of them together: those below it are whole.
    left = COUNTED - np.concatenate([[0], np.cumsum(lengths)[:-1]])
    longest = int(max(left // np.arange(len(some), 0, -1)))
    places = np.full(len(texts), -1)
    places[picked] = np.arange(len(picked))
    return replace(Corpus.of([text[:longest] for text in some]), places=places)


def _count_words(text: str) -> int:
    return sum(_LETTER.search(piece) is not None for piece in text.split()) + len(_SPACELESS.findall(text)) // 2


def _count(
    texts: Sequence[str], options: dict[str, Any], terms: tuple[str, ...] | None = None
) -> tuple[dict[str, int], csr_matrix]:
    """How often each of ``terms`` (all that there are, sorted, by default) is in each text."""
    from sklearn.feature_extraction.text import CountVectorizer

    if terms == () or not any(text.strip() for text in texts):  # scikit-learn refuses to have no terms
        places = {term: i for i, term in enumerate(terms or ())}
        return places, _no_counts(len(texts), len(places))
    counter = CountVectorizer(dtype=np.float32, vocabulary=terms, **options)
    counts = counter.fit_transform(texts)
    return {str(term): int(i) for term, i in counter.vocabulary_.items()}, counts


def _no_counts(rows: int, columns: int) -> csr_matrix:
    from scipy.sparse import csr_matrix

    shape: Any = (rows, columns)
    return csr_matrix(shape, dtype=np.float32)


def _frequent(
    terms: dict[str, int], counts: csr_matrix, codes: np.ndarray, room: int, weight: np.ndarray | None = None
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """The ``room`` terms that most rows hold, sorted, and their inverse document frequencies."""
    total = len(codes) if weight is None else float(weight.sum())
    repeats = np.bincount(codes, weights=weight, minlength=counts.shape[0])
    frequency = np.bincount(
        counts.indices, weights=np.repeat(repeats, np.diff(counts.indptr)), minlength=counts.shape[1]
    )
    least = 2 if (frequency >= 2).any() else 1
    # The columns are in the terms' order, so that ties fall by alphabet, whatever other rows hold.
    order = np.argsort(-frequency, kind="stable")[:room]
    picked = np.sort(order[frequency[order] >= least])
    weights = np.log((1 + total) / (1 + frequency[picked])) + 1
    names = np.array(sorted(terms, key=terms.__getitem__), dtype=object)
    return tuple(names[picked].tolist()), tuple(weights.tolist())
