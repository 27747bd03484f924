"""THE table: one row per technique. A technique without a row fails the tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import lsq_linear
from scipy.special import expit, log_softmax
from torch import Tensor

import dashpot
from dashpot.augment import text as texts
from dashpot.core.technique import Technique
from dashpot.techniques.augment.mixing.cutmix import cutmix
from dashpot.techniques.augment.mixing.mixup import mixup
from dashpot.techniques.augment.mixing.resize_mix import resize_mix
from dashpot.techniques.augment.noise.input_noise import input_noise
from dashpot.techniques.augment.signal.amplitude_scale import amplitude_scale
from dashpot.techniques.augment.signal.drift import drift
from dashpot.techniques.augment.signal.time_mask import time_mask
from dashpot.techniques.augment.signal.time_shift import time_shift
from dashpot.techniques.augment.signal.time_stretch import time_stretch
from dashpot.techniques.averaging.lookahead import lookahead
from dashpot.techniques.dropout.alpha_dropout import alpha_dropout
from dashpot.techniques.dropout.attention_dropout import attention_dropout
from dashpot.techniques.dropout.channel_dropout import channel_dropout
from dashpot.techniques.dropout.concrete_dropout import concrete_dropout, concrete_penalty
from dashpot.techniques.dropout.drop_block import drop_block
from dashpot.techniques.dropout.drop_connect import drop_connect
from dashpot.techniques.dropout.dropout import dropout, unscaled_dropout
from dashpot.techniques.dropout.embedding_dropout import embedding_dropout
from dashpot.techniques.dropout.gaussian_dropout import gaussian_dropout
from dashpot.techniques.dropout.stochastic_depth import stochastic_depth
from dashpot.techniques.dropout.variational_dropout import variational_dropout
from dashpot.techniques.fine_tuning.child_tuning import child_gradient
from dashpot.techniques.fine_tuning.embedding_noise import embedding_noise
from dashpot.techniques.fine_tuning.l2_sp import l2_sp_gradient, l2_sp_value
from dashpot.techniques.fine_tuning.mixout import mixout
from dashpot.techniques.fine_tuning.selective_projection_decay import selective_projection
from dashpot.techniques.gradient.adaptive_clipping import adaptive_coefficient
from dashpot.techniques.gradient.centralization import centered
from dashpot.techniques.gradient.clipping import clip_coefficient, clip_value
from dashpot.techniques.labels.label_noise import replaced
from dashpot.techniques.labels.label_smoothing import binary_label_smoothing, label_smoothing
from dashpot.techniques.noise.activation_noise import activation_noise
from dashpot.techniques.noise.adversarial_embeddings import with_moved
from dashpot.techniques.noise.adversarial_examples import ascend_length, ascend_max
from dashpot.techniques.noise.gradient_noise import gradient_noise
from dashpot.techniques.noise.virtual_adversarial import smoothness
from dashpot.techniques.noise.weight_noise import weight_noise
from dashpot.techniques.normalization.spectral_norm import power_iteration, singular_value
from dashpot.techniques.normalization.weight_norm import lengths, weight_norm
from dashpot.techniques.normalization.weight_standardization import weight_standardization
from dashpot.techniques.outputs.activity_penalty import absolute_sum, square_sum
from dashpot.techniques.outputs.confidence_penalty import binary_entropy, confidence_penalty, entropy
from dashpot.techniques.outputs.distillation import distilled
from dashpot.techniques.outputs.flooding import flooded
from dashpot.techniques.outputs.focal_loss import focal_change
from dashpot.techniques.outputs.gradient_penalty import gradient_square
from dashpot.techniques.outputs.jacobian_penalty import jacobian_estimate
from dashpot.techniques.outputs.judged import binary_divergence, divergence
from dashpot.techniques.outputs.logit_norm import logit_norm
from dashpot.techniques.outputs.margin import margin_term
from dashpot.techniques.outputs.poly_loss import poly_term
from dashpot.techniques.outputs.r_drop import r_drop
from dashpot.techniques.outputs.self_distillation import consistency
from dashpot.techniques.penalties.cautious_weight_decay import cautiously_shrunk
from dashpot.techniques.penalties.compress import squared_effect
from dashpot.techniques.penalties.decay import shrunk
from dashpot.techniques.penalties.elastic_net import elastic_net_prox, elastic_net_stationarity, elastic_net_value
from dashpot.techniques.penalties.group_elastic_net import group_elastic_net_prox
from dashpot.techniques.penalties.group_lasso import group_lasso_value
from dashpot.techniques.penalties.groups import ball, group_stationarity, group_threshold
from dashpot.techniques.penalties.hard_threshold import keep_largest
from dashpot.techniques.penalties.l0 import l0_prox, l0_stationarity, l0_value
from dashpot.techniques.penalties.l1 import l1_stationarity, l1_value, soft_threshold
from dashpot.techniques.penalties.l2 import l2_gradient, l2_value
from dashpot.techniques.penalties.mcp import mcp_prox, mcp_stationarity, mcp_value
from dashpot.techniques.penalties.n_of_m import keep_n_of_m
from dashpot.techniques.penalties.non_negative import positive_part
from dashpot.techniques.penalties.nuclear_norm import nuclear_prox, nuclear_value
from dashpot.techniques.penalties.on_channels import channel_prox
from dashpot.techniques.penalties.orthogonality import orthogonality_gradient, orthogonality_value
from dashpot.techniques.penalties.proximal import Proximal
from dashpot.techniques.penalties.scad import scad_prox, scad_stationarity, scad_value
from dashpot.techniques.penalties.sparse_group_lasso import sparse_group_prox, sparse_group_stationarity
from dashpot.techniques.penalties.total_variation import total_variation_prox, total_variation_value
from dashpot.techniques.penalties.unit_norm import sphere
from dashpot.techniques.sharpness.asam import in_own_units
from dashpot.techniques.sharpness.gsam import gsam_gradient, without_part_along
from dashpot.techniques.sharpness.looksam import looksam_gradient
from dashpot.techniques.sharpness.sam import sam_ascent
from dashpot.testing import Pure, Row, Toy


def selu_dropped(x: np.ndarray, u: np.ndarray, p: float) -> np.ndarray:
    """What is dropped is SELU's limit; then mean and variance of a standard normal are put back."""
    low = -1.0507009873554805 * 1.6732632423543772
    mean, square = p * low, (1 - p) + p * low**2
    return (np.where(u < p, low, x) - mean) / np.sqrt(square - mean**2)


def relaxed_dropped(x: np.ndarray, u: np.ndarray, a: float, t: float) -> np.ndarray:
    """By the rate itself, as the paper writes it; numbers are the middles of intervals of length 2^-24."""
    p, u = 1 / (1 + np.exp(-a)), u + 2.0**-25
    z = 1 / (1 + np.exp(-(np.log(p) - np.log(1 - p) + np.log(u) - np.log(1 - u)) / t))
    return x * (1 - z) / (1 - p)


def without_blocks(x: np.ndarray, u: np.ndarray, p: float, block: int) -> np.ndarray:
    """Block by block: each begins at a corner, up to ``block - 1`` places outside, and takes what lies inside."""
    out, space = x / (1 - p), x.shape[2:]
    rate = 1 - (1 - p) ** (1 / block ** len(space))
    for at in zip(*np.nonzero(u < rate), strict=True):
        spans = [slice(max(0, i - block + 1), i + 1) for i in at[2:]]
        out[(*at[:2], *spans)] = 0
    return out


T9 = np.arange(9.0)
"""Steps of the signals below."""


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


def shrunk_rows(w: np.ndarray, step: float, threshold: float, dims: tuple[int, ...]) -> np.ndarray:
    """The group threshold row by row, in polar form: the length less the threshold, the direction kept."""
    lengths = [np.linalg.norm(row) for row in w]
    return np.stack([row / length * max(length - step * threshold, 0) for row, length in zip(w, lengths, strict=True)])


def rows_by_bisection(w: np.ndarray, step: np.ndarray, threshold: float, dims: tuple[int, ...]) -> np.ndarray:
    """The minimizer of sum (u - w)^2 / (2 step) + threshold |u_row|: its length r by bisection of sum (w / (r + t))^2 =
    1.
    """
    out = np.zeros_like(w)
    for i, (row, t) in enumerate(zip(w, step * threshold, strict=True)):
        if ((row / t) ** 2).sum() <= 1:
            continue
        low, high = 0.0, np.linalg.norm(row)
        for _ in range(200):
            r = (low + high) / 2
            low, high = (r, high) if ((row / (r + t)) ** 2).sum() > 1 else (low, r)
        out[i] = row * r / (r + t)
    return out


def ball_by_bisection(w: np.ndarray, step: np.ndarray, radius: float, dims: tuple[int, ...]) -> np.ndarray:
    """The minimizer of sum (u - w)^2 / (2 step) under |u_row| <= radius: its multiplier by bisection."""
    out = w.copy()
    for i, (row, s) in enumerate(zip(w, step, strict=True)):
        low, high = 0.0, 1e6
        for _ in range(200):
            m = (low + high) / 2
            low, high = (m, high) if np.linalg.norm(row / (1 + s * m)) > radius else (low, m)
        out[i] = row / (1 + s * high) if np.linalg.norm(row) > radius else row
    return out


