"""The one reader of recipe text, the registry, and what a class says of itself without a model."""

from __future__ import annotations

import warnings
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import ElasticNet, Lasso
from torch import nn

import dashpot
from dashpot import schedules
from dashpot.core import registry
from dashpot.core.fields import codec, text
from dashpot.core.fields.domains import Range
from dashpot.core.fields.schedule import Schedule
from dashpot.core.fields.select import ROLES
from dashpot.core.running.view import ModelView

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)


@given(st.lists(WORDS, min_size=1, max_size=2))
def test_any_name_of_a_score_round_trips_through_text(names: list[str]) -> None:
    recipe = dashpot.Recipe(dashpot.EarlyStopping(monitor=name, mode="min") for name in names)
    assert dashpot.Recipe.coerce(codec.to_text(recipe)) == recipe


TERMS = st.builds(
    lambda kind, value, negated: ~kind(value) if negated else kind(value),
    st.sampled_from([dashpot.Where.name, dashpot.Where.type]),
    st.one_of(WORDS, st.text('a.*,|&~":= ', min_size=1)),
    st.booleans(),
) | st.sampled_from(ROLES).map(dashpot.Where.role)
SELECTIONS = st.recursive(
    TERMS, lambda inner: st.builds(lambda a, b, both: a & b if both else a | b, inner, inner, st.booleans())
)


@given(SELECTIONS)
def test_any_selection_round_trips_through_every_text(on: dashpot.Where) -> None:
    """Names of modules are free: ``nn.ModuleDict({"a|b, c": ...})`` is one."""
    assert dashpot.Where.parse(str(on)) == on
    recipe = dashpot.L1(strength=0.5, on=on) | dashpot.EMA()
    assert dashpot.Recipe.coerce(codec.to_text(recipe)) == recipe
    assert codec.loads(codec.dumps(recipe)) == recipe
    technique, mentioned = text.parse_ranges(codec.to_text(recipe[0]))
    assert technique == recipe[0]
    assert not any(mentioned.values())


def test_the_module_of_a_name_with_separators_in_it() -> None:
    model = nn.ModuleDict({"a|b, c": nn.Linear(2, 2), "d": nn.Linear(2, 2)})
    for on in (
        dashpot.Where.name("a|b, c.*"),
        dashpot.L1(on='name:"a|b, c.*"').on,
        dashpot.Recipe.coerce('l1:on="name:""a|b, c.*"""')[0].on,
    ):
        assert ModelView(model, torch.optim.SGD(model.parameters(), lr=0.1)).names(on) == [
            "a|b, c.weight",
            "a|b, c.bias",
        ]


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("l1", (dashpot.L1(),)),
        ("mixup:alpha=0.3 | l1:strength=1e-3", (dashpot.Mixup(0.3), dashpot.L1(1e-3))),
        ("mixup|l1", (dashpot.Mixup(), dashpot.L1())),
        ("l1:on=weights | embeddings", (dashpot.L1(on="weights | embeddings"),)),
        (
            "l1:on=weights | ~name:a.* & norms,strength=2 | ema",
            (dashpot.L1(2, on="weights | ~name:a.* & norms"), dashpot.EMA()),
        ),
        ("l1:on=name:head[0,1].*,strength=2", (dashpot.L1(2, on="name:head[0,1].*"),)),
        ('l1:on="name:a | name:b, c",strength=2', (dashpot.L1(2, on="name:a | name:b, c"),)),
        (
            "dropout:p=0.3to0@until=50% | sam:rho=0.05@from=90%",
            (dashpot.Dropout("0.3to0@until=50%"), dashpot.SAM("0.05@from=90%")),
        ),
    ],
)
def test_whole_recipes_as_text(written: str, same: tuple[dashpot.Technique, ...]) -> None:
    assert dashpot.Recipe.coerce(written) == dashpot.Recipe(same)


def test_everything_that_may_stand_for_a_recipe() -> None:
    recipe = dashpot.Mixup(0.3) | dashpot.L1(1e-3)
    texts = ["mixup:alpha=0.3", "l1:strength=1e-3"]
    for given_ in (recipe, " | ".join(texts), texts, tuple(texts), [recipe[0], texts[1]], [recipe], recipe.to_dict()):
        assert dashpot.Recipe.coerce(given_) == recipe
    assert dashpot.Recipe.coerce(None) == dashpot.Recipe.coerce([]) == dashpot.Recipe()
    assert dashpot.Recipe.coerce(recipe[0]) == dashpot.Recipe(recipe[:1])
    refusals = {3: "a Recipe, a Technique, text", "": "must be one of", "l1 | ": "must be one of", (3,): "text such as"}
    for bad, message in refusals.items():
        with pytest.raises(dashpot.ConfigError, match=message):
            dashpot.Recipe.coerce(bad)
    with pytest.raises(dashpot.ConfigError, match=r"technique must be one technique, got 'Mixup\(alpha=0.3\) \| L1"):
        dashpot.Recipe.coerce_one("technique", recipe)


