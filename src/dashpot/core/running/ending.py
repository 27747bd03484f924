"""Which modules' outputs are the network's output: behind them nothing has weights that could make up for a change."""

from __future__ import annotations

from collections import Counter

from torch import nn

from dashpot.core.fields.select import module_role


def ending(model: nn.Module) -> frozenset[int]:
    """The identities of the activations at the end of a network, where its structure tells of them: from the end of an
    ``nn.Sequential`` back to the first weights, in nested ones and in modules with one part and no weights of their
    own. Of another ``forward`` nothing is known, so that nothing is named; nor is an activation that is used elsewhere,
    too.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.Sigmoid(), nn.Flatten())
    >>> [name for name, module in model.named_modules() if id(module) in ending(model)]
    ['3']
    """
    found: set[int] = set()
    uses = Counter(id(part) for module in model.modules() for part in module._modules.values() if part is not None)
    _walk(model, uses, found)
    return frozenset(found)


def _walk(module: nn.Module, uses: Counter[int], found: set[int]) -> bool:
    """From the end of a module to its beginning; whether what stands before it is the network's output, too."""
    if uses[id(module)] > 1:
        return False
    parts = [part for part in module._modules.values() if part is not None]
    if next(module.parameters(recurse=False), None) is not None:
        return False
    if not parts:
        if module_role(module) == "activations":
            found.add(id(module))
        return True
    in_order = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
    return (in_order or len(parts) == 1) and all(_walk(part, uses, found) for part in reversed(parts))
