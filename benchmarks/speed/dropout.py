"""Dropout's forward and backward pass beside ``torch.nn.Dropout`` at the same rate, on the CPU.

Both act on the output of a module, [rows, features], with gradients: ours by its hook on an ``nn.ReLU``, torch's as
the module after it. On [rows, channels, height, width] ``ChannelDropout`` stands beside ``torch.nn.Dropout2d``. A ratio
is of our whole time, forward or forward and backward, to torch's in the same round; the ReLU is in both. ``apart`` is
of what dropout adds: the time of the ReLU alone is taken off both.

    python benchmarks/speed/dropout.py --threads 1
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import interleave, options, ratios, write_result

import dashpot

SHAPES = ((16, 64), (64, 256), (128, 1024), (512, 2048), (2048, 4096))
MAPS = ((16, 16, 8, 8), (32, 64, 16, 16), (64, 64, 28, 28))
RATES = (0.1, 0.5)
ARMS = ("none", "torch", "dashpot")


def network(arm: str, x: torch.Tensor, rate: float) -> nn.Sequential:
    """ReLU, and dropout after it where the arm has one: of channels where x has some."""
    theirs, ours = (nn.Dropout2d, dashpot.dropout.ChannelDropout) if x.ndim == 4 else (nn.Dropout, dashpot.Dropout)
    model = nn.Sequential(nn.ReLU(), theirs(rate)) if arm == "torch" else nn.Sequential(nn.ReLU())
    if arm == "dashpot":
        spare = nn.Parameter(torch.zeros(()))
        ours(rate, on="activations").attach(model, torch.optim.SGD([spare], lr=0.1))
    return model.train()


def calls(arm: str, x: torch.Tensor, rate: float, repeats: int) -> dict[str, Callable[[], Any]]:
    """Forward alone, and forward with backward, ``repeats`` times."""
    model, ones = network(arm, x, rate), torch.ones_like(x)

    def forward() -> None:
        for _ in range(repeats):
            model(x)

    def both() -> None:
        for _ in range(repeats):
            x.grad = None
            model(x).backward(ones)

    return {"forward": forward, "both": both}


def drops_alike(x: torch.Tensor, rate: float) -> dict[str, list[float]]:
    """Share of zeros and mean of what each makes of ones."""
    found = {}
    for arm in ("torch", "dashpot"):
        out = network(arm, x, rate)(torch.ones_like(x))
        found[arm] = [float((out == 0).double().mean()), float(out.detach().double().mean())]
    return found


def main() -> None:
    """Measure every shape at every rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    arguments = options(parser)
    torch.set_num_threads(arguments.threads)
    rounds, shapes = (9, (*SHAPES[:3], MAPS[0])) if arguments.quick else (21, (*SHAPES, *MAPS))
    record: dict[str, Any] = {"clock": "processor time", "rounds": rounds, "arms": {}}
    for shape in shapes:
        for rate in RATES:
            x = torch.randn(shape, requires_grad=True)
            repeats = max(1, min(100, 2_000_000 // x.numel()))
            arms = {f"{arm} {part}": call for arm in ARMS for part, call in calls(arm, x, rate, repeats).items()}
            clock = time.process_time if arguments.threads == 1 else time.perf_counter
            times = interleave(arms, rounds, clock=clock)
            row: dict[str, Any] = {"statistics": drops_alike(x, rate)}
            for part in ("forward", "both"):
                mine = {arm: times[f"{arm} {part}"] for arm in ("dashpot", "torch")}
                row[part] = ratios(mine, "torch")["dashpot"]
                bare = statistics.median(times[f"none {part}"])
                row[part]["apart"] = (statistics.median(mine["dashpot"]) - bare) / (
                    statistics.median(mine["torch"]) - bare
                )
            row["microseconds"] = {name: 1e6 * statistics.median(t) / repeats for name, t in times.items()}
            record["arms"][f"{'x'.join(map(str, shape))} at {rate:g}"] = row
    write_result(f"dropout-{arguments.threads}-thread" + "s" * (arguments.threads > 1), record, arguments.result)


if __name__ == "__main__":
    main()
