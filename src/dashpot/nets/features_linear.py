"""Linear models of an encoder's vectors by scikit-learn's solvers, as networks: TextFeatures without a hidden layer."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.fields.domains import Range, check_number
from dashpot.nets.text_features import TextFeatures


def fit_features(
    net: TextFeatures, x: Tensor, y: Tensor, *, C: float = 0.03, weight: np.ndarray | None = None
) -> TextFeatures:
    r"""Fit the head of a network without a hidden layer.

    Of classes it minimises :math:`\|W\|^2 / 2 - C \sum_i \log p(y_i | v_i)`, all classes together, and of values
    :math:`\|w\|^2 / 2 + C/2 \sum_i (w \cdot v_i + b - y_i)^2`. Of a class that no row has the logit is 10 below the
    smallest bias.

    Args:
        net: with ``width=0``; its weights are replaced.
        x: rows that begin with vectors, [n, length].
        y: classes int64 [n], of which at least 2 are there, or values float [n].
        C: how much the rows weigh against the weights, above 0. Vectors are standardized: 0.01 to 0.1 suits most.
        weight: of the rows, above 0.

    Returns:
        ``net``.

    Raises:
        ConfigError: a network with a hidden layer, or ``C`` not above 0.
        DataError: rows of one class only.

    Example:
        >>> import torch
        >>> vectors = torch.tensor([[-1.0, 0.2], [-0.8, -0.1], [1.1, 0.3], [0.7, -0.2]])
        >>> x = vectors.view(torch.int32)
        >>> net = fit_features(TextFeatures(2, before=2, width=0), x, torch.tensor([0, 0, 1, 1]))
        >>> net(x).argmax(dim=1).tolist()
        [0, 0, 1, 1]
    """
    from sklearn.linear_model import LogisticRegression, Ridge

    C = check_number("C", C, Range(0.0, np.inf, open="both", fixed=True))
    if net.hidden is not None:
        raise ConfigError(
            "width of the network", "0 for a linear model", net.options["width"], "Build it with width=0."
        )
    vectors, target = net.vectors(x).double().cpu().numpy(), y.detach().cpu().numpy().reshape(-1)
    outputs = net.head.out_features
    if y.is_floating_point():
        ridge = Ridge(alpha=1 / C).fit(vectors, target, sample_weight=weight)
        w, b = ridge.coef_.reshape(1, -1), np.array([float(ridge.intercept_)])
    else:
        known = np.unique(target)
        if len(known) < 2:
            raise DataError("a linear model needs rows of two classes or more, got one class. Add rows of another.")
        solver = LogisticRegression(C=C, max_iter=1000).fit(vectors, target, sample_weight=weight)
        w, b = np.zeros((outputs, vectors.shape[1])), np.zeros(outputs)
        if len(known) == 2:  # one margin, half for each logit
            w[known], b[known] = (
                np.stack([-1, 1])[:, None] * solver.coef_ / 2,
                np.stack([-1, 1]) * solver.intercept_ / 2,
            )
        else:
            w[known], b[known] = solver.coef_, solver.intercept_
        b[~np.isin(np.arange(outputs), known)] = b[known].min() - 10
    with torch.no_grad():
        net.head.weight.copy_(torch.from_numpy(w))
        net.head.bias.copy_(torch.from_numpy(b))
    return net
