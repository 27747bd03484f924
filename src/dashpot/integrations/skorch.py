"""skorch: nets with a recipe, scored, saved, pickled and resumed as any other.

``Checkpoint(f_session="session.pt")`` keeps the session, and ``LoadInitState`` goes on from it.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from skorch import NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Checkpoint
from skorch.dataset import unpack_data

from dashpot.core.errors import ConfigError, ConflictError
from dashpot.core.recipe import Recipe
from dashpot.integrations.held import Entry, Held, acts_on, scores


class Kept:
    """What a net keeps of its session: open while it trains, an entry to go on from in between. skorch saves it as
    ``f_session``.
    """

    def __init__(self) -> None:
        self.held: Held | None = None
        self.entry: Entry | None = None

    def state_dict(self) -> Entry:
        entry = self.entry if self.held is None else self.held.entry()
        if entry is None:
            raise ConfigError("f_session", "saved after training began", "a net that has not trained")
        return entry

    def load_state_dict(self, state: Entry) -> None:
        if self.held is None:
            self.entry = state
        else:
            self.held.restore(state)

    def __getstate__(self) -> dict[str, Any]:
        return {"held": None, "entry": self.entry if self.held is None else self.held.entry()}


class DashpotNetMixin:
    """A skorch net with a recipe: put it before the net class.

    Scores, predictions in callbacks and ``f_params`` are of averaged weights where the recipe keeps any; after ``fit``
    the module has the final weights. ``partial_fit`` goes on from the weights that trained. Early stopping reads the
    history, where ``valid_loss`` is ``val_loss``, too. SAM works: skorch steps with a closure.

    Args:
        recipe: a recipe, a technique, text, or None.
        recipe_seed: of the recipe's draws.
        recipe_options: further arguments of :meth:`dashpot.Recipe.attach`, such as ``{"classes": 3}``.

    Raises:
        ConflictError: when training begins: what cannot act together, or several optimizers.
        ConfigError: a saved session of another recipe.

    Example:
        >>> import torch, dashpot
        >>> from dashpot.integrations.skorch import DashpotNeuralNetClassifier
        >>> x, y = torch.randn(64, 4).numpy(), torch.randint(3, (64,)).numpy()
        >>> net = DashpotNeuralNetClassifier(
        ...     torch.nn.Linear, module__in_features=4, module__out_features=3, max_epochs=2, verbose=0,
        ...     criterion=torch.nn.CrossEntropyLoss, recipe="mixup | ema", recipe_options={"classes": 3})
        >>> net.fit(x, y).predict(x).shape
        (64,)
    """

    def __init__(
        self,
        *args: Any,
        recipe: Any = None,
        recipe_seed: int = 0,
        recipe_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.recipe = recipe
        self.recipe_seed = recipe_seed
        self.recipe_options = recipe_options

    # --- when ---------------------------------------------------------------------------------------------------------

    def initialize(self) -> Any:
        old: Kept | None = self.__dict__.get("session_")
        if old is not None and old.held is not None:
            old.held.close()
        self.session_ = Kept()
        return super().initialize()  # type: ignore[misc]  # of the net

    def notify(self, method_name: str, **kwargs: Any) -> None:
        if method_name != "on_epoch_end":
            if method_name == "on_train_end":
                self._end()
            super().notify(method_name, **kwargs)  # type: ignore[misc]  # of the net
            if method_name == "on_train_begin":
                self._begin(kwargs.get("X"))
            return
        getattr(self, method_name)(self, **kwargs)
        stop, judged = False, False
        with self._evaluated():
            for _, callback in self.callbacks_:  # type: ignore[attr-defined]  # of the net
                if isinstance(callback, Checkpoint) and not judged:
                    stop, judged = self._judge(), True
                callback.on_epoch_end(self, **kwargs)
            if not judged:
                stop = self._judge()
        if stop:
            raise KeyboardInterrupt  # skorch's own way to end a training early

    def _begin(self, data: Any) -> None:
        kept: Kept = self.session_
        if kept.held is not None:  # an error ended the training before
            kept.entry = kept.held.entry()
            kept.held.close()
            kept.held = None
        optimizers = list(self._optimizers)  # type: ignore[attr-defined]  # of the net
        if len(optimizers) != 1:
            raise ConflictError(f"a recipe is for one optimizer, and this net has {', '.join(optimizers)}.")
        recipe = Recipe.coerce(self.recipe)
        options = {"closure": True, "seed": self.recipe_seed, **(self.recipe_options or {})}
        optimizer = getattr(self, f"{optimizers[0]}_")
        kept.held = Held(recipe.attach(self.module_, optimizer, **options))  # type: ignore[attr-defined]  # of the net
        if kept.entry is not None:
            try:
                kept.held.restore(kept.entry)
            except ConfigError:
                kept.held.close()
                kept.held = None
                raise
            kept.entry = None

    def _end(self) -> None:
        kept: Kept = self.session_
        if kept.held is not None:
            held, kept.held = kept.held, None
            held.leave()
            kept.entry = held.entry()
            held.finish()

    def _judge(self) -> bool:
        """An epoch of the session, by the history's last row."""
        held = self._held()
        if held is None:
            return False
        with held.raw():
            return bool(held.session.epoch(scores(self.history[-1])).stop)  # type: ignore[attr-defined]  # of the net

    @contextlib.contextmanager
    def _evaluated(self) -> Any:
        held = self._held()
        with contextlib.nullcontext() if held is None else held.evaluated():
            yield

    # --- what --------------------------------------------------------------------------------------------------------

    def run_single_epoch(self, iterator: Any, training: bool, prefix: str, step_fn: Any, **fit_params: Any) -> None:
        with contextlib.nullcontext() if training else self._evaluated():
            super().run_single_epoch(iterator, training, prefix, step_fn, **fit_params)  # type: ignore[misc]  # the net

    def train_step_single(self, batch: Any, **fit_params: Any) -> Any:
        session = self._calls()
        if session is not None:
            self._set_training(True)  # type: ignore[attr-defined]  # of the net
            x, y = unpack_data(batch)
            made = session.batch(x, y)
            batch = made.x, made.y
        return super().train_step_single(batch, **fit_params)  # type: ignore[misc]  # of the net

    def get_loss(self, y_pred: Any, y_true: Any, X: Any = None, training: bool = False) -> Any:
        session = self._calls() if training else None
        if session is None:
            return super().get_loss(y_pred, y_true, X=X, training=training)  # type: ignore[misc]  # of the net
        criterion = self.criterion_  # type: ignore[attr-defined]  # of the net
        if isinstance(criterion, torch.nn.NLLLoss):  # as skorch's classifier, whose modules end in probabilities
            y_pred = torch.log(y_pred + torch.finfo(y_pred.dtype).eps)
        return session.loss(criterion, y_pred)

    def _held(self) -> Held | None:
        kept: Kept | None = self.__dict__.get("session_")
        return None if kept is None else kept.held

    def _calls(self) -> Any:
        """The session, where its recipe acts on batches or losses."""
        held = self._held()
        if held is None or not acts_on(Recipe(held.session.recipe), "on_batch", "on_loss"):
            return None
        return held.session

    def save_params(self, *args: Any, **kwargs: Any) -> None:
        with self._evaluated():
            super().save_params(*args, **kwargs)  # type: ignore[misc]  # of the net

    def __getstate__(self) -> Any:
        held = self._held()
        with contextlib.nullcontext() if held is None else held.raw():
            return super().__getstate__()


class DashpotNeuralNetClassifier(DashpotNetMixin, NeuralNetClassifier):
    """:class:`skorch.NeuralNetClassifier` with a recipe: see :class:`DashpotNetMixin`."""


class DashpotNeuralNetRegressor(DashpotNetMixin, NeuralNetRegressor):
    """:class:`skorch.NeuralNetRegressor` with a recipe: see :class:`DashpotNetMixin`."""
