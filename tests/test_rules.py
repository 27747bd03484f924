"""Every rule of combination, once: the trouble without it, and that what the rule says is so."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

import dashpot
from dashpot.core.errors import ConflictError, UsageError
from dashpot.core.fields.codec import registry
from dashpot.core.rules import OUTCOMES
from dashpot.report.combinations import page, places, rules, slots
from dashpot.techniques.dropout.places import DropoutOrderWarning
from dashpot.techniques.penalties.decay import DoubleDecayWarning


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def flat(state: Any) -> list[Tensor]:
    """All tensors of a state."""
    if isinstance(state, Tensor):
        return [state]
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return [tensor for part in parts for tensor in flat(part)]


def sgd(model: nn.Module, lr: float = 0.1, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr, **options)


def ours() -> dict[str, type[dashpot.Technique]]:
    """The techniques of the package: other tests define some of their own."""
    return {name: cls for name, cls in registry().items() if cls.__module__.startswith("dashpot.techniques.")}


def test_every_rule_is_tested_here_and_the_page_is_of_today() -> None:
    found = rules(ours())
    assert {f"test_{rule.name.replace('-', '_')}" for rule in found} <= set(globals())
    assert all(rule.outcome in OUTCOMES and rule.trouble.endswith(".") and rule.way.endswith(".") for rule in found)
    text = (Path(__file__).parents[1] / "docs" / "combinations.md").read_text(encoding="utf-8")
    assert text == page(ours()), "run: dashpot techniques --rules > docs/combinations.md"


def test_techniques_of_one_slot_are_refused_together() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    for slot, names in slots(ours()).items():
        assert len(names) > 1, slot
    with pytest.raises(ConflictError, match="averaged weights"):
        (dashpot.EMA() | dashpot.averaging.LAWA()).attach(model, sgd(model), steps=10, steps_per_epoch=5)


def test_groups_of_the_page_act_in_its_order() -> None:
    """Two techniques of different groups give the same loss in either order of the recipe."""
    groups = places(ours())["the loss"]
    at = {name: number for number, group in enumerate(groups) for name in group}
    assert at["label-smoothing"] < at["confidence-penalty"] < at["flooding"]
    x, y = rows(8, 4), torch.arange(8) % 2
    both = dashpot.LabelSmoothing(0.2), dashpot.outputs.Flooding(0.9)
    values = []
    for recipe in (both[0] | both[1], both[1] | both[0]):
        torch.manual_seed(0)
        model = nn.Linear(4, 2)
        session = recipe.attach(model, sgd(model))
        batch = session.batch(x, y)
        values.append(float(session.loss(nn.CrossEntropyLoss(), model(batch.x)).detach()))
    assert values[0] == values[1]


def test_dropout_before_batch_norm() -> None:
    """Of values with mean m and variance v, dropout of p leaves the mean and makes the variance v + p (v + m^2)/(1-p):
    the normalization has learned this one, and sees v in evaluation.
    """
    p, x = 0.5, rows(20_000, 3) + 1.0
    model = nn.Sequential(nn.Identity(), nn.BatchNorm1d(3, momentum=None))
    with pytest.warns(DropoutOrderWarning, match="before the batch normalization"):
        dashpot.Dropout(p, on="type:Identity").attach(model, sgd(model), seed=0)
    model.train()(x)
    learned, seen = model[1].running_var, x.var(dim=0)
    # The standard error of such a variance is below 3 %; six of them leave no room for chance.
    torch.testing.assert_close(learned, seen + p * (seen + 1) / (1 - p), rtol=0.18, atol=0)
    assert float((learned / seen).min()) > 2.4
    behind = nn.Sequential(nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DropoutOrderWarning)
        dashpot.Dropout(p).attach(behind, sgd(behind))


def test_second_gradient_with_grad_scaler() -> None:
    scaler = torch.amp.GradScaler("cpu")
    model = nn.Linear(4, 2)
    optimizer, x, y = sgd(model), rows(8, 4), torch.arange(8) % 2

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        return loss

    closure()
    with pytest.raises(RuntimeError, match="[Cc]losure"):  # torch's own word
        scaler.step(optimizer, closure=closure)
    dashpot.SAM(0.05).attach(model, optimizer, closure=True)
    with pytest.raises(UsageError, match="GradScaler cannot take one"):
        scaler.step(optimizer)
    other = nn.Linear(4, 2)
    with pytest.raises(ConflictError, match="closure=True"):
        dashpot.SAM(0.05).attach(other, sgd(other))


def test_clipping_with_second_gradient() -> None:
    """A loss of c w^2 / 2 has the gradient c w at w and c (w + rho) at the worst point nearby."""
    c, rho, bound = 100.0, 0.5, 1.0
    taken = {}
    for name, recipe in {
        "clipping first": dashpot.GradientClipping(bound) | dashpot.SAM(rho),
        "clipping last": dashpot.SAM(rho) | dashpot.GradientClipping(bound),
    }.items():
        model = nn.Linear(1, 1, bias=False)
        nn.init.constant_(model.weight, 2.0)
        optimizer, seen = sgd(model, lr=1.0), []

        def closure(model: nn.Module = model, optimizer: Any = optimizer, seen: list[float] = seen) -> Tensor:
            optimizer.zero_grad()
            seen.append(model.weight.item())  # where the gradient is taken
            loss = c / 2 * model.weight.square().sum()
            loss.backward()
            return loss

        recipe.attach(model, optimizer, closure=True)
        optimizer.step(closure)
        taken[name] = (seen, 2.0 - model.weight.item())
    for seen, moved in taken.values():
        assert seen == pytest.approx([2.0, 2.0 + rho])
        assert moved == pytest.approx(bound, rel=1e-5)
    # With two weights the way up differs: by value, clipping turns the gradient's direction.
    ways = {}
    for name in ("first", "last"):
        model = nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            model.weight.copy_(torch.tensor([[3.0, 0.1]]))
        optimizer, places_ = sgd(model), []

        def climb(model: nn.Module = model, optimizer: Any = optimizer, at: list[Tensor] = places_) -> Tensor:
            optimizer.zero_grad()
            at.append(model.weight.detach().clone())
            loss = model.weight.square().sum() / 2
            loss.backward()
            return loss

        clip = dashpot.GradientClipping(0.1, by="value")
        recipe = clip | dashpot.SAM(1.0) if name == "first" else dashpot.SAM(1.0) | clip
        recipe.attach(model, optimizer, closure=True)
        optimizer.step(climb)
        ways[name] = places_[1] - places_[0]
    torch.testing.assert_close(ways["first"], torch.tensor([[0.5**0.5, 0.5**0.5]]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ways["last"], torch.tensor([[3.0, 0.1]]) / (9.01**0.5), rtol=1e-4, atol=1e-5)


def test_average_with_exact_zeros() -> None:
    """A weight that was 1 and is 0 now: its plain average is neither, what is evaluated is 0."""
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = sgd(model, lr=1.0)
    session = (dashpot.L1(0.6) | dashpot.EMA(0.5, warmup=False)).attach(model, optimizer)
    for _ in range(2):
        optimizer.zero_grad()
        (model(torch.zeros(1, 2)).sum() - 0.1 * model.weight[0, 1]).backward()
        optimizer.step()
    assert model.weight[0, 0].item() == 0.0
    # The average: from 1, half of the way to 0.4, then half of the way to 0.
    kept = [t for t in flat(session.state_dict()) if t.shape == (1, 2) and 0.3 < t[0, 0] < 0.4]
    assert kept
    with session.evaluate():
        assert model.weight[0, 0].item() == 0.0


def test_average_with_batch_norm() -> None:
    """Of two models with weights +1 and -1 the mean returns zeros, whose variance is 0; the mean of their statistics
    says 1.
    """
    models = [nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, momentum=None)) for _ in range(2)]
    x = rows(512, 1)
    for sign, model in zip((1.0, -1.0), models, strict=True):
        nn.init.constant_(model[0].weight, sign)
        model.train()(x)
    mean = dashpot.soup(models)
    assert float(mean[1].running_var) == pytest.approx(1.0, rel=0.2)
    dashpot.recalibrate(mean, (x, x))
    assert float(mean[1].running_var) < 1e-6


def test_average_with_best_weights() -> None:
    model = nn.Linear(3, 1, bias=False)
    optimizer = sgd(model)
    session = (dashpot.EMA(0.9, warmup=False) | dashpot.EarlyStopping(patience=5)).attach(model, optimizer)
    seen: list[tuple[Tensor, Tensor]] = []
    for score in (3.0, 1.0, 2.0):
        optimizer.zero_grad()
        (model(rows(8, 3)) - 1).square().mean().backward()
        optimizer.step()
        raw = model.weight.detach().clone()
        with session.evaluate():
            seen.append((raw, model.weight.detach().clone()))
        session.epoch({"val_loss": score})
    session.finish()
    raw, average = seen[1]
    assert not torch.allclose(raw, average)
    assert torch.equal(model.weight, average)


@pytest.mark.parametrize("technique", [dashpot.L2(0.5), dashpot.WeightDecay(0.5)], ids=["l2", "weight-decay"])
def test_decay_twice(technique: Any) -> None:
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = sgd(model, weight_decay=0.5)
    with pytest.warns(DoubleDecayWarning, match="decay is set twice"):
        technique.attach(model, optimizer)
    (0 * model(torch.ones(1, 2))).sum().backward()
    optimizer.step()
    assert float(model.weight.detach().mean()) == pytest.approx(1 - 2 * 0.1 * 0.5, abs=0.003)  # and not 1 - 0.1 * 0.5


def test_penalty_of_computed_weights() -> None:
    """To shrink the direction of a weight norm changes nothing."""
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 2, bias=False)), nn.Linear(2, 1))
    before = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].parametrizations.weight.original1.mul_(0.5)
    torch.testing.assert_close(model[0].weight, before)
    for technique in (dashpot.WeightDecay(0.1), dashpot.L2(0.1), dashpot.L1(0.1)):
        with pytest.raises(ConflictError, match="computes from"):
            technique.attach(model, sgd(model))


def test_l2_with_adam() -> None:
    """Two equal weights, one with gradients of 100, one of 0.01: decay shrinks both alike, L2 only the one with small
    gradients.
    """
    shrunk = {}
    for name, technique in {"l2": dashpot.L2(0.1), "decay": dashpot.WeightDecay(0.1)}.items():
        ends = []
        for recipe in (dashpot.WeightDecay(0.0), technique):
            model = nn.Linear(2, 1, bias=False)
            nn.init.ones_(model.weight)
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
            recipe.attach(model, optimizer)
            for step in range(50):
                sign = 1.0 if step % 2 else -1.0  # gradients that cancel, so that only decay moves the weights
                optimizer.zero_grad()
                (model(torch.tensor([[100.0, 0.01]])) * sign).sum().backward()
                optimizer.step()
            ends.append(model.weight.detach().clone())
        shrunk[name] = (ends[0] - ends[1])[0]
    assert float(shrunk["decay"][0]) == pytest.approx(float(shrunk["decay"][1]), rel=0.05)
    assert float(shrunk["l2"][1]) > 50 * float(shrunk["l2"][0].abs())


def test_mixing_with_losses_of_one_class() -> None:
    """The loss of a blend is the blend of the losses, for torch's losses that take the number of one class."""
    x, y = rows(12, 4), torch.arange(12) % 3
    for criterion, single in (
        (nn.NLLLoss(), lambda out, t: -out[range(len(out)), t]),
        (nn.MultiMarginLoss(), lambda out, t: functional.multi_margin_loss(out, t, reduction="none")),
    ):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(1))
        session = dashpot.Mixup(1.0).attach(model, sgd(model), classes=3)
        batch = session.batch(x, y)
        out = model(batch.x)
        with pytest.raises(RuntimeError):  # torch's own word
            criterion(out, batch.y)
        each = torch.stack([single(out, torch.full_like(y, k)) for k in range(3)], dim=1)
        expected = (batch.y * each).sum(1).mean()
        torch.testing.assert_close(session.loss(criterion, out), expected)


