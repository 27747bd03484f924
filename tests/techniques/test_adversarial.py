"""Adversarial examples and virtual adversarial training, held against closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.core.errors import UsageError
from dashpot.testing import Toy

X = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3
ATTACK = dashpot.noise.AdversarialExamples


def attached(technique: Any, model: nn.Module, **options: Any) -> dashpot.Session:
    session: dashpot.Session = technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)
    return session


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))


class TestAdversarialExamples:
    @pytest.mark.parametrize("steps", [1, 4])
    def test_of_a_linear_model_it_is_the_worst_point_of_the_ball(self, steps: int) -> None:
        """Of one output and a squared error: away from the target, along the weight's signs or its direction."""
        model, y = nn.Linear(6, 1), torch.zeros(12, 1)
        away = (model(X) - y).detach().sign()
        w = model.weight.detach()
        for norm, direction in (("max", w.sign()), ("length", w / w.norm())):
            attack = ATTACK(0.01, steps=steps, norm=norm, start=False)  # type: ignore[arg-type]  # one of both
            with attached(attack, model, targets="values") as session:
                moved, _ = session.batch(X, y)
            torch.testing.assert_close(moved - X, 0.01 * away * direction, rtol=1e-3, atol=1e-6)

    @pytest.mark.parametrize("norm", ["max", "length"])
    @pytest.mark.parametrize("kind", ["classes", "multilabel", "soft"])
    def test_the_loss_grows_and_the_ball_is_kept(self, norm: Any, kind: str) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        y = Y if kind == "classes" else functional.one_hot(Y, 3).float() * 0.8 + 0.2 / 3
        options: Any = {"targets": "multilabel"} if kind == "multilabel" else {"targets": "classes", "classes": 3}
        loss = functional.binary_cross_entropy_with_logits if kind == "multilabel" else functional.cross_entropy
        moved, _ = attached(ATTACK(0.2, norm=norm, steps=3), model, **options).batch(X, y)
        assert loss(model(moved), y) > loss(model(X), y) + 0.01
        change = moved - X
        size = change.abs().max() if norm == "max" else change.norm(dim=1).max()
        assert 0.1 < float(size) <= 0.2 + 1e-5
        assert not moved.requires_grad
        assert all(p.grad is None for p in model.parameters())

    def test_statistics_and_the_loops_masks_are_left_alone(self) -> None:
        model, twin = network(), network()
        session = attached(ATTACK(0.1, steps=2), model)
        torch.manual_seed(3)
        moved, _ = session.batch(X, Y)
        out = model(moved)
        torch.manual_seed(3)
        torch.testing.assert_close(out, twin(moved))
        assert model[1].num_batches_tracked == 1

    def test_share_and_pixels(self) -> None:
        model = nn.Linear(6, 3)
        x = torch.rand(400, 6, generator=torch.Generator().manual_seed(1))
        y = torch.arange(400) % 3
        moved, _ = attached(ATTACK(0.5, p=0.25), model, modality="image").batch(x, y)
        changed = (moved != x).any(dim=1).sum()
        assert 50 < int(changed) < 160  # 100 of 400: beyond it with a probability below 1e-6
        assert float(moved.min()) >= -1e-6
        assert float(moved.max()) <= 1 + 1e-6

    def test_bad_input_is_refused_by_name(self) -> None:
        session = attached(ATTACK(0.1), nn.Linear(6, 3))
        with pytest.raises(UsageError, match="AdversarialExamples"):
            session.batch(torch.zeros(2, 6, dtype=torch.long), Y[:2])
        with pytest.raises(UsageError, match="AdversarialExamples needs a target"):
            session.batch(X)


class Mixing(nn.Module):
    """Says where all that it knows of a sample passes."""

    mixes_at = (("first", "second"),)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = nn.EmbeddingBag(9, 4), nn.EmbeddingBag(9, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.first(x) + self.second(x)))
        return out


class TestVirtualAdversarial:
    def test_it_finds_the_direction_of_the_largest_change(self) -> None:
        """For small r the divergence is r' J' (diag p - p p') J r / 2: at most half its largest eigenvalue, by r^2."""
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
        x = X.double()
        technique = dashpot.noise.VirtualAdversarial(1.0, epsilon=0.01, iterations=10)
        session = attached(technique, model)
        batch = session.batch(x, Y)
        out = model(batch.x)
        plain = functional.cross_entropy(out, Y)
        added = float((session.loss(nn.CrossEntropyLoss(), out) - plain).detach())
        p = out.detach().softmax(1)
        fisher = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        jacobian = torch.func.vmap(torch.func.jacrev(model))(x).detach()
        metric = jacobian.transpose(1, 2) @ fisher @ jacobian
        best = float(torch.linalg.eigvalsh(metric)[:, -1].mean()) * 0.01**2 / 2
        assert 0.97 * best < added < 1.05 * best

    @pytest.mark.parametrize("model", [Mixing(), Toy(modality="text").network()], ids=["mixes_at", "embeddings"])
    def test_whole_numbers_are_changed_within_the_network(self, model: nn.Module) -> None:
        session = attached(dashpot.noise.VirtualAdversarial(1.0, epsilon=2.0), model)
        x = torch.randint(1, 9, (12, 5), generator=torch.Generator().manual_seed(0))
        session.batch(x, Y)
        out = model(x)
        loss = session.loss(nn.CrossEntropyLoss(), out)
        assert float(loss.detach()) > float(functional.cross_entropy(out, Y).detach()) + 1e-4
        loss.backward()
        assert torch.equal(model(x), out)  # no change is left behind

    def test_masks_are_those_of_the_loop_and_statistics_stay(self) -> None:
        """At an epsilon near 0 nothing is added, though the network drops: another mask would add much."""
        model = network()
        session = attached(dashpot.noise.VirtualAdversarial(1.0, epsilon=1e-4), model)
        x, _ = session.batch(X, Y)
        out = model(x)
        loss = session.loss(nn.CrossEntropyLoss(), out)
        assert float((loss - functional.cross_entropy(out, Y)).detach()) == pytest.approx(0, abs=1e-5)
        assert model[1].num_batches_tracked == 1

    def test_bad_input_is_refused_by_name(self) -> None:
        model = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
        session = attached(dashpot.noise.VirtualAdversarial(1.0), model)
        with pytest.raises(UsageError, match=r"VirtualAdversarial .* session\.batch"):
            session.loss(nn.CrossEntropyLoss(), model(X), Y)
        session.batch([X], Y)
        with pytest.raises(UsageError, match="VirtualAdversarial cannot change these inputs"):
            session.loss(nn.CrossEntropyLoss(), model(X))

    def test_under_autocast(self) -> None:
        model = network()
        session = attached(dashpot.noise.VirtualAdversarial(1.0), model)
        x, _ = session.batch(X, Y)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(x)
        loss = session.loss(nn.CrossEntropyLoss(), out)
        loss.backward()
        assert loss.isfinite()
