"""Data at URLs: of a file system in memory, and of a server in this process."""

from __future__ import annotations

import functools
import http.server
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.registry import known_implementations

from dashpot.core.errors import ConfigError, StorageError
from dashpot.data import load_problem
from dashpot.data.files.remote import at_hand

ROWS = "a,b,label\n" + "".join(f"{i},{i % 3},{'yes' if i % 2 else 'no'}\n" for i in range(40))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Quiet(http.server.SimpleHTTPRequestHandler):
    asked: list[str]

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        super().do_GET()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and its URL."""
    folder = tmp_path / "served"
    folder.mkdir()
    Quiet.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


def test_a_url_gives_the_problem_of_its_file(tmp_path: Path, server: tuple[Path, str]) -> None:
    folder, url = server
    (folder / "table.csv").write_text(ROWS)
    there = load_problem(f"{url}/table.csv", "label")
    here = load_problem(folder / "table.csv", "label")
    assert (there.name, there.n, there.fingerprint) == (here.name, here.n, here.fingerprint)
    # A path of it, which has lost a slash, is meant too.
    assert at_hand(Path(f"{url}/table.csv")) == at_hand(f"{url}/table.csv")


def test_a_copy_is_used_again_until_the_file_changes() -> None:
    system, name = fsspec.filesystem("memory"), f"/{uuid.uuid4()}.csv"
    system.pipe(name, ROWS.encode())
    copy = at_hand(f"memory:/{name}")
    assert copy.read_text() == ROWS
    first = copy.stat().st_ino
    assert at_hand(f"memory:/{name}").stat().st_ino == first
    system.pipe(name, ROWS.replace("yes", "no").encode())
    assert at_hand(f"memory:/{name}").read_text() == ROWS.replace("yes", "no")
    assert not list(copy.parent.glob(".fetching-*"))


def test_a_folder_of_classes(tmp_path: Path) -> None:
    system, name = fsspec.filesystem("memory"), f"/{uuid.uuid4()}"
    for label, words in (("good", "so good and warm"), ("bad", "so bad and cold")):
        for i in range(12):
            system.pipe(f"{name}/{label}/{i}.txt", f"{words} {i}".encode())
    problem = load_problem(f"memory:/{name}")
    assert (problem.kind, problem.n, list(problem.classes)) == ("text", 24, ["bad", "good"])


def test_an_interrupted_copy_is_fetched_anew(cache: Path) -> None:
    system, name = fsspec.filesystem("memory"), f"/{uuid.uuid4()}.csv"
    system.pipe(name, ROWS.encode())
    copy = at_hand(f"memory:/{name}")
    copy.write_text("half a")
    (copy.parent / "whole.json").unlink()
    assert at_hand(f"memory:/{name}").read_text() == ROWS


@pytest.mark.parametrize(
    ("url", "error", "match"),
    [
        ("memory://nothing/here.csv", StorageError, "data memory://nothing/here.csv must exist, and there is no such"),
        ("nosuch://bucket/t.csv", ConfigError, "data must be a path or a URL that fsspec reads .*got 'nosuch://bucket"),
        ("http://127.0.0.1:9/t.csv", StorageError, "data http://127.0.0.1:9/t.csv cannot be read: .*Check the URL"),
    ],
)
def test_one_message_says_what_is_wrong(url: str, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        load_problem(url, "label")


def test_what_the_server_has_not(server: tuple[Path, str]) -> None:
    with pytest.raises(StorageError, match="must exist, and there is no such file. Check the URL"):
        at_hand(f"{server[1]}/nothing.csv")


def test_a_url_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"class": "no_such_package.FileSystem", "err": "Install no_such_package to read of it"}
    monkeypatch.setitem(known_implementations, "elsewhere", missing)
    with pytest.raises(ConfigError, match="a URL whose package is installed.*Install no_such_package"):
        at_hand("elsewhere://bucket/table.csv")


def test_paths_stay_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert at_hand("data/table.csv") == Path("data/table.csv")
    assert at_hand(r"C:/data/table.csv") == Path("C:/data/table.csv")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd:").mkdir()
    (tmp_path / "odd:" / "t.csv").write_text(ROWS)
    assert at_hand("odd:/t.csv") == Path("odd:/t.csv")  # a file of this name is that file


def test_the_command_line_says_it_in_one_sentence(server: tuple[Path, str]) -> None:
    from dashpot.cli.options import data_path

    (server[0] / "table.csv").write_text(ROWS)
    assert data_path(f"{server[1]}/table.csv").read_text() == ROWS
    with pytest.raises(StorageError, match="^data must be a path or a URL that fsspec reads"):
        data_path("nosuch://bucket/t.csv")


def test_passwords_and_signatures_are_not_shown(server: tuple[Path, str]) -> None:
    host = server[1].removeprefix("http://")
    with pytest.raises(StorageError) as told:
        at_hand(f"http://me:secret@{host}/nothing.csv?signature=hidden")
    assert "secret" not in str(told.value)
    assert "hidden" not in str(told.value)
    assert f"http://***@{host}/nothing.csv?***" in str(told.value)
    with pytest.raises(StorageError) as told:
        at_hand("http://me:secret@127.0.0.1:9/t.csv?signature=hidden")
    assert "secret" not in str(told.value)
    assert "hidden" not in str(told.value)