def test_smoothing_with_distillation() -> None:
    """Labels are smoothed, and the teacher's share is not, in either order of the recipe."""
    torch.manual_seed(0)
    teacher, x, y = nn.Linear(4, 3).eval(), rows(16, 4), torch.arange(16) % 3
    smoothing, weight = 0.3, 0.5
    own = dashpot.LabelSmoothing(smoothing), dashpot.outputs.Distillation(teacher, weight=weight, temperature=1.0)
    found = []
    for recipe in (own[0] | own[1], own[1] | own[0]):
        torch.manual_seed(1)
        model = nn.Linear(4, 3)
        session = recipe.attach(model, sgd(model), classes=3)
        batch = session.batch(x, y)
        out = model(batch.x)
        found.append(float(session.loss(nn.CrossEntropyLoss(), out).detach()))
    smoothed = functional.cross_entropy(out, y, label_smoothing=smoothing)
    told = teacher(x).softmax(1)

    def apart(p: Tensor) -> Tensor:
        return (p * (p.log() - out.log_softmax(1))).sum(1).mean()

    right = float(((1 - weight) * smoothed + weight * apart(told)).detach())
    flat = float(((1 - weight) * smoothed + weight * apart((1 - smoothing) * told + smoothing / 3)).detach())
    assert found == pytest.approx([right, right], rel=1e-5)
    assert abs(flat - right) > 1e-3


