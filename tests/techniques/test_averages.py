"""EMA by half-lives, SWA, LAWA and Lookahead against NumPy and torch, in parts of a run, with zeros, refused."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import dashpot
from dashpot.averaging import EMA, LAWA, SWA, Lookahead
from dashpot.core.errors import ConflictError
from dashpot.core.technique import Technique

X = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(16) % 3


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def run(recipe: Any, steps: int = 12, peer: Any = None, **options: Any) -> tuple[list[dict[str, Tensor]], Any]:
    """The raw weights after each step, and what evaluation sees at the end."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.5)
    options = {"steps": steps, "steps_per_epoch": 4, "closure": False} | options
    session = dashpot.Recipe.coerce(recipe).attach(model, optimizer, **options)
    raw = []
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        functional.cross_entropy(model(X), Y).backward()
        optimizer.step()
        raw.append(copy.deepcopy(model.state_dict()))
        if peer is not None:
            peer(step, model)
    return raw, session.snapshot()


def demand(seen: dict[str, Tensor], expected: dict[str, np.ndarray]) -> None:
    for name, value in expected.items():
        np.testing.assert_allclose(seen[name].numpy(), value, rtol=1e-5, atol=1e-6, err_msg=name)


def mean_of(raw: list[dict[str, Tensor]], steps: list[int]) -> dict[str, np.ndarray]:
    """Of the weights after these steps, in float64."""
    names = [name for name, t in raw[0].items() if t.is_floating_point()]
    return {name: np.mean([raw[s - 1][name].double().numpy() for s in steps], axis=0) for name in names}


@pytest.mark.parametrize(
    ("technique", "steps"),
    [
        (SWA(start="50%", every="2steps"), [6, 8, 10, 12]),
        (SWA(start="1epochs"), [4, 8, 12]),
        (SWA(start="0steps", every="25%"), [1, 4, 7, 10]),
        (LAWA(last=3, every="2steps"), [8, 10, 12]),
        (LAWA(last=9, every="1epochs"), [4, 8, 12]),
    ],
    ids=str,
)
def test_which_weights_are_averaged(technique: Technique, steps: list[int]) -> None:
    raw, seen = run(technique)
    demand(seen, mean_of(raw, steps))
    for name, tensor in run(None)[0][-1].items():
        assert torch.equal(raw[-1][name], tensor), f"the training of {name} is another"


def test_swa_as_torch_has_it() -> None:
    peer = AveragedModel(network(), use_buffers=True)
    _, seen = run(SWA(start="2epochs", every="1steps"), peer=lambda s, m: peer.update_parameters(m) if s >= 8 else None)
    demand(seen, {name: t.numpy() for name, t in peer.module.state_dict().items() if t.is_floating_point()})


def test_ema_by_its_half_life_as_torch_has_it() -> None:
    """After half an epoch of four steps a weight counts half: the decay of a step is 2 ** -0.5."""
    peer = AveragedModel(network(), multi_avg_fn=get_ema_multi_avg_fn(0.5**0.5), use_buffers=True)
    peer.update_parameters(network())  # which torch's first update copies
    _, seen = run(EMA(half_life=0.5, warmup=False), peer=lambda s, m: peer.update_parameters(m))
    demand(seen, {name: t.numpy() for name, t in peer.module.state_dict().items() if t.is_floating_point()})


@pytest.mark.parametrize("steps_per_epoch", [3, 48])
def test_a_half_life_means_the_same_for_any_batch_size(steps_per_epoch: int) -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    session = EMA(half_life=2.0, warmup=False).attach(model, optimizer, steps_per_epoch=steps_per_epoch)
    model.weight.grad = torch.ones_like(model.weight)
    for step in range(2 * steps_per_epoch):
        with torch.no_grad():
            model.weight.fill_(1.0 if step else 0.0)
        optimizer.step()
    first = 2.0 ** (-(2 * steps_per_epoch - 1) / (2 * steps_per_epoch))  # the first step was at 0
    np.testing.assert_allclose(session.snapshot()["weight"].item(), 1 - first, rtol=1e-4)


def test_lookahead_against_numpy() -> None:
    start, pull = np.array([[1.0, -2.0, 0.5, 3.0]]), np.array([[0.3, 0.1, -0.2, 0.7]])
    model = nn.Linear(4, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(start))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Lookahead(alpha=0.3, every=3).attach(model, optimizer):
        for _ in range(8):
            optimizer.zero_grad()
            (model.weight.square() / 2 + torch.from_numpy(pull) * model.weight).sum().backward()
            optimizer.step()
    slow, fast = start.copy(), start.copy()
    for step in range(1, 9):
        fast = fast - 0.1 * (fast + pull)
        if step % 3 == 0:
            slow = slow + 0.3 * (fast - slow)
            fast = slow.copy()
    np.testing.assert_allclose(model.weight.detach().numpy(), fast, rtol=1e-12)


