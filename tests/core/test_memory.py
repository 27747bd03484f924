"""How much memory is free."""

from __future__ import annotations

from pathlib import Path

from dashpot.core import memory
from dashpot.search.racing.memory import free


def test_what_is_free_is_what_the_container_leaves(tmp_path: Path) -> None:
    assert memory._of_container(tmp_path) is None
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._of_container(tmp_path) is None
    (tmp_path / "memory.max").write_text("1500\n")
    assert memory._of_container(tmp_path) == 500
    assert 1e6 < memory.free_memory() < 1e14
    assert 1e6 < free("cpu") < 1e14
