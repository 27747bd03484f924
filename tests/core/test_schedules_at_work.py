"""Schedules at work in a loop: each step sees its own numbers, in eager and compiled code, and after a resume."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot import schedules
from dashpot.core.fields.domains import Range
from dashpot.core.fields.schedule import Schedule
from dashpot.core.running.context import Context
from dashpot.core.running.scheduling import LateScheduleWarning
from dashpot.testing.toys import Toy, train

STEPS = 10


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def rows() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(24, 6, generator=generator), torch.arange(24) % 3


def trained(
    recipe: dashpot.Technique | dashpot.Recipe, *, steps: int = STEPS, closure: bool = False, seen: Any = None
) -> nn.Module:
    """A network trained by hand, with a recipe attached."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = rows()
    options = {"classes": 3, "targets": "classes", "closure": closure, "steps": STEPS, "steps_per_epoch": 5}
    with recipe.attach(model, optimizer, **options) as session:

        def evaluate() -> Tensor:
            optimizer.zero_grad()
            batch = session.batch(x, y)
            out = model(batch.x)
            loss = session.loss(functional.cross_entropy(out, batch.y, reduction="none"), out)
            loss.backward()
            if seen is not None:
                seen(session, batch, loss)
            return loss.detach()

        for _ in range(steps):
            if closure:
                optimizer.step(evaluate)
            else:
                evaluate()
                optimizer.step()
    return model


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_every_method_of_a_technique_sees_the_number_of_its_step() -> None:
    seen: list[tuple[str, int, float]] = []

    class SeesItsStep(dashpot.Technique):
        x: Annotated[float, Range(0.0, 1.0, off=0.0)] = 0.0

        def on_batch(self, batch: dashpot.Batch, ctx: Context) -> dashpot.Batch:
            seen.append(("batch", ctx.step, self.x))
            assert ctx.technique is self
            return batch

        def on_loss(self, loss: Tensor, out: Any, ctx: Context) -> Tensor:
            seen.append(("loss", ctx.step, self.x))
            return loss

        def on_gradient(self, params: Any, ctx: Context) -> None:
            seen.append(("gradient", ctx.step, self.x))

        def on_update(self, params: Any, ctx: Context) -> None:
            seen.append(("update", ctx.step, self.x))

        def on_step(self, params: Any, ctx: Context) -> None:
            seen.append(("step", ctx.step, self.x))

        def on_epoch(self, scores: Any, ctx: Context) -> dashpot.Verdict:
            seen.append(("epoch", ctx.step, self.x))
            return dashpot.Verdict()

        def weights(self, ctx: Context) -> None:
            seen.append(("weights", ctx.step, self.x))

        def final(self, ctx: Context) -> None:
            seen.append(("final", ctx.step, self.x))

    trained(SeesItsStep(x="1to0"))
    assert {name for name, _, _ in seen} == {"batch", "loss", "gradient", "update", "step", "weights", "final"}
    for name, step, x in seen:
        assert x == pytest.approx(1 - step / STEPS, abs=1e-15), name
    assert [step for name, step, _ in seen if name == "step"] == list(range(STEPS))


@pytest.mark.parametrize("backend", [None, "eager", "aot_eager"])
def test_dropout_drops_at_the_rate_of_each_step(backend: str | None) -> None:
    model = nn.Sequential(nn.Linear(1, 50_000, bias=False), nn.ReLU())
    nn.init.ones_(model[0].weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    session = dashpot.Dropout(p="0.8to0@until=4steps", on="activations").attach(model, optimizer)
    forward: Any = model if backend is None else torch.compile(model, backend=backend)
    dropped = []
    for _ in range(6):
        out = forward(torch.ones(1, 1))
        dropped.append(float((out == 0).float().mean()))
        out.sum().backward()
        optimizer.step()
    assert dropped == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0, 0.0], abs=0.01)
    assert dropped[4:] == [0.0, 0.0]
    session.close()
    assert torch.equal(forward(torch.ones(1, 1)), torch.ones(1, 50_000))


