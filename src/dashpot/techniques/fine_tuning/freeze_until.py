"""Parts of a network that rest until a moment of the run: first the head, then all; or stage after stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Annotated, Any

from torch import nn

from dashpot.core.errors import ConflictError
from dashpot.core.fields.domains import Flag, Selection, When
from dashpot.core.fields.schedule import Moment, plain
from dashpot.core.fields.select import Where, everything
from dashpot.core.running.context import Context
from dashpot.core.running.copies import Guest
from dashpot.core.running.view import ModelView, Params
from dashpot.core.stages import stages_of
from dashpot.core.technique import Handle, State, Technique
from dashpot.techniques.fine_tuning.start import refuse_none, without_head

OFF = "0%"


def opening(until: float, stages: int, stage: int) -> float:
    """The step at which a stage opens, of stages counted from the input: the last first, all by ``until``."""
    return until * (stages - stage) / stages


class FreezeUntil(Technique):
    r"""Keep a part of the network as it is until a moment of the run; the rest, such as a new head, is trained from the
    beginning.

    .. math:: g_i \leftarrow \text{none for } t < t_i, \qquad
        t_i = t_0 \;\text{ or, gradually, }\; t_0\, \frac{K - k}{K} \text{ for stage } k = 0 \dots K - 1

    Linear probing, then fine-tuning is ``FreezeUntil("30%")``; gradual unfreezing opens the stages of
    :func:`dashpot.finetune_groups` one after another, the last first, the first of the network at ``until``. While a
    parameter rests it has no gradient when the optimizer steps, so neither the optimizer nor another technique moves
    it, and its optimizer state begins when it opens. Batch normalization whose parameters rest keeps its statistics and
    runs in evaluation mode. Several in one recipe open parts of their own choice.

    Args:
        until: when all of it is open: a share of the run's optimizer steps such as ``"30%"``, or a count such as
            ``"3epochs"`` or ``"500steps"``. ``"0%"`` is off.
        gradual: stage by stage.
        on: which parameters rest. Everything (the default) is all but the output layer; where ``on`` has a name or
            type, it says which.

    Raises:
        ConfigError: text that is no moment.
        ConflictError: at attach, no parameter is selected, or all are, or the same one twice in a recipe; a length of
            the run that is needed (``steps=``, ``steps_per_epoch=``) and not given; an opening after the run's end; a
            model that FSDP2 shards.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
        >>> optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        >>> moved = []
        >>> with dashpot.fine_tuning.FreezeUntil("1steps").attach(model, optimizer):
        ...     for _ in range(2):
        ...         before = model[0].weight.detach().clone()
        ...         model(torch.ones(1, 2)).sum().backward(); _ = optimizer.step(); optimizer.zero_grad()
        ...         moved.append(bool((model[0].weight != before).any()))
        >>> moved
        [False, True]

    Papers: Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution", ICLR 2022,
    arXiv 2202.10054; Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification", ACL 2018.

    When not to use it: on a network with initial weights. It saves no time, as gradients are computed and dropped:
    where a part rests for a whole training, :func:`dashpot.freeze` is faster.
    """

    summary = "keeps parts as they are"
    exclusive = ("opening",)
    order = -100  # nobody sees the gradients that it takes away

    until: Annotated[str, When(off=OFF)] = field(default="30%", kw_only=False)
    gradual: Annotated[bool, Flag()] = False
    on: Annotated[Where, Selection()] = everything

    def acts_on(self, view: ModelView) -> list[str]:
        return without_head(self.on, view)

    def check(self, view: ModelView, ctx: Context) -> None:
        if self.until == OFF:
            return
        if view.sharded:
            raise ConflictError("FreezeUntil cannot take gradients from weights that FSDP2 shards. Leave it out.")
        if not without_head(self.on, view):
            refuse_none(self, view)
        if len(without_head(self.on, view)) == len(view.parameters):
            raise ConflictError(
                f"{self} leaves nothing of {type(view.model).__name__} to train before it opens. Choose less with on=,"
                " such as on='~name:head.*' with the name of its output layer."
            )
        step = self._step(ctx)
        if ctx.steps is not None and step > ctx.steps:
            raise ConflictError(
                f"{self} opens after step {plain(step)}, but the run ends after step {ctx.steps}. Open earlier, such as"
                " at 30%, or keep it as it is with dashpot.freeze."
            )

    def init(self, view: ModelView, ctx: Context) -> State:
        return {"opens": self.opens(view, ctx)}

    def opens(self, view: ModelView, ctx: Context) -> dict[str, float]:
        """The optimizer step from which on each parameter is trained."""
        if self.until == OFF:
            return {}
        names = without_head(self.on, view)
        until = self._step(ctx)
        if not self.gradual:
            return dict.fromkeys(names, until)
        own = {id(view.parameters[name]): name for name in names}
        stages = [[own[id(p)] for p in parameters if id(p) in own] for _, parameters in stages_of(view.model)]
        stages = [stage for stage in stages if stage]
        return {name: opening(until, len(stages), k) for k, stage in enumerate(stages) for name in stage}

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        opens: Mapping[str, float] = ctx.state["opens"]
        found = []
        for prefix, module in view.modules.items():
            own = [f"{prefix}.{leaf}" if prefix else leaf for leaf, _ in module.named_parameters(recurse=False)]
            if own and all(name in opens for name in own) and any(b is not None for b in module._buffers.values()):
                found.append(_Resting(module, own, ctx))
        return found

    def on_gradient(self, params: Params, ctx: Context) -> None:
        opens: Mapping[str, float] = ctx.state["opens"]
        for name, w, _ in params:
            if ctx.step < opens.get(name, 0):
                w.grad = None

    def describe(self, view: ModelView) -> str:
        how = "stage by stage until" if self.gradual else "until"
        return f"{self.summary} {how} {self.until}: {len(without_head(self.on, view))} tensors"

    def _step(self, ctx: Context) -> float:
        try:
            return Moment.parse("until", self.until).step(ctx.steps, ctx.steps_per_epoch)
        except ConflictError as error:
            raise ConflictError(f"{self}: {error}") from None


class _Resting:
    """A module with statistics is called in evaluation mode while its parameters rest."""

    def __init__(self, module: nn.Module, names: list[str], ctx: Context) -> None:
        self._names, self._ctx, self._held = names, ctx, False
        self._handles = [
            module.register_forward_pre_hook(self._before),
            module.register_forward_hook(self._after, always_call=True),
        ]
        self._guest = Guest(module, [handle.id for handle in self._handles], {})

    def _before(self, module: nn.Module, args: Any) -> None:
        opens = self._ctx.state["opens"]
        if module.training and all(self._ctx.step < opens.get(name, 0) for name in self._names):
            self._held = True
            module.training = False

    def _after(self, module: nn.Module, args: Any, out: Any) -> None:
        if self._held:
            self._held = False
            module.training = True

    def remove(self) -> None:
        self._guest.remove()
        for handle in self._handles:
            handle.remove()
