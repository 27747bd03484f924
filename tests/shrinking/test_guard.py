"""An optimizer whose place another has taken."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dashpot.core.errors import UsageError
from dashpot.shrinking.guard import retire


def retired() -> tuple[nn.Parameter, torch.optim.SGD]:
    parameter = nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    retire(optimizer)
    return parameter, optimizer


def test_a_step_by_gradients_from_before_is_an_error() -> None:
    parameter, optimizer = retired()
    with pytest.raises(UsageError, match="no gradient came for it since"):
        optimizer.step()
    assert parameter.tolist() == [1.0, 1.0, 1.0]


def test_a_new_gradient_may_live_where_an_old_one_was() -> None:
    """The first object that is made after one was freed often has its id."""
    for _ in range(1000):
        parameter, optimizer = retired()
        freed = id(parameter.grad)
        parameter.grad = None
        gradient = torch.ones(3)
        if id(gradient) == freed:
            break
    else:
        pytest.fail("no id came again")
    parameter.grad = gradient
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.full((3,), 0.9))
