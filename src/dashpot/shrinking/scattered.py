"""``SparseLinear``: a linear layer with scattered zeros, whose other weights are all that is kept, for inference."""

from __future__ import annotations

import copy
import functools
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashpot.core.errors import DataError
from dashpot.shrinking.factors import why_it_stays
from dashpot.shrinking.timing import latencies
from dashpot.shrinking.trace import sharing
from dashpot.shrinking.value import flat

WIDE = torch.float32, torch.float64
"""What sparse products are made of."""
ZEROS, ROWS, PAYS = 0.8, 64, 1.1
"""The share of zeros from which a layer is tried; the rows at which it is timed; and how many times as fast it has to
be.
"""


class SparseLinear(nn.Module):
    """``W x + b`` with W in compressed rows (CSR): products with zeros are not computed. For inference: its weights
    take no gradient, the inputs do. ``weight`` is the whole matrix, for code that reads it.

    Args:
        layer: the layer whose sizes, bias and type it has; it takes its weights by :meth:`take`, or with a state.
        entries: how many weights are not zero.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(6, 4)
        >>> with torch.no_grad():
        ...     _ = layer.weight.mul_(torch.arange(24).reshape(4, 6) % 5 == 0)
        >>> sparse = SparseLinear(layer, 5).take(layer.weight)
        >>> bool(torch.allclose(sparse(torch.ones(3, 6)), layer(torch.ones(3, 6)))), sparse.values.numel()
        (True, 5)
    """

    untraced = (
        "it has sparse matrices (sparse=True), which torch.export cannot follow; shrink the network as it was before"
    )

    def __init__(self, layer: nn.Linear, entries: int) -> None:
        super().__init__()
        _told()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        like: dict[str, Any] = {"device": layer.weight.device}
        self.register_buffer("rows", torch.zeros(self.out_features + 1, dtype=torch.int32, **like))
        self.register_buffer("columns", torch.zeros(entries, dtype=torch.int32, **like))
        self.values = nn.Parameter(torch.zeros(entries, dtype=layer.weight.dtype, **like), requires_grad=False)
        self.bias = layer.bias
        self.train(layer.training)

    rows: Tensor
    columns: Tensor

    @torch.no_grad()
    def take(self, weight: Tensor) -> SparseLinear:
        """The weights of a matrix [outputs, inputs]."""
        sparse = weight.detach().to_sparse_csr()
        self.rows.copy_(sparse.crow_indices())
        self.columns.copy_(sparse.col_indices())
        self.values.copy_(sparse.values())
        return self

    @property
    def weight(self) -> Tensor:
        """[outputs, inputs], with its zeros."""
        counts = self.rows.diff().long()
        places = torch.repeat_interleave(torch.arange(self.out_features, device=counts.device), counts)
        whole = self.values.new_zeros(self.out_features, self.in_features)
        return whole.index_put((places, self.columns.long()), self.values.detach())

    def forward(self, x: Tensor) -> Tensor:
        shape, given = (self.out_features, self.in_features), x.reshape(-1, self.in_features)
        values = self.values if self.values.dtype in WIDE else self.values.float()
        with torch.autocast(x.device.type, enabled=False):  # of 16 bits sparse products are not there
            matrix = torch.sparse_csr_tensor(self.rows, self.columns, values, shape, check_invariants=False)
            made: Tensor = (matrix @ (given if x.dtype in WIDE else given.to(values.dtype)).t()).t()
            made = made if self.bias is None else made + self.bias.to(made.dtype)
        return made.reshape(*x.shape[:-1], self.out_features).to(x.dtype)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, entries={self.values.numel()}"


