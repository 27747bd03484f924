"""Tables of the policies: which operations there are, and how strong each is at most; and one operation of a table on
each image, done for all images of a batch together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from dashpot.imaging import colour
from dashpot.imaging.curves import AUTOCONTRAST, EQUALIZE, NONE, POSTERIZE, SOLARIZE, Curve
from dashpot.imaging.draws import Size
from dashpot.imaging.filters import Sharpen
from dashpot.imaging.matrices import about_centre, moves, rotations, tensor
from dashpot.imaging.operations import Border, Operation, Warp

Where = Callable[[str, np.ndarray, float], np.ndarray]
KINDS = {"autocontrast": AUTOCONTRAST, "equalize": EQUALIZE, "posterize": POSTERIZE, "solarize": SOLARIZE}


@dataclass(frozen=True)
class Table:
    """The operations of a policy, and what each does at the amount 1 (at 0: nothing, or as little as ``bits`` says).

    Attributes:
        names: of the operations; each is drawn as often as the others.
        shear: pixels per row or column.
        shift: translation, in units of the image's side.
        pixels: translation, in pixels, at most.
        degrees: of rotation.
        factor: of brightness, contrast, saturation and sharpness, away from 1.
        bits: that posterize keeps, at the amounts 0 and 1.
    """

    names: tuple[str, ...]
    shear: float
    shift: float
    degrees: float
    factor: float
    bits: tuple[int, int]
    pixels: float = float("inf")


GEOMETRY = ("shear-x", "shear-y", "translate-x", "translate-y", "rotate")
ENHANCE = ("brightness", "saturation", "contrast", "sharpness")
ALL = ("identity", *GEOMETRY, *ENHANCE, *KINDS)
RAND_AUGMENT = Table(ALL, shear=0.3, shift=150 / 331, degrees=30, factor=0.9, bits=(8, 4))
TRIVIAL_AUGMENT = Table(ALL, shear=0.99, shift=1, degrees=135, factor=0.99, bits=(8, 2), pixels=32)
AUG_MIX = Table(("identity", *GEOMETRY, *KINDS), shear=0.3, shift=1 / 3, degrees=30, factor=0, bits=(4, 0))


def drawn(table: Table, u: np.ndarray, first: int = 0) -> np.ndarray:
    """The place in the table of each image's operation, from uniform numbers [n]; from the one at ``first`` on."""
    place: np.ndarray = (first + np.floor(u * (len(table.names) - first))).astype(np.int64)
    return place


def step(
    table: Table, which: np.ndarray, amount: np.ndarray, sign: np.ndarray, size: Size, border: Border
) -> list[Operation]:
    """One operation of the table on each image: operations on the whole batch, that change nothing of images that have
    another one. Those that no image has are left out.

    Args:
        table: of the policy.
        which: the operation's place in the table, [n]; 0 is none.
        amount: in [0, 1], [n].
        sign: 1 or -1, [n], for what has two directions.
        size: of the images.
        border: what is outside where pixels move.
    """
    place = {name: k for k, name in enumerate(table.names)}
    there = {table.names[k] for k in np.unique(which)}
    signed = amount * sign

    def where(name: str, value: np.ndarray, other: float) -> np.ndarray:
        return np.where(which == place.get(name, -1), value, other)

    found: list[Operation] = []
    if there & set(GEOMETRY):
        found.append(_geometry(table, where, signed, size, border))
    if there & set(ENHANCE[:3]):
        light, pale, flat = (torch.from_numpy(where(name, 1 + signed * table.factor, 1.0)) for name in ENHANCE[:3])
        # No image has two of them: where one is not 1, the others are.
        matrix = colour.saturation(pale, size.channels).matrix * (light * flat)[:, None, None]
        found.append(colour.Linear(matrix, colour.contrast(flat, size.channels).about))
    if "sharpness" in there:
        found.append(Sharpen(torch.from_numpy(where("sharpness", 1 + signed * table.factor, 1.0))))
    if there & set(KINDS):
        kind = np.array([KINDS.get(name, NONE) for name in table.names])[which]
        low, high = table.bits
        level = np.where(kind == POSTERIZE, np.round(low + (high - low) * amount), 1 - amount)
        found.append(Curve(torch.from_numpy(kind), torch.from_numpy(level)))
    return found


def _geometry(table: Table, where: Where, signed: np.ndarray, size: Size, border: Border) -> Warp:
    inner = np.tile(np.eye(2), (size.n, 1, 1))
    inner[:, 0, 1], inner[:, 1, 0] = (where(f"shear-{axis}", signed * table.shear, 0.0) for axis in "xy")
    most = [min(table.pixels, table.shift * side) for side in (size.width, size.height)]
    shifts = [np.trunc(where(f"translate-{axis}", signed * m, 0.0)) for axis, m in zip("xy", most, strict=True)]
    turned = rotations(where("rotate", signed * table.degrees, 0.0), size)
    return Warp(tensor(turned @ about_centre(inner, size) @ moves(*shifts)), border=border)
