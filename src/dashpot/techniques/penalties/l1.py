"""L1: exact zeros by soft thresholding."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range, check_number
from dashpot.core.preset import Preset
from dashpot.techniques.penalties.fast import KernelTerms
from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.proximal import CHUNK, Scalar, scratch


def l1_value(w: Float[Tensor, "*shape"], strength: float | Float[Tensor, ""]) -> Float[Tensor, ""]:
    """``strength * sum |w|``."""
    return strength * w.abs().sum()


def soft_threshold(w: Float[Tensor, "*shape"], threshold: float | Float[Tensor, "*#shape"]) -> Float[Tensor, "*shape"]:
    """``sign(w) * max(|w| - threshold, 0)``. Written with the sign, since ``w * (1 - t / |w|)`` is NaN
    at w = 0, t = 0.
    """
    return w.sign() * (w.abs() - threshold).relu()


def l1_stationarity(
    w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"], strength: float | Float[Tensor, ""]
) -> Float[Tensor, "*shape"]:
    """``|grad + strength * sign(w)|`` off zero, ``max(|grad| - strength, 0)`` at zero."""
    return (grad + strength * w.sign()).abs() * (w != 0) + (grad.abs() - strength).relu() * (w == 0)


class L1(Penalty):
    r"""Penalize the sum of absolute weights, with weights that become exactly zero.

    .. math:: \min_w\; \mathrm{loss}(w) + \mathrm{strength} \sum_i |w_i|, \qquad
        w \leftarrow \mathrm{sign}(w)\,\max(|w| - t, 0)

    The map is applied after each step of the optimizer. Added to the loss instead, as tutorials do, L1 never reaches
    one exact zero.

    Args:
        strength: >= 0, the factor in the formula above, for a loss that is a mean over samples; 0 is off; 1e-4 unless
            ``relative`` is given. scikit-learn's ``Lasso(alpha)`` divides the squared error by 2n: for a mean squared
            error, ``strength = 2 * alpha`` is the same problem. It may follow the steps:
            ``"0to1e-4@until=10%"``.
        relative: instead of ``strength``, a share of the smallest strength that zeroes everything: 0.05 is 5 % of it.
            :func:`dashpot.fit` computes it from its data; in another loop call :func:`dashpot.resolve_strengths` first.
        scaling: the threshold t. ``"adaptive"`` (default): the optimizer's own step per weight x strength, such as ``lr
            * strength / (sqrt(v_hat) + eps)`` for Adam or ``lr * strength / (1 - momentum)`` for SGD, which solves the
            problem above. ``"decoupled"``: ``lr * strength`` in AdamW's spirit, another problem under Adam, on a scale
            about a thousand times larger.
        on: which parameters. Weights by default: no biases, norms or embeddings. Of a bag of words they are the weights
            of its words, pieces and grams (:func:`dashpot.sparsity.words.kept_words` names those that are kept), and
            not its vectors.

    Raises:
        ConfigError: both ``strength`` and ``relative``.
        ConflictError: another proximal step on the same parameters, ``adaptive`` with an optimizer whose step is not
            known, or a relative strength that was not made absolute before.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(20, 1)
        >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        >>> x = torch.randn(64, 20, generator=torch.Generator().manual_seed(0)); y = x[:, 0]
        >>> with dashpot.L1(strength=0.5).attach(model, optimizer):
        ...     for _ in range(300):
        ...         optimizer.zero_grad(); ((model(x)[:, 0] - y) ** 2).mean().backward(); _ = optimizer.step()
        >>> int((model.weight != 0).sum())
        1

    Papers: Tibshirani, "Regression Shrinkage and Selection via the Lasso", JRSS B 1996; Yun et al., "Adaptive Proximal
    Gradient Methods for Structured Neural Networks", NeurIPS 2021 (the adaptive metric).

    When not to use it: zeros scattered over a matrix make nothing faster by themselves; for smaller layers remove whole
    rows. Groups of correlated features are better served by :class:`ElasticNet`.
    """

    summary = "soft-thresholds weights to exact zeros"
    preset = Preset("strength=1e-6..1e-3", modalities=("table", "tensor"), order=60)
    separable = True

    @classmethod
    def from_sklearn(cls, alpha: float, **fields: Any) -> L1:
        """The penalty of scikit-learn's ``Lasso(alpha)``, for a mean squared error: ``strength = 2 * alpha``.

        Args:
            alpha: as scikit-learn's, >= 0.
            fields: ``scaling`` and ``on``.

        Example:
            >>> import dashpot
            >>> print(dashpot.L1.from_sklearn(0.1))
            L1(strength=0.2)
        """
        return cls(2 * check_number("alpha", alpha, Range(0.0, math.inf)), **fields)

    def map_(self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"]) -> None:
        # The same numbers as `prox` with fewer passes over memory.
        if isinstance(step, Tensor):
            t = step * self.strength
            w.sub_(torch.clamp(w, -t, t))
        else:
            torch.ops.aten.softshrink.out(w, step * self.strength, out=w)

    def adam_map_(self, w: Float[Tensor, " n"], v: Float[Tensor, " n"], gain: float, floor: float) -> bool:
        if not 0 < gain < 1e30 * self.strength:
            return False
        gain, bottom = gain / self.strength, torch.tensor(floor / self.strength, dtype=w.dtype, device=w.device)
        for start in range(0, w.numel(), CHUNK):
            part, second = w[start : start + CHUNK], v[start : start + CHUNK]
            t, low = scratch(part)
            # Twice the reciprocal: on a CPU torch takes three times as long for `sqrt`.
            torch.pow(second, -0.5, out=t).reciprocal_()
            torch.add(bottom, t, alpha=gain, out=t).reciprocal_()
            torch.clamp(part, torch.neg(t, out=low), t, out=low)
            part.sub_(low)
        return True

    def kernel_terms(self) -> KernelTerms | None:
        return KernelTerms(l1=self.strength)

    def penalty_value(self, w: Float[Tensor, "*shape"], strength: Scalar) -> Float[Tensor, ""]:
        return l1_value(w, strength)

    def penalty_prox(
        self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"], strength: Scalar
    ) -> Float[Tensor, "*shape"]:
        return soft_threshold(w, step * strength)

    def penalty_stationarity(
        self, w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"], strength: Scalar
    ) -> Float[Tensor, "*shape"]:
        return l1_stationarity(w, grad, strength)
