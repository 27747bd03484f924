"""``Schedule``: a number that changes over the training run, in place of a constant.

It may stand wherever a field's domain is a :class:`~dashpot.core.fields.domains.Range`, in Python, in TOML and on the
command line, always in the same words::

    0.3to0                                 linear over the whole run
    0.3to0@cosine                          half a cosine wave over the whole run
    0to1e-4@until=10%                      rises over the first tenth, then stays
    0.05@from=90%                          0.05 in the last tenth, the field's off value before
    0.3to0@from=5epochs@until=20epochs     0.3 up to epoch 5, falling until epoch 20, then 0
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from dashpot.core.errors import ConfigError, ConflictError

Shape = Literal["linear", "cosine"]
SHAPES = ("linear", "cosine")
UNITS = ("%", "epochs", "steps")
RULE = "a schedule such as 0.3to0, 0.3to0@cosine, 0to1e-4@until=10% or 0.05@from=90%"
_MOMENT_RULE = "a share such as 90%, or a count such as 5epochs or 500steps, >= 0 and finite"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?inf"
_MOMENT = re.compile(rf"({_NUMBER})\s*(%|epochs?|steps?)")
_VALUES = re.compile(rf"({_NUMBER})(?:to({_NUMBER}))?")


@dataclass(frozen=True)
class Moment:
    """A point of a run.

    Attributes:
        amount: how many, >= 0.
        unit: ``"%"`` of the run's optimizer steps, ``"epochs"`` or ``"steps"``.
    """

    amount: float
    unit: Literal["%", "epochs", "steps"]

    @staticmethod
    def parse(parameter: str, value: Any) -> Moment:
        """From text such as ``"90%"``, ``"5epochs"`` or ``"500steps"``; a moment stays as it is.

        Raises:
            ConfigError: anything else, or a share above 100 %.
        """
        if isinstance(value, Moment):
            return value
        found = _MOMENT.fullmatch(value.strip()) if isinstance(value, str) else None
        if found is None:
            raise ConfigError(parameter, _MOMENT_RULE, value)
        amount, unit = float(found[1]), found[2]
        if not 0 <= amount < math.inf or (unit == "%" and amount > 100):
            raise ConfigError(parameter, _MOMENT_RULE + ("; a share is at most 100%" if unit == "%" else ""), value)
        return Moment(amount, "%" if unit == "%" else "epochs" if unit.startswith("epoch") else "steps")

    def step(self, steps: int | None, steps_per_epoch: float | None) -> float:
        """The optimizer step at which it is, not rounded.

        Raises:
            ConflictError: the length of the run, or of an epoch, is needed and not known.
        """
        if self.unit == "steps":
            return self.amount
        if self.unit == "%":
            if steps is None:
                raise ConflictError(
                    f"{self} of a run needs the run's length. Attach with steps= (its optimizer steps), or count in"
                    " steps, such as 500steps."
                )
            return self.amount * steps / 100
        if steps_per_epoch is None:
            raise ConflictError(
                f"{self} needs the length of an epoch. Attach with steps_per_epoch=, or count in steps, such as"
                " 500steps."
            )
        return self.amount * steps_per_epoch

    def __str__(self) -> str:
        return f"{plain(self.amount)}{self.unit}"


@dataclass(frozen=True)
class Schedule:
    r"""A number that goes from ``start`` to ``end`` between two moments of a run, or that acts between them only.

    .. math:: v(t) = a + (b - a)\, f\!\Big(\frac{t - t_0}{t_1 - t_0}\Big), \qquad
        f(x) = x \text{ (linear), } \tfrac{1 - \cos \pi x}{2} \text{ (cosine)}

    with x held in [0, 1]: before ``begin`` it is ``start``, from ``until`` on it is ``end``, as in
    ``torch.optim.lr_scheduler.LinearLR``. Where start and end are equal, it is a window: the number from ``begin`` to
    before ``until``, and the field's off value outside. ``t`` counts completed optimizer steps, so 0 is the first.

    Args:
        start, end: the two values.
        shape: ``"linear"`` or ``"cosine"``.
        begin: when it begins, such as ``"10%"``, ``"5epochs"`` or ``"500steps"``; None: with the run.
        until: when it ends; None: with the run.

    Raises:
        ConfigError: values that are not finite, an unknown shape, a moment that cannot be read, or an end that is not
            after the beginning.

    Example:
        >>> import dashpot
        >>> schedule = Schedule.parse("0.4to0@until=50%")
        >>> [schedule.value(step, steps=8) for step in (0, 1, 2, 3, 4, 7)]
        [0.4, 0.30000000000000004, 0.2, 0.09999999999999998, 0.0, 0.0]
        >>> print(dashpot.Dropout(p=schedule))
        Dropout(p='0.4to0@until=50%')
    """

    start: float
    end: float
    shape: Shape = "linear"
    begin: Moment | None = None
    until: Moment | None = None

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ConfigError(f"schedule.{name}", "a finite number", value)
            object.__setattr__(self, name, float(value) + 0.0)  # -0.0 is 0.0
        if self.shape not in SHAPES:
            raise ConfigError("schedule.shape", f"one of {', '.join(SHAPES)}", self.shape)
        for name in ("begin", "until"):
            if (moment := getattr(self, name)) is not None:
                object.__setattr__(self, name, Moment.parse(f"schedule.{name}", moment))
        if self.until is not None:
            first = self.begin or Moment(0.0, self.until.unit)
            if first.unit == self.until.unit and not first.amount < self.until.amount:
                raise ConfigError("schedule.until", f"after its beginning ({first})", str(self.until))
        if self.window:
            if self.begin is None and self.until is None:
                raise ConfigError(
                    "a schedule",
                    "of two values or with a moment, since what stays the same needs none",
                    plain(self.start),
                )
            object.__setattr__(self, "shape", "linear")  # one form for one meaning

    @property
    def window(self) -> bool:
        """Whether it is one number, with the field's off value outside of its moments."""
        return self.start == self.end

    @staticmethod
    def parse(text: str) -> Schedule:
        """Read the text form.

        Raises:
            ConfigError: text that is no schedule.
        """
        head, *options = (part.strip() for part in text.strip().split("@"))
        values = _VALUES.fullmatch(head)
        if values is None or (values[2] is None and not options):
            raise ConfigError("schedule", RULE, text)
        found: dict[str, Any] = {}
        for option in options:
            name, equals, moment = option.partition("=")
            key = {"from": "begin", "until": "until"}.get(name.strip()) if equals else "shape"
            if key is None or key in found or (key == "shape" and option not in SHAPES):
                rule = f"written with a shape (@{', @'.join(SHAPES)}), @from= and @until= at most once each"
                raise ConfigError("a schedule", rule, text)
            found[key] = option if key == "shape" else Moment.parse(f"schedule's {name.strip()}", moment)
        start = float(values[1])
        return Schedule(start, start if values[2] is None else float(values[2]), **found)

    @staticmethod
    def looks_like(value: Any) -> bool:
        """Whether it is a schedule, or text that looks like one."""
        return isinstance(value, Schedule) or (
            isinstance(value, str) and ("@" in value or re.search(rf"(?:{_NUMBER})to", value) is not None)
        )

    def bounds(self, steps: int | None = None, steps_per_epoch: float | None = None) -> tuple[float, float]:
        """The optimizer steps at which it begins and ends; for a window without an end, infinity.

        Raises:
            ConflictError: a length is needed that is not known, or it would end before it begins.
        """
        first = self.begin.step(steps, steps_per_epoch) if self.begin is not None else 0.0
        if self.until is None and self.window:
            return first, math.inf
        last = (self.until or Moment(100.0, "%")).step(steps, steps_per_epoch)
        if self.until is not None and not first < last:
            raise ConflictError(
                f"the schedule {self} begins at step {plain(first)} of this run and ends at step {plain(last)}. Give"
                " both moments in one unit, or a longer run."
            )
        return first, last

    def value(self, step: int, steps: int | None = None, steps_per_epoch: float | None = None) -> float | None:
        """The number at an optimizer step; None where the field's off value is meant.

        Args:
            step: optimizer steps completed; 0 is the first.
            steps: the run's length in optimizer steps.
            steps_per_epoch: optimizer steps of an epoch.

        Raises:
            ConflictError: as :meth:`bounds`.
        """
        first, last = self.bounds(steps, steps_per_epoch)
        if self.window:
            return self.start if first <= step < last else None
        if step <= first:
            return self.start
        if step >= last:
            return self.end
        share = (step - first) / (last - first)
        share = share if self.shape == "linear" else (1 - math.cos(math.pi * share)) / 2
        return self.start + (self.end - self.start) * share

    def scaled(self, factor: float) -> Schedule:
        """The same schedule with both values multiplied."""
        return Schedule(self.start * factor, self.end * factor, self.shape, self.begin, self.until)

    def describe(self, name: str, off: float | None, steps: int | None, steps_per_epoch: float | None) -> str:
        """In words, for the plan of a run: ``"p from 0.5 to 0, linear, over steps 0 to 20 of 40"``."""
        first, last = (plain(math.ceil(b) if math.isfinite(b) else b) for b in self.bounds(steps, steps_per_epoch))
        whole = f" of {steps}" if steps is not None else ""
        if self.window:
            until = "on" if last == "inf" else f"to {last}{whole}"
            return f"{name} {plain(self.start)} from step {first} {until}, else {plain(off or 0.0)}"
        values = f"{plain(self.start)} to {plain(self.end)}"
        return f"{name} from {values}, {self.shape}, over steps {first} to {last}{whole}"

    def __str__(self) -> str:
        text = plain(self.start) + ("" if self.window else f"to{plain(self.end)}")
        text += "" if self.shape == "linear" else f"@{self.shape}"
        text += f"@from={self.begin}" if self.begin is not None else ""
        return text + (f"@until={self.until}" if self.until is not None else "")

    def __repr__(self) -> str:
        return f"Schedule({str(self)!r})"

    def __format__(self, spec: str) -> str:
        """Its text, whatever the format of a number that it stands for."""
        return str(self)


def plain(number: float) -> str:
    """A number in few characters that read as the same number."""
    short = f"{number:g}"
    return short if float(short) == number else repr(float(number))
