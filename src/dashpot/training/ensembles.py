"""``ensemble_predict``: the mean answer of several networks of one shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import check_whole
from dashpot.core.running.modes import evaluating, holding
from dashpot.core.running.nested import called, rows
from dashpot.core.running.tensors import tensors
from dashpot.training.dropout_passes import KINDS, Targets, answers, as_tensors, outputs, parts_of
from dashpot.training.mc_dropout import MCResult, Sums


@torch.no_grad()
def ensemble_predict(
    model: nn.Module,
    x: Any,
    snapshots: Sequence[Mapping[str, Tensor] | nn.Module],
    *,
    targets: Targets = "classes",
    batch_size: int = 1024,
) -> MCResult:
    r"""Predict by the mean over several networks of one shape, and say how much they differ.

    .. math:: \bar p(x) = \frac{1}{M} \sum_{m=1}^{M} \mathrm{softmax}(f_{w_m}(x))

    Args:
        model: of their shape; it is run in evaluation mode, where its parameters are, and is as before afterwards.
        x: inputs, a tensor or an array, or tensors in dicts and tuples; the first axis is of rows.
        snapshots: at least two networks, or their tensors by name, buffers included: each answers with its own
            statistics of batch normalization. Such as ``dashpot.fit(...).snapshots``.
        targets: ``"classes"`` averages softmax probabilities, ``"multilabel"`` sigmoids, ``"values"`` outputs.
        batch_size: rows at once.

    Returns:
        Mean, standard deviation, entropy and mutual information, as of :func:`dashpot.mc_predict`; ``samples`` is the
        number of networks.

    Raises:
        ConfigError: fewer than two networks, one of another shape, or a number or word that is none of these.
        DataError: no rows, or outputs that are not [n, outputs].

    Example:
        >>> import torch, dashpot
        >>> a, b = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
        >>> x = torch.randn(5, 2)
        >>> mean = dashpot.ensemble_predict(a, x, [a, b]).mean
        >>> bool(torch.allclose(mean, (a(x).softmax(1) + b(x).softmax(1)) / 2, atol=1e-6))
        True

    Paper: Huang et al., "Snapshot Ensembles: Train 1, Get M for Free", ICLR 2017, arXiv 1704.00109.

    When not to use it: where a prediction must be quick; it costs as many as there are networks.
    """
    batch_size = check_whole("batch_size", batch_size)
    if targets not in KINDS:
        raise ConfigError("targets", f"one of {', '.join(KINDS)}", targets)
    states = [tensors(one) if isinstance(one, nn.Module) else dict(one) for one in snapshots]
    if len(states) < 2:
        raise ConfigError("snapshots", "at least two networks, or their tensors by name", len(states))
    own = tensors(model)
    for number, state in enumerate(states):
        for name in (*own, *(name for name in state if name not in own)):
            shapes = [list(held[name].shape) if name in held else None for held in (own, state)]
            if shapes[0] != shapes[1]:
                raise ConfigError(f"snapshots[{number}]", f"of the model's shape: {name} is {shapes[0]}", shapes[1])
    states = [{name: tensor.detach().clone() for name, tensor in state.items()} for state in states]
    x, sums = as_tensors(x), Sums(targets)
    with evaluating(model):
        for state in states:
            with holding(model, state):
                for start, part in parts_of(x, batch_size, model):
                    count = rows(part) or 0
                    out = answers(outputs(called(model, part), count), targets)
                    sums.add(start, out.reshape(count, 1, -1))
    return sums.result()
