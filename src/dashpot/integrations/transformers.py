"""Hugging Face Transformers: ``Trainer`` with a recipe.

    trainer = DashpotTrainer(model=model, args=args, train_dataset=train, eval_dataset=held_out, recipe="l1 | ema")

is a ``Trainer`` in all else; :class:`DashpotTrainerMixin` goes before a Trainer class of your own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from transformers import Trainer, TrainerCallback

from dashpot.core.errors import ConfigError, ConflictError, UsageError
from dashpot.core.recipe import Recipe
from dashpot.core.running.passes import demand_same_recipe
from dashpot.core.running.session import Session
from dashpot.core.tree import load_tree, save_tree
from dashpot.integrations.held import Held, acts_on, refuse_closures, replaces, scores
from dashpot.integrations.transformers_losses import (
    Again,
    columns,
    counts_items,
    laid_out,
    lengths,
    logits_of,
    own_criterion,
    refuse_sharded,
)

FILE = "dashpot.safetensors"
"""In each ``checkpoint-N``: the session's state and the weights that train."""
_SAM = (
    "transformers' Trainer calls backward before optimizer.step() and passes no closure. Leave it out, or train in"
    " dashpot.fit, Lightning, skorch or a loop of your own."
)


class DashpotTrainerMixin:
    """A Trainer with a recipe: put it before the Trainer class.

    ``evaluate``, ``predict``, ``save_model`` and checkpoints see averaged weights where the recipe keeps any;
    ``resume_from_checkpoint`` goes on from those that trained. Early stopping reads the metrics of evaluations, each of
    which is an epoch to it; ``eval_loss`` is ``val_loss``, too. ``load_best_model_at_end`` has the last word, where
    both keep a best. After ``train`` the model has the final weights.

    Args:
        recipe: a recipe, a technique, text, or None.
        inputs: the argument of the model that techniques on inputs act on; by default the model's main one where it has
            floats, such as ``pixel_values``, else all but the labels.
        criterion: from output and labels to a loss, for techniques on batches and losses; by default cross-entropy
            (without labels of -100; shifted for causal language models), or for labels that are floats the mean squared
            error or, with ``problem_type="multi_label_classification"``, binary cross-entropy.
        recipe_options: further arguments of :meth:`dashpot.Recipe.attach`. ``classes`` is ``config.num_labels`` where
            there are several, and the seed is that of the arguments.

    Raises:
        ConflictError: at once: SAM, DeepSpeed and FSDP; when training begins: early stopping without evaluations, data
            without labels where the recipe needs them, ranks with other recipes than each other.
        ConfigError: a checkpoint of another recipe, or of none.

    Example:
        >>> import dashpot, transformers
        >>> from dashpot.integrations.transformers import DashpotTrainerMixin
        >>> class MyTrainer(DashpotTrainerMixin, transformers.Trainer):
        ...     pass
    """

    def __init__(
        self,
        *args: Any,
        recipe: Any = None,
        inputs: str | None = None,
        criterion: Callable[[Any, Any], Tensor] | None = None,
        recipe_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.recipe = Recipe.coerce(recipe)
        self.recipe_inputs, self.recipe_criterion = inputs, criterion
        self.recipe_options = dict(recipe_options or {})
        self.held: Held | None = None
        refuse_closures(self.recipe, _SAM)
        super().__init__(*args, **kwargs)
        if len(self.recipe):
            refuse_sharded(self)
        self.add_callback(_Epochs(self))  # type: ignore[attr-defined]  # of the Trainer

    @property
    def session(self) -> Session:
        """The session, during ``train``.

        Raises:
            UsageError: at other times.
        """
        if self.held is None:
            raise UsageError("the session of a DashpotTrainer is open during train() only.")
        return self.held.session

    # --- training ----------------------------------------------------------------------------------------------------

    def create_optimizer(self, model: Any = None) -> Any:
        given = () if model is None else (model,)
        optimizer = super().create_optimizer(*given)  # type: ignore[misc]  # of the Trainer
        if not len(self.recipe):
            return optimizer
        if self.held is not None:  # a smaller batch is tried after the memory was full
            self.held.close()
        trainer: Any = self
        self._refuse(trainer)
        options = {"seed": trainer.args.seed, **lengths(trainer), **self.recipe_options}
        labels = getattr(getattr(trainer.model, "config", None), "num_labels", 0) or 0
        if labels > 1:
            options.setdefault("classes", labels)
        self.held = Held(self.recipe.attach(trainer.model, optimizer, **options))
        return optimizer

    def wrapped(self, model: Any) -> None:
        """The Trainer has put its DistributedDataParallel around the model, which keeps the ranks together.

        Raises:
            ConflictError: ranks with other recipes than each other.
        """
        if not isinstance(model, DistributedDataParallel):
            return
        demand_same_recipe(str(self.recipe), model)
        if self.held is not None:
            self.session.view.wrapper = self.session.view.parallel = model

    def train(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().train(*args, **kwargs)  # type: ignore[misc]  # of the Trainer
        finally:
            self._end()

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
        **rest: Any,
    ) -> Any:
        trainer: Any = self
        if self.held is None or not trainer.model.training or not acts_on(self.recipe, "on_batch", "on_loss"):
            return super().compute_loss(  # type: ignore[misc]  # of the Trainer
                model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch, **rest
            )
        session = self.held.session
        labels = self._labels(trainer, inputs)
        y, rest = inputs[labels], {k: v for k, v in inputs.items() if k not in trainer.label_names}
        key = self._input(trainer, rest)

        def whole(x: Any) -> Any:
            return x if key is None else {**rest, key: x}

        batch = session.batch(rest if key is None else rest[key], y)
        if session.run.again is not None and not isinstance(session.run.again, Again):
            session.run.again = Again(session.run.again)
        if isinstance(session.run.again, Again):
            plain = self.recipe_criterion is not None
            session.run.again.whole = whole
            session.run.again.out = lambda out: logits_of(out) if plain else laid_out(trainer, logits_of(out), y)[0]
        outputs = model(**whole(batch.x))
        logits = logits_of(outputs)
        target = batch.y
        if self.recipe_criterion is None:
            logits, target = laid_out(trainer, logits, target)
        criterion = self.recipe_criterion or own_criterion(trainer, y)
        total = num_items_in_batch if counts_items(trainer) else None
        trainer.loss_is_scaled_for_ga = total is not None
        loss = session.loss(criterion, logits, target, total=total)
        if total is not None and trainer.args.average_tokens_across_devices:
            loss = loss * trainer.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _labels(self, trainer: Any, inputs: Mapping[str, Any]) -> str:
        """The name of the labels among a batch's."""
        for name in trainer.label_names:
            if inputs.get(name) is not None:
                return str(name)
        raise UsageError(
            f"{', '.join(acts_on(self.recipe, 'on_batch', 'on_loss'))} needs labels, and the batch has"
            f" {', '.join(inputs)}. Name them in TrainingArguments(label_names=[...])."
        )

    def _input(self, trainer: Any, inputs: Mapping[str, Any]) -> str | None:
        """The name of the input that techniques act on, or None: all."""
        if self.recipe_inputs is not None and self.recipe_inputs not in inputs:
            raise ConfigError("inputs", f"one of {', '.join(inputs)}", self.recipe_inputs)
        if self.recipe_inputs is not None:
            return self.recipe_inputs
        main = getattr(trainer.model, "main_input_name", None)
        found = inputs.get(main) if main else None
        return main if isinstance(found, Tensor) and found.is_floating_point() else None

    # --- evaluating --------------------------------------------------------------------------------------------------

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        with self._evaluated():
            return super().evaluation_loop(*args, **kwargs)  # type: ignore[misc]  # of the Trainer

    def _evaluate(self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False) -> Any:
        metrics = super()._evaluate(trial, ignore_keys_for_eval, skip_scheduler)  # type: ignore[misc]  # of the Trainer
        if self.held is not None and not skip_scheduler:  # skipped for the evaluation before the first step
            self._judge(metrics)
        return metrics

    def _judge(self, metrics: Mapping[str, Any]) -> None:
        """An epoch of the session: one evaluation."""
        if self.session.epoch(scores(metrics)).stop:
            self.control.should_training_stop = True  # type: ignore[attr-defined]  # of the Trainer

    # --- saving and resuming -----------------------------------------------------------------------------------------

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self.held is not None and state_dict is None and replaces(self.held.session):
            state_dict = self.held.weights()
        with self._evaluated():
            super()._save(output_dir, state_dict=state_dict)  # type: ignore[misc]  # of the Trainer

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)  # type: ignore[misc]  # of the Trainer
        if self.held is not None and self.args.should_save:  # type: ignore[attr-defined]  # of the Trainer
            save_tree(self.held.entry(), Path(output_dir) / FILE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]  # of the Trainer
        if checkpoint is None:
            return
        path = Path(checkpoint) / FILE
        if self.held is None and path.exists():
            raise ConfigError("recipe", f"the one that {checkpoint} was trained with", "none", "Pass recipe=.")
        if self.held is None:
            return
        if not path.exists():
            raise ConfigError(
                "resume_from_checkpoint",
                f"a checkpoint with {FILE}",
                checkpoint,
                "It was trained without a recipe: load the model from it, and train from there.",
            )
        self.held.restore(load_tree(path))

    def _load_best_model(self) -> None:
        self._end()
        super()._load_best_model()  # type: ignore[misc]  # of the Trainer

    # --- within ------------------------------------------------------------------------------------------------------

    def _refuse(self, trainer: Any) -> None:
        """What this recipe cannot do in this Trainer."""
        judges = acts_on(self.recipe, "on_epoch")
        if judges and str(getattr(trainer.args.eval_strategy, "value", trainer.args.eval_strategy)) == "no":
            raise ConflictError(
                f"{', '.join(judges)} decides by evaluations, and there are none. Say eval_strategy='epoch' in the"
                " TrainingArguments, and pass eval_dataset."
            )
        needy = acts_on(self.recipe, "on_batch", "on_loss")
        names = columns(trainer.train_dataset)
        if needy and names and not names & {*trainer.label_names, "label", "label_ids"}:
            raise ConflictError(
                f"{', '.join(needy)} needs labels, and the training data have {', '.join(sorted(names))}. Name them in"
                " TrainingArguments(label_names=[...])."
            )

    @contextlib.contextmanager
    def _evaluated(self) -> Iterator[None]:
        with contextlib.nullcontext() if self.held is None else self.held.evaluated():
            yield

    def _end(self) -> None:
        """The final weights into the model, all hooks away."""
        if self.held is not None:
            held, self.held = self.held, None
            held.finish()


class DashpotTrainer(DashpotTrainerMixin, Trainer):
    """:class:`transformers.Trainer` with a recipe: see :class:`DashpotTrainerMixin`."""


class _Epochs(TrainerCallback):
    """Tells when training begins, and counts epochs where nothing is evaluated."""

    def __init__(self, trainer: DashpotTrainerMixin) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._trainer.wrapped(self._trainer.model_wrapped)  # type: ignore[attr-defined]  # of the Trainer

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        strategy = str(getattr(args.eval_strategy, "value", args.eval_strategy))
        if self._trainer.held is not None and strategy == "no":
            self._trainer.held.session.epoch({})
