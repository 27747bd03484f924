"""What loops and models do to a recipe: closures, misspelt names, layers unfrozen, odd buffers, several ranks, learning
rates of zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

import dashpot
from dashpot.core.technique import Technique

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
Y = (X @ torch.arange(6.0) + 1)[:, None]


def line() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(6, 1)


def sgd(model: nn.Module, lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr)


def closure_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = mse_loss(model(X), Y)
        loss.backward()
        return loss

    return closure


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(X).sum().backward()
    optimizer.step()


# --- closures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "technique", [dashpot.L2(), dashpot.WeightDecay(), dashpot.GradientClipping(), dashpot.SAM()], ids=lambda t: t.name
)
def test_an_optimizer_that_evaluates_several_times_is_refused_by_what_acts_on_one_gradient(
    technique: Technique,
) -> None:
    model = line()
    with pytest.raises(dashpot.ConflictError, match="LBFGS evaluates loss and gradient several times"):
        technique.attach(model, torch.optim.LBFGS(model.parameters()), closure=True)


def test_an_unknown_one_is_found_out_when_it_asks_twice() -> None:
    class Twice(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            closure()
            return super().step(closure)

    model = line()
    optimizer = Twice(model.parameters(), lr=0.1)
    dashpot.L2().attach(model, optimizer)
    with pytest.raises(dashpot.UsageError, match="Twice evaluates .* L2 can act on one of them only"):
        optimizer.step(closure_of(model, optimizer))


def test_lbfgs_trains_with_what_acts_after_the_step() -> None:
    model = line()
    optimizer = torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe")
    dashpot.EMA().attach(model, optimizer)
    for _ in range(3):
        optimizer.step(closure_of(model, optimizer))
    assert mse_loss(model(X), Y) < 1e-6


def test_a_call_that_the_closure_forgets_is_noticed() -> None:
    model, y = nn.Linear(6, 3), torch.arange(64) % 3
    optimizer = sgd(model)
    dashpot.LabelSmoothing().attach(model, optimizer)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(model(X), y)
        loss.backward()
        return loss

    with pytest.raises(dashpot.UsageError, match=r"session.loss.* was not called"):
        optimizer.step(closure)  # type: ignore[arg-type]  # torch types closures as returning float


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "technique",
    [
        dashpot.WeightDecay(on="name:hed.*"),
        dashpot.L1(on="type:Conv2d"),
        dashpot.Orthogonality(on="weights & name:hed.*"),
    ],
    ids=str,
)
def test_a_misspelt_name_is_refused_and_the_names_are_told(technique: Technique) -> None:
    model = line()
    with pytest.raises(dashpot.ConflictError, match=r"matches no parameter of Linear, which has weight, bias"):
        technique.attach(model, sgd(model))


def test_what_is_frozen_may_be_named() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 1))
    model[0].requires_grad_(False)
    dashpot.L1(on="name:0.*").attach(model, sgd(model))


def test_layers_that_are_unfrozen_are_regularized_from_then_on() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 1))
    model[0].requires_grad_(False)
    optimizer = sgd(model)
    recipe = (
        dashpot.WeightDecay(strength=1.0)
        | dashpot.GradientClipping(maximum=1e-9)
        | dashpot.EMA(decay=0.5, warmup=False)
    )
    session = recipe.attach(model, optimizer)
    for _ in range(2):
        step(model, optimizer)
    before = model[0].weight.detach().clone()
    model[0].requires_grad_(True)
    for _ in range(2):
        step(model, optimizer)
    # By hand: two steps of decay at lr 0.1, the gradient clipped to nothing.
    torch.testing.assert_close(model[0].weight.detach(), before * 0.9**2)
    with session.evaluate():  # its average began at the first of them: half of .9 and .81
        torch.testing.assert_close(model[0].weight.detach(), before * (0.9 + 0.9**2) / 2)


# --- buffers ---------------------------------------------------------------------------------------------------------


class Masked(nn.Module):
    """A mask of -inf, and one table registered in two modules."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 1)
        table = torch.full((6,), -torch.inf)
        table[0] = 0
        self.a.register_buffer("table", table)
        self.b.register_buffer("table", table)

    def forward(self, x: Tensor) -> Tensor:
        # Buffers and modules are Any to mypy.
        return self.b((self.a(x) + self.b.table).softmax(1))  # type: ignore[operator,no-any-return]


def test_an_average_leaves_masks_and_shared_buffers_whole() -> None:
    model = Masked()
    optimizer = sgd(model)
    with dashpot.EMA().attach(model, optimizer) as session:
        for _ in range(3):
            step(model, optimizer)
        with session.evaluate() as evaluated:
            assert evaluated(X).isfinite().all()
    assert model(X).isfinite().all()
    assert model.a.table is model.b.table
    assert model.a.table.tolist() == [0.0, *[-torch.inf] * 5]


def test_hooks_go_even_if_the_final_weights_cannot_be_made() -> None:
    class Failing(Technique):
        def final(self, ctx: Any) -> Any:
            raise RuntimeError("no weights")

    model = line()
    optimizer = sgd(model)
    with pytest.raises(RuntimeError, match="no weights"), (Failing() | dashpot.L1()).attach(model, optimizer):
        pass
    assert not optimizer._optimizer_step_post_hooks


# --- ranks, and learning rates of zero -------------------------------------------------------------------------------


def test_ranks_draw_masks_of_their_own() -> None:
    def mask(rank: int) -> Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.Sigmoid())
        with (
            mock.patch("torch.distributed.is_initialized", return_value=True),
            mock.patch("torch.distributed.get_rank", return_value=rank),
        ):
            dashpot.Dropout(p=0.5, on="activations").attach(model, sgd(model))
        return model(X) == 0

    masks = [mask(rank) for rank in (0, 1, 2, 1)]
    assert torch.equal(masks[1], masks[3])
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert 0.4 < (masks[i] == masks[j]).float().mean() < 0.6


@pytest.mark.parametrize("scaling", ["adaptive", "decoupled"])
@pytest.mark.parametrize(
    "make",
    [
        lambda scaling: dashpot.HardThreshold(keep=0.25, scaling=scaling),
        lambda scaling: dashpot.NOfM(n=2, m=8, scaling=scaling),
    ],
)
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_at_a_learning_rate_of_zero_the_largest_weights_stay(
    optimizer: Any, make: Callable[[str], Technique], scaling: str
) -> None:
    model = nn.Linear(8, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.1, 0, 0.2, 0.3, 0, 3, 0.1, -2]]))
    own = optimizer(model.parameters(), lr=0.0)
    make(scaling).attach(model, own)
    model(torch.randn(4, 8)).sum().backward()
    own.step()
    assert model.weight.nonzero()[:, 1].tolist() == [5, 7]


def test_mixing_with_targets_that_are_ignored_is_refused() -> None:
    model = nn.Linear(6, 3)
    with pytest.raises(dashpot.ConflictError, match="ignore_index"):
        dashpot.Mixup().attach(model, sgd(model), classes=3, ignore_index=-100)
