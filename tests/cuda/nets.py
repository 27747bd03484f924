"""Parameters of many shapes for optimizers, and when two are equal."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.cuda.helpers import DEVICE

SHAPES = [(300, 200), (200,), (64, 3, 5, 5), (7,), (1, 40_000), (0, 3), (33, 1), ()]


class Net(nn.Module):
    """Parameters of many shapes; the gradient of ``loss`` differs by weight."""

    def __init__(self, device: str | torch.device = DEVICE) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weights = nn.ParameterList(
            [nn.Parameter((0.05 * torch.randn(shape, generator=generator)).to(device)) for shape in SHAPES]
        )

    def loss(self, step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        total = torch.zeros((), dtype=torch.float64, device=self.weights[0].device)
        for p in self.weights:
            third = (torch.arange(p.numel()) % 3 == 0).reshape(p.shape)
            target = 0.2 * torch.randn(p.shape, generator=generator) * third
            total = total + ((p - target.to(p)).square() * 0.5).double().sum()
        return total


def run(optimizer: Any, model: Net, steps: int = 6, start: int = 0) -> None:
    for step in range(start, start + steps):
        optimizer.zero_grad()
        model.loss(step).backward()  # type: ignore[no-untyped-call]  # torch has no types here
        optimizer.step()


def compare(got: Net, want: Net) -> None:
    for a, b in zip(got.weights, want.weights, strict=True):
        mine, theirs = a.detach().cpu(), b.detach().cpu()
        torch.testing.assert_close(mine, theirs, rtol=5e-5, atol=5e-5)
        # At the edge of a threshold rounding decides; elsewhere the zeros are the same.
        differ = (mine == 0) != (theirs == 0)
        assert (torch.maximum(mine.abs(), theirs.abs())[differ] < 1e-4).all()
