"""THE table: one row per technique. A technique without a row fails the tests."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import log_softmax
from torch import Tensor

import dashpot
from dashpot.core.technique import Technique
from dashpot.techniques.augment.input_noise import input_noise
from dashpot.techniques.augment.mixup import mixup
from dashpot.techniques.averaging.ema import ema
from dashpot.techniques.dropout.dropout import dropout
from dashpot.techniques.gradient.clipping import clip_coefficient, clip_value
from dashpot.techniques.labels.label_smoothing import binary_label_smoothing, label_smoothing
from dashpot.techniques.penalties.elastic_net import elastic_net_prox, elastic_net_stationarity, elastic_net_value
from dashpot.techniques.penalties.l1 import l1_stationarity, l1_value, soft_threshold
from dashpot.techniques.penalties.l2 import l2_gradient, l2_value
from dashpot.techniques.penalties.weight_decay import weight_decay
from dashpot.techniques.sharpness.sam import sam_ascent
from dashpot.testing import Pure, Row, Toy


def normal(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def uniform(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def scalar(value: float, dtype: torch.dtype) -> Tensor:
    return torch.tensor(value, dtype=dtype)


def soft(w: np.ndarray, t: np.ndarray | float) -> np.ndarray:
    """The minimizer of (u - w)^2 / 2 + t |u|, case by case."""
    return np.where(w > t, w - t, np.where(w < -t, w + t, 0.0))


def subgradient_distance(w: np.ndarray, g: np.ndarray, s: float) -> np.ndarray:
    """From -g to the interval that is the subdifferential of s |w|."""
    low, high = np.where(w > 0, s, -s), np.where(w < 0, -s, s)
    return np.maximum(low + g, 0) * (low + g > 0) + np.maximum(-(high + g), 0)


ROWS: dict[type[Technique], Row] = {
    type(row.technique): row
    for row in (
        Row(
            dashpot.Mixup(alpha=1.0),
            functions=(
                Pure(
                    mixup,
                    lambda d: (normal(5, 2, 3, dtype=d), normal(5, 2, 3, dtype=d, seed=1), uniform(5, dtype=d)),
                    lambda x, p, s: s[:, None, None] * x + (1 - s[:, None, None]) * p,
                ),
            ),
        ),
        Row(
            dashpot.InputNoise(std=0.5),
            Toy("regression"),
            functions=(
                Pure(
                    input_noise,
                    lambda d: (normal(4, 3, dtype=d), normal(4, 3, dtype=d, seed=1), scalar(0.5, d)),
                    lambda x, n, s: x + s * n,
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.Dropout(p=0.5),
            functions=(
                Pure(
                    dropout,
                    lambda d: (normal(6, 7, dtype=d), uniform(6, 7), scalar(0.5, torch.float32)),
                    lambda x, u, p: np.where(u < p, 0.0, x / (1 - p)),
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.LabelSmoothing(smoothing=0.3),
            functions=(
                Pure(
                    label_smoothing,
                    lambda d: (normal(6, dtype=d).abs(), normal(6, 4, dtype=d, seed=1), scalar(0.3, d)),
                    lambda loss, z, s: (1 - s) * loss - s * log_softmax(z, axis=1).mean(axis=1),
                    strength=2,
                ),
                Pure(
                    binary_label_smoothing,
                    lambda d: (normal(6, 4, dtype=d).abs(), normal(6, 4, dtype=d, seed=1), scalar(0.3, d)),
                    lambda loss, z, s: (1 - s) * loss + s * (np.log1p(np.exp(z)) + np.log1p(np.exp(-z))) / 2,
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.L2(strength=0.1),
            Toy("regression"),
            functions=(
                Pure(l2_value, lambda d: (normal(3, 4, dtype=d), scalar(0.1, d)), lambda w, s: s * np.linalg.norm(w) ** 2 / 2, strength=1),
                Pure(l2_gradient, lambda d: (normal(3, 4, dtype=d), scalar(0.1, d)), lambda w, s: w * s, strength=1),
            ),
        ),
        Row(
            dashpot.WeightDecay(strength=1.0),
            functions=(Pure(weight_decay, lambda d: (normal(3, 4, dtype=d), 0.1, scalar(2.0, d)), lambda w, lr, s: w - lr * s * w, strength=2),),
        ),
        Row(
            dashpot.GradientClipping(maximum=0.01),
            functions=(
                Pure(clip_coefficient, lambda d: (scalar(3.0, d), scalar(0.5, d)), lambda n, m: min(1.0, m / (n + 1e-6)), strength=1),
                Pure(clip_value, lambda d: (normal(3, 4, dtype=d), scalar(0.5, d)), lambda g, m: np.clip(g, -m, m), strength=1),
            ),
        ),
        Row(
            dashpot.SAM(rho=0.5),
            functions=(
                Pure(
                    sam_ascent,
                    lambda d: (normal(3, 4, dtype=d), normal(3, 4, dtype=d, seed=1), normal(3, 4, dtype=d, seed=1).norm(), scalar(0.5, d)),
                    lambda w, g, n, r: w + r * g / np.linalg.norm(g),
                    strength=3,
                ),
            ),
        ),
        Row(
            dashpot.L1(strength=0.05),
            Toy("regression"),
            functions=(
                Pure(l1_value, lambda d: (normal(3, 4, dtype=d), scalar(0.1, d)), lambda w, s: s * np.linalg.norm(w.ravel(), 1), strength=1),
                Pure(soft_threshold, lambda d: (normal(3, 4, dtype=d), scalar(0.5, d)), soft, strength=1),
                Pure(soft_threshold, lambda d: (normal(3, 4, dtype=d), uniform(3, 4, dtype=d)), soft),
                Pure(
                    l1_stationarity,
                    lambda d: (normal(3, 4, dtype=d) * (uniform(3, 4, dtype=d) > 0.5), normal(3, 4, dtype=d, seed=2), scalar(0.5, d)),
                    subgradient_distance,
                    strength=2,
                    differentiable=False,
                ),
            ),
        ),
        Row(
            dashpot.ElasticNet(strength=0.05, l1_ratio=0.7),
            functions=(
                Pure(
                    elastic_net_value,
                    lambda d: (normal(3, 4, dtype=d), scalar(0.1, d), 0.7),
                    lambda w, s, r: s * (r * np.abs(w).sum() + (1 - r) * (w**2).sum() / 2),
                    strength=1,
                ),
                Pure(
                    elastic_net_prox,
                    lambda d: (normal(3, 4, dtype=d), 0.5, scalar(0.4, d), 0.7),
                    lambda w, t, s, r: soft(w, t * s * r) / (1 + t * s * (1 - r)),
                    strength=2,
                ),
                Pure(
                    elastic_net_stationarity,
                    lambda d: (normal(3, 4, dtype=d), normal(3, 4, dtype=d, seed=2), scalar(0.4, d), 0.7),
                    lambda w, g, s, r: np.abs(g + s * (1 - r) * w + s * r * np.sign(w)),
                    strength=2,
                    differentiable=False,
                ),
            ),
        ),
        Row(
            dashpot.EMA(decay=0.7, warmup=False),
            functions=(
                Pure(
                    ema,
                    lambda d: (normal(3, 4, dtype=d), normal(3, 4, dtype=d, seed=1), scalar(0.7, d)),
                    lambda a, v, s: s * a + (1 - s) * v,
                    strength=2,
                ),
            ),
        ),
        Row(dashpot.EarlyStopping(patience=1)),
    )
}
