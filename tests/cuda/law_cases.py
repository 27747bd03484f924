"""Which law is tried on which row, on the device."""

from __future__ import annotations

from dashpot.testing import LAWS, applies
from tests.cuda.helpers import DEVICE
from tests.rows import ROWS

BY_KIND = {cls.kind(): row.on(DEVICE) for cls, row in ROWS.items()}
NO_TENSORS = {"codec_round_trip", "fields_refuse"}
COMPILED = "compiles"


def cases(compiled: bool) -> list[str]:
    """Each law that a row can keep; on other kinds of data those of draws and of resuming."""
    found = []
    for kind, row in BY_KIND.items():
        laws = [law for law in LAWS if law not in NO_TENSORS and (law == COMPILED) == compiled and applies(law, row)]
        found += [f"{kind}: {row.toy.modality}: {law}" for law in laws]
        others = [toy.modality for toy in row.toys() if toy != row.toy]
        found += [f"{kind}: {other}: resume_is_exact" for other in others if not compiled]
    return found
