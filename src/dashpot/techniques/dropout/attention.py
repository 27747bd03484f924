"""Attention weights: which modules make some, and how they are changed while a module runs."""

from __future__ import annotations

import dis
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Change = Callable[[Tensor], Tensor]
_FUSED = {"scaled_dot_product_attention", "multi_head_attention_forward", "ALL_ATTENTION_FUNCTIONS"}
_PRODUCTS = {"matmul", "bmm", "baddbmm", "einsum", "@"}
_PASSING = {
    *("to", "type", "type_as", "float", "half", "bfloat16", "double", "contiguous", "clone"),
    *("masked_fill", "nan_to_num", "view", "reshape", "flatten", "unflatten", "transpose", "permute", "unsqueeze"),
}
_here = threading.local()


def attends(module: nn.Module) -> bool:
    """Whether the code of its class makes attention weights: it calls torch's attention, or takes a softmax and
    multiplies matrices, itself or by functions of its file.
    """
    if isinstance(module, nn.MultiheadAttention):
        return True
    cls: Any = type(module)
    words = _of_class(cls)
    softmax = "softmax" in words or any(isinstance(part, nn.Softmax) for part in module.children())
    return bool(words & _FUSED) or (softmax and bool(words & _PRODUCTS))


@functools.cache
def _of_class(cls: Any) -> frozenset[str]:
    """The names that a class uses in ``forward``, and in its methods and functions of its file that are called there;
    nothing of what torch itself defines.
    """
    forwards = (vars(base)["forward"] for base in cls.__mro__ if "forward" in vars(base))
    return frozenset().union(*(_of_function(cls, forward, 3) for forward in forwards))


def _of_function(cls: type[nn.Module], function: Any, depth: int) -> set[str]:
    function = inspect.unwrap(function) if callable(function) else function
    if not isinstance(function, FunctionType) or f"{function.__module__}.".startswith("torch."):
        return set()
    found = set(_words(function.__code__))
    for name in list(found) if depth else ():
        called = getattr(cls, name, None) or function.__globals__.get(name)
        if called is not function:
            found |= _of_function(cls, called, depth - 1)
    return found


def _words(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    if any(step.opname == "BINARY_OP" and step.argrepr.startswith("@") for step in dis.get_instructions(code)):
        yield "@"
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _words(inner)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    change: Change,
) -> Tensor:
    """``torch.nn.functional.scaled_dot_product_attention`` with ``change`` between softmax and product, in place of
    its own dropout. A row without any key gives zeros, as there.
    """
    if enable_gqa:
        key, value = (t.repeat_interleave(query.shape[-3] // t.shape[-3], dim=-3) for t in (key, value))
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    if attn_mask is not None:
        own = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -torch.inf) if own else scores + attn_mask.to(scores.dtype)
    none = (scores == -torch.inf).all(-1, keepdim=True)
    weights = scores.masked_fill(none, 0.0).softmax(-1).masked_fill(none, 0.0)
    return change(weights) @ value


class Changing(TorchFunctionMode):
    """While it is on: attention weights are changed before values are multiplied with them, once for each softmax, and
    dropout of their own does nothing to them. Of nested ones the innermost acts.

    Args:
        change: of weights [..., queries, keys].
        off: it is the identity now, so that torch's own kernels serve.

    Attributes:
        acted: some weights were found.
    """

    def __init__(self, change: Change, off: bool) -> None:
        super().__init__()
        self._change, self._off, self.acted = change, off, False
        self._weights: list[Tensor] = []  # so that no identity is used twice
        self._changed: dict[int, Tensor] = {}

    def __enter__(self) -> Changing:
        _here.modes = [*getattr(_here, "modes", ()), self]
        super().__enter__()  # type: ignore[no-untyped-call]  # torch has no types here
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]  # torch has no types here
        _here.modes = _here.modes[:-1]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if _here.modes[-1] is not self:
            return func(*args, **kwargs)
        if name == "scaled_dot_product_attention":
            return self._fused(*args, **kwargs)
        if name == "multi_head_attention_forward":
            return self._torchs(func)(*args, **kwargs)
        if name == "softmax":
            return self._note(func(*args, **kwargs))
        if not self._weights:
            return func(*args, **kwargs)
        if name == "einsum":
            given = args[1:] if len(args) != 2 or isinstance(args[1], Tensor) else args[1]
            return func(args[0], *map(self._used, given), **kwargs)
        if name in _PRODUCTS:
            return func(*map(self._used, args), **{word: self._used(value) for word, value in kwargs.items()})
        first = args[0] if args else kwargs.get("input")
        if name in ("dropout", "dropout_") and self._known(first):
            return first
        out = func(*args, **kwargs)
        return self._note(out) if name in _PASSING and self._known(first) else out

    def _fused(self, *args: Any, dropout_p: float = 0.0, **kwargs: Any) -> Tensor:
        self.acted = True
        if self._off:
            args = (*args[:4], 0.0, *args[5:]) if len(args) > 4 else args
            return functional.scaled_dot_product_attention(*args, **kwargs)
        return attention(*args, **kwargs, change=self._change)

    def _torchs(self, func: FunctionType) -> FunctionType:
        """torch's function for its multi-head attention, with softmax, dropout and kernel of ours inside."""
        ours = {
            "has_torch_function": lambda _: False,
            "softmax": lambda *args, **kwargs: self._now(functional.softmax(*args, **kwargs)),
            "dropout": lambda weights, *_, **__: weights,
            "scaled_dot_product_attention": self._fused,
        }
        body = FunctionType(func.__code__, {**func.__globals__, **ours}, func.__name__, func.__defaults__)
        body.__kwdefaults__ = func.__kwdefaults__
        return body

    def _now(self, weights: Tensor) -> Tensor:
        self.acted = True
        return self._change(weights)

    def _note(self, weights: Tensor) -> Tensor:
        self._weights.append(weights)
        return weights

    def _known(self, one: Any) -> bool:
        return any(one is weights for weights in self._weights)

    def _used(self, one: Any) -> Any:
        """Weights changed, whatever else as it is."""
        if not self._known(one):
            return one
        if id(one) not in self._changed:
            self._changed[id(one)] = self._now(one)
        return self._changed[id(one)]
