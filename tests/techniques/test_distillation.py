"""Distillation, activity penalties and logit normalization."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import dashpot
from dashpot.core.errors import ConfigError, ConflictError, UsageError

X = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3


def network(outputs: int = 3, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, outputs))


def attached(technique: Any, model: nn.Module, **options: Any) -> dashpot.Session:
    session: dashpot.Session = technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)
    return session


def numbers() -> list[int]:
    """Makes no network."""
    return [1]


class TestDistillation:
    @pytest.mark.parametrize("kind", ["classes", "multilabel", "values"])
    def test_by_hand(self, kind: Any) -> None:
        teacher, model = network(seed=1), network()
        y = {"classes": Y, "multilabel": (X[:, :3] > 0).float(), "values": X[:, :3]}[kind]
        criterion = {"classes": nn.CrossEntropyLoss(), "multilabel": nn.BCEWithLogitsLoss(), "values": nn.MSELoss()}[
            kind
        ]
        technique = dashpot.outputs.Distillation(teacher, weight=0.7, temperature=3.0)
        session = attached(technique, model, targets=kind)
        x, _ = session.batch(X, y)
        loss = float(session.loss(criterion, out := model(x)).detach())
        z, t = (a.detach().double().numpy() for a in (out, teacher(X)))
        if kind == "values":
            apart = ((z - t) ** 2).mean()
        else:
            z, t = (a / 3 if kind == "classes" else np.stack([a / 3, 0 * a], axis=-1) for a in (z, t))
            p, q = (np.exp(a) / np.exp(a).sum(axis=-1, keepdims=True) for a in (t, z))
            apart = 9 * (p * np.log(p / q)).sum(axis=-1).mean()
        assert loss == pytest.approx(0.3 * float(criterion(out, y).detach()) + 0.7 * apart, rel=1e-5)

    def test_the_teacher_is_copied_rests_and_learns_nothing(self) -> None:
        teacher = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)).train()
        before = {name: t.clone() for name, t in teacher.state_dict().items()}
        model = network()
        session = attached(dashpot.outputs.Distillation(teacher, weight=1.0), model)
        losses = []
        for _ in range(2):
            x, _ = session.batch(X, Y)
            losses.append(session.loss(nn.CrossEntropyLoss(), model(x)))
        losses[0].backward()
        assert float(losses[0].detach()) == float(losses[1].detach())
        assert teacher.training
        assert all(torch.equal(t, before[name]) for name, t in teacher.state_dict().items())
        assert all(p.grad is None for p in teacher.parameters())

    def test_smoothing_acts_on_the_plain_loss_only(self) -> None:
        """Smoothed afterwards, the network would be drawn away from its teacher, too."""
        technique, smoothing = dashpot.outputs.Distillation(network(seed=1), weight=0.5), dashpot.LabelSmoothing(0.4)
        values = []
        for recipe in (technique, technique | smoothing, smoothing | technique):
            model = network()
            session = attached(recipe, model)
            x, y = session.batch(X, Y)
            values.append(float(session.loss(nn.CrossEntropyLoss(), out := model(x)).detach()))
        plain, smooth = (float(functional.cross_entropy(out, y, label_smoothing=s).detach()) for s in (0.0, 0.4))
        assert values[1] == pytest.approx(values[0] + 0.5 * (smooth - plain), rel=1e-5)
        assert values[1] == values[2]
        uniform = float(-out.log_softmax(1).mean().detach())
        assert abs(0.6 * values[0] + 0.4 * uniform - values[1]) > 0.01  # what the wrong order gives

    def test_bad_teachers_are_refused_at_attach(self) -> None:
        of, model = dashpot.outputs.Distillation, network()
        with pytest.raises(ConflictError, match="Distillation needs a teacher"):
            attached(of(), model)
        with pytest.raises(
            ConflictError, match=r"Distillation\.teacher, a Sequential, has 4 outputs, and the network 3"
        ):
            attached(of(network(4)), model, classes=3)
        with pytest.raises(ConflictError, match="4 outputs"):
            attached(of(network(4)), model)
        with pytest.raises(ConflictError, match="shares weights"):
            attached(of(nn.Sequential(model[0], nn.Linear(8, 3))), model)
        with pytest.raises(ConfigError, match=r"Distillation\.teacher must be a function that makes"):
            attached(of(numbers), model)
        with pytest.raises(ConfigError, match=r"Distillation\.teacher must be a torch\.nn\.Module"):
            of("nowhere:nothing")

    def test_a_teacher_of_another_shape_that_nobody_could_know(self) -> None:
        model = network()
        teacher = nn.Sequential(network(), nn.Unflatten(1, (3, 1)))
        session = attached(dashpot.outputs.Distillation(teacher), model)
        x, _ = session.batch(X, Y)
        with pytest.raises(UsageError, match=r"Distillation: the teacher gives a tensor \[12, 3, 1\]"):
            session.loss(nn.CrossEntropyLoss(), model(x))


class TestActivityPenalty:
    @pytest.mark.parametrize("norm", ["l1", "l2"])
    def test_as_keras_defines_it(self, norm: Any) -> None:
        """Keras adds s * sum |h|, or s * sum h^2, of all values of a batch divided by its number of rows."""
        model = network()
        technique = dashpot.outputs.ActivityPenalty(
            0.02 if norm == "l1" else 0.04, norm=norm, on="activations | name:2"
        )
        session = attached(technique, model)
        x, y = session.batch(X, Y)
        loss = session.loss(nn.CrossEntropyLoss(), out := model(x))
        hidden = model[:2](X).detach().double().numpy(), out.detach().double().numpy()
        added = sum((np.abs(h) if norm == "l1" else h**2).sum() for h in hidden) * 0.02 / 12
        plain = float(functional.cross_entropy(out, y).detach())
        assert float(loss.detach()) == pytest.approx(plain + added, rel=1e-5)

    def test_passes_that_others_ask_for_do_not_count(self) -> None:
        """R-Drop's second pass would else stand in the place of the loop's, or beside it."""
        values = []
        activity = dashpot.outputs.ActivityPenalty(0.1)
        for recipe in (activity, activity | dashpot.outputs.RDrop(1.0), dashpot.outputs.RDrop(1.0) | activity):
            model = network()
            session = attached(recipe, model)
            x, _ = session.batch(X, Y)
            values.append(float(session.loss(nn.CrossEntropyLoss(), model(x)).detach()))
        assert values[0] == pytest.approx(values[1]) == pytest.approx(values[2])  # without dropout passes agree

    def test_bad_input_is_refused_by_name(self) -> None:
        with pytest.raises(ConflictError, match=r"ActivityPenalty\.on .* matches no module"):
            attached(dashpot.outputs.ActivityPenalty(0.1), nn.Linear(6, 3))
        model = network()
        session = attached(dashpot.outputs.ActivityPenalty(0.1), model)
        session.batch(X, Y)
        with pytest.raises(UsageError, match="ActivityPenalty saw no pass"):
            session.loss(nn.CrossEntropyLoss(), X[:, :3].clone().requires_grad_())


class TestLogitNorm:
    def test_loss_and_evaluation(self) -> None:
        model = network()
        session = attached(dashpot.outputs.LogitNorm(0.1), model)
        x, y = session.batch(X, Y)
        raw = network()(X)
        loss = session.loss(nn.CrossEntropyLoss(), model(x))
        torch.testing.assert_close(loss, functional.cross_entropy(raw / (0.1 * raw.norm(dim=1, keepdim=True)), y))
        assert torch.equal(model.eval()(X), raw)

    def test_bad_input_is_refused_by_name(self) -> None:
        with pytest.raises(ConflictError, match="LogitNorm"):
            attached(dashpot.outputs.LogitNorm(0.1), network(), targets="multilabel")
        model = network(1)
        attached(dashpot.outputs.LogitNorm(0.1), model)
        with pytest.raises(UsageError, match="LogitNorm needs logits"):
            model(X)