def test_flooding_with_other_terms() -> None:
    """|loss - level| + level of the whole loss, a confidence penalty included, in either order of the recipe."""
    x, y, level = rows(16, 4), torch.arange(16) % 2, 2.0
    own = dashpot.outputs.ConfidencePenalty(0.5), dashpot.outputs.Flooding(level)
    found = []
    for recipe in (own[0] | own[1], own[1] | own[0]):
        torch.manual_seed(0)
        model = nn.Linear(4, 2)
        session = recipe.attach(model, sgd(model), classes=2)
        batch = session.batch(x, y)
        out = model(batch.x)
        found.append(float(session.loss(nn.CrossEntropyLoss(), out).detach()))
    p = out.softmax(1)
    plain, penalty = functional.cross_entropy(out, y), 0.5 * (p * p.log()).sum(1).mean()
    right = float(((plain + penalty - level).abs() + level).detach())
    other = float(((plain - level).abs() + level + penalty).detach())
    assert found == pytest.approx([right, right], rel=1e-5)
    assert abs(other - right) > 1e-2


def test_a_card_has_its_rules() -> None:
    from dashpot.report.cards import card

    text = re.sub(r"\s+", " ", card(registry()["ema"]))
    assert "In combination: With L1" in text
    assert "Handled: The average is zero wherever the weight itself is." in text


