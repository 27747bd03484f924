"""Images per second: a network for 32 x 32 trained with flip, crop and colour, beside the loop of the tutorials and
beside the same network tuned by hand.

Arms (``images_arms.py``): *dashpot*: ``dashpot.fit`` with the built-in network on bytes in memory; *tutorial*: a
DataLoader, torchvision's v2 transforms of one image of Pillow's after another, NCHW float32; *by hand*: channels last,
tensors in memory, a batch augmented by a few calls of torch, a fused optimizer, bfloat16 where the processor has it.
A *step* is a batch of 64 from data to updated weights; a *whole epoch* has validation behind it (ours also scores as
many training rows), and all the setting up before it. A ratio is an arm's time over ours of the
same round: above 1 we are faster. With two threads the tutorial loop is also measured with two workers. Accuracy is
that after ``--epochs`` epochs, the same for all.

Run: ``python benchmarks/speed/images.py [cifar10_5k1500.npz] [--threads 1] [--rounds 9]``, where torchvision is
installed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import interleave, options, ratios, write_result
from images_arms import ARMS, BATCH, Data

STEPS, EPOCHS_TIMED = 8, 1


def compared(
    calls: Mapping[str, Callable[[], Any]], images: int, rounds: int, clock: Callable[[], float]
) -> dict[str, Any]:
    """Images per second of each arm, and how many times as long as ours the others take."""
    times = interleave(calls, rounds, clock=clock)
    over = {name: [b / a for a, b in zip(times["dashpot"], taken, strict=True)] for name, taken in times.items()}
    ones = {"dashpot": [1.0] * rounds, **{name: each for name, each in over.items() if name != "dashpot"}}
    return {
        "images per second": {name: round(images / statistics.median(taken), 1) for name, taken in times.items()},
        "times as long as ours": ratios(ones, to="dashpot"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data", type=Path, nargs="?", default=None, help="X_train [n, 32, 32, 3], y_train, X_test, y_test"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=10, help="of the trainings whose accuracy is compared; 0: none")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=None, help="to train on in the epoch that is timed; by default all")
    parser.add_argument("--busy", action="store_true", help="count processor time, beside other work; for one thread")
    args = options(parser)
    if args.busy and args.threads > 1:
        parser.error("--busy counts the time of this process, and is for one thread")
    torch.set_num_threads(args.threads)
    data, clock = Data.read(args.data), time.process_time if args.busy else time.perf_counter
    arms = {name: arm(data) for name, arm in ARMS.items()}
    steps = compared({name: arm.stepper(STEPS) for name, arm in arms.items()}, STEPS * BATCH, 3 * args.rounds, clock)
    print(steps, flush=True)
    part = data.part(args.rows)
    whole = {name: arm(part) for name, arm in ARMS.items()}
    if args.threads > 1:
        whole["tutorial, 2 workers"] = ARMS["tutorial"](part, 2)
    calls = {name: lambda arm=arm: arm.train(0, EPOCHS_TIMED) for name, arm in whole.items()}
    images = EPOCHS_TIMED * len(part.train[0])
    epochs = compared(calls, images, 3 if args.quick else args.rounds, clock)
    print(epochs, flush=True)
    accuracy = {
        name: [arm.train(seed, args.epochs) for seed in range(args.seeds)] for name, arm in arms.items() if args.epochs
    }
    record = {
        "what": f"{data.what}, {len(data.train[0]):,} rows to train, {len(data.test[0]):,} to test, batches of {BATCH}",
        "step": steps,
        "whole epoch": epochs,
        "rows of that epoch": len(part.train[0]),
        "clock": "processor time" if args.busy else "wall time",
        "bfloat16 by hand": arms["by hand"].bfloat16,
    }
    if accuracy:
        means = {name: {"mean": statistics.mean(found), "each seed": found} for name, found in accuracy.items()}
        record[f"test accuracy after {args.epochs} epochs"] = means
    write_result(f"images-{args.threads}-thread{'s' if args.threads > 1 else ''}", record, args.result)


if __name__ == "__main__":
    main()
