"""A saved run as one network from inputs to answers: probabilities, or values in the target's own units."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dashpot.data import Preprocessing, Target
from dashpot.data.kinds import Prepares


class Columns(nn.Module):
    """Numbers of a table as they are, float64 [n, columns] with NaN where a value is missing, as the features of
    :class:`~dashpot.data.Preprocessing`.
    """

    def __init__(self, how: Preprocessing) -> None:
        super().__init__()
        self.names = tuple(dict.fromkeys((*how.numeric, *how.indicated)))
        self.robust = how.scaling == "robust"
        for name in ("median", "mean", "scale"):
            self.register_buffer(name, torch.tensor(getattr(how, name), dtype=torch.float64))
        self.register_buffer("places", torch.tensor([self.names.index(name) for name in how.numeric], dtype=torch.long))
        self.register_buffer("gaps", torch.tensor([self.names.index(name) for name in how.indicated], dtype=torch.long))

    median: Tensor
    mean: Tensor
    scale: Tensor
    places: Tensor
    gaps: Tensor

    def forward(self, x: Tensor) -> Tensor:
        numbers = x.index_select(1, self.places)
        scaled = (torch.where(torch.isnan(numbers), self.median, numbers) - self.mean) / self.scale
        if self.robust:
            scaled = scaled / torch.sqrt(1 + (scaled / 3) ** 2)
        found = scaled.float()
        if len(self.gaps):
            found = torch.cat([found, torch.isnan(x.index_select(1, self.gaps)).float()], 1)
        return found


class Answers(nn.Module):
    """A network from inputs to probabilities [n, classes], or to values [n] in the target's own units."""

    def __init__(self, network: nn.Module, target: Target, temperature: float = 1.0, front: nn.Module | None = None):
        super().__init__()
        self.front, self.network = front, network
        self.classes, self.temperature = len(target.classes), temperature
        self.mean, self.scale = target.mean, target.scale

    def forward(self, x: Tensor) -> Tensor:
        out = self.network(x if self.front is None else self.front(x)).flatten(1)
        if self.classes:
            found: Tensor = torch.softmax(out / self.temperature, 1)
            return found
        values: Tensor = out[:, 0].double() * self.scale + self.mean
        return values


def front_of(how: Prepares) -> Columns | None:
    """What prepares a table inside of a network; None where that needs more than numbers (names, dates, texts)."""
    plain = isinstance(how, Preprocessing) and not (how.nominal or how.text or how.formats)
    return Columns(how) if plain and isinstance(how, Preprocessing) else None


def described(how: Prepares, target: Target, front: Columns | None, decision: Any) -> dict[str, Any]:
    """How inputs are to be made and answers read, as plain JSON."""
    if front is not None:
        takes = {"columns": list(front.names), "dtype": "float64", "missing": "NaN"}
        inputs = {"what": "numbers of a table as they are, one column each", **takes}
    elif how.kind == "table":
        inputs = {"what": "prepared features, by the preprocessing below", "columns": list(how.feature_names)}
    else:
        what = {"image": "pixels in [0, 1]", "text": "rows of words, by the preprocessing below"}
        inputs = {"what": what.get(how.kind, "standardized signals, by the preprocessing below")}
    answers: dict[str, Any] = {"what": "values in the target's own units", "target": target.name}
    if target.classes:
        answers = {"what": "probabilities", "target": target.name, "classes": list(target.classes)}
    if decision is not None and decision.offsets:
        answers["decide"] = "the class of the largest log(probability) + offset"
        answers["offsets"] = list(decision.offsets)
    return {
        "version": 1,
        "inputs": {**inputs, "shape": [None, *(how.shape if front is None else (len(front.names),))]},
        "outputs": answers,
        "preprocessing": None if front is not None else how.to_dict(),
    }
