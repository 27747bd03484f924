"""Training what was trained before: another head, frozen stages, and a learning rate for each stage."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.core.fields.domains import Range, check_number, check_whole
from dashpot.core.stages import LAYERS, Stage, head_of, stages_of

PRETRAINED_DECAY = 0.9
"""Of the learning rates of a pretrained part's stages, where nothing is said."""


def replace_head(model: nn.Module, outputs: int, name: str | None = None) -> nn.Module:
    """Put a fresh last layer with so many outputs in place of a trained network's own, in place.

    The last layer is the last linear or convolutional one in ``fc``, ``classifier``, ``head`` or ``heads`` (as
    torchvision, timm and others call it), or that of the whole network where it has none of these.

    Args:
        model: any network.
        outputs: classes, or values; at least 1.
        name: of the layer, as in ``model.named_modules()``, where it is another one.

    Returns:
        The layer that was replaced. The new one has its inputs, its bias (or none), its device and its type; its
        weights are torch's initial ones.

    Raises:
        ConfigError: no such layer, or one that is no linear or convolutional layer.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8, 1000))
        >>> dashpot.replace_head(model, 5)
        Linear(in_features=8, out_features=1000, bias=True)
        >>> model[2]
        Linear(in_features=8, out_features=5, bias=True)

    When not to use it: where the network's own classes are yours.
    """
    outputs = check_whole("outputs", outputs)
    path = head_of(model) if name is None else name
    known = dict(model.named_modules())
    if path not in known or not path:
        raise UnknownNameError("name", path, [n for n, m in known.items() if isinstance(m, LAYERS)])
    old = known[path]
    if not isinstance(old, LAYERS):
        raise ConfigError("name", "that of a linear or convolutional layer", f"{path}, a {type(old).__name__}")
    home, _, own = path.rpartition(".")
    setattr(known[home], own, _fresh(old, outputs))
    return old


def _fresh(old: nn.Module, outputs: int) -> nn.Module:
    place: dict[str, Any] = {"device": old.weight.device, "dtype": old.weight.dtype, "bias": old.bias is not None}
    if isinstance(old, nn.Linear):
        new: nn.Module = nn.Linear(old.in_features, outputs, **place)
    else:
        kind: Any = next(layer for layer in LAYERS if isinstance(old, layer))
        shape = {key: getattr(old, key) for key in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}
        new = kind(old.in_channels, outputs, **shape, **place)
    return new.train(old.training)


def freeze(model: nn.Module, patterns: str | Iterable[str]) -> list[str]:
    """Keep parts of a network as they are: their parameters take no gradient, and they run in evaluation mode.

    Batch normalization in a frozen part keeps its running statistics, and its dropout rests, also after
    ``model.train()``.

    Args:
        model: any network; it is changed in place.
        patterns: names of modules or parameters as in ``model.named_modules()``, with ``*``, ``?`` and ``[...]``:
            ``"layer1"`` is the module with all below it, ``"layer[12]"`` two of them, ``"*.bias"`` all biases.

    Returns:
        The names of the parameters that are frozen now by these patterns.

    Raises:
        ConfigError: a pattern that nothing is called, or patterns that leave nothing to train.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2))
        >>> dashpot.freeze(model, ["0", "1"])
        ['0.weight', '0.bias', '1.weight', '1.bias']

    When not to use it: where the data differ much from those that the network was trained on.
    """
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    hit = {pattern: [n for n in (*modules, *parameters) if n and fnmatchcase(n, pattern)] for pattern in wanted}
    for pattern, names in hit.items():
        if not names:
            raise UnknownNameError("patterns of freeze", pattern, [n for n, _ in model.named_children()])
    roots = {name for names in hit.values() for name in names}
    frozen = [name for name in parameters if _below(name, roots)]
    if not any(p.requires_grad for name, p in parameters.items() if name not in frozen):
        raise ConfigError("patterns of freeze", "such that something is left to train", wanted)
    for name in frozen:
        parameters[name].requires_grad_(False)
    for name, module in modules.items():
        if name and _below(name, roots):
            module.eval()
            module.register_forward_pre_hook(_stay)
    return frozen


