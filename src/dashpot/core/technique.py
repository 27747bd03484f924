"""``Technique``: one regularizer, and the points of a training step at which it may act.

A technique is a frozen dataclass of hyper-parameters. Its maths lives beside it in pure functions on tensors, written
for one model, with strengths that may be 0-d tensors and with random draws as arguments; the ``on_*`` methods only
fetch, call and store. Define the methods you need: the session checks once, at attach, which ones a class defines.
"""

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
from dashpot.core.points import Handle as Handle
from dashpot.core.points import Points
from dashpot.core.points import Scores as Scores
from dashpot.core.points import Verdict as Verdict
from dashpot.core.preset import Preset
from dashpot.core.registry import kind_of, register
from dashpot.core.requires import Requires
from dashpot.core.running.context import State as State
from dashpot.core.stacks.stacked import StackedTechnique

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from dashpot.core.recipe import Recipe
    from dashpot.core.running.session import Session
    from dashpot.core.running.view import ModelView


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field,))
class Technique(Points):
    """The base class of every regularizer. A subclass automatically becomes a frozen dataclass, registered by its name.

    Fields are keyword-only; the first one may be given without its name where it is written as
    ``field(default=0.1, kw_only=False)``.

    Class attributes:
        version: raised when the meaning of a field changes; recipes carry it.
        summary: what it does, in a few words, for lists and plans; a base class has none, and recipes do not know it by
            name.
        exclusive: slots that one technique of a recipe may hold at most, each for what :meth:`acts_on` says, such as
            ``"averaged weights"``, or ``"proximal step"`` of a parameter.
        requires: what it needs of data, task and loop.
        order: its place among those that act at the same point of a step, low first; ties keep the recipe's order.
        evaluations: gradients it needs per step; above 1 the optimizer must be stepped with a closure.
        together: acts in one call for all consecutive techniques on batches whose classes name the same function: it
            gets the (technique, context) pairs and the batch, and returns the batch. ``on_batch`` does so for one.
        takes_bytes: its ``on_batch`` takes images as bytes (uint8) where the loop says ``modality="image"``, and
            returns them as float32 in [0, 1].
        sparse_gradients: its ``on_gradient`` also takes sparse gradients, as of ``nn.Embedding(sparse=True)``.
        stacked: how it acts on a stack of members, in populations; without one, members with it are trained one by one.
        waivers: laws that do not hold for it, each with the reason, which its card prints.
        replaced: fields of earlier versions, each with what to write now.
        preset: its place in the default search space; None: it is searched only where it is named.

    Raises:
        ConfigError: a field's value is not in its domain.

    Example:
        >>> import torch, dashpot
        >>> class SignedGradient(dashpot.Technique):
        ...     def on_gradient(self, params, ctx):
        ...         for g in params.grads:
        ...             g.sign_()
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        >>> with (SignedGradient() | dashpot.WeightDecay(strength=0.0)).attach(model, optimizer):
        ...     before = model.weight.detach().clone()
        ...     model(torch.tensor([[3.0, -7.0]])).sum().backward(); _ = optimizer.step()
        >>> before - model.weight.detach()
        tensor([[ 0.5000, -0.5000]])
        >>> dashpot.Dropout.fields()["p"].domain.rule
        'a number in [0, 1]'
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
            self._with({name: getattr(schedule, end) for name, schedule in scheduled.items()}).validate()

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
        numbers = {}
        for name, schedule in self._schedules.items():
            try:
                number = schedule.value(step, steps, steps_per_epoch)
            except ConflictError as error:
                raise ConflictError(f"{type(self).__name__}({name}={schedule}): {error}") from None
            numbers[name] = fields_of(type(self))[name].domain.off if number is None else number
        return self._with(numbers)

    def _with(self, numbers: Mapping[str, Any]) -> Self:
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

    def asks(self) -> int:
        """Gradients it asks for in a step, with its present numbers: at most ``evaluations``."""
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

    def __or__(self, other: Technique | Recipe) -> Recipe:
        from dashpot.core.recipe import Recipe

        return Recipe((self,)) | other

    def attach(self, model: nn.Module, optimizer: Optimizer, **options: Any) -> Session:
        """Attach this one technique; see :meth:`Recipe.attach`."""
        from dashpot.core.recipe import Recipe

        return Recipe((self,)).attach(model, optimizer, **options)

    @classmethod
    def _head(cls) -> str:
        """The field that may be given without its name, or the first one."""
        own = [f for f in dataclasses.fields(cls) if f.name in fields_of(cls)]  # type: ignore[arg-type]  # a dataclass
        return next((f.name for f in own if not f.kw_only), own[0].name if own else "")

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