@pytest.mark.parametrize(
    "technique",
    [EMA(decay=0.9), SWA(start="0steps", every="1steps"), LAWA(last=4, every="1steps"), Lookahead(every=2)],
    ids=lambda t: t.name,
)
def test_exact_zeros_stay_zeros(technique: Technique) -> None:
    """A plain average of weights that were not zero at first is nowhere zero."""
    raw, seen = run(dashpot.L1(strength=0.05) | technique)
    zero = {name: t == 0 for name, t in raw[-1].items() if name.endswith("weight") and t.ndim == 2}
    assert all(z.any() for z in zero.values())
    assert all(bool((seen[name][z] == 0).all()) for name, z in zero.items())
    plain = mean_of(raw, list(range(1, 13)))
    assert any((plain[name][z.numpy()] != 0).any() for name, z in zero.items())


@pytest.mark.parametrize(
    ("make", "kind", "told"),
    [
        (lambda: EMA(decay=1.0), dashpot.ConfigError, r"EMA.decay must be a number in \[0, 1\), got 1.0"),
        (lambda: EMA(decay=0.9, half_life=2.0), dashpot.ConfigError, "EMA.half_life must be None where a decay is"),
        (lambda: EMA(half_life=0.0), dashpot.ConfigError, "EMA.half_life must be a number > 0"),
        (lambda: SWA(start="5 times"), dashpot.ConfigError, "SWA.start must be a share of the run such as 75%"),
        (lambda: SWA(start="4epochs"), dashpot.ConflictError, "begins after step 16, but the run ends after step 12"),
        (lambda: SWA(start="13steps"), dashpot.ConflictError, "begins after step 13, but the run ends after step 12"),
        (lambda: LAWA(every="4epochs"), dashpot.ConflictError, "begins after step 16, but the run ends after step 12"),
        (lambda: LAWA(last=0), dashpot.ConfigError, "LAWA.last must be a whole number >= 1, finite, got 0"),
        (lambda: Lookahead(alpha=0.0), dashpot.ConfigError, r"Lookahead.alpha must be a number in \(0, 1\], got 0.0"),
        (lambda: EMA() | SWA(), dashpot.ConflictError, "ema and swa both want the averaged weights"),
        (lambda: Lookahead() | Lookahead(), dashpot.ConflictError, "lookahead and lookahead.2 both want the slow"),
    ],
)
def test_bad_input_is_refused_by_name(make: Any, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told):
        run(make())


@pytest.mark.parametrize("technique", [SWA(), LAWA(), EMA(half_life=1.0)], ids=str)
def test_a_length_that_is_needed_and_not_known_is_refused(technique: Technique) -> None:
    model = network()
    with pytest.raises(dashpot.ConflictError, match=f"{type(technique).__name__}.*(steps=|steps_per_epoch=)"):
        technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_fit_averages_at_the_ends_of_epochs_and_takes_the_rate_of_swa() -> None:
    rate = dashpot.schedules.swa(start="50%", final=0.2)
    result = dashpot.fit(
        network(),
        (X, Y),
        recipe="swa:start=50%",
        epochs=8,
        batch_size=8,
        schedule=rate,
        lr=0.01,
        progress=False,
        device="cpu",
    )
    rates = [row["lr"] / 0.01 for row in result.history]
    np.testing.assert_allclose(rates[4:], 0.2, rtol=1e-9)
    assert sorted(set(rates), reverse=True)[:4] == rates[:4]
    assert "swa" in result.plan


def test_rates_of_the_learning_rate() -> None:
    waves = dashpot.schedules.cyclic(3)
    np.testing.assert_allclose([waves(t) for t in (0.0, 1 / 6, 1 / 3, 0.5, 1.0)], [1, 0.5, 1, 0.5, 0], atol=1e-5)
    assert dashpot.schedules.swa(final=1.0)(0.5) == 1.0
    for bad in ({"start": "3epochs"}, {"start": "0%"}, {"final": 0.0}, {"anneal": "steep"}):
        with pytest.raises(dashpot.ConfigError):
            dashpot.schedules.swa(**bad)
    with pytest.raises(dashpot.ConfigError, match="cycles must be a whole number >= 1"):
        dashpot.schedules.cyclic(0)


def test_lazy_layers_without_shapes_are_refused_by_name() -> None:
    model = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(ConflictError, match=r"EMA needs the shapes of parameters, and 0.weight of Sequential has none"):
        dashpot.EMA().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_lookahead_beyond_the_end_of_the_run_is_told() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.warns(UserWarning, match=r"Lookahead\(every=6\) does nothing in a run of 5 steps"):
        Lookahead(every=6).attach(model, optimizer, steps=5).close()
    Lookahead(every=5).attach(model, optimizer, steps=5).close()
