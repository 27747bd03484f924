"""Linear models of texts by scikit-learn's solvers on sparse features, as networks: a TextBag without vectors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dashpot.core.errors import ConfigError, DataError, UnknownNameError
from dashpot.core.fields.domains import Range, check_number, check_whole
from dashpot.core.weights import as_counts, checked_weights
from dashpot.nets.margins import COMPLEMENT, LINEAR, RIDGE, SparseRows, fit_margins, fit_ridge
from dashpot.nets.text_bag import KINDS, PIECE, TextBag

__all__ = ["DEFAULT_C", "LINEAR", "RIDGE", "fit_linear", "sparse_features"]


DEFAULT_C = {"logistic": 50.0, "svm": 3.0, "nb-svm": 3.0, COMPLEMENT: 3.0, RIDGE: 1.0}
PIECES = 1.4
"""How much more pieces of words weigh here than in the bag: a linear model has no other way to see what words share."""
MOST = 20_000_000
"""Features of texts at once: 240 MB, and up to four times that within a solver. Of more a drawn part is fitted."""
_CHUNK = 512


def fit_linear(
    net: TextBag,
    x: Tensor,
    y: Tensor,
    *,
    how: str = "svm",
    C: float | Sequence[float] | None = None,
    weight: Tensor | None = None,
    seed: int = 0,
    features: Any = None,
    temperature: float | None = None,
) -> TextBag:
    r"""Fit the linear part of a bag of words, pieces and grams to training rows, by scikit-learn's solvers.

    ``"logistic"`` minimises :math:`\|w\|^2 / 2 + C \sum_i \log(1 + e^{-m_i})` and ``"svm"`` :math:`\|w\|^2 / 2 + C
    \sum_i \max(0, 1 - m_i)^2`, one class against the rest, with ``m_i`` the margin of row i. ``"nb-svm"`` is the
    latter on features times :math:`r_f`, the logarithm of how much more of the class's features than of the rest's are
    feature f, each counted once for a text, plus 1; its weights become 1/4 their mean size and 3/4 themselves.
    ``"complement-nb"`` is less the logarithm of a feature's share of the weights of all features in the rows of other
    classes, with ``1 / C`` added to each.
    ``"ridge"`` minimises :math:`\|w\|^2 / 2 + C/2 \sum_i (w \cdot x_i + b - y_i)^2`.
    The margins of classes are then divided by one temperature, so that their softmax has the smallest log loss on
    rows that a machine has not seen, of up to 10 folds inside the training rows.

    Memory is about 60 bytes for each feature of each text; where the texts have more than 20 million together, a
    drawn part of them is fitted, with a warning. Not for texts whose order of words matters beyond triples.

    Args:
        net: with ``width=0`` and the tables of its lexicon. Its weights are replaced; for ``"nb-svm"`` its
            frequencies become 1, since the ratios say what a feature is worth.
        x: rows int32 [n, length], of training.
        y: classes int64 [n] below the outputs of ``net``, of which at least 2 are there; of ``"ridge"`` values
            float [n] or [n, 1].
        how: ``"logistic"``, ``"svm"``, ``"nb-svm"``, or ``"ridge"`` for values.
        C: how much the rows weigh against the weights, above 0; by default a value that suits texts of any length,
            since the features of a text have a length of their own. Of several, for classes, held-out rows choose.
        weight: of the rows [n]; 2 counts as two rows, 0 as none.
        seed: of the folds, and of the part where there are too many texts.
        features: those of ``x`` by :func:`sparse_features`, where they are known; they are not changed.
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
    al., "LIBLINEAR: A Library for Large Linear Classification", JMLR 2008; Rennie et al., "Tackling the Poor
    Assumptions of Naive Bayes Text Classifiers", ICML 2003.
    """
    _check(net, x, y, how)
    strengths = _strengths(how, C)
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
    features, factor = _weighed(net, features, how)
    rows = SparseRows(features, target, None if counts is None else counts[kept])
    if how == RIDGE:
        w, b = fit_ridge(rows, strengths[0])
    else:
        w, b = fit_margins(how, rows, net.linear.embedding_dim, strengths, seed, temperature)
    return net.set_linear(torch.from_numpy(factor[:, None] * w).float(), torch.from_numpy(b).float())


def _strengths(how: str, C: float | Sequence[float] | None) -> list[float]:
    given = [DEFAULT_C[how]] if C is None else list(C) if isinstance(C, Sequence) else [C]
    if not given or (how == RIDGE and len(given) > 1):
        raise ConfigError("C", "one number, or for classes several", C)
    return [check_number("C", value, Range(0.0, np.inf, open="both", fixed=True)) for value in given]


def _weighed(net: TextBag, features: Any, how: str) -> tuple[Any, np.ndarray]:
    """Features as a model wants them, and by what its weights are to be multiplied. That of naive Bayes weighs them
    without their frequencies, as ``net`` does from now on.
    """
    from scipy.sparse import csr_matrix

    data, place = features.data, features.indices
    kinds = net.tables.kinds(net.features).numpy(force=True)
    kind = np.searchsorted(kinds, np.arange(net.features), side="right")
    if how == "nb-svm":
        data = data / net.frequency.numpy(force=True)[place]
        # Each kind of features of a text keeps the length that it has.
        part = KINDS * np.repeat(np.arange(features.shape[0]), np.diff(features.indptr)) + kind[place]
        length = np.sqrt(np.bincount(part, features.data**2) / np.bincount(part, data**2).clip(1e-30))
        data = data * length[part]
        with torch.no_grad():
            net.frequency.fill_(1.0)
    factor = np.where(kind == PIECE, PIECES, 1.0)
    return csr_matrix((data * factor[place], place, features.indptr), shape=features.shape), factor


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
