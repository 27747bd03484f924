"""Strengths: schedules, the largest useful one, what is refused, and zeros that stay zeros."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

import dashpot
from dashpot.core.fields import codec
from dashpot.techniques.penalties import step_rules
from dashpot.techniques.penalties.penalty import Penalty

INFINITE = float("inf")
PENALTIES: list[type[Penalty]] = [
    dashpot.L1,
    dashpot.ElasticNet,
    dashpot.L0,
    dashpot.SCAD,
    dashpot.MCP,
    dashpot.GroupLasso,
    dashpot.SparseGroupLasso,
    dashpot.GroupElasticNet,
    dashpot.NuclearNorm,
]


def sgd(model: nn.Module, **options: Any) -> Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, **options)


class TestSchedules:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"warmup": 0}, [1, 1, 1]),
            ({"warmup": 2}, [0, 0, 1, 1]),
            ({"ramp": 1}, [1, 1]),
            ({"ramp": 4}, [0.25, 0.5, 0.75, 1, 1]),
            ({"warmup": 2, "ramp": 1}, [0, 0, 1, 1]),
            ({"warmup": 1, "ramp": 2}, [0, 0.5, 1, 1]),
            ({"warmup": 3, "ramp": 3, "ramp_shape": "cosine"}, [0, 0, 0, 0.25, 0.75, 1, 1]),
        ],
    )
    @pytest.mark.parametrize("field", ["strength", "relative"])
    def test_a_recipe_of_version_1_acts_as_it_did(
        self, field: str, options: dict[str, Any], expected: list[float]
    ) -> None:
        entry = {"name": "l1", "version": 1, "strength": "none", "relative": "none", field: 0.4, **options}
        (penalty,) = codec.from_dict({"technique": [{**entry, "on": "weights"}]})
        got = [getattr(penalty.at(step), field) for step in [*range(len(expected)), 10**9]]
        assert got == pytest.approx([0.4 * share for share in [*expected, 1]], abs=1e-15)

    @pytest.mark.parametrize(("name", "cls"), [("l1", dashpot.L1), ("max-norm", dashpot.penalties.MaxNorm)])
    def test_the_scaling_of_version_1_is_read(self, name: str, cls: type[dashpot.Technique]) -> None:
        scalings = {}
        for scaling in ("adaptive", "decoupled"):
            entry = {"name": name, "version": 1, "metric": scaling, "on": "weights"}
            (technique,) = codec.from_dict({"technique": [entry]})
            assert type(technique) is cls
            scalings[scaling] = technique.scaling
        assert scalings == {"adaptive": "adaptive", "decoupled": "decoupled"}
        with pytest.raises(dashpot.ConfigError, match="It is called scaling now"):
            codec.parse(f"{name}:metric=decoupled")

    def test_a_ramp_of_version_1_that_no_schedule_says_is_refused(self) -> None:
        entry = {"name": "mcp", "version": 1, "strength": 0.1, "ramp": 4, "ramp_shape": "cosine"}
        with pytest.raises(dashpot.ConfigError, match="Write strength=0to0.1@cosine@until=4steps"):
            codec.from_dict({"technique": [entry]})
        with pytest.raises(dashpot.ConfigError, match="The strength itself follows the steps: strength=0to1e-4@from"):
            codec.parse("l1:ramp=4")
        with pytest.raises(dashpot.ConfigError, match=r"field of l1 must be one of .* got 'warmup'"):
            codec.from_dict({"technique": [{"name": "l1", "version": 2, "warmup": 4}]})

    def test_steps_threshold_at_their_share(self) -> None:
        model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
        nn.init.constant_(model.weight, 1.0)
        optimizer = sgd(model)
        seen = [1.0]
        with dashpot.L1(strength="0to0.5@from=1steps@until=5steps").attach(model, optimizer):
            for _ in range(7):
                model.weight.grad = torch.zeros_like(model.weight)
                optimizer.step()
                seen.append(model.weight.item())
        np.testing.assert_allclose(-np.diff(seen), 0.1 * 0.5 * np.array([0, 0, 0.25, 0.5, 0.75, 1, 1]), atol=1e-15)

    def test_a_resumed_session_goes_on_in_the_schedule(self) -> None:
        model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
        recipe, optimizer = dashpot.L1(strength="0to0.5@until=2steps"), sgd(model)
        session = recipe.attach(model, optimizer)
        model.weight.grad = torch.zeros_like(model.weight)
        for _ in range(2):
            optimizer.step()
        state = session.state_dict()
        session.close()
        nn.init.constant_(model.weight, 1.0)
        with recipe.attach(model, optimizer) as resumed:
            resumed.load_state_dict(state)
            optimizer.step()
        assert model.weight.item() == pytest.approx(1 - 0.1 * 0.5, abs=1e-15)


class TestLargestStrength:
    GRADIENT = torch.tensor([[0.3, -1.2, 0.1], [0.0, 0.4, 0.5]], dtype=torch.float64)

    @pytest.mark.parametrize(
        ("penalty", "expected"),
        [
            (dashpot.L1(), 1.2),
            (dashpot.ElasticNet(l1_ratio=0.25), 1.2 / 0.25),
            (dashpot.SCAD(), 1.2),
            (dashpot.MCP(), 1.2),
            (dashpot.GroupLasso(), math.sqrt(0.09 + 1.44 + 0.01) / math.sqrt(3)),
            (dashpot.GroupLasso(size_weights=False), math.sqrt(0.09 + 1.44 + 0.01)),
            (dashpot.GroupLasso(groups=dashpot.Grouping("columns")), math.sqrt(1.44 + 0.16) / math.sqrt(2)),
            (
                dashpot.GroupLasso(groups=dashpot.Grouping("layer")),
                math.sqrt(0.09 + 1.44 + 0.01 + 0.16 + 0.25) / math.sqrt(6),
            ),
            # Single weights 1.2 and a pair of norm 0.64 / sqrt(2): the ragged groups of an index map.
            (dashpot.GroupLasso(groups=dashpot.Grouping("index:0/1/0/0/2/2")), 1.2),
            (dashpot.GroupElasticNet(l1_ratio=0.5), math.sqrt(0.09 + 1.44 + 0.01) / math.sqrt(3) / 0.5),
            (dashpot.SparseGroupLasso(l1_ratio=1.0), 1.2),
            (dashpot.SparseGroupLasso(l1_ratio=0.0), math.sqrt(0.09 + 1.44 + 0.01) / math.sqrt(3)),
            (dashpot.NuclearNorm(), float(np.linalg.svd(GRADIENT.numpy())[1][0])),
        ],
        ids=str,
    )
    def test_it_is_the_dual_norm_of_the_gradient(self, penalty: Penalty, expected: float) -> None:
        largest = penalty.max_strength(self.GRADIENT)
        assert largest == pytest.approx(expected, rel=1e-9)

    def test_zero_stays_from_there_on_and_not_below(self) -> None:
        for penalty in (dashpot.L1(), dashpot.SparseGroupLasso(l1_ratio=0.3), dashpot.NuclearNorm()):
            largest = penalty.max_strength(self.GRADIENT)
            step = penalty.with_strength(largest * (1 + 1e-6)).prox(-0.1 * self.GRADIENT, 0.1)
            assert step.abs().max() < 1e-15
            assert penalty.with_strength(largest * (1 - 1e-3)).prox(-0.1 * self.GRADIENT, 0.1).abs().max() > 1e-6

    def test_none_where_nothing_moves_or_nothing_can_hold(self) -> None:
        assert dashpot.L1().max_strength(torch.zeros(3, 2)) == 0.0
        with pytest.raises(dashpot.ConfigError, match=r"L0\.relative .*: give strength= instead"):
            dashpot.L0().max_strength(self.GRADIENT)
        with pytest.raises(dashpot.ConfigError, match=r"ElasticNet\.relative.*l1_ratio=0"):
            dashpot.ElasticNet(l1_ratio=0.0).max_strength(self.GRADIENT)


class TestRefusedAtOnce:
    @pytest.mark.parametrize("cls", PENALTIES)
    @pytest.mark.parametrize("field", ["strength", "relative"])
    @pytest.mark.parametrize("wrong", [-1e-9, math.nan, INFINITE, -INFINITE, True, "0.1", np.bool_(True), 1j])
    def test_strengths_that_are_none(self, cls: type[Penalty], field: str, wrong: object) -> None:
        with pytest.raises(dashpot.ConfigError, match=rf"{cls.__name__}\.{field} must be a number >= 0, finite"):
            cls(**{field: wrong})  # type: ignore[arg-type]  # converted, or refused

    @pytest.mark.parametrize("cls", PENALTIES)
    def test_two_strengths(self, cls: type[Penalty]) -> None:
        with pytest.raises(dashpot.ConfigError, match=rf"{cls.__name__}\.relative.*Give one of the two"):
            cls(strength=0.0, relative=0.1)
        assert cls().strength == 1e-4
        assert cls(relative=0.1).strength is None

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: dashpot.SCAD(a=2.0), r"SCAD\.a must be a number > 2"),
            (lambda: dashpot.SCAD(a=1.0), r"SCAD\.a must be a number > 2"),
            (lambda: dashpot.SCAD(a=math.nan), r"SCAD\.a must be a number > 2"),
            (lambda: dashpot.MCP(gamma=1.0), r"MCP\.gamma must be a number > 1"),
            (lambda: dashpot.MCP(gamma=-3.0), r"MCP\.gamma must be a number > 1"),
            (lambda: dashpot.NOfM(n=5, m=4), r"NOfM\.n must be at most m \(4\), got 5"),
            (lambda: dashpot.NOfM(n=0, m=4), r"NOfM\.n must be a whole number >= 1"),
            # Converted, or refused.
            (lambda: dashpot.NOfM(n=1.5, m=4), r"NOfM\.n must be a whole number >= 1"),  # type: ignore[arg-type]
            (
                lambda: dashpot.L1(scaling="newton"),  # type: ignore[arg-type]  # converted, or refused
                r"L1\.scaling must be one of adaptive, decoupled",
            ),
            (lambda: dashpot.ElasticNet(l1_ratio=1.1), r"ElasticNet\.l1_ratio must be a number in \[0, 1\]"),
            (lambda: dashpot.HardThreshold(keep=1.1), r"HardThreshold\.keep must be a number in \[0, 1\]"),
            (lambda: dashpot.UnitNorm(norm=0.0), r"UnitNorm\.norm must be a number > 0"),
            (lambda: dashpot.UnitNorm(scaling="adaptive"), r"UnitNorm\.scaling must be decoupled"),
        ],
    )
    def test_other_values(self, make: Callable[[], object], message: str) -> None:
        with pytest.raises(dashpot.ConfigError, match=message):
            make()

    def test_the_nearest_good_values_are_taken(self) -> None:
        assert dashpot.SCAD(a=2.0 + 1e-9).a > 2
        assert dashpot.MCP(gamma=1.0 + 1e-9).gamma > 1
        assert dashpot.NOfM(n=4, m=4).n == 4
        assert dashpot.L1(strength=0).strength == 0.0
        assert dashpot.L1(strength=np.float32(0.5)).strength == 0.5  # type: ignore[arg-type]  # converted, or refused


class TestRefusedAtAttach:
    @pytest.mark.parametrize("cls", PENALTIES)
    def test_a_relative_strength_names_the_way_out(self, cls: type[Penalty]) -> None:
        model = nn.Linear(4, 3)
        with pytest.raises(
            dashpot.ConflictError, match=rf"{cls.__name__}\(relative=0\.1\).*dashpot\.fit.*dashpot\.resolve_strengths"
        ):
            cls(relative=0.1).attach(model, sgd(model))

    def test_that_way_out_is_open(self) -> None:
        x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
        y = x[:, :1]
        model = nn.Linear(4, 1, bias=False)
        recipe = dashpot.resolve_strengths(dashpot.L1(relative=0.25), model, (x, y))
        (penalty,) = recipe
        assert isinstance(penalty, dashpot.L1)
        assert penalty.strength == pytest.approx(0.25 * float((2 * x.T @ y / 30).abs().max()), rel=1e-4)
        recipe.attach(model, sgd(model)).close()

    def test_the_nuclear_norm_in_a_metric_of_weights(self) -> None:
        model = nn.Linear(4, 3)
        with pytest.raises(
            dashpot.ConflictError, match=r"NuclearNorm\(scaling='adaptive'\).*Adam has one for each weight.*decoupled"
        ):
            dashpot.NuclearNorm(scaling="adaptive").attach(model, torch.optim.Adam(model.parameters()))
        dashpot.NuclearNorm(scaling="decoupled").attach(model, torch.optim.Adam(model.parameters()))

    def test_the_nuclear_norm_with_momentum_lowers_singular_values_by_the_whole_step(self) -> None:
        model = nn.Linear(4, 3, bias=False, dtype=torch.float64)
        before = torch.linalg.svdvals(model.weight.detach())
        optimizer = sgd(model, momentum=0.5)
        with dashpot.NuclearNorm(strength=0.2, scaling="adaptive").attach(model, optimizer):
            model.weight.grad = torch.zeros_like(model.weight)
            optimizer.step()
        after = torch.linalg.svdvals(model.weight.detach())
        torch.testing.assert_close(after, (before - 0.1 / (1 - 0.5) * 0.2).clamp(min=0))

    def test_a_subclass_is_unknown_until_it_is_taught(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Doubled(torch.optim.SGD):
            """Steps twice as far, which its base class does not tell."""

            @torch.no_grad()
            def step(self, closure: Any = None) -> None:  # type: ignore[override]  # as old optimizers had it
                for group in self.param_groups:
                    for p in group["params"]:
                        if p.grad is not None:
                            p.sub_(p.grad, alpha=2 * group["lr"])

        monkeypatch.setattr(step_rules, "_STEPS", dict(step_rules._STEPS))
        monkeypatch.setattr(step_rules, "_SCALAR", set(step_rules._SCALAR))
        model = nn.Linear(4, 3, bias=False, dtype=torch.float64)
        nn.init.constant_(model.weight, 1.0)
        optimizer = Doubled(model.parameters(), lr=0.1)
        for penalty in (
            dashpot.L1(),
            dashpot.GroupLasso(),
            dashpot.NuclearNorm(scaling="adaptive"),
            dashpot.HardThreshold(),
        ):
            with pytest.raises(dashpot.ConflictError, match="not Doubled.*dashpot.register_step_rule.*decoupled"):
                penalty.attach(model, optimizer)
        assert not optimizer._optimizer_step_post_hooks
        dashpot.register_step_rule(Doubled, lambda group, state: 2 * group["lr"])
        with dashpot.L1(strength=0.3).attach(model, optimizer):
            model.weight.grad = torch.full_like(model.weight, 0.5)
            optimizer.step()
        torch.testing.assert_close(
            model.weight.detach(), torch.full((3, 4), 1 - 0.2 * 0.5 - 0.2 * 0.3, dtype=torch.float64)
        )
        # One number for all weights must be promised, not guessed.
        with pytest.raises(dashpot.ConflictError, match="one for each weight"):
            dashpot.NuclearNorm(scaling="adaptive").attach(model, optimizer)
        dashpot.register_step_rule(Doubled, lambda group, state: 2 * group["lr"], scalar=True)
        dashpot.NuclearNorm(scaling="adaptive").attach(model, optimizer).close()


def sparse_training(model: nn.Linear, optimizer: Optimizer, x: Tensor, y: Tensor, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()


class TestZeros:
    @pytest.mark.parametrize(
        "technique",
        [
            dashpot.L1(strength=10.0),
            dashpot.GroupLasso(strength=10.0),
            dashpot.HardThreshold(keep=0.0),
            dashpot.L0(strength=10.0),
            dashpot.NonNegative(),
            dashpot.MaxNorm(maximum=1e-3),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
    def test_parameters_without_a_gradient_are_left_alone(
        self, technique: dashpot.Technique, kind: type[Optimizer]
    ) -> None:
        torch.manual_seed(0)
        model = nn.ModuleDict({"used": nn.Linear(4, 3), "unused": nn.Linear(4, 3)})
        optimizer = kind(model.parameters(), lr=0.1)  # type: ignore[call-arg]  # converted, or refused
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        with technique.attach(model, optimizer):
            model["used"](torch.ones(2, 4)).square().mean().backward()
            optimizer.step()
        after = dict(model.named_parameters())
        assert torch.equal(after["unused.weight"], before["unused.weight"])
        assert not torch.equal(after["used.weight"], before["used.weight"])
        assert not (after["used.bias"] == 0).any()

    @pytest.mark.parametrize(
        "make",
        [
            pytest.param(lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), id="momentum"),
            pytest.param(lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True), id="Nesterov"),
            pytest.param(lambda p: torch.optim.Adam(p, lr=0.05), id="Adam"),
        ],
    )
    @pytest.mark.parametrize(
        "penalty",
        [dashpot.L1(strength=0.6), dashpot.GroupLasso(strength=0.4, groups=dashpot.Grouping("columns"))],
        ids=str,
    )
    def test_they_are_exact_and_stay(self, penalty: Penalty, make: Callable[[Any], Optimizer]) -> None:
        torch.manual_seed(0)
        x = torch.randn(64, 8)
        y = torch.stack([2 * x[:, 0] - x[:, 1], x[:, 0]], dim=1)
        model = nn.Linear(8, 2, bias=False)
        start = model.weight.detach().clone()
        assert (start != 0).all()
        optimizer = make(model.parameters())
        recipe = penalty | dashpot.EMA(decay=0.9)
        with recipe.attach(model, optimizer) as session:
            sparse_training(model, optimizer, x, y, 400)
            zeros = model.weight.detach() == 0.0
            assert 8 < int(zeros.sum()) < 16
            for _ in range(20):
                sparse_training(model, optimizer, x, y, 1)
                assert torch.equal(model.weight.detach() == 0.0, zeros)
            raw = model.weight.detach().clone()
            with session.evaluate():
                assert torch.equal(model.weight.detach() == 0.0, zeros)
                assert not torch.equal(model.weight.detach(), raw)
            assert torch.equal(model.weight.detach(), raw)
            assert torch.equal(session.export().state_dict()["weight"] == 0.0, zeros)
        assert torch.equal(model.weight.detach() == 0.0, zeros)

    def test_they_outlive_a_checkpoint(self, tmp_path: Any) -> None:
        torch.manual_seed(0)
        x = torch.randn(64, 8)
        y = (2 * x[:, 0] - x[:, 1])[:, None]
        recipe = dashpot.L1(strength="0to0.5@from=3steps@until=13steps") | dashpot.EMA(decay=0.9)

        def begin() -> tuple[nn.Linear, Optimizer, dashpot.Session]:
            torch.manual_seed(1)
            model = nn.Linear(8, 1, bias=False)
            optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
            return model, optimizer, recipe.attach(model, optimizer)

        straight, optimizer, session = begin()
        sparse_training(straight, optimizer, x, y, 150)
        parts = {"model": straight.state_dict(), "optimizer": optimizer.state_dict(), "session": session.state_dict()}
        torch.save(parts, tmp_path / "checkpoint.pt")
        zeros = straight.weight.detach() == 0.0
        assert 0 < int(zeros.sum()) < 8
        sparse_training(straight, optimizer, x, y, 20)

        resumed, optimizer, again = begin()
        assert not (resumed.weight == 0.0).any()
        saved = torch.load(tmp_path / "checkpoint.pt")
        resumed.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        again.load_state_dict(saved["session"])
        assert torch.equal(resumed.weight.detach() == 0.0, zeros)
        with again.evaluate():
            assert torch.equal(resumed.weight.detach() == 0.0, zeros)
        sparse_training(resumed, optimizer, x, y, 20)
        assert torch.equal(resumed.weight, straight.weight)
        assert torch.equal(resumed.weight.detach() == 0.0, zeros)
        session.finish()
        again.finish()
        assert torch.equal(resumed.weight, straight.weight)
        assert torch.equal(resumed.weight.detach() == 0.0, zeros)
