"""Attaching, stepping, evaluating and closing, in the situations that real loops bring."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.techniques.penalties.decay import DoubleDecayWarning


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def data() -> tuple[Tensor, Tensor]:
    return torch.randn(24, 6, generator=torch.Generator().manual_seed(1)), torch.arange(24) % 3


def backward(model: nn.Module, x: Tensor, y: Tensor, share: float = 1.0) -> None:
    (functional.cross_entropy(model(x), y) * share).backward()


def parameters(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


class TestConflicts:
    def attach(
        self, recipe: dashpot.Recipe | dashpot.Technique, model: nn.Module | None = None, **options: object
    ) -> dashpot.Session:
        model = model or network()
        optimizer = options.pop("optimizer", None) or torch.optim.SGD(model.parameters(), lr=0.1)
        return recipe.attach(model, optimizer, **options)  # type: ignore[arg-type]  # options of any argument

    @pytest.mark.parametrize(
        "recipe",
        [
            dashpot.L1() | dashpot.ElasticNet(),
            dashpot.EMA() | dashpot.EMA(decay=0.9),
            dashpot.Dropout() | dashpot.Dropout(p=0.3),
            dashpot.EarlyStopping() | dashpot.EarlyStopping(),
        ],
    )
    def test_two_writers_of_one_slot(self, recipe: dashpot.Recipe) -> None:
        with pytest.raises(dashpot.ConflictError, match="both want the"):
            self.attach(recipe)

    @pytest.mark.parametrize(
        ("recipe", "way"),
        [
            (dashpot.L1() | dashpot.ElasticNet(), "Keep one, or give them disjoint `on`."),
            (dashpot.augment.RandAugment() | dashpot.augment.TrivialAugment(), "Keep one of them."),
        ],
    )
    def test_the_way_out_is_one_that_there_is(self, recipe: dashpot.Recipe, way: str) -> None:
        with pytest.raises(dashpot.ConflictError, match=f"both want the .*neither order is right. {way}$"):
            self.attach(recipe)

    def test_two_proximal_steps_on_different_layers_are_fine(self) -> None:
        self.attach(dashpot.L1(on="name:0.weight") | dashpot.ElasticNet(on="name:2.weight"))

    def test_sam_without_closure(self) -> None:
        with pytest.raises(dashpot.ConflictError, match="closure=True"):
            self.attach(dashpot.SAM())
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        dashpot.SAM().attach(model, optimizer, closure=True)
        backward(model, *data())
        with pytest.raises(dashpot.UsageError, match="without a closure"):
            optimizer.step()

    def test_batches_of_one_under_batch_norm(self) -> None:
        model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
        with pytest.raises(dashpot.ConflictError, match="cannot train on one sample"):
            self.attach(dashpot.L2(), model, batch_size=1)

    def test_unknown_metric_is_refused_with_names(self) -> None:
        model = network()
        with pytest.raises(dashpot.ConflictError, match="knows SGD, Adam, AdamW, .* not Rprop"):
            self.attach(dashpot.L1(), model, optimizer=torch.optim.Rprop(model.parameters()))
        self.attach(dashpot.L1(scaling="decoupled"), model, optimizer=torch.optim.Rprop(model.parameters()))

    def test_decay_twice_warns(self) -> None:
        model = network()
        with pytest.warns(DoubleDecayWarning, match="AdamW has weight_decay=0.01"):
            self.attach(dashpot.WeightDecay(), model, optimizer=torch.optim.AdamW(model.parameters()))

    def test_label_smoothing_on_values(self) -> None:
        with pytest.raises(
            dashpot.ConflictError,
            match="LabelSmoothing is for classification or multilabel, but the targets are values",
        ):
            self.attach(dashpot.LabelSmoothing(), targets="values")

    def test_compiled_models(self) -> None:
        compiled = torch.compile(network())
        with pytest.raises(dashpot.ConflictError, match="compiled already"):
            self.attach(dashpot.Dropout(), compiled)
        self.attach(dashpot.L1() | dashpot.EMA(), compiled)

    def test_a_refused_attach_leaves_nothing_behind(self) -> None:
        model = network()
        optimizer = torch.optim.Rprop(model.parameters())
        with pytest.raises(dashpot.ConflictError):
            (dashpot.Dropout() | dashpot.L1()).attach(model, optimizer)
        assert not any(m._forward_hooks for m in model.modules())
        assert not optimizer._optimizer_step_pre_hooks


class TestCalls:
    def test_forgotten_calls_are_named(self) -> None:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        (dashpot.Mixup() | dashpot.LabelSmoothing()).attach(model, optimizer, classes=3)
        backward(model, *data())
        with pytest.raises(dashpot.UsageError, match="batch.* was not called.*Mixup"):
            optimizer.step()

    def test_a_forgotten_loss_call_is_named(self) -> None:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        session = dashpot.LabelSmoothing().attach(model, optimizer)
        session.batch(*data())
        backward(model, *data())
        with pytest.raises(dashpot.UsageError, match="loss.* was not called.*LabelSmoothing"):
            optimizer.step()

    def test_a_reduced_loss_is_refused_by_what_needs_samples(self) -> None:
        model = network()
        session = dashpot.LabelSmoothing().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        with pytest.raises(dashpot.UsageError, match=r'LabelSmoothing needs the loss of each sample.*reduction="none"'):
            session.loss(torch.tensor(1.0))

    def test_a_closed_session_says_so(self) -> None:
        model = network()
        session = dashpot.L1().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        session.close()
        with pytest.raises(dashpot.UsageError, match="closed"):
            session.batch(*data())


class TestLoops:
    recipe = (
        dashpot.L1(strength=0.02)
        | dashpot.WeightDecay(strength=0.1)
        | dashpot.EMA(decay=0.9)
        | dashpot.GradientClipping(maximum=0.1)
    )

    def test_accumulation_acts_once_per_step(self) -> None:
        results = []
        for micro in (1, 4):
            model, (x, y) = network().double(), data()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            session = self.recipe.attach(model, optimizer)
            for _ in range(5):
                optimizer.zero_grad()
                for i in range(micro):
                    backward(model, x[i::micro].double(), y[i::micro], 1 / micro)
                optimizer.step()
            assert session.step == 5
            results.append(list(session.snapshot().values()))
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b)

    def test_frozen_shared_and_foreign_parameters(self) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b, self.frozen, self.other = (
                    nn.Linear(6, 6),
                    nn.Linear(6, 6),
                    nn.Linear(6, 6),
                    nn.Linear(6, 3),
                )
                self.b.weight = self.a.weight
                self.frozen.requires_grad_(False)

            def forward(self, x: Tensor) -> Tensor:
                out: Tensor = self.other(self.frozen(self.b(self.a(x))))
                return out

        model = Net()
        inside = [p for name, p in model.named_parameters() if p.requires_grad and not name.startswith("other")]
        optimizer = torch.optim.SGD(inside, lr=0.1)
        session = dashpot.WeightDecay(strength=1.0).attach(model, optimizer)
        assert "1 tensors" in session.plan()
        assert "1 more are not in the optimizer" in session.plan()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
        torch.testing.assert_close(model.a.weight, 0.9 * before["a.weight"])  # once, though it is shared
        assert torch.equal(model.other.weight, before["other.weight"])
        assert torch.equal(model.frozen.weight, before["frozen.weight"])

    def test_groups_with_their_own_rates_and_groups_that_come_later(self) -> None:
        model = network()
        optimizer = torch.optim.SGD([{"params": model[0].parameters(), "lr": 0.1}], lr=0.1)
        dashpot.WeightDecay(strength=1.0).attach(model, optimizer)
        before = parameters(model)

        def idle() -> None:
            for p in model.parameters():
                p.grad = torch.zeros_like(p)
            optimizer.step()

        idle()
        assert torch.equal(model[2].weight, before[2])
        optimizer.add_param_group({"params": model[2].parameters(), "lr": 0.5})
        idle()
        torch.testing.assert_close(model[0].weight, 0.9 * 0.9 * before[0])
        torch.testing.assert_close(model[2].weight, 0.5 * before[2])

    def test_a_loaded_optimizer_state_is_followed(self) -> None:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        dashpot.WeightDecay(strength=1.0).attach(model, optimizer)
        state = copy.deepcopy(optimizer.state_dict())
        state["param_groups"][0]["lr"] = 0.5
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
        optimizer.load_state_dict(state)
        before = model[0].weight.detach().clone()
        optimizer.step()
        torch.testing.assert_close(model[0].weight, 0.5 * before)

    def test_edits_of_the_weights_between_steps_stay(self) -> None:
        model, (x, y) = network(), data()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        dashpot.L1(strength=0.1).attach(model, optimizer)
        backward(model, x, y)
        optimizer.step()
        with torch.no_grad():
            model[0].weight.fill_(3.0)
        optimizer.step()
        assert (model[0].weight == 3).all()

    def test_lightning_style_closures_give_the_same_weights(self) -> None:
        results = []
        for style in ("backward, then step", "step(closure)"):
            model, (x, y) = network(), data()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            self.recipe.attach(model, optimizer)
            for _ in range(4):

                def closure() -> Tensor:
                    optimizer.zero_grad()  # noqa: B023
                    loss = functional.cross_entropy(model(x), y)  # noqa: B023
                    loss.backward()
                    return loss

                if style == "step(closure)":
                    assert optimizer.step(closure).item() > 0
                else:
                    closure()
                    optimizer.step()
            results.append(parameters(model))
        assert same(*results)

    @pytest.mark.parametrize("fused", [False, True])
    def test_grad_scaler(self, fused: bool) -> None:
        """Under GradScaler the same weights as without; a skipped step changes nothing and advances nothing."""
        recipe = dashpot.GradientClipping(maximum=0.05) | dashpot.L2(strength=0.1) | dashpot.L1(strength=0.02)
        results = []
        for scaled in (False, True):
            model, (x, y) = network(), data()
            optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.0, fused=fused)
            session = recipe.attach(model, optimizer)
            scaler = torch.amp.GradScaler("cpu", enabled=scaled, init_scale=1024.0)
            for step in range(6):
                optimizer.zero_grad()
                scaler.scale(functional.cross_entropy(model(x), y)).backward()
                if scaled and step == 3:
                    before = parameters(model)
                    model[0].weight.grad[0, 0] = float("inf")
                    scaler.step(optimizer)
                    scaler.update()
                    assert same(before, parameters(model))
                    assert session.step == 3
                    optimizer.zero_grad()
                    scaler.scale(functional.cross_entropy(model(x), y)).backward()
                scaler.step(optimizer)
                scaler.update()
            assert session.step == 6
            results.append(parameters(model))
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)

    @pytest.mark.slow
    def test_compiled_models_train_as_eager_ones(self) -> None:
        recipe = (
            dashpot.Mixup(alpha=0.4)
            | dashpot.Dropout(p=0.3)
            | dashpot.LabelSmoothing()
            | dashpot.L1(strength=0.01)
            | dashpot.EMA(decay=0.9)
        )
        results = []
        for compiled in (False, True):
            model, (x, y) = network(), data()
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
            session = recipe.attach(model, optimizer, classes=3)
            run = torch.compile(model, fullgraph=True) if compiled else model
            for _ in range(4):
                optimizer.zero_grad()
                batch = session.batch(x, y)
                out = run(batch.x)
                session.loss(functional.cross_entropy(out, batch.y, reduction="none"), out).backward()
                optimizer.step()
            results.append(parameters(model))
            session.close()
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


class TestState:
    def test_another_recipe_or_seed_is_refused(self) -> None:
        def attach(recipe: dashpot.Technique, seed: int = 0) -> dashpot.Session:
            model = network()
            return recipe.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), seed=seed)

        state = attach(dashpot.L1()).state_dict()
        with pytest.raises(dashpot.ConfigError, match="recipe must be"):
            attach(dashpot.L1(strength=1.0)).load_state_dict(state)
        with pytest.raises(dashpot.ConfigError, match="seed must be"):
            attach(dashpot.L1(), seed=3).load_state_dict(state)

    def test_ema_is_evaluated_exported_and_final_while_the_raw_weights_train(self) -> None:
        model, (x, y) = network(), data()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        with dashpot.EMA(decay=0.9, warmup=False).attach(model, optimizer) as session:
            for _ in range(5):
                optimizer.zero_grad()
                backward(model, x, y)
                optimizer.step()
            raw = parameters(model)
            with session.evaluate() as evaluated:
                averaged = parameters(evaluated)
                assert not evaluated.training
            assert same(parameters(model), raw)
            assert not same(averaged, raw)
            assert model.training
            assert same(parameters(session.export()), averaged)
        assert same(parameters(model), averaged)

    def test_the_plan_follows_the_order_of_action(self) -> None:
        model = network()
        plan = (
            (dashpot.EMA() | dashpot.L1() | dashpot.Mixup())
            .attach(model, torch.optim.SGD(model.parameters(), lr=0.1), classes=3)
            .plan()
        )
        assert (
            plan.index("mixup  ") < plan.index("l1  ") < plan.index("ema  ")
        )  # the average is of what the proximal step leaves
        assert "2 tensors, 72 values" in plan

    def test_an_empty_recipe_adds_no_hook(self) -> None:
        model, (x, y) = network(), data()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        session = dashpot.Recipe().attach(model, optimizer)
        assert not optimizer._optimizer_step_post_hooks
        batch = session.batch(x, y)
        out = model(batch.x)
        assert torch.equal(
            session.loss(functional.cross_entropy(out, batch.y, reduction="none")),
            functional.cross_entropy(out, y, reduction="none").mean(),
        )


def test_streams_do_not_collide_or_depend_on_neighbours() -> None:
    from dashpot.core.rng import derive, stream

    keys = {
        derive(stream(seed, path), step, micro)
        for seed in range(5)
        for path in ("mixup", "dropout")
        for step in range(40)
        for micro in range(5)
    }
    assert len(keys) == 5 * 2 * 40 * 5


def test_no_warning_where_dropout_follows_the_last_norm() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dashpot.Dropout(p=0.1).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
