"""Weight normalization: length and direction of each output's weights are trained apart."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dashpot.core.running.context import Context
from dashpot.techniques.normalization.computed_weight import ComputedWeight, Rule


def weight_norm(
    v: Float[Tensor, "*shape"], g: Float[Tensor, "*#shape"], dims: tuple[int, ...]
) -> Float[Tensor, "*shape"]:
    """``g * v / |v|``, with the length of ``v`` along ``dims``."""
    return v * (g / lengths(v, dims))


def lengths(v: Float[Tensor, "*shape"], dims: tuple[int, ...]) -> Float[Tensor, "*#shape"]:
    """Euclidean, along ``dims``, which stay as axes of size 1."""
    found: Tensor = torch.linalg.vector_norm(v, dim=dims, keepdim=True)
    return found


class WeightNorm(ComputedWeight):
    r"""Train the length and the direction of each output's weights apart from each other.

    .. math:: w = g \, \frac{v}{\lVert v \rVert_2}

    with a number g and a vector v for each output of a linear layer or (transposed, grouped) convolution; at first the
    weights are as they were. A step changes the direction the less the longer v has become, so that the learning rate
    matters less; it makes a network's layers comparable without statistics of batches. While the session is open each
    layer has g as ``parametrizations.weight.original0`` and v as ``original1``, as under torch's own ``weight_norm``;
    they are trained in the weight's place, and ``close()`` leaves plain weights.

    Args:
        on: layers, by role, type or name; all linear layers and convolutions by default.

    Raises:
        ConflictError: at attach, no layer or one that is none of these, a weight that is shared, complex or computed
            already, an output whose weights are all zero and have no direction; a penalty or decay on a weight that is
            computed: leave its layer out, or act on ``on="reparametrized"``. A compiled or wrapped model: attach first.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3))
        >>> before = model[0].weight.detach().clone()
        >>> session = dashpot.normalization.WeightNorm().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> [name for name, _ in model.named_parameters()]
        ['0.bias', '0.parametrizations.weight.original0', '0.parametrizations.weight.original1']
        >>> bool(torch.allclose(model[0].weight, before))
        True
        >>> session.close(); [name for name, _ in model.named_parameters()]
        ['0.weight', '0.bias']

    Paper: Salimans and Kingma, "Weight Normalization: A Simple Reparameterization to Accelerate Training of Deep Neural
    Networks", NeurIPS 2016.

    When not to use it: in front of a batch normalization, which makes lengths meaningless; together with a penalty on
    weights.
    """

    summary = "trains length and direction of weights apart"
    waivers = {"off": "a weight is length times direction or it is not"}  # noqa: RUF012

    def rule(self, layer: nn.Module, weight: Tensor, key: int, ctx: Context) -> Rule:
        return _WeightNorm(layer, weight)

    def refusal(self, layer: nn.Module, weight: Tensor) -> str:
        g, _ = _WeightNorm(layer, weight).sources(weight)
        if bool((g != 0).all()):
            return ""
        zeros = (g == 0).reshape(-1).nonzero().reshape(-1).tolist()
        return f"the weights of output {zeros[0]} are all zero and have no direction."


class _WeightNorm(Rule):
    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        if self.axes.outputs == (0,):
            made: Tensor = torch._weight_norm(v, g, 0)  # the same in one pass, as torch's own uses it
            return made
        return weight_norm(self.split(v), g, self.dims).reshape(v.shape)

    def sources(self, weight: Tensor) -> tuple[Tensor, ...]:
        return lengths(self.split(weight), self.dims), weight

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, ...]:
        """For torch's parametrization."""
        return self.sources(weight)
