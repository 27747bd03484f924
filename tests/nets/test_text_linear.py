"""Linear models of texts against scikit-learn's on features that a loop counts, and against formulas by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import ComplementNB, MultinomialNB
from sklearn.svm import LinearSVC

from dashpot.core.errors import ConfigError, DataError, UnknownNameError
from dashpot.nets import text_linear
from dashpot.nets.margins import INTERPOLATION
from dashpot.nets.text_bag import TextBag
from dashpot.nets.text_linear import fit_linear, sparse_features
from dashpot.texts.lexicon import Lexicon

TEXTS = [
    ["a", "good", "film"],
    ["good", "and", "warm"],
    ["not", "good", "film", "at", "all"],
    ["a", "bad", "film"],
    ["bad", "and", "cold"],
    ["the", "film", "is", "long", ",", "and", "long"],
    ["the", "film", "is", "short"],
]


@pytest.fixture
def lexicon() -> Lexicon:
    return Lexicon.fit(TEXTS)


@pytest.mark.parametrize("width", [0, 3])
def test_a_linear_model_is_set_in_the_units_of_the_features(lexicon: Lexicon, width: int) -> None:
    torch.manual_seed(0)
    net = TextBag.of(lexicon, 3, width=width).eval()
    x = torch.from_numpy(lexicon.transform([*TEXTS, []]))
    rest = net(x).detach()  # of the vectors, whose head starts at zero
    weight, bias = torch.randn(net.features, 3), torch.randn(3)
    assert net.set_linear(weight, bias) is net
    ids, starts, w = net.bags(x)
    ends = [*starts.tolist()[1:], len(ids)]
    for i, logits in enumerate(net(x).detach().numpy()):
        wanted = bias.double().numpy().copy()
        for k in range(int(starts[i]), ends[i]):
            wanted += float(w[k]) * weight[ids[k]].double().numpy()
        assert np.allclose(logits, wanted + rest[i].numpy(), atol=1e-5)
    with pytest.raises(ConfigError, match="weight must be of shape"):
        net.set_linear(weight[1:], bias)
    with pytest.raises(ConfigError, match="bias must be of shape"):
        net.set_linear(weight, bias[:1])


def words_only() -> Lexicon:
    return Lexicon.fit(TEXTS, most={"pieces": 0, "grams": 0, "skips": 0})


def by_scikit_learn(lexicon: Lexicon, texts: list[list[str]], idf: bool = True) -> np.ndarray:
    """The features of words alone, [texts, entries of the lexicon]."""
    known = {word: i for i, word in enumerate(["<nothing>", "<unknown>", "<edge>", *lexicon.words])}

    def named(tokens: list[str]) -> list[str]:
        return ["<edge>", *(t if t in known else "<unknown>" for t in tokens), "<edge>"]

    vectorizer = TfidfVectorizer(analyzer=named, vocabulary=known, sublinear_tf=True, use_idf=idf).fit(TEXTS)
    return np.asarray(vectorizer.transform(texts).toarray())


NEW = [*TEXTS, ["good", "good", "bad", "zzz"], []]
TWO = torch.tensor([1, 1, 0, 0, 0, 1, 0])
THREE = torch.tensor([1, 1, 1, 0, 0, 2, 2])
WEIGHT = np.array([1.0, 2.0, 1.0, 1.0, 3.0, 1.0, 1.0])


def rows(lexicon: Lexicon, texts: list[list[str]]) -> torch.Tensor:
    return torch.from_numpy(lexicon.transform(texts))


def logits_of(net: TextBag, x: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(net.eval()(x).double())


def test_sparse_features_are_those_of_tfidf_and_of_the_network(lexicon: Lexicon) -> None:
    words = words_only()
    bare = TextBag.of(words, 2, width=0)
    found = sparse_features(bare, rows(words, NEW))
    assert found.dtype == np.float64
    assert found.indices.dtype == np.int32
    assert np.allclose(found.toarray(), by_scikit_learn(words, NEW), atol=1e-6)
    whole = TextBag.of(lexicon, 3, width=0)
    weight, bias = torch.randn(whole.features, 3), torch.randn(3)
    x = rows(lexicon, NEW * 100)  # more than a chunk
    found = sparse_features(whole.set_linear(weight, bias), x)
    assert np.allclose(found @ weight.numpy() + bias.numpy(), logits_of(whole, x), atol=1e-4)


def scikit_learns(how: str, x: np.ndarray, yes: np.ndarray, C: float, weight: np.ndarray | None) -> np.ndarray:
    """Weights and, last, the bias of one class against the rest."""
    if how == "logistic":
        model = LogisticRegression(C=C, solver="liblinear", tol=1e-8).fit(x, yes, sample_weight=weight)
        return np.append(model.coef_, model.intercept_)
    if how == "svm":
        model = LinearSVC(C=C, dual=False, tol=1e-8, max_iter=100_000).fit(x, yes, sample_weight=weight)
        return np.append(model.coef_, model.intercept_)
    share = MultinomialNB(alpha=1.0).fit(x > 0, yes, sample_weight=weight).feature_log_prob_
    ratio = share[1] - share[0]
    model = LinearSVC(C=C, dual=False, tol=1e-8, max_iter=100_000).fit(x * ratio, yes, sample_weight=weight)
    w = model.coef_.ravel()
    return np.append(ratio * ((1 - INTERPOLATION) * np.abs(w).mean() + INTERPOLATION * w), model.intercept_)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("how", ["logistic", "svm", "nb-svm"])
def test_classes_are_told_apart_as_by_scikit_learn(how: str, weighted: bool) -> None:
    words = words_only()
    dense, new = (by_scikit_learn(words, texts, idf=how != "nb-svm") for texts in (TEXTS, NEW))
    weight = WEIGHT if weighted else None
    for y, labels in ((TWO, [1]), (THREE, [0, 1, 2])):
        net = TextBag.of(words, len(labels) + (len(labels) == 1), width=0)
        given = None if weight is None else torch.from_numpy(weight)
        assert fit_linear(net, rows(words, TEXTS), y, how=how, C=2.0, weight=given) is net
        found = logits_of(net, rows(words, NEW))
        each = [scikit_learns(how, dense, y.numpy() == label, 2.0, weight) for label in labels]
        wanted = np.stack([new @ w[:-1] + w[-1] for w in each], axis=1)
        if len(labels) == 1:
            found = found[:, 1:] - found[:, :1]
        temperature = (wanted * wanted).sum() / (wanted * found).sum()
        assert 0.049 < temperature < 20.01  # which small sets want as near to none as may be
        assert np.allclose(found * temperature, wanted, atol=2e-3)


@pytest.mark.parametrize("how", ["svm", "nb-svm"])
def test_linear_models_weigh_pieces_more(lexicon: Lexicon, how: str) -> None:
    net = fit_linear(TextBag.of(lexicon, 2, width=0), rows(lexicon, TEXTS), TWO, how=how, C=2.0)
    dense = sparse_features(net, rows(lexicon, TEXTS)).toarray()
    factor = np.ones(net.features)
    first = 3 + len(lexicon.words)
    factor[first : first + len(lexicon.pieces)] = text_linear.PIECES
    w = scikit_learns(how, dense * factor, TWO.numpy() == 1, 2.0, None)
    wanted = dense * factor @ w[:-1] + w[-1]
    found = np.diff(logits_of(net, rows(lexicon, TEXTS)), axis=1)[:, 0]
    assert np.allclose(found * (wanted[0] / found[0]), wanted, atol=2e-3)


@pytest.mark.parametrize("weighted", [False, True])
def test_complement_naive_bayes_is_that_of_scikit_learn(lexicon: Lexicon, weighted: bool) -> None:
    x, weight = rows(lexicon, TEXTS), WEIGHT if weighted else None
    given = None if weight is None else torch.from_numpy(weight)
    for y in (TWO, THREE):
        net = TextBag.of(lexicon, int(y.max()) + 1, width=0)
        fit_linear(net, x, y, how="complement-nb", C=2.0, weight=given, temperature=1.0)
        factor = np.ones(net.features)
        factor[3 + len(lexicon.words) : 3 + len(lexicon.words) + len(lexicon.pieces)] = text_linear.PIECES
        features, new = (sparse_features(net, one).toarray() * factor for one in (x, rows(lexicon, NEW)))
        theirs = ComplementNB(alpha=0.5).fit(features, y.numpy(), sample_weight=weight)
        assert np.allclose(logits_of(net, rows(lexicon, NEW)), theirs._joint_log_likelihood(new), atol=1e-3)


def test_held_out_rows_choose_among_strengths() -> None:
    texts, y = noisy(400, 5)
    lexicon = Lexicon.fit(texts, most={"pieces": 0, "grams": 0, "skips": 0})
    x = rows(lexicon, texts)
    nets = {
        C: logits_of(fit_linear(TextBag.of(lexicon, 3, width=0), x, torch.from_numpy(y), C=C), x) for C in (0.1, 1e3)
    }
    several = fit_linear(TextBag.of(lexicon, 3, width=0), x, torch.from_numpy(y), C=[1e3, 0.1])
    assert np.array_equal(logits_of(several, x), nets[0.1])


def test_values_are_those_of_the_normal_equations() -> None:
    words = words_only()
    net = TextBag.of(words, 1, width=0)
    y = torch.tensor([2.0, 3.0, -1.0, 0.5, 4.0, 1.0, 7.0])
    for weight in (None, WEIGHT):
        fit_linear(
            net, rows(words, TEXTS), y, how="ridge", C=2.0, weight=None if weight is None else torch.from_numpy(weight)
        )
        x = np.hstack([by_scikit_learn(words, TEXTS), np.ones((len(TEXTS), 1))])
        w = np.diag(np.ones(len(y)) if weight is None else weight)
        free = np.diag([0.5] * (x.shape[1] - 1) + [0.0])  # the bias is not held
        solved = np.linalg.solve(x.T @ w @ x + free, x.T @ w @ y.numpy())
        new = by_scikit_learn(words, NEW)
        assert np.allclose(logits_of(net, rows(words, NEW))[:, 0], new @ solved[:-1] + solved[-1], atol=1e-3)


def noisy(n: int, seed: int) -> tuple[list[list[str]], np.ndarray]:
    """Texts of 8 words of 60, whose class is told by a third of them, and wrong for one text in five."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, n)
    texts = [
        [f"w{word}" for word in np.where(random.random(8) < 0.3, 20 * label + random.integers(0, 20, 8), other)]
        for label, other in zip(y, random.integers(0, 60, (n, 8)), strict=True)
    ]
    return texts, np.where(random.random(n) < 0.2, random.integers(0, 3, n), y)


