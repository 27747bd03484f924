"""Which modules end a residual branch: what they return is added to what went around the branch."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

KNOWN: dict[tuple[str, str], tuple[str, ...]] = {
    ("torch", "TransformerEncoderLayer"): ("dropout1", "dropout2"),
    ("torch", "TransformerDecoderLayer"): ("dropout1", "dropout2", "dropout3"),
    ("torchvision", "BasicBlock"): ("bn2",),
    ("torchvision", "Bottleneck"): ("bn3",),
    ("torchvision", "ResBottleneckBlock"): ("f",),
    ("torchvision", "InvertedResidual"): ("conv", "block"),
    ("torchvision", "_InvertedResidual"): ("layers",),
    ("torchvision", "EncoderBlock"): ("dropout", "mlp"),
    ("timm", "BasicBlock"): ("bn2",),
    ("timm", "Bottleneck"): ("bn3",),
}
"""By library and class of a block: its modules that end a branch. Libraries by name, since neither need be installed,
and since a class of the same name elsewhere may have no branch at all.
"""
ADDS = ("use_res_connect", "apply_residual", "has_skip")
"""How blocks of torchvision and timm say whether they add at all."""


def branch_ends(modules: Mapping[str, nn.Module]) -> frozenset[str]:
    """Of all modules of a model, by name, those that end a residual branch: by an attribute ``ends_branch = True``, as
    a module that drops branches (torchvision's ``StochasticDepth``, ``DropPath`` of timm and Transformers, or the
    ``drop_path`` that stands in for it at a rate of 0), or as a known part of a known block.
    """
    found: set[str] = set()
    for name, module in modules.items():
        parent, _, leaf = name.rpartition(".")
        block = modules.get(parent)
        if not all(getattr(block, adds, True) for adds in ADDS):
            continue
        drops = type(module).__name__.endswith(("StochasticDepth", "DropPath"))
        stands_in = isinstance(module, nn.Identity) and leaf.startswith("drop_path")
        library = type(block).__module__.partition(".")[0]
        known = leaf in KNOWN.get((library, type(block).__name__), ()) and not isinstance(
            getattr(block, "drop_path", None), nn.Module
        )
        if getattr(module, "ends_branch", False) is True or drops or stands_in or known:
            found.add(name)
    return frozenset(found)
