"""Every law on every row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dashpot.core.fields import codec
from dashpot.core.fields.codec import registry
from dashpot.core.technique import Technique
from dashpot.testing import AT_WORK, LAWS, Row, applies
from tests.rows import ROWS


def settings(row: Row) -> dict[str, Row]:
    """The row on its own toy and on those of other kinds of data, and at its other settings; by name."""
    kind = row.technique.kind()
    found = {kind: row}
    found |= {f"{kind}-{toy.modality}": replace(row, toy=toy) for toy in row.toys() if toy != row.toy}
    return found | {codec.to_text(other): replace(row, technique=other) for other in row.others}


def cases() -> list[object]:
    """Only pairs that can fail. On other data and at other settings, the laws of a technique at work."""
    found = []
    for row in ROWS.values():
        for name, setting in settings(row).items():
            for law in LAWS:
                if applies(law, setting) and (setting is row or law in AT_WORK):
                    marks = [pytest.mark.slow] if law == "compiles" else []
                    found.append(pytest.param(law, setting, id=f"{name}-{law}", marks=marks))
    return found


@pytest.mark.parametrize(("law", "row"), cases())
def test_law(law: str, row: Row) -> None:
    LAWS[law](row)


def test_every_law_is_about_some_technique() -> None:
    assert all(any(applies(law, row) for row in ROWS.values()) for law in LAWS)


def subclasses(cls: type) -> set[type]:
    """All among the techniques, of any depth."""
    own = {one for one in cls.__subclasses__() if one.__module__.startswith("dashpot.techniques.")}
    return own.union(*map(subclasses, own))


def test_every_technique_has_a_row() -> None:
    ours = {cls for cls in registry().values() if cls.__module__.startswith("dashpot.")}
    assert ours == set(ROWS)
    # A base has no summary, so it is not in the registry; then others must be made of it. A technique whose summary
    # was forgotten is nobody's base.
    assert {cls for cls in subclasses(Technique) if not cls.summary and not subclasses(cls)} == set()


def test_waivers_have_reasons_and_name_laws() -> None:
    for cls in ROWS:
        for law, reason in cls.waivers.items():
            assert any(law in name for name in LAWS)
            assert len(reason) > 10
