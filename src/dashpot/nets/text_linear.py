"""Linear models of texts by scikit-learn's solvers on sparse features, as networks: a TextBag without vectors."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dashpot.core.errors import ConfigError, DataError, UnknownNameError
from dashpot.core.fields.domains import Range, check_number, check_whole
from dashpot.core.weights import as_counts, checked_weights
from dashpot.evaluation.calibration import fit_temperature
from dashpot.nets.text_bag import TextBag

LINEAR = ("logistic", "svm", "nb-svm")
"""Of classes: logistic regression with L2, a linear support vector machine with squared hinge loss, and that machine on
features times their naive Bayes log-count ratios.
"""
RIDGE = "ridge"
"""Of values: least squares with L2."""
DEFAULT_C = {"logistic": 10.0, "svm": 0.3, "nb-svm": 1.0, RIDGE: 1.0}
SMOOTHING, INTERPOLATION = 1.0, 0.25
"""Of naive Bayes counts, and between the mean strength of a class (0) and the machine's own weights (1)."""
FOLDS, ENOUGH = 10, 2000
"""By which margins find their temperature, and how many held-out rows tell it."""
MOST = 20_000_000
"""Features of texts at once: 240 MB, and twice that within a solver. Of more texts a drawn part is fitted."""
_CHUNK = 512

Solved = tuple[np.ndarray, np.ndarray]
"""Weights [features, outputs] and bias [outputs]."""


class _Rows(NamedTuple):
    """Features (csr), classes or values, and counts of rows."""

    x: Any
    y: np.ndarray
    weight: np.ndarray | None

    def part(self, rows: np.ndarray) -> _Rows:
        return _Rows(self.x[rows], self.y[rows], None if self.weight is None else self.weight[rows])


def fit_linear(
    net: TextBag,
    x: Tensor,
    y: Tensor,
    *,
    how: str = "svm",
    C: float | None = None,
    weight: Tensor | None = None,
    seed: int = 0,
    features: Any = None,
    temperature: float | None = None,
) -> TextBag:
    r"""Fit the linear part of a bag of words, pieces and grams to training rows, by scikit-learn's solvers.

    ``"logistic"`` minimises :math:`\|w\|^2 / 2 + C \sum_i \log(1 + e^{-m_i})` and ``"svm"`` :math:`\|w\|^2 / 2 + C
    \sum_i \max(0, 1 - m_i)^2`, one class against the rest, with ``m_i`` the margin of row i. ``"nb-svm"`` is the
    latter on features times :math:`r_f`, the logarithm of how much more of the class's features than of the rest's are
    feature f, each counted once for a text, plus 1; its weights become 3/4 their mean size and 1/4 themselves.
    ``"ridge"`` minimises :math:`\|w\|^2 / 2 + C/2 \sum_i (w \cdot x_i + b - y_i)^2`.
    The margins of classes are then divided by one temperature, so that their softmax has the smallest log loss on
    rows that a machine has not seen, of up to 10 folds inside the training rows.

    Memory is about 36 bytes for each feature of each text; where the texts have more than 20 million together, a
    drawn part of them is fitted, with a warning. Not for texts whose order of words matters beyond triples.

    Args:
        net: with ``width=0`` and the tables of its lexicon; its frequencies are learned, its weights replaced.
        x: rows int32 [n, length], of training.
        y: classes int64 [n] below the outputs of ``net``, of which at least 2 are there; of ``"ridge"`` values
            float [n] or [n, 1].
        how: ``"logistic"``, ``"svm"``, ``"nb-svm"``, or ``"ridge"`` for values.
        C: how much the rows weigh against the weights, above 0; by default a value that suits texts of any length,
            since the features of a text have a length of their own.
        weight: of the rows [n]; 2 counts as two rows, 0 as none.
        seed: of the folds, and of the part where there are too many texts.
        features: those of ``x`` by :func:`sparse_features`, where they are known.
        temperature: of the margins of classes; None: found as said.

    Returns:
        ``net``.

    Raises:
        ConfigError: an unknown ``how``, ``C`` not above 0, or a bag with vectors.
        DataError: no rows, classes that do not fit, only one class, or weights that do not fit.

    Example:
        >>> import torch
        >>> from dashpot.texts.lexicon import Lexicon
        >>> texts = [["so", "good"], ["good", "film"], ["so", "bad"], ["bad", "film"]]
        >>> lexicon = Lexicon.fit(texts)
        >>> net = TextBag.of(lexicon, outputs=2, width=0)
        >>> net = fit_linear(net, torch.from_numpy(lexicon.transform(texts)), torch.tensor([1, 1, 0, 0]))
        >>> net(torch.from_numpy(lexicon.transform([["a", "good", "one"]]))).argmax().item()
        1

    Papers: Wang and Manning, "Baselines and Bigrams: Simple, Good Sentiment and Topic Classification", ACL 2012; Fan et
    al., "LIBLINEAR: A Library for Large Linear Classification", JMLR 2008.
    """
    _check(net, x, y, how)
    C = DEFAULT_C[how] if C is None else check_number("C", C, Range(0.0, np.inf, open="both", fixed=True))
    seed = check_whole("seed", seed, low=0)
    counts = None if weight is None else checked_weights("weight", weight, len(x))
    if counts is not None:
        there = torch.from_numpy(np.flatnonzero(counts))
        x, y, counts = x[there], y[there], as_counts(counts[counts > 0])
    if how != RIDGE and len(torch.unique(y)) < 2:
        raise DataError("a linear model needs rows of two classes or more, got one class. Add rows of another.")
    if features is None:
        features, kept = _bounded(net, x, seed)
    else:
        features, kept = (features if counts is None else features[there.numpy()]), np.arange(len(x))
    target = y.detach().cpu().numpy().reshape(-1)[kept]
    rows = _Rows(features, target, None if counts is None else counts[kept])
    if how == RIDGE:
        found = _ridge(rows, C)
    else:
        classes = net.linear.embedding_dim
        found = _classes(how, rows, C, classes)
        temperature = _temperature(how, rows, C, classes, seed) if temperature is None else temperature
        found = (found[0] / temperature, found[1] / temperature)
    return net.set_linear(*(torch.from_numpy(one).float() for one in found))


