"""The head and the stages of a network that was trained before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from dashpot.core.errors import ConfigError

HEADS = ("fc", "classifier", "head", "heads", "last_linear", "output_layer")
"""What networks call the part that gives classes, in the order in which it is looked for."""
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def head_of(model: nn.Module) -> str:
    """The name of the last layer.

    Raises:
        ConfigError: it cannot be known.
    """
    way = "Say which layer with name=; model.named_modules() lists them."
    for attribute in HEADS:
        part = getattr(model, attribute, None)
        if isinstance(part, nn.Module):
            inside = [name for name, module in part.named_modules() if isinstance(module, LAYERS)]
            if not inside:
                rule = "a network whose head holds a linear or convolutional layer"
                raise ConfigError("model", rule, f"{attribute}, a {type(part).__name__} without one", way)
            return f"{attribute}.{inside[-1]}".rstrip(".")
    owners: list[tuple[str, nn.Module]] = []
    for name, module in model.named_modules():
        if owners and isinstance(owners[-1][1], LAYERS) and name.startswith(f"{owners[-1][0]}.".lstrip(".")):
            continue  # a part of a layer, such as what its weight is computed from or its learned rate
        if any(True for _ in module.parameters(isinstance(module, LAYERS))):
            owners.append((name, module))
    if not owners or not isinstance(owners[-1][1], LAYERS) or not owners[-1][0]:
        got = f"{type(model).__name__}, which ends with {type(owners[-1][1]).__name__ if owners else 'no parameters'}"
        raise ConfigError("model", "a network that ends with a linear or convolutional layer", got, way)
    return str(owners[-1][0])


def head_or_none(model: nn.Module) -> str:
    """The name of the last layer, or ``""`` where it cannot be known, or where it is the whole network."""
    try:
        return head_of(model)
    except ConfigError:
        return ""


Stage = tuple[list[str], list[nn.Parameter]]


def stages_of(model: nn.Module) -> list[Stage]:
    """The stages of a network in order: names of their parts, and their trainable parameters, each once."""
    every = len(list(model.parameters()))
    found: list[Stage] = []
    seen: set[int] = set()
    for name, parameters in _parts("", model, every):
        own = [p for p in parameters if p.requires_grad and id(p) not in seen]
        seen |= {id(p) for p in own}
        if not own:
            continue
        if found and not any(p.ndim > 1 for p in own):
            found[-1][0].append(name)
            found[-1][1].extend(own)
        else:
            found.append(([name], own))
    if len(found) > 1 and not any(p.ndim > 1 for p in found[0][1]):  # a scale at the front
        found[1] = (found[0][0] + found[1][0], found[0][1] + found[1][1])
        del found[0]
    return found


def _parts(name: str, module: nn.Module, every: int) -> Iterator[tuple[str, Sequence[nn.Parameter]]]:
    own = list(module.parameters())
    children = [(n, m) for n, m in module.named_children() if any(True for _ in m.parameters())]
    if name and (2 * len(own) <= every or not children):
        yield name, own
        return
    direct = list(module.named_parameters(recurse=False))
    if direct:  # such as the token and the positions of a transformer, which are added before all blocks
        yield f"{name}." * bool(name) + direct[0][0], [p for _, p in direct]
    for child, part in children:
        yield from _parts(f"{name}." * bool(name) + child, part, every)
