"""What makes inputs worse, each in five strengths: of tables, images, texts and signals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dashpot.core.rng import derive, derive_all, generator
from dashpot.core.running.batch import unit_range
from dashpot.data.tables.columnar import MISSING, Rows
from dashpot.data.tables.preprocessing import Preprocessing
from dashpot.imaging.boxes import Erase, spans
from dashpot.imaging.colour import brightness, contrast
from dashpot.imaging.draws import Size
from dashpot.imaging.execute import execute
from dashpot.imaging.filters import Blur
from dashpot.imaging.matrices import rotations, tensor
from dashpot.imaging.noise import GaussianNoise
from dashpot.imaging.operations import Operation, Warp
from dashpot.training.text_transform import TextTransform


@dataclass(frozen=True)
class Corruption:
    """One way in which inputs get worse.

    Attributes:
        name: of it.
        amounts: five, from little to much.
        unit: what an amount is.
        change: from inputs, an amount and a key of the draws to worse inputs; what came in stays as it is.
        drawn: whether the key counts.
    """

    name: str
    amounts: tuple[float, ...]
    unit: str
    change: Callable[[Any, float, int], Any] = field(repr=False)
    drawn: bool = True


@dataclass(frozen=True)
class Columns:
    """What the features [n, features] of a table are.

    Attributes:
        numeric: the places of numbers.
        blocks: for each column of the table the places of its features.
        missing: what all features hold where their column's value is missing.
    """

    numeric: tuple[int, ...]
    blocks: tuple[tuple[int, ...], ...]
    missing: Tensor

    @staticmethod
    def of(how: Any, x: Tensor) -> Columns:
        """By how the table was prepared; of a matrix that was not, each feature is a number, and its mean is what
        stands where one is missing.
        """
        width = x.shape[1]
        if not isinstance(how, Preprocessing):
            every = tuple(range(width))
            return Columns(every, tuple((k,) for k in every), x.double().mean(dim=0).to(x.dtype))
        layout, missing = how.layout(), torch.zeros(width, dtype=x.dtype)
        count = len(how.numeric)
        shown = {name: count + k for k, name in enumerate(how.indicated)}
        blocks: list[tuple[int, ...]] = []
        for k, name in enumerate(how.numeric):
            missing[k] = 0.0 if how.scaling == "robust" else (how.median[k] - how.mean[k]) / how.scale[k]
            if name in shown:
                missing[shown[name]] = 1.0
            blocks.append((k, shown[name]) if name in shown else (k,))
        for (start, stop), levels in zip(layout.nominal, how.nominal.values(), strict=True):
            if MISSING in levels:
                missing[start + levels.index(MISSING)] = 1.0
            blocks.append(tuple(range(start, stop)))
        edges = accumulate(map(len, how.text.values()), initial=layout.text[0])
        blocks += [tuple(range(*edge)) for edge in pairwise(edges)]  # zeros, as of a text without a known word
        return Columns(tuple(range(count)), tuple(blocks), missing)


def of_tables(columns: Columns, x: Tensor) -> list[Corruption]:
    """Of features [n, features], whose numbers deviate as those of ``x`` do."""
    where = torch.tensor(columns.numeric, dtype=torch.long)
    middle = x[:, where].double().mean(dim=0)
    spread = (x[:, where].double() - middle).square().mean(dim=0).sqrt()  # torch's own warns where there is no column

    def numbers(change: Callable[[Tensor, torch.Generator], Tensor]) -> Callable[[Tensor, int], Tensor]:
        def changed(x: Tensor, key: int) -> Tensor:
            out = x.clone()
            out[:, where] = change(x[:, where].double(), generator(key)).to(x.dtype)
            return out

        return changed

    def noise(x: Tensor, amount: float, key: int) -> Tensor:
        return numbers(lambda v, g: v + amount * spread * torch.randn(v.shape, generator=g, dtype=v.dtype))(x, key)

    def shift(x: Tensor, amount: float, key: int) -> Tensor:
        return numbers(lambda v, g: v + amount * spread * _signs(len(where), g))(x, key)

    def scale(x: Tensor, amount: float, key: int) -> Tensor:
        return numbers(lambda v, g: middle + (v - middle) * (amount * _signs(len(where), g)).exp())(x, key)

    def gone(x: Tensor, hit: Tensor) -> Tensor:
        """Without the values of the columns that are hit [n or 1, columns]."""
        out = x.clone()
        for k, places in enumerate(columns.blocks):
            block = out[:, list(places)]
            out[:, list(places)] = torch.where(hit[:, k, None], columns.missing[list(places)], block)
        return out

    def values(x: Tensor, amount: float, key: int) -> Tensor:
        return gone(x, torch.rand(len(x), len(columns.blocks), generator=generator(key)) < amount)

    def whole(x: Tensor, amount: float, key: int) -> Tensor:
        count = max(1, round(amount * len(columns.blocks)))
        hit = torch.zeros(1, len(columns.blocks), dtype=torch.bool)
        hit[0, torch.randperm(len(columns.blocks), generator=generator(key))[:count]] = True
        return gone(x, hit)

    levels, shares = (0.1, 0.2, 0.4, 0.8, 1.6), (0.05, 0.1, 0.2, 0.4, 0.8)
    of_numbers = [
        Corruption("noise", levels, "standard deviations of each column", noise),
        Corruption("shift", levels, "standard deviations, up or down by column", shift),
        Corruption("scale", levels, "log of the factor about the mean, up or down by column", scale),
    ]
    of_columns = [
        Corruption("missing values", shares, "share of the values", values),
        Corruption("missing columns", shares, "share of the columns, at least one", whole),
    ]
    return [*(of_numbers if columns.numeric else []), *(of_columns if columns.blocks else [])]


def _signs(count: int, draws: torch.Generator) -> Tensor:
    return torch.randint(2, (count,), generator=draws).double() * 2 - 1


def of_images() -> list[Corruption]:
    """Of images [n, channels, height, width], bytes or numbers in [0, 1], which become numbers in [0, 1]."""

    def by(make: Callable[[Size, float, int], Operation]) -> Callable[[Tensor, float, int], Tensor]:
        def changed(x: Tensor, amount: float, key: int) -> Tensor:
            return execute(unit_range(x), [make(Size(*x.shape), amount, key)])

        return changed

    def keys(n: int, key: int) -> Tensor:
        each = derive_all(np.full(n, key, dtype=np.uint64), np.arange(n, dtype=np.uint64))
        return torch.from_numpy(each.view(np.int64).copy())

    def full(n: int, value: float, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.full((n,), value, dtype=dtype)

    def rotated(size: Size, amount: float, key: int) -> Operation:
        way = _signs(size.n, generator(key)).numpy()
        return Warp(tensor(rotations(amount * way, size)), border="replicate", mode="bilinear")

    def erased(size: Size, amount: float, key: int) -> Operation:
        # A rectangle of the image's own form, of this share of its area.
        u = torch.rand(2, size.n, generator=generator(key), dtype=torch.float64).numpy()
        high, wide = (max(1, round(amount**0.5 * side)) for side in (size.height, size.width))
        top, left = (np.floor(u[0] * (size.height - high + 1)), np.floor(u[1] * (size.width - wide + 1)))
        rows, columns = spans(top, top + high, size.height), spans(left, left + wide, size.width)
        return Erase(rows, columns, keys(size.n, key), "mean")

    return [
        Corruption(
            "noise",
            (0.04, 0.08, 0.12, 0.18, 0.26),
            "standard deviation, of the pixel range",
            by(lambda size, amount, key: GaussianNoise(full(size.n, amount), keys(size.n, key))),
        ),
        Corruption(
            "blur",
            (0.5, 1.0, 1.5, 2.0, 3.0),
            "standard deviation in pixels",
            by(lambda size, amount, key: Blur(full(size.n, amount))),
            drawn=False,
        ),
        Corruption(
            "brightness",
            (1.2, 1.4, 1.6, 1.8, 2.0),
            "factor",
            by(lambda size, amount, key: brightness(full(size.n, amount), size.channels)),
            drawn=False,
        ),
        Corruption(
            "contrast",
            (0.75, 0.5, 0.4, 0.3, 0.15),
            "factor",
            by(lambda size, amount, key: contrast(full(size.n, amount), size.channels)),
            drawn=False,
        ),
        Corruption("rotation", (5.0, 10.0, 15.0, 20.0, 30.0), "degrees, either way", by(rotated)),
        Corruption("erasing", (0.05, 0.1, 0.2, 0.3, 0.4), "share of the area", by(erased)),
    ]


def of_signals(x: Tensor) -> list[Corruption]:
    """Of signals [n, channels, steps], whose channels deviate as those of ``x`` do."""
    spread = x.double().std(dim=(0, 2), unbiased=False)[:, None].to(x.dtype)
    middle = x.double().mean(dim=(0, 2))[:, None].to(x.dtype)

    def noise(x: Tensor, amount: float, key: int) -> Tensor:
        return x + amount * spread * torch.randn(x.shape, generator=generator(key)).to(x.dtype)

    def moved(x: Tensor, amount: float, key: int) -> Tensor:
        by = torch.round(amount * x.shape[2] * _signs(len(x), generator(key))).long()
        places = (torch.arange(x.shape[2]) - by[:, None]) % x.shape[2]
        return x.gather(2, places[:, None, :].expand_as(x))

    def louder(x: Tensor, amount: float, key: int) -> Tensor:
        return x * (amount * _signs(len(x), generator(key))).exp()[:, None, None].to(x.dtype)

    def lost(x: Tensor, amount: float, key: int) -> Tensor:
        count = max(1, round(amount * x.shape[2]))
        start = torch.randint(x.shape[2] - count + 1, (len(x), 1), generator=generator(key))
        at = torch.arange(x.shape[2])
        return torch.where(((at >= start) & (at < start + count))[:, None, :], middle, x)

    levels, shares = (0.1, 0.2, 0.4, 0.8, 1.6), (0.02, 0.05, 0.1, 0.2, 0.4)
    return [
        Corruption("noise", levels, "standard deviations of each channel", noise),
        Corruption("shift in time", shares, "share of the steps, either way, around the end", moved),
        Corruption("amplitude", levels, "log of the factor, up or down", louder),
        Corruption("lost steps", (0.05, 0.1, 0.2, 0.4, 0.6), "share of the steps, in one piece", lost),
    ]


def of_texts(prepare: Callable[[np.ndarray], Tensor]) -> list[Corruption]:
    """Of texts [n, columns] as objects, which ``prepare`` makes into rows of words."""

    def by(recipe: str) -> Callable[[np.ndarray, float, int], Tensor]:
        def changed(texts: np.ndarray, amount: float, key: int) -> Tensor:
            out = np.array(texts, dtype=object)
            for k in range(out.shape[1]):
                transform = TextTransform(f"{recipe}:rate={amount}", derive(key, k) >> 33)
                there = [i for i, text in enumerate(out[:, k]) if isinstance(text, str)]
                out[there, k] = transform.batch([out[i, k] for i in there], index=there)
            return prepare(out)

        return changed

    shares = (0.05, 0.1, 0.2, 0.4, 0.8)
    return [
        Corruption("typing errors", shares, "share of the words", by("character-noise")),
        Corruption("neighbouring keys", shares, "share of the words", by("keyboard-noise")),
        Corruption("deleted words", shares, "share of the words", by("random-deletion")),
    ]


def of_text_columns(how: Preprocessing, rows: Rows) -> list[Corruption]:
    """Of the columns of texts of a table, as :func:`of_texts`; nothing where it has none.

    Args:
        how: the table was prepared.
        rows: as they were before, those that the features which are made worse are of.
    """
    if not how.text:
        return []

    def prepare(texts: np.ndarray) -> Tensor:
        changed = {name: texts[:, k] for k, name in enumerate(how.text)}
        worse = replace(rows, columns={**(rows.columns or {}), **changed})
        return torch.from_numpy(how.transform(worse, strict=False))

    def by(change: Callable[[Any, float, int], Any]) -> Callable[[Any, float, int], Any]:
        return lambda features, amount, key: change(texts, amount, key)

    texts = np.stack([rows.column(name) for name in how.text], axis=1)
    return [replace(corruption, change=by(corruption.change)) for corruption in of_texts(prepare)]


def named(found: Sequence[Corruption]) -> dict[str, Corruption]:
    """By name."""
    return {corruption.name: corruption for corruption in found}
