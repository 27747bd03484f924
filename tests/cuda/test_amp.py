"""Mixed precision: GradScaler with float16, and bfloat16 autocast."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

import dashpot
from tests.cuda.helpers import DEVICE, PLACE, close, cuda, each, network, same, table

pytestmark = cuda

GRADIENTS = dashpot.GradientClipping(maximum=0.05) | dashpot.L2(strength=0.1) | dashpot.L1(strength=0.02)
MANY = (
    dashpot.Mixup(alpha=0.4)
    | dashpot.InputNoise(std=0.1)
    | dashpot.Dropout(p=0.3)
    | dashpot.LabelSmoothing(smoothing=0.1)
    | dashpot.WeightDecay(strength=0.1)
    | dashpot.GroupLasso(strength=1e-3)
    | dashpot.EMA(decay=0.9)
)
OPTIMIZERS: dict[str, Any] = {
    "fused": lambda model: torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.0, fused=True),
    "foreach": lambda model: torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.0, foreach=True),
    "SGD": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
}


@each("name", list(OPTIMIZERS))
def test_a_scaler_changes_nothing_and_a_skipped_step_advances_nothing(name: str) -> None:
    results = []
    for scaled in (False, True):
        model, (x, y) = network(), table()
        optimizer = OPTIMIZERS[name](model)
        session = GRADIENTS.attach(model, optimizer)
        scaler = torch.amp.GradScaler(PLACE.type, enabled=scaled, init_scale=1024.0)

        def backward(model: Any = model, x: Any = x, y: Any = y, scaler: Any = scaler) -> None:
            scaler.scale(functional.cross_entropy(model(x), y)).backward()

        for step in range(6):
            optimizer.zero_grad()
            backward()
            if scaled and step == 3:
                before = {name: p.detach().clone() for name, p in model.named_parameters()}
                model[0].weight.grad[0, 0] = float("inf")
                scaler.step(optimizer)
                scaler.update()
                assert same(before, dict(model.named_parameters()))
                assert session.step == 3
                optimizer.zero_grad()
                backward()
            scaler.step(optimizer)
            scaler.update()
        assert session.step == 6
        results.append(dict(model.named_parameters()))  # the batch that came again moved the running statistics twice
    close(*results)


@each("kind", ["float16", "bfloat16"])
def test_autocast_trains_every_kind_of_technique(kind: str) -> None:
    dtype = getattr(torch, kind)
    model, (x, y) = network(), table()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.0)
    scaler = torch.amp.GradScaler(PLACE.type, enabled=kind == "float16", init_scale=256.0)
    losses = []
    with MANY.attach(model, optimizer, classes=3, seed=2) as session:
        for _ in range(40):
            optimizer.zero_grad()
            batch = session.batch(x, y)
            with torch.autocast(PLACE.type, dtype=dtype):
                out = model(batch.x)
                assert out.dtype == dtype
                loss = session.loss(functional.cross_entropy(out, batch.y, reduction="none"), out)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            losses.append(float(loss.detach()))
        assert session.step == 40
        with session.evaluate() as evaluated, torch.no_grad():
            right = float((evaluated(x).argmax(1) == y).double().mean())
    assert all(t.dtype in (torch.float32, torch.int64) for t in model.state_dict().values())
    assert right > 0.6
    assert sum(losses[-5:]) < sum(losses[:5])


def test_sharpness_under_autocast() -> None:
    model, (x, y) = network(), table()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        with torch.autocast(PLACE.type, dtype=torch.bfloat16):
            loss = functional.cross_entropy(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        return loss.detach()

    with dashpot.SAM(rho=0.05).attach(model, optimizer, closure=True):
        first = float(optimizer.step(closure))
        for _ in range(20):
            last = float(optimizer.step(closure))
    assert last < first


def test_our_optimizer_under_a_scaler() -> None:
    results = []
    for scaled in (False, True):
        model, (x, y) = network(), table()
        optimizer = dashpot.optim.AdamW(model, lr=0.01, penalty=dashpot.L1(strength=0.02))
        scaler = torch.amp.GradScaler(PLACE.type, enabled=scaled, init_scale=1024.0)
        for step in range(5):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            if scaled and step == 2:  # an overflow is skipped, and the same batch comes again
                scaler.scale(loss * torch.inf).backward(retain_graph=True)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        results.append(dict(model.named_parameters()))
    close(*results)
    assert all(t.device.type == PLACE.type for t in results[1].values()), DEVICE
