"""Dropouts of maps, blocks and activations, against torch's own, slow versions and exact tests of their statistics."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy.stats import binomtest, kstest
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.core.draws import uniform_by
from dashpot.core.rng import derive, stream
from dashpot.dropout import (
    AlphaDropout,
    ChannelDropout,
    DropBlock,
    DropoutOrderWarning,
    GaussianDropout,
    SingleEpochWarning,
    VariationalDropout,
)
from dashpot.techniques.dropout.alpha_dropout import alpha_dropout
from dashpot.techniques.dropout.channel_dropout import channel_dropout
from dashpot.techniques.dropout.drop_block import drop_block
from dashpot.techniques.dropout.dropout import dropout
from tests.population.helpers import demand_as_alone, member, table

FALSE_ALARM = 1e-9
"""Of each exact test below; there are fewer than a hundred."""
ALL = (AlphaDropout(0.3), ChannelDropout(0.3), DropBlock(0.3, block=2), GaussianDropout(0.3))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def passed(technique: Any, x: Tensor, calls: int = 1) -> Tensor:
    """What an identity gives with the technique after it, the first calls at the first step."""
    model = nn.Sequential(nn.ReLU(), nn.Linear(2, 2))
    with technique.attach(model.train(), sgd(model), seed=5):
        return torch.cat([model[0](x) for _ in range(calls)])


def numbers(technique: Any, size: tuple[int, ...]) -> Tensor:
    """The uniform numbers of that place at the first call, by the definition."""
    key = derive(stream(stream(5, technique.name), "0"), 0, 0)
    return uniform_by([key], math.prod(size)).reshape(size)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_alpha_dropout_is_torchs_by_the_same_mask(p: float) -> None:
    x = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    theirs = functional.alpha_dropout(x, p, training=True)
    values, counts = theirs.unique(return_counts=True)
    mask = theirs != values[counts.argmax()]  # what is dropped has one value
    torch.testing.assert_close(alpha_dropout(x, mask.float(), p), theirs, rtol=1e-5, atol=1e-5)
    maps = x.reshape(4, 10, 6, 5)
    torch.manual_seed(0)
    theirs = functional.feature_alpha_dropout(maps, p, training=True)
    mask = theirs.flatten(2).std(2) > 0
    torch.testing.assert_close(alpha_dropout(maps, mask.float()[:, :, None, None], p), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("space", [(6,), (4, 5), (3, 2, 4)])
def test_channel_dropout_is_torchs_by_the_same_mask(space: tuple[int, ...]) -> None:
    x = 1 + torch.rand(8, 5, *space, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    theirs = {1: functional.dropout1d, 2: functional.dropout2d, 3: functional.dropout3d}[len(space)](x, 0.4, True)
    mask = theirs.flatten(2).abs().sum(2) > 0
    torch.testing.assert_close(channel_dropout(x, mask.float(), 0.4), theirs)


def test_what_passes_is_what_the_functions_say_of_the_numbers_of_the_place() -> None:
    x = 1 + torch.rand(6, 4, 5, 3, generator=torch.Generator().manual_seed(0))
    u = numbers(ALL[0], (6, 4, 5, 3))
    assert torch.equal(passed(ALL[0], x), alpha_dropout(x, u, 0.3))
    maps = AlphaDropout(0.3, features=True)
    assert torch.equal(passed(maps, x), alpha_dropout(x, numbers(maps, (6, 4, 1, 1)), 0.3))
    assert torch.equal(passed(ALL[1], x), channel_dropout(x, numbers(ALL[1], (6, 4)), 0.3))
    assert torch.equal(passed(ALL[2], x), drop_block(x, numbers(ALL[2], (6, 4, 6, 4)), 0.3, 2))
    u = numbers(ALL[3], (2, 6, 4, 5, 3)).double()
    noise = (-2 * (1 - u[0]).log()).sqrt() * (2 * math.pi * u[1]).cos()
    torch.testing.assert_close(passed(ALL[3], x).double(), x * (1 + math.sqrt(3 / 7) * noise), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("large", [1, 1 << 18])
def test_dropout_is_its_function_with_gradients_of_any_order(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashpot.techniques.dropout.dropout.LARGE", large)
    technique, x = dashpot.Dropout(0.3), torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        expected = dropout(x.to(dtype), numbers(technique, (6, 5)), 0.3)
        assert torch.equal(passed(technique, x.to(dtype)), expected)
    model = nn.Sequential(nn.Tanh(), nn.Linear(2, 2))
    with technique.attach(model.train(), sgd(model), seed=5):
        a = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(model[0](a).sum(), a, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), a)
        rows = torch.func.vmap(model[0])(x)  # one mask for all rows, as one call draws one
    kept = dropout(torch.ones(6, 5), numbers(technique, (6, 5)), 0.3)
    torch.testing.assert_close(first.detach(), kept * (1 - x.tanh() ** 2))
    torch.testing.assert_close(second, -2 * kept * x.tanh() * (1 - x.tanh() ** 2))
    assert torch.equal(rows == 0, (rows == 0)[:1].expand(6, 5))


def test_each_place_is_dropped_at_the_rate_edges_too() -> None:
    """By the exact binomial test, with the false-alarm rate shared among the places."""
    for technique, size in (
        (DropBlock(0.25, block=3), (500, 4, 5, 6)),
        (DropBlock(0.25, block=4), (500, 4, 7)),
        (DropBlock(0.25, block=2), (500, 4, 2, 3, 2)),
        (DropBlock(0.25), (500, 4)),
        (ChannelDropout(0.25), (500, 4, 3)),
    ):
        gone = (passed(technique, torch.ones(size)) == 0).double()
        places = gone.shape[2:].numel()
        for count in gone.sum((0, 1)).flatten().tolist():
            assert binomtest(int(count), 2000, 0.25).pvalue > FALSE_ALARM / places, (technique, count)
    block = (passed(DropBlock(0.25, block=3), torch.ones(50, 4, 12, 12)) == 0).float()
    inside = -functional.max_pool2d(-block, 3, stride=1)  # whole blocks
    covered = functional.max_pool2d(functional.pad(inside, (2, 2, 2, 2)), 3, stride=1)
    assert torch.equal(covered[..., 2:-2, 2:-2], block[..., 2:-2, 2:-2])


def test_gaussian_noise_is_normal_with_dropouts_variance() -> None:
    factor = passed(GaussianDropout(0.2), torch.ones(100, 60)).double().numpy().ravel()
    assert kstest((factor - 1) / 0.5, "norm").pvalue > FALSE_ALARM
    again = passed(GaussianDropout(0.2), torch.ones(10, 60), calls=2)
    assert not torch.equal(again[:10], again[10:])


@pytest.mark.parametrize("technique", ALL, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_types_and_masks_stay(technique: Any, dtype: torch.dtype) -> None:
    x = 1 + torch.rand(6, 4, 5, 3, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=dtype):
        low = passed(technique, x.to(dtype))
    whole = passed(technique, x.to(dtype).float())
    assert low.dtype == dtype
    assert torch.equal(low == 0, whole == 0)
    torch.testing.assert_close(low.float(), whole, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("technique", ALL, ids=lambda t: t.name)
def test_at_no_place_it_is_refused_with_the_nearest_names(technique: Any) -> None:
    model = nn.Sequential()
    model.add_module("stem", nn.Conv2d(1, 2, 3))
    model.add_module("stem_act", nn.ReLU())
    kind, told = type(technique), type(technique).__name__
    with pytest.raises(dashpot.ConflictError, match=rf"{told}\.on .* no module .*Did you mean name:stem_act"):
        kind(0.1, on="name:stem.act").attach(model, sgd(model))
    with pytest.raises(dashpot.ConflictError, match="Did you mean type:ReLU"):
        kind(0.1, on="type:Relu").attach(model, sgd(model))
    for wrong in (-0.1, 1.1):
        with pytest.raises(dashpot.ConfigError, match=rf"{told}\.p must be a number in \[0, 1[\])]"):
            kind(wrong)


def test_the_plan_says_where() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.ReLU())
    with DropBlock(0.1, on="activations").attach(model, sgd(model)) as session:
        assert "zeroes blocks of feature maps with p=0.1 after 2 modules: 1, 3" in str(session.plan())


@pytest.mark.parametrize("technique", [*ALL, dashpot.Dropout(0.3)], ids=lambda t: t.name)
def test_before_a_batch_normalization_they_warn(technique: Any) -> None:
    model = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(4))
    with pytest.warns(DropoutOrderWarning, match="'0' stands before the batch normalization '1'"):
        technique.attach(model, sgd(model))


def test_the_trouble_that_the_warning_is_about() -> None:
    """Before batch normalization the variance it learns is not that of evaluation; after it, it is."""
    x = 1 + torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    spread = {}
    for place in (0, 1):
        model = nn.Sequential(nn.Identity(), nn.BatchNorm1d(3, momentum=None), nn.Identity()).train()
        with (
            pytest.warns(DropoutOrderWarning) if place == 0 else torch.enable_grad(),
            dashpot.Dropout(0.5, on=f"name:{2 * place}").attach(model, sgd(model)),
        ):
            model(x)
        spread[place] = float(model.eval()(x).detach().var())
    assert 0.2 < spread[0] < 0.4  # 1 / (1 + (mean^2 + variance) / variance): 1/3
    assert abs(spread[1] - 1) < 0.01


def test_a_run_of_one_epoch_warns() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Linear(2, 2))
    for technique in (dashpot.Dropout(0.1), GaussianDropout(0.1)):
        with pytest.warns(SingleEpochWarning, match=r"Dropout in a run of one epoch \(50 steps\)"):
            technique.attach(model, sgd(model), steps=50, steps_per_epoch=50).close()
    x, y = torch.ones(64, 2), torch.zeros(64, dtype=torch.int64)
    with pytest.warns(SingleEpochWarning) as told:
        dashpot.fit(model, (x, y), recipe=dashpot.Dropout(0.1), epochs=1, batch_size=16, progress=False)
    assert sum(issubclass(one.category, SingleEpochWarning) for one in told) == 1
    dashpot.Dropout(0.0).attach(model, sgd(model), steps=50, steps_per_epoch=50).close()
    dashpot.Dropout(0.1).attach(model, sgd(model), steps=51, steps_per_epoch=50).close()


@pytest.mark.parametrize("technique", [DropBlock, ChannelDropout, dashpot.Dropout, VariationalDropout])
@pytest.mark.parametrize("schedule", ["0.6@until=50%", "0to0.6", "0.6@from=50%"])
def test_rates_follow_schedules(schedule: str, technique: Any) -> None:
    """Early dropout is off in the second half, late dropout in the first, and a ramp grows."""
    model = nn.Sequential(nn.ReLU(), nn.Linear(50, 2)).train()
    optimizer, x, gone = sgd(model), torch.ones(40, 50), []
    with technique(schedule).attach(model, optimizer, steps=10):
        for _ in range(10):
            hidden = model[0](x)
            gone.append(int((hidden == 0).sum()))
            model[1](hidden).sum().backward()
            optimizer.step()
    for step, count in enumerate(gone):
        rate = {"0.6@until=50%": 0.6 * (step < 5), "0to0.6": None, "0.6@from=50%": 0.6 * (step >= 5)}[schedule]
        if rate is not None:
            assert binomtest(count, 2000, rate).pvalue > FALSE_ALARM
    assert schedule != "0to0.6" or (gone[0] == 0 and gone == sorted(gone) and gone[-1] > 900)


def pictures() -> nn.Module:
    """Without a kink behind the convolution at which rounding would decide."""
    parts = [nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(36, 3)]
    return nn.Sequential(*parts)


def test_members_of_a_stack_are_those_trained_alone() -> None:
    x, y = table(columns=12)
    for techniques in (
        [(ChannelDropout(0.5),), (ChannelDropout("0.9to0.1"),), ()],
        [(DropBlock(0.5, block=2),), (DropBlock("0.4to0.1", block=3),), ()],
        [(AlphaDropout(0.3),), (AlphaDropout("0.2to0.1", features=True),), ()],
        [(GaussianDropout(0.3),), (GaussianDropout("0.2to0.1"),), ()],
    ):
        members = [member(pictures, chosen, seed=k) for k, chosen in enumerate(techniques)]
        demand_as_alone(members, [(x.reshape(-1, 1, 3, 4), y)], epochs=2)