def test_text_is_taken_wherever_a_recipe_is() -> None:
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    data = (x, x[:, :1])

    def trained(recipe: Any) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Linear(4, 1)
        dashpot.fit(model, data, recipe=recipe, epochs=2, progress=False, batch_size=8)
        return model.weight

    expected = trained(dashpot.InputNoise(0.2) | dashpot.L1(0.1))
    assert torch.equal(trained("input-noise:std=0.2 | l1:strength=0.1"), expected)
    assert torch.equal(trained(["input-noise:std=0.2", dashpot.L1(0.1)]), expected)
    model = nn.Linear(4, 1)
    assert dashpot.stationarity(model, data, "l1:strength=0.1") == dashpot.stationarity(model, data, dashpot.L1(0.1))
    with pytest.raises(dashpot.ConfigError, match="constant numbers"):
        dashpot.path(lambda: nn.Linear(4, 1), data, "l1:strength=0to1")
    got = dashpot.path(lambda: nn.Linear(4, 1), data, "l1", points=3, cv=2)
    assert got.zeros == dashpot.path(lambda: nn.Linear(4, 1), data, dashpot.L1(), points=3, cv=2).zeros


def test_a_range_may_stand_for_one_end_of_a_schedule() -> None:
    technique, mentioned = text.parse_ranges("dropout:p=0.1..0.5to0@until=50%,on=activations")
    assert technique == dashpot.Dropout(on="activations")
    assert set(mentioned) == {"p", "on"}
    assert mentioned["on"] is None
    rate = mentioned["p"]
    assert rate is not None
    assert (rate.low, rate.high, str(rate)) == (0.1, 0.5, "0.1..0.5to0@until=50%")
    assert rate.at(0.25) == Schedule.parse("0.25to0@until=50%")
    rho = text.parse_ranges("sam:rho=0.01..0.1@from=90%")[1]["rho"]
    assert rho is not None
    assert [rho.at(r) for r in (0.01, 0.1)] == [Schedule.parse("0.01@from=90%"), Schedule.parse("0.1@from=90%")]
    up = text.parse_ranges("l1:strength=0to1e-5..1e-2@cosine")[1]["strength"]
    assert up is not None
    assert up.at(1e-3) == Schedule.parse("0to1e-3@cosine")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("l1:on=1..2", "L1.on must be .*, which has no range"),
        ("dropout:p=0.1..0.2to0.3..0.4", "a range for one of its ends"),
        ("dropout:p=0.5..0.1to0", "low below high"),
        ("dropout:p=0.5..2to0", "Dropout.p must be a number in"),
        ("elastic-net:l1_ratio=0.1..0.2@from=10%", "no value at which it is off"),
        ("n-of-m:n=1..3to2", "follows no schedule"),
        ("dropout:p=0.1..0.5to0@from=5", "must be a share such as"),
    ],
)
def test_a_bad_range_gets_one_clear_message(written: str, message: str) -> None:
    with pytest.raises(dashpot.ConfigError, match=message):
        text.parse_ranges(written)


def test_a_cell_run_twice_replaces_its_class_and_a_foreign_namesake_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))

    def cell(default: float) -> type[dashpot.Technique]:
        class CellNoise(dashpot.Technique):
            summary = "a class of a notebook"
            std: Annotated[float, Range(0.0, 1.0, off=0.0)] = default

        return CellNoise

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cell(0.1)
        again = cell(0.2)
    assert codec.find("cell-noise") is again
    assert codec.parse("cell-noise").std == 0.2  # type: ignore[attr-defined]  # of the technique by that name
    with pytest.warns(
        registry.RegistryWarning, match=r"'cell-noise' now means elsewhere.CellNoise, no longer .*CellNoise"
    ):
        other = type(
            "CellNoise", (dashpot.Technique,), {"summary": "x", "__module__": "elsewhere", "__qualname__": "CellNoise"}
        )
    assert codec.find("CellNoise") is other


def test_a_base_without_a_summary_is_not_in_the_registry() -> None:
    class NamelessBase(dashpot.Technique):
        pass

    assert "nameless-base" not in codec.registry()
    assert {"l1", "mixup", "sam"} <= set(codec.registry())


