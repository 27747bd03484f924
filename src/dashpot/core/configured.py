"""``Configured``: a regularizer as data, a frozen dataclass of hyper-parameters with a name and schedules."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, dataclass_transform

from dashpot.core.errors import ConflictError
from dashpot.core.fields.domains import Domain, FieldSpec, fields_of
from dashpot.core.fields.schedule import Schedule
from dashpot.core.fields.select import Where
from dashpot.core.notebook import table, titled
from dashpot.core.points import Points
from dashpot.core.points import Scores as Scores
from dashpot.core.points import Verdict as Verdict
from dashpot.core.preset import Preset
from dashpot.core.registry import kind_of, register
from dashpot.core.requires import Requires
from dashpot.core.rules import Rule
from dashpot.core.running.context import State as State
from dashpot.core.stacks.stacked import StackedTechnique

if TYPE_CHECKING:
    from dashpot.core.running.view import ModelView


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field,))
class Configured(Points):
    """All of a :class:`~dashpot.core.technique.Technique` but what makes recipes of it. A subclass becomes a frozen
    dataclass, registered by its name.
    """

    version: ClassVar[int] = 1
    summary: ClassVar[str] = ""
    exclusive: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[Requires] = Requires()
    order: ClassVar[int] = 0
    evaluations: ClassVar[int] = 1
    stacked: ClassVar[type[StackedTechnique] | None] = None
    waivers: ClassVar[Mapping[str, str]] = {}
    replaced: ClassVar[Mapping[str, str]] = {}
    preset: ClassVar[Preset | tuple[Preset, ...] | None] = None
    rules: ClassVar[tuple[Rule, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(frozen=True, kw_only=True)(cls)
        if cls.evaluations > 1 and not cls.requires.closure:
            cls.requires = dataclasses.replace(cls.requires, closure=True)
        if cls.summary:
            register(cls)

    def __post_init__(self) -> None:
        scheduled = {}
        for spec in fields_of(type(self)).values():
            value = spec.domain.check(f"{type(self).__name__}.{spec.name}", getattr(self, spec.name))
            object.__setattr__(self, spec.name, value)
            if isinstance(value, Schedule):
                scheduled[spec.name] = value
        if not scheduled:
            self.validate()
            return
        object.__setattr__(self, "_schedules", scheduled)
        for end in ("start", "end"):  # rules on several fields are about numbers
            self.with_numbers({name: getattr(schedule, end) for name, schedule in scheduled.items()}).validate()

    def validate(self) -> None:
        """Check rules that concern several fields at once; raise :class:`~dashpot.core.errors.ConfigError`. Fields are
        numbers here, also where a schedule was given.
        """

    @classmethod
    def upgrade(cls, version: int, values: dict[str, Any]) -> dict[str, Any]:
        """The fields of a recipe of an earlier ``version`` as fields of this one; raise ConfigError where nothing says
        the same. Called by the codec where the versions differ.
        """
        return values

    # --- schedules ---------------------------------------------------------------------------------------------------

    _schedules: ClassVar[Mapping[str, Schedule]] = {}  # an instance with schedules has its own

    def schedules(self) -> Mapping[str, Schedule]:
        """The fields that follow the training, by name."""
        return self._schedules

    def numbers_at(self, step: int, steps: int | None = None, steps_per_epoch: float | None = None) -> dict[str, float]:
        """What the fields that follow the training are at an optimizer step, as for :meth:`at`."""
        numbers = {}
        for name, schedule in self._schedules.items():
            try:
                number = schedule.value(step, steps, steps_per_epoch)
            except ConflictError as error:
                raise ConflictError(f"{type(self).__name__}({name}={schedule}): {error}") from None
            numbers[name] = fields_of(type(self))[name].domain.off if number is None else number
        return numbers

    def at(self, step: int, steps: int | None = None, steps_per_epoch: float | None = None) -> Self:
        """The technique with plain numbers, as it acts at an optimizer step; itself where it has no schedule.

        Args:
            step: optimizer steps completed; 0 is the first.
            steps: the run's length in optimizer steps.
            steps_per_epoch: optimizer steps of an epoch.

        Raises:
            ConflictError: a schedule needs a length that is not given.
        """
        if not self._schedules:
            return self
        return self.with_numbers(self.numbers_at(step, steps, steps_per_epoch))

    def with_numbers(self, numbers: Mapping[str, Any]) -> Self:
        """A copy with these in place of its schedules. They lie between values that were checked."""
        now = copy.copy(self)
        for name, number in numbers.items():
            object.__setattr__(now, name, number)
        now.__dict__.pop("_schedules", None)
        return now

    # --- the rest is derived -----------------------------------------------------------------------------------------

    @classmethod
    def kind(cls) -> str:
        """The name in recipes and on the command line: the class name in kebab case, ``LabelSmoothing`` ->
        ``label-smoothing``.
        """
        return kind_of(cls)

    @property
    def name(self) -> str:
        return self.kind()

    @classmethod
    def fields(cls) -> dict[str, FieldSpec]:
        """Hyper-parameters with their domains."""
        return fields_of(cls)

    @classmethod
    def off_values(cls) -> dict[str, Any]:
        """The field values at which it does nothing, or an empty mapping where there are none."""
        return {spec.name: spec.domain.off for spec in fields_of(cls).values() if spec.domain.off is not None}

    def space(self) -> dict[str, Domain]:
        """The fields that a search may vary, by name; one with a schedule stays as it is."""
        return {
            spec.name: spec.domain
            for spec in fields_of(type(self)).values()
            if getattr(spec.domain, "search", None) and spec.name not in self._schedules
        }

    def asks(self, step: int) -> int:
        """Gradients it asks for in this optimizer step (0 is the first), with its present numbers: at most
        ``evaluations``.
        """
        return self.evaluations

    def describe(self, view: ModelView) -> str:
        """Where it acts, for :meth:`Session.plan`."""
        on = getattr(self, "on", None)
        if not isinstance(on, Where):
            return self.summary
        params, chosen = view.params(on), view.names(on)
        text = f"{self.summary}: {len(params)} tensors, {sum(p.numel() for p in params.tensors):,} values ({on})"
        left = len(chosen) - len(params)
        return text + (f"; {left} more are not in the optimizer and are left alone" if left else "")

    def slots(self) -> frozenset[tuple[str, str]]:
        """Its exclusive slots, each with the part of the network that ``on`` names. Two techniques that share one are
        alternatives: a recipe holds at most one of them.
        """
        return frozenset((slot, str(getattr(self, "on", ""))) for slot in self.exclusive)

    @classmethod
    def _head(cls) -> str:
        """The field that may be given without its name, or the first one."""
        own = [f for f in dataclasses.fields(cls) if f.name in fields_of(cls)]  # type: ignore[arg-type]  # a dataclass
        return next((f.name for f in own if not f.kw_only), own[0].name if own else "")

    def _repr_html_(self) -> str:
        """In a notebook: its settings."""
        rows = [(s.name, _text(getattr(self, s.name))) for s in fields_of(type(self)).values()]
        return titled(f"{type(self).__name__}: {self.summary}", table(("", ""), rows))

    def __str__(self) -> str:
        changed = [
            f"{s.name}={_text(getattr(self, s.name))}"
            for s in fields_of(type(self)).values()
            if getattr(self, s.name) != s.default
        ]
        head = self._head()
        if head and getattr(self, head) is not None and not any(part.startswith(f"{head}=") for part in changed):
            changed.insert(0, f"{head}={_text(getattr(self, head))}")
        return f"{type(self).__name__}({', '.join(changed)})"


def _text(value: Any) -> str:
    return (
        f"{value:g}"
        if isinstance(value, float)
        else repr(value)
        if isinstance(value, str | int | None)
        else repr(str(value))
    )
