"""The network for tables of mixed columns: scaling, embeddings, residual connections, implicit members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.core.fields.domains import check_whole
from dashpot.nets.layers import NominalEmbedding, Scaling
from dashpot.nets.members import MemberHeads, MemberInput, MemberScale, mean_prediction
from dashpot.nets.numeric import PiecewiseLinear, make_embedding

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "selu": nn.SELU,
    "mish": nn.Mish,
    "gelu": nn.GELU,
}
NORMS: dict[str, Any] = {"none": None, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class TableNet(nn.Module):
    """A multilayer perceptron for tables, with additions that help on tables; each can be switched off.

    The columns are ``numeric`` numbers, roughly standardized, and then indicators and one-hot blocks. Numbers may be
    embedded, so may large one-hot blocks; a learned factor scales each column; then come ``depth`` hidden layers and a
    linear head. Dropout, at rate 0 until a recipe sets it, follows each hidden activation; with batch normalization
    only the last one, since before one it does harm.

    Args:
        inputs, outputs: numbers of columns and of logits (1 for regression).
        width: units per hidden layer.
        depth: hidden layers; 0 is a linear model.
        activation: relu, silu, selu, mish or gelu.
        norm: none, batch or layer, before each activation.
        skip: residual connections around all hidden layers but the first: ``h + Linear(Dropout(act(norm(h))))``.
        scaling: the learned factors.
        numeric: the number of leading columns that are numbers.
        embedding: of the numbers: none, periodic or piecewise (call :meth:`fit_bins` before training).
        embedding_size: numbers made of each number, itself included; at least 2.
        bins: of the piecewise embedding.
        nominal: (start, stop) of each one-hot block to embed, after the numbers, without overlap.
        nominal_size: numbers made of each of those blocks.
        members: networks inside this one that share matrices and differ by factors (TabM). Above 1, training mode gives
            the output of each in a last axis, to be compared with the target one by one, as
            ``dashpot.scores.cross_entropy`` and ``squared_error`` do; evaluation mode gives their mean (of
            probabilities, where there is more than one output: those must then be classes).

    Raises:
        ConfigError: a value that the above does not allow.

    Example:
        >>> import torch
        >>> net = TableNet(8, 3, numeric=4, embedding="periodic", members=5)
        >>> x = torch.randn(6, 8)
        >>> net.train()(x).shape, net.eval()(x).shape
        (torch.Size([6, 3, 5]), torch.Size([6, 3]))

    Papers: Holzmüller et al., "Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on Tabular Data", NeurIPS
    2024; Gorishniy et al., "TabM: Advancing Tabular Deep Learning with Parameter-Efficient Ensembling", ICLR 2025; He
    et al., "Identity Mappings in Deep Residual Networks", ECCV 2016.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int = 256,
        depth: int = 3,
        activation: str = "silu",
        norm: str = "none",
        skip: bool = False,
        scaling: bool = True,
        numeric: int = 0,
        embedding: str = "none",
        embedding_size: int = 4,
        bins: int = 16,
        nominal: Sequence[Sequence[int]] = (),
        nominal_size: int = 8,
        members: int = 1,
    ) -> None:
        super().__init__()
        inputs, outputs, width, members = (
            check_whole(name, value)
            for name, value in (("inputs", inputs), ("outputs", outputs), ("width", width), ("members", members))
        )
        depth, numeric = check_whole("depth", depth, low=0), check_whole("numeric", numeric, low=0)
        if activation not in ACTIVATIONS:
            raise UnknownNameError("activation", str(activation), ACTIVATIONS)
        if norm not in NORMS:
            raise UnknownNameError("norm", str(norm), NORMS)
        for name, value in (("skip", skip), ("scaling", scaling)):
            if value not in (True, False):
                raise ConfigError(name, "True or False", value)
        if numeric > inputs:
            raise ConfigError("numeric", f"at most inputs ({inputs})", numeric)
        blocks = _checked_blocks(nominal, numeric, inputs)
        self.options = {
            "inputs": inputs,
            "outputs": outputs,
            "width": width,
            "depth": depth,
            "activation": activation,
            "norm": norm,
            "skip": bool(skip),
            "scaling": bool(scaling),
            "numeric": numeric,
            "embedding": embedding,
            "embedding_size": embedding_size,
            "bins": bins,
            "nominal": blocks,
            "nominal_size": nominal_size,
            "members": members,
        }
        self.numeric, self.blocks, self.members, self.skip = numeric, blocks, members, bool(skip) and depth > 0
        self.embedded = embedding != "none" and numeric > 0
        self.embedding = make_embedding(embedding, numeric, embedding_size, bins)
        self.nominal = nn.ModuleList(NominalEmbedding(stop - start, nominal_size) for start, stop in blocks)
        self.kept = _between(blocks, numeric, inputs)
        columns = numeric * (embedding_size if self.embedded else 1)
        columns += sum(stop - start for start, stop in self.kept) + len(blocks) * nominal_size
        self.scaling = Scaling(columns) if scaling else nn.Identity()
        self.spread = MemberInput(members, columns) if members > 1 else nn.Identity()
        linears = [_Linear(columns if i == 0 else width, width, members, first=i == 0) for i in range(depth)]
        acts = [_Act(width, activation, norm, dropout=norm != "batch" or i == depth - 1) for i in range(depth)]
        self.linears, self.acts = nn.ModuleList(linears), nn.ModuleList(acts)
        if self.skip:
            self.mixes_at = ((f"acts.{depth - 1}",),)  # all others have a sum beside them
        last = width if depth else columns
        self.head: nn.Module = MemberHeads(members, last, outputs) if members > 1 else nn.Linear(last, outputs)
        with torch.no_grad():
            for p in self.head.parameters():
                p.mul_(0.1)  # first predictions near the mean: small tables overfit less

    def fit_bins(self, x: Tensor) -> TableNet:
        """Put the bins of a piecewise embedding at the quantiles of the training rows ``x`` [rows, inputs]; of use for
        nothing else, and then harmless.

        Returns:
            Itself.

        Raises:
            DataError: no rows, fewer columns than numbers, or values that are not finite.
        """
        if isinstance(self.embedding, PiecewiseLinear):
            self.embedding.fit_bins(x[:, : self.numeric])
        return self

    def forward(self, x: Tensor) -> Tensor:
        """[..., batch, inputs] to [..., batch, outputs]; with members, in training mode, to [..., batch, outputs,
        members].
        """
        h = self.spread(self.scaling(self._columns(x)))
        if self.skip:
            # Linear first, act last: what the head sees has been normalized and activated once, as without connections.
            h = self.linears[0](h)
            for linear, act in zip(self.linears[1:], self.acts, strict=False):
                h = h + linear(act(h))
            h = self.acts[-1](h)
        else:
            for linear, act in zip(self.linears, self.acts, strict=True):
                h = act(linear(h))
        out: Tensor = self.head(h)
        return mean_prediction(out) if self.members > 1 and not self.training else out

    def _columns(self, x: Tensor) -> Tensor:
        """Numbers, embedded or not; then what stays as it is; then the embedded blocks."""
        if not self.embedded and not self.blocks:
            return x
        parts = [self.embedding(x[..., : self.numeric])] if self.numeric else []
        parts += [x[..., start:stop] for start, stop in self.kept]
        parts += [layer(x[..., start:stop]) for layer, (start, stop) in zip(self.nominal, self.blocks, strict=True)]
        return torch.cat(parts, dim=-1)


