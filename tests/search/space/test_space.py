"""The space: what it holds, what candidates it makes, and what it refuses."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest

import dashpot
from dashpot.core.errors import ConfigError, DashpotError, UnknownNameError
from dashpot.search.space.distributions import Categorical, Numeric
from dashpot.search.space.space import Space
from dashpot.search.space.technique import technique_spaces
from tests.search.helpers import small_space


class Trial:
    """A sampler of its own: uniform, or uniform in the logarithm; it remembers what it was asked."""

    def __init__(self, seed: int) -> None:
        self._random, self.asked = random.Random(seed), {}

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        self.asked[name] = (low, high, log)
        return math.exp(self._random.uniform(math.log(low), math.log(high))) if log else self._random.uniform(low, high)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        self.asked[name] = (low, high, log)
        return self._random.randint(low, high)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self.asked[name] = tuple(choices)
        return self._random.choice(list(choices))


def test_text_to_techniques() -> None:
    l1, mixup, dropout, weight = technique_spaces(
        ["l1:strength=1e-5..1e-2", "mixup", "dropout:p=0.2", "weight-decay: strength = 0.5"]
    )
    assert dict(l1.fields) == {"strength": Numeric(1e-5, 1e-2, log=True)}
    assert list(mixup.fields) == ["alpha"], "a field that is not mentioned has its own range"
    assert dropout.base == dashpot.Dropout(p=0.2)
    assert not dropout.fields, "a field with a value stays at it"
    assert weight.base == dashpot.WeightDecay(strength=0.5)
    own = technique_spaces([dashpot.Dropout(p=0.3)])[0]
    assert own.base == dashpot.Dropout(p=0.3)


def test_whole_numbers_stay_whole() -> None:
    space = small_space("early-stopping:patience=2..9")
    assert space.distributions()["early-stopping.patience"] == Numeric(
        2, 9, log=space.distributions()["early-stopping.patience"].log, integer=True
    )
    patiences = {dict(space.sample(Trial(s)).params).get("early-stopping.patience") for s in range(30)} - {None}
    assert patiences <= set(range(2, 10))
    assert all(isinstance(p, int) for p in patiences)


def test_samples_are_inside_and_conditional() -> None:
    space = small_space("l1:strength=1e-5..1e-2", "dropout:p=0.1..0.5", "mixup:alpha=0.4")
    seen = set()
    for seed in range(60):
        trial = Trial(seed)
        found = space.sample(trial)
        on = {name for name in ("l1", "dropout", "mixup") if found.params[name]}
        seen.add(frozenset(on))
        assert {t.name for t in found.recipe} == on
        assert found.size == len(on)
        assert set(trial.asked) == set(found.params), "what is off is not asked for"
        assert ("l1.strength" in found.params) == ("l1" in on)
        assert 1e-4 <= found.lr <= 1.0
        assert found.net == {"width": found.params["net.width"]}
        for technique in found.recipe:
            if technique.name == "l1":
                assert 1e-5 <= technique.strength <= 1e-2
                assert trial.asked["l1.strength"] == (1e-5, 1e-2, True)
            if technique.name == "dropout":
                assert 0.1 <= technique.p <= 0.5
            if technique.name == "mixup":
                assert technique.alpha == 0.4
        again = space.candidate(found.params)
        assert (again.recipe, again.lr, again.net) == (found.recipe, found.lr, found.net)
    assert len(seen) == 8, "every combination can be made"


def test_recipes_keep_the_order_of_the_space() -> None:
    space = small_space("dropout:p=0.1..0.5", "l1:strength=1e-5..1e-2")
    assert [t.name for t in space.default().recipe] == ["dropout", "l1"]


def test_baseline_default_without_alone() -> None:
    space = small_space("l1:strength=1e-3..1e-2", "dropout:p=0.25", "ema")
    baseline, whole = space.baseline(), space.default()
    assert (baseline.size, baseline.lr, baseline.net) == (0, 1e-2, {"width": 8})
    assert [t.name for t in whole.recipe] == ["l1", "dropout", "ema"]
    assert whole.params["l1.strength"] == 1e-3, "a default outside of the range is moved into it"
    assert dashpot.L1().strength != 1e-3
    less = space.without(whole, "l1")
    assert [t.name for t in less.recipe] == ["dropout", "ema"]
    assert not [name for name in less.params if name.startswith("l1.")]
    assert (less.lr, less.net) == (whole.lr, whole.net)
    assert space.without(space.without(less, "dropout"), "ema").params == baseline.params
    only = space.alone(whole, "dropout")
    assert list(only.recipe) == [dashpot.Dropout(p=0.25)]
    assert space.without(baseline, "l1").params == baseline.params


def test_one_technique_twice() -> None:
    space = small_space("l1:strength=1e-5..1e-4,on=name:head", "l1:strength=1e-3..1e-2")
    assert {"l1", "l1.strength", "l1.2", "l1.2.strength"} <= set(space.distributions())
    both = space.candidate(
        {**space.baseline().params, "l1": True, "l1.strength": 2e-5, "l1.2": True, "l1.2.strength": 5e-3}
    )
    assert [t.strength for t in both.recipe] == [2e-5, 5e-3]
    first = space.without(both, "l1.2")
    assert [t.strength for t in first.recipe] == [2e-5]
    second = space.without(both, "l1")
    assert [t.strength for t in second.recipe] == [5e-3], "the other one keeps its strength"
    assert [t.strength for t in space.alone(both, "l1.2").recipe] == [5e-3]
    assert [t.strength for t in space.alone(both, "l1").recipe] == [2e-5]


def test_description_tells_spaces_apart() -> None:
    one = small_space("l1:strength=1e-5..1e-2", "dropout:p=0.2")
    assert one.describe() == small_space("l1:strength=1e-5..1e-2", "dropout:p=0.2").describe()
    assert one.describe()["l1.strength"] == "1e-05..0.01 (log)"
    others = [
        ("l1:strength=1e-5..1e-3", "dropout:p=0.2"),
        ("l1:strength=1e-5..1e-2", "dropout:p=0.3"),
        ("l1:strength=1e-5..1e-2",),
    ]
    assert all(small_space(*other).describe() != one.describe() for other in others)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("l1:strength=1e-2..1e-5", ConfigError, ("L1.strength", "low below high", "1e-2..1e-5")),
        ("l1:strength=1e-3..1e-3", ConfigError, ("L1.strength", "low below high")),
        ("l1:strength=0..1e-2", ConfigError, ("L1.strength", "above 0", "logarithmic", "0..0.01", "switch")),
        ("dropout:p=0.2..1.5", ConfigError, ("Dropout.p", "1.5")),
        ("dropout:p=2", ConfigError, ("p", "2")),
        ("dropout:p", ConfigError, ("dropout", "field=value")),
        ("dropout:q=0.2", UnknownNameError, ("'q'",)),
        ("dropuot", UnknownNameError, ("'dropuot'", "Did you mean 'dropout'")),
        ("l1:scaling=a..b", ConfigError, ("L1.scaling", "has no range")),
        ("l1:strength=1e-5..", DashpotError, ("L1.strength",)),
        ("l1:strength=..1e-5", DashpotError, ("L1.strength",)),
        ("early-stopping:patience=1.5..4", ConfigError, ("EarlyStopping.patience", "1.5")),
        ("", UnknownNameError, ("''",)),
    ],
)
def test_refusals(text: str, kind: type[Exception], words: Sequence[str]) -> None:
    with pytest.raises(kind) as caught:
        technique_spaces([text])
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_linear_ranges_may_begin_at_zero() -> None:
    assert technique_spaces(["dropout:p=0..0.5"])[0].fields["p"] == Numeric(0.0, 0.5)


def test_nothing_to_search() -> None:
    with pytest.raises(ConfigError, match="something to search.*--with"):
        Space([], lr=Numeric(1e-3, 1e-3), net={"width": Categorical((8,))})
    Space([], lr=Numeric(1e-3, 1e-2))
    Space([], lr=Numeric(1e-3, 1e-3), net={"width": Categorical((8, 16))})
    Space(technique_spaces(["l1"]), lr=Numeric(1e-3, 1e-3))


def test_batch_sizes_are_a_dimension_of_their_own() -> None:
    parts, rates = technique_spaces(["l1:strength=1e-5..1e-2"]), Numeric(1e-4, 1.0, log=True)
    space = Space(
        parts, lr=rates, net={"width": Categorical((8, 12))}, batch_size=Categorical((16, 32, 64)), batch_default=32
    )
    assert list(space.distributions()) == ["l1", "l1.strength", "lr", "batch_size", "net.width"]
    assert space.describe()["batch_size"] == "16 | 32 | 64"
    seen = set()
    for seed in range(20):
        found = space.sample(Trial(seed))
        assert found.batch_size == found.params["batch_size"]
        assert set(found.net) == {"width"}, "it is no option of the network"
        assert space.candidate(found.params).batch_size == found.batch_size
        seen.add(found.batch_size)
        less, only = space.without(found, "l1"), space.alone(found, "l1")
        assert (less.batch_size, only.batch_size) == (found.batch_size, found.batch_size)
        assert less.size == 0, "it is no technique"
    assert seen == {16, 32, 64}
    assert space.baseline().batch_size == space.default().batch_size == 32
    one = Space(parts, lr=rates)
    assert "batch_size" not in one.distributions()
    assert one.baseline().batch_size is None
    assert "batch_size" not in one.baseline().params
    assert one.with_batches(Categorical((8, 16)), 16).baseline().params == {**one.baseline().params, "batch_size": 16}


def test_a_range_of_batch_sizes_has_whole_numbers() -> None:
    space = Space([], lr=Numeric(1e-3, 1e-3), batch_size=Numeric(16, 256, log=True))
    trial = Trial(0)
    sizes = [space.sample(trial).batch_size for _ in range(20)]
    assert trial.asked["batch_size"] == (16, 256, True)
    assert all(isinstance(size, int) and 16 <= size <= 256 for size in sizes)
    assert space.baseline().batch_size == 64, "the middle on its scale"


@pytest.mark.parametrize(
    "wrong",
    [
        Categorical((0, 16)),
        Categorical((16.5,)),
        Categorical((True, 16)),
        Categorical(("16",)),
        Numeric(0, 64),
        Numeric(64, 16),
        Numeric(16, 16),
    ],
)
def test_batch_sizes_that_are_none(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="^batch_size must be"):
        Space(technique_spaces(["l1"]), lr=Numeric(1e-3, 1e-2), batch_size=wrong)


def test_networks_may_have_ranges() -> None:
    space = Space(
        [], lr=Numeric(1e-3, 1e-2), net={"width": Numeric(4, 64, log=True, integer=True), "depth": Categorical((2, 1))}
    )
    assert space.baseline().net == {"width": 16, "depth": 2}
