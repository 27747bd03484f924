"""Attaching to wrapped optimizers, and to what carries a session already; closures that do not do their part."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import dashpot

X = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
Y = X @ torch.arange(4.0)[:, None] + 1


def line() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 1)


class Wrapped:
    """As Accelerate's: no optimizer itself, it steps the one it keeps."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    @property
    def param_groups(self) -> Any:
        return self.optimizer.param_groups

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def step(self, closure: Any = None) -> None:
        self.optimizer.step(closure)


class Lookalike(torch.optim.SGD):
    """As Lightning's: of the optimizer's class, with the optimizer's own attributes, and stepping the one it keeps."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.__dict__ = {k: v for k, v in vars(optimizer).items() if k not in ("step", "__del__")}
        self.optimizer = optimizer

    def step(self, closure: Any = None) -> None:
        self.optimizer.step(closure)


RECIPE = dashpot.L1(strength=0.05) | dashpot.WeightDecay(strength=0.1) | dashpot.EMA(decay=0.5)


def train(optimizer: Any, model: nn.Module) -> None:
    for _ in range(4):
        optimizer.zero_grad()
        mse_loss(model(X), Y).backward()
        optimizer.step()


@pytest.mark.parametrize("wrap", [Wrapped, Lookalike, lambda o: Wrapped(Wrapped(o))], ids=["one", "lookalike", "two"])
def test_a_wrapped_optimizer_is_the_one_inside(wrap: Any) -> None:
    results = []
    for wrapper in (lambda o: o, wrap):
        model = line()
        inner = torch.optim.SGD(model.parameters(), lr=0.1)
        optimizer = wrapper(inner)
        session = RECIPE.attach(model, optimizer)
        train(optimizer, model)
        assert session.step == 4
        assert session.optimizer is inner
        results.append(session.snapshot())
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


@pytest.mark.parametrize(
    "optimizer", ["adam", None, Wrapped("sgd"), nn.Linear(1, 1)], ids=["text", "nothing", "wrapper", "module"]
)
def test_what_holds_no_optimizer_is_refused(optimizer: Any) -> None:
    with pytest.raises(dashpot.ConfigError, match=r"optimizer must be a torch.optim.Optimizer, or a wrapper"):
        RECIPE.attach(line(), optimizer)


def test_a_second_session_is_refused_by_name_until_the_first_is_closed() -> None:
    model, other = nn.Sequential(line(), nn.Dropout(0.3)), line()
    optimizer, another = (torch.optim.SGD(m.parameters(), lr=0.1) for m in (model, other))
    first = dashpot.Dropout(p=0.5).attach(model, optimizer)
    with pytest.raises(
        dashpot.ConflictError, match=r"this model \(Sequential\) already carries an open .*Dropout.*close"
    ):
        dashpot.L1().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(dashpot.ConflictError, match=r"this optimizer \(SGD\) already carries an open session"):
        dashpot.L1().attach(other, Wrapped(optimizer))  # type: ignore[arg-type]  # that is what is asked for
    with pytest.raises(dashpot.ConflictError, match="already carries"):
        dashpot.fit(model, (X, Y), progress=False)
    dashpot.L1().attach(other, another)
    first.close()
    with dashpot.Dropout(p=0.5).attach(model, optimizer):
        pass
    second = dashpot.Dropout(p=0.5).attach(model, optimizer)
    first.close()  # once more: it is not the second
    with pytest.raises(dashpot.ConflictError, match="already carries"):
        dashpot.L1().attach(model, optimizer)
    second.close()
    assert model[1].p == 0.3


def test_a_session_without_references_still_acts_and_counts() -> None:
    model = line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    dashpot.WeightDecay(strength=1.0).attach(model, optimizer)
    gc.collect()
    with pytest.raises(dashpot.ConflictError, match="already carries"):
        dashpot.WeightDecay(strength=1.0).attach(model, optimizer)


def test_a_refused_attach_and_an_empty_recipe_leave_no_mark() -> None:
    model = line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(dashpot.ConflictError):
        (dashpot.EMA() | dashpot.EMA()).attach(model, optimizer)
    dashpot.Recipe().attach(model, optimizer)
    dashpot.L1().attach(model, optimizer)


def test_models_and_optimizers_are_let_go() -> None:
    import weakref

    model = line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    held = weakref.ref(model), weakref.ref(optimizer)
    (dashpot.L1() | dashpot.EMA()).attach(model, optimizer)
    del model, optimizer
    gc.collect()
    assert [ref() for ref in held] == [None, None]


# --- closures --------------------------------------------------------------------------------------------------------


def test_a_second_gradient_from_a_closure_that_does_nothing_is_refused() -> None:
    """As in Lightning's manual optimization: the gradients were made before, and the closure returns None."""
    model = line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    dashpot.SAM().attach(model, optimizer, closure=True)
    mse_loss(model(X), Y).backward()
    with pytest.raises(dashpot.UsageError, match="SAM evaluates .* ran no backward pass"):
        optimizer.step(lambda: None)  # type: ignore[arg-type,return-value]  # a closure without a loss