def test_sam_in_the_last_part_of_a_run_is_plain_before_and_sam_after() -> None:
    counted: list[int] = []
    sam = dashpot.SAM(rho=schedules.window(0.05, start="70%"))
    model = trained(sam, closure=True, seen=lambda session, batch, loss: counted.append(session.step))
    assert [counted.count(step) for step in range(STEPS)] == [1] * 7 + [2] * 3

    by_hand = network()
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1, momentum=0.9)
    x, y = rows()

    def gradients() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(by_hand(x), y, reduction="none").mean().backward()

    for step in range(STEPS):
        gradients()
        if step >= 7:
            start = [p.detach().clone() for p in by_hand.parameters()]
            grads = [p.grad.clone() for p in by_hand.parameters()]
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in grads]))
            with torch.no_grad():
                for p, g in zip(by_hand.parameters(), grads, strict=True):
                    p.add_(0.05 / (norm + 1e-12) * g)
            gradients()
            with torch.no_grad():
                for p, w in zip(by_hand.parameters(), start, strict=True):
                    p.copy_(w)
        optimizer.step()
    assert same(model, by_hand)
    assert not same(model, trained(dashpot.SAM(rho=0.05), closure=True))
    assert same(trained(sam, steps=7, closure=True), trained(dashpot.Recipe(), steps=7))


def test_weight_decay_follows_its_schedule_by_hand() -> None:
    model = trained(dashpot.WeightDecay(strength="0.5to0.1@cosine@from=1epochs"))
    by_hand = network()
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1, momentum=0.9)
    x, y = rows()
    schedule = Schedule.parse("0.5to0.1@cosine@from=5steps@until=10steps")
    for step in range(STEPS):
        optimizer.zero_grad()
        functional.cross_entropy(by_hand(x), y).backward()
        strength = schedule.value(step)
        with torch.no_grad():
            for layer in (by_hand[0], by_hand[2]):
                layer.weight.mul_(1 - 0.1 * strength)
        optimizer.step()
    assert same(model, by_hand)


@pytest.mark.parametrize(
    ("scheduled", "constant"),
    [
        (dashpot.Mixup(alpha="0.4@from=50%"), dashpot.Mixup(alpha=0.4)),
        (dashpot.InputNoise(std="0.4@from=50%"), dashpot.InputNoise(std=0.4)),
        (dashpot.LabelSmoothing(smoothing="0.4@from=50%"), dashpot.LabelSmoothing(smoothing=0.4)),
        (dashpot.Dropout(p="0.4@from=50%"), dashpot.Dropout(p=0.4)),
        (dashpot.GradientClipping(maximum="0.05@from=50%"), dashpot.GradientClipping(maximum=0.05)),
        (dashpot.L2(strength="0.4@from=50%"), dashpot.L2(strength=0.4)),
        (dashpot.WeightDecay(strength="0.4@from=50%"), dashpot.WeightDecay(strength=0.4)),
        (dashpot.Orthogonality(strength="0.4@from=50%"), dashpot.Orthogonality(strength=0.4)),
        (dashpot.L1(strength="0.01@from=50%"), dashpot.L1(strength=0.01)),
        (dashpot.GroupLasso(strength="0.01@from=50%"), dashpot.GroupLasso(strength=0.01)),
        (dashpot.HardThreshold(keep="0.5@from=50%"), dashpot.HardThreshold(keep=0.5)),
        (dashpot.MaxNorm(maximum="0.2@from=50%"), dashpot.MaxNorm(maximum=0.2)),
        (dashpot.SAM(rho="0.1@from=50%"), dashpot.SAM(rho=0.1)),
    ],
    ids=lambda t: t.name,
)
def test_a_window_is_absent_before_and_the_technique_after(
    scheduled: dashpot.Technique, constant: dashpot.Technique
) -> None:
    closure = scheduled.evaluations > 1
    assert same(trained(scheduled, steps=5, closure=closure), trained(dashpot.Recipe(), steps=5, closure=closure))
    full = trained(scheduled, closure=closure)
    assert not same(full, trained(dashpot.Recipe(), closure=closure))
    assert not same(full, trained(constant, closure=closure))
    # A schedule that never changes is the constant, bit for bit.
    (field,) = scheduled.schedules()
    value = getattr(constant, field)
    still = type(scheduled)(**{field: Schedule(value, value, until=schedules.Moment(100.0, "%"))})
    assert same(trained(still, closure=closure), trained(constant, closure=closure))


