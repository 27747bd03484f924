"""Ways to decay weights: by a timescale, by layer, cautiously, along the square of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LinearLR, OneCycleLR

import dashpot
from dashpot.core.errors import ConfigError, ConflictError, UsageError
from dashpot.penalties import CautiousWeightDecay, CorrectedWeightDecay
from dashpot.search.space.technique import technique_spaces
from dashpot.techniques.penalties.directions import coming_direction

Rate = Callable[[int], float]


def deep() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 4), nn.Linear(4, 2)).double()


def still(model: nn.Module) -> None:
    """Gradients of zeros: what moves is decay."""
    for p in model.parameters():
        p.grad = torch.zeros_like(p)


def factors(
    technique: Any, rates: list[float], model: nn.Module | None = None, **options: Any
) -> dict[str, list[float]]:
    """By what each step at these learning rates multiplies each parameter, while gradients are zero."""
    model = model or deep()
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=rates[0])
    found: dict[str, list[float]] = {name: [] for name, _ in model.named_parameters()}
    with technique.attach(model, optimizer, **options):
        for rate in rates:
            optimizer.param_groups[0]["lr"] = rate
            before = {name: float(p.detach().flatten()[0]) for name, p in model.named_parameters()}
            still(model)
            optimizer.step()
            for name, p in model.named_parameters():
                found[name].append(float(p.detach().flatten()[0]) / before[name])
    return found


def trained(technique: Any, schedule: Rate, steps: int = 12) -> list[Tensor]:
    model = deep()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.0)
    scheduler = LambdaLR(optimizer, schedule)
    x, y = torch.randn(16, 4, generator=torch.Generator().manual_seed(1)).double(), torch.arange(16) % 2
    with technique.attach(model, optimizer, steps=steps, steps_per_epoch=4):
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            scheduler.step()
    return [p.detach() for p in model.parameters()]


class TestTimescale:
    def test_is_the_strength_of_the_paper(self) -> None:
        """tau = 1 / (lr x strength x steps per epoch), at the highest rate; decay follows a falling rate."""
        ours = trained(dashpot.WeightDecay(timescale=2.5), lambda step: 1 - step / 12)
        theirs = trained(dashpot.WeightDecay(strength=1 / (0.05 * 2.5 * 4)), lambda step: 1 - step / 12)
        other = trained(dashpot.WeightDecay(timescale=5.0), lambda step: 1 - step / 12)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
        assert float((ours[0] - other[0]).abs().max()) > 1e-3

    def test_the_highest_rate_so_far_counts(self) -> None:
        found = factors(dashpot.WeightDecay(timescale=2.0), [0.1, 0.05, 0.2, 0.1, 0.0], steps_per_epoch=5)
        expected = [0.9, 0.95, 0.9, 0.95, 1.0]
        np.testing.assert_allclose(found["0.weight"], expected, rtol=1e-9)
        np.testing.assert_allclose(found["0.bias"], 1.0, rtol=0)

    @pytest.mark.parametrize(
        ("make", "share"),
        [
            (lambda o: LinearLR(o, start_factor=0.25, total_iters=10), 0.25),
            (lambda o: OneCycleLR(o, max_lr=0.2, total_steps=10, div_factor=4.0), 0.25),
            (lambda o: LambdaLR(o, lambda step: 0.5), 0.5),
        ],
    )
    def test_schedulers_tell_the_highest_rate(self, make: Callable[[Optimizer], Any], share: float) -> None:
        model = deep()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        make(optimizer)
        with dashpot.WeightDecay(timescale=2.0).attach(model, optimizer, steps_per_epoch=5):
            before = model[0].weight.detach().clone()
            still(model)
            optimizer.step()
        torch.testing.assert_close(model[0].weight.detach(), before * (1 - share / 10), rtol=1e-9, atol=0)

    def test_means_the_same_for_other_batches_and_rates(self) -> None:
        """An epoch at a constant rate leaves about exp(-1 / timescale), whatever its steps are."""
        for rate, steps in ((0.1, 50), (0.001, 200)):
            found = factors(dashpot.WeightDecay(timescale=2.0), [rate] * steps, steps_per_epoch=steps)
            assert np.prod(found["0.weight"]) == pytest.approx(math.exp(-0.5), rel=1e-2)

    def test_tensor_rates(self) -> None:
        def run(rate: Any, technique: Any) -> Tensor:
            model = deep()
            optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0, foreach=False)
            with technique.attach(model, optimizer, steps_per_epoch=5):
                for factor in (1.0, 2.0, 0.5):
                    if isinstance(rate, Tensor):
                        optimizer.param_groups[0]["lr"].fill_(0.1 * factor)
                    else:
                        optimizer.param_groups[0]["lr"] = 0.1 * factor
                    still(model)
                    optimizer.step()
            return model[0].weight.detach()

        for technique in (dashpot.WeightDecay(timescale=2.0), CorrectedWeightDecay(0.5), CautiousWeightDecay(0.5)):
            held = run(torch.tensor(0.1, dtype=torch.float64), technique)
            torch.testing.assert_close(held, run(0.1, technique), rtol=1e-9, atol=1e-12)

    def test_a_resumed_run_knows_the_highest_rate(self) -> None:
        model, rates = deep(), (0.4, 0.1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        session = dashpot.WeightDecay(timescale=2.0).attach(model, optimizer, steps_per_epoch=5)
        for rate in rates:
            optimizer.param_groups[0]["lr"] = rate
            still(model)
            optimizer.step()
        saved = session.state_dict()
        session.close()
        again = dashpot.WeightDecay(timescale=2.0).attach(model, optimizer, steps_per_epoch=5)
        again.load_state_dict(saved)
        before = model[0].weight.detach().clone()
        still(model)
        optimizer.step()
        torch.testing.assert_close(model[0].weight.detach(), before * (1 - 0.1 / 0.4 / 10), rtol=1e-9, atol=0)

    def test_fit_knows_the_epoch(self) -> None:
        x, y = torch.randn(40, 4, generator=torch.Generator().manual_seed(1)), torch.arange(40) % 2
        found = []
        for decay in (dashpot.WeightDecay(timescale=3.0), dashpot.WeightDecay(strength=1 / (0.01 * 3 * 5))):
            model = deep().float()
            dashpot.fit(model, (x, y), recipe=decay, lr=0.01, epochs=3, batch_size=8, seed=0, progress=False)
            found.append([p.detach() for p in model.parameters()])
        torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)

    def test_a_search_varies_it_in_place_of_the_strength(self) -> None:
        (space,) = technique_spaces(["weight-decay:timescale=1..100"])
        assert set(space.fields) == {"timescale"}
        assert space.at({"timescale": 5.0}) == dashpot.WeightDecay(timescale=5)
        (space,) = technique_spaces(["ema:half_life=1..10"])  # likewise
        assert set(space.fields) == {"half_life"}
        (space,) = technique_spaces(["weight-decay"])
        assert set(space.fields) == {"strength"}

    def test_the_plan_tells(self) -> None:
        model = deep()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        plan = dashpot.WeightDecay(timescale=2).attach(model, optimizer, steps_per_epoch=5).plan()
        assert "averages updates over 2.0 epochs, by shrinking weights: 3 tensors" in plan


class TestByLayer:
    def test_towards_the_input(self) -> None:
        found = factors(dashpot.WeightDecay(strength=1.0, layer_factor=0.5), [0.1])
        assert [found[f"{i}.weight"][0] for i in (0, 3, 4)] == pytest.approx([0.975, 0.95, 0.9])
        found = factors(dashpot.WeightDecay(timescale=2.0, layer_factor=2.0), [0.1, 0.05], steps_per_epoch=10)
        assert found["0.weight"] == pytest.approx([0.8, 0.9])

    def test_frozen_layers_count(self) -> None:
        model = deep()
        model[3].weight.requires_grad_(False)
        found = factors(dashpot.WeightDecay(strength=1.0, layer_factor=0.5), [0.1], model)
        assert found["0.weight"] == pytest.approx([0.975])

    def test_what_is_selected_decides_which_layers_there_are(self) -> None:
        found = factors(dashpot.WeightDecay(strength=1.0, layer_factor=0.5, on="weights & ~name:3.*"), [0.1])
        assert found["0.weight"] == pytest.approx([0.95])

    def test_a_replaced_head_is_the_last_layer(self) -> None:
        model = deep()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with dashpot.WeightDecay(strength=1.0, layer_factor=0.5).attach(model, optimizer):
            model[4] = nn.Linear(4, 3).double()
            optimizer.add_param_group({"params": model[4].parameters()})
            before = [model[i].weight.detach().clone() for i in (0, 4)]
            still(model)
            optimizer.step()
        for old, i, kept in zip(before, (0, 4), (0.975, 0.9), strict=True):
            torch.testing.assert_close(model[i].weight.detach(), kept * old, rtol=1e-9, atol=0)


class TestCorrected:
    def test_along_the_square(self) -> None:
        found = factors(CorrectedWeightDecay(strength=2.0), [0.1, 0.05, 0.2, 0.1, 0.0])
        np.testing.assert_allclose(found["4.weight"], [0.8, 0.95, 0.6, 0.9, 1.0], rtol=1e-9)

    def test_a_schedule_of_the_strength_is_the_same_where_the_rate_falls_alike(self) -> None:
        ours = trained(CorrectedWeightDecay(strength=1.0), lambda step: 1 - step / 12)
        scheduled = trained(dashpot.WeightDecay(strength="1to0"), lambda step: 1 - step / 12)
        torch.testing.assert_close(ours, scheduled, rtol=1e-9, atol=1e-12)

    def test_norms_keep_their_scale_where_decay_follows_the_rate_twice(self) -> None:
        """In front of a normalization the loss does not see the length of weights, and random gradients lengthen them:
        at rest the square of the length goes with lr / strength, so that a strength that falls with the rate keeps it.
        """

        def length(technique: Any) -> float:
            torch.manual_seed(0)
            layer = nn.Linear(64, 64, bias=False)
            optimizer = torch.optim.SGD(layer.parameters(), lr=0.2)
            with technique.attach(layer, optimizer):
                at_rest = 0.0
                for step in range(600):
                    optimizer.param_groups[0]["lr"] = 0.2 if step < 200 else 0.05
                    g = torch.randn(64, 64)
                    w = layer.weight.detach()
                    g -= (g * w).sum() / w.square().sum() * w  # no part along the weights
                    layer.weight.grad = g / g.norm() / w.norm()
                    optimizer.step()
                    at_rest = at_rest if step != 199 else float(layer.weight.detach().norm())
            return float(layer.weight.detach().norm()) / at_rest

        kept, fallen = length(CorrectedWeightDecay(strength=0.1)), length(dashpot.WeightDecay(strength=0.1))
        assert fallen < kept - 0.05


class TestCautious:
    def test_against_a_loop_by_hand(self) -> None:
        """AdamW in NumPy: moments, update, and decay where update and weight have one sign."""
        generator = np.random.default_rng(0)
        w = generator.normal(size=(4, 3))
        layer = nn.Linear(3, 4, bias=False).double()
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(w))
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.05, weight_decay=0.0)
        m, v, moved = np.zeros_like(w), np.zeros_like(w), 0
        with CautiousWeightDecay(strength=0.8).attach(layer, optimizer):
            for step in range(1, 7):
                g = generator.normal(size=(4, 3))
                layer.weight.grad = torch.from_numpy(g.copy())
                optimizer.step()
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
                update = m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
                agree = update * w >= 0
                moved += int(agree.sum())
                w = w - 0.05 * (update + 0.8 * agree * w)
                np.testing.assert_allclose(layer.weight.detach().numpy(), w, rtol=1e-9, atol=1e-12)
        assert 10 < moved < 62

    def test_it_ends_in_the_minimum_of_the_loss(self) -> None:
        ends = {}
        for technique in (CautiousWeightDecay(strength=0.5), dashpot.WeightDecay(strength=0.5)):
            layer = nn.Linear(1, 1, bias=False).double()
            with torch.no_grad():
                layer.weight.fill_(3.0)
            optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
            with technique.attach(layer, optimizer):
                for _ in range(400):
                    optimizer.zero_grad()
                    ((layer.weight - 1).square() / 2).sum().backward()
                    optimizer.step()
            ends[type(technique)] = layer.weight.item()
        assert ends[CautiousWeightDecay] == pytest.approx(1.0, abs=0.06)  # to lr x strength: it slides
        assert ends[dashpot.WeightDecay] == pytest.approx(1 / 1.5, abs=1e-6)

    @pytest.mark.parametrize("maximize", [False, True])
    @pytest.mark.parametrize(
        "make",
        [
            lambda p, **k: torch.optim.SGD(p, lr=0.1, **k),
            lambda p, **k: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3, **k),
            lambda p, **k: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, **k),
            lambda p, **k: torch.optim.Adam(p, lr=0.1, **k),
            lambda p, **k: torch.optim.AdamW(p, lr=0.1, weight_decay=0.0, amsgrad=True, **k),
            lambda p, **k: torch.optim.NAdam(p, lr=0.1, **k),
            lambda p, **k: torch.optim.RAdam(p, lr=0.1, **k),
            lambda p, **k: torch.optim.Adamax(p, lr=0.1, **k),
            lambda p, **k: torch.optim.RMSprop(p, lr=0.1, **k),
            lambda p, **k: torch.optim.RMSprop(p, lr=0.1, momentum=0.9, centered=True, **k),
            lambda p, **k: torch.optim.Adagrad(p, lr=0.1, **k),
            lambda p, **k: dashpot.optim.AdamW(p, lr=0.1, weight_decay=0.0, **k),
            lambda p, **k: dashpot.optim.SGD(p, lr=0.1, momentum=0.9, **k),
        ],
    )
    def test_the_direction_is_that_in_which_each_optimizer_then_moves(
        self, make: Callable[..., Optimizer], maximize: bool
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        w = nn.Parameter(torch.randn(6, 5, generator=generator, dtype=torch.float64))
        optimizer = make([w], maximize=maximize)
        for _ in range(8):
            w.grad = torch.randn(6, 5, generator=generator, dtype=torch.float64)
            ahead = coming_direction(optimizer, w, optimizer.param_groups[0], w.grad)
            before = w.detach().clone()
            optimizer.step()
            moved = before - w.detach()
            clear = moved.abs() > 1e-9
            assert int(clear.sum()) > 20
            assert torch.equal(ahead.sign()[clear], moved.sign()[clear])

    def test_an_optimizer_that_is_not_known_is_refused(self) -> None:
        class Own(torch.optim.SGD):
            pass

        model = deep()
        with pytest.raises(ConflictError, match=r"CautiousWeightDecay must know .* not Own. Use one of those"):
            CautiousWeightDecay().attach(model, Own(model.parameters(), lr=0.1))

    def test_zeros_of_a_penalty_stay(self) -> None:
        model = deep().float()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.0)
        x, y = torch.randn(32, 4, generator=torch.Generator().manual_seed(1)), torch.arange(32) % 2
        with (dashpot.L1(strength=0.05) | CautiousWeightDecay(strength=0.5)).attach(model, optimizer):
            for _ in range(60):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
        assert int((model[0].weight == 0).sum()) > 2


class TestBadInput:
    @pytest.mark.parametrize(
        ("cls", "values", "told"),
        [
            (dashpot.WeightDecay, {"timescale": 0.0}, r"timescale must be a number > 0, finite or None, got 0\.0"),
            (dashpot.WeightDecay, {"timescale": -1}, r"timescale must be"),
            (
                dashpot.WeightDecay,
                {"timescale": 5, "strength": 0.1},
                r"None where a strength is given, .* of the two",
            ),
            (dashpot.WeightDecay, {"layer_factor": -0.5}, r"layer_factor must be a number >= 0"),
            (CautiousWeightDecay, {"strength": -0.1}, r"strength must be a number >= 0"),
            (CorrectedWeightDecay, {"strength": math.nan}, r"strength must be a number >= 0"),
        ],
    )
    def test_values(self, cls: Any, values: dict[str, float], told: str) -> None:
        with pytest.raises(ConfigError, match=told):
            cls(**values)

    @pytest.mark.parametrize(
        ("technique", "options", "told"),
        [
            (dashpot.WeightDecay(timescale=2), {}, r"needs the length of an epoch. Attach with steps_per_epoch="),
            (dashpot.WeightDecay(timescale=0.1), {"steps_per_epoch": 5}, r"below 1, got 2 for '0.weight'"),
            (dashpot.WeightDecay(timescale="4to0.1"), {"steps_per_epoch": 5, "steps": 9}, r"below 1, got 2"),
            (dashpot.WeightDecay(strength=20.0), {}, r"below 1, got 2 for '0.weight': .* Lower the strength or the"),
            (dashpot.WeightDecay(strength="0to20"), {"steps": 9}, r"below 1, got 2"),
            (dashpot.WeightDecay(strength=4.0, layer_factor=2.0), {}, r"below 1, got 1.6 for '0.weight'"),
            (CautiousWeightDecay(strength=10.0), {}, r"below 1, got 1 for"),
            (CorrectedWeightDecay(strength=10.0), {}, r"below 1, got 1 for"),
        ],
    )
    def test_at_attach(self, technique: Any, options: dict[str, int], told: str) -> None:
        model = deep()
        with pytest.raises(ConflictError, match=told):
            technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)

    @pytest.mark.parametrize("technique", [dashpot.WeightDecay(strength=5.0), CorrectedWeightDecay(strength=5.0)])
    def test_a_rate_that_grows_too_high(self, technique: Any) -> None:
        with pytest.raises(UsageError, match=r"must be below 1, got 1.5 for '0.weight' at a learning rate"):
            factors(technique, [0.1, 0.3])

    def test_a_member_of_a_population_is_refused_as_fit_would(self) -> None:
        from dashpot.population.members import Member
        from dashpot.population.population import Population

        x, y = torch.randn(40, 4), torch.arange(40) % 2
        recipe = dashpot.Recipe((dashpot.WeightDecay(strength=20.0),))
        member = Member(make=lambda: deep().float(), recipe=recipe, lr=0.1, seed=0, rows=np.arange(40))
        with pytest.raises(ConflictError, match="below 1, got 2"):
            Population([member, member], [(x, y)], epochs=1, batch_size=8)

    def test_complex_weights(self) -> None:
        layer = nn.Linear(2, 2, bias=False, dtype=torch.complex64)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
        with pytest.raises(ConflictError, match="complex"):
            CautiousWeightDecay().attach(layer, optimizer)
