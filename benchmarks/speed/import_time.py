"""What ``import dashpot`` costs over ``import torch``, each in a fresh interpreter. Run: ``python
benchmarks/speed/import_time.py``
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import interleave, ratios, write_result

ROUNDS = 15


def importing(name: str) -> Callable[[], None]:
    return lambda: subprocess.run([sys.executable, "-c", f"import {name}"], check=True) and None


def main() -> None:
    times = interleave({"torch": importing("torch"), "dashpot": importing("dashpot")}, ROUNDS)
    write_result(
        "import_time",
        {
            "what": "seconds of a fresh interpreter",
            "seconds": times,
            "import dashpot, ratio to import torch": ratios(times, to="torch")["dashpot"],
        },
    )


if __name__ == "__main__":
    main()
