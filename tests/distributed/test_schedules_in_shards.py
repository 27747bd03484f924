"""Strengths on schedules, and training that is interrupted, on weights in shards: by FSDP2 over four ranks, by tensor
parallelism over four, and by two by two, one around the other. In float64, so that what differs is no rounding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

import dashpot
from tests.distributed.ranks import gathered, ranks, step

pytestmark = pytest.mark.distributed
X = torch.randn(24, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0.5).long()
STEPS, SAVED = 6, 3
WAYS = {"fully_shard": (4, 1), "parallelize_module": (1, 4), "both": (2, 2)}
"""How many ranks FSDP2 has, and how many tensor parallelism."""
RECIPES = {
    "weights": "l1:strength=0.001to0.008 | weight-decay:strength=0.5to0@cosine | ema:decay=0.5 | early-stopping",
    "columns": "group-lasso:strength=0.02to0.1@until=4steps,groups=columns | gradient-noise:std=0.2to0"
    " | lookahead:alpha=0.5,every=2 | cautious-weight-decay:strength=0.5",
    "sharpness": "sam:rho=0.3to0.01 | l2:strength=0to0.5",
}


def net(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 3)
    return nn.Sequential(*layers).double()


def placed(mesh: Any, seed: int) -> nn.Module:
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    model = net(seed)
    if mesh["parts"].size() > 1:
        parallelize_module(model, mesh["parts"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
    if mesh["rows"].size() > 1:
        fully_shard(model, mesh=mesh["rows"])
    return model


class Training:
    """A model, its optimizer and a session, made in the order that docs/distributed.md gives."""

    def __init__(self, model: nn.Module, text: str) -> None:
        self.model, self.closure = model, text.startswith("sam")
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.0, foreach=False)
        self.weights, self.moments = get_state_dict(model, self.optimizer)
        self.session = dashpot.Recipe.coerce(text).attach(
            model, self.optimizer, closure=self.closure, steps=STEPS, steps_per_epoch=STEPS // 2
        )

    def train(self, count: int, part: slice) -> None:
        for _ in range(count):
            step(self.session, self.model, self.session.batch(X[part], Y[part]), self.closure)
        self.session.epoch({"val_loss": 0.5})

    def end(self) -> dict[str, Tensor]:
        found = gathered({name: value.detach() for name, value in self.model.state_dict().items()})
        found |= {f"{name} as seen": t for name, t in gathered(self.session.snapshot()).items()}
        self.session.close()
        return found

    def save(self, folder: Path) -> None:
        weights, moments = get_state_dict(self.model, self.optimizer)
        dcp.save({"model": weights, "optimizer": moments, "session": self.session}, checkpoint_id=folder)

    def load(self, folder: Path) -> None:
        state = {"model": self.weights, "optimizer": self.moments, "session": self.session}
        dcp.load(state, checkpoint_id=folder)
        parts = {"model_state_dict": self.weights, "optim_state_dict": self.moments}
        set_state_dict(self.model, self.optimizer, **parts)


def work(rank: int, folder: Path) -> dict[str, Any]:
    from torch.distributed.device_mesh import init_device_mesh

    found: dict[str, Any] = {}
    for way, sizes in WAYS.items():
        mesh = init_device_mesh("cpu", sizes, mesh_dim_names=("rows", "parts"))
        part = slice(mesh["rows"].get_local_rank(), None, sizes[0])
        for name, text in RECIPES.items():
            whole = Training(placed(mesh, 0), text)
            whole.train(SAVED, part)
            whole.save(folder / f"{way}-{name}")
            whole.train(STEPS - SAVED, part)
            again = Training(placed(mesh, 1), text)  # of other weights, which the checkpoint replaces
            again.load(folder / f"{way}-{name}")
            again.train(STEPS - SAVED, part)
            found[f"{way}, {name}"] = whole.end(), again.end()
    return found


def alone(text: str) -> dict[str, Tensor]:
    training = Training(net(0), text)
    training.train(SAVED, slice(None))
    training.train(STEPS - SAVED, slice(None))
    return training.end()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_schedule_in_shards_ends_where_one_process_ends_interrupted_or_not() -> None:
    found = ranks(work, 4)
    for name, text in RECIPES.items():
        expected = alone(text)
        zeros = int((expected["2.weight"] == 0).sum())
        assert (zeros == 0) if name == "sharpness" else (0 < zeros < expected["2.weight"].numel()), (name, zeros)
        for way in WAYS:
            told = f"{way}, {name}"
            for whole, again in (one[told] for one in found):
                assert whole.keys() == again.keys() == expected.keys()
                for key, value in expected.items():
                    assert torch.equal(whole[key], again[key]), (told, key)
                    assert float((whole[key] - value).abs().max()) < 1e-12, (told, key)
                    assert torch.equal(whole[key] == 0, value == 0), (told, key)


@pytest.mark.parametrize(("name", "constant"), [("weights", "0.001"), ("columns", "0.02"), ("sharpness", "0.3")])
def test_the_schedules_tell(name: str, constant: str) -> None:
    """What the other test compares would differ, were the first value kept."""
    head, _, tail = RECIPES[name].partition(constant)
    kept = head + constant + tail[min(i for i in (tail.find(" "), tail.find("@"), tail.find(",")) if i >= 0) :]
    found, expected = alone(kept.replace("@until=4steps", "")), alone(RECIPES[name])
    assert max(float((found[key] - expected[key]).abs().max()) for key in expected) > 1e-3
