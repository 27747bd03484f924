"""``recalibrate``: the running statistics of batch normalization, made anew for the weights as they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from dashpot.core.errors import DataError
from dashpot.core.fields.domains import check_whole
from dashpot.core.running.modes import evaluating, resting
from dashpot.core.running.nested import called
from dashpot.core.running.nested import rows as rows_of
from dashpot.training.batches import Batches


@torch.no_grad()
def recalibrate(
    model: nn.Module, data: Any, *, batch_size: int = 128, seed: int = 0, modality: str | None = None
) -> nn.Module:
    """Make the running means and variances of all batch normalizations anew, in one pass over the data.

    After weights were averaged (SWA, LAWA, a soup, :func:`dashpot.interpolate`), running statistics are still those of
    other weights. Each becomes the mean of the statistics of all batches, each weighted by its number of rows, as the
    model with its present weights gives them; dropout rests meanwhile. All weights stay as they are. Normalizations
    that are in evaluation mode inside a model in training mode are frozen on purpose, and left alone.

    Args:
        model: it is run where its parameters are, and changed in place; a model without batch normalization is
            returned at once.
        data: inputs (one tensor), or ``(x, y)``, a Dataset or a DataLoader as for :func:`dashpot.fit`. Training data.
        batch_size: rows per batch, at least 2.
        seed: of the order of rows.
        modality: ``"image"`` where pixels are held as bytes, as for :func:`dashpot.fit`.

    Returns:
        The model, with each module in its own mode.

    Raises:
        ConfigError: ``batch_size`` below 2.
        DataError: data that are none, or a batch of one row, of which there is no variance. The statistics are as
            before then.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).eval()
        >>> x = torch.randn(64, 3)
        >>> out = dashpot.recalibrate(model, x, batch_size=64)(x)
        >>> bool(out.mean(0).abs().max() < 1e-5)
        True

    When not to use it: with frozen statistics of a pretrained network that are wanted as they are.
    """
    batch_size = check_whole("batch_size", batch_size, low=2)
    frozen = resting(model)
    norms = [
        module
        for name, module in model.named_modules()
        if isinstance(module, _NormBase)
        and module.running_mean is not None
        and not any(name == part or name.startswith(f"{part}.") for part in frozen)
    ]
    if not norms:
        return model
    place = next(model.parameters(), torch.empty(0, device="cpu"))
    dtype = place.dtype if place.dtype == torch.float64 else torch.float32
    given = (data, torch.zeros(len(data), device=data.device)) if isinstance(data, Tensor) else data
    batches = Batches("data", given, batch_size, seed, place.device, modality, dtype)
    before = [{name: b.clone() for name, b in norm.named_buffers(recurse=False)} for norm in norms]
    momenta = [norm.momentum for norm in norms]
    try:
        with evaluating(model):
            _pass(model, norms, batches)
    except BaseException:  # after Ctrl-C, too, the statistics are as before
        for norm, held in zip(norms, before, strict=True):
            for name, buffer in norm.named_buffers(recurse=False):
                buffer.copy_(held[name])
        raise
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return model


def _pass(model: nn.Module, norms: list[Any], batches: Batches) -> None:
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    seen = 0
    for batch in batches.epoch(1):
        rows = rows_of(batch.x) or 1
        if rows == 1:
            raise DataError("recalibrate needs batches of at least two rows, got one of one row: it has no variance.")
        seen += rows
        for norm in norms:
            norm.momentum = rows / seen  # a mean of all batches, weighted by their rows
        called(model, batch.x)
