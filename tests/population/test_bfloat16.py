"""Products in bfloat16."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import dashpot
from dashpot.nets import MLP
from dashpot.population.members import Member
from dashpot.population.population import Population


def digits() -> tuple[Tensor, Tensor]:
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)


def wide() -> nn.Module:
    return MLP(64, 10, width=64, depth=2)


def test_accuracy_is_the_same_within_noise() -> None:
    x, y = digits()
    train, test = np.arange(0, 1200), np.arange(1200, 1797)
    recipe = dashpot.Recipe((dashpot.Dropout(p=0.1), dashpot.LabelSmoothing(smoothing=0.1), dashpot.L1(strength=1e-4)))
    accuracy = {}
    for bfloat16 in (False, True):
        members = [Member(make=wide, recipe=recipe, lr=3e-3, seed=k, rows=train) for k in range(4)]
        population = Population(members, [(x, y)], epochs=12, batch_size=64, bfloat16=bfloat16, device="cpu")
        population.train(12)
        outputs = population.outputs(dict.fromkeys(range(4), test))
        accuracy[bfloat16] = np.mean([float((out.argmax(1) == y[test]).float().mean()) for out in outputs.values()])
        for k in range(4):
            assert all(t.isfinite().all() for t in population.tensors(k).values())
    # The standard error of each mean of four is about 0.003.
    assert abs(accuracy[True] - accuracy[False]) < 0.012
    assert accuracy[True] > 0.9


def test_it_is_another_arithmetic() -> None:
    """Or the test above would say nothing."""
    x, y = digits()
    weights = []
    for bfloat16 in (False, True):
        population = Population(
            [Member(make=wide, recipe=dashpot.Recipe(), lr=3e-3, seed=0, rows=np.arange(200))],
            [(x, y)],
            epochs=2,
            batch_size=64,
            bfloat16=bfloat16,
        )
        population.train(1)
        weights.append(population.tensors(0)["body.3.weight"])
    gap = float((weights[0] - weights[1]).abs().max())
    assert 1e-6 < gap < 5e-2
