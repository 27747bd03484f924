"""Half precision, sparse gradients, complex weights and endless buffers, where techniques read gradients or average."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.population.members import Member
from dashpot.population.population import Population
from dashpot.techniques.gradient.clipping import total_norm
from dashpot.techniques.sharpness.sam import sam_ascent

HALVES = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", HALVES)
def test_the_norm_of_half_precision_does_not_overflow(dtype: torch.dtype) -> None:
    gradient = torch.full((100, 100), 1e4, dtype=dtype)  # its norm, 1e6, is more than float16 can hold
    norm = total_norm([gradient, torch.zeros(3)])
    assert norm.dtype is torch.float32
    torch.testing.assert_close(float(norm), 100 * float(gradient[0, 0]), rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("dtype", HALVES)
def test_large_gradients_of_half_precision_are_clipped_and_not_dropped(dtype: torch.dtype) -> None:
    model = nn.Linear(100, 100, bias=False).to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    dashpot.GradientClipping(maximum=0.1).attach(model, optimizer)
    model.weight.grad = torch.full_like(model.weight, 1e4)
    optimizer.step()
    torch.testing.assert_close(model.weight.grad.float(), torch.full((100, 100), 1e-3), rtol=0.02, atol=0.0)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_small_share_of_a_large_gradient_of_half_precision_is_a_climb(dtype: torch.dtype) -> None:
    gradient = torch.full((100, 100), 1e4, dtype=dtype)
    up = sam_ascent(torch.zeros(100, 100, dtype=dtype), gradient, total_norm([gradient]), 0.001)
    torch.testing.assert_close(up.float(), torch.full((100, 100), 1e-5), rtol=0.02, atol=0.0)


def embedded(sparse: bool, technique: Any) -> Tensor:
    """The weights of an embedding after two steps, in which one row is asked for twice."""
    torch.manual_seed(0)
    model = nn.Embedding(5, 3, sparse=sparse).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    technique.attach(model, optimizer, closure=True)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (model(torch.tensor([1, 1, 4])).square() * 3).sum()
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)
    return model.weight.detach()


@pytest.mark.parametrize(
    "technique",
    [
        dashpot.GradientClipping(maximum=0.3),
        dashpot.GradientClipping(maximum=0.3, by="value"),
        dashpot.SAM(rho=0.2),
        dashpot.EMA(decay=0.5),
        dashpot.GradientClipping(maximum=0.3) | dashpot.SAM(rho=0.2) | dashpot.EMA(decay=0.5),
    ],
    ids=str,
)
def test_sparse_gradients_give_what_dense_ones_give(technique: Any) -> None:
    torch.testing.assert_close(embedded(True, technique), embedded(False, technique))


def test_complex_gradients_are_clipped_by_norm_and_refused_by_value() -> None:
    model = nn.Linear(2, 1, bias=False, dtype=torch.complex64)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with pytest.raises(dashpot.ConflictError, match="by='value'.* cannot bound weight: complex numbers have no order"):
        dashpot.GradientClipping(by="value").attach(model, optimizer)
    dashpot.GradientClipping(maximum=1.0).attach(model, optimizer)
    model.weight.grad = torch.tensor([[3j, 4.0]])
    optimizer.step()
    torch.testing.assert_close(model.weight.grad, torch.tensor([[0.6j, 0.8]]))


class Masked(nn.Module):
    """It adds a mask of -inf, as causal attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.register_buffer("mask", torch.tensor([0.0, float("-inf"), 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(x)
        # Torch's modules return Any.
        return torch.where(self.mask.isfinite(), out, out.detach() * 0 - 9)  # type: ignore[no-any-return,operator]


def test_an_endless_buffer_stays_in_the_averages_of_a_population_as_alone() -> None:
    x = torch.randn(48, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long() * 2
    recipe = dashpot.Recipe((dashpot.EMA(decay=0.5),))
    members = [
        Member(make=Masked, recipe=recipe, lr=0.01, seed=seed, rows=np.arange(32), watch=np.arange(32, 48))
        for seed in range(2)
    ]
    trained = Population(members, [(x, y)], epochs=2, batch_size=16, bfloat16=False, device="cpu")
    trained.train(2)
    for number in range(2):
        tensors = trained.tensors(number)
        assert torch.equal(tensors["mask"], torch.tensor([0.0, float("-inf"), 0.0]))
        assert all(not t.isnan().any() for t in tensors.values())