def test_a_second_gradient_of_the_last_micro_batch_alone_is_refused() -> None:
    model = line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    dashpot.SAM().attach(model, optimizer, closure=True)

    def last() -> Tensor:
        loss = mse_loss(model(X[16:]), Y[16:]) / 2
        loss.backward()
        return loss

    (mse_loss(model(X[:16]), Y[:16]) / 2).backward()
    with pytest.raises(dashpot.UsageError, match="adds to earlier gradients.*all micro-batches"):
        optimizer.step(last)  # type: ignore[arg-type]  # torch types closures as returning float


@pytest.mark.parametrize("to_none", [True, False])
def test_a_closure_over_all_micro_batches_is_the_whole_batch(to_none: bool) -> None:
    results = []
    for parts in (1, 2):
        model = line().double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        dashpot.SAM(rho=0.5).attach(model, optimizer, closure=True)

        def closure() -> Tensor:
            optimizer.zero_grad(set_to_none=to_none)  # noqa: B023
            total = torch.zeros((), dtype=torch.float64)
            for x, y in zip(X.double().chunk(parts), Y.double().chunk(parts), strict=True):  # noqa: B023
                loss = mse_loss(model(x), y) / parts  # noqa: B023
                loss.backward()
                total += loss.detach()
            return total

        for _ in range(3):
            optimizer.step(closure)  # type: ignore[arg-type]  # torch types closures as returning float
        results.append(model.weight.detach())
    torch.testing.assert_close(*results)


def test_a_loss_that_is_nan_is_no_fault_of_the_closure() -> None:
    model = line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    dashpot.SAM().attach(model, optimizer, closure=True)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = mse_loss(model(X), Y) * float("nan")
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)  # type: ignore[arg-type]  # torch types closures as returning float


def test_micro_batches_before_and_in_a_closure_have_noise_of_their_own() -> None:
    """Accumulation as Lightning does it: all but the last micro-batch before the step, the last one in its closure."""
    model = line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    session = (dashpot.InputNoise(std=1.0) | dashpot.L2(strength=0.0)).attach(model, optimizer)
    noise: list[Tensor] = []

    def micro() -> Tensor:
        x, y = session.batch(X, Y)
        noise.append(x - X)
        loss = mse_loss(model(x), y)
        loss.backward()
        return loss

    for _ in range(2):
        micro()
        optimizer.step(micro)  # type: ignore[arg-type]  # torch types closures as returning float
    for i, one in enumerate(noise):
        assert not any(torch.equal(one, other) for other in noise[i + 1 :])
    for _ in range(2):  # and the draws are those of accumulation without a closure
        session.move_to(0, 0)
        expected = [session.batch(X, Y).x - X for _ in range(2)]
    assert torch.equal(noise[0], expected[0])
    assert torch.equal(noise[1], expected[1])


def test_an_optimizer_that_evaluates_often_sees_one_noise() -> None:
    model = line()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
    session = dashpot.InputNoise(std=1.0).attach(model, optimizer)
    noise: list[Tensor] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        x, y = session.batch(X, Y)
        noise.append(x - X)
        loss = mse_loss(model(x), y)
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]  # torch types closures as returning float
    assert len(noise) > 2
    assert all(torch.equal(noise[0], other) for other in noise)
