"""Embedding dropout: whole words of the vocabulary are left out of a step, wherever they occur."""

from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from dashpot.core.errors import ConflictError
from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where, embeddings
from dashpot.core.requires import Requires
from dashpot.core.rng import uniform_at
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Handle, Technique
from dashpot.techniques.dropout.hook import After, DropHook, place_key
from dashpot.techniques.dropout.places import warn_single_epoch


def embedding_dropout(
    x: Float[Tensor, "*places width"],
    ids: Int[Tensor, "*places"],
    uniform: Float[Tensor, " entries"],
    p: float | Float[Tensor, ""],
) -> Float[Tensor, "*places width"]:
    """The vectors of entries whose number is below ``p`` are zeros, the others are scaled by ``1 / (1 - p)``.

    Args:
        x: vectors.
        ids: the entry of each.
        uniform: in [0, 1), of each entry of the table.
    """
    return x * _kept(uniform, p)[ids].unsqueeze(-1).to(x.dtype)


def _kept(uniform: Tensor, p: float | Tensor) -> Tensor:
    """What each entry is multiplied with."""
    rate = p.float() if isinstance(p, Tensor) else torch.tensor(p, dtype=torch.float32, device="cpu")
    return (uniform >= rate) / torch.clamp(1 - rate, min=torch.finfo(torch.float32).tiny)


class EmbeddingDropout(Technique):
    r"""Leave whole entries of a lookup table out of a step: a word that is dropped is dropped wherever it occurs in the
    batch. For texts, and for categories where the loop does not say that inputs are tables.

    .. math:: \tilde e_w = \frac{m_w}{1-p} e_w, \quad m_w \sim \mathrm{Bernoulli}(1-p) \text{ for each entry } w

    Goes into any model with ``nn.Embedding`` or ``nn.EmbeddingBag``, by forward hooks. In a bag (sum, mean or max) the
    words that are dropped count as vectors of zeros. Each step and micro-batch has its own mask, and each table too.
    Evaluation is untouched.

    Args:
        p: probability of *dropping* an entry, in [0, 1]; 0 is off. 0.1 is usual.
        on: which tables, by role, type or name.

    Raises:
        ConflictError: no ``nn.Embedding`` or ``nn.EmbeddingBag`` matches ``on``.

    Warns:
        SingleEpochWarning: the run is of one epoch.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Embedding(4, 2)
        >>> with dashpot.dropout.EmbeddingDropout(p=0.5).attach(model, torch.optim.SGD(model.parameters(), lr=0.1)):
        ...     out = model(torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]]))
        >>> bool((out[0] == out[1].flip(0)).all())
        True

    Papers: Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks", NeurIPS
    2016, arXiv 1512.05287; Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018,
    arXiv 1708.02182.

    When not to use it: for texts of few words, of which each matters; for tables of a few categories, of which one is
    then missing in a whole batch. Single vectors, numbers of them, or words of one text are left out by
    ``Dropout(on="embeddings")`` and ``WordMasking``.
    """

    summary = "leaves whole entries of embeddings out of a step"
    requires = Requires(modality=("text",))
    exclusive = ("embedding dropout",)

    p: Annotated[float, Range(0.0, 1.0, search=(0.02, 0.5), off=0.0)] = field(default=0.1, kw_only=False)
    on: Annotated[Where, Selection()] = embeddings

    def acts_on(self, view: ModelView) -> Iterable[str]:
        return _tables(self.on, view)

    def check(self, view: ModelView, ctx: Context) -> None:
        if not _tables(self.on, view):
            raise ConflictError(
                f"EmbeddingDropout.on ({self.on}) matches no nn.Embedding or nn.EmbeddingBag of"
                f" {type(view.model).__name__}. Name some by glob or type, or leave EmbeddingDropout out."
            )
        warn_single_epoch(self, ctx)

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        return [
            After(module, _Hook(place_key(ctx.key, name, ctx.rank), ctx.clock(), ctx.scalar("p")), ctx)
            for name, module in _tables(self.on, view).items()
        ]

    def describe(self, view: ModelView) -> str:
        return f"{self.summary} with p={self.p:g}: {', '.join(_tables(self.on, view))}"


def _tables(on: Where, view: ModelView) -> dict[str, nn.Module]:
    """The lookup tables that are selected; a model may be one itself, which has no name."""
    kinds = (nn.Embedding, nn.EmbeddingBag)
    if isinstance(view.model, kinds):
        return {"": view.model}
    return {name: module for name, module in view.places(on).items() if isinstance(module, kinds)}


class _Hook(DropHook):
    technique = "EmbeddingDropout"
    whole_batch = True

    def passed(self, module: nn.Module, args: Any, out: Tensor) -> Tensor:
        weight = module.weight
        assert isinstance(weight, Tensor)
        uniform = uniform_at(self.key, self.clock, weight.shape[:1], weight.device)
        if isinstance(module, nn.Embedding):
            return embedding_dropout(out, args[0], uniform, self.rate)
        assert isinstance(module, nn.EmbeddingBag), "these two are selected"
        kept = _kept(uniform, self.rate)
        if module.mode != "sum" or args[0].ndim > 1:
            return _bag(module, kept, *args)
        ids, starts, weights = (*args, None, None)[:3]
        some = kept[ids].to(weight.dtype)
        found: Tensor = module.forward(ids, starts, some if weights is None else weights * some)
        return found


def _bag(
    module: nn.EmbeddingBag, kept: Tensor, ids: Tensor, offsets: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """A bag of vectors that are multiplied with what is kept of them: only those that occur are touched."""
    found, place = torch.unique(ids, return_inverse=True)
    vectors = functional.embedding(found, module.weight, sparse=module.sparse)
    padding = module.padding_idx
    if padding is not None:
        # The padding is made the first of one vector more, since it need not occur.
        place = torch.where(ids == padding, 0, place + 1)
        vectors = torch.cat([vectors.new_zeros(1, vectors.shape[1]), vectors])
        kept = torch.cat([kept.new_ones(1), kept[found]])
    else:
        kept = kept[found]
    return functional.embedding_bag(
        place,
        vectors * kept.unsqueeze(-1).to(vectors.dtype),
        offsets,
        mode=module.mode,
        per_sample_weights=weights,
        include_last_offset=module.include_last_offset,
        padding_idx=None if padding is None else 0,
    )
