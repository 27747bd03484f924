"""Networks of one shape as one network whose parameters have a leading member axis."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashpot.population.borrowed import as_before


class NotStackableError(Exception):
    """This network cannot be stacked by hand; the text says why."""


class _LowProduct(torch.autograd.Function):
    """``x @ weight^T`` in bfloat16, forward and backward; what comes in and goes out is float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        a, b = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(a, b)
        ctx.wants_x = x.requires_grad
        return torch.bmm(a, b.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        a, b = ctx.saved_tensors
        g = grads[0].bfloat16()
        return torch.bmm(g, b).float() if ctx.wants_x else None, torch.bmm(g.transpose(1, 2), a).float()


class StackedLinear(nn.Module):
    """[member, ..., in] to [member, ..., out].

    Attributes:
        low: multiply in bfloat16 while training.
    """

    WIDE = 64
    """Narrower layers (inputs that are few, outputs) stay in float32: they cost little, and there rounding is seen
    most.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.low = False

    def forward(self, x: Tensor) -> Tensor:
        rows, out = x.reshape(x.shape[0], -1, x.shape[-1]), x
        if self.low and self.training and min(self.weight.shape[1:]) >= self.WIDE:
            out = _LowProduct.apply(rows, self.weight)  # type: ignore[no-untyped-call]  # torch has no types here
            out = out.float() if self.bias is None else out + self.bias.unsqueeze(1)
        elif self.bias is None:
            out = torch.bmm(rows, self.weight.transpose(1, 2))
        else:
            out = torch.baddbmm(self.bias.unsqueeze(1), rows, self.weight.transpose(1, 2))
        return out.reshape(*x.shape[:-1], out.shape[-1])


class StackedEmbedding(nn.Module):
    """Indices [member, ...] to [member, ..., size]."""

    def __init__(self, layer: nn.Embedding) -> None:
        super().__init__()
        if layer.max_norm is not None or layer.sparse or layer.scale_grad_by_freq:
            raise NotStackableError("Embedding with max_norm, sparse or scale_grad_by_freq")
        self.weight, self.padding = layer.weight, layer.padding_idx

    def forward(self, x: Tensor) -> Tensor:
        members, levels, size = self.weight.shape
        start = torch.arange(members, device=x.device).mul_(levels).reshape(-1, *[1] * (x.ndim - 1))
        out = functional.embedding(x + start, self.weight.reshape(members * levels, size))
        if self.padding is not None:  # its gradient is 0, as alone
            out = torch.where((x == self.padding).unsqueeze(-1), out.detach(), out)
        return out


class StackedLayerNorm(nn.Module):
    """Over the last axes, as alone; scale and shift per member."""

    def __init__(self, layer: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.shape, self.eps = layer.weight, layer.bias, layer.normalized_shape, layer.eps

    def forward(self, x: Tensor) -> Tensor:
        out = functional.layer_norm(x, self.shape, eps=self.eps)
        middle = [1] * (x.ndim - 1 - len(self.shape))
        if self.weight is not None:
            out = out * self.weight.reshape(-1, *middle, *self.shape)
        return out if self.bias is None else out + self.bias.reshape(-1, *middle, *self.shape)


class StackedBatchNorm(nn.Module):
    """[member, batch, channels, ...]: members side by side as channels."""

    running_mean: Tensor | None
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, layer: Any) -> None:
        super().__init__()
        if layer.momentum is None:
            raise NotStackableError("batch normalization with momentum=None")
        self.weight, self.bias = layer.weight, layer.bias
        self.eps, self.momentum, self.track_running_stats = layer.eps, layer.momentum, layer.track_running_stats
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(layer, name))

    def forward(self, x: Tensor) -> Tensor:
        members, batch, channels = x.shape[:3]
        side = x.transpose(0, 1).reshape(batch, members * channels, *x.shape[3:])
        mean, var = self.running_mean, self.running_var
        learn = self.training and self.track_running_stats and mean is not None
        if learn:
            self.num_batches_tracked.add_(1)
        flat = None if mean is None else (mean.reshape(-1).clone(), var.reshape(-1).clone())
        scale, shift = (None if p is None else p.reshape(-1) for p in (self.weight, self.bias))
        use = self.training or mean is None
        out = functional.batch_norm(
            side,
            flat[0] if flat and (learn or not use) else None,
            flat[1] if flat and (learn or not use) else None,
            scale,
            shift,
            use,
            self.momentum,
            self.eps,
        )
        if learn and flat is not None and mean is not None:
            with torch.no_grad():
                mean.copy_(flat[0].reshape(mean.shape))
                var.copy_(flat[1].reshape(var.shape))
        return out.reshape(batch, members, channels, *x.shape[3:]).transpose(0, 1)


class StackedConv2d(nn.Module):
    """[member, batch, channels, height, width]: members as groups of channels."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        if layer.padding_mode != "zeros":
            raise NotStackableError(f"Conv2d with padding_mode={layer.padding_mode!r}")
        self.weight, self.bias, self.groups = layer.weight, layer.bias, layer.groups
        self.options: dict[str, Any] = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}

    def forward(self, x: Tensor) -> Tensor:
        members, batch = x.shape[:2]
        side = x.transpose(0, 1).reshape(batch, members * x.shape[2], *x.shape[3:])
        bias = None if self.bias is None else self.bias.reshape(-1)
        out = functional.conv2d(side, self.weight.flatten(0, 1), bias, groups=members * self.groups, **self.options)
        return out.reshape(batch, members, -1, *out.shape[2:]).transpose(0, 1)


