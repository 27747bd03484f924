"""A member of a population is the network that ``dashpot.fit`` would have trained alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dashpot
from dashpot import nets
from dashpot.population.models import StackedModels
from tests.population.helpers import (
    demand_as_alone,
    demand_equal,
    demand_equal_alone,
    member,
    mlp,
    normed,
    population,
    table,
)

D: Any = dashpot
STACKED = {
    "nothing": (),
    "mixup": (D.Mixup(alpha=0.3),),
    "mixup of wide shares": (D.Mixup(alpha=2.5),),
    "input noise": (D.InputNoise(std=0.3),),
    "dropout": (D.Dropout(p=0.3),),
    "dropout of everything": (D.Dropout(p=1.0),),
    "dropout on linear layers": (D.Dropout(p=0.2, on="type:Linear & ~name:head"),),
    "label smoothing": (D.LabelSmoothing(smoothing=0.2),),
    "L2": (D.L2(strength=0.05),),
    "weight decay": (D.WeightDecay(strength=1.0),),
    "weight decay by timescale": (D.WeightDecay(timescale=2.0),),
    "weight decay by layer": (D.WeightDecay(strength=2.0, layer_factor=0.3),),
    "cautious weight decay": (D.penalties.CautiousWeightDecay(strength=1.0),),
    "corrected weight decay": (D.penalties.CorrectedWeightDecay(strength=1.0),),
    "centralized gradients": (D.gradient.GradientCentralization(),),
    "adaptive clipping": (D.gradient.AdaptiveGradientClipping(clipping=0.01),),
    "adaptive clipping with the head": (D.gradient.AdaptiveGradientClipping(clipping=0.01, head=True),),
    "clipping by layer": (D.GradientClipping(maximum=0.1, by="layer"),),
    "L2-SP": (D.fine_tuning.L2SP(strength=2.0),),
    "L2-SP without a head": (D.fine_tuning.L2SP(strength=2.0, head="none", on="everything"),),
    "clipping by norm": (D.GradientClipping(maximum=0.2),),
    "clipping by value": (D.GradientClipping(maximum=0.01, by="value"),),
    "SAM": (D.SAM(rho=0.1),),
    "EMA": (D.EMA(decay=0.8),),
    "EMA without warmup": (D.EMA(decay=0.8, warmup=False),),
    "early stopping": (D.EarlyStopping(patience=1),),
    "L1": (D.L1(strength=5e-3),),
    "L1 decoupled": (D.L1(strength=1.0, scaling="decoupled"),),
    "L1 that rises": (D.L1(strength="0to5e-3@from=2steps@until=8steps"),),
    "L1 on one layer": (D.L1(strength=5e-3, on="weights & name:body.0.*"),),
    "elastic net": (D.ElasticNet(strength=5e-3),),
    "group lasso": (D.GroupLasso(strength=5e-3),),
    "group lasso, columns": (D.GroupLasso(strength=5e-3, groups="columns"),),
    "sparse groups": (D.SparseGroupLasso(strength=5e-3),),
    "group elastic net": (D.GroupElasticNet(strength=5e-3, scaling="decoupled"),),
    "MCP": (D.MCP(strength=1e-2),),
    "maximum norm": (D.MaxNorm(maximum=0.7),),
    "hard threshold": (D.HardThreshold(keep=0.5),),
    "non-negative": (D.NonNegative(on="weights & name:head.*"),),
}
MIXTURE = (
    D.Mixup(alpha=0.3),
    D.Dropout(p=0.2),
    D.LabelSmoothing(smoothing=0.1),
    D.WeightDecay(strength=0.1),
    D.L1(strength=3e-3),
    D.EMA(decay=0.9),
)


@pytest.mark.parametrize("name", STACKED)
def test_each_technique_beside_members_without_it(name: str) -> None:
    demand_as_alone(
        [member(techniques=STACKED[name], seed=1), member(seed=2), member(techniques=STACKED[name], seed=3, lr=3e-3)]
    )


def test_a_technique_does_something() -> None:
    """Or the test above would say nothing."""
    plain = population([member()])
    plain.train(4)
    for name, techniques in STACKED.items():
        if techniques and name != "early stopping":
            other = population([member(techniques=techniques)])
            other.train(4)
            weight = "body.0.weight" if name != "non-negative" else "head.weight"
            assert not torch.equal(plain.tensors(0)[weight], other.tensors(0)[weight]), name


def test_mixtures_rates_and_seeds() -> None:
    members = [
        member(techniques=MIXTURE, seed=1),
        member(techniques=(D.Dropout(p=0.4), D.L2(strength=1e-2), D.GradientClipping(maximum=0.3)), seed=2, lr=3e-3),
        member(techniques=(D.SAM(rho=0.1), D.EMA(decay=0.7)), seed=3),
        member(
            techniques=(D.Mixup(alpha=1.0), D.L2(strength=0.1), D.SAM(rho=0.05), D.GroupLasso(strength=1e-3)), seed=4
        ),
        member(
            techniques=(D.InputNoise(std=0.2), D.MaxNorm(maximum=1.0), D.EarlyStopping(patience=2)), seed=5, lr=2e-2
        ),
    ]
    together = demand_as_alone(members)
    assert isinstance(together._groups[0][0], StackedModels)
    assert together.member_steps == 5 * 4 * 4


@pytest.mark.parametrize("rows", [120, 97, 65, 3])
def test_last_batches_that_are_shorter(rows: int) -> None:
    make, some = mlp if rows == 3 else normed, {"rows": np.arange(rows)}
    demand_as_alone([member(make, MIXTURE, seed=1, **some), member(make, seed=2, **some)])


def test_rows_and_data_sets_of_each_member() -> None:
    order = np.random.default_rng(0).permutation(160)
    x, y = table()
    sets = [(x, y), (2 * x + 1, y), (x.flip(1), y)]
    folds = [(np.sort(np.delete(order, range(40 * k, 40 * k + 40))), order[40 * k : 40 * k + 40]) for k in range(4)]
    members = [
        member(techniques=MIXTURE, seed=k, rows=rows, watch=watch, data=k % 3) for k, (rows, watch) in enumerate(folds)
    ]
    together = demand_as_alone(members, sets)
    out = together.outputs({1: folds[1][1], 3: folds[3][1][:5]})
    for k, o in out.items():
        model = together.model(k)
        assert torch.allclose(o, model(sets[k % 3][0][folds[k][1][: len(o)]]), atol=1e-5)


def test_groups_of_different_size_and_shape() -> None:
    """They cannot share a stack, and need not."""
    wide = {"make": lambda: nets.MLP(6, 3, width=24, depth=1), "shape": "wide"}
    demand_as_alone([member(), member(rows=np.arange(90)), member(**wide), member(seed=3)])


def test_early_stopping_at_different_epochs() -> None:
    members = [
        member(techniques=(D.EarlyStopping(patience=1),), seed=k, lr=lr) for k, lr in enumerate((0.3, 1e-2, 1e-3))
    ]
    members += [
        member(techniques=(D.EarlyStopping(monitor="val_accuracy", mode="max", patience=2, restore=False),), lr=0.2)
    ]
    together = demand_as_alone(members, epochs=12)
    assert 0 < len(together.alive) < 4


@pytest.mark.parametrize("stack", [True, False])
def test_early_stopping_without_rows_to_watch_does_nothing(stack: bool) -> None:
    together = population([member(techniques=(D.EarlyStopping(patience=1),), watch=None), member()], stack=stack)
    together.train(4)
    for name, t in together.tensors(1).items():
        assert torch.allclose(together.tensors(0)[name], t)


def test_regression() -> None:
    x, y = table()
    target = x[:, 0] + 0.1 * y.float()

    def make() -> nn.Module:
        return nets.MLP(6, 1, width=8, depth=1)

    techniques = (
        D.Mixup(alpha=0.4),
        D.Dropout(p=0.1),
        D.L1(strength=1e-2),
        D.EarlyStopping(monitor="val_rmse", mode="min", patience=2),
    )
    demand_as_alone([member(make, techniques), member(make, seed=1)], [(x, target)])


def test_a_loss_of_ones_own() -> None:
    """Label smoothing then acts on the loss, not on the target."""

    def focal(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        p = out.softmax(1).gather(1, y[:, None])[:, 0]
        return -((1 - p) ** 2) * p.log()

    demand_as_alone([member(techniques=(D.LabelSmoothing(smoothing=0.2),)), member()], loss=focal)


def test_a_diverging_member_is_removed_and_the_others_do_not_change() -> None:
    members = [
        member(normed, MIXTURE, seed=1),
        # Without decay, which refuses such a rate.
        member(normed, tuple(t for t in MIXTURE if not isinstance(t, D.WeightDecay)), seed=2, lr=1e30),
        member(normed, MIXTURE, seed=3),
    ]
    together = population(members)
    together.train(4)
    assert together.failed == [1]
    assert together.alive == [0, 2]
    without = population([members[0], members[2]])
    without.train(4)
    for i, j in ((0, 0), (2, 1)):
        demand_equal(together.tensors(i), without.tensors(j), of=members[i])
    assert together.outputs({1: np.arange(4)})[1].isnan().all()


def test_parameters_that_are_frozen_or_never_used() -> None:
    """Neither decay nor a map moves what the optimizer passes over."""

    def make() -> nn.Module:
        model = mlp()
        model.spare = nn.Linear(3, 3)
        model.body[0].weight.requires_grad_(False)
        return model

    demand_as_alone([member(make, (D.WeightDecay(strength=1.0),)), member(make, (D.L1(strength=0.01),), seed=1)])


def test_a_rate_of_zero_beside_a_member_without_dropout() -> None:
    members = [member(mlp, (dashpot.Dropout(0.0),)), member(mlp, ())]
    together = population(members, epochs=2)
    together.train(2)
    for i, m in enumerate(members):
        demand_equal_alone(together, i, m, epochs=2)