def _below(name: str, roots: Iterable[str]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def _stay(module: nn.Module, args: Any) -> None:
    """A frozen part is in evaluation mode whatever the network around it is in."""
    module.training = False


def finetune_groups(
    model: nn.Module, lr: float, decay: float = 0.75, *, weight_decay: float | None = None
) -> list[dict[str, Any]]:
    r"""Parameter groups of an optimizer with a smaller learning rate for earlier stages.

    .. math:: \eta_k = \eta\, \gamma^{K - k}

    for stage k of K, the head last. Stages are the network's parts in the order in which it names them; a part that
    holds more than half of all parameter tensors is taken apart. What holds no matrix, such as a normalization, belongs
    to the stage before it. Frozen parameters are in no group. A network of :class:`dashpot.nets.TextEncoder` says which
    of its parts was trained before: that has a share of the learning rate, and decays by stages, and the rest has all.

    Args:
        model: any network.
        lr: of the last stage, the head, > 0.
        decay: γ in (0, 1]; 1 is the same rate for all, 0.65 to 0.9 usual.
        weight_decay: of matrices and filters; biases and normalizations then have none. None: it is not set.

    Returns:
        Groups with ``params``, ``lr`` and ``stage`` (what is in it, by name), for any optimizer of torch's, and for
        :class:`dashpot.optim.AdamW` and ``SGD``.

    Raises:
        ConfigError: a number that is none of these, or nothing to train.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 2))
        >>> groups = dashpot.finetune_groups(model, lr=1e-3, decay=0.5)
        >>> [(group["stage"], group["lr"]) for group in groups]
        [('0, 1', 0.0005), ('2', 0.001)]
        >>> optimizer = torch.optim.AdamW(groups)

    Paper: Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification", ACL 2018; Clark et al.,
    "ELECTRA", ICLR 2020.

    When not to use it: on a network with initial weights.
    """
    lr = check_number("lr", lr, Range(0.0, math.inf, open="low"))
    decay = check_number("decay", decay, Range(0.0, 1.0, open="low"))
    if weight_decay is not None:
        weight_decay = check_number("weight_decay", weight_decay, Range(0.0, math.inf))
    stages = stages_of(model)
    if not stages:
        raise ConfigError("model", "a module with trainable parameters", type(model).__name__)
    shares = _shares(model, stages, decay)
    groups: list[dict[str, Any]] = []
    for (names, parameters), share_of_lr in zip(stages, shares, strict=True):
        own = {"lr": lr * share_of_lr, "stage": ", ".join(names)}
        if weight_decay is None:
            groups.append({"params": parameters, **own})
            continue
        for matrices, share in ((True, weight_decay), (False, 0.0)):
            if some := [p for p in parameters if (p.ndim > 1) == matrices]:
                groups.append({"params": some, **own, "weight_decay": share})
    return groups


def _shares(model: nn.Module, stages: Sequence[Stage], decay: float) -> list[float]:
    """The share of the learning rate that each stage has.

    A network says in ``pretrained`` which of its parts were trained before, and the share of their last stage; the
    stages before have 0.9 of the one behind each, or ``decay`` where that is not 1.
    """
    before: Mapping[str, float] = getattr(model, "pretrained", {})
    if not before:
        return [decay ** (len(stages) - 1 - k) for k in range(len(stages))]
    part = [next((name for name in before if _below(names[0], [name])), "") for names, _ in stages]
    each = PRETRAINED_DECAY if decay == 1.0 else decay
    return [
        (before[own] if own else 1.0) * each ** (sum(other == own for other in part[k + 1 :]) if own else 0)
        for k, own in enumerate(part)
    ]
