"""``Plan``: what stays of each tensor, as JSON, and how tensors, modules and optimizers are cut by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from dashpot.core.errors import ConfigError, ConflictError, DataError
from dashpot.shrinking.factors import replaced
from dashpot.shrinking.folding import emptied
from dashpot.shrinking.guard import retire
from dashpot.shrinking.heads import become, is_attention
from dashpot.shrinking.scattered import put_sparse


@dataclass(frozen=True)
class Plan:
    """What stays of a network.

    Attributes:
        kept: of each parameter and buffer of which something leaves, by axis, the places that stay, in order.
        biases: of layers that had none and have one now, the names.
        shared: for further names of a tensor its first one.
        grouped: of weights of convolutions in groups, for each group that stays the places of the second axis that do.
        eps: of RMS norms of which features left, by the module's name, their eps.
        folded: layers with the batch normalizations that became a part of them, by name; the latter are identities.
        factors: of layers that became two the rank, by name.
        sparse: of layers whose weight became a sparse matrix how many weights it has, by name.

    Example:
        >>> import torch
        >>> plan = Plan({"weight": {0: torch.tensor([0, 2])}})
        >>> plan.cut("weight", torch.arange(6).reshape(3, 2))
        tensor([[0, 1],
                [4, 5]])
    """

    kept: Mapping[str, Mapping[int, Tensor]]
    biases: tuple[str, ...] = ()
    shared: Mapping[str, str] = field(default_factory=dict)
    grouped: Mapping[str, Tensor] = field(default_factory=dict)
    eps: Mapping[str, float] = field(default_factory=dict)
    folded: tuple[tuple[str, str], ...] = ()
    factors: Mapping[str, int] = field(default_factory=dict)
    sparse: Mapping[str, int] = field(default_factory=dict)

    def cut(self, name: str, tensor: Tensor) -> Tensor:
        """What stays of a tensor of that name's shape, such as a moment or an average of the parameter."""
        for axis, places in self.kept.get(self.shared.get(name, name), {}).items():
            tensor = tensor.index_select(axis, places.to(tensor.device))
        groups = self.grouped.get(self.shared.get(name, name))
        if groups is not None:
            parts = zip(tensor.chunk(len(groups)), groups.to(tensor.device), strict=True)
            tensor = torch.cat([part.index_select(1, places) for part, places in parts])
        return tensor

    def apply(self, model: nn.Module, *, same: bool = False) -> None:
        """Make a network of the full size smaller, in place: tensors, and what layers say of their sizes.

        Args:
            same: its parameters stay the same objects, with other values, so that an optimizer has them still.
        """
        made: dict[int, nn.Parameter] = {}
        for name, module in model.named_modules():
            prefix = f"{name}." if name else ""
            for own, parameter in list(module._parameters.items()):
                if parameter is None or not self.changes(prefix + own):
                    continue
                if id(parameter) not in made:
                    made[id(parameter)] = self._made(prefix + own, parameter, same)
                module._parameters[own] = made[id(parameter)]
            for own, buffer in list(module._buffers.items()):
                if buffer is not None and self.changes(prefix + own):
                    module._buffers[own] = laid_out(self.cut(prefix + own, buffer), buffer)
            if prefix + "bias" in self.biases:
                weight = module._parameters["weight"]
                assert weight is not None
                outputs = weight.shape[1 if isinstance(module, _ConvTransposeNd) else 0]
                module.register_parameter("bias", nn.Parameter(weight.detach().new_zeros(outputs)))
            _say_sizes(module, len(self.grouped.get(self.shared.get(prefix + "weight", prefix + "weight"), ())))
            if name in self.eps and isinstance(module, nn.RMSNorm):
                module.eps = self.eps[name]
            if is_attention(module) and any(self.changes(prefix + own) for own, _ in module.named_parameters()):
                become(module)
        emptied(model, self.folded)
        replaced(model, self.factors)
        put_sparse(model, self.sparse)

    def _made(self, name: str, parameter: nn.Parameter, same: bool) -> nn.Parameter:
        data = laid_out(self.cut(name, parameter.detach()).clone(), parameter)
        if not same:
            return nn.Parameter(data, requires_grad=parameter.requires_grad)
        grad = None if parameter.grad is None else laid_out(self.cut(name, parameter.grad), parameter)
        parameter.grad = None
        # Of another type first: torch then forgets where gradients of the former shape were added up.
        other = torch.bfloat16 if data.dtype == torch.float16 else torch.float16
        parameter.data = data.new_empty(0, dtype=other if data.is_floating_point() else data.dtype)
        parameter.data = data
        parameter.grad = grad
        return parameter

    def changes(self, name: str) -> bool:
        """Whether something of this tensor leaves."""
        name = self.shared.get(name, name)
        return name in self.kept or name in self.grouped

    def carry(self, optimizer: torch.optim.Optimizer, before: nn.Module, after: nn.Module) -> torch.optim.Optimizer:
        """An optimizer of the small network that goes on where that of the large one is: settings, and of its state
        (moments, momentum) what stays.

        Args:
            optimizer: of ``before``.
            before, after: the networks; ``after`` was made from ``before`` by this plan.

        Raises:
            ConflictError: an optimizer of other parameters, or batch normalizations were folded or weights made sparse,
                with which nobody trains on.

        A step of ``optimizer`` itself is an error from then on, unless gradients came for ``before``.
        """
        if self.folded or self.sparse:
            raise ConflictError(
                "batch normalizations were folded into layers, or weights became sparse matrices, for inference: a"
                " training goes on with what shrink gives without fold and sparse."
            )
        names = {id(parameter): name for name, parameter in before.named_parameters()}
        small = dict(after.named_parameters())
        groups = []
        for group in optimizer.param_groups:
            own = []
            for parameter in group["params"]:
                if id(parameter) not in names:
                    raise ConflictError(
                        f"this {type(optimizer).__name__} has parameters that are none of {type(before).__name__}'s."
                        " Pass the network that it trains."
                    )
                own += [small[name] for name in self._after(names[id(parameter)])]
            groups.append({**{key: value for key, value in group.items() if key != "params"}, "params": own})
        known = {id(p) for group in groups for p in group["params"]}
        fresh = [small[own] for name in self.biases for own in self._after(name) if id(small[own]) not in known]
        if fresh:
            groups[0]["params"] = [*groups[0]["params"], *fresh]
        made = type(optimizer)(groups, **_settings(optimizer))
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter in optimizer.state:
                    name = names[id(parameter)]
                    later = self._after(name)
                    if len(later) > 1:
                        continue  # two factors begin anew
                    made.state[small[later[0]]] = {
                        key: self.cut(name, value).clone()
                        if isinstance(value, Tensor) and value.shape == parameter.shape
                        else value.clone()
                        if isinstance(value, Tensor)
                        else value
                        for key, value in optimizer.state[parameter].items()
                    }
        retire(optimizer)
        return made

    def _after(self, name: str) -> list[str]:
        """The names of a parameter in the small network; of a weight that became two factors both."""
        layer, _, leaf = name.rpartition(".")
        if layer not in self.factors:
            return [name]
        return [f"{layer}.1.bias"] if leaf == "bias" else [f"{layer}.0.weight", f"{layer}.1.weight"]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: places as ranges [start, stop]."""
        return {
            "version": 1,
            "kept": {
                name: {str(axis): _ranges(places) for axis, places in axes.items()} for name, axes in self.kept.items()
            },
            "biases": list(self.biases),
            "shared": dict(self.shared),
            "grouped": {name: [_ranges(places) for places in groups] for name, groups in self.grouped.items()},
            "eps": dict(self.eps),
            "folded": [list(pair) for pair in self.folded],
            "factors": dict(self.factors),
            "sparse": dict(self.sparse),
        }

    @classmethod
    def from_dict(cls, content: Any) -> Plan:
        """Read what :meth:`to_dict` wrote.

        Raises:
            DataError: it is no such thing, or of a newer version.
        """
        if not isinstance(content, dict) or content.get("version") != 1:
            found = content.get("version") if isinstance(content, dict) else type(content).__name__
            raise DataError(f"a plan of version 1 is needed to rebuild a shrunk network, got {found}.")
        try:
            kept = {
                str(name): {int(axis): _places(ranges) for axis, ranges in axes.items()}
                for name, axes in content["kept"].items()
            }
            grouped = {
                str(name): torch.stack([_places(ranges) for ranges in groups])
                for name, groups in content.get("grouped", {}).items()
            }
            eps = {str(name): float(value) for name, value in content.get("eps", {}).items()}
            folded = tuple((str(layer), str(norm)) for layer, norm in content.get("folded", ()))
            factors, sparse = (
                {str(name): int(count) for name, count in content.get(key, {}).items()} for key in ("factors", "sparse")
            )
            biases, shared = tuple(map(str, content["biases"])), dict(content["shared"])
            return cls(kept, biases, shared, grouped, eps, folded, factors, sparse)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise DataError(f"the plan of a shrunk network cannot be read: {error!r}.") from error


def laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor in the order of memory of another, where that is channels last."""
    last = like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    return tensor.contiguous(memory_format=torch.channels_last) if last else tensor


