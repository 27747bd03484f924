"""ASAM, GSAM and LookSAM against NumPy, in part of a training, with accumulation, scaled gradients and resume."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.core.technique import Technique
from dashpot.sharpness import ASAM, GSAM, SAM, LookSAM
from tests.population.helpers import demand_as_alone, member

LR, STEPS = 0.05, 6
RNG = np.random.default_rng(0)
CURVED = np.diag(np.linspace(0.5, 4.0, 12)) + 0.1
CENTRE, START = RNG.standard_normal(12), RNG.standard_normal(12)
EACH: list[Technique] = [SAM(rho=0.1), ASAM(rho=0.5), GSAM(rho=0.1), LookSAM(rho=0.1, every=3)]


def gradient(w: np.ndarray) -> np.ndarray:
    """Of a loss that is no quadratic: (w - c)^T A (w - c) / 2 + sum w^4 / 4."""
    return CURVED @ (w - CENTRE) + w**3


def trained(technique: Technique, steps: int = STEPS, counted: list[int] | None = None) -> np.ndarray:
    """Of twelve weights in float64 after some steps of SGD by the class."""
    model = nn.Linear(4, 3, bias=False).double()
    curved, centre = torch.from_numpy(CURVED), torch.from_numpy(CENTRE)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(START).reshape(3, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)

    def closure() -> Tensor:
        optimizer.zero_grad()
        w = model.weight.reshape(-1)
        loss = (w - centre) @ curved @ (w - centre) / 2 + w.pow(4).sum() / 4
        loss.backward()
        if counted is not None:
            counted.append(session.step)
        return loss

    with technique.attach(model, optimizer, closure=True, steps=STEPS) as session:
        for _ in range(steps):
            optimizer.step(closure)
    return model.weight.detach().numpy().reshape(-1)


def by_hand(rule: Callable[[int, np.ndarray], np.ndarray]) -> np.ndarray:
    w = START.copy()
    for step in range(STEPS):
        w = w - LR * rule(step, w)
    return w


def test_asam_against_numpy() -> None:
    def rule(step: int, w: np.ndarray) -> np.ndarray:
        sizes = np.abs(w) + 0.05
        g = gradient(w)
        return gradient(w + 0.3 * sizes**2 * g / np.linalg.norm(sizes * g))

    np.testing.assert_allclose(trained(ASAM(rho=0.3, eta=0.05)), by_hand(rule), rtol=1e-9)


def test_gsam_against_numpy() -> None:
    def rule(step: int, w: np.ndarray) -> np.ndarray:
        g = gradient(w)
        top = gradient(w + 0.3 * g / np.linalg.norm(g))
        unit = top / np.linalg.norm(top)
        across = g - (g @ unit) * unit
        assert np.linalg.norm(across) > 0.01 * np.linalg.norm(g)  # else the test would tell nothing
        return top - 0.4 * across

    np.testing.assert_allclose(trained(GSAM(rho=0.3, alpha=0.4)), by_hand(rule), rtol=1e-9)


def test_looksam_against_numpy() -> None:
    seen: list[np.ndarray] = []

    def rule(step: int, w: np.ndarray) -> np.ndarray:
        g = gradient(w)
        unit = g / np.linalg.norm(g)
        if step % 3 == 0:
            top = gradient(w + 0.3 * unit)
            seen.append(top - (top @ unit) * unit)
            return top
        return g + 0.7 * np.linalg.norm(g) / np.linalg.norm(seen[-1]) * seen[-1]

    np.testing.assert_allclose(trained(LookSAM(rho=0.3, every=3, alpha=0.7)), by_hand(rule), rtol=1e-9)


def test_the_members_of_the_family_that_are_sam() -> None:
    sam = trained(SAM(rho=0.2))
    np.testing.assert_array_equal(trained(LookSAM(rho=0.2, every=1)), sam)
    np.testing.assert_array_equal(trained(GSAM(rho=0.2, alpha=0.0)), sam)


@pytest.mark.parametrize("technique", EACH, ids=lambda t: t.name)
def test_in_the_last_part_only_it_costs_one_gradient_before(technique: Technique) -> None:
    late = type(technique)(**{**vars(technique), "rho": f"{technique.rho}@from=50%"})
    counted: list[int] = []
    trained(late, counted=counted)
    twice = [technique.asks(step) for step in range(3, STEPS)]
    assert [counted.count(step) for step in range(STEPS)] == [1, 1, 1, *twice]
    assert max(twice) == 2
    np.testing.assert_array_equal(trained(late, steps=3), trained(GSAM(rho=0.0), steps=3))
    assert not np.array_equal(trained(late), trained(GSAM(rho=0.0)))


def test_looksam_counts_one_and_a_fifth_gradients() -> None:
    counted: list[int] = []
    trained(LookSAM(rho=0.1, every=2), counted=counted)
    assert [counted.count(step) for step in range(STEPS)] == [2, 1, 2, 1, 2, 1]


def test_the_sharpness_of_asam_does_not_know_how_layers_share_their_scale() -> None:
    """Twice one layer and half the next is the same function: the worst loss nearby is the same, too."""

    def worst(technique: Technique, factor: float) -> float:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 8, bias=False), nn.ReLU(), nn.Linear(8, 1, bias=False)).double()
        with torch.no_grad():
            model[0].weight.mul_(factor)
            model[2].weight.div_(factor)
        x = torch.randn(16, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        losses: list[float] = []

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = (model(x) - x[:, :1]).square().mean()
            losses.append(loss.item())
            loss.backward()
            return loss

        with technique.attach(model, optimizer, closure=True):
            optimizer.step(closure)
        return losses[1]

    adaptive = ASAM(rho=0.5, eta=0.0)
    assert worst(adaptive, 4.0) == pytest.approx(worst(adaptive, 1.0), rel=1e-9)
    assert abs(worst(SAM(rho=0.5), 4.0) / worst(SAM(rho=0.5), 1.0) - 1) > 0.01


def test_asam_leaves_biases_in_plain_units() -> None:
    model = nn.Linear(1, 1).double()
    nn.init.constant_(model.weight, 2.0)
    nn.init.constant_(model.bias, 3.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    seen: list[tuple[float, float]] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        seen.append((model.weight.item(), model.bias.item()))
        loss = model(torch.ones(1, 1, dtype=torch.float64)).sum()  # both gradients are 1
        loss.backward()
        return loss

    with ASAM(rho=0.5, eta=0.0).attach(model, optimizer, closure=True):
        optimizer.step(closure)
    norm = np.hypot(2.0, 1.0)
    np.testing.assert_allclose(seen[1], (2.0 + 0.5 * 4.0 / norm, 3.0 + 0.5 / norm), rtol=1e-12)


@pytest.mark.parametrize("technique", EACH, ids=lambda t: t.name)
def test_accumulated_micro_batches_are_the_whole_batch(technique: Technique) -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 5, generator=g, dtype=torch.float64), torch.randn(12, 2, generator=g, dtype=torch.float64)

    def run(parts: int) -> Tensor:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 2)).double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def closure() -> Tensor:
            optimizer.zero_grad()
            for rows in torch.arange(12).chunk(parts):
                (functional.mse_loss(model(x[rows]), y[rows]) / parts).backward()
            return torch.zeros(())

        with technique.attach(model, optimizer, closure=True):
            for _ in range(5):
                optimizer.step(closure)
        return nn.utils.parameters_to_vector(model.parameters()).detach()

    torch.testing.assert_close(run(3), run(1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("technique", [SAM(rho=0.1), ASAM(rho=0.5)], ids=lambda t: t.name)
def test_no_gradient_is_held_while_the_closure_computes_others(technique: Technique) -> None:
    """Else a step would take the memory of one more copy of the weights than two passes written by hand."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    held: list[bool] = []

    def closure() -> Tensor:
        before = [weakref.ref(p.grad) for p in model.parameters() if p.grad is not None]
        optimizer.zero_grad()
        held.extend(gradient() is not None for gradient in before)
        loss = model(torch.ones(4, 3)).square().mean()
        loss.backward()
        return loss

    with technique.attach(model, optimizer, closure=True):
        for _ in range(2):
            optimizer.step(closure)
    assert held == [False] * 6  # of two parameters, in three of four passes: none has a gradient before the first