def rows_subgradient_distance(w: np.ndarray, g: np.ndarray, s: float, dims: tuple[int, ...]) -> np.ndarray:
    """From -g to the ball of radius s for a row of zeros, to s times the row's direction elsewhere."""
    out = []
    for row, slope in zip(w, g, strict=True):
        length, steep = np.linalg.norm(row), np.linalg.norm(slope)
        out.append(np.abs(slope + s * row / length) if length else np.abs(slope - slope * min(1, s / steep)))
    return np.stack(out)


def singular_values_less(w: np.ndarray, step: float, strength: float) -> np.ndarray:
    u, s, v = np.linalg.svd(w, full_matrices=False)
    return u @ np.diag(np.maximum(s - step * strength, 0)) @ v


def smoothed_by_the_dual(w: np.ndarray, step: np.ndarray, strength: float) -> np.ndarray:
    """Total variation's map by its dual, least squares in a box: u = w - step * D^T z with |z| <= strength."""
    out = []
    for row, s in zip(w, step, strict=True):
        d = np.diff(np.eye(len(row)), axis=0)
        z = lsq_linear((d * np.sqrt(s)).T, row / np.sqrt(s), (-strength, strength), tol=1e-15, method="bvls").x
        out.append(row - s * (d.T @ z))
    return np.stack(out)


def own_units(x: np.ndarray, w: np.ndarray, gradient: np.ndarray | None = None) -> np.ndarray:
    """Times the size of each weight and 0.1 more; with a gradient, over its length in these units."""
    size = np.sqrt(w * w) + 0.1
    return size * x if gradient is None else size * x / np.sqrt(((size * gradient) ** 2).sum())