def _settings(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The defaults that its class takes."""
    import inspect

    known = inspect.signature(type(optimizer).__init__).parameters
    return {key: value for key, value in optimizer.defaults.items() if key in known}


def _say_sizes(module: nn.Module, groups: int = 0) -> None:
    """The attributes by which a layer says its sizes; ``groups``: of a convolution in groups that was cut."""
    if isinstance(module, nn.RNNBase):
        first, second = (module.get_parameter(f"weight_{name}_l0").shape for name in ("hh", "ih"))
        module.hidden_size, module.input_size = first[0] // {"LSTM": 4, "GRU": 3}.get(module.mode, 1), second[1]
        module._init_flat_weights()  # it keeps its parameters in a list, too
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor):
        return
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, _ConvNd):
        moved = isinstance(module, _ConvTransposeNd)
        if groups:
            module.groups = groups
            sizes = weight.shape[0], weight.shape[1] * groups
            module.in_channels, module.out_channels = sizes if moved else sizes[::-1]
        elif module.groups > 1 and module.groups == module.in_channels == module.out_channels:
            module.groups = module.in_channels = module.out_channels = weight.shape[0]
        elif module.groups == 1:
            module.in_channels, module.out_channels = weight.shape[1 - moved], weight.shape[0 + moved]
    elif isinstance(module, _NormBase):
        module.num_features = weight.shape[0]
    elif isinstance(module, nn.GroupNorm):
        each = module.num_channels // module.num_groups
        module.num_channels, module.num_groups = weight.shape[0], weight.shape[0] // each
    elif isinstance(module, nn.RMSNorm):
        module.normalized_shape = tuple(weight.shape)
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = weight.shape
    elif type(module).__name__ == "Conv1D" and hasattr(module, "nf"):  # of transformers, [inputs, outputs]
        vars(module).update(nx=weight.shape[0], nf=weight.shape[1])
    elif isinstance(module, nn.PReLU):
        module.num_parameters = weight.numel()


def _ranges(places: Tensor) -> list[list[int]]:
    found: list[list[int]] = []
    for place in places.tolist():
        if found and found[-1][1] == place:
            found[-1][1] = place + 1
        else:
            found.append([place, place + 1])
    return found


def _places(ranges: Any) -> Tensor:
    if any(len(pair) != 2 or not 0 <= pair[0] < pair[1] for pair in ranges):
        raise ConfigError("plan", "ranges [start, stop]", ranges)
    return torch.cat([torch.arange(start, stop, device="cpu") for start, stop in ranges])
