"""PyTorch Lightning: a callback that carries a recipe through ``Trainer.fit``.

>>> import torch, dashpot, pytorch_lightning as pl
>>> from dashpot.integrations.lightning import Regularize
>>> callback = Regularize(dashpot.EMA(0.99))
>>> callback.text
'ema:decay=0.99,warmup=True,half_life=none'
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dashpot.core.errors import ConfigError, UsageError
from dashpot.core.fields.text import write
from dashpot.core.recipe import Recipe
from dashpot.core.running.session import Session
from dashpot.integrations.held import Entry, Held, demand_module, demand_optimizer, refuse_closures, scores
from dashpot.integrations.lightning_says import around, common, lengths, no_closure, plain, validations

KEY = "dashpot"
"""Where a Lightning checkpoint keeps the weights that train and the session's state."""


class Regularize(pl.Callback):
    """Train a ``LightningModule`` with a recipe: ``Trainer(callbacks=[Regularize(recipe)])``.

    Validation, testing and checkpoints see averaged weights where the recipe keeps any; ``ckpt_path=`` resumes; early
    stopping reads what the module logs (an epoch is one validation), with ``strategy="ddp"`` the mean over the ranks.
    After ``fit`` the module has the final weights.
    What acts on batches or losses needs :func:`training_loss` in ``training_step``.

    Args:
        recipe: a recipe, a technique, or text such as ``"l1:strength=1e-3 | ema:decay=0.99"``.
        module: the part of the LightningModule to regularize, by name; by default all of it.
        optimizer: which of several optimizers, by number.
        seed: of the recipe's draws.
        attach: further arguments of :meth:`dashpot.Recipe.attach`, such as ``classes``. ``steps``, ``steps_per_epoch``
            and ``closure`` are the trainer's.

    Raises:
        ConflictError: at the start of ``fit``: what the trainer cannot do, such as SAM with accumulation, with a
            gradient scaler or with manual optimization; a strategy that shards the module; ranks with other recipes
            than each other; or a module that has a session already.
        ConfigError: a module that is not there; a checkpoint of another recipe, or of none.

    Example:
        >>> import torch, dashpot, pytorch_lightning as pl
        >>> from dashpot.integrations.lightning import Regularize
        >>> Regularize("mixup:alpha=0.2 | ema:decay=0.99", module="net", classes=10).recipe == (
        ...     dashpot.Mixup(0.2) | dashpot.EMA(0.99))
        True
    """

    def __init__(
        self, recipe: Any, *, module: str = "", optimizer: int | None = None, seed: int = 0, **attach: Any
    ) -> None:
        self.recipe = Recipe.coerce(recipe)
        self.module, self.optimizer, self.seed, self.attach = module, optimizer, seed, attach
        own = sorted({"steps", "steps_per_epoch", "closure"} & attach.keys())
        if own:
            raise ConfigError("attach", "without what the trainer says itself", own, f"Leave out {', '.join(own)}.")
        self.held: Held | None = None
        self._entry: Entry | None = None
        self._saves: _Saves | None = None

    @property
    def text(self) -> str:
        """The recipe as text, for ``save_hyperparameters``: a checkpoint that holds it loads with ``weights_only``."""
        return " | ".join(map(write, self.recipe))

    @property
    def session(self) -> Session:
        """The session, during ``fit``.

        Raises:
            UsageError: at other times.
        """
        if self.held is None:
            raise UsageError("the session of Regularize is open during Trainer.fit only.")
        return self.held.session

    # --- the trainer's hooks -----------------------------------------------------------------------------------------

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if sum(isinstance(one, Regularize) for one in trainer.callbacks) > 1:
            raise ConfigError("callbacks", "with one Regularize", "several", "Join the recipes with |.")
        refuse_closures(self.recipe, no_closure(trainer, pl_module))
        whole = around(trainer, self.recipe)
        optimizer = demand_optimizer(trainer.optimizers, self.optimizer)
        steps, per_epoch = lengths(trainer)
        session = self.recipe.attach(
            self._part(pl_module),
            optimizer,
            seed=self.seed,
            closure=not no_closure(trainer, pl_module),
            steps=steps,
            steps_per_epoch=per_epoch,
            **self.attach,
        )
        if whole is not None:
            session.view.parallel = whole
        self.held = Held(session)
        self._saves = _Saves(self)
        pl_module.on_save_checkpoint = self._saves.around(pl_module)
        if self._entry is not None:
            entry, self._entry = self._entry, None
            try:
                self.held.restore(entry)
            except ConfigError:
                self._end(pl_module, final=False)
                raise

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.held is not None:
            self.held.enter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.held is not None:
            self.held.leave()
            if not trainer.sanity_checking:
                self._judge(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.held is not None and not sum(map(int, filter(math.isfinite, validations(trainer)))):
            self._judge(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end(pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._end(pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # Empty: nothing was trained yet, as when the search for a learning rate keeps what it will go back to.
        checkpoint[KEY] = (self._entry or {}) if self.held is None else self.held.entry()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn != "fit":
            return
        if KEY not in checkpoint:
            raise ConfigError(
                "ckpt_path",
                "a checkpoint that was trained with Regularize",
                "one without a recipe",
                "Load its weights with load_from_checkpoint, and call fit without ckpt_path.",
            )
        if self.held is None:
            self._entry = checkpoint[KEY] or None
        else:
            self.held.restore(checkpoint[KEY])

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._end(pl_module)

    # --- within ------------------------------------------------------------------------------------------------------

    def _part(self, pl_module: pl.LightningModule) -> nn.Module:
        if not self.module:
            return demand_module(pl_module)
        parts = dict(pl_module.named_modules())
        if self.module not in parts:
            names = [name for name, _ in pl_module.named_children()]
            raise ConfigError("module", f"a part of {type(pl_module).__name__} ({', '.join(names)})", self.module)
        return demand_module(parts[self.module])

    def _judge(self, trainer: pl.Trainer) -> None:
        """An epoch of the session: one validation, by the mean over the ranks."""
        verdict = self.session.epoch(common(trainer, scores(trainer.callback_metrics)))
        if verdict.stop:
            trainer.should_stop = True

    def _end(self, pl_module: pl.LightningModule, final: bool = True) -> None:
        """The final weights into the module, all hooks away; what would resume is kept for checkpoints that follow."""
        if self.held is None:
            return
        held, self.held = self.held, None
        pl_module.__dict__.pop("on_save_checkpoint", None)
        if final:
            held.leave()
            self._entry = held.entry()
            held.finish()
        else:
            held.close()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            self._entry = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "held": None, "_saves": None, "_entry": None}

    def _put_evaluated(self, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """The weights of evaluation in place of those that train, and recipes among the hyper-parameters as text."""
        if self.held is not None:
            prefix = next(n for n, part in pl_module.named_modules() if part is self.held.session.view.model)
            prefix = f"{prefix}." if prefix else ""
            state = {k: v for k, v in checkpoint["state_dict"].items() if not k.startswith(prefix)}
            checkpoint["state_dict"] = {**state, **{prefix + k: v for k, v in self.held.weights().items()}}
        for key in ("hyper_parameters", "datamodule_hyper_parameters"):
            if isinstance(checkpoint.get(key), Mapping):
                checkpoint[key] = {name: plain(value) for name, value in checkpoint[key].items()}


class _Saves:
    """A module's ``on_save_checkpoint`` with ours before it: the one hook that is called for weights-only checkpoints,
    too. Copies of the module have their own again.
    """

    def __init__(self, callback: Regularize | None) -> None:
        self._callback = weakref.ref(callback) if callback is not None else None

    def around(self, pl_module: pl.LightningModule) -> _Saves:
        self._module = weakref.ref(pl_module)
        return self

    def __call__(self, checkpoint: dict[str, Any]) -> None:
        module = self._module()
        callback = self._callback() if self._callback is not None else None
        if module is None:
            return
        if callback is not None:
            callback._put_evaluated(module, checkpoint)
        type(module).on_save_checkpoint(module, checkpoint)

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[[Any], None]:
        return _nothing

    def __reduce__(self) -> str:
        return "_nothing"


def _nothing(checkpoint: Any) -> None:
    """What a copy's hook does."""


def training_loss(
    module: pl.LightningModule,
    net: Callable[[Any], Any],
    x: Any,
    y: Any,
    criterion: Callable[[Any, Any], Tensor] = cross_entropy,
    **batch: Any,
) -> Tensor:
    """The loss of a batch with everything that the recipe does to inputs, targets and losses, in one line.

    Args:
        module: ``self`` in ``training_step``. Without a :class:`Regularize` among the trainer's callbacks the loss is
            ``criterion(net(x), y)``.
        net: what is called on the input.
        x, y: input and target.
        criterion: from output and target to a loss.
        batch: further arguments of :meth:`dashpot.Session.batch`, such as ``weight`` and ``mask``.

    Example:
        >>> import pytorch_lightning as pl
        >>> from dashpot.integrations.lightning import training_loss
        >>> class Net(pl.LightningModule):
        ...     def training_step(self, batch, index):
        ...         return training_loss(self, self.net, *batch)
    """
    found = next((one for one in module.trainer.callbacks if isinstance(one, Regularize)), None)
    if found is None or found.held is None:
        return criterion(net(x), y)
    session = found.held.session
    made = session.batch(x, y, **batch)
    return session.loss(criterion, net(made.x))
