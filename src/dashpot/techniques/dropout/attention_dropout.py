"""Attention dropout: zero random attention weights while training."""

import functools
from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dashpot.core.errors import ConflictError, UsageError
from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where, everything
from dashpot.core.running.context import Context
from dashpot.core.running.copies import ABSENT, Guest
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Handle, Technique
from dashpot.techniques.dropout.attention import Changing, attends
from dashpot.techniques.dropout.dropout import dropout, dropped_at
from dashpot.techniques.dropout.hook import DropHook, place_key, put_back
from dashpot.techniques.dropout.places import refuse_nowhere, shown, warn_single_epoch


def attention_dropout(
    weights: Float[Tensor, "... queries keys"], uniform: Float[Tensor, "..."], p: float | Float[Tensor, ""]
) -> Float[Tensor, "... queries keys"]:
    """Weights with ``uniform < p`` are zeros, the others are scaled by ``1 / (1 - p)``. ``p = 0`` is the identity."""
    return dropout(weights, uniform, p)


class AttentionDropout(Technique):
    r"""Zero random attention weights while training; the rest is scaled up so that the mean stays.

    .. math:: \tilde A = \frac{M}{1-p} \odot \mathrm{softmax}(Q K^\top / \sqrt d), \quad
              M_{ij} \sim \mathrm{Bernoulli}(1-p), \quad \text{output} = \tilde A V

    Goes into any model: ``nn.MultiheadAttention`` (also inside torch's transformer layers), what calls
    ``torch.nn.functional.scaled_dot_product_attention`` (Hugging Face's and timm's blocks), and attention that is
    written by hand, as a softmax that values are multiplied with (``@``, ``matmul``, ``bmm``, ``einsum``). Each sample,
    head, query and key has its own draw, by seed, step, micro-batch and module. Rates of the model's own for attention
    weights do nothing while this is attached, nor does :class:`Dropout` there. In evaluation mode nothing happens.

    Args:
        p: probability of *dropping* a weight, in [0, 1]; 0 is off. 0.1 is usual.
        on: modules, by role, type or name: those with attention among them, and inside them, are meant, such as
            ``type:TransformerEncoderLayer`` or ``name:encoder.layer.3.*``. ``everything`` is the default.

    Raises:
        ConflictError: no module with attention is selected, or a compiled model.
        UsageError: in the first pass, a module that was taken for one with attention multiplies nothing with a softmax
            (such as kernels of other packages); and with ``torch.compile(fullgraph=True)`` after attach. Without it
            what calls the attention runs uncompiled.

    Warns:
        SingleEpochWarning: the run is of one epoch.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        >>> technique = dashpot.dropout.AttentionDropout(0.5)
        >>> with technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1)) as session:
        ...     x = torch.ones(1, 4, 8)
        ...     bool((model(x) == model(x)).all())
        ...     print(session.plan().partition("attention-dropout  ")[2])
        False
        zeroes random attention weights with p=0.5 in 1 modules: self_attn

    Papers: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv 1706.03762; Zehui et al., "DropAttention: A
    Regularization Method for Fully-Connected Self-Attention Networks", 2019, arXiv 1907.11065.

    When not to use it: where sequences are long and memory is short, since the weights are held whole ([batch, heads,
    queries, keys]) in place of torch's fused kernels; in a pretraining of one epoch.
    """

    summary = "zeroes random attention weights"
    exclusive = ("attention dropout",)

    p: Annotated[float, Range(0.0, 1.0, search=(0.02, 0.4), off=0.0)] = field(default=0.1, kw_only=False)
    on: Annotated[Where, Selection()] = everything

    def acts_on(self, view: ModelView) -> Iterable[str]:
        return self._places(view)

    def check(self, view: ModelView, ctx: Context) -> None:
        places = self._places(view)
        if not places:
            refuse_nowhere(
                self,
                view,
                "No module with attention is among these: nn.MultiheadAttention, a caller of"
                " scaled_dot_product_attention, or a softmax that values are multiplied with. Name others, or leave"
                " AttentionDropout out.",
            )
        if any(getattr(module, "_compiled_call_impl", None) is not None for module in places.values()):
            raise ConflictError("AttentionDropout cannot act in compiled modules. Attach it to the plain model.")
        warn_single_epoch(self, ctx)

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        return [
            _Attending(module, _Hook(place_key(ctx.key, name, ctx.rank), ctx.clock(), ctx.scalar("p")), name)
            for name, module in self._places(view).items()
        ]

    def describe(self, view: ModelView) -> str:
        places = self._places(view)
        return f"{self.summary} with p={self.p:g} in {len(places)} modules: {shown([n or '(all)' for n in places])}"

    def _places(self, view: ModelView) -> dict[str, nn.Module]:
        """The modules with attention among those that are selected, and inside them."""
        return {name: m for name, m in view.modules.items() if attends(m) and _selected(self.on, view, name)}


def _selected(on: Where, view: ModelView, name: str) -> bool:
    """Whether ``on`` names a module or one that it is in, and excludes neither."""
    parts = name.split(".") if name else []
    around = [".".join(parts[:n]) for n in range(len(parts) + 1)]

    for clause in on.clauses:
        kept = all(term.matches("", up, view.modules[up]) for term in clause if term.negated for up in around)
        named = [term for term in clause if not term.negated]
        if kept and any(all(term.matches("", up, view.modules[up]) for term in named) for up in around):
            return True
    return False


class _Hook(DropHook):
    technique = "AttentionDropout"

    def drop(self, out: Tensor) -> Tensor:
        return dropped_at(self, out, out.shape)


class _Attending:
    """Stands for a module's ``forward`` until it is removed: its attention weights pass the hook."""

    def __init__(self, module: nn.Module, hook: _Hook, name: str) -> None:
        self._module, self._hook, self._name = module, hook, name
        self.drops = [hook]
        self._acted = False
        self._own: dict[str, Any] = {"forward": module.__dict__.get("forward", ABSENT)}
        self._forward = module.forward
        functools.update_wrapper(self, module.forward, updated=())
        module.__dict__["forward"] = self
        self._guest = Guest(module, [], self._own)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module, hook = self._module, self._hook
        if not (module.training or hook.sampling):
            return self._forward(*args, **kwargs)
        if torch.compiler.is_compiling():
            raise UsageError(
                "AttentionDropout cannot act in compiled code. Train without torch.compile, or leave it out."
            )
        off = float(hook.rate) == 0
        with Changing(lambda weights: weights if off else hook(module, (), weights), off) as changing:
            out = self._forward(*args, **kwargs)
        self._acted = self._acted or changing.acted
        if not self._acted:
            named, kind = self._name, type(module).__name__
            where = f"{named!r} ({kind})" if named else f"the forward pass of {kind} itself"
            out_of = f"Leave it out with on='everything & ~name:{named}'" if named else "Leave AttentionDropout out"
            raise UsageError(
                f"AttentionDropout finds no attention weights in {where}: nothing is multiplied with a softmax there,"
                f" and torch's attention is not called. {out_of}, or choose another implementation of attention."
            )
        return out

    def remove(self) -> None:
        self._guest.remove()
        put_back(self._module, self._own)
