"""The cost of an optimizer step that makes exact zeros, as a ratio to ``torch.optim.AdamW(fused=True)`` without any
penalty.

Three shapes of models: an MLP of 4.2 M parameters, ResNet-18 (11.7 M, 62 tensors), a transformer (24 M). In a
convolution a row is a filter, and a column an input channel. All arms take turns in one process. The gradient is given:
only the step is timed, except for L1 through autograd, whose arm adds the penalty's backward pass. A step during which
one of its threads had to wait for a processor that others kept busy says little, and is taken again while
``--patience`` (seconds per step) lasts; of several attempts the one that waited least counts. Peak memory: the largest
resident size of a process of its own.

Run: ``python benchmarks/speed/step.py [--threads 1] [--rounds 15] [--patience 0.5] [--without torchao]``; torchao is
measured where it is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import done, options, ratios, write_result

import dashpot
from dashpot.techniques.penalties import fast, native

Shapes = list[tuple[int, ...]]
Arm = Callable[[], None]
DEVICE = "cpu"


def mlp() -> Shapes:
    return [(1024, 1024), (1024,)] * 4


def resnet18() -> Shapes:
    shapes: Shapes = [(64, 3, 7, 7), (64,), (64,)]
    channels = 64
    for width in (64, 128, 256, 512):
        for block in range(2):
            first = channels if block == 0 else width
            for shape in [
                (width, first, 3, 3),
                (width, width, 3, 3),
                *([(width, first, 1, 1)] if first != width else []),
            ]:
                shapes += [shape, (width,), (width,)]
        channels = width
    return [*shapes, (1000, 512), (1000,)]


def transformer() -> Shapes:
    d = 512
    layer: Shapes = [(3 * d, d), (3 * d,), (d, d), (d,), (4 * d, d), (4 * d,), (d, 4 * d), (d,), (d,), (d,), (d,), (d,)]
    return [*layer * 6, (10_000, d)]


MODELS = {"MLP 4.2 M": mlp, "ResNet-18 11.7 M": resnet18, "transformer 24 M": transformer}
DECOUPLED: dict[str, Any] = {"scaling": "decoupled", "strength": 0.01}
PENALTIES = {
    "L1": dashpot.L1(strength=1e-4),
    "L1 decoupled": dashpot.L1(**DECOUPLED),
    "elastic net": dashpot.ElasticNet(strength=1e-4),
    "elastic net decoupled": dashpot.ElasticNet(**DECOUPLED),
    "row groups": dashpot.GroupLasso(strength=1e-4),
    "row groups decoupled": dashpot.GroupLasso(**DECOUPLED),
    "column groups": dashpot.GroupLasso(strength=1e-4, groups="columns"),
    "column groups decoupled": dashpot.GroupLasso(groups="columns", **DECOUPLED),
    "head groups": dashpot.GroupLasso(strength=1e-4, groups="heads:8"),
    "head groups decoupled": dashpot.GroupLasso(groups="heads:8", **DECOUPLED),
}


def parameters(shapes: Shapes) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    found = []
    for shape in shapes:
        p = nn.Parameter((0.1 * torch.randn(shape, generator=generator)).to(DEVICE))
        p.grad = (0.1 * torch.randn(shape, generator=generator)).to(DEVICE)
        found.append(p)
    return found


def ours(shapes: Shapes, penalty: Any, engine: str) -> Arm:
    optimizer = dashpot.optim.AdamW(parameters(shapes), lr=1e-3, penalty=penalty, engine=engine)
    return lambda: optimizer.step()


def hooked(shapes: Shapes, penalty: Any, by_kernel: bool) -> Arm:
    holder = nn.ParameterList(parameters(shapes))
    grads = [p.grad for p in holder]
    optimizer = torch.optim.AdamW(holder.parameters(), lr=1e-3, fused=True)
    penalty.attach(holder, optimizer)
    for p, g in zip(holder, grads, strict=True):
        p.grad = g

    def step() -> None:
        threshold, fast.WORTH_BUILDING = fast.WORTH_BUILDING, fast.WORTH_BUILDING if by_kernel else 1 << 60
        optimizer.step()
        fast.WORTH_BUILDING = threshold

    return step


def fused(shapes: Shapes) -> Arm:
    optimizer = torch.optim.AdamW(parameters(shapes), lr=1e-3, fused=True)
    return lambda: optimizer.step()


def through_autograd(shapes: Shapes) -> Arm:
    params = parameters(shapes)
    weights = [p for p in params if p.ndim > 1]
    optimizer = torch.optim.AdamW(params, lr=1e-3, fused=True)

    def step() -> None:
        sum(1e-4 * p.abs().sum() for p in weights).backward()
        optimizer.step()

    return step


def pat(shapes: Shapes, kind: str) -> Arm | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torchao.prototype.pat.optim import PruneOptimizer
    except ImportError:
        return None
    params = parameters(shapes)
    group = {
        "params": [p for p in params if p.ndim > 1],
        "prox_type": "ProxLasso" if kind == "L1" else "ProxGroupLasso",
    }
    group |= {"group_type": "ElemGrouper" if kind == "L1" else "Dim0Grouper", "reg_lambda": 1e-4}
    optimizer = PruneOptimizer(
        torch.optim.AdamW([group, {"params": [p for p in params if p.ndim == 1]}], lr=1e-3, fused=True)
    )
    return lambda: optimizer.step()


def arms(shapes: Shapes) -> dict[str, Arm]:
    found: dict[str, Arm | None] = {"fused AdamW": fused(shapes)}
    if DEVICE == "cpu" and native.kernel() is not None:
        found |= {f"ours, {name}": ours(shapes, penalty, "native") for name, penalty in PENALTIES.items()}
        found |= {
            f"post-hook, {name}": hooked(shapes, penalty, True)
            for name, penalty in PENALTIES.items()
            if not name.startswith(("elastic", "head"))
        }
    found |= {
        f"ours by torch.compile, {name}": ours(shapes, PENALTIES[name], "compiled") for name in ("L1", "elastic net")
    }
    found |= {
        f"ours without a compiler, {name}": ours(shapes, PENALTIES[name], "eager") for name in ("L1", "L1 decoupled")
    }
    found |= {
        f"post-hook without a compiler, {name}": hooked(shapes, PENALTIES[name], False)
        for name in ("L1", "L1 decoupled")
    }
    found |= {"L1 through autograd": through_autograd(shapes), "torchao pat, L1": pat(shapes, "L1")}
    if all(len(shape) <= 2 for shape in shapes):
        found["torchao pat, row groups"] = pat(shapes, "rows")
    return {name: arm for name, arm in found.items() if arm is not None}


def waited() -> float:
    """Seconds that the threads of this process have waited for a processor; 0 where the system does not say."""
    total = 0
    for file in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            total += int(file.read_text().split()[1])
    return total * 1e-9


def timed(arm: Arm, patience: float) -> tuple[float, bool]:
    """Seconds of one step, and whether it was undisturbed: its threads waited for less than 2 % of it."""
    begun, best = time.perf_counter(), (float("inf"), float("inf"))
    while True:
        before, started = waited(), time.perf_counter()
        arm()
        done(DEVICE)
        seconds = time.perf_counter() - started
        best = min(best, ((waited() - before) / seconds, seconds))
        if best[0] < 0.02 or time.perf_counter() - begun > patience:
            return best[1], best[0] < 0.02


def interleaved(arms: dict[str, Arm], rounds: int, patience: float) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of each arm in each round, after one uncounted round, in random order; and the share of them that was
    undisturbed.
    """
    for arm in arms.values():
        arm()
    done(DEVICE)
    order, shuffle = list(arms), random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in arms}
    calm = dict.fromkeys(arms, 0.0)
    for _ in range(rounds):
        shuffle.shuffle(order)
        for name in order:
            seconds, undisturbed = timed(arms[name], patience)
            times[name].append(seconds)
            calm[name] += undisturbed / rounds
    return times, calm


