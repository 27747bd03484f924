"""``ctx.forward``: the model once more, held against loops written by hand."""

from __future__ import annotations

import copy
from typing import Annotated, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.core.fields.domains import Range
from dashpot.core.technique import Technique

X = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3


def network(dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))


def divergence(a: Tensor, b: Tensor) -> Tensor:
    p, q = a.log_softmax(1), b.log_softmax(1)
    return ((p.exp() - q.exp()) * (p - q)).sum(1) / 2


class RDrop(Technique):
    """Two passes with masks of their own agree."""

    summary = ""
    forwards = 1

    strength: Annotated[float, Range(0.0, 100.0, off=0.0)] = 1.0

    def on_loss(self, loss: Tensor, out: Any, ctx: Any) -> Tensor:
        return loss + self.strength * divergence(out, ctx.forward(ctx.batch))


class Teacher(Technique):
    """The outputs of an average of the weights are imitated."""

    summary = ""
    forwards = 1

    def init(self, view: Any, ctx: Any) -> dict[str, Any]:
        return {"teacher": {name: p.detach().clone() for name, p in view.parameters.items()}}

    def on_loss(self, loss: Tensor, out: Any, ctx: Any) -> Tensor:
        with torch.no_grad():
            taught = ctx.forward(ctx.batch, weights=ctx.state["teacher"])
        return loss - (taught.softmax(1) * out.log_softmax(1)).sum(1)

    def on_step(self, params: Any, ctx: Any) -> None:
        for name, p in ctx.view.parameters.items():
            ctx.state["teacher"][name].lerp_(p, 0.5)


class Same(Technique):
    """Looks at a pass with the masks of the first."""

    summary = ""
    forwards = 1

    def on_loss(self, loss: Tensor, out: Any, ctx: Any) -> Tensor:
        again, other = ctx.forward(ctx.batch, same=True), ctx.forward(ctx.batch)
        seen.append((out.detach(), again.detach(), other.detach()))
        return loss


seen: list[tuple[Tensor, Tensor, Tensor]] = []


def train(recipe: Any, model: nn.Module, steps: int = 4, run: Any = None, **options: Any) -> dashpot.Session:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    session: dashpot.Session = recipe.attach(run or model, optimizer, **options)
    for _ in range(steps):
        optimizer.zero_grad()
        x, _ = session.batch(X, Y)
        out = (run or model)(x)
        session.loss(nn.CrossEntropyLoss(), out).backward()
        optimizer.step()
    return session


def test_distillation_is_the_loop_by_hand() -> None:
    model, twin = network(), network()
    train(Teacher(), model)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.2)
    teacher = copy.deepcopy(twin)
    for _ in range(4):
        optimizer.zero_grad()
        out = twin(X)
        with torch.no_grad():  # the teacher normalizes by the batch; its statistics are nobody's
            taught = teacher.train()(X)
        each = functional.cross_entropy(out, Y, reduction="none")
        (each - (taught.softmax(1) * out.log_softmax(1)).sum(1)).mean().backward()
        optimizer.step()
        with torch.no_grad():
            for a, p in zip(teacher.parameters(), twin.parameters(), strict=True):
                a.lerp_(p, 0.5)
    for ours, theirs in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)  # running statistics included


def test_r_drop_without_dropout_is_the_plain_loop_and_statistics_move_once() -> None:
    model, twin = network(), network()
    train(RDrop(), model)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.2)
    for _ in range(4):
        optimizer.zero_grad()
        functional.cross_entropy(twin(X), Y).backward()
        optimizer.step()
    for ours, theirs in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert model[1].num_batches_tracked == 4


@pytest.mark.parametrize("ours", [False, True], ids=["nn.Dropout", "dashpot.Dropout"])
def test_masks_are_its_own_or_the_same(ours: bool) -> None:
    seen.clear()
    train((dashpot.Dropout(p=0.5) if ours else dashpot.L2(strength=0.0)) | Same(), network(0.0 if ours else 0.5))
    assert len(seen) == 4
    for out, again, other in seen:
        assert torch.equal(out, again)
        assert not torch.equal(out, other)
    assert len({float(other.sum()) for _, _, other in seen}) == 4