def test_the_first_field_goes_without_its_name_in_every_technique() -> None:
    without_number = (dashpot.NonNegative, dashpot.gradient.GradientCentralization, dashpot.normalization.WeightNorm)
    for cls in codec.registry().values():
        if not cls.__module__.startswith("dashpot.") or cls in without_number:
            continue
        technique = cls()
        head = cls._head()
        value = getattr(technique, head)
        assert cls(value) == technique  # type: ignore[call-arg]  # of the technique by that name
        assert value is None or str(technique).startswith(f"{cls.__name__}({head}=")
        with pytest.raises(TypeError, match="positional"):
            cls(value, 1)  # type: ignore[call-arg]  # of the technique by that name
    assert dashpot.TotalVariation(0.3).strength == dashpot.HardThreshold(0.3).keep == dashpot.UnitNorm(0.3).norm == 0.3


def test_needs_and_slots_are_read_without_a_model() -> None:
    assert dashpot.SAM.requires.closure
    assert not dashpot.SAM.requires.float_input
    assert dashpot.Mixup.requires.float_input
    assert dashpot.InputNoise.requires.float_input
    assert dashpot.L1.exclusive == dashpot.GroupLasso.exclusive == dashpot.MaxNorm.exclusive == ("proximal step",)
    assert dashpot.Dropout.exclusive == ("dropout",)
    assert not dashpot.LabelSmoothing.requires.fits(task="regression")
    assert dashpot.LabelSmoothing.requires.fits("image", "classification")

    class TwoGradients(dashpot.Technique):
        evaluations = 2

    assert TwoGradients.requires.closure
    x = torch.randint(5, (8, 4))
    with pytest.raises(dashpot.ConflictError, match="Mixup needs a floating-point input tensor, got a tensor of int64"):
        dashpot.fit(nn.Linear(4, 2), (x, torch.arange(8) % 2), recipe="mixup", progress=False)


def test_the_penalties_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 6))
    y = x @ np.array([2.0, -1.0, 0.5, 0, 0, 0]) + 0.1 * rng.normal(size=80)
    for theirs, ours in (
        (Lasso(alpha=0.1, tol=1e-14), dashpot.L1.from_sklearn(0.1)),
        (ElasticNet(alpha=0.1, l1_ratio=0.3, tol=1e-14, max_iter=100_000), dashpot.ElasticNet.from_sklearn(0.1, 0.3)),
    ):
        theirs.fit(x, y)
        w = theirs.coef_
        gradient = 2 / len(x) * x.T @ (x @ w + theirs.intercept_ - y)  # of the mean squared error
        left = ours.stationarity(torch.tensor(w), torch.tensor(gradient))
        assert left.max() < 1e-6
        assert (
            ours.with_strength(ours.strength * 1.01).stationarity(torch.tensor(w), torch.tensor(gradient)).max() > 1e-4
        )
    with pytest.raises(dashpot.ConfigError, match="alpha must be a number >= 0"):
        dashpot.L1.from_sklearn(-1.0)


@pytest.mark.parametrize("make", [dashpot.optim.AdamW, dashpot.optim.SGD])
def test_a_penalty_in_the_optimizer_follows_its_schedule(make: Any) -> None:
    x = torch.randn(32, 5, generator=torch.Generator().manual_seed(0))

    def trained(penalty: Any) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = nn.Linear(5, 1)
        optimizer = make(model, lr=0.05, weight_decay=0.0, penalty=penalty)
        seen = []
        for _ in range(6):
            optimizer.zero_grad()
            (model(x) - x[:, :1]).square().mean().backward()
            optimizer.step()
            seen.append(model.weight.detach().clone())
        return seen

    plain, late = trained(None), trained("l1:strength=0.5@from=3steps")
    assert all(torch.equal(a, b) for a, b in zip(plain[:3], late[:3], strict=True))
    assert not torch.equal(plain[3], late[3])
    assert torch.equal(trained("l1:strength=0.5@from=3steps")[5], trained(dashpot.L1("0.5@from=3steps"))[5])
    with pytest.raises(dashpot.ConflictError, match="an optimizer does not know the length of the run"):
        make(nn.Linear(5, 1), lr=0.1, penalty="l1:strength=0to1")
    with pytest.raises(dashpot.ConfigError, match="proximal map"):
        make(nn.Linear(5, 1), lr=0.1, penalty="l2:strength=1")


def test_a_relative_strength_may_follow_the_run() -> None:
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    model = nn.Linear(2, 1)
    (resolved,) = dashpot.resolve_strengths(
        dashpot.L1(relative="0to0.25@until=50%"), model, (x, torch.tensor([2.0, -2.0]))
    )
    (schedule,) = resolved.schedules().values()
    assert (schedule.start, schedule.until) == (0.0, schedules.Moment(50.0, "%"))
    assert schedule.end == pytest.approx(1.0)  # the largest useful strength is 4 here
