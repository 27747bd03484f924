"""The store: shared by workers that die, stall and come at the same moment; nothing lost, nothing twice."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from dashpot.core.errors import ConfigError, StorageError
from dashpot.search.storage import heartbeat, opening
from dashpot.search.storage import study as stores
from dashpot.search.storage.backends import meaning, open_storage, passing, resolved, shown
from dashpot.search.storage.study import Store
from dashpot.search.storage.trials import TAKEN, counted
from tests.search.helpers import own_clock

SETTINGS = {"version": "1", "data": "abc", "space": {"lr": "0..1", "l1": "off | on"}}
Open = Callable[..., Store]


def point(trial: Any) -> float:
    return float(trial.suggest_float("lr", 0.0, 1.0))


def states(store: Store) -> list[tuple[int, str]]:
    return [(t.number, t.state.name) for t in store.trials()]


@pytest.fixture(
    params=["journal", pytest.param("sqlite", marks=pytest.mark.slow)]
)  # PostgreSQL's turn is in tests/faults
def open_(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    url = str(tmp_path / "journal.log") if request.param == "journal" else f"sqlite:///{tmp_path / 'study.db'}"
    opened: list[Store] = []

    def make(settings: dict[str, Any] = SETTINGS, **more: Any) -> Store:
        opened.append(Store(url, "study", settings, sampler=more.pop("sampler", "random"), **more))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


def test_workers_share_candidates(open_: Open) -> None:
    one, two = open_(), open_()
    assert (one.created, two.created) == (True, False)
    one.enqueue({"lr": 0.25})
    two.enqueue({"lr": 0.25})  # the same point once more: it is there
    number, lr = two.ask(point) or (None, None)
    assert (number, lr) == (0, 0.25)
    other, _ = one.ask(point) or (None, None)
    assert other == 1
    assert two.report(0, 3, 0.7)
    assert two.tell(0, "complete", 0.5, {"epochs": 9})
    assert one.tell(1, "pruned", 0.8, {"epochs": 3})
    a, b = one.trials()
    assert (a.state.name, a.value, a.intermediate_values, a.user_attrs["worker"]) == (
        "COMPLETE",
        0.5,
        {3: 0.7},
        two.worker,
    )
    assert (b.state.name, b.value, b.user_attrs["epochs"]) == ("PRUNED", 0.8, 3)
    two.set("training budget", {"epochs": 7})
    assert one.get("training budget") == {"epochs": 7}
    assert one.unfinished() == 0


def test_workers_of_one_seed_do_not_ask_for_the_same(open_: Open) -> None:
    points = {(store.ask(point) or (0, 0.0))[1] for store in (open_(seed=3), open_(seed=3), open_(seed=3))}
    assert len(points) == 3


def test_the_candidates_of_one_that_has_ended_are_given_back_once(open_: Open) -> None:
    one, two, three = open_(), open_(), open_()
    two.enqueue({"lr": 0.125})
    two.ask(point)
    two.close()
    assert one.take_over() == 1
    assert three.take_over() == 0
    assert states(one) == [(0, "FAIL"), (1, "WAITING")]
    assert [counted(t) for t in one.trials()] == [False, True]
    assert three.ask(point) == (1, 0.125)
    # And again, if that worker ends as well.
    three.close()
    assert one.take_over() == 1
    assert one.ask(point) == (2, 0.125)
    assert sum(counted(t) for t in one.trials()) == 1


def test_one_that_comes_back_is_not_counted_twice(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = open_(), open_()
    two.ask(point)
    two._heartbeat.stop()  # stalled: alive, and without heartbeats
    monkeypatch.setattr(heartbeat, "ended_here", lambda beat: False)
    assert one.take_over() == 0  # seen for the first time
    monkeypatch.setattr(heartbeat, "GRACE", -1.0)
    assert one.take_over() == 1
    assert not two.report(0, 5, 0.1)
    assert not two.tell(0, "complete", 0.1, {"epochs": 9})
    number, _ = one.ask(point) or (None, None)
    assert number == 1
    assert one.tell(1, "complete", 0.2, {})
    assert [t.value for t in one.trials() if counted(t)] == [0.2]


def test_one_that_tells_first_keeps_its_candidate(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells between another's judgement that it is dead and that one's word."""
    one, two = open_(), open_()
    two.ask(point)

    def dead(*args: Any) -> bool:
        assert two.tell(0, "complete", 0.3, {})
        return True

    monkeypatch.setattr(heartbeat.Monitor, "dead", dead)
    assert one.take_over() == 0
    assert [(t.number, t.state.name) for t in one.trials()] == [(0, "COMPLETE")]


