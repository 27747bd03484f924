"""The stacked twins of layers: what each computes on [member, batch, ...], as it does alone on [batch, ...]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class NotStackableError(Exception):
    """This network cannot be stacked by hand; the text says why."""


class _Bfloat16Product(torch.autograd.Function):
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
        in_bfloat16: multiply in bfloat16 while training.
    """

    WIDE = 64
    """Narrower layers (inputs that are few, outputs) stay in float32: they cost little, and there rounding is seen
    most.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.in_bfloat16 = False

    def forward(self, x: Tensor) -> Tensor:
        rows, out = x.reshape(x.shape[0], -1, x.shape[-1]), x
        if self.in_bfloat16 and self.training and min(self.weight.shape[1:]) >= self.WIDE:
            out = _Bfloat16Product.apply(rows, self.weight)  # type: ignore[no-untyped-call]  # torch has no types here
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
TWINS: dict[type[nn.Module], Twin] = {
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
"""By exact type; a layer without parameters that works on the last axis alone needs none."""
