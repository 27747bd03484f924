"""Populations on the device: whole at once, and each member what ``dashpot.fit`` trains alone there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import dashpot
from dashpot.population.members import Member, initial
from dashpot.population.models import StackedModels
from dashpot.population.population import Population
from tests.cuda.helpers import DEVICE, PLACE, close, cuda, each, exact_products, table

pytestmark = cuda

D: Any = dashpot
EPOCHS, BATCH = 4, 32
# One product of many matrices rounds otherwise than many products, and Adam takes the sign of the smallest gradient.
ROUNDING = 2e-4 if PLACE.type == "cuda" else 5e-5
STACKED: dict[str, tuple[Any, ...]] = {
    "nothing": (),
    "mixup": (D.Mixup(alpha=0.3),),
    "input noise": (D.InputNoise(std=0.3),),
    "dropout": (D.Dropout(p=0.3),),
    "label smoothing": (D.LabelSmoothing(smoothing=0.2),),
    "L2": (D.L2(strength=0.05),),
    "weight decay": (D.WeightDecay(strength=1.0),),
    "clipping by norm": (D.GradientClipping(maximum=0.2),),
    "clipping by value": (D.GradientClipping(maximum=0.01, by="value"),),
    "SAM": (D.SAM(rho=0.1),),
    "EMA": (D.EMA(decay=0.8),),
    "early stopping": (D.EarlyStopping(patience=1),),
    "L1": (D.L1(strength=5e-3),),
    "L1 decoupled": (D.L1(strength=1.0, scaling="decoupled"),),
    "elastic net": (D.ElasticNet(strength=5e-3),),
    "group lasso": (D.GroupLasso(strength=5e-3),),
    "sparse groups": (D.SparseGroupLasso(strength=5e-3),),
    "MCP": (D.MCP(strength=1e-2),),
    "maximum norm": (D.MaxNorm(maximum=0.7),),
    "non-negative": (D.NonNegative(on="weights & name:6.*"),),
}
MIXTURE = (
    D.Mixup(alpha=0.3),
    D.Dropout(p=0.2),
    D.LabelSmoothing(smoothing=0.1),
    D.WeightDecay(strength=0.1),
    D.L1(strength=3e-3),
    D.EMA(decay=0.9),
)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.0), *_rest())


def _rest() -> list[nn.Module]:
    return [nn.Linear(16, 16), nn.ReLU(), nn.Dropout(0.0), nn.Linear(16, 3)]


def normed() -> nn.Module:
    """No bias in front of the normalization: its gradient is 0 but for rounding, which Adam makes a whole step."""
    parts = [nn.Linear(6, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU()]
    return nn.Sequential(*parts, *_rest())


def convolutional() -> nn.Module:
    parts = [nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2)]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(32, 3))


def member(make: Callable[[], nn.Module] = mlp, techniques: Sequence[Any] = (), **options: Any) -> Member:
    settings: dict[str, Any] = {"lr": 1e-2, "seed": 0, "rows": np.arange(64), "watch": np.arange(64, 96)} | options
    return Member(make=make, recipe=D.Recipe(techniques), **settings)


def population(members: Sequence[Member], **options: Any) -> Population:
    settings: dict[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH, "bfloat16": False, "device": DEVICE} | options
    return Population(members, [table(device="cpu")], **settings)


def alone(m: Member) -> tuple[dict[str, Tensor], Any]:
    x, y = table(device="cpu")
    model = initial(m)
    valid = None if m.watch is None else (x[m.watch], y[m.watch])
    options: dict[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH, "device": DEVICE, "progress": False}
    result = D.fit(model, (x[m.rows], y[m.rows]), valid=valid, recipe=m.recipe, lr=m.lr, seed=m.seed, **options)
    return dict(model.state_dict()), result


def demand_as_alone(members: Sequence[Member], tolerance: float = ROUNDING) -> Population:
    together = population(members)
    assert together.notes == []
    assert [type(group) for group, _ in together._groups] == [StackedModels], "all at once, in one stack"
    assert together.train(EPOCHS)
    for i, m in enumerate(members):
        own, result = alone(m)
        close(together.tensors(i), own, tolerance)
        assert together.best_epochs.get(i) == result.best_epoch
    assert all(t.device.type == PLACE.type for t in together.tensors(0).values())
    return together


@each("name", list(STACKED))
def test_each_technique_beside_members_without_it(name: str) -> None:
    own = STACKED[name]
    demand_as_alone([member(techniques=own, seed=1), member(seed=2), member(techniques=own, seed=3, lr=3e-3)])


def test_mixtures() -> None:
    others = (D.Dropout(p=0.4), D.L2(strength=1e-2), D.GradientClipping(maximum=0.3))
    demand_as_alone(
        [
            member(techniques=MIXTURE, seed=1),
            member(techniques=others, seed=2, lr=3e-3),
            member(techniques=(D.SAM(rho=0.1), D.EMA(decay=0.7)), seed=3),
        ]
    )


def test_normalizations() -> None:
    demand_as_alone([member(normed, MIXTURE, seed=1), member(normed, seed=2)])


def test_convolutions() -> None:
    with exact_products():
        demand_as_alone(
            [member(convolutional, (D.L1(strength=1e-3),), seed=1), member(convolutional, seed=2)], 5 * ROUNDING
        )


def test_products_in_tf32_do_not_hinder_a_stack() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        together = population([member(convolutional, seed=k) for k in range(3)])
        assert together.notes == []
        assert together.train(EPOCHS)
        assert not together.failed
    finally:
        torch.set_float32_matmul_precision(before)


def test_members_that_are_removed_and_copied() -> None:
    members = [member(techniques=MIXTURE, seed=k) for k in range(4)]
    together = population(members)
    assert together.train(2)
    copied = together.clone(1)
    together.keep([1, 3, copied])
    assert together.train(2)
    for i, like in ((1, 1), (3, 3), (copied, 1)):
        close(together.tensors(i), alone(members[like])[0], ROUNDING)
    rows = {i: np.arange(64, 96) for i in (0, 1, copied)}
    outputs = together.outputs(rows)
    assert all(out.device.type == PLACE.type and out.shape == (32, 3) for out in outputs.values())
    model = together.model(1)
    x, _ = table(device="cpu")
    close({"out": model(x[64:])}, {"out": outputs[1]}, 1e-4)


def test_one_by_one_where_a_network_cannot_be_stacked() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.a(x).relu()
            out: Tensor = self.b(h * (1 if float(h.detach().sum()) > -1 else 2))
            return out

    members = [member(Own, MIXTURE[3:], seed=k) for k in (1, 2)]
    together = population(members, stack=False)
    assert together.train(EPOCHS)
    for i, m in enumerate(members):
        close(together.tensors(i), alone(m)[0], ROUNDING)


def test_a_diverging_member_is_removed_and_the_others_do_not_change() -> None:
    members = [member(normed, seed=1), member(normed, seed=2, lr=1e30), member(normed, seed=3)]
    together = population(members)
    together.train(EPOCHS)
    assert together.failed == [1]
    assert together.outputs({1: np.arange(4)})[1].isnan().all()
    close(together.tensors(0), alone(members[0])[0], ROUNDING)


def test_half_precision_learns_as_well() -> None:
    """Wide products in bfloat16."""

    def wide() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 3))

    members = [member(wide, seed=k, rows=np.arange(96), watch=None) for k in range(4)]
    right = {}
    _, y = table(device="cpu")
    for low in (True, False):
        together = population(members, epochs=20, bfloat16=low)
        assert together.train(20)
        outputs = together.outputs(dict.fromkeys(range(4), np.arange(96)))
        right[low] = np.mean([float((out.argmax(1).cpu() == y).double().mean()) for out in outputs.values()])
    assert min(right.values()) > 0.8
    assert abs(right[True] - right[False]) < 0.1


def test_many_members_at_once() -> None:
    together = population([member(techniques=MIXTURE, seed=k, watch=None) for k in range(100)], epochs=2)
    assert [len(numbers) for _, numbers in together._groups] == ([100] if PLACE.type == "cuda" else [50, 50])
    assert together.train(2)
    assert len(together.alive) == 100
