"""Techniques on signals: numbers of each sample, drawn by a hash, and a function on the whole batch."""

from __future__ import annotations

import torch
from torch import Tensor

from dashpot.core.errors import UsageError
from dashpot.core.requires import Requires
from dashpot.core.running.batch import Batch, float_input
from dashpot.core.running.context import Context
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique
from dashpot.imaging.draws import SampleDraws


def changed_signals(technique: SignalTechnique, x: Tensor, key: int) -> Tensor:
    """The batch as the technique leaves it.

    Raises:
        UsageError: anything but one floating-point tensor [batch, channels, steps].
    """
    if x.ndim != 3 or 0 in x.shape[1:]:
        name = type(technique).__name__
        raise UsageError(
            f"{name} needs signals [batch, channels, steps], got shape {list(x.shape)}. Reshape them, or leave {name}"
            " out."
        )
    return technique.change(x, SampleDraws(key, len(x)))


class StackedSignals(StackedTechnique):
    """The form of every technique on signals: each member's draws are those it has alone."""

    inherited = True

    def on_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        found = [
            x[k] if technique is None else changed_signals(technique, x[k], self.draws(k).key)
            for k, technique in enumerate(self.techniques)
        ]
        return torch.stack(found), y


class SignalTechnique(Technique):
    """The base class of techniques on signals [batch, channels, steps], on any device: a subclass has fields, and says
    in :meth:`change` what is done. Channels of a sample are changed alike, as they were measured at the same time.

    Example:
        >>> import torch, dashpot
        >>> from dashpot.techniques.augment.signal.base import SignalTechnique
        >>> class Backwards(SignalTechnique):
        ...     def change(self, x, draws):
        ...         return torch.where(torch.from_numpy(draws.chosen(0.5))[:, None, None], x.flip(-1), x)
        >>> model = torch.nn.Linear(2, 1)
        >>> session = Backwards().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> session.batch(torch.zeros(8, 1, 40)).x.shape
        torch.Size([8, 1, 40])
    """

    requires = Requires(modality=("signal",), float_input=True)
    stacked = StackedSignals

    def change(self, x: Tensor, draws: SampleDraws) -> Tensor:
        """Another tensor of the same shape and type, or ``x`` itself where the technique is off.

        Args:
            draws: the random numbers of this batch, on the CPU; call it as often for every value of the fields.
        """
        raise NotImplementedError  # each technique defines it

    def on_batch(self, batch: Batch, ctx: Context) -> Batch:
        x = float_input(batch.x, type(self).__name__)
        return batch.replace(x=changed_signals(self, x, ctx.draws().key))


def per_sample(values: Tensor, x: Tensor) -> Tensor:
    """Numbers [batch] in the type and on the device of ``x`` [batch, channels, steps], to be multiplied with it."""
    return values.to(x.device, x.dtype, non_blocking=True).reshape(-1, 1, 1)
