"""``Session``: a recipe attached to a model and an optimizer; the one mutable object."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from dashpot.core.errors import ConfigError, UsageError
from dashpot.core.fields.domains import check_whole
from dashpot.core.points import Scores, Verdict
from dashpot.core.requires import check_modality
from dashpot.core.running.acting import Acting
from dashpot.core.running.attach import Mark, Techniques, plain_optimizer, rank_of_draws, refuse_keras
from dashpot.core.running.batch import Batch, make_batch
from dashpot.core.running.criteria import Criterion
from dashpot.core.running.cut import Cut
from dashpot.core.running.modes import evaluating, holding
from dashpot.core.running.objective import objective
from dashpot.core.running.passes import mean_over_ranks
from dashpot.core.running.plan import Plan, plan_text
from dashpot.core.running.run import Run
from dashpot.core.running.saving import restore, saved
from dashpot.core.running.scheduling import Scheduling
from dashpot.core.running.tensors import put, tensors
from dashpot.core.running.view import ModelView


class Session:
    """A recipe at work. Made by :meth:`Recipe.attach`.

    A recipe that acts on the model, gradients or weights needs nothing but the attachment; one that acts on inputs or
    losses needs two calls in the loop, :meth:`batch` and :meth:`loss`. Leaving ``with``, by an exception too, puts the
    final weights (the best or the averaged ones) into the model and takes every hook away.

    Raises:
        ConfigError: ``targets`` or a ``modality`` that are not known.
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
        recipe: Techniques,
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
        modality: str | None = None,
    ) -> None:
        if targets not in (None, "classes", "values", "multilabel"):
            raise ConfigError("targets", "one of classes, values, multilabel or None", targets)
        check_modality(modality)
        plain = plain_optimizer(optimizer)
        view = ModelView(model, plain)
        refuse_keras(*view.modules.values())
        Mark.refuse(view)
        self.recipe = recipe
        self.run = Run(view, plain, seed, self.snapshot, rank_of_draws(view), classes, targets, ignore_index, modality)
        self.run.steps = None if steps is None else check_whole("steps", steps)
        self.run.steps_per_epoch = None if steps_per_epoch is None else check_whole("steps_per_epoch", steps_per_epoch)
        self._closed = self._finished = False
        self._acting = Acting(dict(zip(recipe.paths(), recipe, strict=True)), self.run)
        self.attached, self._at = self._acting.attached, self._acting.at
        self._scheduled = Scheduling(zip(recipe, (ctx for _, ctx in self.attached), strict=True), self.run)
        self._acting.begin(str(recipe), batch_size, closure)

    # --- what a loop calls -------------------------------------------------------------------------------------------

    def batch(
        self,
        x: Any,
        y: Any = None,
        weight: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        index: Tensor | None = None,
    ) -> Batch:
        """Pass one micro-batch through the techniques that act on inputs and targets.

        Args:
            x: the input: a tensor [batch, ...], or tensors in dicts, tuples and lists; or a whole :class:`Batch`.
            y: the target, of any structure that the criterion takes.
            weight: sample weights [batch]. A row of weight 0 is absent from the loss, one of weight 2 counts twice.
            mask: bool [batch, positions, ...], true where a position counts; the others count nothing in the loss.
            lengths: whole numbers [batch], how many positions of each padded sequence count.
            index: whole numbers [batch], the place of each sample in the training data, for techniques that treat a
                sample otherwise in the next epoch.

        Returns:
            The batch to train on; ``x, y = session.batch(x, y)`` unpacks it. In evaluation mode it is the one that
            came.

        Raises:
            DataError: a mask or lengths that are none.
            UsageError: an input that a technique cannot change.
        """
        self._demand_open()
        self._acting.look()
        run = self.run
        batch = make_batch(x, y, weight, mask, lengths, index)
        if not run.view.model.training:
            run.evaluated = batch
            return batch
        run.begin()
        run.batch = batch
        for together, pairs in self._acting.on_batch:
            if together is None:
                run.batch = batch = pairs[0][1].technique.on_batch(batch, pairs[0][1])
            else:
                run.batch = batch = together([(ctx.technique, ctx) for _, ctx in pairs], batch)
        run.called.add("on_batch")
        return batch

    def loss(
        self,
        loss: Tensor | Criterion,
        out: Any = None,
        target: Any = None,
        *,
        total: float | Tensor | None = None,
    ) -> Tensor:
        """One number to call ``backward`` on, after the techniques that act on losses.

        Three forms::

            session.loss(cross_entropy(out, batch.y, reduction="none"), out)  # the loss of each sample
            session.loss(nn.CrossEntropyLoss(), out)                          # a criterion: the target is the batch's
            session.loss(criterion(out, y), out)                              # one number, where nothing needs samples

        Args:
            loss: the loss of each sample [batch] or [batch, ...]; or a criterion, a function or loss module from output
                and target to a loss, reduced or not; or one number.
            out: the model's output; a criterion and techniques such as label smoothing read it.
            target: what ``out`` is held against; by default the batch's.
            total: divide the sum of losses by this, in place of the number (or the weights' sum) of what counts: the
                items of all micro-batches of a step, so that the loss keeps its proportion to penalties.

        Returns:
            For losses of samples the mean, weighted by the batch's sample weights, without positions that the mask or
            ``ignore_index`` leaves out. For a criterion that reduces, what its own reduction gives, likewise weighted
            and masked.

        Raises:
            ConfigError: a criterion that is not made of its losses of samples.
            UsageError: one number where a technique, a weight or a mask needs the loss of each sample, or no target.
        """
        self._demand_open()
        return objective(self.run, self._at["on_loss"], loss, out, target, total)

    def epoch(self, scores: Scores) -> Verdict:
        """Close an epoch with its scores, such as ``{"val_loss": 0.3}``; take them inside :meth:`evaluate`. Under
        DistributedDataParallel every rank calls it, and the mean over the ranks decides.
        """
        self._demand_open()
        scores = mean_over_ranks(scores, self.view.parallel)
        self.run.end_epoch()
        return self._acting.verdict(scores)

    @contextlib.contextmanager
    def evaluate(self) -> Iterator[nn.Module]:
        """Evaluation mode, with the averaged weights in place if the recipe keeps any; the raw ones are back
        afterwards.
        """
        view = self.view
        try:
            with evaluating(view.wrapper), holding(view.model, {} if self._finished else self._acting.averaged()):
                yield view.wrapper
        finally:
            self.run.evaluated = None
            self._acting.note()

    def finish(self) -> None:
        """Put the final weights into the model: the best where a technique keeps them, else averaged, else the last."""
        if not self._finished:
            put(tensors(self.view.model), self._acting.final())
        self._finished = True

    def close(self) -> None:
        """Remove every hook and replaced module; weights stay as they are."""
        self._acting.remove()
        self._closed = True

    def export(self, *, final: bool = True) -> nn.Module:
        """A deep copy of the model with its final weights (or those that evaluation sees now), in evaluation mode."""
        chosen = {} if self._finished else self._acting.final() if final else self._acting.averaged()
        return self._acting.plain_copy(self.view, chosen).eval()

    def plan(self) -> Plan:
        """Which technique acts where, on how many parameters, in their order: text, in a notebook a table."""
        return plan_text(str(self.recipe), self.attached, self._at, self.view, self._scheduled.described())

    # --- state -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Counters and the state of each technique; random streams need none."""
        return saved(self.recipe.to_dict(), self.run, self.attached, bool(self._scheduled))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken.

        Raises:
            ConfigError: it belongs to another recipe or seed.
        """
        restore(state, self.recipe.to_dict(), self.run, self.attached, bool(self._scheduled))

    def snapshot(self) -> dict[str, Tensor]:
        """A deep copy of the parameters and buffers that evaluation sees."""
        seen = {**tensors(self.view.model), **self._acting.averaged()}
        return {name: tensor.detach().clone() for name, tensor in seen.items()}

    def resize(self, cut: Cut, act: Callable[[], None]) -> None:
        """Let ``act`` make the model smaller as ``cut`` says; states follow. ConflictError before any change."""
        self._demand_open()
        self._acting.resize(cut, act)

    @property
    def takes_bytes(self) -> bool:
        """Whether :meth:`batch` takes images as bytes in training mode, if the loop says ``modality="image"``."""
        return any(technique.takes_bytes for technique, _ in self._at["on_batch"][:1])

    # --- what others read --------------------------------------------------------------------------------------------

    @property
    def view(self) -> ModelView:
        """The model with its roles and groups, as it is now."""
        return self._acting.look(settle=True)

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
        self.run.move_to(step, epochs)

    def _demand_open(self) -> None:
        if self._closed:
            raise UsageError("this session is closed. Attach the recipe again.")

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._closed:
            return
        try:
            self.finish()
        except Exception as failed:  # whatever it is, an error of the loop's own comes first
            if error is None:
                raise
            error.add_note(f"The final weights could not be put into the model: {failed}")
        finally:
            self.close()
        if error is None:
            self._acting.warn_unused()