class Folded(nn.Module):
    """A module without parameters that expects one batch axis: members and batch are folded into it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.inner = layer

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x.flatten(0, 1))
        return out.reshape(*x.shape[:2], *out.shape[1:])


Twin = Callable[[Any], nn.Module]
Stack = Callable[[Sequence[nn.Module], Tensor], nn.Module]
_TWINS: dict[type[nn.Module], Twin] = {
    nn.Linear: StackedLinear,
    nn.Embedding: StackedEmbedding,
    nn.LayerNorm: StackedLayerNorm,
    nn.BatchNorm1d: StackedBatchNorm,
    nn.BatchNorm2d: StackedBatchNorm,
    nn.Conv2d: StackedConv2d,
    **dict.fromkeys(
        (
            nn.MaxPool2d,
            nn.AvgPool2d,
            nn.AdaptiveAvgPool2d,
            nn.AdaptiveMaxPool2d,
            nn.Flatten,
            nn.Unflatten,
            nn.Softmax,
            nn.LogSoftmax,
        ),
        Folded,
    ),
}


def stacked(models: Sequence[nn.Module], probe: Tensor) -> nn.Module:
    """One network that computes on [member, batch, ...] what each of ``models`` computes on [batch, ...], with the
    parameters and buffers of all, stacked.

    ArchitectureCache layers are replaced by twins with the same names; what composes them runs as it is written, and is
    then checked against each model alone.

    Args:
        probe: a few rows of input, for the check.

    Raises:
        NotStackableError: why this network cannot be.
    """
    whole = unchecked(models)
    check(whole, models, probe)
    return whole


def unchecked(models: Sequence[nn.Module]) -> nn.Module:
    """:func:`stacked` without the check.

    Raises:
        NotStackableError: why this network cannot be.
    """
    # A copy of what composes the layers; the tensors it shares are replaced.
    whole = copy.deepcopy(models[0], {id(t): t for t in (*models[0].parameters(), *models[0].buffers())})
    demand_own(whole)
    if type(whole) in _TWINS:
        whole = _TWINS[type(whole)](whole)
    else:
        _swap(whole, {})
    load(whole, tensors_of(models))
    return whole


def load(whole: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put stacked tensors in as the parameters and buffers themselves (views stay views)."""
    for prefix, module in whole.named_modules():
        dot = f"{prefix}." if prefix else ""
        for name, parameter in list(module._parameters.items()):
            if parameter is not None and dot + name in tensors:
                module._parameters[name] = nn.Parameter(tensors[dot + name], requires_grad=parameter.requires_grad)
        for name, buffer in list(module._buffers.items()):
            if buffer is not None and dot + name in tensors:
                module._buffers[name] = tensors[dot + name]


def tensors_of(models: Sequence[nn.Module]) -> dict[str, Tensor]:
    """The parameters and buffers of all models by name, stacked."""
    each = [{**dict(model.named_parameters()), **dict(model.named_buffers())} for model in models]
    return {name: torch.stack([own[name].detach() for own in each]) for name in each[0]}


def normalizations(whole: nn.Module) -> list[Any]:
    """What keeps running statistics in a stacked network."""
    return [m for m in whole.modules() if isinstance(m, (StackedBatchNorm, nn.modules.batchnorm._NormBase))]


def demand_own(model: nn.Module) -> None:
    """Refuse shared parameters, and dropout that no technique has taken over.

    Raises:
        NotStackableError: naming it.
    """
    seen: set[int] = set()
    for module in model.modules():
        for p in module._parameters.values():
            if p is None:
                continue
            if id(p) in seen:
                raise NotStackableError("shared parameters")
            seen.add(id(p))
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise NotStackableError("dropout of its own (a Dropout technique would take it over)")


def _swap(module: nn.Module, done: dict[int, nn.Module]) -> None:
    """``done`` has the twins by the identity of the layer, which may stand in two places."""
    for name, child in list(module._modules.items()):
        if child is None:
            continue
        if id(child) in done:
            module._modules[name] = done[id(child)]
            continue
        twin = _TWINS.get(type(child))
        if (
            twin is None
            and any(True for _ in child.parameters(recurse=False))
            and not getattr(child, "stackable", False)
        ):
            raise NotStackableError(f"a {type(child).__name__}")
        done[id(child)] = child if twin is None else twin(child).train(child.training)
        module._modules[name] = done[id(child)]
        if twin is None:
            _swap(child, done)


@torch.no_grad()
def check(whole: nn.Module, models: Sequence[nn.Module], probe: Tensor) -> None:
    """Compare with the members alone, both in training and in evaluation mode, and leave all as they were.

    Raises:
        NotStackableError: they differ.
    """
    with as_before(whole, *models[:3]) as (twin, *alone):
        _compare(twin, alone, len(models), probe)


def _compare(twin: nn.Module, alone: Sequence[nn.Module], members: int, probe: Tensor) -> None:
    x = probe.unsqueeze(0).expand(members, *probe.shape)
    for training in (True, False):
        try:
            out = twin.train(training)(x)
        except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
            raise NotStackableError(f"its forward does not take a member axis ({str(error).splitlines()[0]})") from None
        for k, model in enumerate(alone):
            own = model.train(training)(probe)
            alike = out.shape == (members, *own.shape)
            if not alike or not torch.allclose(out[k], own, rtol=1e-3, atol=1e-4 * float(own.abs().max() + 1)):
                raise NotStackableError("its forward mixes axes: stacked outputs are not those of the members alone")