MEMORY = {
    "fused AdamW": fused,
    "ours, L1": lambda shapes: ours(shapes, PENALTIES["L1"], "native"),
    "ours, row groups": lambda shapes: ours(shapes, PENALTIES["row groups"], "native"),
    "ours without a compiler, L1": lambda shapes: ours(shapes, PENALTIES["L1"], "eager"),
    "post-hook, L1": lambda shapes: hooked(shapes, PENALTIES["L1"], True),
    "torchao pat, L1": lambda shapes: pat(shapes, "L1"),
}


def peak(name: str) -> int:
    """The kilobytes that a process of its own holds at most."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import step; step.measure({name!r})"
    return int(
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()[-1]
    )


def measure(name: str) -> None:
    """For :func:`peak`: three steps, then the largest resident size."""
    torch.set_num_threads(1)
    native.kernel()
    arm = MEMORY[name](transformer())
    for _ in range(3):
        arm()
    # Not getrusage: its peak is inherited from the parent process.
    print(
        next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--patience", type=float, default=0.5)
    parser.add_argument("--without", default=None, help="leave out the arms whose name matches this regular expression")
    global DEVICE
    chosen = options(parser)
    DEVICE = chosen.device
    rounds, patience = (9, 0.0) if chosen.quick else (chosen.rounds, chosen.patience)
    torch.set_num_threads(chosen.threads)
    table, seconds, undisturbed = {}, {}, {}
    for model, shapes in list(MODELS.items())[:: 2 if chosen.quick else 1]:
        some = {
            name: arm
            for name, arm in arms(shapes()).items()
            if not (chosen.without and re.search(chosen.without, name))
        }
        times, undisturbed[model] = interleaved(some, rounds, patience)
        table[model] = ratios(times, "fused AdamW")
        seconds[model] = {"fused AdamW": statistics.median(times["fused AdamW"])}
        for name, ratio in table[model].items():
            print(f"{model:<18} {name:<40} {ratio['median']:.3f} {undisturbed[model][name]:.2f}", flush=True)
    names = () if chosen.quick or DEVICE != "cpu" else MEMORY
    grown = {name: peak(name) for name in names if name != "torchao pat, L1" or pat([(2, 2)], "L1") is not None}
    record = {
        "what": (
            "optimizer step, ratio to torch.optim.AdamW(fused=True); pytorch_optimizer 4.1 has no proximal optimizer"
        ),
        "ratios": table,
        "peak memory, ratio (transformer)": {name: value / grown["fused AdamW"] for name, value in grown.items()},
        "device": DEVICE,
        "share of undisturbed steps": undisturbed,
        "seconds": seconds,
    }
    write_result(f"step-{chosen.threads}-thread{'s' if chosen.threads > 1 else ''}", record, chosen.result)
    print(json.dumps(grown))


if __name__ == "__main__":
    main()
