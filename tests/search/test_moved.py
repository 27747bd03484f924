"""A search whose data were moved finds them again, and takes no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import dashpot
from dashpot.data import load_problem
from dashpot.search.config import SearchConfig
from dashpot.search.outcome.folder import read_config, update_config, write_config
from tests.faults.tuning import small_table


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A project with data, and a search that has begun in its folder."""
    (tmp_path / "project" / "runs" / "one").mkdir(parents=True)
    (tmp_path / "project" / "data").mkdir()
    data = small_table(tmp_path / "project" / "data" / "table.csv")
    folder = tmp_path / "project" / "runs" / "one"
    write_config(
        folder, data, "target", None, SearchConfig(trials=4), fingerprint=load_problem(data, "target").fingerprint
    )
    return folder


def wanted(folder: Path) -> Any:
    return json.loads((folder / "tune.json").read_text())["fingerprint"]


def test_moved_together_they_are_found_beside_the_run(begun: Path, tmp_path: Path) -> None:
    (tmp_path / "project").rename(tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere" / "runs" / "one"
    problem, config, stored = read_config(folder)
    assert (problem.fingerprint, config.trials) == (wanted(folder), 4)
    assert stored["found"] == (tmp_path / "elsewhere" / "data" / "table.csv").resolve()
    # Once more after the next move: what was found is what counts.
    update_config(folder, done=False, source=stored["found"])
    (tmp_path / "elsewhere").rename(tmp_path / "third")
    assert read_config(tmp_path / "third" / "runs" / "one")[2]["found"].parent.parent.name == "third"


def test_a_file_of_the_same_name_near_the_run_is_taken_if_it_is_the_same(begun: Path, tmp_path: Path) -> None:
    old = tmp_path / "project" / "data" / "table.csv"
    old.rename(begun.parent / "table.csv")
    assert read_config(begun)[2]["found"] == (begun.parent / "table.csv").resolve()
    small_table(old, seed=1)  # other data in the old place, and the right ones near
    assert read_config(begun)[2]["found"] == (begun.parent / "table.csv").resolve()


def test_where_the_user_says_that_they_are(begun: Path, tmp_path: Path) -> None:
    (tmp_path / "project" / "data" / "table.csv").rename(tmp_path / "renamed.csv")
    with pytest.raises(dashpot.StorageError, match=r"no longer at .*table\.csv.*--resume .*one --data PATH"):
        read_config(begun)
    problem, _, stored = read_config(begun, tmp_path / "renamed.csv")
    assert problem.fingerprint == wanted(begun)
    assert stored["found"] == (tmp_path / "renamed.csv").resolve()


def test_other_data_are_refused_and_nothing_is_touched(begun: Path, tmp_path: Path) -> None:
    other = small_table(tmp_path / "other.csv", seed=1)
    before = (begun / "tune.json").read_bytes()
    with pytest.raises(dashpot.ConfigError, match=f"--data must be the data with which .*{wanted(begun)}.*other.csv"):
        read_config(begun, other)
    small_table(tmp_path / "project" / "data" / "table.csv", seed=2)
    with pytest.raises(dashpot.ConfigError, match="--data must be the data with which"):
        read_config(begun)
    assert (begun / "tune.json").read_bytes() == before


def test_a_search_from_before_there_were_fingerprints_is_read(begun: Path) -> None:
    stored = json.loads((begun / "tune.json").read_text())
    del stored["fingerprint"], stored["beside"]
    (begun / "tune.json").write_text(json.dumps(stored))
    assert read_config(begun)[0].n == 240


def test_scikit_learns_digits_have_no_place(tmp_path: Path) -> None:
    write_config(tmp_path, None, None, None, SearchConfig(trials=4), fingerprint=load_problem(None).fingerprint)
    assert read_config(tmp_path)[2]["found"] is None
