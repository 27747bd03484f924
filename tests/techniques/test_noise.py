"""Noise on labels, hidden values and gradients. Statistical tests have fixed seeds, and bounds that a right
implementation exceeds with a probability below 1e-6 for any other seed.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import dashpot
from dashpot.core.errors import ConflictError, DataError, UsageError
from dashpot.core.rng import normal_of

ALARM = 1e-6
"""The probability with which a statistical test may fail for another seed."""


def network(outputs: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, outputs))


def attached(technique: Any, model: nn.Module | None = None, **options: Any) -> dashpot.Session:
    model = model or network()
    session: dashpot.Session = technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)
    return session


class TestLabelNoise:
    X = torch.zeros(3000, 6)
    NOISE = dashpot.labels.LabelNoise(0.3)

    def test_share_and_uniformity(self) -> None:
        y = torch.ones(3000, dtype=torch.long)
        found = attached(self.NOISE, classes=4).batch(self.X, y).y
        assert found.dtype == torch.long
        counts = torch.bincount(found, minlength=4)
        assert stats.binomtest(int(counts[1]), 3000, 1 - 0.3 * 3 / 4).pvalue > ALARM
        others = counts[[0, 2, 3]].numpy()
        assert stats.chisquare(others).pvalue > ALARM
        assert bool((y == 1).all())

    def test_each_step_draws_afresh_and_truth_stays(self) -> None:
        y = torch.zeros(3000, dtype=torch.long)
        session = attached(self.NOISE, classes=3)
        one, other = session.batch(self.X, y), session.batch(self.X, y)
        assert not torch.equal(one.y, other.y)
        assert one.truth is y

    def test_probabilities_and_labels(self) -> None:
        soft = torch.full((3000, 3), 1 / 3)
        found = attached(self.NOISE).batch(self.X, soft).y
        hard = (found.max(dim=1).values == 1).sum()
        assert stats.binomtest(int(hard), 3000, 0.3).pvalue > ALARM
        torch.testing.assert_close(found.sum(1), torch.ones(3000))
        labels = torch.zeros(3000, 2)
        coins = attached(self.NOISE, targets="multilabel").batch(self.X, labels).y
        assert set(coins.unique().tolist()) == {0.0, 1.0}
        assert stats.binomtest(int(coins.sum()), 6000, 0.15).pvalue > ALARM

    def test_ignored_positions_stay(self) -> None:
        y = torch.tensor([[0, -100, 2]] * 100)
        session = attached(dashpot.labels.LabelNoise(1.0), classes=3, ignore_index=-100, targets="classes")
        found = session.batch(torch.zeros(100, 6), y).y
        assert bool((found[:, 1] == -100).all())
        assert bool(((found[:, 0] >= 0) & (found[:, 0] < 3)).all())

    def test_it_comes_before_mixing_whatever_the_order(self) -> None:
        """After mixing it would replace blends by whole classes: with p = 1 no blend would be left."""
        noise = dashpot.labels.LabelNoise(1.0)
        for recipe in (noise | dashpot.Mixup(1.0), dashpot.Mixup(1.0) | noise):
            y = attached(recipe, classes=3).batch(torch.randn(300, 6), torch.zeros(300, dtype=torch.long)).y
            assert bool(((y > 0.05) & (y < 0.95)).any())

    def test_bad_input_is_refused_by_name(self) -> None:
        y = torch.zeros(3, dtype=torch.long)
        with pytest.raises(ConflictError, match="LabelNoise"):
            attached(self.NOISE, targets="values")
        with pytest.raises(UsageError, match="LabelNoise needs to know how many classes"):
            attached(self.NOISE).batch(torch.zeros(3, 6), y)
        with pytest.raises(UsageError, match="LabelNoise needs a target"):
            attached(self.NOISE, classes=3).batch(torch.zeros(3, 6))
        with pytest.raises(DataError, match="LabelNoise"):
            attached(self.NOISE, classes=3).batch(torch.zeros(3, 6), y + 7)


def test_normal_numbers_of_hashes_are_normal() -> None:
    grid = torch.arange(1 << 16, dtype=torch.float32) * 2.0**-16
    found = normal_of(grid).double()
    assert found.isfinite().all()
    expected = torch.from_numpy(stats.norm.ppf(grid.double().numpy() + 2.0**-25))
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=1e-6)


class TestActivationNoise:
    def test_distribution_and_independence(self) -> None:
        model = nn.Sequential(nn.Identity())
        model[0].weight = nn.Parameter(torch.zeros(1))
        attached(dashpot.noise.ActivationNoise(0.5, on="type:Identity"), model)
        one, other = model(torch.zeros(100, 50)), model(torch.zeros(100, 50))
        noise = torch.cat([one, other]).flatten().double().numpy() / 0.5
        assert stats.kstest(noise, "norm").pvalue > ALARM
        corr = stats.pearsonr(one.flatten().detach().numpy(), other.flatten().detach().numpy())
        assert corr.pvalue > ALARM

    def test_evaluation_and_half_precision(self) -> None:
        model = network()
        attached(dashpot.noise.ActivationNoise(0.5), model)
        x = torch.randn(4, 6)
        assert torch.equal(model.eval()(x), network()(x))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert model.train()(x).dtype == torch.bfloat16

    def test_what_it_cannot_act_on_is_refused_by_name(self) -> None:
        with pytest.raises(ConflictError, match=r"ActivationNoise\.on .* matches no module"):
            attached(dashpot.noise.ActivationNoise(0.1), nn.Linear(6, 3))
        lstm = nn.Sequential(nn.LSTM(6, 3))
        attached(dashpot.noise.ActivationNoise(0.1, on="type:LSTM"), lstm)
        assert isinstance(lstm(torch.zeros(2, 4, 6)), tuple)


class TestGradientNoise:
    def moved(self, model: nn.Module, technique: Any, steps: int = 1) -> list[Tensor]:
        """What gradients of zero become, of each step."""
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        technique.attach(model, optimizer)
        found = []
        for _ in range(steps):
            optimizer.zero_grad()
            sum(0 * p.sum() for p in model.parameters() if p.requires_grad).backward()
            optimizer.step()
            found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        return found

    def test_variance_falls_with_the_steps(self) -> None:
        found = self.moved(nn.Linear(100, 50), dashpot.noise.GradientNoise(0.2, decay=0.8), steps=4)
        for step, noise in enumerate(found):
            variance = 0.2**2 / (1 + step) ** 0.8
            ratio = float((noise.double() ** 2).sum()) / variance
            assert ALARM < stats.chi2.cdf(ratio, noise.numel()) < 1 - ALARM
        assert abs(stats.pearsonr(found[0].numpy(), found[1].numpy()).statistic) < 0.1

    def test_ranks_agree(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Noise of its own on each rank would drive the copies of the weights apart."""
        alone = self.moved(network(), dashpot.noise.GradientNoise(0.2))
        monkeypatch.setattr("dashpot.core.running.attach.this_rank", lambda: 1)
        second = self.moved(network(), dashpot.noise.GradientNoise(0.2))
        assert torch.equal(alone[0], second[0])

    def test_frozen_and_unselected_layers_stay(self) -> None:
        model = network()
        model[0].weight.requires_grad_(False)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.moved(model, dashpot.noise.GradientNoise(0.2, on="weights"))
        changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        assert changed == {"2.weight"}

    def test_bad_input_is_refused_by_name(self) -> None:
        model = nn.Linear(3, 2, dtype=torch.complex64)
        with pytest.raises(ConflictError, match="GradientNoise"):
            attached(dashpot.noise.GradientNoise(0.1), model)


