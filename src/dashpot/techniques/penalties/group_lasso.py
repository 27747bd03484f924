"""Group lasso: whole groups of weights become exactly zero."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from dashpot.techniques.penalties.fast import KernelTerms
from dashpot.techniques.penalties.group_penalty import GroupPenalty
from dashpot.techniques.penalties.groups import group_norm, group_stationarity, group_threshold
from dashpot.techniques.penalties.proximal import Scalar


def group_lasso_value(
    w: Float[Tensor, "*shape"], strength: Scalar, dims: tuple[int, ...], size: float | Tensor
) -> Float[Tensor, ""]:
    """``strength * sum over groups of size * |w_g|``."""
    return (strength * size * group_norm(w, dims)).sum()


class GroupLasso(GroupPenalty):
    r"""Penalize the norms of groups of weights: a whole neuron, feature, filter, head or block becomes exactly zero, or
    none of it.

    .. math:: \mathrm{strength} \sum_g \sqrt{|g|}\, \lVert w_g \rVert_2, \qquad
              w_g \leftarrow w_g \max\!\Big(1 - \frac{s\,\mathrm{strength}\sqrt{|g|}}{\lVert w_g\rVert_2}, 0\Big)

    That map is for one step s. Where the optimizer has a step for each weight, as Adam does, the norm of the result is
    the root of an equation for each group, and is solved for.

    Args:
        strength, relative, scaling, on: as for :class:`L1`. scikit-learn's
            ``MultiTaskLasso(alpha)`` halves the mean over samples of the squared error summed over tasks: for that loss
            without the half, ``strength = 2 * alpha`` with ``size_weights=False`` and ``groups="columns"``.
        groups: ``"rows"`` (outputs: neurons, filters, the gates of a recurrent unit; tokens of an embedding),
            ``"columns"`` (inputs: features, channels; dimensions of an embedding), ``"filters"``,
            ``"input-channels"``, ``"layer"``, ``"element"``, ``"heads:8"``, ``"block:4"``, ``"block:4x8"``, or an
            integer tensor of the parameter's shape, equal numbers being one group. Outputs and inputs are those of the
            layer, also where they lie along other axes, as in a transposed convolution.
        size_weights: weight each group by the square root of its size, so that one strength suits layers of all widths.

    Raises:
        ConfigError: at attach, a grouping that does not divide a parameter's shape.

    Example:
        >>> import torch, dashpot
        >>> penalty = dashpot.GroupLasso(strength=1.0, groups="rows", size_weights=False)
        >>> penalty.prox(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), step=1.0)
        tensor([[2.4000, 3.2000],
                [0.0000, 0.0000]])

    Papers: Yuan and Lin, "Model Selection and Estimation in Regression with Grouped Variables", JRSS B 2006; Wen et
    al., "Learning Structured Sparsity in Deep Neural Networks", NeurIPS 2016; Deleu and Bengio, "Structured Sparsity
    Inducing Adaptive Optimizers for Deep Learning", 2021 (the adaptive metric).

    When not to use it: for zeros inside the groups that stay, use :class:`SparseGroupLasso`. In front of a
    normalization a network can shrink norms without changing its outputs, and strengths mean little there.
    """

    summary = "shrinks group norms; whole groups become exact zeros"

    def kernel_terms(self) -> KernelTerms | None:
        return KernelTerms(group=self.strength) if self.kernel_groups() else None

    def folded_value(
        self, w: Float[Tensor, "*shape"], strength: Scalar, dims: tuple[int, ...], size: float | Tensor
    ) -> Float[Tensor, ""]:
        return group_lasso_value(w, strength, dims, size)

    def folded_prox(
        self,
        w: Float[Tensor, "*shape"],
        step: float | Float[Tensor, "*#shape"],
        strength: Scalar,
        dims: tuple[int, ...],
        size: float | Tensor,
    ) -> Float[Tensor, "*shape"]:
        return group_threshold(w, step, strength * size, dims)

    def folded_stationarity(
        self,
        w: Float[Tensor, "*shape"],
        grad: Float[Tensor, "*shape"],
        strength: Scalar,
        dims: tuple[int, ...],
        size: float | Tensor,
    ) -> Float[Tensor, "*shape"]:
        return group_stationarity(w, grad, strength * size, dims)
