"""Every technique on images beside one of each other family, with targets of every form: members of a stack train as
they do alone, and what was interrupted goes on to the same bits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.core.recipe import Recipe
from dashpot.core.technique import Technique
from dashpot.population.members import Member, initial
from dashpot.population.population import Population
from dashpot.techniques.augment.mixing.base import Mixing
from dashpot.techniques.augment.picture import PictureTechnique
from tests.rows import ROWS

N, EPOCHS, BATCH = 40, 2, 16
X = torch.randint(256, (N, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
CODES = X.float().mean((2, 3)).argmax(1)
FORMS: dict[str, tuple[int, Tensor, Tensor | None]] = {
    "classes": (3, CODES, None),
    "weighted": (3, CODES, torch.arange(N).remainder(3).add(1).float()),
    "labels": (3, (X.float().mean((2, 3)) > 127).to(torch.uint8), None),
    "values": (1, X.float().mean((1, 2, 3))[:, None] / 255, None),
}
PICTURES = [row.technique for cls, row in ROWS.items() if issubclass(cls, PictureTechnique | Mixing) and cls.stacked]
OTHERS: list[Technique] = [
    dashpot.EMA(decay=0.7),
    dashpot.SAM(rho=0.02),
    dashpot.Dropout(p=0.3),
    dashpot.augment.RandomMix(),
    dashpot.WeightDecay(strength=0.1),
    dashpot.LabelSmoothing(smoothing=0.1),
    dashpot.L1(strength=1e-3),
    dashpot.Mixup(alpha=0.3),
    dashpot.augment.HorizontalFlip(alternate=True),
]


def net(outputs: int) -> nn.Module:
    """Without a kink, at which rounding would decide."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Dropout(0.0), nn.Linear(144, outputs))


def beside(number: int, values: bool) -> Recipe:
    """A technique on images and another one; those for classes are left out for values."""
    others = [other for other in OTHERS if other.requires.fits("image", "regression" if values else None)]
    return Recipe((PICTURES[number], others[number % len(others)]))


@pytest.mark.parametrize("form", FORMS)
def test_a_stack_trains_as_alone(form: str) -> None:
    """Each technique with two of the four forms."""
    outputs, y, weight = FORMS[form]
    first = list(FORMS).index(form) % 2
    recipes = [beside(number, form == "values") for number in range(first, len(PICTURES), 2)]
    members = [Member(lambda: net(outputs), recipe, 1e-3, k, np.arange(N)) for k, recipe in enumerate(recipes)]
    plan: dict[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH, "device": "cpu", "modality": "image"}
    together = Population(members, [(X, y)], bfloat16=False, weight=weight, **plan)
    together.train(EPOCHS)
    assert not together.failed
    for k, m in enumerate(members):
        model, data = initial(m), (X, y) if weight is None else (X, y, weight)
        dashpot.fit(model, data, recipe=m.recipe, lr=1e-3, seed=k, progress=False, **plan)
        own = together.tensors(k)
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(
                own[name], tensor, rtol=1e-3, atol=1e-4, msg=lambda text, of=m: f"{of.recipe}: {text}"
            )


class Stop(Exception):
    pass


@pytest.mark.parametrize("number", range(len(PICTURES)), ids=lambda number: PICTURES[number].kind())
def test_what_was_interrupted_goes_on(number: int, tmp_path: Path) -> None:
    """Bit for bit, also where what is drawn belongs to the image and the epoch."""
    recipe, plan = beside(number, values=False), {"epochs": 4, "batch_size": BATCH, "seed": 3, "modality": "image"}

    def run(most: float, **options: Any) -> dict[str, Tensor]:
        def schedule(progress: float) -> float:
            if progress >= most:
                raise Stop
            return 1 - progress

        with dashpot.core.rng.initial_weights(0):
            model = net(3)
        dashpot.fit(model, (X, CODES), recipe=recipe, schedule=schedule, progress=False, **plan, **options)
        return dict(model.state_dict())

    whole = run(2.0)
    with pytest.raises(Stop):
        run(0.5, checkpoint=tmp_path)
    torch.rand(3)
    resumed = run(2.0, checkpoint=tmp_path, resume=True)
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())
