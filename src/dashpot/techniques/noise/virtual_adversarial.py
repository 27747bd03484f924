"""Virtual adversarial training: outputs that stay when the input is moved where they change most."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dashpot.core.errors import ConflictError, UsageError
from dashpot.core.fields.domains import Range
from dashpot.core.fields.select import Where
from dashpot.core.running.batch import Batch
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Handle, Technique
from dashpot.techniques.outputs.judged import Judged, judged

TRIAL = 0.1
"""The length of the change at which the direction is sought, as a share of epsilon."""
INPUT = ""
"""The place of the input itself."""


def smoothness(
    loss: Float[Tensor, "*shape"], divergence: Float[Tensor, "*shape"], strength: float | Float[Tensor, ""]
) -> Float[Tensor, "*shape"]:
    """``loss + strength * divergence``."""
    return loss + strength * divergence


class VirtualAdversarial(Technique):
    r"""Keep outputs as they are where the input, or what the network has made of it, is moved to change them most.

    .. math:: \ell_v = \ell + \beta\, \mathrm{KL}\big( p(x) \,\Vert\, p(x + r) \big), \quad
        r = \arg\max_{\lVert r \rVert_2 \le \epsilon} \mathrm{KL}\big( p(x) \,\Vert\, p(x + r) \big)

    No target is needed for it. The direction is found by power iteration from a random one: each iteration costs a pass
    forward and back, and the penalty another pass. All see the dropout masks of the loop's pass, and leave running
    statistics alone; no gradient goes through p(x). Of yes/no labels it is the divergence of each label, of values the
    squared difference.

    Floating-point inputs are moved themselves. For others, such as texts and categories, hidden vectors are: where the
    model says by ``mixes_at`` that all it knows of a sample passes, else what its embeddings return.

    Args:
        strength: β >= 0. 0 is off; 1 in the paper.
        epsilon: ε > 0, the length of a sample's change, in the units of input or hidden vectors; 0.1 to 5 is usual.
        iterations: of the search for the direction; 1 is enough, as the paper shows.

    Raises:
        ConflictError: a compiled model. UsageError: ``session.batch`` was not called, or ``session.loss`` got no
        ``out``; inputs that are no floating-point
            tensor, and a model that has neither ``mixes_at`` nor embeddings; or the loop has not said whether
            floating-point targets are values or labels.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 3)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.noise.VirtualAdversarial(1.0, epsilon=0.5).attach(model, optimizer)
        >>> x, y = session.batch(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> out = model(x)
        >>> bool(session.loss(torch.nn.CrossEntropyLoss(), out) > torch.nn.functional.cross_entropy(out, y))
        True

    Paper: Miyato et al., "Virtual Adversarial Training: A Regularization Method for Supervised and Semi-Supervised
    Learning", TPAMI 2018, arXiv 1704.03976; on embeddings: Miyato, Dai and Goodfellow, "Adversarial Training Methods
    for Semi-Supervised Text Classification", ICLR 2017, arXiv 1605.07725.

    When not to use it: where three times the training time buys more as more epochs; inputs on different scales
    (standardize first); embeddings that may grow without bound, beside which the change becomes small: put a decay on
    them.
    """

    summary = "keeps outputs where inputs or hidden vectors change (3 passes more)"
    forwards = 2
    order = 10  # after what blends the plain loss with something else

    strength: Annotated[float, Range(0.0, float("inf"), search=(0.1, 3.0), log=True, off=0.0)] = field(
        default=1.0, kw_only=False
    )
    epsilon: Annotated[float, Range(0.0, float("inf"), search=(0.05, 5.0), log=True, open="low")] = 1.0
    iterations: Annotated[int, Range(1, 10, integer=True)] = 1

    def check(self, view: ModelView, ctx: Context) -> None:
        whole = getattr(view.model, "mixes_at", ())
        unknown = [name for names in whole for name in names if name not in view.modules]
        if whole and len(unknown) == sum(map(len, whole)):
            raise ConflictError(
                f"VirtualAdversarial finds none of {', '.join(unknown)}, where {type(view.model).__name__}.mixes_at"
                " says that samples can be changed."
            )

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        shifts = _shifts[ctx] = Shifts(ctx)
        eager: Any = torch.compiler.disable  # only here is the compiler imported, which takes seconds
        return [
            view.model.register_forward_pre_hook(eager(shifts.begin)),
            *(view.modules[name].register_forward_hook(eager(shifts.of(name))) for name in _places(view)),
        ]

    def on_loss(self, loss: Tensor, out: Any, ctx: Context) -> Tensor:
        if self.strength == 0:
            return loss
        if ctx.batch is None:
            raise UsageError("VirtualAdversarial runs the batch again: call session.batch(x, y) before session.loss.")
        found = judged("VirtualAdversarial", loss, out, ctx, target=False, values=True)
        shifts, batch = _shifts[ctx], ctx.batch
        kinds = shifts.kinds(batch)
        draws = ctx.draws()
        along = _unit({name: draws.normal(like.shape, like.device) for name, like in kinds.items()})
        for _ in range(self.iterations):
            trial = {name: (TRIAL * self.epsilon * d).requires_grad_() for name, d in along.items()}
            with torch.enable_grad():
                far = self._moved(found, batch, trial, shifts, ctx).sum()
            gradient = torch.autograd.grad(far, list(trial.values()), allow_unused=True)
            along = _unit(
                {
                    name: torch.zeros_like(t) if g is None else g
                    for (name, t), g in zip(trial.items(), gradient, strict=True)
                },
                along,
            )
        worst = {name: self.epsilon * d for name, d in along.items()}
        return smoothness(loss, self._moved(found, batch, worst, shifts, ctx), self.strength)

    def _moved(self, found: Judged, batch: Batch, change: Mapping[str, Tensor], shifts: Shifts, ctx: Context) -> Tensor:
        """How far outputs are from those of the loop, in the shape of the loss, where the batch is changed so."""
        with shifts.shifted(change):
            x = batch.x + change[INPUT].to(batch.x.dtype) if INPUT in change else batch.x
            moved = found.taken(ctx.forward(batch.replace(x=x), same=True), "the changed batch")
        there = Judged(found.technique, found.kind, found.loss, moved, found.target, found.probabilities)
        return there.from_other(found.out.detach())

    def describe(self, view: ModelView) -> str:
        return f"{self.summary}; inputs that are no numbers at: {', '.join(_places(view)) or 'no place'}"


def _places(view: ModelView) -> Sequence[str]:
    """The modules whose outputs are changed where the input cannot be."""
    said = next((names for names in getattr(view.model, "mixes_at", ())), None)
    if said is not None:
        return [name for name in said if name in view.modules]
    return list(view.places(Where.role("embeddings")))


def _unit(change: Mapping[str, Tensor], otherwise: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Of length 1 for each sample, over all places together; ``otherwise`` where the length is 0."""
    squares = [t.reshape(len(t), -1).float().square().sum(dim=1) for t in change.values()]
    length = torch.stack(squares).sum(dim=0).sqrt()
    found = {}
    for name, t in change.items():
        wide = length.reshape(-1, *[1] * (t.ndim - 1))
        unit = t / wide.clamp(min=torch.finfo(torch.float32).tiny)
        found[name] = (unit if otherwise is None else torch.where(wide > 0, unit, otherwise[name])).detach()
    return found


class Shifts:
    """Changes what modules return in passes that ask for it, and knows what they returned in the loop's pass."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._change: Mapping[str, Tensor] = {}
        self._seen: dict[str, Tensor] = {}
        self._done: set[str] = set()

    def begin(self, module: nn.Module, args: Any) -> None:
        """A pass of the model begins."""
        self._done.clear()
        if not self._ctx.extra:
            self._seen = {}

    def of(self, name: str) -> Any:
        """The hook of a module; its first call in a pass counts."""

        def hook(module: nn.Module, args: Any, out: Any) -> Any:
            if not module.training or name in self._done or not isinstance(out, Tensor) or not out.is_floating_point():
                return None
            self._done.add(name)
            if not self._ctx.extra:
                self._seen[name] = out.detach()
            return out + self._change[name].to(out.dtype) if name in self._change else None

        return hook

    def kinds(self, batch: Batch) -> Mapping[str, Tensor]:
        """What is changed, by place: the input where it is a floating-point tensor, else hidden vectors."""
        if isinstance(batch.x, Tensor) and batch.x.is_floating_point():
            return {INPUT: batch.x}
        if not self._seen:
            raise UsageError(
                "VirtualAdversarial cannot change these inputs, and the model says by mixes_at no place where samples"
                " can be changed, nor has embeddings. Leave VirtualAdversarial out."
            )
        return self._seen

    def shifted(self, change: Mapping[str, Tensor]) -> _Shifted:
        """Passes inside see the change."""
        return _Shifted(self, change)


class _Shifted:
    def __init__(self, shifts: Shifts, change: Mapping[str, Tensor]) -> None:
        self._shifts, self._to = shifts, change

    def __enter__(self) -> None:
        self._shifts._change = self._to

    def __exit__(self, *error: object) -> None:
        self._shifts._change = {}


_shifts: weakref.WeakKeyDictionary[Context, Shifts] = weakref.WeakKeyDictionary()
"""Of each session with the technique: what a pass returned is no part of the state that is kept."""
