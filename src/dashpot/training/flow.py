"""``Flow``: which layer of a model feeds what, by ``torch.fx``, by a pass, or by neighbours in ``nn.Sequential``."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd

from dashpot.core.axes import NORMS
from dashpot.core.errors import ConflictError
from dashpot.core.fields.select import module_role
from dashpot.core.running.modes import evaluating
from dashpot.core.running.nested import called

CHANNEL_LAYERS = (nn.Linear, _ConvNd)
_THROUGH = ("dropouts",)
_FUNCTIONS = frozenset(
    (
        *("relu", "relu_", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "prelu"),
        *("hardsigmoid", "hardtanh", "tanh", "tanh_", "sigmoid", "sigmoid_", "softplus", "softsign", "glu", "rrelu"),
    )
)
_FUNCTIONAL_NORMS = frozenset(("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"))


class Flow:
    """What follows each module of a model.

    Args:
        model: it is run in evaluation mode where ``x`` is given.
        x: one input batch, or None.

    Attributes:
        heads: layers behind which no other comes.
        axes: of the outputs of each module that a pass has called, how many they have.

    Raises:
        ConflictError: neither ``torch.fx`` nor ``x`` nor an ``nn.Sequential`` tells.
    """

    def __init__(self, model: nn.Module, x: Any = None) -> None:
        self._modules = dict(model.named_modules())
        self._places = Counter(id(m) for _, m in model.named_modules(remove_duplicate=False))
        self._calls: Counter[str] = Counter()
        self._next: dict[str, list[str]] = {}  # by module what takes its outputs; functions as "()name"
        self._read: set[str] = set()
        self.heads: frozenset[str] = frozenset()
        self.axes: dict[str, int] = {}
        self._seen = x is not None
        order = self._by_pass(model, x) if x is not None else []
        try:
            graph: fx.Graph | None = fx.Tracer().trace(model)
        except Exception:  # tracing runs the model's own code on stand-ins, which may raise anything
            graph = None
        if graph is not None:
            self._by_graph(graph)
        elif x is None:
            order = self._by_neighbours()
        if graph is None:
            layers = [name for name in order if isinstance(self._modules[name], CHANNEL_LAYERS)]
            self.heads = frozenset(layers[-1:])

    def normed(self, name: str) -> bool:
        """Whether a normalization takes what this layer gives."""
        return any(
            then.removeprefix("()") in _FUNCTIONAL_NORMS if then.startswith("()") else self._is_norm(then)
            for then in self._next.get(name, ())
        )

    def activated(self, name: str) -> bool:
        """Whether an activation, and nothing else, takes what this layer gives."""
        found = self._next.get(name, ())
        return bool(found) and all(
            then.removeprefix("()") in _FUNCTIONS
            if then.startswith("()")
            else module_role(self._modules[then]) == "activations"
            for then in found
        )

    def misused(self, name: str) -> str:
        """Why this module cannot be exchanged: it has several places, or the model does not call it."""
        if not name:
            return "it is the whole model, and nothing holds it"
        if self._places[id(self._modules[name])] > 1 or self._calls[name] > 1:
            return "it has several places in the model"
        if name in self._read or (self._calls and not self._calls[name]):
            return "the model does not call it, or reads its parameters itself"
        return ""

    def _is_norm(self, name: str) -> bool:
        return isinstance(self._modules[name], NORMS)

    def _by_graph(self, graph: fx.Graph) -> None:
        behind: set[fx.Node] = set()  # nodes behind which a layer comes
        heads = set()
        self._calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
        for node in reversed(list(graph.nodes)):
            module = self._modules.get(str(node.target)) if node.op == "call_module" else None
            if node.op == "get_attr":
                self._read.add(str(node.target).rpartition(".")[0])
            if isinstance(module, CHANNEL_LAYERS):
                if node not in behind:
                    heads.add(str(node.target))
                self._next[str(node.target)] = self._takers(node)
            if node in behind or isinstance(module, CHANNEL_LAYERS):
                behind.update(node.all_input_nodes)
        self.heads = frozenset(heads)

    def _takers(self, node: fx.Node) -> list[str]:
        found = []
        for user in node.users:
            if user.op == "call_module":
                name = str(user.target)
                through = module_role(self._modules[name]) in _THROUGH or isinstance(self._modules[name], nn.Identity)
                found += self._takers(user) if through else [name]
            else:
                target = user.target
                found.append("()" + (target if isinstance(target, str) else getattr(target, "__name__", "")))
        return found

    @torch.no_grad()
    def _by_pass(self, model: nn.Module, x: Any) -> list[str]:
        """The order in which modules are called; what takes a layer's output is known by the tensor."""
        order: list[str] = []
        gave: dict[int, tuple[str, Tensor]] = {}

        def after(name: str, module: nn.Module) -> Any:
            def hook(_: nn.Module, args: Any, out: Any) -> None:
                if any(module.children()):
                    return
                order.append(name)
                for source in args:
                    if isinstance(source, Tensor) and id(source) in gave:
                        before = gave[id(source)][0]
                        through = module_role(module) in _THROUGH or isinstance(module, nn.Identity)
                        if not through:
                            self._next.setdefault(before, []).append(name)
                        if through and isinstance(out, Tensor):
                            gave[id(out)] = (before, out)
                if isinstance(out, Tensor):
                    self.axes[name] = out.ndim
                    if isinstance(module, CHANNEL_LAYERS):
                        gave[id(out)] = (name, out)

            return module.register_forward_hook(hook)

        handles = [after(name, module) for name, module in self._modules.items()]
        try:
            with evaluating(model):
                called(model, x)
        finally:
            for handle in handles:
                handle.remove()
        self._calls = Counter(order)
        return order

    def _by_neighbours(self) -> list[str]:
        order = []
        for name, module in self._modules.items():
            inside = self._modules[name.rpartition(".")[0]] if name else None
            if isinstance(module, (*CHANNEL_LAYERS, *NORMS)) and name and type(inside) is not nn.Sequential:
                raise ConflictError(
                    f"torch.fx cannot read this {type(self._modules['']).__name__}, and what follows {name!r} is not"
                    " known. Give one batch: x=."
                )
            order.append(name)
            if type(module) is nn.Sequential:
                keys = [f"{name}.{key}" if name else key for key, _ in module.named_children()]
                for i, one in enumerate(keys[:-1]):
                    rest = [k for k in keys[i + 1 :] if module_role(self._modules[k]) not in _THROUGH]
                    self._next[one] = rest[:1]
        return order