def test_two_copies_of_one_candidate_are_trained_once(open_: Open) -> None:
    one, two, three = open_(), open_(), open_()
    two.ask(point)
    two.close()
    assert one.take_over() == 1
    one.enqueue({"lr": 0.5}, again=0)  # another worker saw the same at the same moment
    number, _ = one.ask(point, most=1) or (None, None)
    assert number == 1
    assert one.ask(point, most=1) is None
    assert states(one) == [(0, "FAIL"), (1, "RUNNING"), (2, "FAIL")]
    # Also if the one that had the second copy is killed before it could set it aside.
    one.enqueue({"lr": 0.5}, again=0)
    trial = three.study.ask()
    trial.set_user_attr("worker", three.worker)
    three.close()
    assert one.take_over() == 0
    assert [t.number for t in one.trials() if counted(t)] == [1]
    # And if the first is killed as well, there is one more.
    four = open_()
    one.close()
    assert four.take_over() == 1
    assert [t.state.name for t in four.trials() if counted(t)] == ["WAITING"]


def test_one_that_is_killed_after_taking_over_loses_nothing(open_: Open) -> None:
    one, two = open_(), open_()
    two.enqueue({"lr": 0.375})
    two.ask(point)
    two.close()
    one.tell(0, "failed", None, {TAKEN: one.worker})  # killed here, before making the copy
    three = open_()
    assert three.ask(point, most=1) is None  # nobody else takes the place of it
    assert three.take_over() == 1
    assert three.take_over() == 0
    assert three.ask(point, most=1) == (1, 0.375)


def test_what_is_drawn_is_what_the_store_has(open_: Open) -> None:
    """The answer was lost after the first number had been written: it is not drawn again."""
    store, tries = open_(), []

    def draw(trial: Any) -> tuple[float, float]:
        first = trial.suggest_float("a", 0.0, 1.0)
        tries.append(first)
        if len(tries) == 1:
            trial._cached_frozen_trial.params.clear()
            trial._cached_frozen_trial.distributions.clear()
            raise ConnectionResetError
        return first, trial.suggest_float("b", 0.0, 1.0)

    _, (a, b) = store.ask(draw) or (0, (0.0, 0.0))
    assert store.trials()[0].params == {"a": a, "b": b}
    assert tries == [a, a]


def test_what_a_killed_worker_had_not_yet_drawn_is_kept(open_: Open) -> None:
    """It was killed between taking a point from the queue and reading it."""
    one = open_()
    one.enqueue({"lr": 0.75})
    one.study.ask()
    orphan = one.trials()[0]
    assert "worker" not in orphan.user_attrs
    assert one.take_over() == 0
    one._monitor._seen["trial 0"] = (None, -1e9)
    assert one.take_over() == 1
    assert one.ask(point) == (1, 0.75)


