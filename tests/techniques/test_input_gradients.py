"""Penalties on gradients with respect to the input, held against derivatives of networks by hand and by torch.func."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import dashpot
from dashpot.core.errors import UsageError

X = torch.randn(12, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.arange(12) % 3
JACOBIAN, GRADIENT = dashpot.outputs.JacobianPenalty(0.6), dashpot.outputs.GradientPenalty(0.6)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def attached(technique: Any, model: nn.Module, **options: Any) -> dashpot.Session:
    session: dashpot.Session = technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)
    return session


def test_of_a_linear_network_the_jacobian_is_its_weight() -> None:
    """With one output each direction of length 1 gives the squared norm exactly."""
    model = nn.Linear(6, 1).double()
    session = attached(JACOBIAN, model, targets="values")
    x, _ = session.batch(X, X[:, :1])
    out = model(x)
    loss = session.loss(nn.MSELoss(), out)
    loss.backward()
    expected = float(((out - X[:, :1]).square().mean() + 0.3 * model.weight.square().sum()).detach())
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-9)
    plain = 2 * ((out - X[:, :1]).detach() * X).mean(0, keepdim=True)
    torch.testing.assert_close(model.weight.grad, plain + 0.6 * model.weight.detach())


def test_the_mean_over_directions_is_the_squared_norm_of_the_jacobian() -> None:
    """Of 4,000 directions: each estimate lies in [0, 3 max], so Hoeffding's bound at 1e-6 is the tolerance."""
    model, y = network(), Y[:4]
    session = attached(JACOBIAN, model)
    jacobians = torch.func.vmap(torch.func.jacrev(model))(X[:4]).detach()
    exact = 0.3 * float(jacobians.square().sum(dim=(1, 2)).mean())
    most = 0.3 * 3 * float(torch.linalg.matrix_norm(jacobians, ord=2).square().mean())
    found = []
    for _ in range(400):
        x, _ = session.batch(X[:4].repeat(10, 1), y.repeat(10))
        out = model(x)
        plain = functional.cross_entropy(out, y.repeat(10))
        found.append(float((session.loss(nn.CrossEntropyLoss(), out) - plain).detach()))
    room = most * np.sqrt(np.log(2 / 1e-6) / (2 * 400 * 10))
    assert abs(np.mean(found) - exact) < room < exact


def test_projections_average() -> None:
    model = network()
    loss = [attached(dashpot.outputs.JacobianPenalty(0.6, projections=n), network()) for n in (1, 64)]
    values = []
    for session in loss:
        own = session.view.model
        x, y = session.batch(X, Y)
        out = own(x)
        values.append(float((session.loss(nn.CrossEntropyLoss(), out) - functional.cross_entropy(out, y)).detach()))
    exact = 0.3 * float(torch.func.vmap(torch.func.jacrev(model))(X).detach().square().sum(dim=(1, 2)).mean())
    assert abs(values[1] - exact) < 0.25 * exact


@pytest.mark.parametrize("form", ["criterion", "each", "weights"])
def test_gradient_penalty_is_each_samples_own(form: str) -> None:
    """Against torch.func's gradient of each sample's loss, and its parameters' gradient against finite differences."""
    model = network()
    weight = torch.linspace(0.0, 2.0, 12, dtype=torch.float64) if form == "weights" else None

    def penalized(w: torch.Tensor) -> torch.Tensor:
        weights = {**dict(model.named_parameters()), "0.weight": w}

        def one(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return functional.cross_entropy(torch.func.functional_call(model, weights, (x[None],)), y[None])

        each = torch.func.vmap(one)(X, Y)
        slopes = torch.func.vmap(torch.func.grad(one))(X, Y)
        counts = torch.ones(12, dtype=torch.float64) if weight is None else weight
        return ((each + 0.3 * slopes.square().sum(1)) * counts).sum() / counts.sum()

    session = attached(GRADIENT, model)
    batch = session.batch(X, Y, weight)
    out = model(batch.x)
    if form == "each":
        loss = session.loss(functional.cross_entropy(out, batch.y, reduction="none"), out)
    else:
        loss = session.loss(nn.CrossEntropyLoss(), out)
    torch.testing.assert_close(loss, penalized(model[0].weight))
    loss.backward()
    expected = torch.autograd.grad(penalized(w := model[0].weight.detach().requires_grad_()), w)[0]
    torch.testing.assert_close(model[0].weight.grad, expected)


@pytest.mark.parametrize("technique", [JACOBIAN, GRADIENT], ids=lambda t: t.name)
class TestBoth:
    def test_after_mixing_and_beside_each_other(self, technique: Any) -> None:
        model = network()
        session = attached(technique | dashpot.Mixup(1.0) | JACOBIAN, model, classes=3)
        x, _ = session.batch(X, Y)
        session.loss(nn.CrossEntropyLoss(), model(x)).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        assert not X.requires_grad

    def test_flooding_judges_it_too(self, technique: Any) -> None:
        """The level lies between the plain loss and the penalized one, which is not turned round."""
        values = []
        for recipe in (technique, dashpot.outputs.Flooding(1.2) | technique, technique | dashpot.outputs.Flooding(1.2)):
            model = network()
            session = attached(recipe, model)
            x, y = session.batch(X, Y)
            out = model(x)
            values.append(float(session.loss(nn.CrossEntropyLoss(), out).detach()))
            plain = float(functional.cross_entropy(out, y).detach())
        assert values[1] == values[2] == pytest.approx(abs(values[0] - 1.2) + 1.2)
        assert values[0] > plain

    def test_bad_input_is_refused_by_name(self, technique: Any) -> None:
        name = type(technique).__name__
        model = network()
        session = attached(technique, model)
        with pytest.raises(UsageError, match=name):
            session.batch(torch.zeros(3, 6, dtype=torch.long), Y[:3])
        session.batch(X, Y)
        with pytest.raises(UsageError, match=name):
            session.loss(nn.CrossEntropyLoss(), model(X))  # not of the batch
        session.batch(X, Y)
        with pytest.raises(UsageError, match=name):
            session.loss(nn.CrossEntropyLoss(), X[:, :3])

    def test_under_autocast(self, technique: Any) -> None:
        model = network().float()
        session = attached(technique, model)
        x, _ = session.batch(X.float(), Y)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(x)
        session.loss(nn.CrossEntropyLoss(), out).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