@functools.cache
def _told() -> None:
    """Torch says once in a process that sparse matrices are in beta, which nobody who predicts can act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.zeros(1, 1).to_sparse_csr()


def put_sparse(model: nn.Module, entries: Mapping[str, int]) -> None:
    """Put :class:`SparseLinear` in the place of layers, in place; their weights come with a state.

    Raises:
        DataError: one is no linear layer.
    """
    for name, count in entries.items():
        layer = dict(model.named_modules()).get(name)
        if not isinstance(layer, nn.Linear):
            raise DataError(
                f"the plan is of another network: {name} would be a linear layer, and is {type(layer).__name__}."
            )
        _put(model, name, SparseLinear(layer, count))


def dense_again(model: nn.Module) -> nn.Module:
    """A copy with linear layers in the place of sparse ones; the model itself where there are none."""
    if not any(isinstance(module, SparseLinear) for module in model.modules()):
        return model
    whole = copy.deepcopy(model)
    for name, module in list(whole.named_modules()):
        if isinstance(module, SparseLinear):
            made = nn.Linear(module.in_features, module.out_features, bias=False)
            made.weight, made.bias = nn.Parameter(module.weight), module.bias
            _put(whole, name, made.train(module.training))
    return whole


def make_sparse(model: nn.Module, args: Any, kwargs: Any) -> tuple[dict[str, int], dict[str, str]]:
    """Make linear layers with four fifths of zeros sparse, in place, where they are measured to be faster so.

    Returns:
        How many weights each has, by name, and of others with so many zeros why they stay.
    """
    places = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    tied = sharing(model)
    tied = {**tied, **dict.fromkeys(tied.values(), "")}
    found: dict[str, int] = {}
    stay: dict[str, str] = {}
    for name, layer in list(model.named_modules()):
        if type(layer) is not nn.Linear or not layer.weight.numel():
            continue
        entries = int(layer.weight.count_nonzero())
        if entries > (1 - ZEROS) * layer.weight.numel():
            continue
        why = _why_not(layer, name, places[id(layer)] > 1 or f"{name}.weight" in tied)
        sparse = None if why else SparseLinear(layer, entries).take(layer.weight)
        why = why if sparse is None else _slow(model, name, layer, sparse, args, kwargs)
        if why or sparse is None:
            stay[name or "the network"] = why
        else:
            found[name] = entries
            _put(model, name, sparse)
    return found, stay


def _why_not(layer: nn.Linear, name: str, shared: bool) -> str:
    if layer.weight.device.type != "cpu":
        return f"sparse products are tried on the CPU, and it lies on {layer.weight.device}"
    if layer.weight.dtype not in WIDE:
        return f"sparse products are made of float32 and float64, and it is {layer.weight.dtype}"
    return why_it_stays(layer, name, shared)


@torch.no_grad()
def _slow(model: nn.Module, name: str, layer: nn.Linear, sparse: SparseLinear, args: Any, kwargs: Any) -> str:
    """Why it is not worth it; "" where it is. It is timed with what the network gives it for 64 rows."""
    given: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()(*args, **kwargs)
    finally:
        handle.remove()
        for module, mode in modes:
            module.training = mode
    if not given:
        return "the network does not call it"
    first = next(leaf for leaf in flat((args, kwargs)) if isinstance(leaf, Tensor) and leaf.ndim)
    x = given[0].reshape(-1, layer.in_features)
    rows = max(1, len(x) // max(first.shape[0], 1)) * ROWS
    x = torch.cat([x] * -(-rows // len(x)))[:rows].contiguous()
    try:
        dense, ours = latencies([(layer, ((x,), {})), (sparse, ((x,), {}))])
        torch.testing.assert_close(sparse(x), functional.linear(x, layer.weight, layer.bias), rtol=1e-3, atol=1e-4)
    except (RuntimeError, AssertionError) as error:
        return f"this torch does not multiply sparse matrices ({str(error).splitlines()[0][:80]})"
    if dense / ours < PAYS:
        return f"as a sparse matrix it is {dense / ours:.2g} times as fast with {rows} rows"
    return ""


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    above, _, own = name.rpartition(".")
    model.get_submodule(above)._modules[own] = module
