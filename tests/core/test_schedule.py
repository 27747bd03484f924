"""Schedules as values: their text, their numbers by closed form, and what refuses them."""

from __future__ import annotations

import math
import pickle
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dashpot
from dashpot import schedules
from dashpot.core.fields import codec
from dashpot.core.fields.schedule import Moment, Schedule

NUMBERS = st.floats(-1e9, 1e9, allow_nan=False).map(lambda x: x + 0.0)
MOMENTS = st.one_of(
    st.floats(0, 100, allow_nan=False).map(lambda x: Moment(x, "%")),
    st.floats(0, 1e6, allow_nan=False).map(lambda x: Moment(x, "epochs")),
    st.integers(0, 10**9).map(lambda x: Moment(float(x), "steps")),
)


@st.composite
def any_schedule(draw: st.DrawFn, numbers: st.SearchStrategy[float] = NUMBERS) -> Schedule:
    start, end = draw(numbers), draw(numbers)
    begin, until = draw(st.none() | MOMENTS), draw(st.none() | MOMENTS)
    if until is not None and (begin is None or begin.unit == until.unit):
        low = begin.amount if begin is not None else 0.0
        if until.amount <= low:
            begin, until = (until, begin) if begin is not None and until.amount < low else (begin, None)
    if start == end and begin is None and until is None:
        begin = Moment(5.0, "steps")
    return Schedule(start, end, draw(st.sampled_from(["linear", "cosine"])), begin, until)


@given(any_schedule())
def test_text_and_value_say_the_same(schedule: Schedule) -> None:
    assert Schedule.parse(str(schedule)) == schedule
    assert hash(Schedule.parse(str(schedule))) == hash(schedule)
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert not set(str(schedule)) & set(" $`\"'\\;&|<>()*?[]#~!,"), "a shell or a recipe would read it otherwise"


@given(any_schedule(st.floats(0, 1)), any_schedule(st.floats(0, 1e6)))
def test_a_recipe_with_schedules_has_four_forms_that_say_the_same(rate: Schedule, strength: Schedule) -> None:
    recipe = dashpot.Dropout(p=rate) | dashpot.L2(strength=strength)
    assert codec.loads(codec.dumps(recipe)) == recipe
    assert codec.from_dict(codec.to_dict(recipe)) == recipe
    assert dashpot.Recipe(codec.parse(codec.to_text(t)) for t in recipe) == recipe
    assert dashpot.Dropout(p=str(rate)) == recipe[0]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("0.3to0", schedules.linear(0.3, 0)),
        ("0.30to0.0@linear", schedules.linear(0.3, 0)),
        ("0.3to0@cosine", schedules.cosine(0.3, 0)),
        ("0to1e-4@until=10%", schedules.linear(0, 1e-4, until="10%")),
        ("0.05@from=90%", schedules.window(0.05, start="90%")),
        ("5e-2@from=90 %@until=95%", schedules.window(0.05, start="90%", until="95%")),
        ("0.3to0@until=20epochs@from=5epochs", schedules.linear(0.3, 0, begin="5epochs", until="20epochs")),
        ("0.3to0@from=1epoch@cosine", schedules.cosine(0.3, 0, begin="1epochs")),
        ("0.3to0@until=500steps", schedules.linear(0.3, 0, until=Moment(500, "steps"))),
    ],
)
def test_the_text_of_each_kind(text: str, same: Schedule) -> None:
    assert Schedule.parse(text) == same


def expected(start: float, end: float, cosine: bool, first: Fraction, last: Fraction, step: int) -> float:
    """The closed form, in exact fractions of the window."""
    share = min(max((step - first) / (last - first), Fraction(0)), Fraction(1))
    weight = 0.5 - 0.5 * math.cos(math.pi * float(share)) if cosine else float(share)
    return start * (1 - weight) + end * weight


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize(
    ("options", "first", "last"),
    [
        ("", 0, 60),
        ("@until=10%", 0, 6),
        ("@from=50%", 30, 60),
        ("@from=25%@until=75%", 15, 45),
        ("@from=2epochs@until=5epochs", 24, 60),
        ("@from=0.5epochs@until=30steps", 6, 30),
        ("@until=500steps", 0, 500),  # beyond the end of the run: cut off by it
        ("@from=7epochs@until=8epochs", 84, 96),  # never reached
        ("@from=33%@until=34%", Fraction(198, 10), Fraction(204, 10)),  # less than a step
        ("@from=100%@until=61steps", 60, 61),
    ],
)
def test_every_step_by_closed_form(options: str, first: Any, last: Any, cosine: bool) -> None:
    schedule = Schedule.parse(f"0.3to0.1{options}{'@cosine' if cosine else ''}")
    for step in range(70):  # ten beyond the end
        value = schedule.value(step, steps=60, steps_per_epoch=12)
        assert value == pytest.approx(expected(0.3, 0.1, cosine, Fraction(first), Fraction(last), step), abs=1e-15)
    if first >= 0 and last <= 69:
        assert schedule.value(0, 60, 12) == 0.3
        assert schedule.value(math.ceil(last), 60, 12) == 0.1