class _Linear(nn.Module):
    """A linear layer, with each member's factors before and after it; before the first one, :class:`MemberInput` has
    them.
    """

    def __init__(self, inputs: int, outputs: int, members: int, *, first: bool) -> None:
        super().__init__()
        self.before = MemberScale(members, inputs) if members > 1 and not first else nn.Identity()
        self.linear = nn.Linear(inputs, outputs)
        # Keeps the variance of standardized columns; torch's own default, a third of it, trains more slowly here.
        nn.init.normal_(self.linear.weight, std=inputs**-0.5)
        nn.init.zeros_(self.linear.bias)
        self.after = MemberScale(members, outputs, bias=True) if members > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.after(self.linear(self.before(x)))
        return result


class _Act(nn.Module):
    """Normalization, activation, dropout."""

    def __init__(self, width: int, activation: str, norm: str, *, dropout: bool) -> None:
        super().__init__()
        self.norm = NORMS[norm](width) if NORMS[norm] else nn.Identity()
        self.act = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(0.0) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.dropout(self.act(self.norm(x)))
        return result


def _checked_blocks(nominal: Sequence[Sequence[int]], numeric: int, inputs: int) -> tuple[tuple[int, int], ...]:
    rule = f"pairs (start, stop) in order and without overlap, from {numeric} (numeric) to {inputs} (inputs)"
    blocks = []
    low = numeric
    for block in nominal:
        if len(block) != 2 or not low <= block[0] < block[1] <= inputs:
            raise ConfigError("nominal", rule, nominal)
        low = int(block[1])
        blocks.append((int(block[0]), low))
    return tuple(blocks)


def _between(blocks: Sequence[tuple[int, int]], low: int, high: int) -> tuple[tuple[int, int], ...]:
    """The ranges from ``low`` to ``high`` that are in no block."""
    starts = [low, *(stop for _, stop in blocks)]
    stops = [*(start for start, _ in blocks), high]
    return tuple((start, stop) for start, stop in zip(starts, stops, strict=True) if start < stop)
