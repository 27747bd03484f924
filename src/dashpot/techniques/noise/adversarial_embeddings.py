"""Adversarial training on embeddings: learn from the worst vectors nearby, too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.errors import ConflictError, UsageError
from dashpot.core.fields.domains import Range
from dashpot.core.preset import Preset
from dashpot.core.requires import Requires
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Handle, Technique
from dashpot.techniques.noise.shifts import Change, Shifts, at_least_float32, check_places, lengths, places, scaled
from dashpot.techniques.outputs.judged import Judged, judged


def with_moved(
    loss: Float[Tensor, "*shape"], moved: Float[Tensor, "*shape"], weight: float | Float[Tensor, ""]
) -> Float[Tensor, "*shape"]:
    """``(1 - weight) * loss + weight * moved``."""
    return (1 - weight) * loss + weight * moved


class AdversarialEmbeddings(Technique):
    r"""Learn from each text as it is, and with its words' vectors moved to where the loss grows fastest.

    .. math:: \ell_a = (1 - w)\, \ell(f(e), y) + w\, \ell(f(e + r), y), \quad
        r = \epsilon\, \bar e\, \frac{g}{\lVert g \rVert_2}, \quad g = \nabla_e\, \ell(f(e), y)

    e are the vectors of all words of a text and :math:`\bar e` is the root mean square of their lengths, so that ε
    needs no other value where vectors are longer. g comes from the loop's own pass, which saves one; the moved
    vectors have dropout masks of their own, leave running statistics alone, and no gradient flows through r. The loss
    with them is cross entropy for classes, binary cross entropy for labels and the squared error for values.

    What is moved is what the model's embeddings return, or what it names by ``embeds_at``, a tuple of names of modules
    that return the vectors of the words, [batch, words, width].

    Args:
        epsilon: ε > 0, the length of a text's change, as a share of the length of one of its words' vectors; 0.2 to
            0.5 is usual.
        weight: w in [0, 1], of the loss with moved vectors; 0 is off.

    Raises:
        ConflictError: a model without embeddings.
        UsageError: ``session.batch`` was not called, ``session.loss`` got no ``out`` or no graph; or the loop has not
            said whether floating-point targets are values or labels.

    Example:
        >>> import torch, dashpot
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 3))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.noise.AdversarialEmbeddings(0.5).attach(model, optimizer)
        >>> x, y = session.batch(torch.randint(9, (6, 5)), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> out = model(x)
        >>> bool(session.loss(nn.CrossEntropyLoss(), out) > nn.functional.cross_entropy(out, y))
        True

    Paper: Miyato, Dai and Goodfellow, "Adversarial Training Methods for Semi-Supervised Text Classification", ICLR
    2017, arXiv 1605.07725, where vectors are standardized in place of ε.

    When not to use it: where twice the training time buys more as twice the epochs; with a large ε on long texts of
    which few words tell the class, where the change makes these words others.
    """

    summary = "learns from word vectors moved to raise the loss (a pass more)"
    requires = Requires(modality=("text",))
    forwards = 1
    preset = Preset("epsilon=0.1..0.6,weight=0.5", modalities=("text",), order=45)
    order = 10  # after what blends the plain loss with something else

    epsilon: Annotated[float, Range(0.0, float("inf"), search=(0.1, 1.0), log=True, open="low")] = field(
        default=0.3, kw_only=False
    )
    weight: Annotated[float, Range(0.0, 1.0, search=(0.2, 0.7), off=0.0)] = 0.5

    def check(self, view: ModelView, ctx: Context) -> None:
        check_places("AdversarialEmbeddings", view)
        if not places(view):
            raise ConflictError(
                f"AdversarialEmbeddings finds no nn.Embedding or nn.EmbeddingBag in {type(view.model).__name__}. Name"
                " the modules that give the vectors by embeds_at, or leave AdversarialEmbeddings out."
            )

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        return Shifts.on(view, ctx, graph=True)

    def on_loss(self, loss: Tensor, out: Any, ctx: Context) -> Tensor:
        shifts = Shifts.of_session(ctx)
        if self.weight == 0:
            shifts.forget()
            return loss
        if ctx.batch is None:
            raise UsageError(
                "AdversarialEmbeddings runs the batch again: call session.batch(x, y) before session.loss."
            )
        found = judged("AdversarialEmbeddings", loss, out, ctx, values=True)
        change = self._change(found, shifts)
        shifts.forget()
        with shifts.shifted(change):
            moved = found.taken(ctx.forward(ctx.batch), "the moved batch")
        return with_moved(loss, _plain(found.beside(moved), ctx), self.weight)

    def _change(self, found: Judged, shifts: Shifts) -> Change:
        """What is added to the vectors, by place."""
        hidden = shifts.hidden("AdversarialEmbeddings", len(found.out))
        plain = _of_truth(found)
        if not plain.requires_grad:
            raise UsageError("AdversarialEmbeddings needs outputs with a graph: call the model with gradients enabled.")
        gradients = torch.autograd.grad(plain.sum(), list(hidden.values()), retain_graph=True, allow_unused=True)
        along = {
            name: torch.zeros_like(t) if g is None else g
            for (name, t), g in zip(hidden.items(), gradients, strict=True)
        }
        length = lengths(along)
        return scaled(along, self.epsilon * _word_length(hidden) / length.clamp(min=torch.finfo(length.dtype).tiny))

    def describe(self, view: ModelView) -> str:
        return f"{self.summary}, at: {', '.join(places(view))}"


def _of_truth(found: Judged) -> Tensor:
    return found.squared() if found.kind == "values" else found.of_target(lambda nll: nll)


def _plain(found: Judged, ctx: Context) -> Tensor:
    """The loss of what is true, in the shape of the criterion's, with its weights of classes."""
    each = _of_truth(found)
    samples = ctx.samples
    if samples is None or not samples.weighted or samples.class_weight is None:
        return each
    return each * samples.class_weight.to(each.dtype)


def _word_length(hidden: Change) -> Tensor:
    """The root mean square of the lengths of a sample's vectors that are not zeros, as padding is; [batch]."""
    squares = [at_least_float32(t.detach()).square().sum(dim=-1).reshape(len(t), -1) for t in hidden.values()]
    every = torch.cat(squares, dim=1)
    return (every.sum(dim=1) / (every > 0).sum(dim=1).clamp(min=1)).sqrt()
