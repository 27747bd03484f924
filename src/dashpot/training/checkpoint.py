"""Checkpoints of a training: one file, replaced as a whole after each epoch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from dashpot.core.errors import ConfigError, StorageError
from dashpot.core.files import write_atomic
from dashpot.core.running.saving import check as check_state
from dashpot.core.running.session import Session
from dashpot.core.tree import load_tree, save_tree
from dashpot.training.compressing import Cuts, cut_tensors
from dashpot.training.resuming import check_model, check_optimizer, check_settings

FILE, HISTORY = "checkpoint.safetensors", "history.jsonl"
History = list[dict[str, float]]


class Checkpoint:
    """The checkpoint of one training in ``folder``; without a folder every method does nothing.

    Args:
        settings: what must be the same for a resumed run to be the same run.
        writes: False where another rank does.
    """

    def __init__(self, folder: str | Path | None, settings: Mapping[str, Any], *, writes: bool = True) -> None:
        self._writes = writes
        self._folder = Path(folder) if folder is not None else None
        self._settings = dict(settings)
        self.kept: dict[str, Any] = {}
        self.threads: int | None = None  # of the saved run: with another number sums may be added in another order
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(
                    f"checkpoint folder {folder} cannot be made: {error.strerror}. Name another place."
                ) from error

    @property
    def exists(self) -> bool:
        return self._folder is not None and (self._folder / FILE).exists()

    def save(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        session: Session,
        history: History,
        stopped: str,
        kept: Mapping[str, Any],
        cuts: Cuts | None = None,
    ) -> None:
        """After an epoch; ``kept`` are the best weights so far, for a loss that diverges."""
        if self._folder is None or not self._writes:
            return
        tree = {
            "settings": self._settings,
            "model": dict(model.state_dict()),
            "optimizer": optimizer.state_dict(),
            "session": session.state_dict(),
            "kept": dict(kept),
            "history": history,
            "stopped": stopped,
            "threads": torch.get_num_threads(),
            "cuts": cuts.to_list() if cuts is not None else [],
        }
        save_tree(tree, self._folder / FILE)
        write_atomic(self._folder / HISTORY, "".join(json.dumps(row) + "\n" for row in history))

    def load(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        session: Session,
        check: Callable[[History], None] = lambda history: None,
        cuts: Cuts | None = None,
    ) -> tuple[History, str]:
        """Put everything back as it was; all that must agree is compared before anything is touched.

        Args:
            check: what else must agree with the history.
            cuts: those of this training, none yet; what left the saved network leaves this one.

        Returns:
            The history so far, and why the run had stopped (``""`` if it had not).

        Raises:
            ConfigError: the checkpoint belongs to other settings, data, recipe, model or optimizer.
            StorageError: the file cannot be read.
        """
        assert self._folder is not None
        tree = load_tree(self._folder / FILE)
        check_settings(tree["settings"], self._settings, self._folder)
        left = tree.get("cuts", []) if cuts is not None else []
        check_model(tree["model"], cut_tensors(left, dict(model.state_dict())), type(model).__name__)
        check_optimizer(tree["optimizer"], optimizer)
        check(tree["history"])
        if left and cuts is not None:
            check_state(tree["session"], session.recipe.to_dict(), session.run, scheduled=False)
            cuts.again(left)
        session.load_state_dict(tree["session"])
        try:
            model.load_state_dict(tree["model"])
            optimizer.load_state_dict(tree["optimizer"])
            _laid_out_as_parameters(optimizer)
        except (RuntimeError, ValueError) as error:
            raise ConfigError(
                "model",
                "the one that the checkpoint was made with",
                type(model).__name__,
                str(error).splitlines()[-1].strip(),
            ) from None
        self.kept, self.threads = tree.get("kept", {}), tree.get("threads")
        return tree["history"], tree["stopped"]


def _laid_out_as_parameters(optimizer: Optimizer) -> None:
    """Moments in the memory layout of their parameters, such as channels last, which no file keeps. A fused step goes
    through both in the order of memory, and would take those of other weights.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            same = isinstance(value, torch.Tensor) and value.shape == parameter.shape
            if same and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
