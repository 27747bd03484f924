"""What penalties and decay demand of the parameters that they select."""

from __future__ import annotations

import warnings

import torch

from dashpot.core.errors import ConflictError
from dashpot.core.fields.select import REPARAMETRIZED, Where
from dashpot.core.running.computed import computed
from dashpot.core.running.selecting import SelectionWarning
from dashpot.core.running.view import ModelView


def refuse_computed(technique: str, on: Where, view: ModelView) -> None:
    """Refuse weights that are computed from other parameters: a penalty on those is none on the weight.

    Raises:
        ConflictError: naming them, and the way out.
    """
    found = {
        name: (weight.how, [source for source in weight.sources if source in view.parameters])
        for name, weight in computed(view.modules).items()
        if on.matches(weight.role, name, weight.module)
    }
    found = {name: (how, sources) for name, (how, sources) in found.items() if sources}
    if not found:
        return
    name, (how, sources) = next(iter(found.items()))
    without = on
    for other in found:
        layer = other.rpartition(".")[0]
        without &= ~Where.name(f"{layer}.*" if layer else "*")
    more = f" (and {len(found) - 1} more such)" if len(found) > 1 else ""
    raise ConflictError(
        f"{technique}.on ({on}) selects {name!r}{more}, which {how} computes from {' and '.join(sources)}: {technique}"
        f" on these would be none on the weight. Remove the reparametrization, leave it out with on='{without}', or"
        f" act on what it is computed from with on='{REPARAMETRIZED}'."
    )


def refuse_complex(technique: str, on: Where, view: ModelView) -> None:
    """Refuse complex weights, and what is no dense tensor.

    Raises:
        ConflictError: naming the parameter.
    """
    for name, w, _ in view.params(on):
        if w.is_complex() or w.layout is not torch.strided:
            kind = "complex" if w.is_complex() else f"of layout {w.layout}"
            raise ConflictError(
                f"{technique} acts on dense real weights, and {name} is {kind}. Leave it out with `on`."
            )


def warn_coarse(technique: str, on: Where, view: ModelView) -> None:
    """Warn where weights are in half precision: what is less than a rounding error of a weight does not move it."""
    coarse = [name for name, w, _ in view.params(on) if w.dtype in (torch.float16, torch.bfloat16)]
    if coarse:
        share = torch.finfo(view.parameters[coarse[0]].dtype).eps / 2
        warnings.warn(
            f"{coarse[0]} is in half precision, where a step of {technique} that is less than {share:.1g} of a weight"
            " is lost in rounding. Keep weights in float32 and use autocast.",
            SelectionWarning,
            stacklevel=7,
        )