class TestWeightNoise:
    def test_a_pass_sees_noise_and_the_weights_get_the_gradient(self) -> None:
        model = nn.Linear(50, 40, bias=False)
        attached(dashpot.noise.WeightNoise(0.2), model)
        before = model.weight.detach().clone()
        one, other = model(torch.eye(50)).T, model(torch.eye(50)).T
        noise = torch.cat([one, other]).detach() - torch.cat([before, before])
        assert stats.kstest(noise.flatten().double().numpy() / 0.2, "norm").pvalue > ALARM
        assert not torch.equal(one, other)
        (one.sum() + other.sum()).backward()
        assert torch.equal(model.weight.detach(), before)
        torch.testing.assert_close(model.weight.grad, torch.full((40, 50), 2.0))
        assert isinstance(model._parameters["weight"], nn.Parameter)
        assert torch.equal(model.eval()(torch.eye(50)).T, before)

    def test_weights_are_back_where_a_pass_fails(self) -> None:
        model = network()
        attached(dashpot.noise.WeightNoise(0.2), model)
        with pytest.raises(RuntimeError):
            model(torch.zeros(4, 7))
        assert all(isinstance(p, nn.Parameter) for m in model for p in m._parameters.values())

    def test_attention_and_shared_weights(self) -> None:
        attention = nn.MultiheadAttention(8, 2, batch_first=True)
        attached(dashpot.noise.WeightNoise(0.2, on="name:out_proj.weight"), attention)
        x = torch.randn(2, 3, 8)
        assert not torch.equal(attention(x, x, x)[0], attention(x, x, x)[0])
        model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
        model[1].weight = model[0].weight
        attached(dashpot.noise.WeightNoise(0.2), model)
        both = torch.eye(4)
        assert not torch.equal(model[1](both), model[1](both))

    def test_what_it_cannot_act_on_is_refused_by_name(self) -> None:
        with pytest.raises(ConflictError, match="WeightNoise cannot act on .*LSTM"):
            attached(dashpot.noise.WeightNoise(0.1), nn.LSTM(3, 3))
        with pytest.raises(ConflictError, match="complex"):
            attached(dashpot.noise.WeightNoise(0.1), nn.Linear(3, 2, dtype=torch.complex64))
