"""``Technique``: one regularizer, and the points of a training step at which it may act.

A technique is a frozen dataclass of hyper-parameters. Its maths lives beside it in pure functions on tensors, written
for one model, with strengths that may be 0-d tensors and with random draws as arguments; the ``on_*`` methods only
fetch, call and store. Define the methods you need: the session checks once, at attach, which ones a class defines.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import Optimizer

from dashpot.core.configured import Configured
from dashpot.core.points import Handle as Handle
from dashpot.core.points import Scores as Scores
from dashpot.core.points import Verdict as Verdict
from dashpot.core.recipe import Recipe
from dashpot.core.running.context import State as State
from dashpot.core.running.session import Session


class Technique(Configured):
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
        waits: its ``on_epoch`` is not called while another technique of the recipe is ``unfinished``.
        sparse_gradients: its ``on_gradient`` also takes sparse gradients, as of ``nn.Embedding(sparse=True)``.
        shards: it also acts on weights that ranks hold in shards.
        every_parameter: it is given all parameters, whatever ``on`` selects, which then stands for more than these.
        stacked: how it acts on a stack of members, in populations; without one, members with it are trained one by one.
        waivers: laws that do not hold for it, each with the reason, which its card prints.
        replaced: fields of earlier versions, each with what to write now.
        preset: its place in the default search space; None: it is searched only where it is named.
        rules: what it does not go with, and what is done about it.

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

    def __or__(self, other: Technique | Recipe) -> Recipe:
        return Recipe((self,)) | other

    def attach(self, model: nn.Module, optimizer: Optimizer, **options: Any) -> Session:
        """Attach this one technique; see :meth:`Recipe.attach`."""
        return Recipe((self,)).attach(model, optimizer, **options)
