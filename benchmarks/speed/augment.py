"""What augmentations of images cost, beside what people use: the same operations, all arms in turn in one process.

128 images of 3 x 32 x 32 and 64 of 3 x 224 x 224, bytes and floats in [0, 1]. Ours acts on the batch in a session, with
draws for each sample. kornia and Keras act on batches of floats; torchvision v2, albumentations and Pillow on one image
after another, and each is put into a batch; timm on the batch, or on images of Pillow's. A ratio is a peer's time over
ours of the same round: above 1 we are faster. ``copies`` is our time over that of a copy of the batch into memory that
is there already. On a GPU the peers are kornia and torchvision v2; ``six`` is six
operations in a row.

Run: ``python benchmarks/speed/augment.py [--threads 1] [--only rotation pipeline] [--rounds 9]``; peers are measured
where they are installed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from augment_peers import CLASSES, ROWS, ours, peers
from common import done, interleave, options, write_result

Clock = Callable[[], float]
SLOW = 20
"""A peer that takes so many times as long is measured in three rounds."""
SHAPES = ((128, 3, 32, 32), (64, 3, 224, 224))


def batch(shape: tuple[int, ...], byte: bool, device: str) -> Tensor:
    """Smooth pictures with some noise: neither noise alone, nor flat."""
    g = torch.Generator().manual_seed(0)
    n, c, h, w = shape
    smooth = nn.functional.interpolate(torch.rand(n, c, 5, 5, generator=g), (h, w), mode="bicubic").clamp(0, 1)
    x = (0.9 * smooth + 0.1 * torch.rand(shape, generator=g)).mul(255).to(torch.uint8)
    return (x if byte else x.float() / 255).to(device)


def measured(name: str, x: Tensor, rounds: int, device: str, clock: Clock = time.perf_counter) -> dict[str, Any]:
    """One operation: our time in seconds, in copies, and each peer's over it."""
    there, y = torch.empty_like(x), torch.arange(len(x), device=device) % CLASSES
    others = peers(name, x, y)
    own = {"ours": ours(name, x, y)}
    first = interleave({**own, **others}, 1, device, clock)
    slow = [peer for peer in others if first[peer][0] > SLOW * first["ours"][0]]
    near = {peer: call for peer, call in others.items() if peer not in slow}
    times = interleave({**own, "copy": lambda: there.copy_(x), **near}, rounds, device, clock)
    again = interleave({**own, **{peer: others[peer] for peer in slow}}, 3, device, clock) if slow else {}

    def over(key: str, to: str, of: dict[str, list[float]]) -> float:
        return statistics.median(a / b for a, b in zip(of[key], of[to], strict=True))

    return {
        "seconds": statistics.median(times["ours"]),
        "copies": over("ours", "copy", times),
        "ratios": {peer: over(peer, "ours", again if peer in slow else times) for peer in others},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--busy", action="store_true", help="count processor time, beside other work; for one thread")
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    args = options(parser)
    if args.busy and args.threads > 1:
        parser.error("--busy counts the time of this process, and is for one thread")
    clock = time.process_time if args.busy else time.perf_counter
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    record: dict[str, Any] = {"clock": "processor time" if args.busy else "wall time"}
    for shape in SHAPES:
        for byte in (True, False):
            x = batch(shape, byte, args.device)
            key = f"{'x'.join(map(str, shape))} {'bytes' if byte else 'floats'}"
            record[key] = {}
            for name in (n for n in args.only if not (byte and ROWS[n].mixes)):  # weighted means are of floats
                rounds = 3 if args.quick else args.rounds
                record[key][name] = found = measured(name, x, rounds, args.device, clock)
                ratios = "  ".join(f"{peer} {ratio:.2f}" for peer, ratio in found["ratios"].items())
                print(
                    f"{key:24} {name:16} {1e3 * found['seconds']:8.2f} ms {found['copies']:6.1f} copies  {ratios}",
                    flush=True,
                )
            done(args.device)
    name = "augment" if args.device == "cpu" else f"augment-{args.device}"
    write_result(f"{name}-{args.threads}-thread{'s' if args.threads > 1 else ''}", record, args.result)


if __name__ == "__main__":
    main()
