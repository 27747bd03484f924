"""Techniques on losses, held against per-sample loops in NumPy and against torch's own losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.core.errors import ConflictError, DataError, UsageError
from dashpot.population.members import Member
from dashpot.population.population import Population
from dashpot.techniques.outputs.margin import margin_factors

X = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3
LABELS = (torch.rand(12, 3, generator=torch.Generator().manual_seed(1)) < 0.4).float()
SOFT = torch.softmax(2 * torch.randn(12, 3, generator=torch.Generator().manual_seed(2)), dim=1)


def network(outputs: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, outputs))


def loss_of(recipe: Any, criterion: Any, y: Tensor, *, x: Tensor = X, out: Tensor | None = None, **options: Any) -> Any:
    """The loss of one batch, and the outputs."""
    model = network()
    session = recipe.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)
    batch = session.batch(x, y)
    out = model(batch.x) if out is None else out
    if criterion is None:
        return session.loss(functional.cross_entropy(out, batch.y, reduction="none"), out), out
    return session.loss(criterion, out), out


def probabilities(out: Tensor) -> np.ndarray:
    z = out.detach().double().numpy()
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def of_classes(kind: str, p: np.ndarray, y: int) -> float:
    """One sample's loss with a technique, by the paper's formula."""
    plain = -np.log(p[y])
    if kind == "focal":
        return float((1 - p[y]) ** 2 * plain)
    if kind == "poly":
        return float(plain + 1.5 * (1 - p[y]))
    if kind == "margin":
        odds = [p[c] / p[y] for c in range(len(p)) if c != y]
        return float(np.log(1 + np.exp(0.8) * np.sum(odds)))
    return float(plain - 0.3 * -(p * np.log(p)).sum())


TECHNIQUES = {
    "focal": dashpot.outputs.FocalLoss(2.0),
    "poly": dashpot.outputs.PolyLoss(1.5),
    "margin": dashpot.outputs.Margin(0.8),
    "confidence": dashpot.outputs.ConfidencePenalty(0.3),
}


@pytest.mark.parametrize("kind", TECHNIQUES)
class TestByTarget:
    @pytest.mark.parametrize("criterion", [None, nn.CrossEntropyLoss(), nn.CrossEntropyLoss(reduction="sum")])
    def test_classes(self, kind: str, criterion: Any) -> None:
        loss, out = loss_of(TECHNIQUES[kind], criterion, Y)
        each = [of_classes(kind, p, int(y)) for p, y in zip(probabilities(out), Y, strict=True)]
        expected = np.sum(each) if getattr(criterion, "reduction", "") == "sum" else np.mean(each)
        assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)

    def test_targets_that_are_distributions(self, kind: str) -> None:
        loss, out = loss_of(TECHNIQUES[kind], nn.CrossEntropyLoss(), SOFT)
        each = [
            sum(share * of_classes(kind, p, c) for c, share in enumerate(y.double().tolist()))
            for p, y in zip(probabilities(out), SOFT, strict=True)
        ]
        assert float(loss.detach()) == pytest.approx(np.mean(each), rel=1e-5)

    def test_it_is_linear_in_the_target_and_so_suits_blends(self, kind: str) -> None:
        """A factor made of the blend's loss alone, as exp(-loss) for p, is not: there blends would be held to
        something that no blend of the two losses is.
        """
        one, other = functional.one_hot(Y, 3).float(), functional.one_hot((Y + 1) % 3, 3).float()
        found = [loss_of(TECHNIQUES[kind], None, t)[0].detach() for t in (one, other, 0.3 * one + 0.7 * other)]
        torch.testing.assert_close(found[2], 0.3 * found[0] + 0.7 * found[1])
        if kind == "focal":
            out = network()(X).detach()
            blends = [functional.cross_entropy(out, t, reduction="none") for t in (one, other, one / 2 + other / 2)]
            naive = [((1 - torch.exp(-nll)) ** 2 * nll).mean() for nll in blends]
            assert abs(float(naive[2] - naive[0] / 2 - naive[1] / 2)) > 0.01

    def test_positions_and_ignored_ones(self, kind: str) -> None:
        out = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(3))
        y = torch.tensor([[0, 1, 2, -100, -100], [2, -100, 1, 0, 1]])
        session = TECHNIQUES[kind].attach(
            model := network(), torch.optim.SGD(model.parameters(), lr=0.1), ignore_index=-100, classes=3
        )
        each = functional.cross_entropy(out, y, reduction="none")
        loss = session.loss(each, out, y)
        kept = [
            of_classes(kind, probabilities(out[i : i + 1, :, t])[0], int(y[i, t]))
            for i in range(2)
            for t in range(5)
            if y[i, t] >= 0
        ]
        assert float(loss) == pytest.approx(np.mean(kept), rel=1e-5)

    @pytest.mark.parametrize("made", ["each", "mean", "sum", "criterion", "BCELoss"])
    def test_yes_and_no(self, kind: str, made: str) -> None:
        """Each label is a softmax over yes and no, whose logits are z and 0."""
        out = network()(X).detach()
        session = TECHNIQUES[kind].attach(
            model := network(), torch.optim.SGD(model.parameters(), lr=0.1), targets="multilabel"
        )
        session.batch(X, LABELS)
        each = functional.binary_cross_entropy_with_logits(out, LABELS, reduction="none")
        if made == "criterion":
            loss = session.loss(nn.BCEWithLogitsLoss(), out)
        elif made == "BCELoss":
            loss = session.loss(nn.BCELoss(), out.sigmoid())
        else:
            loss = session.loss(each if made == "each" else getattr(each, made)(1), out)
        pairs = torch.stack([torch.zeros_like(out), out], dim=2).reshape(-1, 2)
        all_ = [of_classes(kind, p, int(y)) for p, y in zip(probabilities(pairs), LABELS.reshape(-1), strict=True)]
        expected = np.mean(all_) * (3 if made == "sum" else 1)
        assert float(loss) == pytest.approx(expected, rel=1e-4)

    def test_weights_of_samples(self, kind: str) -> None:
        model = network()
        weight = torch.tensor([0.0, 2.0] * 6)
        session = TECHNIQUES[kind].attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        batch = session.batch(X, Y, weight)
        out = model(batch.x)
        loss = session.loss(nn.CrossEntropyLoss(), out)
        each = [of_classes(kind, p, int(y)) for p, y in zip(probabilities(out), Y, strict=True)]
        assert float(loss.detach()) == pytest.approx(np.average(each, weights=weight.numpy()), rel=1e-5)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_outputs(self, kind: str, dtype: torch.dtype) -> None:
        out = (30 * network()(X).detach()).to(dtype)
        loss, _ = loss_of(TECHNIQUES[kind], nn.CrossEntropyLoss(), Y, out=out.clone().requires_grad_())
        wide, _ = loss_of(TECHNIQUES[kind], nn.CrossEntropyLoss(), Y, out=out.float())
        assert loss.isfinite()
        assert float(loss.detach()) == pytest.approx(float(wide), rel=0.05, abs=0.05)

    def test_gradients_where_a_sample_is_certain(self, kind: str) -> None:
        out = torch.tensor([[200.0, 0.0, 0.0], [-200.0, 0.0, 0.0]] * 6, requires_grad=True)
        loss, _ = loss_of(TECHNIQUES[kind], nn.CrossEntropyLoss(), torch.zeros(12, dtype=torch.long), out=out)
        loss.backward()
        assert out.grad is not None
        assert out.grad.isfinite().all()

    def test_bad_input_is_refused_by_name(self, kind: str) -> None:
        technique = TECHNIQUES[kind]
        name = type(technique).__name__
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with pytest.raises(ConflictError, match=name):
            technique.attach(model, optimizer, targets="values")
        session = technique.attach(model, optimizer)
        session.batch(X, Y)
        with pytest.raises(UsageError, match=name):
            session.loss(torch.zeros(12))
        with pytest.raises(UsageError, match=name):
            session.loss(torch.zeros(12, 2), torch.zeros(12, 3))
        session.close()
        if kind != "confidence":
            session = technique.attach(model, optimizer, targets="multilabel")
            with pytest.raises(DataError, match=name):
                session.loss(torch.zeros(12, 3), torch.zeros(12, 3), 2 * LABELS)
            with pytest.raises(UsageError, match="needs the target"):
                session.loss(torch.zeros(12, 3), torch.zeros(12, 3))


def test_focal_loss_at_one_half_has_gradients_where_the_sample_is_certain() -> None:
    out = torch.tensor([[200.0, 0.0, 0.0]] * 12, requires_grad=True)
    zeros = torch.zeros(12, dtype=torch.long)
    loss_of(dashpot.outputs.FocalLoss(0.5), nn.CrossEntropyLoss(), zeros, out=out)[0].backward()
    assert out.grad is not None
    assert out.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["focal", "poly", "confidence"])
def test_smoothing_beside_it_smooths_the_plain_loss_once_in_either_order(kind: str) -> None:
    smoothing = dashpot.LabelSmoothing(0.2)
    loss, out = loss_of(TECHNIQUES[kind] | smoothing, nn.CrossEntropyLoss(), Y)
    other, _ = loss_of(smoothing | TECHNIQUES[kind], nn.CrossEntropyLoss(), Y)
    plain = functional.cross_entropy(out, Y)
    added = loss_of(TECHNIQUES[kind], nn.CrossEntropyLoss(), Y)[0] - plain
    torch.testing.assert_close(loss, functional.cross_entropy(out, Y, label_smoothing=0.2) + added)
    torch.testing.assert_close(loss, other)


class TestFlooding:
    @pytest.mark.parametrize("level", [0.1, 5.0])
    def test_gradient_is_turned_round_below_the_level(self, level: float) -> None:
        model, twin = network(), network()
        session = dashpot.outputs.Flooding(level).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        batch = session.batch(X, Y)
        out = model(batch.x)
        session.loss(nn.CrossEntropyLoss(), out).backward()
        ((functional.cross_entropy(twin(X), Y) - level).abs() + level).backward()
        for p, q in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad)

    def test_the_mean_is_of_what_counts(self) -> None:
        """Of two samples one is ignored and one weighs nothing; the third decides."""
        each = torch.tensor([0.1, 9.0, 9.0], requires_grad=True)
        model = network()
        session = dashpot.outputs.Flooding(1.0).attach(
            model, torch.optim.SGD(model.parameters(), lr=0.1), ignore_index=-100
        )
        session.batch(X[:3], torch.tensor([0, -100, 1]), torch.tensor([1.0, 1.0, 0.0]))
        loss = session.loss(each)
        loss.backward()
        assert loss.item() == pytest.approx(1.9)
        torch.testing.assert_close(each.grad, torch.tensor([-1.0, 0.0, 0.0]))

    def test_by_sample(self) -> None:
        each = torch.tensor([0.1, 0.5, 3.0], requires_grad=True)
        model = network()
        flooding = dashpot.outputs.Flooding(1.0, by="sample")
        loss = flooding.attach(model, torch.optim.SGD(model.parameters(), lr=0.1)).loss(each)
        loss.backward()
        assert loss.item() == pytest.approx((1.9 + 1.5 + 3.0) / 3)
        torch.testing.assert_close(each.grad, torch.tensor([-1.0, -1.0, 1.0]) / 3)

    def test_it_judges_the_whole_loss_whatever_the_order(self) -> None:
        """A level between the plain and the smoothed loss: flooded before it is smoothed the loss would be turned."""
        smoothing = dashpot.LabelSmoothing(0.5)
        out = 4 * functional.one_hot(Y, 3).float()
        flooding = dashpot.outputs.Flooding(0.5)
        plain = functional.cross_entropy(out, Y)
        smooth = functional.cross_entropy(out, Y, label_smoothing=0.5)
        assert plain < 0.5 < smooth
        for recipe in (flooding | smoothing, smoothing | flooding):
            torch.testing.assert_close(loss_of(recipe, nn.CrossEntropyLoss(), Y, out=out)[0], smooth)
        uniform = -out.log_softmax(1).mean()
        assert abs(float((1 - plain + uniform) / 2 - smooth)) > 0.1  # what smoothing a flooded loss would give

    def test_a_loss_below_zero_is_left_alone_when_off(self) -> None:
        assert loss_of(dashpot.outputs.Flooding(0.0), lambda out, y: -out.square().sum(1), Y)[0] < 0


class TestMarginByClass:
    PRIOR = (0.7, 0.2, 0.1)
    MARGINS = (0.8 * (0.1 / 0.7) ** 0.25, 0.8 * 0.5**0.25, 0.8)

    @pytest.mark.parametrize("target", [Y, SOFT], ids=["classes", "distributions"])
    def test_margins_go_by_the_fourth_root(self, target: Tensor) -> None:
        """By the paper: the true logit less C / n^(1/4), with C so that the rarest class has the margin given."""
        loss, out = loss_of(dashpot.outputs.Margin(0.8, prior=self.PRIOR), nn.CrossEntropyLoss(), target)
        soft = np.eye(3)[target.numpy()] if target.ndim == 1 else target.double().numpy()
        each = []
        for z, shares in zip(out.detach().double().numpy(), soft, strict=True):
            for c, share in enumerate(shares):
                lowered = z - self.MARGINS[c] * (np.arange(3) == c)
                each.append(share * (np.log(np.exp(lowered).sum()) - lowered[c]))
        assert float(loss.detach()) == pytest.approx(np.sum(each) / len(soft), rel=1e-5)

    def test_positions(self) -> None:
        out = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(3))
        y = torch.tensor([[0, 1, 2, -100, -100], [2, -100, 1, 0, 1]])
        technique = dashpot.outputs.Margin(0.8, prior=self.PRIOR)
        session = technique.attach(
            model := network(), torch.optim.SGD(model.parameters(), lr=0.1), ignore_index=-100, classes=3
        )
        loss = session.loss(functional.cross_entropy(out, y, reduction="none"), out, y)
        lowered = out - torch.tensor(self.MARGINS)[:, None] * functional.one_hot(y.clamp(min=0), 3).transpose(1, 2)
        torch.testing.assert_close(loss, functional.cross_entropy(lowered, y))

    def test_equal_shares_are_none_and_a_class_without_rows_has_the_largest(self) -> None:
        even = loss_of(dashpot.outputs.Margin(0.8, prior=(1 / 3, 1 / 3, 1 / 3)), nn.CrossEntropyLoss(), Y)[0]
        torch.testing.assert_close(even, loss_of(dashpot.outputs.Margin(0.8), nn.CrossEntropyLoss(), Y)[0])
        prior = dashpot.labels.class_prior([0] * 16 + [1], classes=3)
        assert margin_factors(prior) == pytest.approx([0.5, 1.0, 1.0])

    def test_refused(self) -> None:
        with pytest.raises(UsageError, match=r"Margin\.prior has the shares of 2 classes, and the network has 3"):
            loss_of(dashpot.outputs.Margin(0.8, prior=(0.5, 0.5)), nn.CrossEntropyLoss(), Y)
        with pytest.raises(UsageError, match=r"Margin\.prior is of classes"):
            loss_of(dashpot.outputs.Margin(0.8, prior=self.PRIOR), nn.BCEWithLogitsLoss(), (SOFT > 0.4).float())
        with pytest.raises(dashpot.ConfigError, match=r"Margin\.prior must be the shares"):
            dashpot.outputs.Margin(0.8, prior=(0.5, 0.6))

    def test_members_with_priors_of_their_own_train_as_alone(self) -> None:
        recipes = [f"margin:margin=0.8,prior={p}" for p in ("0.7 0.2 0.1", "0.1 0.2 0.7", "none")] + [""]

        def trained(some: list[str]) -> list[Tensor]:
            members = [
                Member(
                    make=network,
                    recipe=dashpot.Recipe.coerce(r) if r else dashpot.Recipe(),
                    lr=0.01,
                    seed=3,
                    rows=np.arange(12),
                )
                for r in some
            ]
            population = Population(members, [(X, Y)], epochs=2, batch_size=6, device="cpu", bfloat16=False)
            population.train(2)
            return [
                torch.cat([p.detach().flatten() for p in population.model(k).parameters()]) for k in range(len(some))
            ]

        together = trained(recipes)
        for found, recipe in zip(together, recipes, strict=True):
            torch.testing.assert_close(found, trained([recipe])[0], rtol=1e-4, atol=1e-5)
        assert float((together[0] - together[1]).abs().max()) > 1e-3
