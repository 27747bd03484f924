"""Partners of samples that are mixed: of any class, of the own class, or of another one."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

PARTNERS = ("any", "same-class", "other-class")


def same_class(codes: Int[Tensor, "sets n"], lots: Float[Tensor, "sets more"]) -> Int[Tensor, "sets n"]:
    """For each sample the place of a partner of its class: a permutation within each class. The only sample of a class
    is its own partner.

    Args:
        codes: classes, in several sets at once.
        lots: uniform numbers in [0, 1), at least n in each set.
    """
    shuffled = lots[:, : codes.shape[1]].argsort(dim=1, stable=True)
    rows = codes.argsort(dim=1, stable=True)
    drawn = shuffled.gather(1, codes.gather(1, shuffled).argsort(dim=1, stable=True))
    return torch.empty_like(rows).scatter_(1, rows, drawn)


def other_class(codes: Int[Tensor, "sets n"], lots: Float[Tensor, "sets more"], classes: int) -> Int[Tensor, "sets n"]:
    """For each sample the place of a partner of another class: a permutation, in which samples of a class that is more
    than half of the set are their own partners as far as the others do not suffice.

    In a random order with the classes side by side, each partner stands as far behind as the largest class is long, or
    further, in a circle.

    Args:
        codes: classes from 0 to ``classes`` - 1, in several sets at once.
        lots: uniform numbers in [0, 1), n + 1 in each set.
    """
    sets, n = codes.shape
    lots, turn = lots[:, :n], lots[:, n : n + 1]
    counts = torch.zeros(sets, classes, dtype=torch.int64, device=codes.device)
    counts.scatter_add_(1, codes, torch.ones_like(codes))
    most, largest = counts.max(dim=1, keepdim=True)
    # The classes in the order of their smallest lots, the largest one first: what has no partner is then at the start.
    place = torch.full((sets, classes), 2.0, device=codes.device).scatter_reduce_(1, codes, lots, "amin")
    rank = place.scatter_(1, largest, -1.0).argsort(dim=1, stable=True).argsort(dim=1)
    shuffled = lots.argsort(dim=1, stable=True)
    rows = shuffled.gather(1, rank.gather(1, codes).gather(1, shuffled).argsort(dim=1, stable=True))
    left = (2 * most - n).clamp(min=0)
    most, rest = most - left, n - left
    shift = most + (turn * (rest - 2 * most + 1)).long()
    at = torch.arange(n, device=codes.device) - left
    partner = torch.where(at < 0, at, (at + shift) % rest.clamp(min=1)) + left
    return torch.empty_like(rows).scatter_(1, rows, rows.gather(1, partner))