@pytest.mark.parametrize("technique", [dashpot.Dropout(p=0.5), dashpot.InputNoise(std=0.5)], ids=lambda t: t.name)
def test_no_other_draws_change(technique: Technique) -> None:
    """At strength 0 the second pass runs, and the weights are those without it."""
    results = []
    for recipe in (technique | RDrop(strength=0.0), technique | dashpot.L2(strength=0.0)):
        model = network(0.3 if technique.name != "dropout" else 0.0)
        torch.manual_seed(5)
        train(recipe, model)
        results.append(model.state_dict())
    for a, b in zip(*(r.values() for r in results), strict=True):
        assert torch.equal(a, b)


def test_the_second_gradient_sees_the_second_pass_again() -> None:
    """SAM of radius 0 is one gradient: both of its passes have the same masks in both of their passes."""
    results = []
    for recipe in (RDrop() | dashpot.SAM(rho=0.0), RDrop() | dashpot.L2(strength=0.0)):
        model = network(0.5)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
        session = recipe.attach(model, optimizer, closure=True)
        torch.manual_seed(3)
        for _ in range(3):

            def closure() -> Tensor:
                optimizer.zero_grad()  # noqa: B023
                x, _ = session.batch(X, Y)  # noqa: B023
                loss = session.loss(nn.CrossEntropyLoss(), model(x))  # noqa: B023
                loss.backward()
                return loss

            optimizer.step(closure)  # type: ignore[arg-type]  # torch types closures as returning float
        results.append(model.state_dict())
    for a, b in zip(*(r.values() for r in results), strict=True):
        assert torch.equal(a, b)


def test_autocast_is_that_of_the_first_pass() -> None:
    kinds = []

    class Kind(Technique):
        summary = ""
        forwards = 1

        def on_loss(self, loss: Tensor, out: Any, ctx: Any) -> Tensor:
            again = ctx.forward(ctx.batch, same=True)
            kinds.append((out.dtype, again.dtype, torch.equal(out, again)))
            return loss

    model = network(0.5)
    session = Kind().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    for enabled in (True, False):
        x, _ = session.batch(X, Y)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = model(x)
        session.loss(nn.CrossEntropyLoss(), out)
    assert kinds == [(torch.bfloat16, torch.bfloat16, True), (torch.float32, torch.float32, True)]


@pytest.mark.slow
def test_compiled_models_run_again_compiled() -> None:
    results = []
    for compiled in (False, True):
        model = network()
        run = torch.compile(model, fullgraph=True) if compiled else None
        train(RDrop() | Teacher(), model, run=run)
        results.append(model.state_dict())
    for a, b in zip(*(r.values() for r in results), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_dicts_are_passed_by_name() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, right: Tensor, left: Tensor) -> Tensor:
            out: Tensor = self.a(left) - self.b(right)
            return out

    seen.clear()
    model = Two()
    session = Same().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    x, _ = session.batch({"left": X, "right": X.flip(0)}, Y)
    session.loss(nn.CrossEntropyLoss(), model(**x))
    ((out, again, other),) = seen
    assert torch.equal(out, again)
    assert torch.equal(out, other)


def test_the_plan_counts_it_and_who_does_not_say_so_is_refused() -> None:
    model = network()
    session = RDrop().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert "forward       r-drop             runs the model once more on each batch" in session.plan()

    class Silent(RDrop):
        forwards = 0

    other = network()
    session = Silent().attach(other, torch.optim.SGD(other.parameters(), lr=0.1))
    session.batch(X, Y)
    with pytest.raises(dashpot.UsageError, match="silent asks for another forward pass.*forwards = 1"):
        session.loss(nn.CrossEntropyLoss(), other(X))


def test_the_same_masks_need_a_first_pass() -> None:
    model = network()
    session = Same().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    session.batch(X, Y)
    with pytest.raises(dashpot.UsageError, match="needs the randomness of the first pass"):
        session.loss(torch.ones(12), torch.ones(12, 3))


def test_no_hook_stays_in_copies_exports_or_after_the_end() -> None:
    model = network()
    session = train(RDrop(), model, steps=1)
    assert model._forward_pre_hooks
    assert not session.export()._forward_pre_hooks
    copied = copy.deepcopy(model).train()
    copied(X)
    assert not copied._forward_pre_hooks
    session.close()
    assert not model._forward_pre_hooks
