"""A table with a column of texts, and its features by scikit-learn alone."""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

GOOD = ["fine", "great", "lovely", "warm", "kind"]
BAD = ["awful", "broken", "cold", "rude", "late"]


def sentences(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    target = np.arange(n) % 2
    words = [rng.choice(GOOD if t else BAD, 3) for t in target]
    return np.array(
        [f"the {a} room, {b} staff and {c} food no {i}!" for i, (a, b, c) in enumerate(words)], dtype=object
    ), target


def frame(n: int = 60) -> pl.DataFrame:
    texts, target = sentences(n)
    rng = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "note": texts,
            "size": rng.normal(size=n),
            "colour": rng.choice(["red", "dark blue sea"], n),
            "target": np.where(target, "yes", "no"),
        }
    )


def reference(texts: list[str], new: list[str], words: int, pieces: int) -> np.ndarray:
    """The same features by scikit-learn's vectorizers alone, for texts that hold no more terms than
    there is room for.
    """
    first = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\w+|[^\w\s]", sublinear_tf=True, min_df=2).fit(
        texts
    )
    second = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, min_df=2).fit(texts)
    assert len(first.vocabulary_) <= words
    assert len(second.vocabulary_) <= pieces
    out = normalize(hstack([first.transform(new), 0.5 * second.transform(new)])).toarray()
    return out * np.sqrt(out.shape[1])