def sparse_features(net: TextBag, x: Tensor) -> Any:
    """The weights of :meth:`TextBag.bags` of all rows as a scipy csr matrix float64 [n, features], made 512 rows at a
    time.
    """
    from scipy.sparse import csr_matrix, vstack

    parts = []
    with torch.no_grad():
        for start in range(0, len(x), _CHUNK):
            ids, starts, weights = (one.cpu().numpy() for one in net.bags(x[start : start + _CHUNK]))
            ends = np.append(starts, len(ids)).astype(np.int32)
            parts.append(csr_matrix((weights, ids.astype(np.int32), ends), shape=(len(starts), net.features)))
    return vstack(parts, format="csr", dtype=np.float64) if parts else csr_matrix((0, net.features))


def _check(net: TextBag, x: Tensor, y: Tensor, how: str) -> None:
    known = (*LINEAR, RIDGE)
    if how not in known:
        raise UnknownNameError("how", how, known)
    if net.width:
        raise ConfigError("width of the bag", "0 for a linear model", net.width, "Build it with width=0.")
    if len(x) != len(y) or not len(x):
        raise DataError(f"a linear model needs a target for each training row, got {len(x)} rows and {len(y)} targets.")
    values, outputs = y.is_floating_point(), net.linear.embedding_dim
    if values != (how == RIDGE):
        task, names = ("values", repr(RIDGE)) if values else ("classes", ", ".join(map(repr, LINEAR)))
        raise ConfigError("how", f"{names} for {task}", how)
    if values:
        if outputs != 1 or y.numel() != len(y) or not bool(torch.isfinite(y).all()):
            raise DataError(f"values must be one finite number for each row and output, got shape {list(y.shape)}.")
        return
    if outputs < 2 or y.ndim != 1 or int(y.min()) < 0 or int(y.max()) >= outputs:
        raise DataError(
            f"classes must be whole numbers [rows] from 0 to {outputs - 1} (2 or more outputs), got others."
        )