def test_channels_of_a_traced_network() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.two(self.one(-x if float(x.sum()) > 0 else x).relu())
            return out

    for technique in (dashpot.Compress(by="5steps"), dashpot.penalties.ChannelLasso()):
        model = Branching()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        session = technique.attach(model, sgd(model))
        with pytest.raises(
            ConflictError, match=rf"{type(technique).__name__} needs a network that can be shrunk.*trace"
        ):
            model(rows(3, 4))
        assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
        session.close()


def test_channels_and_other_penalties() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(ConflictError, match="both want the proximal step"):
        (dashpot.Compress(by="5steps") | dashpot.L1(strength=0.1)).attach(model, sgd(model))
    own = dashpot.optim.SGD(model, lr=0.1, penalty=dashpot.L1(strength=0.1))
    with pytest.raises(ConflictError, match=r"ChannelLasso and the optimizer's penalty L1\(.*both act on"):
        dashpot.penalties.ChannelLasso().attach(model, own)


def test_best_weights_of_the_size() -> None:
    """Without the rule the first epoch, in which nothing is empty yet, would be the best."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = sgd(model)
    recipe = dashpot.Compress(to="0.5x parameters", by="3steps") | dashpot.EarlyStopping()
    with recipe.attach(model, optimizer) as session:
        for step in range(4):
            session.epoch({"val_loss": float(step)})
            optimizer.zero_grad()
            model(rows(6, 4)).square().mean().backward()
            optimizer.step()
        session.epoch({"val_loss": 4.0})
    assert int((model[0].weight == 0).all(1).sum()) >= 8


def test_snapshots_of_one_size() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(ConflictError, match="both want the snapshots"):
        (dashpot.Compress(by="5steps") | dashpot.averaging.Snapshots()).attach(
            model, sgd(model), steps=9, steps_per_epoch=3
        )