def test_an_average_follows_its_schedule() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recipe = dashpot.EMA(decay="0.9to0.5@until=4steps", warmup=False)
    x, y = rows()
    with recipe.attach(model, optimizer) as session:
        average = model[0].weight.detach().clone()
        for step in range(6):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            decay = 0.9 - 0.4 * min(step / 4, 1)
            average = decay * average + (1 - decay) * model[0].weight.detach()
        with session.evaluate():
            torch.testing.assert_close(model[0].weight.detach(), average, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "technique",
    [
        dashpot.Dropout(p="0.5to0"),
        dashpot.Mixup(alpha="0.1to1@cosine"),
        dashpot.L1(strength="0to0.05@until=60%"),
        dashpot.EMA(decay="0.5to0.9"),
        dashpot.SAM(rho="0.1@from=50%"),
        dashpot.GradientClipping(maximum="1to0.01"),
    ],
    ids=lambda t: t.name,
)
@pytest.mark.parametrize("interrupt", [1, 3, 4])
def test_a_run_that_stops_in_the_middle_of_a_schedule_goes_on_bit_for_bit(
    technique: dashpot.Technique, interrupt: int
) -> None:
    whole, session = train(Toy(), technique, micro=2)
    parts, resumed = train(Toy(), technique, micro=2, interrupt=interrupt)
    for name, tensor in whole.items():
        assert torch.equal(tensor, parts[name]), name
    for name, tensor in session.snapshot().items():
        assert torch.equal(tensor, resumed.snapshot()[name]), name


def test_a_schedule_resumed_over_another_length_is_refused() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with dashpot.Dropout(p="0.5to0").attach(model, optimizer, steps=10) as session:
        state = session.state_dict()
    with (
        dashpot.Dropout(p="0.5to0").attach(model, optimizer, steps=12) as other,
        pytest.raises(dashpot.ConfigError, match=r"steps must be what the saved state's schedules .*\(10\), got 12"),
    ):
        other.load_state_dict(state)


def test_a_share_of_a_run_of_unknown_length_is_refused_at_attach() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(dashpot.ConflictError, match=r"Dropout\(p=0.5to0\): .* Attach with steps="):
        dashpot.Dropout(p="0.5to0").attach(model, optimizer)
    with pytest.raises(dashpot.ConflictError, match="Attach with steps_per_epoch="):
        dashpot.Dropout(p="0.5to0@until=3epochs").attach(model, optimizer, steps=100)
    assert not model[1]._forward_hooks
    with pytest.raises(dashpot.ConfigError, match="steps must be a whole number >= 1"):
        dashpot.Dropout(p="0.5to0").attach(model, optimizer, steps=0)


@pytest.mark.parametrize(
    ("recipe", "what"),
    [
        (
            "sam:rho=0.05@from=100%",
            "SAM.rho=0.05@from=100% begins after step 10, but the run ends after step 10",
        ),
        ("sam:rho=0.05@from=30steps", "after step 30, but the run ends after step 10: it never acts"),
        ("dropout:p=0.3to0@from=9.5steps", "Dropout.p=0.3to0@from=9.5steps begins after step 10, .* it stays at 0.3"),
    ],
)
def test_a_schedule_that_begins_after_the_run_is_told_at_attach(recipe: str, what: str) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.warns(LateScheduleWarning, match=what):
        dashpot.Recipe.coerce(recipe).attach(model, optimizer, closure=True, steps=STEPS).close()


def test_a_schedule_of_the_last_step_alone_acts_and_is_not_told() -> None:
    drawn = trained(dashpot.SAM(rho="0.5@from=90%"), closure=True)  # a warning would be an error
    plain = trained(dashpot.Recipe(()))
    assert not torch.equal(drawn[0].weight, plain[0].weight)


def test_the_plan_shows_where_a_schedule_goes() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recipe = dashpot.Dropout(p="0.5to0@until=50%") | dashpot.SAM(rho="0.05@from=3epochs")
    plan = recipe.attach(model, optimizer, steps=40, steps_per_epoch=10, closure=True).plan()
    assert "dropout            p from 0.5 to 0, linear, over steps 0 to 20 of 40" in plan
    assert "sam                rho 0.05 from step 30 on, else 0" in plan


def test_fit_knows_the_length_of_its_run() -> None:
    x, y = rows()
    rates: list[float] = []

    class RateSeen(dashpot.Technique):
        p: Annotated[float, Range(0.0, 1.0, off=0.0)] = 0.0

        def on_step(self, params: Any, ctx: Context) -> None:
            rates.append(self.p)

    dashpot.fit(network(), (x, y), recipe=RateSeen(p="1to0@from=1epoch"), epochs=3, batch_size=8, progress=False)
    assert rates == pytest.approx([1, 1, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
