"""What is said about the machine."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np

from dashpot.report.tune.words import closing
from tests.report.tune_record import bare

HELD = """
import numpy as np
from dashpot.core.environment import peak_memory
before = peak_memory()["process"]
held = np.ones(75_000_000)  # 600 MB
del held
print(peak_memory()["process"] - before)
"""


def test_peak_memory_counts_what_was_given_back_and_not_what_the_parent_held() -> None:
    np.ones(100_000_000)  # 800 MB
    grown = float(subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True).stdout)
    assert 500 < grown < 700


def test_a_search_says_what_it_held() -> None:
    shown: dict[str, Any] = {"seconds": 42.0, "members_trained": None, "member_steps": None}
    text = closing(bare(**shown, budget_s=60.0, peak_memory_mb={"process": 1234.5}))[-1]
    assert text == "The search took 42 s of 1 min allowed; a process held 1,234 MB of memory at most."
    assert closing(bare(**shown, budget_s=None, peak_memory_mb=None))[-1] == "The search took 42 s."
