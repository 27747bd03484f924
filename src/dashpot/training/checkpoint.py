"""Checkpoints of a training: one file, replaced as a whole, so often that writing takes a small share of the time."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dashpot.core.errors import ConfigError, StorageError
from dashpot.core.files import write_atomic
from dashpot.core.running.saving import check as check_state
from dashpot.core.running.session import Session
from dashpot.core.tree import flatten, load_tree, save_tensors
from dashpot.training.compressing import Cuts, cut_tensors
from dashpot.training.resuming import check_model, check_optimizer, check_settings

FILE, HISTORY = "checkpoint.safetensors", "history.jsonl"
History = list[dict[str, float]]
EACH, LONGEST = 20, 60.0
"""A checkpoint is written where the last one is older than so many times what writing it took, or than so many seconds:
writing takes at most 5 % of the time, and a kill costs a minute and an epoch at most.
"""
HELD = 64 * 2**20
"""Bytes up to which a state that is not written is kept in memory, for what ends the training early."""


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
        self._took, self._ended, self._bytes = 0.0, -math.inf, 0
        self._held: tuple[str, dict[str, Tensor], str] | None = None
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
        """After an epoch; ``kept`` are the best weights so far, for a loss that diverges.

        Where the last checkpoint is young, and training goes on, the state is kept in memory only, till the end of the
        context that this is.
        """
        if self._folder is None or not self._writes:
            return
        started, self._held = time.monotonic(), None
        due = bool(stopped) or started - self._ended >= min(EACH * self._took, LONGEST)
        if not due and self._bytes > HELD:
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
        tensors: dict[str, Tensor] = {}
        skeleton = json.dumps(flatten(tree, tensors))
        self._held = skeleton, tensors, "".join(json.dumps(row) + "\n" for row in history)
        if due:
            self._write()
            self._ended = time.monotonic()
            self._took = self._ended - started

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *error: object) -> None:
        """Write the state after the last epoch, where it was not: training has ended, in whatever way."""
        if self._held is not None:
            with contextlib.suppress(StorageError):  # what ended the training says more
                self._write()

    def _write(self) -> None:
        assert self._folder is not None
        assert self._held is not None
        (skeleton, tensors, rows), self._held = self._held, None
        save_tensors(self._folder / FILE, tensors, {"tree": skeleton})
        write_atomic(self._folder / HISTORY, rows)
        self._bytes = sum(tensor.nbytes for tensor in tensors.values())

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
