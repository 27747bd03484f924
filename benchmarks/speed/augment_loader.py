"""Images per second of a DataLoader whose Dataset augments one image after another: ours, drawn by (seed, epoch,
index), beside torchvision's v2 transforms.

Flip, crop with padding and colour, of 512 images of 32 x 32 and 64 of 224 x 224, as Pillow's images and as tensors of
bytes; batches of 32 tensors of bytes come out. A ratio is torchvision's time over ours of the same round: above 1 we
are faster.

Run: ``python benchmarks/speed/augment_loader.py [--workers 0] [--rounds 9]``, where torchvision is installed.
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
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from augment import batch
from augment_peers import torchvision_v2
from common import interleave, options, ratios, write_result

import dashpot

SHAPES = ((512, 3, 32, 32), (64, 3, 224, 224))
JITTER, BATCH = 0.2, 32


class Held(Dataset[Any]):
    """Images in memory, with what is done to each."""

    def __init__(self, images: list[Any], transform: Callable[[Any], Any] | None = None) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        image = self.images[index]
        return image if self.transform is None else self.transform(image)


def arms(images: list[Any], side: int, workers: int) -> dict[str, Callable[[], None]]:
    """One pass over the loader of each."""
    v2, padding = torchvision_v2(), side // 8
    last = [] if isinstance(images[0], torch.Tensor) else [v2.PILToTensor()]
    crop = v2.RandomCrop(side, padding=padding, padding_mode="reflect")
    chain = v2.Compose([v2.RandomHorizontalFlip(), crop, v2.ColorJitter(JITTER, JITTER, JITTER), *last])
    recipe = (
        dashpot.augment.HorizontalFlip(0.5)
        | dashpot.augment.RandomCrop(padding=padding)
        | dashpot.augment.ColorJitter(JITTER)
    )
    own = dashpot.augment.Augmented(Held(images), recipe, seed=0, then=last[0] if last else None)
    sets = {"dashpot": own, "torchvision": Held(images, chain)}

    def run(data: Dataset[Any]) -> None:
        for _ in DataLoader(data, BATCH, shuffle=True, num_workers=workers):
            pass

    return {name: lambda data=data: run(data) for name, data in sets.items()}


def main() -> None:
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--busy", action="store_true", help="count processor time, beside other work; without workers")
    args = options(parser)
    if args.busy and args.workers:
        parser.error("--busy counts the time of this process, and workers are others")
    clock = time.process_time if args.busy else time.perf_counter
    torch.set_num_threads(1)
    record: dict[str, Any] = {
        "what": "flip, crop and colour of single images in a DataLoader",
        "workers": args.workers,
        "clock": "processor time" if args.busy else "wall time",
    }
    for shape in SHAPES:
        tensors = list(batch(shape, True, "cpu"))
        pictures = [Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()) for image in tensors]
        for kind, images in (("pillow", pictures), ("tensors", tensors)):
            times = interleave(arms(images, shape[-1], args.workers), 3 if args.quick else args.rounds, clock=clock)
            record[f"{shape[-1]} pixels, {kind}"] = {
                "images per second": {name: len(images) / statistics.median(taken) for name, taken in times.items()},
                "torchvision to ours": 1 / ratios(times, to="torchvision")["dashpot"]["median"],
            }
    write_result(f"augment-loader-{args.workers}-workers", record, args.result)


if __name__ == "__main__":
    main()
