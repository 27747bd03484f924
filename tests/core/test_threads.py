"""The number of threads: limits, scopes, and the choice by size and by measurement."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import dashpot
from dashpot.core import threads
from dashpot.population.members import Member
from dashpot.population.population import Population
from dashpot.sparsity.linear import LinearPath
from dashpot.training.work import step_operations


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that gives four threads, whatever this one is."""
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "cores", lambda: 4)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def cgroup(folder: Path, name: str, text: str) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder


def test_cores_are_those_that_the_process_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert threads.cores(tmp_path) == 8
    assert threads.cores(cgroup(tmp_path / "a", "cpu.max", "max 100000\n")) == 8
    assert threads.cores(cgroup(tmp_path / "b", "cpu.max", "250000 100000\n")) == 2
    assert threads.cores(cgroup(tmp_path / "c", "cpu.max", "50000 100000\n")) == 1
    old = cgroup(cgroup(tmp_path / "d", "cpu/cpu.cfs_quota_us", "300000\n"), "cpu/cpu.cfs_period_us", "100000\n")
    assert threads.cores(old) == 3
    cgroup(old, "cpu/cpu.cfs_quota_us", "-1\n")
    assert threads.cores(old) == 8


def test_a_scope_puts_the_number_back(four: None) -> None:
    with pytest.raises(KeyError), threads.scoped(1):
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == 4


def test_the_size_of_the_work_decides_and_only_between_is_measured(four: None) -> None:
    asked: list[float] = []

    def measure(operations: float, limit: int) -> int:
        asked.append(operations)
        return limit

    found = [threads.threads_for(size, measure) for size in (1e3, 4e7, 5e8, 1e10)]
    assert (found, asked) == ([1, 1, 4, 4], [5e8])
    with threads.scoped(1):
        assert threads.threads_for(1e12, measure) == 1  # as the caller has it


def test_no_more_threads_than_cores(four: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 2)
    assert threads.threads_for(1e12) == 2


@pytest.mark.parametrize(
    ("one", "many", "stalls", "expected"),
    [(1.0, 0.3, (), 4), (1.0, 0.8, (), 1), (1.0, 3.0, (), 1), (1.0, 0.3, (3,), 1)],
    ids=["scales", "hardly", "busy", "a rare long wait"],
)
def test_several_threads_only_where_they_are_faster(
    four: None, one: float, many: float, stalls: tuple[int, ...], expected: int
) -> None:
    clock, calls = [0.0], {1: 0, 4: 0}

    def work() -> None:
        count = torch.get_num_threads()
        calls[count] += 1
        clock[0] += many * (20 if calls[count] in stalls else 1) if count == 4 else one

    assert threads.faster(work, 4, clock=lambda: clock[0], seconds=1e9) == expected
    assert torch.get_num_threads() == 4


