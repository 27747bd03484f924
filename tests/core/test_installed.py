"""What dropout installs: kept out of copies, inside attention and recurrent stacks, and gone after any end."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot

X = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 3))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def stored(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)  # type: ignore[no-any-return]  # torch types it as Any


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": stored,
}


class Consistent(dashpot.Technique):
    """As R-Drop: it runs the model once more, and has hooks of torch's own on parts of it."""

    forwards = 1

    def on_model(self, view: Any, ctx: Any) -> Any:
        part = view.model[0]
        return [part.register_forward_pre_hook(lambda m, a: None), part.register_forward_hook(lambda m, a, o: None)]


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("on", ["hidden", "everything"])
def test_copies_have_nothing_of_ours_and_all_of_the_models(way: str, on: str) -> None:
    model = net()
    calls: list[int] = []
    model[1].register_forward_hook(Own(calls))
    recipe = dashpot.Dropout(p=0.5, on=on) | Consistent()
    with recipe.attach(model, sgd(model)):
        twin = COPIES[way](model)
        assert model[2]._forward_hooks  # the copy took nothing from the model itself
    assert twin[2].p == 0.3
    assert "forward" not in vars(twin[2])
    assert [len(m._forward_hooks) for m in twin] == [0, 1, 0, 0]
    assert not any(m._forward_pre_hooks for m in twin.modules())
    assert not any("__getstate__" in vars(m) for m in [*twin.modules(), *model.modules()])
    torch.manual_seed(1)
    own = twin(X)
    torch.manual_seed(1)
    assert torch.equal(own, model(X))
    zero = (twin.train()[:3](X) == 0).float().mean() - (twin[:2](X) == 0).float().mean()
    assert 0.05 < zero < 0.25  # 0.3 of the half that is not 0 by its activation


class Own:
    """A hook of the user's, which copies keep."""

    def __init__(self, calls: list[int]) -> None:
        self.calls = calls

    def __call__(self, module: nn.Module, args: Any, out: Any) -> None:
        self.calls.append(1)


def test_an_export_is_the_model_without_guests() -> None:
    model = net()
    session = (dashpot.Dropout(p=0.5) | Consistent()).attach(model, sgd(model))
    twin = session.export()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in twin.modules())
    assert twin[2].p == 0.3  # type: ignore[index,union-attr]  # it is a Sequential


def test_a_copy_and_its_optimizer_can_have_a_session_of_their_own() -> None:
    model = net()
    optimizer = sgd(model)
    first = dashpot.Dropout(p=0.5).attach(model, optimizer)
    twin, its = copy.deepcopy((model, optimizer))
    second = dashpot.Dropout(p=1.0).attach(twin, its)
    assert bool((twin[:3](X) == 0).all())
    assert not bool((model[:3](X) == 0).all())
    first.close()
    second.close()
    assert (model[2].p, twin[2].p) == (0.3, 0.3)


# --- modules that drop by themselves ---------------------------------------------------------------------------------


class Reads(nn.Module):
    """Attention that reads the rate of a module that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.drop = nn.Linear(4, 12), nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x)[None].chunk(3, -1)
        return functional.scaled_dot_product_attention(q, k, v, dropout_p=self.drop.p if self.training else 0.0)


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 1, dropout=0.3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x)[0]  # type: ignore[no-any-return]  # a tensor


class Recurs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.GRU(4, 4, num_layers=2, dropout=0.3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)[0]  # type: ignore[no-any-return]  # a tensor


def rate_of(model: nn.Module) -> float:
    return float(model.drop.p if isinstance(model, Reads) else next(model.children()).dropout)


@pytest.mark.parametrize("kind", [Reads, Attends, Recurs])
def test_the_rate_is_really_that_of_the_recipe(kind: type[nn.Module]) -> None:
    """At 1 nothing is left of what is dropped: attention gives zeros, the second layer sees none of the first."""
    model = kind()
    session = dashpot.Dropout(p=1.0).attach(model, sgd(model))
    out = model(X)
    if kind is Recurs:
        assert torch.equal(out, model(X + 1))
    else:
        assert bool((out == 0).all())
    assert "p=1 after 1 modules" in session.plan()
    assert ("by the draws of torch inside" in session.plan()) == (kind is not Reads)
    session.close()
    assert rate_of(model) == 0.3
    assert not torch.equal(model(X), model(X))


@pytest.mark.parametrize("kind", [Reads, Attends, Recurs])
def test_copies_have_their_own_rate_and_schedules_are_followed(kind: type[nn.Module]) -> None:
    model = kind()
    optimizer = sgd(model)
    session = dashpot.Recipe.coerce("dropout:p=0.4to0").attach(model, optimizer, steps=3)
    rates = []
    for _ in range(3):
        rates.append(rate_of(model))
        assert rate_of(copy.deepcopy(model)) == pytest.approx(0.3)
        model(X).sum().backward()
        optimizer.step()
    assert rates[0] == pytest.approx(0.4)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.2
    session.close()
    assert rate_of(model) == pytest.approx(0.3)


def test_an_encoder_layer_drops_everywhere() -> None:
    model = nn.TransformerEncoderLayer(4, 1, 8, dropout=0.1)
    places = dashpot.Dropout(p=0.5).attach(model, sgd(model)).plan()
    assert "after 4 modules: self_attn, dropout, dropout1, dropout2" in places


def test_attention_without_dropout_of_its_own_is_left_alone_unless_it_is_named() -> None:
    model = nn.Sequential(nn.MultiheadAttention(4, 1), nn.ReLU(), nn.Linear(4, 4))
    with dashpot.Dropout(p=0.5).attach(model, sgd(model)) as session:
        assert "after 1 modules: 1" in session.plan()
        assert model[0].dropout == 0.0
    with dashpot.Dropout(p=0.5, on="type:MultiheadAttention").attach(model, sgd(model)):
        assert model[0].dropout == 0.5
    assert model[0].dropout == 0.0


def test_sam_sees_the_same_draws_inside_in_both_passes() -> None:
    model = Attends().double()
    optimizer = sgd(model)
    outs: list[Tensor] = []
    session = (dashpot.Dropout(p=0.5) | dashpot.SAM(rho=1e-12)).attach(model, optimizer, closure=True)

    def closure() -> Any:
        optimizer.zero_grad()
        outs.append(model(X.double()))
        loss = outs[-1].square().mean()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(outs[0], outs[1])
    session.close()


@pytest.mark.parametrize("last", [False, True])
def test_closing_in_any_order_leaves_each_model_its_own(last: bool) -> None:
    models = [net(), net()]
    sessions = [dashpot.Dropout(p=0.5).attach(model, sgd(model)) for model in models]
    for session in reversed(sessions) if last else sessions:
        session.close()
        session.close()
    assert [model[2].p for model in models] == [0.3, 0.3]
    assert not any(m._forward_hooks for model in models for m in model.modules())
    with dashpot.Dropout(p=0.5).attach(models[0], sgd(models[0])):
        kept = (models[0][:3](torch.ones(1000, 4)) != 0).float().mean()
        alive = (models[0][:2](torch.ones(1000, 4)) != 0).float().mean()
    assert kept / alive == pytest.approx(0.5, abs=0.02)
