"""Pixels as numbers, some images at a time: their range, their form for a network, mean and deviation of channels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

VALUES = 1 << 21
"""Pixels that are converted at once, at most: numbers take eight times the memory of bytes."""


def pieces(pixels: np.ndarray, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Images [n, ...], or those of some ``rows``, a few at a time; what a mapped file holds is not read as a whole."""
    many = len(pixels) if rows is None else len(rows)
    step = max(1, VALUES // max(int(np.prod(pixels.shape[1:])), 1))
    for start in range(0, many, step):
        yield pixels[start : start + step] if rows is None else pixels[rows[start : start + step]]


def pixel_range(pixels: np.ndarray, rows: np.ndarray | None = None) -> tuple[float, float]:
    """The range that pixels, or those of some ``rows``, are in: of their type, or the narrowest usual one that holds
    them, or their own.

    >>> pixel_range(np.array([[0, 7]], dtype=np.uint8)), pixel_range(np.array([0.2, 1.0]))
    ((0.0, 255.0), (0.0, 1.0))
    >>> pixel_range(np.array([0, 9])), pixel_range(np.array([-1.0, 1.0]))
    ((0.0, 255.0), (-1.0, 1.0))
    """
    if pixels.dtype == np.uint8:
        return 0.0, 255.0
    limits = [(float(part.min()), float(part.max())) for part in pieces(pixels, rows)]
    low, high = min(least for least, _ in limits), max(most for _, most in limits)
    usual = [(0.0, 1.0), (0.0, 255.0), *([(0.0, 65535.0)] if pixels.dtype.kind in "iu" else [])]
    fitting = next((known for known in usual if known[0] <= low and high <= known[1]), (low, high))
    return fitting if fitting[0] < fitting[1] else (low, low + 1.0)


def unit(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """float32 with ``low`` at 0 and ``high`` at 1; the pixels themselves where they are that."""
    if (low, high) == (0.0, 1.0):
        return np.ascontiguousarray(pixels, dtype=np.float32)
    values = pixels.astype(np.float32, order="C")
    if low:
        values -= np.float32(low)
    if high - low != 1:
        values /= np.float32(high - low)
    return values


def mean_and_deviation(
    pixels: np.ndarray, rows: np.ndarray, low: float, high: float, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Of each channel over the images ``rows`` of [n, channels, height, width], with ``low`` at 0 and ``high`` at 1.

    .. math:: \\mu_c = \\sum_i w_i m_{ic}, \\quad \\sigma_c^2 = \\sum_i w_i (v_{ic} + (m_{ic} - \\mu_c)^2)

    of the means m and variances v of single images, where the weights are divided by their sum. Those of bytes are
    exact: they are of sums of integers.

    Args:
        weight: of the images ``rows``, at least one above 0; None counts each once.
    """
    whole = pixels.dtype == np.uint8
    moments = [_of_bytes(part) if whole else _of_numbers(unit(part, low, high)) for part in pieces(pixels, rows)]
    first, second = (np.concatenate(part) for part in zip(*moments, strict=True))
    if whole and weight is None:
        # Of Python's integers, which do not overflow: channels of one value have a deviation of exactly 0.
        count = len(rows) * int(np.prod(pixels.shape[2:]))
        sums = [(int(s), int(q)) for s, q in zip(first.sum(axis=0), second.sum(axis=0), strict=True)]
        mean = np.array([s / count for s, _ in sums])
        variance = np.array([(count * q - s * s) / count**2 for s, q in sums])
    else:
        if whole:
            count = int(np.prod(pixels.shape[2:]))
            first = first / count
            second = np.maximum(second / count - first**2, 0.0)
        share = np.full(len(rows), 1 / len(rows)) if weight is None else weight / weight.sum()
        mean = share @ first
        variance = share @ (second + (first - mean) ** 2)
    scale = high - low if whole else 1.0
    return mean / scale, np.sqrt(variance) / scale


def _of_bytes(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of values and of squares, of each image and channel."""
    flat = part.reshape(*part.shape[:2], -1)
    squares = np.square(flat, dtype=np.uint16)
    return flat.sum(axis=2, dtype=np.uint64), squares.sum(axis=2, dtype=np.uint64)


def _of_numbers(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each image and channel."""
    return part.mean(axis=(2, 3), dtype=np.float64), part.var(axis=(2, 3), dtype=np.float64)
