"""Reference models of texts: scikit-learn's linear models on sparse TF-IDF of words and of characters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dashpot.nets.margins import COMPLEMENT, RIDGE, Solved, SparseRows, fit_margins, fit_ridge

MOST_CHARACTERS = 15_000_000
"""Of training texts: to count and fit takes some 60 bytes for each. Of more a drawn part is learned from."""
MOST_WORDS, MOST_PIECES = 200_000, 100_000
"""Terms that are kept, the most frequent ones."""
LONGEST = 20_000
"""Characters that are read of a text."""
_WORD = r"(?u)\w+|[^\w\s]"
STRENGTHS = {
    "logistic": (3.0, 10.0, 30.0),
    "svm": (0.1, 0.3, 1.0),
    "nb-svm": (0.03, 0.1, 0.3),
    COMPLEMENT: (1.0, 3.0, 10.0),
}
PENALTIES = (0.1, 1.0, 10.0)


@dataclass
class TextReference:
    """A linear model of raw texts, objects [n, columns], with the methods of a scikit-learn model.

    TF-IDF is of words and pairs of words, and of 3 to 5 characters within words, with sublinear counts and a length
    of 1 for each; for the naive Bayes SVM a term is there or not, and for complement naive Bayes it is counted. Nothing
    is dense. Held-out parts of the training rows choose
    the strength.

    Args:
        how: a name in :data:`dashpot.nets.margins.LINEAR`, or ``"ridge"``.
        quick: take one strength that mostly suits, of classes.
    """

    how: str
    quick: bool = False
    classes_: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    note: str = ""

    def fit(self, x: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> TextReference:
        """Learn from texts and their classes (whole numbers) or values."""
        texts = one_text_each(x)
        kept = _some(texts)
        if len(kept) < len(texts):
            self.note = f"learned from {len(kept)} texts of {len(texts)}, drawn at random, to bound memory"
        weight = None if sample_weight is None else sample_weight[kept]
        self.terms = _vectorizer(self.how)
        features = self.terms.fit_transform([texts[i] for i in kept])
        if self.how == RIDGE:
            self.solved = _best_ridge(SparseRows(features, y[kept], weight))
            return self
        self.classes_, codes = np.unique(y[kept], return_inverse=True)
        rows = SparseRows(features, codes, weight)
        strengths = STRENGTHS[self.how]
        self.solved = fit_margins(self.how, rows, len(self.classes_), strengths[1:2] if self.quick else strengths, 0)
        return self

    @property
    def coef_(self) -> np.ndarray:
        """[outputs, terms]."""
        return self.solved[0].T

    def _outputs(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.terms.transform(one_text_each(x)) @ self.solved[0] + self.solved[1])

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Classes, or values."""
        out = self._outputs(x)
        return out[:, 0] if self.how == RIDGE else np.asarray(self.classes_[out.argmax(axis=1)])

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """[n, classes]."""
        z = self._outputs(x)
        chance = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(chance / chance.sum(axis=1, keepdims=True))


def text_references(task: str, *, quick: bool = False) -> dict[str, Callable[[int], TextReference]]:
    """Name -> function that makes an unfitted model, whatever the size."""
    if task != "classification":
        return {"ridge regression": lambda size: TextReference(RIDGE)}
    return {
        "logistic regression, L2": lambda size: TextReference("logistic", quick),
        "linear SVM": lambda size: TextReference("svm", quick),
        "naive Bayes SVM": lambda size: TextReference("nb-svm", quick),
        "complement naive Bayes": lambda size: TextReference(COMPLEMENT, quick),
    }


def one_text_each(x: np.ndarray) -> list[str]:
    """The columns of texts [n, columns] joined; what is missing is empty.

    >>> one_text_each(np.array([["a film", "good"], ["a play", None]], dtype=object))
    ['a film\\ngood', 'a play\\n']
    """
    return ["\n".join(_text(value) for value in row)[:LONGEST] for row in x]


def _text(value: Any) -> str:
    missing = value is None or (isinstance(value, float) and np.isnan(value))
    return "" if missing else str(value)


def _some(texts: list[str]) -> np.ndarray:
    """As many rows as memory allows, in order."""
    order = np.random.default_rng(0).permutation(len(texts))
    read = np.cumsum([len(texts[i]) for i in order])
    return np.sort(order[: max(1, int(np.searchsorted(read, MOST_CHARACTERS, side="right")))])


def _vectorizer(how: str) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.pipeline import make_union

    counted = how in ("nb-svm", COMPLEMENT)
    options: dict[str, Any] = {"binary": how == "nb-svm", "dtype": np.float64} if counted else {"sublinear_tf": True}
    make = CountVectorizer if counted else TfidfVectorizer
    return make_union(
        make(ngram_range=(1, 2), token_pattern=_WORD, max_features=MOST_WORDS, **options),
        make(analyzer="char_wb", ngram_range=(3, 5), max_features=MOST_PIECES, **options),
    )


def _best_ridge(rows: SparseRows) -> Solved:
    """Of 3 folds the penalty with the least squared error."""
    part = np.random.default_rng(0).permutation(len(rows.y)) % 3
    errors = []
    for penalty in PENALTIES:
        total = 0.0
        for fold in range(3):
            inside, out = np.flatnonzero(part != fold), rows.part(np.flatnonzero(part == fold))
            w, b = fit_ridge(rows.part(inside), 1 / penalty)
            total += float(np.average((out.x @ w[:, 0] + b[0] - out.y) ** 2, weights=out.weight))
        errors.append(total)
    return fit_ridge(rows, 1 / PENALTIES[int(np.argmin(errors))])
