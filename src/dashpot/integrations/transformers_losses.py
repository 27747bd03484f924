"""Losses of Transformers' models, per sample; what the Trainer knows of its data, and what it shards."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from dashpot.core.errors import ConfigError, ConflictError

IGNORED = -100
"""The label of a position that counts nothing, throughout Transformers."""


def columns(dataset: Any) -> set[str]:
    """The names in a row, where the data can be asked without work."""
    if getattr(dataset, "column_names", None):
        return set(dataset.column_names)
    try:
        row = dataset[0]
    except (TypeError, KeyError, IndexError, NotImplementedError):
        return set()
    return set(row) if isinstance(row, Mapping) else set()


def lengths(trainer: Any) -> dict[str, int | None]:
    """Optimizer steps of the run and of an epoch, where they are known."""
    steps = trainer.state.max_steps
    try:
        rows = len(trainer.train_dataset)
    except TypeError:
        return {"steps": steps or None, "steps_per_epoch": None}
    size = trainer.args.train_batch_size * trainer.args.world_size
    batches = rows // size if trainer.args.dataloader_drop_last else math.ceil(rows / size)
    return {
        "steps": steps if steps > 0 else None,
        "steps_per_epoch": max(math.ceil(batches / trainer.args.gradient_accumulation_steps), 1),
    }


def refuse_sharded(trainer: Any) -> None:
    """Refuse DeepSpeed, and FSDP in the Trainer.

    Raises:
        ConflictError: with the name of what the Trainer uses.
    """
    for name, argument in (("DeepSpeed", "deepspeed"), ("FSDP", "fsdp")):
        if getattr(trainer, f"is_{argument}_enabled", False):
            raise ConflictError(
                f"{name} shards the model after the recipe is attached, which it cannot follow in the Trainer. Leave"
                f" {argument}= out of the TrainingArguments (torchrun then trains by DDP), or use FSDP2 in a loop of"
                " your own."
            )


def counts_items(trainer: Any) -> bool:
    """Whether the Trainer divides by the items of all micro-batches of a step."""
    return bool(trainer.model_accepts_loss_kwargs or trainer.compute_loss_func is not None)


def own_criterion(trainer: Any, labels: Any) -> Callable[[Any, Any], Tensor]:
    """The loss that Transformers' models take by themselves."""
    if not isinstance(labels, Tensor):
        raise ConfigError("labels", "one tensor", type(labels).__name__, "Pass criterion= for others.")
    if not labels.is_floating_point():
        return nn.CrossEntropyLoss(ignore_index=IGNORED)
    many = getattr(getattr(base(trainer), "config", None), "problem_type", None) == "multi_label_classification"
    return nn.BCEWithLogitsLoss() if many else nn.MSELoss()


def laid_out(trainer: Any, logits: Tensor, y: Any) -> tuple[Tensor, Any]:
    """Outputs with classes on axis 1, as torch's losses take them, and the labels that belong to them."""
    if not isinstance(y, Tensor) or y.is_floating_point():
        single = isinstance(y, Tensor) and logits.ndim == y.ndim + 1 and logits.shape[-1] == 1
        return (logits.squeeze(-1) if single else logits), y
    if logits.ndim != y.ndim + 1 or y.ndim < 2:
        return logits, y
    if type(base(trainer)).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        logits, y = logits[..., :-1, :], y[..., 1:]
    return logits.movedim(-1, 1), y


def base(trainer: Any) -> Any:
    """The model under wrappers and adapters."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    return getattr(model, "get_base_model", lambda: model)()


class Again:
    """A second forward pass in the Trainer's manner: all inputs by name, and of its output what the loss sees."""

    whole: Callable[[Any], Any]
    out: Callable[[Any], Any]

    def __init__(self, again: Callable[..., Any]) -> None:
        self._again = again

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        return self.out(self._again(self.whole(x), *args, **kwargs))


def logits_of(outputs: Any) -> Any:
    """What the loss sees of a model's output."""
    return outputs["logits"] if isinstance(outputs, Mapping) else outputs[0]
