"""Max-norm: the weights of a neuron stay inside a ball."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.techniques.penalties.constraint import Constraint
from dashpot.techniques.penalties.grouping import Grouping, Groups, as_grouping
from dashpot.techniques.penalties.groups import ball
from dashpot.techniques.penalties.proximal import Scaling


class MaxNorm(Constraint):
    r"""Keep the norm of each group of weights at or below a maximum.

    .. math:: \lVert w_g \rVert_2 \le c, \qquad w_g \leftarrow w_g \min(1, c / \lVert w_g \rVert_2)

    Args:
        maximum: c >= 0; infinity is off.
        groups: as for :class:`GroupLasso`; ``"rows"``, the weights into one neuron, is the usual one; of an embedding
            (``on="embeddings"``) a row is the vector of one word.
        scaling: ``"decoupled"`` (default) projects to the nearest point, as the paper does; ``"adaptive"`` projects in
            the optimizer's own metric, which keeps minimizers of the loss under the constraint where they are.
        on: as for :class:`L1`.

    Raises:
        ConfigError: at attach, a grouping that does not divide a parameter's shape.

    Example:
        >>> import torch, dashpot
        >>> dashpot.MaxNorm(maximum=1.0).prox(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), step=1.0)
        tensor([[0.6000, 0.8000],
                [0.3000, 0.4000]])

    Paper: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014, section
    5.1.

    When not to use it: in front of a normalization, where the norm of weights does not matter to the output.
    """

    summary = "keeps group norms below a maximum"

    maximum: Annotated[float, Range(0.0, float("inf"), search=(0.5, 5.0), log=True, off=float("inf"))] = field(
        default=3.0, kw_only=False
    )
    groups: Annotated[Grouping | str | Tensor, Groups()] = Grouping("rows")
    scaling: Scaling = "decoupled"

    def prox(self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"]) -> Float[Tensor, "*shape"]:
        layout = as_grouping(self.groups).layout(w.shape, axes=self.axes)
        if isinstance(step, Tensor) and step.ndim:
            step = layout.fold(step.expand(w.shape), padding=1.0)
        return layout.unfold(
            ball(layout.fold(w), step if self.scaling == "adaptive" else 1.0, self.maximum, layout.dims), w.shape
        )

    def refuse_shape(self, name: str, w: Tensor) -> None:
        as_grouping(self.groups).layout(w.shape, name, self.axes)
