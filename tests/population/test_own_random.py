"""Networks trained one by one train at the same time in several threads, unless they draw from torch's state."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dashpot.population.members import Member
from dashpot.population.own_random import own_random
from dashpot.population.population import Population

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()
CPU = torch.device("cpu")


def population(make: Any, seed: int) -> Population:
    member = Member(make=make, recipe=None, lr=1e-2, seed=seed, rows=np.arange(40))  # type: ignore[arg-type]  # coerced
    return Population([member], [(X, Y)], epochs=3, batch_size=10, stack=False, bfloat16=False)


def drawing() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 2))


def test_networks_that_draw_nothing_meet_inside_their_epochs() -> None:
    """Each waits in its second step until the other is there, which it would never be if one had to end first."""
    meeting = threading.Barrier(2, timeout=60)

    class Meets(nn.Linear):
        steps = 0

        def forward(self, x: Tensor) -> Tensor:
            if self.training and torch.is_grad_enabled():
                self.steps += 1
                if self.steps % 4 == 2:
                    meeting.wait()
            return super().forward(x)

    both = [population(lambda: Meets(6, 2), seed) for seed in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda p: p.train(3), both)) == [True, True]
    assert not meeting.broken


def test_networks_with_torchs_own_dropout_are_in_threads_what_they_are_alone() -> None:
    alone = [population(drawing, seed) for seed in range(4)]
    for one in alone:
        one.train(3)
    together = [population(drawing, seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda p: p.train(3), together))
    for one, other in zip(alone, together, strict=True):
        for name, tensor in one.tensors(0).items():
            assert torch.equal(tensor, other.tensors(0)[name])


@pytest.mark.parametrize("draws", [False, True])
def test_the_state_is_as_it_was_and_is_lent_on_only_where_nothing_was_drawn(draws: bool) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    free: list[bool] = []

    def ask() -> None:
        with own_random(CPU):
            free.append(True)

    with own_random(CPU) as stepped:
        torch.default_generator.manual_seed(9)
        if draws:
            torch.rand(1)
        stepped()
        other = threading.Thread(target=ask)
        other.start()
        other.join(timeout=0.2 if draws else 60)
        assert bool(free) is not draws
        assert torch.equal(torch.get_rng_state(), before) is not draws
    other.join(timeout=60)
    assert free == [True]
    assert torch.equal(torch.get_rng_state(), before)


def lend() -> None:
    with own_random(CPU):
        pass


def test_an_error_lends_it_on() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), own_random(CPU):
        torch.manual_seed(1)
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lend).result(timeout=60)