def _bounded(net: TextBag, x: Tensor, seed: int) -> tuple[Any, np.ndarray]:
    """The features of as many texts as memory allows, and which they are."""
    order = np.random.default_rng(seed).permutation(len(x))
    sample = sparse_features(net, x[torch.from_numpy(order[:_CHUNK])]) if len(x) > _CHUNK else None
    if sample is None or sample.nnz / sample.shape[0] * len(x) <= MOST:
        return sparse_features(net, x), np.arange(len(x))
    kept = np.sort(order[: max(1, int(MOST * sample.shape[0] / sample.nnz))])
    warnings.warn(
        f"{len(x)} texts have more than {MOST} features together: a linear model learns from {len(kept)} of them, drawn"
        " at random.",
        stacklevel=3,
    )
    return sparse_features(net, x[torch.from_numpy(kept)]), kept


def _classes(how: str, rows: _Rows, C: float, classes: int) -> Solved:
    """One class against the rest; of two classes one model, whose margin is the difference of the logits."""
    if classes == 2:
        w, b = _against(how, rows, rows.y == 1, C)
        return np.stack([-w / 2, w / 2], axis=1), np.array([-b / 2, b / 2])
    each = [_against(how, rows, rows.y == label, C) for label in range(classes)]
    return np.stack([w for w, _ in each], axis=1), np.array([b for _, b in each])


def _against(how: str, rows: _Rows, yes: np.ndarray, C: float) -> tuple[np.ndarray, float]:
    """Weights [features] and bias of the margin of ``yes`` [rows]."""
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    x = rows.x
    if yes.all() or not yes.any():  # a class that no row has, or all
        return np.zeros(x.shape[1]), 1.0 if yes.all() else -1.0
    ratio = None
    if how == "nb-svm":
        ratio = log_count_ratios(x, yes, rows.weight)
        x = csr_matrix((x.data * ratio[x.indices], x.indices, x.indptr), shape=x.shape)
    solver = (
        LogisticRegression(C=C, solver="liblinear", max_iter=300)
        if how == "logistic"
        else LinearSVC(C=C, dual=False, max_iter=1000)
    )
    solver.fit(x, yes, sample_weight=rows.weight)
    w, b = solver.coef_.ravel(), float(solver.intercept_[0])
    if ratio is None:
        return w, b
    return ratio * ((1 - INTERPOLATION) * np.abs(w).mean() + INTERPOLATION * w), b


def log_count_ratios(x: Any, yes: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Of each feature: the logarithm of its share of all features of rows ``yes``, less that of the others; each counts
    once for a row, and 1 is added to its count.
    """
    from scipy.sparse import csr_matrix

    there = csr_matrix((np.ones(x.nnz), x.indices, x.indptr), shape=x.shape)
    each = np.ones(len(yes)) if weight is None else weight
    own, other = (SMOOTHING + there.T @ (each * part) for part in (yes, ~yes))
    return np.asarray(np.log(own / own.sum()) - np.log(other / other.sum()))


def _temperature(how: str, rows: _Rows, C: float, classes: int, seed: int) -> float:
    """By which margins of rows that are held out become log-odds; 1 where there are too few rows to tell."""
    place = np.random.default_rng(seed).permutation(len(rows.y))
    # By class, so that each part has its share of every one.
    part = np.empty(len(rows.y), dtype=np.int64)
    part[place[np.argsort(rows.y[place], kind="stable")]] = np.arange(len(rows.y)) % FOLDS
    margins, held = [], []
    for fold in range(FOLDS):
        inside, out = np.flatnonzero(part != fold), np.flatnonzero(part == fold)
        if len(np.unique(rows.y[inside])) < 2 or not len(out):
            continue
        w, b = _classes(how, rows.part(inside), C, classes)
        margins.append(rows.x[out] @ w + b)
        held.append(out)
        if sum(map(len, held)) >= ENOUGH:
            break
    if not held:
        return 1.0
    seen = np.concatenate(held)
    weight = None if rows.weight is None else rows.weight[seen]
    return fit_temperature(np.concatenate(margins), rows.y[seen], weight=weight)


def _ridge(rows: _Rows, C: float) -> Solved:
    from sklearn.linear_model import Ridge

    solver = Ridge(alpha=1 / C, solver="sparse_cg", tol=1e-6).fit(rows.x, rows.y, sample_weight=rows.weight)
    return solver.coef_.reshape(-1, 1), np.array([float(solver.intercept_)])
