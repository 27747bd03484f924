"""Where torch has the same thing, ours is the same thing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

import dashpot

Make = Callable[[list[nn.Parameter], float], Optimizer]


def network(dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))


def data() -> tuple[Tensor, Tensor]:
    return torch.randn(24, 6, generator=torch.Generator().manual_seed(1)), torch.arange(24) % 3


def run(
    recipe: dashpot.Recipe | dashpot.Technique | None,
    make: Make,
    decay: float = 0.0,
    steps: int = 5,
    hook: Callable[[nn.Module], None] | None = None,
) -> list[Tensor]:
    model, (x, y) = network(), data()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]
    optimizer = make(groups, 0.02)  # type: ignore[list-item]  # groups are dicts
    session = recipe.attach(model, optimizer) if recipe is not None else None
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        if hook:
            hook(model)
        optimizer.step()
    assert session is None or session.step == steps
    return [p.detach() for p in model.parameters()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def sgd(p: list[nn.Parameter], lr: float) -> Optimizer:
    return torch.optim.SGD(p, lr=lr, momentum=0.9)


def adam(p: list[nn.Parameter], lr: float) -> Optimizer:
    return torch.optim.Adam(p, lr=lr)


def adamw(p: list[nn.Parameter], lr: float) -> Optimizer:
    return torch.optim.AdamW(p, lr=lr, weight_decay=0.0)


@pytest.mark.parametrize("make", [sgd, adam])
def test_l2_is_the_coupled_weight_decay_bit_for_bit(make: Make) -> None:
    assert same(run(dashpot.L2(strength=0.1), make), run(None, make, decay=0.1))


def test_weight_decay_is_adamws_bit_for_bit() -> None:
    assert same(run(dashpot.WeightDecay(strength=0.3), adamw), run(None, adamw, decay=0.3))


def test_l2_and_weight_decay_differ_under_adam() -> None:
    assert not same(run(dashpot.L2(strength=0.3), adam), run(dashpot.WeightDecay(strength=0.3), adam))


def test_clipping_by_norm_and_value() -> None:
    by_norm = run(None, sgd, hook=lambda m: nn.utils.clip_grad_norm_(m.parameters(), 0.05))
    by_value = run(None, sgd, hook=lambda m: nn.utils.clip_grad_value_(m.parameters(), 0.02))
    for ours, theirs in (
        (dashpot.GradientClipping(maximum=0.05), by_norm),
        (dashpot.GradientClipping(maximum=0.02, by="value"), by_value),
    ):
        for a, b in zip(run(ours, sgd), theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_clipping_by_layer_is_torchs_for_the_parameters_of_each_module() -> None:
    def hook(model: nn.Module) -> None:
        for i in (0, 1, 4):
            nn.utils.clip_grad_norm_(model.get_submodule(str(i)).parameters(), 0.02)

    for a, b in zip(run(dashpot.GradientClipping(0.02, by="layer"), sgd), run(None, sgd, hook=hook), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_decay_by_timescale_is_adamws_with_the_strength_of_the_paper() -> None:
    """tau = 1 / (lr x strength x steps per epoch)."""
    model, (x, y) = network(), data()
    optimizer = adamw(list(model.parameters()), 0.02)
    dashpot.WeightDecay(timescale=2.0).attach(model, optimizer, steps_per_epoch=10)
    for _ in range(5):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    theirs = run(None, adamw, decay=1 / (0.02 * 2.0 * 10))
    for a, b in zip((p.detach() for p in model.parameters()), theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_decay_leaves_biases_norms_and_embeddings_alone() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    dashpot.WeightDecay(strength=1.0).attach(model, optimizer)
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    changed = [name for (name, p), old in zip(model.named_parameters(), before, strict=True) if not torch.equal(p, old)]
    assert changed == ["1.weight"]


def test_parameters_without_gradient_are_passed_over() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    (dashpot.L1(strength=10.0) | dashpot.WeightDecay(strength=1.0)).attach(model, optimizer)
    before = model.weight.detach().clone()
    model.bias.grad = torch.ones_like(model.bias)
    optimizer.step()
    assert torch.equal(model.weight, before)


def test_a_learning_rate_of_zero_changes_nothing() -> None:
    model, (x, y) = network(), data()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0)
    dashpot.L1(strength=0.1).attach(model, optimizer)
    before = model[0].weight.detach().clone()
    functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    assert torch.equal(model[0].weight, before)


def test_zeros_stay_through_momentum_decay_ema_and_resume() -> None:
    model, (x, y) = network(), data()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    session = (dashpot.L1(strength=0.05) | dashpot.WeightDecay(strength=0.1) | dashpot.EMA(decay=0.99)).attach(
        model, optimizer
    )
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    raw = model[0].weight.detach().clone()
    assert 0.2 < (raw == 0).float().mean() < 1
    with session.evaluate():
        averaged = model[0].weight.detach().clone()
    assert torch.equal(averaged == 0, raw == 0)
    assert not torch.equal(averaged, raw)
    assert torch.equal(model[0].weight, raw)


class TestLabelSmoothing:
    def loss(
        self,
        y: Tensor,
        out: Tensor,
        weight: Tensor | None = None,
        ignore: int | None = None,
        truth: Tensor | None = None,
    ) -> Tensor:
        model = nn.Linear(1, 1)
        session = dashpot.LabelSmoothing(smoothing=0.2).attach(
            model, torch.optim.SGD(model.parameters(), lr=1.0), ignore_index=ignore
        )
        session.batch(out, y if truth is None else truth, weight)
        return session.loss(
            functional.cross_entropy(out, y, reduction="none", ignore_index=-100 if ignore is None else ignore), out
        )

    def test_hard_soft_and_dense_targets(self) -> None:
        out, y = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
        torch.testing.assert_close(self.loss(y, out), functional.cross_entropy(out, y, label_smoothing=0.2))
        soft = torch.rand(6, 4).softmax(1)
        torch.testing.assert_close(self.loss(soft, out), functional.cross_entropy(out, soft, label_smoothing=0.2))
        dense, pixels = torch.randn(2, 4, 5, 5), torch.randint(4, (2, 5, 5))
        torch.testing.assert_close(
            self.loss(pixels, dense), functional.cross_entropy(dense, pixels, label_smoothing=0.2)
        )

    def test_ignored_positions_stay_out_of_the_mean(self) -> None:
        out, y = torch.randn(6, 4), torch.tensor([0, 1, -1, 3, -1, 1])
        expected = functional.cross_entropy(out[y >= 0], y[y >= 0], label_smoothing=0.2)
        torch.testing.assert_close(self.loss(y, out, ignore=-1), expected)

    def test_class_weights_as_sample_weights(self) -> None:
        out, y, classes = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([1.0, 2.0, 3.0, 4.0])
        per_sample = functional.cross_entropy(out, y, label_smoothing=0.2, reduction="none")
        torch.testing.assert_close(
            self.loss(y, out, weight=classes[y]), (per_sample * classes[y]).sum() / classes[y].sum()
        )


class TestSAM:
    def by_hand(self, steps: int, rho: float) -> nn.Module:
        model, (x, y) = network(0.5), data()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        torch.manual_seed(5)
        for _ in range(steps):
            optimizer.zero_grad()
            state = torch.get_rng_state()
            functional.cross_entropy(model(x), y).backward()
            buffers = [b.clone() for b in model.buffers()]
            grads = [p.grad.clone() for p in model.parameters()]
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in grads]))
            start = [p.detach().clone() for p in model.parameters()]
            with torch.no_grad():
                for p, g in zip(model.parameters(), grads, strict=True):
                    p.add_((rho / (norm + 1e-12)) * g)
            optimizer.zero_grad()
            torch.set_rng_state(state)
            functional.cross_entropy(model(x), y).backward()
            with torch.no_grad():
                for p, s in zip(model.parameters(), start, strict=True):
                    p.copy_(s)
                for b, kept in zip(model.buffers(), buffers, strict=True):
                    b.copy_(kept)
            optimizer.step()
        return model

    def test_equals_a_loop_by_hand(self) -> None:
        model, (x, y) = network(0.5), data()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            return loss

        with dashpot.SAM(rho=0.1).attach(model, optimizer, closure=True):
            torch.manual_seed(5)
            losses = [optimizer.step(closure).item() for _ in range(5)]
        expected = self.by_hand(5, 0.1)
        for (name, a), b in zip(model.state_dict().items(), expected.state_dict().values(), strict=True):
            assert torch.equal(a, b), name
        assert losses[-1] < losses[0]

    def test_an_interrupted_second_pass_puts_the_weights_back(self) -> None:
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        before = model.weight.detach().clone()
        calls: list[int] = []

        def closure() -> Tensor:
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            loss = model(torch.ones(1, 2)).sum()
            loss.backward()
            return loss

        session = dashpot.SAM(rho=1.0).attach(model, optimizer, closure=True)
        with pytest.raises(KeyboardInterrupt):
            optimizer.step(closure)
        session.close()
        assert torch.equal(model.weight, before)

    def test_l2_before_sam_is_part_of_the_loss_at_both_points(self) -> None:
        def train(recipe: dashpot.Recipe, penalty: float) -> Tensor:
            torch.manual_seed(0)
            model = nn.Linear(3, 1, bias=False)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            x = torch.ones(4, 3)

            def closure() -> Tensor:
                optimizer.zero_grad()
                loss = model(x).square().mean() + penalty / 2 * model.weight.square().sum()
                loss.backward()
                return loss

            recipe.attach(model, optimizer, closure=True)
            for _ in range(3):
                optimizer.step(closure)
            return model.weight.detach()

        torch.testing.assert_close(
            train(dashpot.L2(strength=0.5) | dashpot.SAM(rho=0.2), 0.0),
            train(dashpot.Recipe((dashpot.SAM(rho=0.2),)), 0.5),
        )


def test_ema_of_bfloat16_weights_moves() -> None:
    model = nn.Linear(4, 4, bias=False).bfloat16()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    session = dashpot.EMA(decay=0.999, warmup=False).attach(model, optimizer)
    start = model.weight.detach().float().clone()
    model.weight.grad = torch.ones_like(model.weight)
    optimizer.step()  # what is changed before the first step is what the average begins with
    model.weight.data.add_(1.0)
    for _ in range(700):
        optimizer.step()
    share = (session.snapshot()["weight"].float() - start) / (model.weight.detach().float() - start)
    torch.testing.assert_close(share, torch.full_like(share, 1 - 0.999**700), rtol=0.02, atol=0.02)


def test_ema_against_a_loop_by_hand() -> None:
    model, (x, y) = network(), data()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    session = dashpot.EMA(decay=0.8, warmup=False).attach(model, optimizer)
    average = {name: t.detach().double().clone() for name, t in model.state_dict().items() if t.is_floating_point()}
    for _ in range(7):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        for name, t in model.state_dict().items():
            if name in average:
                average[name] = 0.8 * average[name] + 0.2 * t.double()
    seen = session.snapshot()
    for name, expected in average.items():
        torch.testing.assert_close(seen[name].double(), expected, rtol=1e-5, atol=1e-6)
    assert int(seen["1.num_batches_tracked"]) == 7
