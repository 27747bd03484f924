"""Distillation: imitate a trained network."""

from __future__ import annotations

import copy
import importlib
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dashpot.core.errors import ConfigError, ConflictError, DashpotError, UsageError
from dashpot.core.fields.domains import Domain, Range
from dashpot.core.rules import Rule
from dashpot.core.running.context import Context
from dashpot.core.running.nested import called
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Technique
from dashpot.techniques.outputs.judged import judged
from dashpot.texts.functions import Function


@dataclass(frozen=True)
class Given:
    """A network as it is. In text it has a name that cannot be read back."""

    network: nn.Module

    def __call__(self) -> nn.Module:
        return self.network

    def __str__(self) -> str:
        return f"a {type(self.network).__name__}"


@dataclass(frozen=True)
class SavedRun:
    """The network of a run's folder, without its test-time augmentation. In text it is the folder."""

    folder: str

    def __call__(self) -> nn.Module:
        # Rooms above this one read what they have written; they are asked for on call only.
        runs = importlib.import_module("dashpot.runs.saved")
        try:
            network, how, _ = runs.load_run(self.folder, tta=None)
        except DashpotError as error:
            raise ConflictError(f"Distillation.teacher {self.folder} is no run that can be loaded: {error}") from error
        network.takes = tuple(how.shape)
        made: nn.Module = network
        return made

    def __str__(self) -> str:
        return self.folder


@dataclass(frozen=True)
class Network(Domain):
    """A ``torch.nn.Module``, or a function that makes one, or its name ``module:function``, or the folder of a run; or
    None.
    """

    @property
    def rule(self) -> str:
        return (
            "a torch.nn.Module, or a function that makes one or its name module:function, or the folder of a run, or"
            " None"
        )

    def check(self, parameter: str, value: Any) -> Any:
        if isinstance(value, nn.Module):
            return Given(value)
        if value is None or isinstance(value, Given | SavedRun):
            return value
        # A folder that is gone may still be read in a recipe; it is refused where it is needed.
        if isinstance(value, Path) or (isinstance(value, str) and value and (Path(value).is_dir() or "/" in value)):
            return SavedRun(str(value))
        try:
            return Function("").check(parameter, value)
        except ConfigError as error:
            raise ConfigError(parameter, self.rule, value, error.remedy) from None

    def parse(self, parameter: str, text: str) -> Any:
        return None if text.lower() == "none" else self.check(parameter, text)


def distilled(
    loss: Float[Tensor, "*shape"], divergence: Float[Tensor, "*shape"], weight: float | Float[Tensor, ""]
) -> Float[Tensor, "*shape"]:
    """``(1 - weight) * loss + weight * divergence``."""
    return (1 - weight) * loss + weight * divergence