def test_a_measurement_is_made_again_after_a_while(four: None, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter((4, 1))
    monkeypatch.setattr(threads, "_measured", {})
    monkeypatch.setattr(threads, "faster", lambda work, limit: next(answers))
    now = [0.0]
    found = []
    for now[0] in (0.0, 30.0, 100.0):
        found.append(threads.measured(1e9, 4, lambda: now[0]))
    assert found == [4, 4, 1]


@pytest.mark.parametrize(
    ("model", "x", "rows", "expected"),
    [
        (lambda: torch.nn.Linear(10, 3), torch.zeros(2, 10), 32, 6 * 32 * 30),
        (lambda: torch.nn.Conv2d(3, 8, 3), torch.zeros(2, 3, 16, 16), 4, 6 * 4 * 8 * 27 * 256),
        (lambda: torch.nn.Linear(5, 5), torch.zeros(2, 7, 5), 4, 6 * 4 * 25 * 7),  # a sequence
        (lambda: torch.nn.Embedding(1000, 50), torch.zeros(2, 9, dtype=torch.long), 4, 0),
        (lambda: torch.nn.Linear(6, 2), {"a": torch.zeros(2, 6), "b": torch.zeros(2)}, 10, 6 * 10 * 12),
    ],
    ids=["table", "image", "sequence", "tokens", "dict"],
)
def test_operations_of_a_step(model: Callable[[], torch.nn.Module], x: object, rows: int, expected: float) -> None:
    assert step_operations(model(), x, rows) == expected


def seen_by(record: list[int]) -> torch.nn.Module:
    class Spy(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            record.extend([torch.get_num_threads()] * self.training)
            return super().forward(x)

    return Spy(6, 2)


def test_fit_path_and_a_population_of_small_networks_run_on_one_thread_and_put_the_number_back(
    four: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    record: list[int] = []
    spy = seen_by(record).eval()
    dashpot.fit(spy, (x, y), epochs=1, progress=False, device="cpu")
    assert record == [1]
    assert torch.get_num_threads() == 4

    solved: list[int] = []
    solve = LinearPath.solve

    def spied(self: object, *args: object, **kwargs: object) -> object:
        solved.append(torch.get_num_threads())
        return solve(self, *args, **kwargs)

    monkeypatch.setattr(LinearPath, "solve", spied)
    dashpot.path(lambda: torch.nn.Linear(6, 2), (x, y), dashpot.L1(), points=2, cv=2)
    assert set(solved) == {1}
    assert torch.get_num_threads() == 4

    record.clear()
    member = Member(make=lambda: seen_by(record), recipe=dashpot.Recipe(()), lr=1e-3, seed=0, rows=np.arange(40))
    Population([member], [(x, y)], epochs=1, batch_size=8, device="cpu", stack=False).train(1)
    assert record[-1] == 1
    assert torch.get_num_threads() == 4


def test_a_resumed_run_has_as_many_threads_as_it_was_saved_with(
    four: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashpot.training.training.cores", lambda: 4)
    x = torch.randn(40, 6)
    y = (x[:, 0] > 0).long()

    class Enough(Exception):
        pass

    class Seen(torch.nn.Linear):
        """Tells the threads of each step of training."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                self.record.append(torch.get_num_threads())
                if len(self.record) > self.last:
                    raise Enough
            return super().forward(x)

    def until(epoch: int, record: list[int], choice: int) -> None:
        monkeypatch.setattr("dashpot.training.loop.step_threads", lambda *args: choice)
        model = Seen(6, 2)
        model.record, model.last = record, epoch
        options = {"epochs": 4, "batch_size": 40, "progress": False, "checkpoint": tmp_path, "resume": True}
        dashpot.fit(model, (x, y), device="cpu", **options)

    first: list[int] = []
    with pytest.raises(Enough):
        until(2, first, 3)
    second: list[int] = []
    until(100, second, 1)
    assert set(first) == {3}
    assert set(second) == {3}
    assert torch.get_num_threads() == 4


def test_the_command_line_lets_idle_workers_sleep_unless_the_user_says_otherwise() -> None:
    environment: dict[str, str] = {}
    threads.wait_passively(environment)
    assert environment["OMP_WAIT_POLICY"] == "passive"
    assert environment["KMP_BLOCKTIME"] == "0"
    theirs = {"OMP_WAIT_POLICY": "active"}
    threads.wait_passively(theirs)
    assert theirs == {"OMP_WAIT_POLICY": "active"}


def test_importing_the_package_or_the_command_line_does_not_load_torch() -> None:
    loaded = "'torch' in sys.modules"
    code = f"import sys, dashpot, dashpot.cli; assert not {loaded}; dashpot.L1; assert {loaded}"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", [["-m", "dashpot"], ["-c", "from dashpot.cli import main; main()"]])
def test_an_interrupt_while_torch_is_being_loaded_is_one_line(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, *command, "fit", "nothing.csv"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "interrupted.\n")
