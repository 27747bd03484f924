"""``Session``: a recipe attached to a model and an optimizer; the one mutable object."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dashpot.core import conflicts
from dashpot.core.batch import Batch, weights_for
from dashpot.core.context import Context
from dashpot.core.errors import ConfigError, UsageError
from dashpot.core.modes import evaluating
from dashpot.core.plan import plan_text
from dashpot.core.points import Attached, Handle, Scores, Verdict
from dashpot.core.rng import stream
from dashpot.core.run import Run
from dashpot.core.space import check_whole
from dashpot.core.stepper import Stepper
from dashpot.core.tensors import adopt, put, tensors
from dashpot.core.view import ModelView

if TYPE_CHECKING:
    from dashpot.core.recipe import Recipe

POINTS = ("on_model", "on_batch", "on_loss", "on_gradient", "on_update", "on_step", "on_epoch", "weights", "final")


class Session:
    """A recipe at work. Made by :meth:`Recipe.attach`.

    A recipe that acts on the model, gradients or weights needs nothing but the attachment; one that acts on inputs or
    losses needs two calls in the loop, :meth:`batch` and :meth:`loss`. Leaving ``with`` in whatever way puts the final
    weights (the best or the averaged ones) into the model and takes every hook away.

    Raises:
        ConfigError: ``targets`` that are not known.
        ConflictError: as for :meth:`Recipe.attach`.
        UsageError: a call after the end, or an optimizer step without a call that the recipe needs.

    Example:
        >>> import torch, dashpot
        >>> from torch.nn.functional import cross_entropy
        >>> x, y = torch.randn(32, 4), torch.randint(3, (32,))
        >>> model = torch.nn.Linear(4, 3)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with (dashpot.Mixup() | dashpot.EMA()).attach(model, optimizer, seed=0, classes=3) as session:
        ...     for rows in torch.randperm(32).split(8):
        ...         batch = session.batch(x[rows], y[rows])
        ...         out = model(batch.x)
        ...         session.loss(cross_entropy(out, batch.y, reduction="none"), out).backward()
        ...         optimizer.step(); optimizer.zero_grad()
        >>> session.step
        4
    """

    def __init__(
        self,
        recipe: Recipe,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        seed: int,
        classes: int | None,
        targets: str | None,
        batch_size: int | None,
        closure: bool,
        ignore_index: int | None,
        steps: int | None = None,
        steps_per_epoch: int | None = None,
    ) -> None:
        if targets not in (None, "classes", "values", "multilabel"):
            raise ConfigError("targets", "one of classes, values, multilabel or None", targets)
        self.recipe = recipe
        rank = (
            torch.distributed.get_rank()
            if torch.distributed.is_available() and torch.distributed.is_initialized()
            else 0
        )
        self.run = Run(
            ModelView(model, optimizer), optimizer, seed, self.snapshot, rank, classes, targets, ignore_index
        )
        self.run.steps = None if steps is None else check_whole("steps", steps)
        self.run.steps_per_epoch = None if steps_per_epoch is None else check_whole("steps_per_epoch", steps_per_epoch)
        self._closed = self._finished = False
        self._handles: list[Handle] = []
        self.actors: list[Attached] = [
            (t, Context(self.run, path, stream(seed, path), t)) for path, t in zip(recipe.paths(), recipe, strict=True)
        ]
        self._scheduled = [(t, ctx) for t, (_, ctx) in zip(recipe, self.actors, strict=True) if t.schedules()]
        if self._scheduled:
            self.run.on_move(self._follow_schedules)
        self._at: dict[str, list[Attached]] = {
            point: sorted((actor for actor in self.actors if actor[0].defines(point)), key=lambda actor: actor[0].order)
            for point in POINTS
        }
        self.run.sparse = conflicts.check(
            self.actors, self.view, batch_size=batch_size, closure=closure, acts_on_model=bool(self._at["on_model"])
        )
        try:
            for technique, ctx in self.actors:
                ctx.state = technique.init(self.view, ctx)
            for technique, ctx in self._at["on_model"]:
                self._handles.extend(technique.on_model(self.view, ctx))
            if self.actors:
                self._handles.append(Stepper(self.run, self._at))
        except BaseException:
            self._remove_handles()
            raise

    # --- what a loop calls -------------------------------------------------------------------------------------------

    def batch(self, x: Any, y: Any, weight: Tensor | None = None) -> Batch:
        """Pass one micro-batch through the techniques that act on inputs and targets.

        Args:
            x: the input, [batch, ...].
            y: the target.
            weight: sample weights [batch].

        Returns:
            The batch to train on. In evaluation mode it is the one that came.
        """
        self._demand_open()
        batch = Batch(x, y, y, weight)
        if self.view.model.training:
            self.run.begin()
            self.run.batch = batch
            for _, ctx in self._at["on_batch"]:
                self.run.batch = batch = ctx.technique.on_batch(batch, ctx)
            self.run.called.add("on_batch")
        self.run.batch = batch
        return batch

    def loss(self, per_sample: Tensor, out: Any = None) -> Tensor:
        """Reduce a per-sample loss, once, after the techniques that act on losses.

        Args:
            per_sample: the criterion with ``reduction="none"``, [batch] or [batch, ...].
            out: the model's output; techniques such as label smoothing read it.

        Returns:
            The scalar to call ``backward`` on: the mean over samples, weighted by the batch's sample weights, without
            ignored positions.
        """
        self._demand_open()
        if per_sample.ndim == 0:
            raise UsageError(
                "session.loss needs the loss of each sample, got one number. Compute the criterion with"
                ' reduction="none".'
            )
        if self.view.model.training:
            for _, ctx in self._at["on_loss"]:
                per_sample = ctx.technique.on_loss(per_sample, out, ctx)
            self.run.called.add("on_loss")
        weight = weights_for(per_sample, self.run.batch, self.run.ignore_index)
        if weight is None:
            return per_sample.mean()
        return (per_sample * weight).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)

    def epoch(self, scores: Scores) -> Verdict:
        """Close an epoch with its scores, such as ``{"val_loss": 0.3}``; take them inside :meth:`evaluate`."""
        self._demand_open()
        self.run.epochs += 1
        verdicts = [ctx.technique.on_epoch(scores, ctx) for _, ctx in self._at["on_epoch"]]
        return Verdict(
            stop=any(v.stop for v in verdicts),
            best=any(v.best for v in verdicts),
            reason="; ".join(v.reason for v in verdicts if v.stop and v.reason),
        )

    @contextlib.contextmanager
    def evaluate(self) -> Iterator[nn.Module]:
        """Evaluation mode, with the averaged weights in place if the recipe keeps any; the raw ones are back
        afterwards.
        """
        model = self.view.model
        own = tensors(model)
        averaged = {} if self._finished else self._averaged()
        saved = {name: own[name].detach().clone() for name in averaged}
        with evaluating(self.view.wrapper):
            put(own, averaged)
            try:
                yield self.view.wrapper
            finally:
                put(own, saved)

    def finish(self) -> None:
        """Put the final weights into the model: the best ones where a technique keeps them, else the averaged, else the
        last.
        """
        if self._finished:
            return
        put(tensors(self.view.model), self._final())
        self._finished = True

    def close(self) -> None:
        """Take every hook away. The model is plain again; weights stay as they are."""
        self._remove_handles()
        self._closed = True

    def export(self) -> nn.Module:
        """A plain deep copy of the model with its final weights and no trace of Dashpot, in evaluation mode."""
        twin = copy.deepcopy(self.view.model)
        for handle in self._handles:
            if strip := getattr(handle, "strip", None):
                strip(twin)
        if not self._finished:
            put(tensors(twin), self._final())
        return twin.eval()

    def plan(self) -> str:
        """What acts where, on how many parameters, in the order in which it acts."""
        lengths = self.run.steps, self.run.steps_per_epoch
        schedules = {
            ctx.path: [s.describe(name, t.fields()[name].domain.off, *lengths) for name, s in t.schedules().items()]
            for t, ctx in self._scheduled
        }
        return plan_text(str(self.recipe), self._at, self.view, schedules)

    # --- state -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Counters and the state of each technique; random streams need none."""
        return {
            "recipe": self.recipe.to_dict(),
            "seed": self.seed,
            "step": self.step,
            "epochs": self.epochs,
            "techniques": {ctx.path: ctx.state for _, ctx in self.actors},
            **({"steps": self.run.steps, "steps_per_epoch": self.run.steps_per_epoch} if self._scheduled else {}),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken.

        Raises:
            ConfigError: it belongs to another recipe or seed.
        """
        if state["recipe"] != self.recipe.to_dict():
            raise ConfigError(
                "recipe",
                f"the one that the saved state belongs to ({_told(state['recipe'])})",
                str(self.recipe),
                "Attach that recipe, or start afresh.",
            )
        if state["seed"] != self.seed:
            raise ConfigError("seed", f"the one that the saved state belongs to ({state['seed']})", self.seed)
        for name in ("steps", "steps_per_epoch") if self._scheduled else ():
            if state[name] != getattr(self.run, name):
                raise ConfigError(
                    name,
                    f"what the saved state's schedules were laid out for ({state[name]})",
                    getattr(self.run, name),
                    "Attach with that length, or start afresh.",
                )
        self.run.step, self.run.epochs = int(state["step"]), int(state["epochs"])
        for _, ctx in self.actors:
            ctx.state = adopt(ctx.state, state["techniques"][ctx.path])
        self.run.rewind()

    def snapshot(self) -> dict[str, Tensor]:
        """A deep copy of the parameters and buffers that evaluation sees."""
        current = {name: tensor.detach().clone() for name, tensor in tensors(self.view.model).items()}
        return {**current, **{name: tensor.detach().clone() for name, tensor in self._averaged().items()}}

    # --- what others read --------------------------------------------------------------------------------------------

    @property
    def view(self) -> ModelView:
        """The model with its roles and groups."""
        return self.run.view

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer whose ``step`` is hooked."""
        return self.run.optimizer

    @property
    def seed(self) -> int:
        return self.run.seed

    @property
    def step(self) -> int:
        """Optimizer steps completed."""
        return self.run.step

    @property
    def epochs(self) -> int:
        """Epochs completed."""
        return self.run.epochs

    def move_to(self, step: int, epochs: int) -> None:
        """Take the counters to another point of the run; draws and schedules follow them."""
        self.run.step, self.run.epochs = step, epochs
        self.run.rewind()

    def _follow_schedules(self) -> None:
        """Each technique with a schedule as it acts at this optimizer step."""
        for technique, ctx in self._scheduled:
            ctx.follow(technique.at(self.run.step, self.run.steps, self.run.steps_per_epoch))

    def _averaged(self) -> dict[str, Tensor]:
        chosen: dict[str, Tensor] = {}
        for _, ctx in self._at["weights"]:
            chosen.update(ctx.technique.weights(ctx) or {})
        return chosen

    def _final(self) -> dict[str, Tensor]:
        chosen = self._averaged()
        for _, ctx in self._at["final"]:
            chosen.update(ctx.technique.final(ctx) or {})
        return chosen

    def _demand_open(self) -> None:
        if self._closed:
            raise UsageError("this session is closed. Attach the recipe again.")

    def _remove_handles(self) -> None:
        while self._handles:
            self._handles.pop().remove()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._closed:
            try:
                self.finish()
            finally:
                self.close()


def _told(recipe: Any) -> str:
    """A saved recipe in words."""
    entries = recipe.get("technique", []) if isinstance(recipe, Mapping) else []
    texts = [
        f"{entry.get('name')}({', '.join(f'{k}={v}' for k, v in entry.items() if k not in ('name', 'version'))})"
        for entry in entries
    ]
    return " | ".join(texts) or "an empty one"
