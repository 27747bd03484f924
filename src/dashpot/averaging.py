"""Techniques that average weights."""

from __future__ import annotations

from dashpot.techniques.averaging.ema import EMA
from dashpot.techniques.averaging.lawa import LAWA
from dashpot.techniques.averaging.lookahead import Lookahead
from dashpot.techniques.averaging.snapshots import Snapshots, snapshots
from dashpot.techniques.averaging.swa import SWA

__all__ = ["EMA", "LAWA", "SWA", "Lookahead", "Snapshots", "snapshots"]
