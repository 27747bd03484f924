"""Lookahead: slow weights that go part of the way of the fast ones, and take them back."""

import warnings
from dataclasses import field
from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.core.running.context import Context
from dashpot.core.running.tensors import beside
from dashpot.core.running.view import ModelView, Params
from dashpot.core.technique import State, Technique
from dashpot.techniques.averaging.averaged import begun


def lookahead(
    slow: Float[Tensor, "*shape"], fast: Float[Tensor, "*shape"], alpha: float | Float[Tensor, ""]
) -> Float[Tensor, "*shape"]:
    """``slow + alpha * (fast - slow)``; with alpha = 1 ``fast`` itself, bit for bit."""
    return slow.lerp(fast, beside(alpha, slow))


class Lookahead(Technique):
    r"""After every k steps of the optimizer, the slow weights go the share α of the way to where it has come, and it
    goes on from there.

    .. math:: \phi \leftarrow \phi + \alpha\,(w - \phi), \qquad w \leftarrow \phi \qquad
        \text{after each } k \text{ optimizer steps}

    It lessens the variance of the weights as an average does, but trains on from the average. The optimizer keeps its
    momentum. A weight that a proximal step of the recipe has made zero is zero afterwards, too. At a multiple of k
    slow and fast weights are the same; in between evaluation sees the fast ones.

    Args:
        alpha: α in (0, 1], the share of the way. 1 is off.
        every: k >= 1, optimizer steps.

    Raises:
        ConfigError: a number outside its range.
        ConflictError: at attach, another Lookahead in the recipe.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        >>> with dashpot.averaging.Lookahead(alpha=0.5, every=2).attach(model, optimizer):
        ...     start = model.weight.item()
        ...     for _ in range(2):
        ...         optimizer.zero_grad(); model(torch.ones(1, 1)).sum().backward(); _ = optimizer.step()
        >>> round(start - model.weight.item(), 4)
        1.0

    Paper: Zhang et al., "Lookahead Optimizer: k steps forward, 1 step back", NeurIPS 2019.

    When not to use it: in short trainings, which it slows down; where an average beside the training is enough
    (:class:`EMA`), which changes nothing of the training itself.
    """

    summary = "goes part of the way of every few steps, and trains on from there"
    exclusive = ("slow weights",)
    order = 5  # after proximal steps and before averages

    alpha: Annotated[float, Range(0.0, 1.0, search=(0.3, 0.9), off=1.0, open="low")] = field(default=0.5, kw_only=False)
    every: Annotated[int, Range(1, float("inf"), integer=True)] = 5

    def init(self, view: ModelView, ctx: Context) -> State:
        if ctx.steps is not None and self.every > ctx.steps:
            warnings.warn(
                f"Lookahead(every={self.every}) does nothing in a run of {ctx.steps} steps. Look less far ahead, or"
                " train longer.",
                stacklevel=2,
            )
        return {"slow": {name: begun(p) for name, p in view.parameters.items()}}

    def on_step(self, params: Params, ctx: Context) -> None:
        if (ctx.step + 1) % self.every:
            return
        slow: dict[str, Tensor] = ctx.state["slow"]
        for name, w, _ in params:
            if name not in slow:  # unfrozen since: its slow weights begin here
                slow[name] = begun(w)
                continue
            moved = lookahead(slow[name], w.to(slow[name].dtype), self.alpha)
            slow[name] = moved * (w != 0) if name in ctx.sparse else moved
            w.copy_(slow[name])
