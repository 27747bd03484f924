"""What a recipe costs per training step, against the same things written by hand in a plain PyTorch loop.

MLP 3x256, 64 inputs, 10 classes, batch 128, fused AdamW, one thread. Arms:
plain loop; the same loop with an empty recipe; L2 + EMA + nn.Dropout by hand; the recipe ``L2 | EMA | Dropout``.
The step that is timed is everything from the batch to the updated weights. Run: ``python benchmarks/speed/overhead.py``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import interleave, options, ratios, write_result

import dashpot

STEPS, ROUNDS = 200, 31


def network(p: float | None) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs in (64, 256, 256):
        layers += [nn.Linear(inputs, 256), nn.ReLU()]
        if p is not None:
            layers.append(nn.Dropout(p))
    return nn.Sequential(*layers, nn.Linear(256, 10))


def by_hand(x: torch.Tensor, y: torch.Tensor, *, full: bool) -> Callable[[], None]:
    model = network(0.2 if full else None).to(x.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    weights = [p for p in model.parameters() if p.ndim > 1]
    tensors = list(model.parameters())
    average = [p.detach().clone() for p in tensors]

    def steps() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            if full:
                with torch.no_grad():
                    torch._foreach_add_([p.grad for p in weights], weights, alpha=1e-4)
            optimizer.step()
            if full:
                with torch.no_grad():
                    torch._foreach_lerp_(average, tensors, 1 - 0.999)

    return steps


def with_recipe(x: torch.Tensor, y: torch.Tensor, recipe: dashpot.Recipe) -> Callable[[], None]:
    model = network(0.2 if recipe else None).to(x.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    session = recipe.attach(model, optimizer, seed=0, classes=10)

    def steps() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            batch = session.batch(x, y)
            out = model(batch.x)
            session.loss(functional.cross_entropy(out, batch.y, reduction="none"), out).backward()
            optimizer.step()

    return steps


def main() -> None:
    chosen = options(argparse.ArgumentParser(description=__doc__))
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(128, 64, generator=generator), torch.randint(10, (128,), generator=generator)
    x, y = x.to(chosen.device), y.to(chosen.device)
    arms = {
        "plain loop": by_hand(x, y, full=False),
        "empty recipe": with_recipe(x, y, dashpot.Recipe()),
        "L2 + EMA + nn.Dropout by hand": by_hand(x, y, full=True),
        "L2 | EMA | Dropout": with_recipe(
            x, y, dashpot.L2(strength=1e-4) | dashpot.EMA(decay=0.999, warmup=False) | dashpot.Dropout(p=0.2)
        ),
    }
    times = interleave(arms, 7 if chosen.quick else ROUNDS, chosen.device)
    write_result(
        "overhead",
        {
            "what": f"seconds for {STEPS} training steps, MLP 3x256, batch 128, one thread",
            "seconds": times,
            "empty recipe, ratio to the plain loop": ratios(times, to="plain loop")["empty recipe"],
            "L2 | EMA | Dropout, ratio to the same by hand": ratios(times, to="L2 + EMA + nn.Dropout by hand")[
                "L2 | EMA | Dropout"
            ],
            "device": chosen.device,
        },
        chosen.result,
    )


if __name__ == "__main__":
    main()
