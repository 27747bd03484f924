"""What a shell is told when it completes: names of techniques and options, without loading torch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dashpot.core.registry import registry, summaries

ASK = (
    "import atexit, sys;"
    " atexit.register(lambda: print('torch' in sys.modules, 'rich' in sys.modules, file=sys.stderr));"
    " sys.argv = ['dashpot']; from dashpot.cli import main; main()"
)


def completed(line: str, **more: str) -> tuple[list[str], str]:
    """What bash is told, and what was loaded for it."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    environment = os.environ | {"LC_ALL": "C.UTF-8", "_DASHPOT_COMPLETE": "complete_bash"} | words | more
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=False)
    return done.stdout.split(), done.stderr.strip()


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("dashpot fit --with mix", {"mixup", "mixout"}),
        ("dashpot techniques label-", {"label-smoothing"}),
        ("dashpot tune --bud", {"--budget"}),
        ("dashpot rob", {"robustness"}),
    ],
)
def test_names_are_completed_and_torch_is_not_loaded(line: str, wanted: set[str]) -> None:
    found, loaded = completed(line)
    assert wanted <= set(found)
    assert all(word.startswith(line.rpartition(" ")[2]) for word in found)
    assert loaded == "False False"


def test_names_read_from_files_are_those_of_the_registry() -> None:
    own = {name: cls for name, cls in registry().items() if cls.__module__.startswith("dashpot.")}
    assert summaries() == {name: cls.summary for name, cls in own.items()}
