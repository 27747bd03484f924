"""Dropout that scales weights at evaluation, against the papers' formulas in NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.dropout import AlphaDropout
from dashpot.population.columns import why_not
from dashpot.testing import Toy, refused_by_name, stand_together


def numbers(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def plain(p: float | str, on: str = "hidden") -> dashpot.Dropout:
    return dashpot.Dropout(p, on=on, scaling="evaluation")


def test_in_training_nothing_is_scaled() -> None:
    model, x = mlp().train(), numbers(500, 8).abs() + 0.1
    with plain(0.3).attach(model, sgd(model)):
        out = model[1](x)
    kept = out != 0
    assert torch.equal(out[kept], x[kept])
    assert 0.6 < float(kept.float().mean()) < 0.8  # of 4,000 draws at 0.7: 13 standard deviations


def test_evaluation_is_that_of_scaled_activations() -> None:
    model, x = mlp(), numbers(6, 4)
    first, second = (m.weight.detach().double().numpy() for m in (model[0], model[2]))
    hidden = np.maximum(x.double().numpy() @ first.T + model[0].bias.detach().double().numpy(), 0)
    expected = (0.7 * hidden) @ second.T + model[2].bias.detach().double().numpy()
    raw = model[2].weight.detach().clone()
    session = plain(0.3).attach(model.train(), sgd(model))
    with session.evaluate() as seen, torch.no_grad():
        np.testing.assert_allclose(seen(x), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(model[2].weight, raw)
    twin = session.export()
    np.testing.assert_allclose(twin(x).detach(), expected, rtol=1e-5, atol=1e-6)
    session.close()
    assert torch.equal(model[2].weight, raw)
    with plain(0.3).attach(model.train(), sgd(model)):
        pass
    np.testing.assert_allclose(model(x).detach(), expected, rtol=1e-5, atol=1e-6)


def test_through_pooling_flattening_and_nested_sequences() -> None:
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Hardtanh(-9, 9), nn.Sequential(nn.MaxPool2d(2), nn.LeakyReLU()))
    model = nn.Sequential(features, nn.Sequential(nn.Flatten(), nn.Identity()), nn.Linear(12, 2))
    x = numbers(5, 1, 6, 6)
    hidden = model[0][1](model[0][0](x)).detach()
    expected = model[2](model[1](model[0][2](hidden * 0.6))).detach()
    with plain(0.4, on="type:Hardtanh").attach(model, sgd(model)) as session:
        assert "evaluation scales the weights of 2 by 1 - p" in session.plan()
        with session.evaluate():
            torch.testing.assert_close(model(x).detach(), expected, rtol=1e-5, atol=1e-6)


def test_two_places_in_front_of_one_layer_both_count() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Identity(), nn.Linear(4, 2)), numbers(5, 4)
    expected = (model[3].weight * 0.5**2).detach()
    with plain(0.5, on="type:ReLU | type:Identity").attach(model, sgd(model)) as session, session.evaluate():
        torch.testing.assert_close(model[3].weight.detach(), expected)
        assert model(x).shape == (5, 2)


def test_the_rate_of_the_moment_counts() -> None:
    model = mlp().train()
    optimizer, weight = torch.optim.SGD(model.parameters(), lr=0.0), model[2].weight.detach().clone()
    with plain("0.8to0").attach(model, optimizer, steps=4) as session:
        for step in range(5):
            with session.evaluate():
                torch.testing.assert_close(model[2].weight.detach(), weight * (0.2 + 0.2 * step))
            if step < 4:
                model(numbers(3, 4)).sum().backward()
                optimizer.step()


def test_the_best_weights_are_those_that_were_evaluated() -> None:
    model = mlp().train()
    best = model[2].weight.detach() * 0.5
    with (plain(0.5) | dashpot.EarlyStopping(patience=5)).attach(model, sgd(model)) as session:
        session.epoch({"val_loss": 1.0})
        with torch.no_grad():
            model[2].weight.add_(1.0)
        session.epoch({"val_loss": 2.0})
    torch.testing.assert_close(model[2].weight.detach(), best)


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.act(self.first(x)))
        return out


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    model[2].weight = model[0].weight
    return model


def normed() -> nn.Module:
    last = nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), last)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "a forward of its own": (Own, "hidden", "only known inside an nn.Sequential"),
    "the end": (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU()), "activations", "only known inside an nn.Seq"),
    "something between": (
        lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.LayerNorm(4), nn.Linear(4, 2)),
        "hidden",
        r"'2' \(LayerNorm\) comes before the layer",
    ),
    "a weight of two layers": (tied, "hidden", "weight of '2' at evaluation, which is used elsewhere, too"),
    "a computed weight": (normed, "hidden", "weight of '2' at evaluation, which is computed"),
    "attention": (
        lambda: nn.Sequential(nn.MultiheadAttention(4, 1, dropout=0.1)),
        "type:MultiheadAttention",
        r"cannot act inside '0' \(MultiheadAttention\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_where_the_layer_behind_is_not_known_it_is_refused(case: str) -> None:
    make, on, told = REFUSED[case]
    model = make()
    with pytest.raises(dashpot.ConflictError, match=told):
        plain(0.3, on=on).attach(model, sgd(model))
    assert not any(m._forward_hooks for m in model.modules())
    dashpot.Dropout(0.3, on=on).attach(model, sgd(model)).close()


def test_beside_others() -> None:
    for average in (dashpot.EMA(), dashpot.averaging.LAWA()):
        refused_by_name(Toy(), plain(0.3) | average, names=("averaged weights",))
        assert plain(0.3).slots() & average.slots()
        assert not dashpot.Dropout(0.3).slots() & average.slots()
    for other in (dashpot.L1(strength=0.05), AlphaDropout(0.1, on="name:2"), dashpot.SAM(0.05)):
        stand_together(Toy(), plain(0.3, on="name:4") | other)


def test_it_is_trained_alone_and_not_sampled_from_before_the_end() -> None:
    assert "evaluation" in (why_not(plain(0.3)) or "")
    assert why_not(dashpot.Dropout(0.3)) is None
    model, x = mlp(), numbers(3, 4)
    session = plain(0.3).attach(model, sgd(model))
    with pytest.raises(dashpot.ConflictError, match=r"finish\(\) and close\(\) first"):
        dashpot.mc_predict(model, x)
    session.finish()
    session.close()
    with pytest.raises(dashpot.ConfigError, match="leave scaling='training'"):
        dashpot.mc_predict(model, x, recipe=plain(0.3))
    model.eval()
    one, many = model(x).detach(), dashpot.mc_predict(model, x, 4000, recipe="dropout:p=0.3", targets="values")
    assert bool(((many.mean - one).abs() < 6.5 * many.std / 4000**0.5).all())  # 8e-11 of normal ones lie farther
    with pytest.raises(dashpot.ConfigError, match="scaling must be one of training, evaluation"):
        dashpot.Dropout(0.1, scaling="never")  # type: ignore[arg-type]  # wrong
