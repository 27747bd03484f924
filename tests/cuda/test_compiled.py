"""torch.compile on the device: models with hooks, the pure functions, and the step of optimizers through Triton."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

import dashpot
from dashpot.testing import LAWS
from tests.cuda.helpers import close, cuda, each, network, table, weights
from tests.cuda.law_cases import BY_KIND, COMPILED, cases
from tests.cuda.nets import Net, compare, run

pytestmark = cuda

D: Any = dashpot
PENALTIES: dict[str, Any] = {
    "L1": D.L1(strength=3e-3),
    "L1 decoupled": D.L1(strength=0.5, scaling="decoupled"),
    "elastic net": D.ElasticNet(strength=3e-3),
    "SCAD": D.SCAD(strength=1e-2),
    "MCP": D.MCP(strength=1e-2),
    "non-negative": D.NonNegative(),
}


@each("name", list(PENALTIES))
def test_the_fused_step_as_the_plain_map(name: str) -> None:
    found = []
    for engine in ("compiled", "eager"):
        model = Net()
        run(D.optim.AdamW(model.parameters(), lr=0.01, penalty=PENALTIES[name], engine=engine), model)
        found.append(model)
    compare(*found)


def test_sgd_takes_the_plain_path_where_a_compiled_one_is_asked_for() -> None:
    found = []
    for engine in ("compiled", "eager"):
        model = Net()
        optimizer = D.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, penalty=PENALTIES["L1"], engine=engine)
        run(optimizer, model)
        found.append(model)
    compare(*found)


def test_no_step_compiles_again() -> None:
    """Learning rate, strength and step count change at each step."""
    from torch._dynamo.utils import counters

    model = Net()
    optimizer = D.optim.AdamW(model.parameters(), lr=0.01, penalty=PENALTIES["L1"], engine="compiled")
    run(optimizer, model, 2)
    before = counters["stats"]["unique_graphs"]
    for step in range(2, 8):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 / (step + 1)
        run(optimizer, model, 1, start=step)
    assert counters["stats"]["unique_graphs"] == before


def trained(compiled: bool, recipe: Any, steps: int = 5) -> tuple[dict[str, torch.Tensor], int]:
    model, (x, y) = network(), table()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    session = recipe.attach(model, optimizer, classes=3)
    forward: Any = torch.compile(model, fullgraph=True) if compiled else model
    for _ in range(steps):
        optimizer.zero_grad()
        batch = session.batch(x, y)
        out = forward(batch.x)
        session.loss(functional.cross_entropy(out, batch.y, reduction="none"), out).backward()
        optimizer.step()
    session.close()
    return weights(model), session.step


def test_compiled_models_train_as_eager_ones() -> None:
    recipe = D.Mixup(alpha=0.4) | D.Dropout(p=0.3) | D.LabelSmoothing() | D.L1(strength=0.01) | D.EMA(decay=0.9)
    (mine, steps), (theirs, _) = trained(True, recipe), trained(False, recipe)
    assert steps == 5
    close(mine, theirs, 1e-4)


def test_dropout_draws_new_masks_without_compiling_again() -> None:
    from torch._dynamo.utils import counters

    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU()).to(network()[0].weight.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    x, _ = table()
    with D.Dropout(p=0.5, on="activations").attach(model, optimizer):
        forward = torch.compile(model, fullgraph=True)
        first = forward(x)
        before = counters["stats"]["unique_graphs"]
        second = forward(x)
        second.sum().backward()
        optimizer.step()
        third = forward(x)
    assert counters["stats"]["unique_graphs"] == before
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_a_compiled_optimizer_step_drives_the_recipe() -> None:
    """torch traces through the hooks or stops before them; the numbers are the same."""
    recipe = D.L2(strength=0.1) | D.GradientClipping(maximum=0.1) | D.WeightDecay(strength=0.5) | D.EMA(decay=0.9)
    found = []
    for compiled in (True, False):
        torch._dynamo.reset()  # type: ignore[no-untyped-call]  # torch has no types here
        model, (x, y) = network(), table()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.0)
        session = recipe.attach(model, optimizer)
        step: Any = torch.compile(optimizer.step) if compiled else optimizer.step
        for _ in range(4):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            step()
        assert session.step == 4
        found.append(weights(model) | {f"average {k}": t for k, t in session.snapshot().items()})
    close(*found)


@each("case", cases(compiled=True))
def test_law(case: str) -> None:
    LAWS[COMPILED](BY_KIND[case.split(": ")[0]])
