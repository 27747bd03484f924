"""A number that follows a schedule and that a technique copies once, when it installs its hooks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Any

import pytest
import torch
from torch import nn

import dashpot
from dashpot.core.fields.domains import Range


class Scaled(dashpot.Technique):
    """It multiplies outputs by a factor; ``how`` says in which way it gets to know it."""

    factor: Annotated[float, Range(0.0, 10.0)] = field(default=1.0, kw_only=False)
    other: Annotated[float, Range(0.0, 10.0)] = 2.0

    how = "copies"

    def on_model(self, view: Any, ctx: Any) -> Iterable[Any]:
        if self.how == "copies":
            value = self.factor
        elif self.how == "copies from the context":
            value = ctx.technique.factor
        else:
            value = self.other
        number = ctx.scalar("factor") if self.how == "scalar" else None

        def hook(module: nn.Module, args: Any, out: Any) -> Any:
            now = {"reads": lambda: ctx.technique.factor, "scalar": lambda: number}.get(self.how, lambda: value)()
            return out * now

        return [view.model.register_forward_hook(hook)]


def attached(how: str, factor: Any) -> tuple[nn.Module, torch.optim.Optimizer]:
    kind = type("Scaled" + how.replace(" ", ""), (Scaled,), {"how": how})
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    kind(factor).attach(model, optimizer, steps=4)
    return model, optimizer


@pytest.mark.parametrize("how", ["copies", "copies from the context"])
def test_it_is_refused_at_attach_where_it_would_stand_still(how: str) -> None:
    with pytest.raises(dashpot.ConflictError, match=r"on_model copies factor, which follows a schedule.*ctx\.scalar"):
        attached(how, "4to0")
    model, _ = attached(how, 3.0)
    assert model(torch.ones(1, 1)).item() == 3.0


@pytest.mark.parametrize("how", ["reads", "scalar"])
def test_it_follows_where_it_is_read_each_time(how: str) -> None:
    model, optimizer = attached(how, "4to0")
    seen = []
    for _ in range(3):
        seen.append(model(torch.ones(1, 1)).item())
        model(torch.ones(1, 1)).sum().backward()
        optimizer.step()
    assert seen[0] == 4.0
    assert seen == sorted(set(seen), reverse=True)