def log_loss(z: np.ndarray, y: np.ndarray) -> float:
    z = z - z.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]))


@pytest.mark.parametrize("how", ["logistic", "svm", "nb-svm", "complement-nb"])
def test_logits_are_log_odds_of_new_rows(how: str) -> None:
    texts, y = noisy(600, 5)
    new, truth = noisy(2000, 6)
    lexicon = Lexicon.fit(texts, most={"pieces": 0})
    net = fit_linear(TextBag.of(lexicon, 3, width=0), rows(lexicon, texts), torch.from_numpy(y), how=how)
    z = logits_of(net, rows(lexicon, new))
    best = min(log_loss(z * factor, truth) for factor in np.geomspace(0.1, 10, 60))
    assert log_loss(z, truth) < best + 0.01 < np.log(3)


def test_absent_rows_and_absent_classes(lexicon: Lexicon) -> None:
    x = rows(lexicon, TEXTS)
    given = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    absent = fit_linear(TextBag.of(lexicon, 3, width=0), x, THREE, weight=given)
    short = fit_linear(TextBag.of(lexicon, 3, width=0), x[:5], THREE[:5])
    assert np.array_equal(logits_of(absent, x), logits_of(short, x))
    assert (logits_of(absent, x).argmax(axis=1)[:5] == THREE[:5].numpy()).all()
    scaled = fit_linear(TextBag.of(lexicon, 2, width=0), x, TWO, weight=torch.full((7,), 0.01))
    assert np.array_equal(logits_of(scaled, x), logits_of(fit_linear(TextBag.of(lexicon, 2, width=0), x, TWO), x))


