"""Every law on every row."""

from __future__ import annotations

import pytest

from dashpot.core.codec import registry
from dashpot.core.technique import Technique
from dashpot.techniques.penalties.penalty import Proximal
from dashpot.testing import LAWS
from tests.rows import ROWS

NEEDS_FUNCTIONS = {"keeps_dtype", "agrees_with_reference", "does_not_write", "differentiates", "compiles"}


def cases(only: set[str] | None = None) -> list[object]:
    """Only pairs that can fail: no law of functions for a row without any, no law of penalties for others."""
    pairs = []
    for cls, row in ROWS.items():
        for law in LAWS:
            fits = (law not in NEEDS_FUNCTIONS or row.functions) and (
                law != "prox_is_optimal" or issubclass(cls, Proximal)
            )
            fits = fits and (law != "vmaps_over_strengths" or any(pure.strength is not None for pure in row.functions))
            if fits and (only is None or law in only):
                marks = [pytest.mark.slow] if law == "compiles" else []
                pairs.append(pytest.param(law, cls, id=f"{cls.kind()}-{law}", marks=marks))
    return pairs


@pytest.mark.parametrize(("law", "cls"), cases())
def test_law(law: str, cls: type[Technique]) -> None:
    LAWS[law](ROWS[cls])


def test_every_technique_has_a_row() -> None:
    ours = {cls for cls in registry().values() if cls.__module__.startswith("dashpot.")}
    assert ours == set(ROWS)


def test_waivers_have_reasons_and_name_laws() -> None:
    for cls in ROWS:
        for law, reason in cls.waivers.items():
            assert any(law in name for name in LAWS)
            assert len(reason) > 10
