"""The default space of signals."""

from __future__ import annotations

import numpy as np
import pytest

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.data import Problem
from dashpot.search.space.defaults import default_space, first_candidates

RNG = np.random.default_rng(0)
PROBLEM = Problem("s", RNG.normal(size=(30, 1, 16)), np.arange(30) % 3)
PREPARED = PROBLEM.prepare(np.arange(30))


def test_space_holds_what_is_for_signals_and_starts_with_it() -> None:
    space = default_space(PROBLEM, PREPARED, None)
    names = {part.name for part in space.techniques}
    assert {"time-shift", "drift", "input-noise", "weight-decay"} <= names
    assert "rotation" not in names
    first = [dict(candidate.params) for candidate in first_candidates(space)]
    assert any(params.get("time-shift.border") == "wrap" for params in first)
    assert space.baseline().net == {"width": 16}


def test_network_is_named_in_any_case() -> None:
    space = default_space(PROBLEM, PREPARED, None, networks=["net=mlp"])
    assert dict(space.baseline().net) == {"net": "mlp", "width": 256}
    wider = default_space(PROBLEM, PREPARED, None, networks=["net=MLP", "width=8,16"])
    assert dict(wider.baseline().net)["width"] == 8


@pytest.mark.parametrize(
    ("networks", "error"),
    [
        (["net=mlp,convnet1d"], ConfigError),
        (["net=tree"], UnknownNameError),
        (["kernel=2"], ConfigError),
        (["embedding=none"], UnknownNameError),
    ],
)
def test_refused(networks: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        default_space(PROBLEM, PREPARED, None, networks=networks)