@pytest.mark.parametrize(
    ("options", "active"),
    [
        ("@from=90%", range(54, 70)),
        ("@until=10%", range(6)),
        ("@from=1epoch@until=2epochs", range(12, 24)),
        ("@from=3steps@until=4steps", range(3, 4)),
        ("@from=99%", range(60, 70)),  # 59.4: no step of the run
        ("@from=0.01%", range(1, 70)),
        ("@from=100steps", range(0)),
    ],
)
def test_a_window_is_on_from_its_first_step_to_before_its_last(options: str, active: range) -> None:
    schedule = Schedule.parse("0.05" + options)
    assert [t for t in range(70) if schedule.value(t, 60, 12) is not None] == list(active)
    sam = dashpot.SAM(rho=schedule)
    assert [sam.at(t, 60, 12).rho for t in range(70)] == [0.05 if t in active else 0.0 for t in range(70)]


def test_outside_a_window_the_field_is_at_its_own_off_value() -> None:
    for technique, field, off in (
        (dashpot.HardThreshold(keep="0.2@from=50%"), "keep", 1.0),
        (dashpot.GradientClipping(maximum="0.2@from=50%"), "maximum", math.inf),
        (dashpot.EMA(decay="0.9@from=50%"), "decay", 0.0),
    ):
        assert getattr(technique.at(0, 10), field) == off
        assert getattr(technique.at(5, 10), field) == pytest.approx(0.2 if field != "decay" else 0.9)


def test_a_technique_without_a_schedule_is_itself_at_every_step() -> None:
    dropout = dashpot.Dropout(p=0.2)
    assert dropout.at(7) is dropout
    assert not dropout.schedules()
    scheduled = dashpot.Dropout(p="0.4to0.2@until=2steps")
    assert set(scheduled.schedules()) == {"p"}
    assert scheduled.at(1) == dashpot.Dropout(p=0.4 + (0.2 - 0.4) * 0.5)
    assert not scheduled.at(1).schedules()
    assert scheduled.at(1).at(0) == scheduled.at(1)
    assert scheduled.at(9) == dropout
    assert "p" not in scheduled.space()


@pytest.mark.parametrize(
    ("text", "lengths", "message"),
    [
        ("dropout:p=0.3to0", {}, r"Dropout\(p=0.3to0\): 100% of a run needs the run's length. Attach with steps="),
        ("dropout:p=0.3@from=90%", {"steps_per_epoch": 3}, "90% of a run needs the run's length"),
        ("dropout:p=0.3@from=2epochs", {"steps": 9}, "needs the length of an epoch. Attach with steps_per_epoch="),
        ("l2:strength=0to1@from=50steps@until=10%", {"steps": 90}, "begins at step 50 of this run and ends at step 9"),
    ],
)
def test_a_length_that_is_needed_and_not_known_is_a_conflict(text: str, lengths: dict[str, int], message: str) -> None:
    with pytest.raises(dashpot.ConflictError, match=message):
        codec.parse(text).at(0, **lengths)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dropout:p=0.3to2", r"Dropout.p must be a number in \[0, 1\], all through its schedule, got '0.3to2'"),
        ("dropout:p=0.3to", "or a schedule such as 0.3to0"),
        ("dropout:p=0.3@from=5", "schedule's from must be a share such as 90%"),
        ("dropout:p=0.3@from=120%", "a share is at most 100%"),
        ("dropout:p=0.3@from=-1steps", "schedule's from must be"),
        ("dropout:p=0.3@cubic", "or a schedule such as"),
        ("dropout:p=0.3@from=5%@from=6%", "at most once"),
        ("dropout:p=0.3@linear", "what stays the same needs none"),
        ("dropout:p=0.3@from=50%@until=20%", r"after its beginning \(50%\)"),
        ("dropout:p=0.3to0@until=0%", "after its beginning"),
        ("l2:strength=infto0", "a finite number"),
        ("early-stopping:patience=3to4", "the same all through the run, got '3to4'. It follows no schedule"),
        ("n-of-m:n=1to2", "follows no schedule"),
        ("elastic-net:l1_ratio=0.3@from=10%", "no value at which it is off"),
        ("mcp:gamma=1to3", "MCP.gamma must be a number > 1, finite, all through its schedule"),
    ],
)
def test_a_bad_schedule_gets_one_clear_message(text: str, message: str) -> None:
    with pytest.raises(dashpot.ConfigError, match=message):
        codec.parse(text)


def test_arguments_that_are_no_fields_take_no_schedule() -> None:
    import torch

    with pytest.raises(dashpot.ConfigError, match="lr must be a number > 0"):
        dashpot.fit(torch.nn.Linear(1, 1), (torch.ones(2, 1), torch.ones(2, 1)), lr="1to0", progress=False)