class Distillation(Technique):
    r"""Imitate a trained network, the teacher.

    .. math:: \ell_d = (1-w)\,\ell + w\, T^2\, \mathrm{KL}\big( p_T(x) \,\Vert\, q_T(x) \big)

    with the teacher's p and the network's q, each the softmax of logits over T. The teacher sees the batch as the
    network does, after augmentation and mixing, in evaluation mode and without gradients. Of yes/no labels it is the
    divergence of each label, of values the squared difference. Label smoothing acts on the plain loss only, whatever
    the order in the recipe; terms that others add stay whole. The teacher is copied at attach, moved to where the
    network is, and is no part of what is saved: a resumed run makes it again.

    Args:
        teacher: a trained ``torch.nn.Module``, or a function without arguments that makes one, or its name
            ``module:function``, or the folder of a run of ``dashpot fit`` or ``dashpot tune``, as the command line
            takes both. It must take inputs as the network gets them, with columns prepared in the same way: of a run
            that is checked, so train it on the same data and ``--seed``.
        weight: w in [0, 1]. 0 is off, 1 leaves the targets out; 0.5 to 0.9 is usual.
        temperature: T > 0, of logits; 1 to 5 is usual. Of no meaning for values.

    Raises:
        ConflictError: at attach, no teacher, one that shares weights with the network, or one with another number of
            outputs; a folder that holds no run, or one whose network is of your own (give the function then).
        ConfigError: a function that makes no module.
        UsageError: outputs of another shape, ``session.loss`` without ``out``, or without ``session.batch`` before; or
            the loop has not said whether floating-point targets are values or labels.

    Example:
        >>> import torch, dashpot
        >>> teacher, model = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.outputs.Distillation(teacher, weight=1.0, temperature=1.0).attach(model, optimizer)
        >>> x, y = session.batch(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> out = model(x)
        >>> p, q = teacher(x).softmax(1), out.softmax(1)
        >>> loss = session.loss(torch.nn.CrossEntropyLoss(), out)
        >>> bool(torch.isclose(loss, (p * (p / q).log()).sum(1).mean(), atol=1e-6))
        True

    Paper: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531; the same
    view for both: Beyer et al., "Knowledge Distillation: A Good Teacher is Patient and Consistent", CVPR 2022.

    When not to use it: with a teacher that was trained with smoothed labels, which tells less of how classes are
    alike (Müller, Kornblith and Hinton, "When Does Label Smoothing Help?", NeurIPS 2019); with one that was scored on
    the rows that the network is validated on.
    """

    summary = "imitates a trained network"
    exclusive = ("teacher",)
    rules = (
        Rule(
            "smoothing-with-distillation",
            "label smoothing",
            "smoothing what the teacher says makes it flatter still, and tells less of how classes are alike.",
            "handled",
            "whatever the recipe's order, labels are smoothed first, and the teacher's share stays as it is.",
        ),
    )
    order = 5  # after label smoothing, before what is added to the loss

    teacher: Annotated[Any, Network()] = field(default=None, kw_only=False)
    weight: Annotated[float, Range(0.0, 1.0, search=(0.1, 1.0), off=0.0)] = 0.5
    temperature: Annotated[float, Range(0.0, float("inf"), search=(1.0, 8.0), log=True, open="low")] = 2.0

    def check(self, view: ModelView, ctx: Context) -> None:
        teacher = self._made(ctx)
        own = {id(p) for p in view.model.parameters()}
        given = self.teacher.network if isinstance(self.teacher, Given) else teacher
        if any(id(p) in own for p in given.parameters()):
            raise ConflictError(
                "Distillation.teacher shares weights with the network that it is to teach. Pass a copy, or use"
                " SelfDistillation."
            )
        theirs, ours = _outputs(teacher), _outputs(view.model)
        if ctx.classes is not None and ours == ctx.classes:
            expected = ctx.classes
        elif ours is not None:
            expected = ours
        else:
            return
        if theirs is not None and theirs not in (expected, ctx.classes):
            raise ConflictError(
                f"Distillation.teacher, a {type(teacher).__name__}, has {theirs} outputs, and the network"
                f" {expected}. Pass a teacher for the same targets."
            )

    def on_loss(self, loss: Tensor, out: Any, ctx: Context) -> Tensor:
        if self.weight == 0:
            return loss
        if ctx.batch is None:
            raise UsageError(
                "Distillation shows the batch to its teacher: call session.batch(x, y) before session.loss."
            )
        found = judged("Distillation", loss, out, ctx, target=False, values=True)
        teacher = self._made(ctx)
        if (first := next(teacher.parameters(), None)) is not None and first.device != found.out.device:
            teacher.to(found.out.device)
        takes, x = getattr(teacher, "takes", None), ctx.batch.x
        if takes is not None and isinstance(x, Tensor) and tuple(x.shape[1:]) != takes:
            raise UsageError(
                f"Distillation.teacher {self.teacher} takes inputs [batch{''.join(f', {k}' for k in takes)}], and the"
                f" batch is {list(x.shape)}. Train a teacher on the same inputs."
            )
        with torch.no_grad():
            taught = found.taken(called(teacher, ctx.batch.x), "the teacher")
        return distilled(loss, found.from_other(taught, self.temperature), self.weight)

    def _made(self, ctx: Context) -> nn.Module:
        """The teacher, made once for each session."""
        if ctx not in _teachers:
            if self.teacher is None:
                raise ConflictError(
                    "Distillation needs a teacher: a trained torch.nn.Module, the name module:function of a function"
                    " that makes one, or the folder of a run."
                )
            with torch.device("cpu"):  # from where it is moved to its batches
                made = self.teacher()
            if not isinstance(made, nn.Module):
                raise ConfigError(
                    "Distillation.teacher", "a function that makes a torch.nn.Module", type(made).__name__
                )
            _teachers[ctx] = copy.deepcopy(made).eval().requires_grad_(False)
        return _teachers[ctx]


_teachers: weakref.WeakKeyDictionary[Context, nn.Module] = weakref.WeakKeyDictionary()
"""Of each session with the technique: a teacher is no part of the state that is kept."""


def _outputs(model: nn.Module) -> int | None:
    """How many outputs a network seems to have: those of its last linear layer or convolution."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    last = next((m for m in reversed(list(model.modules())) if isinstance(m, kinds)), None)
    if last is None:
        return None
    return int(last.out_features if isinstance(last, nn.Linear) else last.out_channels)
