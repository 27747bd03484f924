"""Variational dropout: one mask for all steps of a sequence."""

from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Any

from jaxtyping import Float
from torch import Tensor, nn

from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where, hidden
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Handle, Technique
from dashpot.techniques.dropout.dropout import dropout, dropped_at
from dashpot.techniques.dropout.hook import After, DropHook, place_key
from dashpot.techniques.dropout.places import refuse_nowhere, warn_single_epoch


def variational_dropout(
    x: Float[Tensor, "*shape"], uniform: Float[Tensor, "*once"], p: float | Float[Tensor, ""]
) -> Float[Tensor, "*shape"]:
    """:func:`dashpot.techniques.dropout.dropout.dropout` with the same numbers at all steps: ``uniform`` has size 1
    along the axis of steps.
    """
    return dropout(x, uniform.expand(x.shape), p)


class VariationalDropout(Technique):
    r"""Dropout with one mask for all steps of a sequence: a feature that is dropped is dropped at each of them.

    .. math:: \tilde h_t = \frac{m}{1-p} h_t, \quad m \sim \mathrm{Bernoulli}(1-p) \text{ for each sample, not each }
        t

    Goes into any model by forward hooks, as :class:`Dropout` does, and takes existing ``nn.Dropout`` modules over.
    Outputs [batch, steps, features] get a mask [batch, 1, features]; those of fewer axes have no steps, and are dropped
    as by :class:`Dropout`. Of ``nn.LSTM`` and its like the outputs are dropped, at the axis that their ``batch_first``
    says, and the last state is not. Attention that drops by itself goes on to do so.

    Args:
        p: probability of *dropping* a feature, in [0, 1]; 0 is off. 0.1 to 0.5 is usual.
        on: after which modules, by role, type or name, such as ``type:LSTM`` or ``embeddings``. ``hidden`` (the
            default): the model's own dropout modules where it has any, else its activations, without one whose output
            is the network's.
        axis: of the steps; 1 for [batch, steps, features], 0 for [steps, batch, features], 2 for [batch, channels,
            steps].

    Raises:
        ConflictError: no module matches ``on``.
        UsageError: a module that returns no tensor, such as a packed sequence.

    Warns:
        SingleEpochWarning: the run is of one epoch.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Embedding(9, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        >>> with dashpot.dropout.VariationalDropout(0.5).attach(model, torch.optim.SGD(model.parameters(), lr=0.1)):
        ...     dropped = model[:2](torch.tensor([[3, 3, 3]]))
        >>> bool((dropped == dropped[:, :1]).all())
        True

    Paper: Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks", NeurIPS
    2016, arXiv 1512.05287.

    When not to use it: beside :class:`Dropout` at the same modules (refused); where steps are pooled by a mean at once,
    for which :class:`Dropout` behind the pooling is the same. The recurrent weights themselves are not dropped.
    """

    summary = "zeroes random features at all steps of a sequence"
    exclusive = ("dropout",)

    p: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.6), off=0.0)] = field(default=0.2, kw_only=False)
    on: Annotated[Where, Selection()] = hidden
    axis: Annotated[int, Range(0, 3, integer=True)] = 1

    def acts_on(self, view: ModelView) -> Iterable[str]:
        return self._places(view)

    def check(self, view: ModelView, ctx: Context) -> None:
        if not self._places(view):
            refuse_nowhere(self, view, "Name modules by type or glob, such as on='type:LSTM' or on='embeddings'.")
        warn_single_epoch(self, ctx)

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        return [
            After(module, _Hook(place_key(ctx.key, name, ctx.rank), ctx.clock(), ctx.scalar("p"), self.axis), ctx)
            for name, module in self._places(view).items()
        ]

    def describe(self, view: ModelView) -> str:
        return f"{self.summary} with p={self.p:g}: {', '.join(self._places(view))}"

    def _places(self, view: ModelView) -> dict[str, nn.Module]:
        return {
            name: module
            for name, module in view.places(self.on).items()
            if not isinstance(module, nn.MultiheadAttention)
        }


class _Hook(DropHook):
    technique = "VariationalDropout"
    first = True

    def __init__(self, key: int, clock: Tensor, rate: Tensor, axis: int) -> None:
        super().__init__(key, clock, rate)
        self.axis = axis

    def passed(self, module: nn.Module, args: Any, out: Tensor) -> Tensor:
        axis = int(module.batch_first) if isinstance(module, nn.RNNBase) else self.axis
        size = list(out.shape)
        if out.ndim > 2 and axis < out.ndim:
            size[axis] = 1
        return dropped_at(self, out, size)
