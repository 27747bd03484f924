"""What a recipe costs per training step, against the same things written by hand in a plain PyTorch loop.

MLP 3x256, 64 inputs, 10 classes, batch 128, fused AdamW, one thread. Arms: the plain loop and an empty recipe; ``L2 |
EMA | Dropout`` and some single techniques, each beside the same by hand; every other technique for tables that needs
no more than its defaults, beside the plain loop; EMA over 150 tensors beside one pass over them; SAM in the last part
of training beside none and SAM throughout, with their test log loss on digits. What is timed is everything from the
batch to the updated weights, in processor time; ``--quick`` leaves out other techniques and late SAM.
Run: ``python benchmarks/speed/overhead.py``
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import digits, interleave, options, ratios, write_result

import dashpot
from dashpot.core.fields.codec import registry

STEPS, ROUNDS = 10, 15
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
Act = Callable[[nn.Module], None]


def network(
    p: float | None = None, make: Callable[[nn.Linear], nn.Module] = lambda layer: layer, seed: int = 0
) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs in (64, 256, 256):
        layers += [make(nn.Linear(inputs, 256)), nn.ReLU()]
        if p is not None:
            layers.append(nn.Dropout(p))
    return nn.Sequential(*layers, make(nn.Linear(256, 10)))


def plain_loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(model(x), y)


@dataclass(frozen=True)
class Hand:
    """A plain loop: its network and loss, what is done to gradients, and after the step."""

    make: Callable[[], nn.Module] = network
    loss: Loss = plain_loss
    gradients: Callable[[nn.Module], Act] | None = None
    after: Callable[[nn.Module], Act] | None = None
    sharp: bool = False

    def steps(self, x: Tensor, y: Tensor) -> Callable[[], None]:
        model = self.make().to(x.device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
        gradients = self.gradients(model) if self.gradients else None
        after = self.after(model) if self.after else None

        def steps() -> None:
            for _ in range(STEPS):
                optimizer.zero_grad()
                self.loss(model, x, y).backward()
                if self.sharp:
                    ascend(model, lambda: self.loss(model, x, y))
                if gradients:
                    gradients(model)
                optimizer.step()
                if after:
                    after(model)

        return steps


@torch.no_grad()
def ascend(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    """SAM's second gradient, by hand."""
    parameters = list(model.parameters())
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack(torch._foreach_norm(grads)).norm()
    away = torch._foreach_mul(grads, 0.05 / (norm + 1e-12))
    torch._foreach_add_(parameters, away)
    model.zero_grad()
    with torch.enable_grad():
        loss().backward()
    torch._foreach_sub_(parameters, away)


def l2(model: nn.Module) -> Act:
    weights = [p for p in model.parameters() if p.ndim > 1]
    return torch.no_grad()(lambda _: torch._foreach_add_([p.grad for p in weights], weights, alpha=1e-4))


def decay(model: nn.Module) -> Act:
    weights = [p for p in model.parameters() if p.ndim > 1]
    return torch.no_grad()(lambda _: torch._foreach_mul_(weights, 1 - 1e-3 * 0.01))


def average(model: nn.Module) -> Act:
    tensors = list(model.parameters())
    kept = [p.detach().clone() for p in tensors]
    return torch.no_grad()(lambda _: torch._foreach_lerp_(kept, tensors, 1 - 0.999))


def clip(model: nn.Module) -> Act:
    # What it gives is not used.
    return lambda m: nn.utils.clip_grad_norm_(m.parameters(), 1.0)  # type: ignore[return-value]


