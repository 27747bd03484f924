"""Recipes as values, and their four written forms."""

from __future__ import annotations

import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import dashpot
from dashpot.core.errors import UnknownNameError
from dashpot.core.fields import codec
from dashpot.core.fields.select import Where, biases, norms, weights

NUMBERS = st.floats(0, 1e6, allow_nan=False, allow_infinity=False)


@given(NUMBERS, NUMBERS, st.floats(0, 1), st.booleans())
def test_every_form_round_trips(alpha: float, strength: float, p: float, warmup: bool) -> None:
    recipe = (
        dashpot.Mixup(alpha=alpha)
        | dashpot.L1(strength=strength, on="weights & ~name:head.*")
        | dashpot.Dropout(p=p)
        | dashpot.EMA(warmup=warmup)
    )
    assert codec.loads(codec.dumps(recipe)) == recipe
    assert codec.from_dict(codec.to_dict(recipe)) == recipe
    assert dashpot.Recipe(codec.parse(codec.to_text(t)) for t in recipe) == recipe
    assert hash(codec.loads(codec.dumps(recipe))) == hash(recipe)


def test_recipes_combine_in_order_and_do_not_change() -> None:
    a, b, c = dashpot.Mixup(), dashpot.L1(), dashpot.EMA()
    assert (a | b) | c == a | (b | c) == dashpot.Recipe((a, b, c))
    assert a | b != b | a
    assert str(a | b) == "Mixup(alpha=0.2) | L1(strength=0.0001)"
    assert (dashpot.InputNoise() | dashpot.InputNoise(std=0.3) | b).paths() == ["input-noise", "input-noise.2", "l1"]
    assert pickle.loads(pickle.dumps(a | b)) == a | b
    with pytest.raises(AttributeError):
        b.strength = 2.0  # type: ignore[misc]  # it is frozen
    with pytest.raises(dashpot.ConfigError, match="must be a Technique"):
        dashpot.Recipe([nn.ReLU()])  # type: ignore[list-item]  # refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("l3", "Did you mean"),
        ("mixpu:alpha=1", "Did you mean 'mixup'"),
        ("l1:stength=1", "Did you mean 'strength'"),
        ("l1:strength", "field=value"),
        ("l1:strength=-1", "L1.strength must be a number >= 0, finite or None, got -1."),
        ("l1:strength=nan", "got nan"),
        ("l1:strength=True", "got 'True'"),
        ("l1:on=weigths", "weigths"),
        ("dropout:p=1.5", r"Dropout.p must be a number in \[0, 1\], got 1.5"),
        ("early-stopping:patience=2.5", "whole number .*got 2.5"),
        ("early-stopping:patience=-3", r"got -3\.$"),
        ("ema:warmup=1", "True or False"),
    ],
)
def test_bad_text_gets_one_clear_message(text: str, message: str) -> None:
    with pytest.raises(dashpot.ConfigError, match=message):
        codec.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = [", "valid TOML"),
        ("techniques = []", "Did you mean 'technique'"),
        ("technique = 3", "list of"),
        ("[[technique]]\nalpha = 1", "name of a technique"),
        ('[[technique]]\nname = "mixup"\nversion = 99', "at most 1"),
        ('[[technique]]\nname = "mixup"\nalpha = true', "got True"),
    ],
)
def test_bad_toml_gets_one_clear_message(text: str, message: str) -> None:
    with pytest.raises(dashpot.ConfigError, match=message):
        codec.loads(text)


def test_the_space_speaks_of_searchable_fields_and_follows_the_metric() -> None:
    space = (dashpot.Mixup() | dashpot.L1(scaling="decoupled")).space()
    assert set(space) == {"mixup.alpha", "l1.strength"}
    adaptive = dashpot.L1().space()["strength"]
    assert space["l1.strength"].search[0] > adaptive.search[0] * 100  # type: ignore[attr-defined]  # a range has one


@given(st.lists(st.sampled_from(["weights", "biases", "norms"]), min_size=1, max_size=3), st.booleans())
def test_where_is_a_boolean_algebra(roles: list[str], negate: bool) -> None:
    module = nn.Linear(1, 1)
    where = Where.role(roles[0])
    for role in roles[1:]:
        where = where | Where.role(role)
    where = ~where if negate else where
    for role in ("weights", "biases", "norms", "embeddings"):
        assert where.matches(role, "x", module) == ((role in roles) != negate)
        assert Where.parse(str(where)).matches(role, "x", module) == where.matches(role, "x", module)


def test_where_by_name_type_and_combination() -> None:
    linear, conv = nn.Linear(1, 1), nn.Conv2d(1, 1, 1)
    where = (weights | biases) & ~Where.name("head.*")
    assert where.matches("weights", "body.weight", linear)
    assert not where.matches("weights", "head.weight", linear)
    assert not (where & norms).matches("weights", "body.weight", linear)
    assert Where.type(nn.Conv2d).matches("weights", "c.weight", conv)
    assert Where.parse("type:Module").matches("weights", "c.weight", conv)
    assert not Where.parse("type:Conv2d").matches("weights", "l.weight", linear)


@pytest.mark.parametrize(
    ("value", "known", "near"),
    [
        ("acc", ("accuracy", "f1"), "accuracy"),
        ("L1", ("l1", "l2"), "l1"),
        ("ReLu", ("gelu", "ReLU"), "ReLU"),
        ("nothing", ("label-smoothing", "mixup"), None),  # only as alike as two words of any kind
        ("", ("mixup",), None),
    ],
)
def test_a_name_is_suggested_only_where_it_is_likely_to_be_meant(
    value: str, known: tuple[str, ...], near: str | None
) -> None:
    text = str(UnknownNameError("name", value, known))
    assert (f"Did you mean '{near}'?" in text) if near else ("Did you mean" not in text)


def test_of_very_many_names_those_that_are_alike_are_told() -> None:
    with pytest.raises(UnknownNameError) as found:
        dashpot.Recipe.coerce("dropot")
    text = str(found.value)
    assert re.search(
        r"one of \d+ names, such as dropout, .*Did you mean 'dropout'\? dashpot techniques lists all", text
    )
    assert len(text) < 250
    assert len(found.value.known) > 100


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("monotone", "--monotone COLUMN=1"),
        ("Batch-Norm", "--net norm=batch, or dashpot.normalization.insert"),
        ("mc-dropout", "dashpot.mc_predict"),
    ],
)
def test_what_is_no_technique_is_told_where_it_is(name: str, place: str) -> None:
    with pytest.raises(UnknownNameError, match=rf"It is no technique: see {place}"):
        dashpot.Recipe.coerce(name)
