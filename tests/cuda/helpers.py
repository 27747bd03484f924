"""What the tests on a device share.

They need nothing but torch, NumPy and this package: ``scripts/gpu-check`` runs them by itself where pytest is missing.
So they take values by :func:`each` and, if they want a folder, an argument ``tmp_path``; no other fixture.

``DASHPOT_TEST_DEVICE`` names the device; ``cpu`` proves on any machine that the tests themselves are right.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

try:
    import pytest
except ImportError:
    pytest = None  # type: ignore[assignment]  # absent on that machine

DEVICE = os.environ.get("DASHPOT_TEST_DEVICE", "cuda")
PLACE = torch.device(DEVICE)
GPU = PLACE.type == "cuda"
cuda = pytest.mark.cuda if pytest is not None else None
F = TypeVar("F", bound=Callable[..., Any])


def each(name: str, values: Sequence[Any]) -> Callable[[F], F]:
    """The test for each of the values, whose text names the case."""

    def marked(function: F) -> F:
        # Cases stand on the function.
        function.cases = [*getattr(function, "cases", []), (name, list(values))]  # type: ignore[attr-defined]
        return pytest.mark.parametrize(name, list(values), ids=str)(function) if pytest is not None else function

    return marked


def same(a: Any, b: Any) -> bool:
    """Whether two lists or mappings of tensors are equal bit for bit."""
    pairs = zip(a.values(), b.values(), strict=True) if isinstance(a, dict) else zip(a, b, strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def close(mine: Any, theirs: Any, tolerance: float = 2e-5) -> None:
    """Equal to the rounding of some steps, wherever they live; zero where the other is, but for a threshold's last
    bit.
    """
    for name, other in theirs.items():
        a, b = mine[name].detach().cpu().double(), other.detach().cpu().double()
        error = float((a - b).abs().max() / (1 + b.abs().max()))
        assert error < tolerance, f"{name} differs by {error:.2g}"
        apart = (a == 0) != (b == 0)
        assert float(torch.maximum(a.abs(), b.abs())[apart].max() if apart.any() else 0) < 1e-4, f"{name}: zeros differ"


def network(outputs: int = 3, device: str | torch.device = DEVICE) -> nn.Sequential:
    """The same initial weights each time and on every device. No bias in front of the normalization: its gradient is 0
    but for rounding, which Adam makes as large as any other step.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        made = nn.Sequential(nn.Linear(6, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
        made.append(nn.Linear(16, outputs))
    return made.to(device)


def table(rows: int = 96, device: str | torch.device = DEVICE) -> tuple[Tensor, Tensor]:
    """Six columns and three classes, with noise."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 6, generator=generator)
    y = (x[:, :3] + 0.5 * torch.randn(rows, 3, generator=generator)).argmax(1)
    return x.to(device), y.to(device)


def weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers."""
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


@contextmanager
def never_waiting() -> Iterator[None]:
    """Inside nothing may wait for the GPU; torch says who does."""
    if not GPU:
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def exact_products() -> Any:
    """Convolutions in float32 and not in TF32, to compare them with others."""
    return torch.backends.cudnn.flags(allow_tf32=False) if GPU else nullcontext()


def deterministic() -> Any:
    """Convolutions whose gradients are summed in a fixed order."""
    return torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False) if GPU else nullcontext()


def step_on(toy: Any, model: nn.Module, optimizer: Any, session: Any, x: Tensor, y: Tensor, micro: int = 1) -> None:
    """As ``dashpot.testing.toys.step``, on data that are there already."""

    def closure() -> Tensor:
        optimizer.zero_grad()
        for part in range(micro):
            batch = session.batch(x[part::micro], y[part::micro])
            out = model(batch.x)
            loss = session.loss(toy.loss(out, batch.y), out) / micro
            loss.backward()
        return loss.detach()

    optimizer.step(closure)
