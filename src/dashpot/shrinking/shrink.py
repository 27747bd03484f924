"""``shrink``: exact zeros become a smaller network with the same outputs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError, ConflictError
from dashpot.shrinking.analysis import INPUT, analyse
from dashpot.shrinking.constants import carry, fold_constants, tensors_of
from dashpot.shrinking.counting import macs_of
from dashpot.shrinking.decide import Analysis
from dashpot.shrinking.further import further
from dashpot.shrinking.needs import Needs, SizesError
from dashpot.shrinking.plan import Plan
from dashpot.shrinking.trace import Traced, lines_of, sharing, trace
from dashpot.shrinking.value import flat, mapped
from dashpot.shrinking.verify import sliced, verified

WRAPPERS = ("OptimizedModule", "DistributedDataParallel", "DataParallel", "FullyShardedDataParallel", "ScriptModule")


@dataclass(frozen=True)
class Size:
    """How large a network is: values of its parameters, multiply-adds of one sample, and bytes of its state."""

    parameters: int
    macs: int
    bytes: int


@dataclass(frozen=True)
class Shrunk:
    """A smaller network, and how it came about.

    Attributes:
        model: the small network, of the same classes, in the mode of the large one.
        plan: what stays of each tensor; it rebuilds the network and carries optimizer states and averages over.
        before, after: sizes.
        layers: of each tensor of which something left, its shape before and after.
        stayed: units that are the same for all inputs, or that nobody reads, and stayed all the same: how many, by the
            reason.
        inputs: with ``inputs="drop"``, for each input of rows the columns that are read, which the small network takes;
            otherwise empty.
        error: the largest difference of outputs that was seen, as a share of the largest output; of :func:`shrink_to`
            to those of the network in which the units that leave are zero.
        changed: of :func:`dashpot.shrink_to` how far outputs on the example moved, likewise.
        faster: where a time was asked for, how many times as fast it was measured to be, and the rows of the calls.
        whole: of layers of low rank that are no two factors, batch norms that are not folded, and layers with four
            fifths of zeros that are not sparse, why; where that was asked for. What became so is in ``plan.factors``,
            ``plan.folded`` and ``plan.sparse``.
    """

    model: nn.Module
    plan: Plan
    before: Size
    after: Size
    layers: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    stayed: Mapping[str, int] = field(default_factory=dict)
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    error: float = 0.0
    changed: float | None = None
    faster: tuple[float, int] | None = None
    whole: Mapping[str, str] = field(default_factory=dict)

    def summary(self) -> str:
        """Sizes, what became smaller, and what stayed although it is zero, as text."""
        rows = [("", "before", "after", "share")]
        for name in ("parameters", "macs", "bytes"):
            old, new = getattr(self.before, name), getattr(self.after, name)
            rows.append((name, f"{old:,}", f"{new:,}", f"{new / max(old, 1):.1%}"))
        rows += [
            (name, "x".join(map(str, old)), "x".join(map(str, new)), "") for name, (old, new) in self.layers.items()
        ]
        widths = [max(len(row[k]) for row in rows) for k in range(4)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(row[k].rjust(widths[k]) for k in (1, 2, 3))]).rstrip() for row in rows
        ]
        for name, columns in self.inputs.items():
            lines.append(f"{name}: {len(columns)} columns are read")
        if self.plan.folded:
            lines.append(f"batch norms folded: {', '.join(norm for _, norm in self.plan.folded)}")
        lines += [f"{name}: two factors of rank {rank}" for name, rank in self.plan.factors.items()]
        lines += [f"{name}: a sparse matrix of {count:,} weights" for name, count in self.plan.sparse.items()]
        lines += [f"{name} stays: {why}" for name, why in self.whole.items()]
        for reason, count in sorted(self.stayed.items(), key=lambda item: -item[1]):
            lines.append(f"{count} zero {'units' if count > 1 else 'unit'} stayed: {reason}")
        if self.faster is not None:
            lines.append(f"{self.faster[0]:.3g} times as fast at batch {self.faster[1]}, measured on one thread")
        lines.append(
            f"outputs differ by {self.error:.1e} of the largest one at most"
            if self.changed is None
            else f"outputs on the example moved by {self.changed:.1%} of the largest one; accuracy was not measured"
        )
        return "\n".join(lines)


def shrink(
    model: nn.Module,
    example_inputs: Any,
    *,
    inputs: str = "keep",
    low_rank: bool = False,
    fold: bool = False,
    sparse: bool = False,
) -> Shrunk:
    """A smaller network with the same outputs: units that exact zeros make the same for all inputs, or that nobody
    reads, leave with all weights that make and use them; what such a unit gives goes into the next layer's bias.

    The graph of operations comes from ``torch.export``; the result is made of the same classes, so that it trains,
    saves and exports as the large one does (``nn.MultiheadAttention`` with fewer heads is a subclass of it). Outputs of
    both are compared on the example and on further inputs like it in evaluation mode; where they differ by more than
    1e-5 of the largest output (1e-6 in float64), nothing is made. Where sizes written in the forward's code no longer
    fit, such as in ``x.view(b, 8, 64)``, the units that such a line needs stay, and ``stayed`` tells the line. The
    model given is never changed.

    Layers: linear, convolutions (1-3 d, also transposed, depthwise and in groups, of which whole ones leave, or equal
    numbers of each), batch, instance, group and RMS norm (fewer features with another eps and scale), embeddings,
    pooling, residual sums, concatenations, splits, gates, and whatever acts on single elements. Hidden units of LSTM,
    GRU and RNN of one layer and direction leave where they are always zero or unread, columns of inputs of all of
    them. Whole heads of attention leave, of ``nn.MultiheadAttention`` where nobody reads its weights, of others where
    the module's code can do with fewer, as those of transformers can.
    Units in front of a layer norm stay, as does what an operation without a rule reads: ``stayed`` says so.

    Args:
        model: a network with exact zeros, such as :class:`~dashpot.GroupLasso` makes.
        example_inputs: a tensor, or a tuple of arguments, or a dict of keyword arguments, on the model's device; two
            rows are enough.
        inputs: ``"keep"``: the small network takes what the large one takes. ``"drop"``: of inputs [rows, columns] it
            takes the columns that are read; ``Shrunk.inputs`` says which.
        low_rank: a linear layer or convolution whose weight is of low rank to rounding, such as
            :class:`~dashpot.NuclearNorm` makes, becomes two layers where these have fewer weights: ``W = A B``.
        fold: batch normalizations become a part of the layers in front of them (:func:`dashpot.fold_batch_norm`), for
            inference: who trains on does without.
        sparse: linear layers with at least 80 % scattered zeros become sparse matrices where they are measured to be
            faster so, with what they are given for 64 rows: on the CPU, for inference, likewise.

    Raises:
        ConfigError: ``inputs`` is neither of both, or ``low_rank``, ``fold`` or ``sparse`` is no bool.
        ConflictError: a wrapped or compiled model, inputs on another device, a forward that cannot be traced or has
            sizes of its own, or outputs that would differ.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> with torch.no_grad():
        ...     _ = model[0].weight[2:7].zero_()
        >>> small = dashpot.shrink(model, torch.randn(2, 4)).model
        >>> small[0].out_features, bool(torch.allclose(small(torch.ones(3, 4)), model(torch.ones(3, 4)), atol=1e-6))
        (3, True)

    When not to use it: for scattered zeros, which leave no unit empty: penalize groups (``groups="rows"``,
    ``"columns"``, ``"filters"``), or, with very many zeros in large linear layers, pass ``sparse=True``.
    """
    if inputs not in ("keep", "drop"):
        raise ConfigError("inputs", "'keep' or 'drop'", inputs)
    for name, asked in (("low_rank", low_rank), ("fold", fold), ("sparse", sparse)):
        if not isinstance(asked, bool):
            raise ConfigError(name, "True or False", asked)
    args, kwargs = example_arguments(model, example_inputs)
    return shrink_exactly(model, args, kwargs, drop=inputs == "drop", low_rank=low_rank, fold=fold, sparse=sparse)


def shrink_exactly(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    drop: bool = False,
    traced: Traced | None = None,
    low_rank: bool = False,
    fold: bool = False,
    sparse: bool = False,
) -> Shrunk:
    """:func:`shrink` with the arguments of the network's forward, and its graph where that is known."""
    with torch.random.fork_rng(), torch.device("cpu"):  # masks and labels are there, whatever the default device is
        if traced is None:
            traced = trace(copy.deepcopy(model).cpu(), *mapped((args, kwargs), _on_cpu))
        example = [leaf.cpu() if isinstance(leaf, Tensor) else leaf for leaf in flat((args, kwargs))]
        needs, lines, heads = Needs(), [lines_of(node) for node in traced.nodes], True
        while True:
            found = analyse(traced, example, drop=drop, heads=heads, needs=needs)
            small, plan, columns = _cut(model, found)
            try:
                error = verified(model, small, args, kwargs, traced.inputs, columns)
                break
            except ConflictError as failure:
                if isinstance(failure, SizesError) and needs.learn(failure.lines, lines):
                    continue  # what that line needs stays
                if not heads:
                    raise  # with all heads it does not fit either
                heads = False
        given = sliced(args, kwargs, traced.inputs, columns)
        plan, whole = further(small, plan, low_rank, fold, sparse, given)
        if plan.factors or plan.folded or plan.sparse:
            error = verified(model, small, args, kwargs, traced.inputs, columns)
    state, after = tensors_of(model), tensors_of(small)
    layers = {
        name: (tuple(tensor.shape), tuple(after[name].shape))
        for name, tensor in state.items()
        if name in after and tensor.shape != after[name].shape
    }
    chosen = {name.removeprefix(INPUT): tuple(places.tolist()) for name, places in columns.items()}
    sizes = size_of(model, args, kwargs), size_of(small, *given)
    return Shrunk(small, plan, *sizes, layers, found.reasons, chosen, error, whole=whole)