def least_squares_rest(x: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """What is left of x once its best multiple of the axis is taken away."""
    found = lsq_linear(axis.reshape(-1, 1), x.ravel(), tol=1e-15).x
    return x - found[0] * axis


def within(x: np.ndarray, radius: float) -> np.ndarray:
    """The nearest point of the ball."""
    return x if np.linalg.norm(x) <= radius else x * radius / np.linalg.norm(x)


def at_most(g: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Each row at most as long as said."""
    own = np.sqrt((g**2).sum(axis=1, keepdims=True))
    return np.where(own > lengths, g / own * lengths, g)


def integral(slope: Callable[[float], float], upper: float, kinks: tuple[float, ...]) -> float:
    """Of a penalty's slope from 0 to a weight's size: the penalty itself."""
    return quad(slope, 0, upper, points=[k for k in kinks if 0 < k < upper] or None)[0]


BOXES = torch.tensor([[0, 0, 0, 0], [0, 4, 0, 5], [1, 3, 2, 5], [2, 3, 0, 4], [0, 4, 4, 5]])


def pictures(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return normal(5, 2, 4, 5, dtype=dtype), normal(5, 2, 4, 5, dtype=dtype, seed=1)


def boxes_pasted(x: np.ndarray, partner: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    out = x.copy()
    for i, (top, bottom, left, right) in enumerate(boxes):
        out[i, :, top:bottom, left:right] = partner[i, :, top:bottom, left:right]
    return out


def pictures_pasted(x: np.ndarray, partner: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Each pixel of the box by the pixel of the partner in which its centre lies."""
    out, (height, width) = x.copy(), x.shape[2:]
    for i, (top, bottom, left, right) in enumerate(boxes):
        for r in range(top, bottom):
            for c in range(left, right):
                row = int((r - top + 0.5) / (bottom - top) * height)
                column = int((c - left + 0.5) / (right - left) * width)
                out[i, :, r, c] = partner[i, :, row, column]
    return out


ROWS: dict[type[Technique], Row] = {
    type(row.technique): row
    for row in (
        Row(
            dashpot.Mixup(alpha=1.0),
            others=(
                dashpot.Mixup(alpha="1to0.1"),
                dashpot.Mixup(alpha=1.0, partner="same-class"),
                dashpot.Mixup(alpha=1.0, partner="other-class"),
            ),
            functions=(
                Pure(
                    mixup,
                    lambda d: (normal(5, 2, 3, dtype=d), normal(5, 2, 3, dtype=d, seed=1), uniform(5, dtype=d)),
                    lambda x, p, s: s[:, None, None] * x + (1 - s[:, None, None]) * p,
                ),
            ),
        ),
        Row(
            dashpot.augment.ManifoldMixup(alpha=1.0),
            others=(
                dashpot.augment.ManifoldMixup(alpha="1to0.1"),
                dashpot.augment.ManifoldMixup(alpha=1.0, partner="other-class", on="linears & ~name:5"),
            ),
        ),
        Row(
            dashpot.CutMix(p=1.0),
            toy=Toy(modality="image"),
            others=(dashpot.CutMix(p="1to0.2", partner="other-class"),),
            functions=(Pure(cutmix, lambda d: (*pictures(d), BOXES), boxes_pasted),),
        ),
        Row(
            dashpot.augment.ResizeMix(p=1.0),
            toy=Toy(modality="image"),
            others=(dashpot.augment.ResizeMix(p=0.6, smallest=0.5, partner="same-class"),),
            functions=(Pure(resize_mix, lambda d: (*pictures(d), BOXES), pictures_pasted),),
        ),
        Row(
            dashpot.augment.RandomMix(p=1.0, resizemix=1.0),
            toy=Toy(modality="image"),
            others=(dashpot.augment.RandomMix(p=0.7, partner="other-class"),),
        ),
        Row(dashpot.augment.HorizontalFlip(p=0.5), toy=Toy(modality="image")),
        Row(dashpot.augment.VerticalFlip(p=0.5), toy=Toy(modality="image")),
        Row(
            dashpot.augment.Rotation(degrees=90),
            toy=Toy(modality="image"),
            others=(dashpot.augment.Rotation(degrees="0to30", p=0.5, border="zero", mode="nearest"),),
        ),
        Row(
            dashpot.augment.Translation(fraction=0.3),
            toy=Toy(modality="image"),
            others=(dashpot.augment.Translation(fraction=0.2, whole=False, border="replicate"),),
        ),
        Row(dashpot.augment.Zoom(scale=0.5), toy=Toy(modality="image")),
        Row(
            dashpot.augment.Shear(degrees=20),
            toy=Toy(modality="image"),
            others=(dashpot.augment.Shear(degrees=20, axis="both"),),
        ),
        Row(
            dashpot.augment.RandomCrop(padding=2),
            toy=Toy(modality="image"),
            others=(dashpot.augment.RandomCrop(padding=0.25, border="zero"),),
        ),
        Row(dashpot.augment.RandomResizedCrop(scale=0.3), toy=Toy(modality="image")),
        Row(dashpot.augment.Perspective(distortion=0.5), toy=Toy(modality="image")),
        Row(
            dashpot.augment.Elastic(alpha=1.0, sigma=2.0),
            toy=Toy(modality="image"),
            others=(dashpot.augment.Elastic(alpha=0.1, sigma=0.25, unit="side"),),
        ),
        Row(
            dashpot.InputNoise(std=0.5),
            toy=Toy("regression"),
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
            dashpot.augment.TimeShift(fraction=0.5, border="wrap"),
            toy=Toy(modality="signal"),
            others=(dashpot.augment.TimeShift(fraction="0.1to0.5", border="zero"),),
            functions=(
                Pure(
                    time_shift,
                    lambda d: (normal(4, 2, 9, dtype=d), torch.tensor([0, 3, -2, 12]), "wrap"),
                    lambda x, s, b: np.stack([np.roll(row, n, axis=-1) for row, n in zip(x, s, strict=True)]),
                ),
            ),
        ),
        Row(
            dashpot.augment.TimeStretch(scale=0.5),
            toy=Toy(modality="signal"),
            functions=(
                Pure(
                    time_stretch,
                    lambda d: (normal(3, 2, 9, dtype=d), 0.5 + 1.5 * uniform(3, 1, 1, dtype=d)),
                    lambda x, f: np.array(
                        [
                            [np.interp((T9 - 4) / by + 4, T9, c) for c in row]
                            for row, by in zip(x, f.ravel(), strict=True)
                        ]
                    ),
                ),
            ),
        ),
        Row(
            dashpot.augment.AmplitudeScale(strength=0.5),
            toy=Toy(modality="signal"),
            functions=(
                Pure(
                    amplitude_scale,
                    lambda d: (normal(3, 2, 9, dtype=d), uniform(3, 1, 1, dtype=d)),
                    lambda x, f: np.stack([row * by for row, by in zip(x, f.ravel(), strict=True)]),
                ),
            ),
        ),
        Row(
            dashpot.augment.Drift(strength=1.0),
            toy=Toy(modality="signal"),
            functions=(
                Pure(
                    drift,
                    lambda d: (normal(3, 2, 9, dtype=d), uniform(3, 1, 1, dtype=d)),
                    lambda x, s: x + s * (T9 / 4 - 1),
                ),
            ),
        ),
        Row(
            dashpot.augment.TimeMask(fraction=0.5),
            toy=Toy(modality="signal"),
            functions=(
                Pure(
                    time_mask,
                    lambda d: (normal(3, 2, 9, dtype=d), torch.tensor([0, 4, 8]), torch.tensor([0, 3, 1])),
                    lambda x, a, n: np.where(
                        [[(t >= i) & (t < i + k) for t in range(9)] for i, k in zip(a, n, strict=True)],
                        0,
                        x.swapaxes(0, 1),
                    ).swapaxes(0, 1),
                ),
            ),
        ),
        Row(dashpot.augment.RandAugment(count=2, magnitude=9), toy=Toy(modality="image")),
        Row(dashpot.augment.TrivialAugment(p=0.9), toy=Toy(modality="image")),
        Row(dashpot.augment.AugMix(severity=5), toy=Toy(modality="image")),
        Row(
            dashpot.augment.Brightness(strength=0.5),
            toy=Toy(modality="image"),
            others=(dashpot.augment.Brightness(strength="0.1to0.5", p=0.5),),
        ),
        Row(dashpot.augment.Contrast(strength=0.5), toy=Toy(modality="image")),
        Row(dashpot.augment.Saturation(strength=0.9), toy=Toy(modality="image", channels=3)),
        Row(dashpot.augment.Hue(degrees=90), toy=Toy(modality="image", channels=3)),
        Row(
            dashpot.augment.ColorJitter(strength=0.5),
            toy=Toy(modality="image", channels=3),
            others=(dashpot.augment.ColorJitter(strength="0to0.5", degrees=20, p=0.5),),
        ),
        Row(dashpot.augment.Grayscale(p=0.5), toy=Toy(modality="image", channels=3)),
        Row(dashpot.augment.Invert(p=0.5), toy=Toy(modality="image")),
        Row(dashpot.augment.Solarize(p=0.5), toy=Toy(modality="image")),
        Row(dashpot.augment.Posterize(p=0.5, bits=1), toy=Toy(modality="image")),
        Row(dashpot.augment.Equalize(p=0.5), toy=Toy(modality="image")),
        Row(dashpot.augment.AutoContrast(p=0.5), toy=Toy(modality="image")),
        Row(dashpot.augment.Blur(sigma=2.0), toy=Toy(modality="image")),
        Row(dashpot.augment.Sharpness(strength=0.9), toy=Toy(modality="image")),
        Row(
            dashpot.augment.PixelNoise(std=0.3),
            toy=Toy(modality="image"),
            others=(dashpot.augment.PixelNoise(std=0.1, p=0.5),),
        ),
        Row(dashpot.augment.SaltAndPepper(amount=0.3), toy=Toy(modality="image")),
        Row(
            dashpot.augment.Cutout(fraction=0.5),
            toy=Toy(modality="image"),
            others=(dashpot.augment.Cutout(fraction=0.5, fill="noise"),),
        ),
        Row(
            dashpot.augment.RandomErasing(p=0.5),
            toy=Toy(modality="image"),
            others=(dashpot.augment.RandomErasing(p=1.0, area=0.5, fill="zero"),),
        ),
        Row(
            dashpot.augment.GridMask(ratio=0.5),
            toy=Toy(modality="image"),
            others=(dashpot.augment.GridMask(ratio=0.5, fill="noise"),),
        ),
        Row(
            dashpot.Dropout(p=0.5),
            others=(
                dashpot.Dropout(p=0.3, on="name:4"),
                dashpot.Dropout(p="0.5to0@cosine"),
                dashpot.Dropout(p=0.4, scaling="evaluation"),
            ),
            functions=(
                Pure(
                    unscaled_dropout,
                    lambda d: (normal(6, 7, dtype=d), uniform(6, 7), scalar(0.5, torch.float32)),
                    lambda x, u, p: np.where(u < p, 0.0, x),
                    strength=2,
                ),
                Pure(
                    dropout,
                    lambda d: (normal(6, 7, dtype=d), uniform(6, 7), scalar(0.5, torch.float32)),
                    lambda x, u, p: np.where(u < p, 0.0, x / (1 - p)),
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.dropout.ChannelDropout(p=0.5),
            toy=Toy(modality="image"),
            others=(dashpot.dropout.ChannelDropout(p="0.5to0@cosine"),),
            functions=(
                Pure(
                    channel_dropout,
                    lambda d: (normal(5, 3, 4, 2, dtype=d), uniform(5, 3), scalar(0.4, torch.float32)),
                    lambda x, u, p: np.stack(
                        [[x[i, c] * 0 if u[i, c] < p else x[i, c] / (1 - p) for c in range(3)] for i in range(5)]
                    ),
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.dropout.GaussianDropout(p=0.3),
            others=(dashpot.dropout.GaussianDropout(p="0to0.5"),),
            functions=(
                Pure(
                    gaussian_dropout,
                    lambda d: (normal(5, 3, dtype=d), normal(5, 3, dtype=d, seed=1), scalar(0.3, d)),
                    lambda x, n, p: x + x * n * np.sqrt(1 / (1 / p - 1)),
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.dropout.AlphaDropout(p=0.3),
            others=(dashpot.dropout.AlphaDropout(p="0.3to0", features=True),),
            functions=(
                Pure(
                    alpha_dropout,
                    lambda d: (normal(5, 3, dtype=d), uniform(5, 3), scalar(0.25, torch.float32)),
                    selu_dropped,
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.dropout.DropBlock(p=0.4, block=2),
            toy=Toy(modality="image"),
            others=(dashpot.dropout.DropBlock(p="0to0.4", block=3),),
            functions=(
                Pure(
                    drop_block,
                    lambda d: (normal(2, 3, 5, 4, dtype=d), uniform(2, 3, 7, 6), scalar(0.5, torch.float32), 3),
                    without_blocks,
                    strength=2,
                ),
                Pure(
                    drop_block,
                    lambda d: (normal(2, 3, 6, dtype=d), uniform(2, 3, 7), scalar(0.3, torch.float32), 2),
                    without_blocks,
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.dropout.DropConnect(p=0.5),
            others=(
                dashpot.dropout.DropConnect(p=0.3, on="type:Linear | convolutions"),
                dashpot.dropout.DropConnect(p="0.5to0@cosine", on="type:Linear"),
            ),
            functions=(
                Pure(
                    drop_connect,
                    lambda d: (normal(4, 3, dtype=d), uniform(4, 3), scalar(0.4, torch.float32)),
                    lambda w, u, p: w * (u >= p) / (1 - p),
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.dropout.AttentionDropout(p=0.5),
            toy=Toy(modality="text"),
            only=("text",),
            others=(
                dashpot.dropout.AttentionDropout(p=0.3, on="type:Reader"),
                dashpot.dropout.AttentionDropout(p="0.5to0@cosine"),
            ),
            functions=(
                Pure(
                    attention_dropout,
                    lambda d: (normal(2, 3, 4, dtype=d).softmax(-1), uniform(2, 3, 4), scalar(0.4, torch.float32)),
                    lambda w, u, p: np.where(u < p, 0.0, w / (1 - p)),
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.dropout.ConcreteDropout(p=0.3, decay=0.01, entropy=0.1),
            others=(
                dashpot.dropout.ConcreteDropout(p=0.5, entropy=0.5, on="type:Linear"),
                dashpot.dropout.ConcreteDropout(decay="1to0", temperature=0.5, on="linears"),
            ),
            functions=(
                Pure(
                    concrete_dropout,
                    lambda d: (normal(4, 3, dtype=d), uniform(4, 3), scalar(-1.5, d), 0.3),
                    relaxed_dropped,
                    strength=2,
                ),
                Pure(
                    concrete_penalty,
                    lambda d: (normal(4, 3, dtype=d), scalar(-1.5, d), 0.3, 0.2, 3),
                    lambda w, a, decay, entropy, k: (
                        decay * (w**2).sum() / (2 * expit(-a)) - entropy * k * stats.bernoulli(expit(a)).entropy()
                    ),
                    strength=1,
                ),
            ),
        ),
        Row(
            dashpot.dropout.EmbeddingDropout(p=0.5),
            toy=Toy(modality="text"),
            others=(dashpot.dropout.EmbeddingDropout(p="0.5to0"),),
            functions=(
                Pure(
                    embedding_dropout,
                    lambda d: (
                        normal(5, 3, 2, dtype=d),
                        torch.arange(15).reshape(5, 3) % 4,
                        uniform(4),
                        scalar(0.5, torch.float32),
                    ),
                    lambda x, ids, u, p: np.stack(
                        [[x[i, j] * 0 if u[ids[i, j]] < p else x[i, j] / (1 - p) for j in range(3)] for i in range(5)]
                    ),
                    strength=3,
                ),
            ),
        ),
        Row(
            dashpot.dropout.VariationalDropout(p=0.5),
            others=(
                dashpot.dropout.VariationalDropout(p=0.8, on="activations & ~name:2", axis=2),
                dashpot.dropout.VariationalDropout(p="0.5to0@cosine"),
            ),
            functions=(
                Pure(
                    variational_dropout,
                    lambda d: (normal(2, 5, 3, dtype=d), uniform(2, 1, 3), scalar(0.4, torch.float32)),
                    lambda x, u, p: np.stack([x[:, t] * (u[:, 0] >= p) / (1 - p) for t in range(5)], axis=1),
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.dropout.StochasticDepth(p=0.5, on="activations"),
            others=(
                dashpot.dropout.StochasticDepth(p=0.8, on="activations & ~name:2"),
                dashpot.dropout.StochasticDepth(p="0.5to0@cosine", on="activations"),
            ),
            functions=(
                Pure(
                    stochastic_depth,
                    lambda d: (normal(6, 3, 2, dtype=d), uniform(6), scalar(0.4, torch.float32)),
                    lambda x, u, p: np.stack([x[i] * 0 if u[i] < p else x[i] / (1 - p) for i in range(6)]),
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.LabelSmoothing(smoothing=0.3),
            others=(dashpot.LabelSmoothing(smoothing=0.3, prior=(0.7, 0.2, 0.1)),),
            functions=(
                Pure(
                    label_smoothing,
                    lambda d: (
                        *(normal(6, dtype=d).abs(), normal(6, 4, dtype=d, seed=1), scalar(0.3, d)),
                        torch.tensor([[0.5, 0.3, 0.2, 0.0]], dtype=d),
                    ),
                    lambda loss, z, s, prior: (1 - s) * loss - s * (prior * log_softmax(z, axis=1)).sum(axis=1),
                    strength=2,
                ),
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
            dashpot.labels.LabelNoise(p=0.5),
            others=(dashpot.labels.LabelNoise(p="0to0.5"),),
            functions=(
                Pure(
                    replaced,
                    lambda d: (normal(6, 4, dtype=d), normal(6, 4, dtype=d, seed=1), uniform(6, 4), scalar(0.4, d)),
                    lambda y, o, u, p: (u >= p) * y + (u < p) * o,
                    strength=3,
                ),
            ),
        ),
        Row(
            dashpot.noise.ActivationNoise(std=0.5),
            others=(dashpot.noise.ActivationNoise(std="0to0.5", on="linears"),),
            functions=(
                Pure(
                    activation_noise,
                    lambda d: (normal(4, 3, dtype=d), normal(4, 3, dtype=d, seed=1), scalar(0.5, d)),
                    lambda x, n, s: x + s * n,
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.noise.GradientNoise(std=0.5),
            others=(dashpot.noise.GradientNoise(std="0to0.5", decay=0.0, on="biases | norms"),),
            functions=(
                Pure(
                    gradient_noise,
                    lambda d: (normal(4, 3, dtype=d), normal(4, 3, dtype=d, seed=1), scalar(0.5, d)),
                    lambda g, n, s: g + s * n,
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.outputs.ConfidencePenalty(strength=0.5),
            others=(dashpot.outputs.ConfidencePenalty(strength="0to0.5"),),
            functions=(
                Pure(
                    entropy,
                    lambda d: (normal(6, 4, 3, dtype=d),),
                    lambda z: stats.entropy(np.exp(z), axis=1),
                ),
                Pure(
                    binary_entropy,
                    lambda d: (normal(6, 4, dtype=d),),
                    lambda z: stats.entropy([1 / (1 + np.exp(z)), 1 / (1 + np.exp(-z))], axis=0),
                ),
                Pure(
                    confidence_penalty,
                    lambda d: (normal(6, dtype=d), normal(6, dtype=d, seed=1).abs(), scalar(0.3, d)),
                    lambda loss, h, s: loss - s * h,
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.outputs.FocalLoss(gamma=2.0),
            others=(dashpot.outputs.FocalLoss(gamma="0to3"), dashpot.outputs.FocalLoss(gamma=0.5)),
            functions=(
                Pure(
                    focal_change,
                    lambda d: (3 * uniform(6, 4, dtype=d), scalar(1.5, d)),
                    lambda nll, g: ((1 - np.exp(-nll)) ** g - 1) * nll,
                    strength=1,
                ),
            ),
        ),
        Row(
            dashpot.outputs.Margin(margin=1.0),
            others=(dashpot.outputs.Margin(margin=0.5, prior=(0.7, 0.2, 0.1)),),
            functions=(
                Pure(
                    margin_term,
                    lambda d: (3 * uniform(6, 4, dtype=d), scalar(1.5, d)),
                    # By two classes whose logits are those of p and 1 - p, one of them lower by the margin.
                    lambda nll, m: -np.log(np.exp(-nll - m) / (np.exp(-nll - m) + 1 - np.exp(-nll))) - nll,
                    strength=1,
                ),
            ),
        ),
        Row(
            dashpot.outputs.PolyLoss(epsilon=2.0),
            others=(dashpot.outputs.PolyLoss(epsilon=-1.0),),
            functions=(
                Pure(
                    poly_term,
                    lambda d: (3 * uniform(6, 4, dtype=d), scalar(1.5, d)),
                    lambda nll, e: e - e * np.exp(-nll),
                    strength=1,
                ),
            ),
        ),
        Row(
            dashpot.outputs.Flooding(level=1.5),
            others=(dashpot.outputs.Flooding(level=1.0, by="sample"), dashpot.outputs.Flooding(level="0to2")),
            functions=(
                Pure(
                    flooded,
                    lambda d: (normal(6, dtype=d), scalar(0.2, d), scalar(0.3, d)),
                    lambda loss, m, b: np.sign(m - b) * (loss - b) + b,
                    strength=2,
                ),
                Pure(
                    flooded,
                    lambda d: (normal(6, dtype=d), normal(6, dtype=d), scalar(0.3, d)),
                    lambda loss, m, b: np.abs(loss - b) + b,
                    strength=2,
                    differentiable=False,
                ),
            ),
        ),
        Row(
            dashpot.outputs.LogitNorm(temperature=0.5),
            others=(dashpot.outputs.LogitNorm(temperature="0to0.5"),),
            functions=(
                Pure(
                    logit_norm,
                    lambda d: (normal(6, 4, dtype=d), scalar(0.5, d)),
                    lambda z, t: z / t / np.sqrt((z**2).sum(axis=1, keepdims=True)),
                ),
            ),
        ),
        Row(
            dashpot.outputs.ActivityPenalty(strength=0.1),
            others=(dashpot.outputs.ActivityPenalty(strength="0to0.1", norm="l2", on="linears"),),
            functions=(
                Pure(
                    absolute_sum,
                    lambda d: (normal(6, 4, 3, dtype=d), scalar(0.5, d)),
                    lambda h, s: s * np.linalg.norm(h.reshape(6, -1), 1, axis=1),
                    strength=1,
                ),
                Pure(
                    square_sum,
                    lambda d: (normal(6, 4, 3, dtype=d), scalar(0.5, d)),
                    lambda h, s: s * np.linalg.norm(h.reshape(6, -1), axis=1) ** 2 / 2,
                    strength=1,
                ),
            ),
        ),
        Row(
            dashpot.outputs.JacobianPenalty(strength=1.0),
            others=(dashpot.outputs.JacobianPenalty(strength="0to1", projections=2),),
            functions=(
                Pure(
                    jacobian_estimate,
                    lambda d: (normal(6, 4, 3, dtype=d), 5, scalar(0.5, d)),
                    lambda g, c, s: s * c * np.linalg.norm(g.reshape(6, -1), axis=1) ** 2 / 2,
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.outputs.GradientPenalty(strength=1.0),
            others=(dashpot.outputs.GradientPenalty(strength="0to1"),),
            functions=(
                Pure(
                    gradient_square,
                    lambda d: (normal(6, 4, 3, dtype=d), scalar(0.5, d)),
                    lambda g, s: s * np.linalg.norm(g.reshape(6, -1), axis=1) ** 2 / 2,
                    strength=1,
                ),
            ),
        ),
        Row(
            dashpot.outputs.Distillation("dashpot.testing.toys:teacher", weight=0.8),
            others=(dashpot.outputs.Distillation("dashpot.testing.toys:teacher", weight="0to1", temperature=4.0),),
            functions=(
                Pure(
                    distilled,
                    lambda d: (normal(6, dtype=d), normal(6, dtype=d, seed=1), scalar(0.3, d)),
                    lambda loss, a, w: np.average([loss, a], axis=0, weights=[1 - w, w]),
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.noise.AdversarialExamples(epsilon=0.3),
            others=(
                dashpot.noise.AdversarialExamples(epsilon="0to0.3", norm="length", steps=2, p=0.5),
                dashpot.noise.AdversarialExamples(epsilon=0.3, start=False),
            ),
            functions=(
                Pure(
                    ascend_max,
                    lambda d: (normal(4, 3, dtype=d), normal(4, 3, dtype=d, seed=1), 0.7, scalar(0.5, d)),
                    lambda r, g, a, e: np.minimum(np.maximum(r + a * np.sign(g), -e), e),
                    strength=3,
                ),
                Pure(
                    ascend_length,
                    lambda d: (normal(4, 3, dtype=d), normal(4, 3, dtype=d, seed=1), 0.7, scalar(1.5, d)),
                    lambda r, g, a, e: np.stack(
                        [within(x + a * y / np.linalg.norm(y), e) for x, y in zip(r, g, strict=True)]
                    ),
                    strength=3,
                ),
            ),
        ),
        Row(
            dashpot.noise.AdversarialEmbeddings(epsilon=0.5),
            toy=Toy(modality="text"),
            others=(dashpot.noise.AdversarialEmbeddings(epsilon="0.2to0.6", weight="0to1"),),
            functions=(
                Pure(
                    with_moved,
                    lambda d: (normal(6, dtype=d), normal(6, dtype=d, seed=1), scalar(0.3, d)),
                    lambda loss, a, w: np.average([loss, a], axis=0, weights=[1 - w, w]),
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.noise.VirtualAdversarial(strength=2.0),
            others=(dashpot.noise.VirtualAdversarial(strength="0to2", epsilon=0.5, iterations=2),),
            functions=(
                Pure(
                    smoothness,
                    lambda d: (normal(6, dtype=d), normal(6, dtype=d, seed=1), scalar(2.0, d)),
                    lambda loss, a, s: loss + s * a,
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.noise.WeightNoise(std=0.1),
            others=(dashpot.noise.WeightNoise(std="0to0.1", on="biases | norms"),),
            functions=(
                Pure(
                    weight_noise,
                    lambda d: (normal(4, 3, dtype=d), normal(4, 3, dtype=d, seed=1), scalar(0.5, d)),
                    lambda w, n, s: w + s * n,
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.outputs.RDrop(strength=2.0),
            toy=Toy(dropout=0.5),
            others=(dashpot.outputs.RDrop(strength="0to2"),),
            functions=(
                Pure(
                    divergence,
                    lambda d: (normal(6, 4, 3, dtype=d), normal(6, 4, 3, dtype=d, seed=1)),
                    lambda p, q: stats.entropy(np.exp(p), np.exp(q), axis=1),
                ),
                Pure(
                    binary_divergence,
                    lambda d: (normal(6, 4, dtype=d), normal(6, 4, dtype=d, seed=1)),
                    lambda p, q: stats.entropy([np.exp(p), np.ones_like(p)], [np.exp(q), np.ones_like(q)], axis=0),
                ),
                Pure(
                    r_drop,
                    lambda d: (*(normal(6, dtype=d, seed=k) for k in range(3)), scalar(2.0, d)),
                    lambda loss, a, b, s: loss + s * np.mean([a, b], axis=0),
                    strength=3,
                ),
            ),
        ),
        Row(
            dashpot.outputs.SelfDistillation(strength=2.0, decay=0.9),
            others=(dashpot.outputs.SelfDistillation(strength="0to2", temperature=3.0),),
            functions=(
                Pure(
                    consistency,
                    lambda d: (normal(6, dtype=d), normal(6, dtype=d, seed=1), scalar(2.0, d)),
                    lambda loss, a, s: loss + s * a,
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.L2(strength=0.1),
            step=lambda w, grad, lr: w - lr * (grad(w) + 0.1 * w),
            others=(dashpot.L2(strength=0.5, on="biases | norms"), dashpot.L2(strength="0.5@until=50%")),
            toy=Toy("regression"),
            functions=(
                Pure(
                    l2_value,
                    lambda d: (normal(3, 4, dtype=d), scalar(0.1, d)),
                    lambda w, s: s * np.linalg.norm(w) ** 2 / 2,
                    strength=1,
                ),
                Pure(l2_gradient, lambda d: (normal(3, 4, dtype=d), scalar(0.1, d)), lambda w, s: w * s, strength=1),
            ),
        ),
        Row(
            dashpot.fine_tuning.L2SP(strength=0.5),
            others=(
                dashpot.fine_tuning.L2SP(strength="0.5@until=50%", head_ratio=0.0, on="biases | norms"),
                dashpot.fine_tuning.L2SP(strength=0.5, head="none", on="everything"),
            ),
            functions=(
                Pure(
                    l2_sp_value,
                    lambda d: (normal(3, 4, dtype=d), normal(3, 4, dtype=d, seed=1), scalar(0.1, d)),
                    lambda w, start, s: s * np.linalg.norm(w - start) ** 2 / 2,
                    strength=2,
                ),
                Pure(
                    l2_sp_gradient,
                    lambda d: (normal(3, 4, dtype=d), normal(3, 4, dtype=d, seed=1), scalar(0.1, d)),
                    lambda w, start, s: s * w - s * start,
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.fine_tuning.SelectiveProjectionDecay(strength=3.0, on="everything"),
            others=(dashpot.fine_tuning.SelectiveProjectionDecay(strength="0to3", on="biases | norms"),),
            functions=(
                Pure(
                    selective_projection,
                    lambda d: (
                        *(normal(3, 4, dtype=d), normal(3, 4, dtype=d, seed=1)),
                        *(scalar(2.0, d), torch.tensor(True), scalar(0.7, d)),
                    ),
                    lambda w, start, before, back, s: w - s * (1 - before / np.linalg.norm(w - start)) * (w - start),
                    strength=4,
                ),
            ),
        ),
        Row(
            dashpot.fine_tuning.Mixout(p=0.6),
            others=(
                dashpot.fine_tuning.Mixout(p="0to0.6", on="type:Linear"),
                dashpot.fine_tuning.Mixout(p=0.3, on="type:Linear | type:Conv2d"),
            ),
            functions=(
                Pure(
                    mixout,
                    lambda d: (
                        *(normal(3, 4, dtype=d), normal(3, 4, dtype=d, seed=1)),
                        *(uniform(3, 4, dtype=d), scalar(0.4, d)),
                    ),
                    lambda w, start, u, p: start + np.where(u < p, 0, (w - start) / (1 - p)),
                    strength=3,
                ),
            ),
        ),
        Row(
            dashpot.fine_tuning.ChildTuning(keep=0.4),
            others=(
                dashpot.fine_tuning.ChildTuning(keep=0.2, by="fisher", batches=2),
                dashpot.fine_tuning.ChildTuning(keep="1to0.2", on="biases | norms"),
            ),
            functions=(
                Pure(
                    child_gradient,
                    lambda d: (normal(3, 4, dtype=d), uniform(3, 4, dtype=d), scalar(0.4, d)),
                    lambda g, u, keep: g * (u < keep) / keep,
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.fine_tuning.FreezeUntil(until="50%"),
            others=(
                dashpot.fine_tuning.FreezeUntil(until="2epochs", gradual=True),
                dashpot.fine_tuning.FreezeUntil(until="3steps", on="weights"),
            ),
        ),
        Row(
            dashpot.fine_tuning.EmbeddingNoise(alpha=5.0),
            toy=Toy(modality="text"),
            others=(dashpot.fine_tuning.EmbeddingNoise(alpha="0to5", on="type:Embedding"),),
            functions=(
                Pure(
                    embedding_noise,
                    lambda d: (
                        *(normal(2, 5, 3, dtype=d), uniform(2, 5, 3, dtype=d)),
                        *(torch.tensor([5, 2], dtype=d).reshape(2, 1, 1), scalar(0.7, d)),
                    ),
                    lambda x, u, length, a: x + a * (u - (1 - u)) / np.sqrt(3) / np.sqrt(length),
                    strength=3,
                ),
            ),
        ),
        *(
            Row(technique, toy=Toy(modality="text", strings=True))
            for technique in (
                texts.RandomDeletion(0.4, protect="num+|b|c", protected_ids=(1, 2)),
                texts.RandomSwap(0.4, tokenizer="builtins:str.split", protect="none", padding_id=0),
                texts.RandomInsertion(0.4, synonyms="builtins:str.upper"),
                texts.PunctuationInsertion(0.5),
                texts.SynonymReplacement(0.9, synonyms={"it": ["that", "this, |one"], "好": "佳"}),
                texts.WordMasking(0.4, mask="<mask>", mask_id=8),
                texts.SpanMasking(0.4, span=2, merge=True),
                texts.CharacterNoise(0.5),
                texts.KeyboardNoise(0.5, layout="qwertz"),
                texts.SentenceShuffle(1.0),
                texts.CaseChange(0.5, to="upper"),
                texts.BackTranslation(0.7, forward="tests.translators:louder", backward="tests.translators:longer"),
                texts.WidthChange(0.5, tokenizer="characters"),
            )
        ),
        Row(
            dashpot.WeightDecay(strength=1.0),
            step=lambda w, grad, lr: w - lr * 1.0 * w - lr * grad(w),
            others=(
                dashpot.WeightDecay(strength=0.5, on="biases"),
                dashpot.WeightDecay(timescale=3.0),
                dashpot.WeightDecay(timescale="1to5", layer_factor=0.5),
                dashpot.WeightDecay(strength=0.5, layer_factor="1to2"),
                dashpot.WeightDecay(strength="1to0", on="norms"),
            ),
            functions=(
                Pure(
                    shrunk,
                    lambda d: (normal(3, 4, dtype=d), scalar(0.2, d)),
                    lambda w, s: w - s * w,
                    strength=1,
                ),
            ),
        ),
        Row(
            dashpot.penalties.CautiousWeightDecay(strength=2.0),
            step=lambda w, grad, lr: np.where(grad(w) * w < 0, w, w - lr * 2.0 * w) - lr * grad(w),
            others=(
                dashpot.penalties.CautiousWeightDecay(strength="0to2"),
                dashpot.penalties.CautiousWeightDecay(strength=2.0, on="biases | norms"),
            ),
            functions=(
                Pure(
                    cautiously_shrunk,
                    lambda d: (normal(3, 4, dtype=d), normal(3, 4, dtype=d, seed=1), scalar(0.2, d)),
                    lambda w, u, s: w - s * w * (np.sign(u) == np.sign(w)),
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.penalties.CorrectedWeightDecay(strength=2.0),
            step=lambda w, grad, lr: w - lr * 2.0 * w - lr * grad(w),
            others=(
                dashpot.penalties.CorrectedWeightDecay(strength="2to0"),
                dashpot.penalties.CorrectedWeightDecay(strength=2.0, on="biases | norms"),
            ),
        ),
        Row(
            dashpot.GradientClipping(maximum=0.01),
            step=lambda w, grad, lr: w - lr * grad(w) * min(1.0, 0.01 / (np.linalg.norm(grad(w)) + 1e-6)),
            others=(
                dashpot.GradientClipping(maximum=0.005, by="value"),
                dashpot.GradientClipping(maximum=0.005, by="layer"),
                dashpot.GradientClipping(maximum="0.1to0.001"),
            ),
            functions=(
                Pure(
                    clip_coefficient,
                    lambda d: (scalar(3.0, d), scalar(0.5, d)),
                    lambda n, m: min(1.0, m / (n + 1e-6)),
                    strength=1,
                ),
                Pure(
                    clip_value,
                    lambda d: (normal(3, 4, dtype=d), scalar(0.5, d)),
                    lambda g, m: np.clip(g, -m, m),
                    strength=1,
                ),
            ),
        ),
        Row(
            dashpot.gradient.AdaptiveGradientClipping(clipping=0.01, head=True),
            step=lambda w, grad, lr: w - lr * at_most(grad(w), 0.01 * np.linalg.norm(w, axis=1, keepdims=True)),
            others=(
                dashpot.gradient.AdaptiveGradientClipping(clipping=0.01),
                dashpot.gradient.AdaptiveGradientClipping(clipping="0.1to0.001", eps=0.1, head=True, on="weights"),
            ),
            functions=(
                Pure(
                    adaptive_coefficient,
                    lambda d: (normal(3, 4, dtype=d), normal(3, 4, dtype=d, seed=1), scalar(0.9, d), 0.01, (1,)),
                    lambda g, w, c, eps, dims: np.stack(
                        [[min(1, c * max((b @ b) ** 0.5, eps) / (a @ a) ** 0.5)] for a, b in zip(g, w, strict=True)]
                    ),
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.gradient.GradientCentralization(),
            step=lambda w, grad, lr: w - lr * grad(w) @ (np.eye(4) - 0.25),
            others=(dashpot.gradient.GradientCentralization(on="name:0.weight"),),
            functions=(
                Pure(centered, lambda d: (normal(3, 4, dtype=d), (1,)), lambda g, dims: g @ (np.eye(4) - 0.25)),
            ),
        ),
        Row(
            dashpot.SAM(rho=0.5),
            others=(dashpot.SAM(rho="0.5@from=50%"),),
            step=lambda w, grad, lr: w - lr * grad(w + 0.5 * grad(w) / np.linalg.norm(grad(w))),
            functions=(
                Pure(
                    sam_ascent,
                    lambda d: (
                        normal(3, 4, dtype=d),
                        normal(3, 4, dtype=d, seed=1),
                        normal(3, 4, dtype=d, seed=1).norm(),
                        scalar(0.5, d),
                    ),
                    lambda w, g, n, r: w + r * g / np.linalg.norm(g),
                    strength=3,
                ),
            ),
        ),
        Row(
            dashpot.sharpness.ASAM(rho=0.5, eta=0.1),
            others=(dashpot.sharpness.ASAM(rho="0.5@from=50%"),),
            step=lambda w, grad, lr: w - lr * grad(w + 0.5 * own_units(own_units(grad(w), w), w, grad(w))),
            functions=(
                Pure(
                    in_own_units,
                    lambda d: (normal(3, 4, dtype=d), normal(3, 4, dtype=d, seed=1), scalar(0.1, d)),
                    lambda x, w, eta: np.where(w > 0, x * w, -x * w) + x * eta,
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.sharpness.GSAM(rho=0.5, alpha=0.8),
            others=(dashpot.sharpness.GSAM(rho="0.5to0.1@cosine", alpha="0to0.9"),),
            # Of this loss both gradients have one direction, so that nothing lies across.
            step=lambda w, grad, lr: w - lr * grad(w + 0.5 * grad(w) / np.linalg.norm(grad(w))),
            functions=(
                Pure(
                    gsam_gradient,
                    lambda d: (normal(3, 4, dtype=d), normal(3, 4, dtype=d, seed=1), scalar(0.4, d)),
                    lambda top, across, alpha: top - alpha * across,
                    strength=2,
                ),
                Pure(
                    without_part_along,
                    lambda d: (
                        normal(3, 4, dtype=d),
                        normal(3, 4, dtype=d, seed=1),
                        (normal(3, 4, dtype=d) * normal(3, 4, dtype=d, seed=1)).sum(),
                        normal(3, 4, dtype=d, seed=1).square().sum(),
                    ),
                    lambda x, axis, product, square: least_squares_rest(x, axis),
                ),
            ),
        ),
        Row(
            dashpot.sharpness.LookSAM(rho=0.5, every=2),
            others=(dashpot.sharpness.LookSAM(rho="0.5@from=34%", every=2, alpha="1to0.2"),),
            step=lambda w, grad, lr: w - lr * grad(w + 0.5 * grad(w) / np.linalg.norm(grad(w))),
            functions=(
                Pure(
                    looksam_gradient,
                    lambda d: (
                        normal(3, 4, dtype=d),
                        normal(3, 4, dtype=d, seed=1),
                        scalar(2.0, d),
                        scalar(3.0, d),
                        scalar(0.7, d),
                    ),
                    lambda g, aside, norm, aside_norm, alpha: g + alpha * norm / aside_norm * aside,
                    strength=4,
                ),
            ),
        ),
        Row(
            dashpot.L1(strength=0.05),
            step=lambda w, grad, lr: soft(w - lr * grad(w), lr * 0.05),
            others=(
                dashpot.L1(strength=1.0, scaling="decoupled"),
                dashpot.L1(strength=0.1, on="biases"),
                dashpot.L1(strength="0to0.1@until=4steps"),
            ),
            toy=Toy("regression"),
            functions=(
                Pure(
                    l1_value,
                    lambda d: (normal(3, 4, dtype=d), scalar(0.1, d)),
                    lambda w, s: s * np.linalg.norm(w.ravel(), 1),
                    strength=1,
                ),
                Pure(soft_threshold, lambda d: (normal(3, 4, dtype=d), scalar(0.5, d)), soft, strength=1),
                Pure(soft_threshold, lambda d: (normal(3, 4, dtype=d), uniform(3, 4, dtype=d)), soft),
                Pure(
                    l1_stationarity,
                    lambda d: (
                        normal(3, 4, dtype=d) * (uniform(3, 4, dtype=d) > 0.5),
                        normal(3, 4, dtype=d, seed=2),
                        scalar(0.5, d),
                    ),
                    subgradient_distance,
                    strength=2,
                    differentiable=False,
                ),
            ),
        ),
        Row(
            dashpot.ElasticNet(strength=0.05, l1_ratio=0.7),
            step=lambda w, grad, lr: soft(w - lr * grad(w), lr * 0.05 * 0.7) / (1 + lr * 0.05 * 0.3),
            others=(dashpot.ElasticNet(strength=1.0, scaling="decoupled"),),
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
            step=lambda w, grad, lr: 0.7 * w + 0.3 * (w - lr * grad(w)),
            others=(dashpot.EMA(decay=0.9, warmup=True), dashpot.EMA(half_life=0.5)),
        ),
        Row(
            dashpot.normalization.GhostBatchNorm(size=4),
            others=(dashpot.normalization.GhostBatchNorm(size=7, on="name:1"),),
        ),
        Row(
            dashpot.normalization.WeightNorm(),
            others=(dashpot.normalization.WeightNorm(on="name:0"),),
            functions=(
                Pure(
                    weight_norm,
                    lambda d: (normal(3, 4, dtype=d), uniform(3, 1, dtype=d), (1,)),
                    lambda v, g, dims: np.stack([g[i] * v[i] / np.sqrt(v[i] @ v[i]) for i in range(3)]),
                ),
                Pure(
                    lengths,
                    lambda d: (normal(2, 3, 4, dtype=d), (1,)),
                    lambda v, dims: np.linalg.norm(v, axis=1, keepdims=True),
                ),
            ),
        ),
        Row(
            dashpot.normalization.WeightStandardization(),
            others=(dashpot.normalization.WeightStandardization(gain="1to2", on="linears | convolutions"),),
            functions=(
                Pure(
                    weight_standardization,
                    lambda d: (normal(3, 40, dtype=d), scalar(1.5, d), (1,)),
                    lambda w, gain, dims: np.stack(
                        [gain * (r - r.mean()) / np.sqrt(r.size * r.var() + 1e-6) for r in w]
                    ),
                    strength=1,
                ),
            ),
        ),
        Row(
            dashpot.normalization.SpectralNorm(),
            others=(dashpot.normalization.SpectralNorm(norm=2.0, iterations=3),),
            functions=(
                Pure(
                    singular_value,
                    lambda d: (normal(3, 4, dtype=d), normal(3, dtype=d, seed=1), normal(4, dtype=d, seed=2)),
                    lambda w, u, v: np.einsum("i,ij,j", u, w, v) / np.sqrt((u**2).sum() * (v**2).sum()),
                ),
                Pure(
                    lambda w, v: torch.cat(power_iteration(w, v)),
                    lambda d: (normal(3, 4, dtype=d), normal(4, dtype=d, seed=2)),
                    lambda w, v: np.concatenate(
                        [w @ v / np.linalg.norm(w @ v), w.T @ w @ v / np.linalg.norm(w.T @ w @ v)]
                    ),
                ),
            ),
        ),
        Row(
            dashpot.averaging.SWA(start="0steps", every="1steps"),
            step=lambda w, grad, lr: w - lr * grad(w),
            others=(dashpot.averaging.SWA(start="50%"), dashpot.averaging.SWA(start="1epochs", every="20%")),
        ),
        Row(dashpot.averaging.Snapshots(cycles=3), others=(dashpot.averaging.Snapshots(cycles=1),)),
        Row(
            dashpot.averaging.LAWA(last=3, every="1steps"),
            step=lambda w, grad, lr: w - lr * grad(w),
            others=(dashpot.averaging.LAWA(last=2),),
        ),
        Row(
            dashpot.averaging.Lookahead(alpha=0.4, every=1),
            step=lambda w, grad, lr: w - 0.4 * lr * grad(w),
            others=(dashpot.averaging.Lookahead(every=2), dashpot.averaging.Lookahead(alpha="0.9to0.2", every=2)),
            functions=(
                Pure(
                    lookahead,
                    lambda d: (normal(3, 4, dtype=d), normal(3, 4, dtype=d, seed=1), scalar(0.3, d)),
                    lambda slow, fast, alpha: (1 - alpha) * slow + alpha * fast,
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.stopping.DivergenceStopping(factor=3.0),
            others=(dashpot.stopping.DivergenceStopping(monitor="val_loss", factor=2.0, restore=False),),
            scores=("train_loss", "val_loss"),
        ),
        Row(
            dashpot.stopping.MultiMetricStopping("val_loss,train_loss:min", patience=1),
            others=(dashpot.stopping.MultiMetricStopping("val_loss", when="any", restore=False),),
            scores=("val_loss", "train_loss"),
        ),
        Row(
            dashpot.stopping.PrecheltStopping(alpha=5.0),
            others=(dashpot.stopping.PrecheltStopping(criterion="pq", alpha=0.5, strip=3, restore=False),),
            scores=("val_loss", "train_loss"),
        ),
        Row(dashpot.stopping.TimeLimit("1h")),
        Row(dashpot.stopping.StopFile("no-such-file-here")),
        Row(
            dashpot.EarlyStopping(patience=1),
            others=(dashpot.EarlyStopping(monitor="val_loss", patience=3, restore=False),),
        ),
        Row(
            dashpot.GroupLasso(strength=0.1, groups="rows"),
            step=lambda w, grad, lr: shrunk_rows(w - lr * grad(w), lr, 0.1 * 2, (1,)),
            others=(
                dashpot.GroupLasso(strength=1.0, groups="columns", scaling="decoupled"),
                dashpot.GroupLasso(strength=0.1, groups="layer"),
            ),
            functions=(
                Pure(
                    group_lasso_value,
                    lambda d: (normal(3, 4, dtype=d), scalar(0.1, d), (1,), 2.0),
                    lambda w, s, dims, size: s * size * sum(np.linalg.norm(row) for row in w),
                    strength=1,
                ),
                Pure(
                    group_threshold,
                    lambda d: (normal(3, 4, dtype=d), 0.5, scalar(2.0, d), (1,)),
                    shrunk_rows,
                    strength=2,
                ),
                Pure(
                    group_threshold,
                    lambda d: (normal(3, 4, dtype=d), 0.1 + uniform(3, 4, dtype=d), scalar(1.0, d), (1,)),
                    rows_by_bisection,
                    strength=2,
                    differentiable=False,
                ),
                Pure(
                    group_stationarity,
                    lambda d: (
                        normal(3, 4, dtype=d) * (uniform(3, 1, dtype=d) > 0.5),
                        normal(3, 4, dtype=d, seed=2),
                        scalar(0.5, d),
                        (1,),
                    ),
                    rows_subgradient_distance,
                    strength=2,
                    differentiable=False,
                ),
            ),
        ),
        Row(
            dashpot.penalties.ChannelLasso(strength=0.1),
            others=(
                dashpot.penalties.ChannelLasso(strength=1.0, scaling="decoupled"),
                dashpot.penalties.ChannelLasso(strength=0.1, cost="macs", on="weights & ~type:Conv2d"),
            ),
            functions=(
                Pure(
                    channel_prox,
                    lambda d: (normal(3, 4, dtype=d), 0.5, scalar(1.0, d), 0.5 + uniform(3, dtype=d)),
                    lambda w, t, s, f: np.concatenate(
                        [shrunk_rows(w[i : i + 1], t, s * f[i], (1,)) for i in range(len(w))]
                    ),
                    strength=2,
                ),
            ),
            only=("table", "image", "signal"),
        ),
        Row(
            dashpot.Compress(to="0.6x parameters"),
            others=(dashpot.Compress(to="0.7x macs", by="4steps"), dashpot.Compress(to="0.7x bytes", by=1.0)),
            functions=(
                Pure(
                    squared_effect,
                    lambda d: (normal(3, 4, dtype=d), 0.1 + uniform(3, 4, dtype=d)),
                    lambda w, scale: [np.dot(w[i] * scale[i], w[i] * scale[i]) for i in range(len(w))],
                ),
            ),
            only=("table", "image", "signal"),
        ),
        Row(
            dashpot.SparseGroupLasso(strength=0.1, groups="columns"),
            others=(dashpot.SparseGroupLasso(strength=1.0, scaling="decoupled"),),
            functions=(
                Pure(
                    sparse_group_prox,
                    lambda d: (normal(3, 4, dtype=d), 0.5, scalar(1.0, d), 0.3, (1,), 2.0),
                    lambda w, t, s, r, dims, size: shrunk_rows(soft(w, t * s * r), t, s * (1 - r) * size, dims),
                    strength=2,
                ),
                Pure(
                    sparse_group_stationarity,
                    lambda d: (normal(3, 4, dtype=d), normal(3, 4, dtype=d, seed=2), scalar(0.4, d), 0.3, (1,), 2.0),
                    lambda w, g, s, r, dims, size: np.abs(
                        g + s * r * np.sign(w) + s * (1 - r) * size * w / np.sqrt((w**2).sum(axis=1, keepdims=True))
                    ),
                    strength=2,
                    differentiable=False,
                ),
            ),
        ),
        Row(
            dashpot.GroupElasticNet(strength=0.1, groups="block:1x2"),
            functions=(
                Pure(
                    group_elastic_net_prox,
                    lambda d: (normal(3, 4, dtype=d), 0.5, scalar(1.0, d), 0.3, (1,), 2.0),
                    lambda w, t, s, r, dims, size: shrunk_rows(w, t, s * r * size, dims) / (1 + t * s * (1 - r)),
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.SCAD(strength=0.5, a=3.0),
            functions=(
                Pure(
                    scad_value,
                    lambda d: (2 * normal(3, 4, dtype=d), scalar(0.5, d), 3.0),
                    lambda w, s, a: sum(
                        integral(lambda t: min(s, max(a * s - t, 0) / (a - 1)), abs(v), (s, a * s)) for v in w.ravel()
                    ),
                    strength=1,
                ),
                Pure(
                    scad_prox,
                    lambda d: (2 * normal(3, 4, dtype=d), 0.7, scalar(0.5, d), 3.0),
                    lambda w, t, s, a: np.vectorize(
                        lambda x: (
                            np.sign(x)
                            * (
                                max(abs(x) - t * s, 0)
                                if abs(x) <= (1 + t) * s
                                else (((a - 1) * abs(x) - t * a * s) / (a - 1 - t) if abs(x) <= a * s else abs(x))
                            )
                        )
                    )(w),
                    strength=2,
                ),
                Pure(
                    scad_stationarity,
                    lambda d: (normal(3, 4, dtype=d), normal(3, 4, dtype=d, seed=2), scalar(0.4, d), 3.0),
                    lambda w, g, s, a: np.abs(
                        g + np.sign(w) * np.minimum(s, np.maximum(a * s - np.abs(w), 0) / (a - 1))
                    ),
                    strength=2,
                    differentiable=False,
                ),
            ),
        ),
        Row(
            dashpot.MCP(strength=0.5, gamma=3.0),
            functions=(
                Pure(
                    mcp_value,
                    lambda d: (2 * normal(3, 4, dtype=d), scalar(0.5, d), 3.0),
                    lambda w, s, c: sum(integral(lambda t: max(s - t / c, 0), abs(v), (c * s,)) for v in w.ravel()),
                    strength=1,
                ),
                Pure(
                    mcp_prox,
                    lambda d: (2 * normal(3, 4, dtype=d), 0.7, scalar(0.5, d), 3.0),
                    lambda w, t, s, c: np.where(np.abs(w) <= c * s, soft(w, t * s) / (1 - t / c), w),
                    strength=2,
                ),
                Pure(
                    mcp_stationarity,
                    lambda d: (normal(3, 4, dtype=d), normal(3, 4, dtype=d, seed=2), scalar(0.4, d), 3.0),
                    lambda w, g, s, c: np.abs(g + np.sign(w) * np.maximum(s - np.abs(w) / c, 0)),
                    strength=2,
                    differentiable=False,
                ),
            ),
        ),
        Row(
            dashpot.L0(strength=0.5),
            functions=(
                Pure(
                    l0_value,
                    lambda d: (normal(3, 4, dtype=d), scalar(0.1, d)),
                    lambda w, s: s * np.count_nonzero(w),
                    strength=1,
                    differentiable=False,
                ),
                Pure(
                    l0_prox,
                    lambda d: (normal(3, 4, dtype=d), 0.7, scalar(0.5, d)),
                    lambda w, t, s: w * (np.abs(w) > np.sqrt(2 * t * s)),
                    strength=2,
                ),
                Pure(
                    l0_stationarity,
                    lambda d: (
                        normal(3, 4, dtype=d) * (uniform(3, 4, dtype=d) > 0.5),
                        normal(3, 4, dtype=d, seed=2),
                        scalar(0.5, d),
                    ),
                    lambda w, g, s: np.where(w == 0, 0, np.abs(g)),
                    differentiable=False,
                ),
            ),
        ),
        Row(
            dashpot.HardThreshold(keep=0.3),
            others=(dashpot.HardThreshold(keep=0.5, on="name:*.weight & weights"),),
            functions=(
                Pure(
                    keep_largest,
                    lambda d: (normal(4, 5, dtype=d), 1.0, scalar(0.3, d)),
                    lambda w, t, k: np.where(np.abs(w) >= np.sort(np.abs(w).ravel())[-6], w, 0),
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.MaxNorm(maximum=0.2),
            step=lambda w, grad, lr: ball_by_bisection(w - lr * grad(w), np.full(w.shape, lr), 0.2, (1,)),
            others=(dashpot.MaxNorm(maximum=0.3, groups="columns"),),
            functions=(
                Pure(
                    ball,
                    lambda d: (normal(4, 5, dtype=d), 1.0, scalar(0.5, d), (1,)),
                    lambda w, t, c, dims: w * np.minimum(1, c / np.linalg.norm(w, axis=1, keepdims=True)),
                    strength=2,
                ),
                Pure(
                    ball,
                    lambda d: (normal(4, 5, dtype=d), 0.1 + uniform(4, 5, dtype=d), scalar(0.5, d), (1,)),
                    ball_by_bisection,
                    differentiable=False,
                ),
            ),
        ),
        Row(
            dashpot.UnitNorm(),
            step=lambda w, grad, lr: (w - lr * grad(w)) / np.linalg.norm(w - lr * grad(w), axis=1, keepdims=True),
            functions=(
                Pure(
                    sphere,
                    lambda d: (normal(4, 5, dtype=d), scalar(2.0, d), (1,)),
                    lambda w, c, dims: c * w / np.linalg.norm(w, axis=1, keepdims=True),
                    strength=1,
                ),
            ),
        ),
        Row(
            dashpot.NonNegative(),
            step=lambda w, grad, lr: np.maximum(w - lr * grad(w), 0),
            functions=(Pure(positive_part, lambda d: (normal(3, 4, dtype=d),), lambda w: (w + np.abs(w)) / 2),),
        ),
        Row(
            dashpot.NOfM(n=1, m=2),
            functions=(
                Pure(
                    keep_n_of_m,
                    lambda d: (normal(3, 4, dtype=d), 1.0, 1, 2),
                    lambda w, t, n, m: np.where(
                        np.abs(w) >= np.abs(w).reshape(3, 2, 2).max(axis=2).repeat(2, axis=1), w, 0
                    ),
                ),
            ),
        ),
        Row(
            dashpot.NuclearNorm(strength=2.0),
            step=lambda w, grad, lr: singular_values_less(w - lr * grad(w), lr, 2.0),
            others=(dashpot.NuclearNorm(strength=20.0, scaling="decoupled"),),
            functions=(
                Pure(
                    nuclear_value,
                    lambda d: (normal(3, 4, dtype=d), scalar(0.1, d)),
                    lambda w, s: s * np.linalg.norm(w, "nuc"),
                    strength=1,
                ),
                Pure(
                    nuclear_prox,
                    lambda d: (normal(3, 4, dtype=d), 0.5, scalar(1.0, d)),
                    singular_values_less,
                    strength=2,
                ),
            ),
        ),
        Row(
            dashpot.TotalVariation(strength=0.2),
            functions=(
                Pure(
                    total_variation_value,
                    lambda d: (normal(3, 4, dtype=d), scalar(0.1, d)),
                    lambda w, s: s * sum(abs(row[i + 1] - row[i]) for row in w for i in range(3)),
                    strength=1,
                ),
                Pure(
                    total_variation_prox,
                    lambda d: (normal(3, 9, dtype=d), 0.1 + uniform(3, 9, dtype=d), scalar(0.7, d)),
                    smoothed_by_the_dual,
                    differentiable=False,
                ),
            ),
        ),
        Row(
            dashpot.Orthogonality(strength=0.5),
            step=lambda w, grad, lr: w - lr * (grad(w) + 0.5 * (w @ w.T @ w - w)),
            functions=(
                Pure(
                    orthogonality_value,
                    lambda d: (normal(5, 3, dtype=d), scalar(0.1, d)),
                    lambda w, s: s / 4 * ((np.linalg.svd(w)[1] ** 2 - 1) ** 2).sum(),
                    strength=1,
                ),
                Pure(
                    orthogonality_gradient,
                    lambda d: (normal(3, 4, dtype=d), scalar(0.1, d)),
                    lambda w, s: s * (w @ w.T @ w - w),
                    strength=1,
                ),
            ),
        ),
    )
}
POLICIES = (dashpot.augment.RandAugment, dashpot.augment.TrivialAugment, dashpot.augment.AugMix)
DROPOUTS = (
    *(dashpot.Dropout, dashpot.dropout.VariationalDropout, dashpot.dropout.ChannelDropout, dashpot.dropout.DropBlock),
    *(dashpot.dropout.AlphaDropout, dashpot.dropout.GaussianDropout),
)
SECOND_GRADIENTS = (dashpot.SAM, dashpot.sharpness.ASAM, dashpot.sharpness.GSAM, dashpot.sharpness.LookSAM)
AVERAGES = (dashpot.EMA, dashpot.averaging.SWA, dashpot.averaging.LAWA)
WEIGHTS_OF_A_PASS = (dashpot.dropout.DropConnect, dashpot.fine_tuning.Mixout)
COMPUTED = (
    *(dashpot.normalization.WeightNorm, dashpot.normalization.WeightStandardization),
    dashpot.normalization.SpectralNorm,
)
BEST_WEIGHTS = (dashpot.EarlyStopping, dashpot.stopping.MultiMetricStopping, dashpot.stopping.PrecheltStopping)
CHANNELS = (dashpot.penalties.ChannelLasso, dashpot.Compress)
ALIKE = (
    (Proximal, *CHANNELS),
    POLICIES,
    DROPOUTS,
    SECOND_GRADIENTS,
    AVERAGES,
    COMPUTED,
    BEST_WEIGHTS,
    WEIGHTS_OF_A_PASS,
)
ON_WEIGHTS = (
    *(Proximal, *CHANNELS, dashpot.L2, dashpot.WeightDecay, dashpot.penalties.Orthogonality),
    *(dashpot.noise.WeightNoise, dashpot.dropout.DropConnect, dashpot.dropout.ConcreteDropout),
    dashpot.averaging.Snapshots,
    *(dashpot.penalties.CautiousWeightDecay, dashpot.penalties.CorrectedWeightDecay),
    dashpot.gradient.GradientCentralization,
    *(dashpot.fine_tuning.L2SP, dashpot.fine_tuning.SelectiveProjectionDecay, dashpot.fine_tuning.Mixout),
)
"""What acts on weights, or keeps them by name, cannot do so with those that are computed from others."""
ONE_OF_EACH = (
    *(dashpot.normalization.GhostBatchNorm, dashpot.averaging.Lookahead, dashpot.averaging.Snapshots),
    *(dashpot.EarlyStopping, dashpot.dropout.StochasticDepth),
    *(dashpot.dropout.EmbeddingDropout, dashpot.augment.ManifoldMixup, dashpot.outputs.Flooding),
    *(dashpot.outputs.LogitNorm, dashpot.outputs.Distillation, dashpot.noise.WeightNoise),
    *(dashpot.dropout.DropConnect, dashpot.dropout.AttentionDropout, dashpot.dropout.ConcreteDropout),
    *(dashpot.fine_tuning.SelectiveProjectionDecay, dashpot.fine_tuning.ChildTuning),
    *(dashpot.fine_tuning.FreezeUntil, dashpot.fine_tuning.EmbeddingNoise),
)
"""Of which a recipe may hold one: one set of slow weights, one of best weights, one mask per place."""


def collide(one: type[Technique], other: type[Technique]) -> bool:
    """By hand: two maps of the same weights, or twice what there can be once."""
    apart = any(
        issubclass(a, COMPUTED) and issubclass(b, (*ON_WEIGHTS, dashpot.averaging.Snapshots))
        for a, b in ((one, other), (other, one))
    )
    apart |= {one, other} == {dashpot.Compress, dashpot.averaging.Snapshots}
    alike = apart or any(issubclass(one, kind) and issubclass(other, kind) for kind in ALIKE)
    return alike or (one is other and one in ONE_OF_EACH)