def test_too_many_texts_for_memory_are_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, y = noisy(1200, 0)
    lexicon = Lexicon.fit(texts, most={"pieces": 0})
    monkeypatch.setattr(text_linear, "MOST", 10_000)
    net = TextBag.of(lexicon, 3, width=0)
    with pytest.warns(UserWarning, match="learns from .* of them"):
        fit_linear(net, rows(lexicon, texts), torch.from_numpy(y))
    assert (logits_of(net, rows(lexicon, texts)).argmax(axis=1) == y).mean() > 0.5


def test_what_cannot_be_fitted_is_refused(lexicon: Lexicon) -> None:
    x, net = rows(lexicon, TEXTS), TextBag.of(lexicon, 2, width=0)
    with pytest.raises(
        UnknownNameError, match="how must be one of logistic, svm, nb-svm, complement-nb, ridge, got 'svn'"
    ):
        fit_linear(net, x, TWO, how="svn")
    with pytest.raises(ConfigError, match="width of the bag must be 0"):
        fit_linear(TextBag.of(lexicon, 2, width=4), x, TWO)
    with pytest.raises(ConfigError, match="how must be 'ridge' for values"):
        fit_linear(net, x, TWO.float())
    with pytest.raises(ConfigError, match="for classes"):
        fit_linear(net, x, TWO, how="ridge")
    with pytest.raises(ConfigError, match="C must be"):
        fit_linear(net, x, TWO, C=0.0)
    with pytest.raises(ConfigError, match="C must be one number, or for classes several"):
        fit_linear(TextBag.of(lexicon, 1, width=0), x, TWO.float(), how="ridge", C=[1.0, 2.0])
    with pytest.raises(DataError, match="from 0 to 1"):
        fit_linear(net, x, THREE)
    with pytest.raises(DataError, match="7 rows and 6 targets"):
        fit_linear(net, x, TWO[1:])
    with pytest.raises(DataError, match="two classes"):
        fit_linear(net, x, torch.zeros_like(TWO))
    with pytest.raises(DataError, match="finite number"):
        fit_linear(TextBag.of(lexicon, 1, width=0), x, torch.full((7,), torch.nan), how="ridge")
