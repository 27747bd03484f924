"""References of texts against scikit-learn's own pipelines on made texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import ComplementNB
from sklearn.pipeline import make_pipeline, make_union

import dashpot
from dashpot.comparison import text_references
from dashpot.comparison.compare import compare, default_recipe
from dashpot.comparison.reference_models import reference_inputs, references
from dashpot.comparison.text_references import TextReference, one_text_each
from dashpot.data import Problem
from dashpot.nets.margins import COMPLEMENT, SparseRows, complement_bayes, fit_margins


def made(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Short reviews in two columns, whose class one word tells, and some tell nothing."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 2, n)
    words = [["awful", "dull", "cold"], ["great", "warm", "lively"]]
    texts = [
        [f"the film {random.integers(20)} is {random.choice(words[label])} and long", f"seen {random.integers(9)}"]
        for label in y
    ]
    return np.array(texts, dtype=object), np.where(random.random(n) < 0.1, 1 - y, y)


def vectors() -> Any:
    return make_union(
        TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\w+|[^\w\s]", sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True),
    )


@pytest.mark.parametrize("name", ["logistic regression, L2", "linear SVM", "naive Bayes SVM", "complement naive Bayes"])
def test_references_of_texts_learn_and_give_probabilities(name: str) -> None:
    x, y = made(150, 0)
    new, truth = made(150, 1)
    model = references("classification", quick=True, kind="text")[name](0)
    model.fit(x, y)
    chance = model.predict_proba(new)
    assert np.allclose(chance.sum(axis=1), 1)
    assert (model.predict(new) == truth).mean() > 0.84
    assert -np.log(chance[np.arange(150), truth]).mean() < 0.45  # one in ten is wrong: 0.325
    assert model.coef_.shape[0] == 2


def test_logistic_regression_ranks_as_a_pipeline_of_scikit_learn() -> None:
    x, y = made(150, 0)
    new = made(60, 1)[0]
    model = TextReference("logistic", quick=True).fit(x, y)
    theirs = make_pipeline(vectors(), LogisticRegression(C=10, solver="liblinear", tol=1e-6))
    margin = theirs.fit(one_text_each(x), y).decision_function(one_text_each(new))
    ours = np.diff(np.log(model.predict_proba(new)), axis=1)[:, 0]
    assert np.allclose(ours * (margin @ margin) / (ours @ margin), margin, atol=0.02)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("weighed", [False, True])
def test_complement_naive_bayes_is_that_of_scikit_learn(classes: int, weighed: bool) -> None:
    random = np.random.default_rng(0)
    x = csr_matrix(random.poisson(0.5, (60, 12)).astype(np.float64))
    y, weight = random.integers(0, classes, 60), random.integers(1, 4, 60).astype(np.float64) if weighed else None
    for smoothing in (0.1, 1.0):
        w, b = complement_bayes(SparseRows(x, y, weight), smoothing, classes)
        theirs = ComplementNB(alpha=smoothing).fit(x, y, sample_weight=weight)
        assert np.allclose(x @ w + b, theirs._joint_log_likelihood(x), atol=1e-9)


def test_complement_naive_bayes_gives_a_class_without_rows_no_chance() -> None:
    x, y = csr_matrix(np.eye(4)), np.array([0, 0, 2, 2])
    w, b = fit_margins(COMPLEMENT, SparseRows(x, y), 3, (1.0,), 0)
    assert ((x @ w + b).argmax(axis=1) == y).all()
    counted = TextReference(COMPLEMENT, quick=True).fit(np.array([["a a b"], ["b c"], ["c c"]], dtype=object), y[1:])
    assert counted.terms.transform(["a a b"]).max() == 2


def test_values_and_weights() -> None:
    x, y = made(120, 0)
    model = references("regression", kind="text")["ridge regression"](0)
    model.fit(x, 3.0 * y + 1)
    new = made(100, 1)[0]
    theirs = [make_pipeline(vectors(), Ridge(alpha=alpha)).fit(one_text_each(x), 3.0 * y + 1) for alpha in (0.1, 1, 10)]
    theirs = [one.predict(one_text_each(new)) for one in theirs]
    assert any(np.allclose(model.predict(new), one, atol=1e-3) for one in theirs)
    weight = np.where(np.arange(120) < 60, 1.0, 0.001)
    weighed = TextReference("svm", quick=True).fit(x, y, sample_weight=weight)
    assert not np.allclose(weighed.predict_proba(new), TextReference("svm", quick=True).fit(x, y).predict_proba(new))


def test_of_too_many_characters_a_part_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_references, "MOST_CHARACTERS", 2000)
    x, y = made(150, 0)
    model = TextReference("svm", quick=True).fit(x, y)
    assert model.note.startswith("learned from ")
    assert "of 150, drawn at random" in model.note


def test_texts_are_compared_with_linear_models_of_raw_texts() -> None:
    x, y = made(80, 0)
    problem = Problem("reviews", x, np.where(y, "good", "bad").astype(object))
    assert reference_inputs(problem, problem.prepare(np.arange(40))) is problem.inputs
    notes: list[Any] = []
    record = compare(problem, dashpot.Dropout(p=0.2) | dashpot.Recipe(), repeats=1, epochs=1, note=notes.append)
    scores = {arm.name: arm.runs[0] for arm in record.arms}
    assert list(scores) == [
        "baseline",
        "dropout",
        "logistic regression, L2",
        "linear SVM",
        "naive Bayes SVM",
        "complement naive Bayes",
    ]
    assert not any(run.error for run in scores.values()), notes
    assert all(run.test["accuracy"] > 0.7 for name, run in scores.items() if name not in ("baseline", "dropout"))


def test_no_technique_for_numbers_is_compared_on_texts() -> None:
    assert "mixup" in default_recipe("classification").paths()
    assert "mixup" not in default_recipe("classification", "text").paths()
