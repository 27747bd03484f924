"""Penalties in and behind optimizers: by every engine the same numbers as on the CPU in eager mode."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import dashpot
from dashpot.core.tree import load_tree, save_tree
from dashpot.techniques.penalties import fast
from tests.cuda.helpers import DEVICE, GPU, PLACE, close, cuda, each, network, never_waiting, table
from tests.cuda.nets import Net, compare, run

pytestmark = cuda

D: Any = dashpot
PENALTIES: dict[str, Any] = {
    "L1": D.L1(strength=3e-3),
    "L1 decoupled": D.L1(strength=0.5, scaling="decoupled"),
    "elastic net": D.ElasticNet(strength=3e-3),
    "rows": D.GroupLasso(strength=1e-2),
    "rows, sparse": D.SparseGroupLasso(strength=1e-2),
    "columns": D.GroupLasso(strength=1e-2, groups="columns"),
    "SCAD": D.SCAD(strength=1e-2),
    "non-negative": D.NonNegative(),
    "maximum norm": D.MaxNorm(maximum=0.5),
}
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "adamw": ("adamw", {"lr": 0.01, "weight_decay": 0.1}),
    "adamw fused": ("adamw", {"lr": 0.01, "fused": True}),
    "adamw foreach": ("adamw", {"lr": 0.01, "foreach": True}),
    "amsgrad": ("adamw", {"lr": 0.01, "amsgrad": True}),
    "momentum": ("sgd", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
    "nesterov": ("sgd", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
}


def ours(setting: str, penalty: Any, device: str | torch.device, **more: Any) -> Net:
    kind, options = OPTIONS[setting]
    model = Net(device)
    optimizer = (D.optim.AdamW if kind == "adamw" else D.optim.SGD)(
        model.parameters(), **options, **more, penalty=penalty
    )
    run(optimizer, model)
    return model


@each("setting", list(OPTIONS))
@each("name", list(PENALTIES))
def test_our_optimizers_as_on_the_cpu(setting: str, name: str) -> None:
    compare(ours(setting, PENALTIES[name], DEVICE), ours(setting, PENALTIES[name], "cpu", engine="eager"))


@each("name", ["L1", "L1 decoupled", "rows", "SCAD", "non-negative"])
@each("setting", ["adamw", "adamw fused", "adamw foreach", "momentum"])
def test_a_penalty_behind_a_stock_optimizer_as_on_the_cpu(setting: str, name: str) -> None:
    kind, options = OPTIONS[setting]
    found = []
    threshold, fast.WORTH_BUILDING = fast.WORTH_BUILDING, 1 << 60  # the oracle is eager mode
    try:
        for place in (DEVICE, "cpu"):
            model = Net(place)
            optimizer = (torch.optim.AdamW if kind == "adamw" else torch.optim.SGD)(model.parameters(), **options)
            with D.Recipe((PENALTIES[name],)).attach(nn.ModuleList([model, nn.Linear(2, 2)]), optimizer) as session:
                run(optimizer, model)
                assert session.step == 6
            found.append(model)
    finally:
        fast.WORTH_BUILDING = threshold
    compare(*found)


def test_an_optimizer_that_a_cuda_graph_could_capture() -> None:
    """Learning rate and step counts are tensors on the device then."""
    found = []
    rates: list[tuple[str, Any, bool]] = [(DEVICE, torch.tensor(0.01, device=DEVICE), GPU), ("cpu", 0.01, False)]
    for place, lr, capturable in rates:
        model = network(device=place)
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr, capturable=capturable, weight_decay=0.0)
        x, y = table(device=place)
        recipe = D.WeightDecay(strength=0.5) | D.L1(strength=0.01) | D.EMA(decay=0.9)
        with recipe.attach(model, optimizer):
            for _ in range(5):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
        found.append(dict(model.state_dict()))
    close(*found)


def test_our_step_waits_for_nothing() -> None:
    model = Net()
    optimizer = D.optim.AdamW(model.parameters(), lr=0.01, penalty=D.L1(strength=1e-3))
    run(optimizer, model, 2)
    with never_waiting():
        for _ in range(3):
            optimizer.step()
    counts = {optimizer.state[p]["step"].device.type for p in model.weights}
    assert counts == {PLACE.type}


@each("kind", ["ours", "torch"])
def test_a_state_from_the_cpu_goes_on_on_the_device(kind: str, tmp_path: Any) -> None:
    """Saved files hold tensors of the CPU."""
    make: Any = D.optim.AdamW if kind == "ours" else torch.optim.AdamW
    more: dict[str, Any] = {"penalty": D.L1(strength=3e-3)} if kind == "ours" else {"fused": True}
    begun, whole = Net(), Net()
    first, straight = make(begun.parameters(), lr=0.01, **more), make(whole.parameters(), lr=0.01, **more)
    run(first, begun, 3)
    save_tree({"model": dict(begun.state_dict()), "optimizer": first.state_dict()}, tmp_path / "state.safetensors")
    tree = load_tree(tmp_path / "state.safetensors")
    model = Net()
    own: dict[str, Any] = {"penalty": D.L1(strength=3e-3)} if kind == "ours" else {"penalty": None}
    optimizer = D.optim.AdamW(model.parameters(), lr=0.01, **own)
    model.load_state_dict(tree["model"])
    optimizer.load_state_dict(tree["optimizer"])
    run(optimizer, model, 3, start=3)
    run(straight, whole, 6)
    compare(model, whole)


def test_parts_of_a_model_on_the_cpu_and_on_the_device() -> None:
    """As with an embedding too large for the device."""

    class Parts(nn.Module):
        def __init__(self, far: str) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.near, self.far = nn.Linear(6, 8), nn.Linear(8, 3).to(far)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.far(self.near(x).relu().to(self.far.weight.device))
            return out

    found = []
    for far in (DEVICE, "cpu"):
        model = Parts(far)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = table(device="cpu")

        def closure(model: Any = model, optimizer: Any = optimizer, far: str = far, x: Any = x, y: Any = y) -> Tensor:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y.to(far))
            loss.backward()
            return loss.detach()

        recipe = D.L2(strength=0.1) | D.GradientClipping(maximum=0.1) | D.SAM(rho=0.1) | D.L1(strength=0.01)
        recipe = recipe | D.EMA(decay=0.8)
        with recipe.attach(model, optimizer, closure=True) as session:
            for _ in range(5):
                optimizer.step(closure)
            with session.evaluate():
                found.append({name: t.detach().clone() for name, t in model.state_dict().items()})
    close(*found)


def test_groups_by_an_index() -> None:
    """Its table of places is copied to the device once."""
    places = torch.arange(16 * 6).reshape(16, 6) % 7
    found = []
    for place in (DEVICE, "cpu"):
        model = network(device=place)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.0)
        penalty = D.GroupLasso(strength=0.02, groups=places, on="name:0.weight")
        x, y = table(device=place)
        with penalty.attach(model, optimizer):
            for _ in range(6):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
        found.append(dict(model.state_dict()))
    close(*found)