def test_no_more_than_the_limit_from_any_worker(open_: Open) -> None:
    workers = [open_() for _ in range(3)]
    found: list[Any] = []

    def work(store: Store) -> None:
        while (asked := store.ask(point, most=7)) is not None:
            found.append(asked[0])
            store.tell(asked[0], "complete", 0.1, {})

    threads = [threading.Thread(target=work, args=(w,)) for w in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(set(found)) == 7
    assert sum(counted(t) for t in workers[0].trials()) == 7


def test_workers_that_come_after_the_last_candidate_leave_no_failed_trial(open_: Open) -> None:
    workers = [open_() for _ in range(4)]
    for number in range(2):
        workers[0].ask(point, most=2)
        workers[0].tell(number, "complete", 0.1, {})
    assert [worker.ask(point, most=2) for worker in workers] == [None] * 4
    assert states(workers[0]) == [(0, "COMPLETE"), (1, "COMPLETE")]


def test_of_two_that_ask_for_the_last_at_the_same_moment_one_is_set_aside(
    open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = open_(), open_()
    before = two.trials()
    monkeypatch.setattr(stores, "full", lambda trials, most: False)  # what two saw before one had asked
    assert (one.ask(point, most=1), two.ask(point, most=1), before) == ((0, one.trials()[0].params["lr"]), None, [])
    assert states(one) == [(0, "RUNNING"), (1, "FAIL")]
    assert one.trials()[1].user_attrs["set aside"] == "beyond the limit of 1"


def test_an_answer_that_was_lost_is_not_another_workers(open_: Open) -> None:
    store = open_()
    store.ask(point)
    assert store.tell(0, "complete", 0.5, {})
    assert store.tell(0, "complete", 0.5, {})  # repeated, as after a restart
    assert len(store.trials()) == 1


def test_the_first_worker_makes_what_all_need_and_another_if_it_died(
    open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = open_()
    assert one.turn("training budget") is None
    two = open_()
    with pytest.raises(StorageError, match="must set its training budget within"):
        two.turn("training budget", seconds=0.1)
    one.close()
    own_clock(monkeypatch, time.monotonic, sleep=lambda seconds: None)
    assert two.turn("training budget") is None
    two.set("training budget", 5)
    assert open_().turn("training budget") == 5


def test_another_study_is_refused_and_what_differs_is_said(open_: Open) -> None:
    open_()
    with pytest.raises(ConfigError, match=r"of the same data \(data abc\), got 'data xyz'"):
        open_({**SETTINGS, "data": "xyz"})
    with pytest.raises(ConfigError, match=r"space \{'l1': 'off | on'\}.*absent") as info:
        open_({**SETTINGS, "version": "2", "space": {"lr": "0..1"}})
    assert "version and space" in str(info.value)
    assert "'lr'" not in str(info.value)
    with pytest.raises(ConfigError, match="folds"):
        open_({**SETTINGS, "folds": 5})


def test_grid_and_quasi_random_walk_one_sequence(open_: Open) -> None:
    grid = {"lr": [0.0, 0.25, 0.5, 0.75, 1.0]}
    one, two = open_(sampler="grid", grid=grid), open_(sampler="grid", grid=grid)
    seen = []
    for i in range(5):
        number, lr = (one, two)[i % 2].ask(point) or (0, 0.0)
        seen.append(lr)
        assert (one, two)[i % 2].tell(number, "complete", lr, {})
    assert sorted(seen) == grid["lr"]


# --- the journal -----------------------------------------------------------------------------------------------------


def test_a_line_that_was_cut_off_spoils_nothing(tmp_path: Path) -> None:
    url = str(tmp_path / "journal.log")
    store = Store(url, "study", SETTINGS)
    store.ask(point)
    store.close()
    with open(url, "ab") as file:
        file.write(b'{"op_code": 5, "worker_id": "x", "tri')
    again = Store(url, "study", SETTINGS)
    assert again.take_over() == 1
    number, _ = again.ask(point) or (None, None)
    assert number == 1
    again.close()
    assert all(json.loads(line) for line in Path(url).read_text().splitlines())


def test_a_full_disk_is_one_message_and_the_journal_stays_whole(tmp_path: Path) -> None:
    url = str(tmp_path / "journal.log")
    store = Store(url, "study", SETTINGS)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = os.path.getsize(url) + 40
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (size, hard)
    )  # a limit on file sizes cuts a write off as a full disk does
    try:
        with pytest.raises(StorageError, match="could not be read or written"):
            store.set("training budget", "x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.path.getsize(url) == size - 40
    assert all(json.loads(line) for line in Path(url).read_text().splitlines())
    store.set("training budget", "y")
    assert store.get("training budget") == "y"
    store.close()


def test_a_writer_killed_with_the_lock_blocks_no_other(tmp_path: Path) -> None:
    url = str(tmp_path / "journal.log")
    store = Store(url, "study", SETTINGS)
    hold = (
        f"import fcntl, time; f = open({url!r}, 'r+b'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True);"
        " time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        wrote = threading.Event()
        threading.Thread(target=lambda: (store.set("a", 1), wrote.set()), daemon=True).start()
        assert not wrote.wait(0.3)
        holder.kill()
        assert wrote.wait(10)
    store.close()


# --- heartbeat -------------------------------------------------------------------------------------------------------


def test_a_process_of_this_machine_is_known_to_be_dead_at_once() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    beat = {**heartbeat.beat(), "pid": child.pid, "since": heartbeat._since(child.pid)}
    assert not heartbeat.ended_here(heartbeat.beat())
    assert not heartbeat.ended_here(beat)
    child.send_signal(signal.SIGKILL)
    while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT) is None:
        pass
    assert heartbeat.ended_here(beat)  # still a zombie: nobody has waited for it
    child.wait()
    assert heartbeat.ended_here(beat)
    # A number that was used again, and a process of another machine with that number.
    assert heartbeat.ended_here({**heartbeat.beat(), "since": "1"})
    assert not heartbeat.ended_here({**beat, "machine": "another"})


def test_others_are_judged_by_the_observers_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    own_clock(monkeypatch, lambda: now[0])
    watch, beat = heartbeat.Monitor(), {"at": -1e9, "machine": "far", "pid": 1, "since": "1"}
    assert not watch.dead("w", beat)
    now[0] += heartbeat.GRACE - 1
    assert not watch.dead("w", beat)
    assert not watch.dead("w", {**beat, "at": 1e12})  # a sign: its clock may say what it likes
    now[0] += heartbeat.GRACE + 1
    assert watch.dead("w", {**beat, "at": 1e12})
    assert watch.dead("v", heartbeat.GONE)


# --- stores that cannot be had ---------------------------------------------------------------------------------------


@pytest.fixture
def nobody_there() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("scheme", ["postgresql://me:secret@127.0.0.1:{}/x", "grpc://127.0.0.1:{}"])
def test_nobody_there(scheme: str, nobody_there: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg" if "post" in scheme else "grpc")
    monkeypatch.setattr(opening, "OPENING", 0.0)
    with pytest.raises(
        StorageError, match=r"must be reachable, got: .*[Rr]efused.*Start the server, or correct --storage"
    ) as info:
        Store(scheme.format(nobody_there), "study", SETTINGS)
    assert "secret" not in str(info.value)


def test_a_server_that_restarts_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = 'duplicate key value violates unique constraint "pg_type_typname_nsp_index"'
    answers = iter(["the database system is starting up", "server closed the connection unexpectedly", tables])
    there = opening.open_storage

    def open_storage(url: str) -> Any:
        if (said := next(answers, None)) is not None:
            raise RuntimeError(said)
        return there(url)

    monkeypatch.setattr(opening, "OPENING", 0.0)
    monkeypatch.setattr(opening, "open_storage", open_storage)
    Store(str(tmp_path / "journal.log"), "study", SETTINGS).close()
    assert next(answers, None) is None


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="must be reachable"):
        Store(str(tmp_path / "file" / "journal.log"), "study", SETTINGS)


@pytest.mark.parametrize("url", ["nosuch://x", "postgresql//x://", "grpc://", "grpc://host:port"])
def test_no_such_kind_of_store(url: str) -> None:
    with pytest.raises(ConfigError, match="--storage must be"):
        Store(url, "study", SETTINGS)


@pytest.mark.parametrize(
    ("module", "url", "way"),
    [
        ("psycopg", "postgresql://x/y", "dashpot[scale]"),
        ("grpc", "grpc://x:1", "dashpot[scale]"),
        ("pymysql", "mysql://x/y", "pip install pymysql"),
    ],
)
def test_a_missing_driver_is_named_with_its_extra(
    module: str, url: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StorageError, match="needs the package") as info:
        Store(url, "study", SETTINGS)
    assert way in str(info.value)
    assert url in str(info.value)  # as it was typed, without the driver's name that SQLAlchemy wants


def test_a_deleted_study_and_a_store_that_stays_away(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    import optuna

    store = open_()
    monkeypatch.setattr(stores, "RETRIES", 0.5)

    def away() -> None:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody there")

    with pytest.raises(StorageError, match="has not answered"):
        store.call(away)
    optuna.delete_study(study_name="study", storage=store._storage)
    with pytest.raises(StorageError, match="it was deleted"):
        store.trials()


def test_only_passing_errors_are_waited_for(open_: Open) -> None:
    store, calls = open_(), []

    def twice() -> str:
        calls.append("asked")
        if len(calls) < 3:
            raise TimeoutError
        return "here"

    assert store.call(twice) == "here"
    assert len(calls) == 3
    assert not passing(ZeroDivisionError())
    assert meaning(ZeroDivisionError(), "u", "n") is None
    with pytest.raises(ZeroDivisionError):
        store.call(lambda: 1 // 0)


def test_passwords_are_not_shown_and_files_have_full_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown("postgresql://me:p@ss@host:5/db") == "postgresql://me@host:5/db"
    assert shown("/a/b@c") == "/a/b@c"
    monkeypatch.chdir(tmp_path)
    assert resolved("a.log") == str(tmp_path / "a.log")
    assert resolved("sqlite:///a.db") == f"sqlite:///{tmp_path / 'a.db'}"
    assert resolved(f"sqlite:///{tmp_path / 'a.db'}") == f"sqlite:///{tmp_path / 'a.db'}"


@pytest.mark.slow
def test_a_grpc_proxy(tmp_path: Path, nobody_there: int) -> None:
    pytest.importorskip("grpc")
    code = (
        "import optuna; from dashpot.search.storage.backends import"
        f" open_storage;optuna.storages.run_grpc_proxy_server(open_storage({str(tmp_path / 'j')!r}), host='127.0.0.1',"
        f" port={nobody_there})"
    )
    server = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", nobody_there)) == 0:
                    break
            time.sleep(0.1)
        url = f"grpc://127.0.0.1:{nobody_there}"
        one, two = Store(url, "study", SETTINGS), Store(url, "study", SETTINGS)
        one.enqueue({"lr": 0.25})
        assert two.ask(point) == (0, 0.25)
        two.close()
        assert one.take_over() == 1
        assert one.ask(point) == (1, 0.25)
        assert one.tell(1, "complete", 0.5, {"epochs": 3})
        server.kill()
        server.wait()
        server = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)  # restarted in between
        assert one.ask(point) is not None
        assert [t.state.name for t in one.trials()] == ["FAIL", "COMPLETE", "RUNNING"]
        with pytest.raises(ConfigError, match="of the same data"):
            Store(url, "study", {**SETTINGS, "data": "xyz"})
        one.close()
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize(("begun", "words"), [({}, "got none, of an earlier"), ({"format": 3}, "got 3, of a newer")])
def test_a_study_of_another_format_is_refused(begun: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = str(tmp_path / "journal.log")
    study = optuna.create_study(storage=open_storage(path), study_name="old")
    study.set_user_attr("settings", {"data": "same", **begun})
    with pytest.raises(StorageError, match=f"format of the study 'old'.*{words}.*name another study"):
        Store(path, "old", {"data": "same"}, sampler="random")
