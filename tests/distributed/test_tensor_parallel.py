"""A network that tensor parallelism splits over two ranks, part of it whole on each: the same weights, zeros and group
norms as in one process, draws included; what acts on parts of it is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dashpot
from tests.distributed.ranks import gathered, ranks, step

pytestmark = pytest.mark.distributed
X = torch.randn(24, 8, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] > 0).long()
COLUMNS, ROWS = "group-lasso:strength=0.15,groups=columns", "group-lasso:strength=0.15"
MAKERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.2, momentum=0.5, foreach=False),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.0, foreach=False),
}
BOTH = ["l1:strength=0.05", ROWS, COLUMNS, "l1:strength=0.02 | ema:decay=0.5 | gradient-clipping:maximum=0.1"]
CASES = [
    *((text, maker) for text in BOTH for maker in MAKERS),
    ("l2:strength=0.1 | weight-decay:strength=0.1", "SGD"),
    ("sam:rho=0.1", "SGD"),
    ("gradient-noise:std=0.1", "SGD"),
    ("mixup:alpha=0.4 | input-noise:std=0.1 | label-smoothing", "SGD"),
]
REFUSED = {
    "dropout:p=0.3": "Dropout acts inside the network, and each rank holds a part of 0.weight",
    "spectral-norm": "SpectralNorm acts inside the network",
    "activation-noise:std=0.1": "ActivationNoise acts inside the network",
    "orthogonality": "Orthogonality needs whole matrices, and 0.weight is held in shards",
    "hard-threshold": "HardThreshold(keep=0.1) cannot act on 0.weight, a DTensor",
    "jacobian-penalty": "JacobianPenalty needs whole weights, and 0.weight is held in shards",
}


def net() -> nn.Sequential:
    torch.manual_seed(0)
    # A bias in front of the normalization would have a gradient of rounding noise, by whose sign Adam steps.
    middle = nn.Linear(12, 6, bias=False)
    return nn.Sequential(nn.Linear(8, 12), nn.Tanh(), middle, nn.BatchNorm1d(6), nn.Linear(6, 2))


def split() -> nn.Module:
    """The first layer by outputs, so that its columns lie on both ranks; the second by inputs, so that its rows do."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    plan = {"0": ColwiseParallel(), "2": RowwiseParallel()}
    return parallelize_module(net(), init_device_mesh("cpu", (2,)), plan)


def trained(model: nn.Module, text: str, maker: str) -> dict[str, Tensor]:
    """Its weights after some steps, those that evaluation sees, and the value of the penalty."""
    optimizer = MAKERS[maker](model.parameters())
    closure = text.startswith("sam")
    session = dashpot.Recipe.coerce(text).attach(model, optimizer, classes=2, closure=closure)
    for _ in range(4):
        step(session, model, session.batch(X, Y), closure)
    found = gathered(model.state_dict())
    found |= {f"{name} as seen": t for name, t in gathered(session.snapshot()).items()}
    technique, ctx = session.attached[0]
    penalty = technique.penalty_now(ctx)
    if penalty is not None:
        found |= gathered({"penalty": penalty.detach()})
    assert session.epoch({"val_loss": 0.5}).stop is False
    session.close()
    return found


def work(rank: int, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {f"{text} by {maker}": trained(split(), text, maker) for text, maker in CASES}
    for text in REFUSED:
        model = split()
        with pytest.raises(dashpot.ConflictError) as error:
            dashpot.Recipe.coerce(text).attach(model, torch.optim.SGD(model.parameters(), lr=0.1), targets="classes")
        found[text] = str(error.value)
    for read in (dashpot.selected_features, dashpot.inspect):
        with pytest.raises(dashpot.ConflictError) as error:
            read(split())
        found[read.__name__] = str(error.value)
    return found


def test_a_split_network_is_trained_as_the_whole() -> None:
    first, second = ranks(work)
    for text, maker in CASES:
        name = f"{text} by {maker}"
        expected = trained(net(), text, maker)
        for key, value in expected.items():
            for found in (first[name], second[name]):
                told = f"{name}, {key}"
                torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5, msg=lambda m, t=told: f"{t}: {m}")
        if text in BOTH[:3]:
            for key in ("0.weight", "2.weight"):
                assert int((expected[key] == 0).sum()) > 0, (name, key)
                for found in (first[name], second[name]):
                    assert torch.equal(found[key] == 0, expected[key] == 0), (name, key)
    for text, told in REFUSED.items():
        for found in (first, second):
            assert told in found[text], found[text]
    for found in (first, second):
        for name in ("selected_features", "inspect"):
            assert f"{name} reads whole weights, and 0.weight is held in shards" in found[name]