@pytest.mark.parametrize("technique", EACH, ids=lambda t: t.name)
def test_a_step_that_fails_puts_the_weights_back(technique: Technique) -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    start, passes = [p.detach().clone() for p in model.parameters()], iter(range(9))

    def closure() -> Tensor:
        if next(passes):
            raise RuntimeError("out of memory")
        optimizer.zero_grad()
        loss = model(torch.ones(4, 3)).square().mean()
        loss.backward()
        return loss

    with technique.attach(model, optimizer, closure=True), pytest.raises(RuntimeError, match="out of memory"):
        optimizer.step(closure)
    assert all(map(torch.equal, model.parameters(), start))


@pytest.mark.parametrize("technique", EACH, ids=lambda t: t.name)
def test_a_scaler_is_refused_with_the_way_out_and_would_make_it_plain(technique: Technique) -> None:
    """GradScaler gives no closure. Were it let through, no second gradient would be taken: plain training under the
    name of sharpness.
    """

    def run(recipe: Any) -> Tensor:
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        with dashpot.Recipe.coerce(recipe).attach(model, optimizer, closure=True):
            for _ in range(3):
                optimizer.zero_grad()
                scaler.scale(model(torch.ones(4, 3)).square().mean()).backward()
                scaler.step(optimizer)
                scaler.update()
        return model.weight.detach()

    with pytest.raises(dashpot.UsageError, match=f"{type(technique).__name__} needs a second gradient.*GradScaler"):
        run(technique)
    silent = type(technique)(**{**vars(technique), "rho": 0.0})
    assert torch.equal(run(silent), run(None))


def test_two_of_them_are_refused() -> None:
    model = nn.Linear(2, 1)
    with pytest.raises(dashpot.ConflictError, match="look-sam and asam both want the second gradient"):
        (LookSAM() | ASAM()).attach(model, torch.optim.SGD(model.parameters(), lr=0.1), closure=True)


@pytest.mark.parametrize(
    "techniques",
    [
        (ASAM(rho=0.5),),
        (GSAM(rho=0.1),),
        (LookSAM(rho=0.1, every=2),),
        (LookSAM(rho="0.1@from=50%", every=2),),
        (dashpot.L2(strength=0.1), GSAM(rho=0.1, alpha=0.2)),
    ],
    ids=lambda ts: str(dashpot.Recipe(ts)),
)
def test_in_a_stack_as_alone(techniques: tuple[Technique, ...]) -> None:
    others = [(), (LookSAM(rho=0.2, every=3),), (ASAM(rho=0.2),), (GSAM(rho=0.2),)]
    demand_as_alone([member(techniques=ts, seed=k) for k, ts in enumerate([techniques, *others])])