def mixed(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    share = torch.distributions.Beta(0.2, 0.2).sample((len(x), 1))
    other = torch.randperm(len(x))
    one_hot = functional.one_hot(y, 10).float()
    target = share * one_hot + (1 - share) * one_hot[other]
    return functional.cross_entropy(model(share * x + (1 - share) * x[other]), target)


def smoothed(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(model(x), y, label_smoothing=0.1)


def noisy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return plain_loss(model, x + 0.1 * torch.randn_like(x), y)


PAIRS: dict[str, tuple[dashpot.Recipe, Hand]] = {
    "L2 | EMA | Dropout": (
        dashpot.L2(strength=1e-4) | dashpot.EMA(decay=0.999, warmup=False) | dashpot.Dropout(p=0.2),
        Hand(make=lambda: network(0.2), gradients=l2, after=average),
    ),
    "l2": (dashpot.Recipe((dashpot.L2(strength=1e-4),)), Hand(gradients=l2)),
    "weight-decay": (dashpot.Recipe((dashpot.WeightDecay(strength=0.01),)), Hand(gradients=decay)),
    "ema": (dashpot.Recipe((dashpot.EMA(decay=0.999, warmup=False),)), Hand(after=average)),
    "dropout": (dashpot.Recipe((dashpot.Dropout(p=0.2),)), Hand(make=lambda: network(0.2))),
    "gradient-clipping": (dashpot.Recipe((dashpot.GradientClipping(1.0),)), Hand(gradients=clip)),
    "label-smoothing": (dashpot.Recipe((dashpot.LabelSmoothing(0.1),)), Hand(loss=smoothed)),
    "mixup": (dashpot.Recipe((dashpot.Mixup(0.2),)), Hand(loss=mixed)),
    "input-noise": (dashpot.Recipe((dashpot.InputNoise(0.1),)), Hand(loss=noisy)),
    "sam": (dashpot.Recipe((dashpot.SAM(rho=0.05),)), Hand(sharp=True)),
    "weight-norm": (
        dashpot.Recipe((dashpot.normalization.WeightNorm(),)),
        Hand(make=lambda: network(make=parametrizations.weight_norm)),
    ),
    "spectral-norm": (
        dashpot.Recipe((dashpot.normalization.SpectralNorm(),)),
        Hand(make=lambda: network(make=parametrizations.spectral_norm)),
    ),
}


def attached(
    model: nn.Module, recipe: dashpot.Recipe, steps: int, lr: float
) -> tuple[Any, torch.optim.Optimizer, bool]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0, fused=True)
    closure = any(t.evaluations > 1 for t in recipe)
    options: dict[str, Any] = {"classes": 10, "targets": "classes", "steps": steps, "steps_per_epoch": 20}
    return recipe.attach(model, optimizer, seed=0, closure=closure, **options), optimizer, closure


def one_step(model: nn.Module, optimizer: Any, session: Any, closure: bool, x: Tensor, y: Tensor) -> None:
    """A step as a loop of one's own does it: losses of samples where a technique acts on them, else the criterion."""
    acts = any(technique.defines("on_loss") for technique in session.recipe)

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        batch = session.batch(x, y)
        out = model(batch.x)
        criterion = functional.cross_entropy
        loss: Tensor = session.loss(criterion(out, batch.y, reduction="none") if acts else criterion, out)
        loss.backward()
        return loss.detach()

    if closure:
        optimizer.step(evaluate)
    else:
        evaluate()
        optimizer.step()


def with_recipe(x: Tensor, y: Tensor, recipe: dashpot.Recipe) -> Callable[[], None]:
    drops = any(isinstance(t, dashpot.Dropout) for t in recipe)
    model = network(0.2 if drops else None).to(x.device)
    session, optimizer, closure = attached(model, recipe, STEPS * (ROUNDS + 1), 1e-3)

    def steps() -> None:
        for _ in range(STEPS):
            one_step(model, optimizer, session, closure, x, y)

    return steps


def alone(x: Tensor, y: Tensor) -> tuple[dict[str, Callable[[], None]], dict[str, str]]:
    """An arm for each other technique at its defaults, and why some have none."""
    arms, left = {}, {}
    for kind, cls in registry().items():
        if kind in PAIRS or not cls.__module__.startswith("dashpot."):
            continue
        try:
            if not cls.requires.fits(modality="table"):
                left[kind] = "not for tables"
                continue
            arms[kind] = with_recipe(x, y, dashpot.Recipe((cls(),)))
        except (dashpot.DashpotError, TypeError) as error:
            left[kind] = str(error).partition(".")[0]
    return arms, left


def many_tensors() -> dict[str, Callable[[], None]]:
    """EMA's part of a step over 150 tensors of 10,000, and one pass over them."""
    model = nn.Sequential(*[nn.Linear(100, 100, bias=False) for _ in range(150)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    for p in model.parameters():  # of zeros alone a step that allocates is made, which is none
        p.grad = torch.ones_like(p)
    tensors = list(model.parameters())
    kept = [p.detach().clone() for p in tensors]
    other = nn.Sequential(*[nn.Linear(100, 100, bias=False) for _ in range(150)])
    bare = torch.optim.SGD(other.parameters(), lr=0.0)
    for p in other.parameters():
        p.grad = torch.ones_like(p)
    dashpot.EMA(decay=0.999, warmup=False).attach(model, optimizer)

    @torch.no_grad()
    def one_pass() -> None:
        for _ in range(STEPS):
            bare.step()
            torch._foreach_lerp_(kept, tensors, 1 - 0.999)

    def by_ema() -> None:
        for _ in range(STEPS):
            optimizer.step()

    return {"one pass over 150 tensors": one_pass, "EMA over 150 tensors": by_ema}


def late_sam(seeds: int) -> dict[str, Any]:
    """Processor time and test log loss on digits without SAM, with it at the end, and throughout."""
    data, target, _ = digits()
    x = torch.tensor(data, dtype=torch.float32)
    x, y = (x - x.mean()) / x.std(), torch.tensor(target)
    kinds = {"plain": None, "last 5 %": "0.1@from=95%", "last 10 %": "0.1@from=90%", "throughout": 0.1}
    found: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    for seed in range(seeds):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        rows, rest = order[:600], order[600:]
        for kind, rho in kinds.items():
            model = network(seed=seed)
            recipe = dashpot.Recipe(()) if rho is None else dashpot.Recipe((dashpot.SAM(rho=rho),))
            session, optimizer, closure = attached(model, recipe, 400, 3e-3)
            began = time.process_time()
            for step in range(400):
                chosen = rows[torch.randperm(600, generator=torch.Generator().manual_seed(step))[:128]]
                one_step(model, optimizer, session, closure, x[chosen], y[chosen])
            took = time.process_time() - began
            session.close()
            with torch.no_grad():
                found[kind].append([took, float(functional.cross_entropy(model(x[rest]), y[rest]))])
    seconds, losses = ({kind: sum(run[i] for run in runs) / seeds for kind, runs in found.items()} for i in (0, 1))
    return {
        "seconds": seconds,
        "test log loss": losses,
        "time to plain": {kind: seconds[kind] / seconds["plain"] for kind in kinds if kind != "plain"},
        "share of the gain": {
            kind: (losses["plain"] - losses[kind]) / (losses["plain"] - losses["throughout"])
            for kind in kinds
            if kind.startswith("last")
        },
        "seeds": seeds,
    }


def main() -> None:
    chosen = options(argparse.ArgumentParser(description=__doc__))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(128, 64, generator=generator), torch.randint(10, (128,), generator=generator)
    x, y = x.to(chosen.device), y.to(chosen.device)
    arms = {"plain loop": Hand().steps(x, y), "empty recipe": with_recipe(x, y, dashpot.Recipe())}
    for name, (recipe, hand) in PAIRS.items():
        arms |= {f"{name} by hand": hand.steps(x, y), name: with_recipe(x, y, recipe)}
    others, left = ({}, {}) if chosen.quick else alone(x, y)
    clock = time.perf_counter if chosen.device.startswith("cuda") else time.process_time
    rounds = 5 if chosen.quick else ROUNDS
    times = interleave(arms, rounds, chosen.device, clock)
    single = interleave({"plain loop": arms["plain loop"], **others}, 5, chosen.device, clock)
    tensors = interleave(many_tensors(), rounds, "cpu", clock)
    write_result(
        "overhead",
        {
            "what": f"processor seconds for {STEPS} training steps, MLP 3x256, batch 128, one thread",
            "seconds": {**times, **tensors},
            "empty recipe, ratio to the plain loop": ratios(times, to="plain loop")["empty recipe"],
            "ratio to the same by hand (aim 1.1)": {
                name: ratios({k: times[k] for k in (name, f"{name} by hand")}, to=f"{name} by hand")[name]
                for name in PAIRS
            },
            "ratio to the plain loop": ratios(single, to="plain loop"),
            "without an arm": left,
            "EMA over 150 tensors, ratio to one pass (aim 1.3)": ratios(tensors, to="one pass over 150 tensors"),
            **({} if chosen.quick else {"late SAM (aim 1.10 of the time at 95 % of the gain)": late_sam(3)}),
            "device": chosen.device,
        },
        chosen.result,
    )


if __name__ == "__main__":
    main()