def _cut(model: nn.Module, found: Analysis) -> tuple[nn.Module, Plan, dict[str, Tensor]]:
    """The small network, its plan, and of inputs the columns that it takes."""
    small = copy.deepcopy(model)
    carry(small, found.carried)
    biases = tuple(weight.rpartition(".")[0] for weight, (bias, _) in found.folds.items() if bias is None)
    names = tuple(f"{name}.bias" if name else "bias" for name in biases)
    kept = {name: axes for name, axes in found.kept.items() if not name.startswith(INPUT)}
    eps = {weight.rpartition(".")[0]: eps for weight, (eps, _) in found.norms.items()}
    plan = Plan(kept, names, sharing(model), found.grouped, eps)
    with torch.no_grad():
        for weight, (_, factor) in found.norms.items():
            small.get_parameter(weight).mul_(factor)
    plan.apply(small)
    fold_constants(small, plan, found.folds)
    return small, plan, {name: axes[1] for name, axes in found.kept.items() if name.startswith(INPUT)}


def _on_cpu(leaf: Any) -> Any:
    return leaf.cpu() if isinstance(leaf, Tensor) else leaf


def example_arguments(model: nn.Module, given: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments.

    Raises:
        ConflictError: the model is wrapped, or the example lies on another device.
    """
    kinds = {kind.__name__ for kind in type(model).__mro__}
    if kinds & set(WRAPPERS):
        raise ConflictError(
            f"shrink takes the plain network, and this is a {type(model).__name__}: pass what it wraps."
        )
    args = () if isinstance(given, Mapping) else tuple(given) if isinstance(given, tuple | list) else (given,)
    kwargs = dict(given) if isinstance(given, Mapping) else {}
    home = {tensor.device for tensor in [*model.parameters(), *model.buffers()]}
    there = {leaf.device for leaf in flat((args, kwargs)) if isinstance(leaf, Tensor)}
    if not there:
        raise ConflictError(f"example_inputs must hold a tensor, got {type(given).__name__}.")
    if home and not there <= home:
        raise ConflictError(
            f"example_inputs lie on {', '.join(sorted(map(str, there)))} and the model on"
            f" {', '.join(sorted(map(str, home)))}. Move them to one device."
        )
    return args, kwargs


def size_of(model: nn.Module, args: Any, kwargs: Any) -> Size:
    """How large a network is, with what it is called with."""
    parameters = {id(p): p for p in model.parameters()}.values()
    state = {id(t): t for t in [*model.parameters(), *model.buffers()]}.values()
    return Size(
        sum(p.numel() for p in parameters),
        macs_of(model, args, kwargs)[""],
        sum(t.numel() * t.element_size() for t in state),
    )
