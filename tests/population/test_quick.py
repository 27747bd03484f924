"""What makes a race start and step quickly must change nothing: borrowed networks, draws made ahead, kernels compiled
in the background.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dashpot.core import compiler, native
from dashpot.core.rng import derive, derive_all
from dashpot.core.stacks.stack import AHEAD, Ahead
from dashpot.nets.table import TableNet
from dashpot.population.borrowed import as_before
from dashpot.population.columns import adamw_shown
from dashpot.population.program.tracer import recorded
from dashpot.population.stack import stacked
from tests.population.helpers import normed


class Counting(nn.Module):
    """A module of another package that remembers its calls in a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: t.clone() for name, t in network.state_dict().items()}


def test_a_population_does_not_import_torchs_compiler() -> None:
    """It takes seconds, and a race has no use for it."""
    code = """
import sys, numpy as np, torch, dashpot
from dashpot.population.members import Member
from dashpot.population.population import Population
x = torch.randn(40, 4); y = (x[:, 0] > 0).long()
recipe = dashpot.L1(strength=1e-3) | dashpot.Dropout(p=0.1) | dashpot.EMA(decay=0.9)
make = lambda: torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
members = [Member(make=make, recipe=recipe, lr=1e-2, seed=s, rows=np.arange(40)) for s in (0, 1)]
population = Population(members, [(x, y)], epochs=2, batch_size=20, device="cpu")
population.train(2)
print(population.notes, "torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "False"]


def test_the_optimizer_that_techniques_read_is_one() -> None:
    model = normed()
    shown, usual = adamw_shown(model), torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    assert type(shown) is torch.optim.AdamW
    assert "add_param_group" not in vars(shown)
    assert all(p is q for p, q in zip(shown.param_groups[0]["params"], model.parameters(), strict=True))
    assert {k: v for k, v in shown.param_groups[0].items() if k != "params"} == {
        k: v for k, v in usual.param_groups[0].items() if k != "params"
    }


def test_networks_are_given_back_as_they_were() -> None:
    network = normed()
    network[1].eval()
    before = state(network)
    with as_before(network, network) as (one, two):
        assert one is network
        assert two is not network
        one.train()(torch.randn(20, 6))
        assert not torch.equal(network[1].running_mean, before["1.running_mean"])
    assert not network[1].training
    assert network[0].training
    assert all(torch.equal(t, before[name]) for name, t in state(network).items())


def test_modules_that_may_remember_more_are_copied() -> None:
    network = nn.Sequential(nn.Linear(6, 3), Counting())
    stacked([network, network], torch.randn(4, 6))
    recorded(network, 6)
    assert network[1].calls == 0


def test_stacking_and_recording_leave_networks_alone() -> None:
    network = normed()
    before = state(network)
    whole = stacked([network, network], torch.randn(5, 6))
    recorded(network, 6)
    assert all(torch.equal(t, before[name]) for name, t in state(network).items())
    assert all(torch.equal(t[0], before[name]) for name, t in whole.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_draws_made_ahead_are_those_of_each_step() -> None:
    keys = np.array([7, 2**63 + 5], dtype=np.uint64)
    stack: Any = SimpleNamespace(step=3, ahead=40)
    asked: list[int] = []

    def make(steps: np.ndarray) -> list[np.ndarray]:
        asked.append(len(steps))
        return list(derive_all(keys, steps[:, None], 1))

    ahead = Ahead(stack, make)
    for stack.step in [*range(3, 30), 5]:
        assert ahead.now().tolist() == [derive(int(key), stack.step, 1) for key in keys]
    assert asked == [AHEAD, AHEAD, AHEAD]  # from 3, from 19, and again from 5
    stack.step, stack.ahead = 100, 1  # the next batch is smaller: no further
    assert ahead.now().tolist() == [derive(int(key), 100, 1) for key in keys]
    assert asked[-1] == 1


@pytest.mark.parametrize("rows", [1, 16, 37])
@pytest.mark.parametrize("embedding", ["piecewise", "periodic"])
@pytest.mark.parametrize("size", [3, 4])
def test_embeddings_in_lanes_are_those_of_the_network(embedding: str, size: int, rows: int) -> None:
    """Fewer rows than a vector has lanes, as many, and more; three numbers made of each have code of their own."""
    from dashpot.evaluation.losses import cross_entropy
    from dashpot.population.members import Data, Plan
    from dashpot.population.program.executor import ProgramExecutor
    from dashpot.population.program.program import fitting_program, programmed
    from dashpot.population.stack import unchecked
    from dashpot.population.tensors import Block

    torch.manual_seed(0)
    network = TableNet(5, 3, width=8, depth=1, numeric=4, embedding=embedding, embedding_size=size)
    x = torch.randn(rows, 5)
    data, plan = (
        Data([(x, torch.arange(rows) % 3)], torch.device("cpu")),
        Plan(1, 8, lambda progress: 1.0, cross_entropy),
    )
    block = Block(unchecked([network, network]))
    program = fitting_program(network, block, data, plan, [], programmed(network, data, plan))
    if program is None:
        pytest.skip("no compiler")
    out = ProgramExecutor(program, block).outputs(x.expand(2, rows, 5))
    with torch.no_grad():
        wanted = network.eval()(x)
    torch.testing.assert_close(out, wanted.expand(2, rows, 3), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("images", [True, False])
def test_kernels_are_compiled_ahead(images: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    lock, running, most = threading.Lock(), 0, 0

    def load(source: Path, words: list[str]) -> object:
        nonlocal running, most
        with lock:
            compiled.append(source.name)
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return words

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", sys.executable)
    monkeypatch.delenv("DASHPOT_NO_COMPILER", raising=False)
    monkeypatch.setattr(compiler, "load", load)
    monkeypatch.setattr(native, "cores", lambda: 2)
    for thread in native.prepare(images=images):
        thread.join()
    always = {"draws.cpp", "kernel.cpp", "pairs.cpp", "program.cpp"}
    assert always <= set(compiled[:5])  # what tables and texts need comes first
    every = sorted(path.name for path in Path(native.__file__).parents[1].rglob("*.cpp"))
    assert sorted(compiled) == (every if images else sorted(always))
    assert most == 2  # a compiler on each core, not more
