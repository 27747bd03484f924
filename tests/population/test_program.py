"""The C++ interpreter against its plain twin: the stacked network under autograd."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot import nets
from dashpot.core.errors import ConflictError, DataError
from dashpot.evaluation.losses import cross_entropy, squared_error
from dashpot.nets.numeric import Periodic, PiecewiseLinear
from dashpot.population import planner
from dashpot.population.models import StackedModels
from dashpot.population.program import executor, program
from dashpot.population.program.executor import ProgramExecutor
from dashpot.population.program.program import program_of
from dashpot.population.sequential import SequentialTrainer
from dashpot.population.stack import stacked
from dashpot.population.tensors import Block
from tests.population.helpers import demand_as_alone, demand_equal, member, population, table

pytestmark = pytest.mark.skipif(executor.kernel() is None, reason="no C++ compiler here")
D: Any = dashpot
MEMBERS = 3


class Skips(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.act, self.out = (
            nn.Linear(7, 19),
            nn.Linear(19, 19),
            nn.Linear(19, 19),
            nn.SiLU(),
            nn.Linear(19, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        g = h + self.b(self.act(h))
        return self.out(torch.add(g, self.c(h)) + h)  # type: ignore[no-any-return]  # torch's modules return Any


class Joined(nn.Module):
    """A join of which one part is read elsewhere, too, one is there twice, and one is hidden."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.hidden, self.skip, self.out = (
            PiecewiseLinear(3, 3, bins=4),
            nn.Linear(9, 5),
            nn.Linear(9, 25),
            nn.Linear(25, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        made = self.embedding(x[..., 2:5])
        joined = torch.cat([made, self.hidden(made), x[..., :2], made], dim=-1)
        return self.out(joined + self.skip(made))  # type: ignore[no-any-return]  # torch's modules return Any


def embedded(embedding: str = "piecewise", **options: Any) -> Callable[[], nn.Module]:
    """Each member with bins of its own, some of them without width."""

    def make() -> nn.Module:
        net = nets.TableNet(7, 4, embedding=embedding, **{"width": 24, "depth": 2, "numeric": 5, "bins": 6} | options)
        return net.fit_bins((2 * torch.randn(40, 7)).round())

    return make


def chain(*parts: nn.Module) -> Callable[[], nn.Module]:
    return lambda: copy.deepcopy(nn.Sequential(*parts))  # members that share no weights


NETS: dict[str, Callable[[], nn.Module]] = {
    "linear": chain(nn.Linear(7, 4)),
    "a single layer": lambda: nn.Linear(7, 4),
    "no bias": chain(nn.Linear(7, 33, bias=False), nn.ReLU(), nn.Linear(33, 4, bias=False)),
    "batch norm": chain(nn.BatchNorm1d(7), nn.Linear(7, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 4)),
    "batch norm, no scale": chain(nn.Linear(7, 20), nn.BatchNorm1d(20, affine=False), nn.Tanh(), nn.Linear(20, 4)),
    "batch norm, no statistics": chain(
        nn.Linear(7, 20), nn.BatchNorm1d(20, track_running_stats=False), nn.ReLU(), nn.Linear(20, 4)
    ),
    "layer norm": chain(nn.LayerNorm(7), nn.Linear(7, 20), nn.LayerNorm(20), nn.ReLU(), nn.Linear(20, 4)),
    "layer norm, no scale": chain(nn.Linear(7, 20), nn.LayerNorm(20, elementwise_affine=False), nn.Linear(20, 4)),
    "silu": chain(nn.Linear(7, 20), nn.SiLU(), nn.Linear(20, 4)),
    "selu": chain(nn.Linear(7, 20), nn.SELU(), nn.Linear(20, 4)),
    "mish": chain(nn.Linear(7, 20), nn.Mish(), nn.Linear(20, 4)),
    "tanh": chain(nn.Linear(7, 20), nn.Tanh(), nn.Identity(), nn.Dropout(0.0), nn.Linear(20, 4)),
    "branches": Skips,
    "table": lambda: nets.TableNet(7, 4, width=24, depth=3, norm="layer", skip=True),
    "table, batch norm": lambda: nets.TableNet(7, 4, width=24, depth=2, norm="batch", activation="mish"),
    "piecewise": embedded(),
    "piecewise, all columns": embedded(numeric=7, embedding_size=2, bins=1),
    "piecewise, large": embedded(embedding_size=7, bins=40, norm="layer", skip=True),
    "piecewise, no scaling": embedded(scaling=False, depth=0),
    "piecewise, on the input itself": chain(PiecewiseLinear(7, 3), nn.Linear(21, 4)),
    "periodic": embedded("periodic"),
    "periodic, all columns": embedded("periodic", numeric=7, embedding_size=2, norm="layer"),
    "periodic, other sizes": chain(Periodic(7, 6, waves=5, spread=3.0), nn.Linear(42, 4)),
    "nominal": embedded("none", numeric=2, nominal=[(2, 4), (5, 7)], nominal_size=3),
    "nominal, no numbers": embedded("none", numeric=0, nominal=[(0, 7)], nominal_size=20),
    "nominal, piecewise": embedded(numeric=2, nominal=[(3, 6)]),
    "joined": Joined,
    "wide": lambda: nets.MLP(7, 4, width=300, depth=2),
}


def pair(make: Callable[[], nn.Module], bfloat16: bool = False) -> tuple[ProgramExecutor, nn.Module, Block]:
    models = []
    for k in range(MEMBERS):
        torch.manual_seed(k)
        model = make()
        for p in model.parameters():
            p.data = torch.randn_like(p) * (0.3 if p.ndim == 1 else p.shape[1] ** -0.5)
        models.append(model)
    whole = stacked(models, torch.randn(5, 7))
    for module in whole.modules():
        if hasattr(module, "in_bfloat16"):
            module.in_bfloat16 = bfloat16
    block = Block(whole)
    found = program_of(models[0], block, 7, [])
    assert found is not None
    return ProgramExecutor(found, block), whole, block


def train(run: ProgramExecutor, x: Tensor, y: Tensor, squares: bool = False) -> Tensor:
    return run.train(
        x, y, np.zeros((0, 0), dtype=np.uint64), np.zeros((0, 0), dtype=np.float32), learn=True, squares=squares
    )


def by_autograd(
    whole: nn.Module, block: Block, x: Tensor, y: Tensor, loss: Any = cross_entropy
) -> tuple[Tensor, list[Tensor]]:
    each = loss(whole.train()(x).flatten(0, 1), y.flatten(0, 1)).reshape(len(x), -1).mean(dim=1)
    return each.detach(), list(torch.autograd.grad(each.sum(), block.parameters))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("batch", [2, 37, 128])
def test_losses_gradients_statistics_and_outputs(name: str, batch: int) -> None:
    run, whole, block = pair(NETS[name])
    g = torch.Generator().manual_seed(1)
    x, y = 2 * torch.randn(MEMBERS, batch, 7, generator=g), torch.randint(0, 4, (MEMBERS, batch), generator=g)
    before = {key: b.clone() for key, b in block.buffers.items()}
    losses, grads = by_autograd(whole, block, x, y)
    moved = {key: b.clone() for key, b in block.buffers.items()}
    for key, b in before.items():
        block.buffers[key].copy_(b)
    assert torch.allclose(train(run, x, y), losses, rtol=1e-5, atol=1e-6)
    # The variance of two rows amplifies rounding.
    tolerance = 1e-4 if batch > 2 else 2e-2
    for segment, mine, own in zip(block.segments, run.views, grads, strict=True):
        assert float((mine - own).abs().max()) < tolerance * float(own.abs().max() + 1e-2), segment.name
    for key, b in moved.items():
        assert torch.allclose(block.buffers[key].double(), b.double(), rtol=1e-4, atol=1e-5), key
    with torch.no_grad():
        assert torch.allclose(run.outputs(x), whole.eval()(x), rtol=1e-4, atol=1e-4)


def test_values_at_edges_and_far_beyond() -> None:
    run, whole, block = pair(NETS["piecewise"])
    x = torch.randint(-9, 10, (MEMBERS, 60, 7)).float()
    x[:, :20, :5] = block.buffers["embedding.edges"][:, :, torch.arange(20) % 7].transpose(1, 2)
    x[:, 20] *= 1e6
    y = torch.randint(0, 4, (MEMBERS, 60))
    x[:, 21:] /= 2
    losses, grads = by_autograd(whole, block, x, y)
    assert torch.allclose(train(run, x, y), losses, rtol=1e-4)
    for segment, mine, own in zip(block.segments, run.views, grads, strict=True):
        assert torch.allclose(mine, own, rtol=1e-4, atol=1e-4 * float(own.abs().max())), segment.name


def test_soft_targets_and_values() -> None:
    run, whole, block = pair(NETS["silu"])
    x = torch.randn(MEMBERS, 21, 7)
    for y, squares, loss in (
        (torch.rand(MEMBERS, 21, 4), False, cross_entropy),
        (torch.randn(MEMBERS, 21, 4), True, squared_error),
    ):
        losses, grads = by_autograd(whole, block, x, y, loss)
        assert torch.allclose(train(run, x, y, squares), losses, rtol=1e-5)
        for mine, own in zip(run.views, grads, strict=True):
            assert torch.allclose(mine, own, rtol=1e-4, atol=1e-6)


def test_extreme_outputs() -> None:
    run, whole, block = pair(NETS["linear"])
    for scale in (1e-6, 30.0, 1e4):
        x, y = scale * torch.randn(MEMBERS, 33, 7), torch.randint(0, 4, (MEMBERS, 33))
        losses, grads = by_autograd(whole, block, x, y)
        assert torch.allclose(train(run, x, y), losses, rtol=1e-5)
        for mine, own in zip(run.views, grads, strict=True):
            assert torch.allclose(mine, own, rtol=1e-4, atol=1e-5 * scale)


def test_nan_stays_with_its_member() -> None:
    run, _, block = pair(NETS["batch norm"])
    x, y = torch.randn(MEMBERS, 33, 7), torch.randint(0, 4, (MEMBERS, 33))
    block.values[1, 3] = torch.nan
    losses = train(run, x, y)
    assert losses.isnan().tolist() == [False, True, False]
    assert run.grads[[0, 2]].isfinite().all()


@pytest.mark.skipif(
    executor.kernel() is None or not executor.kernel().dashpot_has_low(), reason="no products in bfloat16 here"
)
@pytest.mark.parametrize(
    "make", [lambda: nets.MLP(7, 4, width=130, depth=3), embedded(width=130, depth=3, activation="relu")]
)
@pytest.mark.parametrize("batch", [33, 128])
def test_products_in_bfloat16(batch: int, make: Callable[[], nn.Module]) -> None:
    """Both round the factors of each product to bfloat16; torch rounds the product, too. Over some batches: in one, a
    unit more or less may flip.
    """
    run, whole, block = pair(make, bfloat16=True)
    exact, exact_whole, exact_block = pair(make)
    assert run.program.ops["low"].sum() == 2
    assert exact.program.ops["low"].sum() == 0
    g = torch.Generator().manual_seed(1)
    errors = torch.zeros(len(run.views), 3)
    for _ in range(8):
        x, y = torch.randn(MEMBERS, batch, 7, generator=g), torch.randint(0, 4, (MEMBERS, batch), generator=g)
        losses, grads = by_autograd(whole, block, x, y)
        _, full = by_autograd(exact_whole, exact_block, x, y)
        assert torch.allclose(train(run, x, y), losses, rtol=0.02)
        triples = zip(run.views, grads, full, strict=True)
        errors += torch.tensor(
            [[(mine - own).norm(), (theirs - own).norm(), own.norm()] for mine, theirs, own in triples]
        )
    for segment, (mine, theirs, size) in zip(block.segments, errors.tolist(), strict=True):
        assert mine < 0.15 * size, segment.name  # flipped ReLUs included
        assert mine < 1.5 * theirs + 1e-4 * size, segment.name


def test_dropout_masks_are_those_of_the_hooks() -> None:
    """Fused with an activation, alone, or on a linear layer; at rates that differ, 0 and 1 included."""

    def make() -> nn.Module:
        return nn.Sequential(
            nn.Linear(6, 16),
            nn.ReLU(),
            nn.Dropout(0.0),
            nn.Linear(16, 16),
            nn.SiLU(),
            nn.Dropout(0.0),
            nn.Linear(16, 3),
        )

    places = "type:Dropout | type:Linear & ~name:6"
    members = [
        member(make, (D.Dropout(p=p, on=on),), seed=k)
        for k, (p, on) in enumerate([(0.3, places), (0.0, places), (0.6, "type:ReLU"), (1.0, "name:5")])
    ]
    assert isinstance(population(members)._groups[0][0].executor, ProgramExecutor)
    results = []
    for kernel in (executor.kernel(), None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(program, "kernel", lambda kernel=kernel: kernel)
            together = population(members)
            assert (together._groups[0][0].executor is None) == (kernel is None)
            together.train(3)
            results.append([together.tensors(k) for k in range(4)])
    for m, one, other in zip(members, *results, strict=True):
        demand_equal(one, other, of=m)


def test_threads_change_nothing() -> None:
    members = [member(techniques=(D.Mixup(alpha=0.3), D.Dropout(p=0.2), D.EMA(decay=0.5)), seed=k) for k in range(5)]
    results = []
    try:
        for threads in (1, 3, 8):
            torch.set_num_threads(threads)
            together = population(members)
            together.train(2)
            results.append([together.tensors(k) for k in range(5)])
    finally:
        torch.set_num_threads(1)
    for other in results[1:]:
        for mine, own in zip(other, results[0], strict=True):
            for key, t in own.items():
                assert torch.equal(mine[key], t)


def test_mix() -> None:
    from dashpot.core.stacks.mixing import mix_rows as mix
    from dashpot.techniques.augment.mixing.mixed_targets import class_probabilities
    from dashpot.techniques.augment.mixing.mixup import mixup

    x, y = torch.randn(2, 9, 3, 5), torch.randint(0, 4, (2, 9))
    order, share = torch.stack([torch.randperm(9), torch.randperm(9)]), torch.rand(2, 9)
    share[0, :3] = torch.tensor([0.0, 0.5, 1.0])
    for k in range(2):
        assert torch.allclose(mix(x, order, share)[k], mixup(x[k], x[k][order[k]], share[k]), atol=1e-6)
        soft = class_probabilities(y[k], 4)
        assert torch.allclose(mix(y, order, share, 4)[k], mixup(soft, soft[order[k]], share[k]), atol=1e-6)
    share[:] = 1
    assert torch.equal(mix(x, order, share), x)


def test_populations_in_threads_are_those_made_one_after_another() -> None:
    """Made, trained, merged and dropped beside each other, stacked and one by one."""
    from concurrent.futures import ThreadPoolExecutor

    def work(job: int) -> list[dict[str, Tensor]]:
        own = nn.Sequential if job % 2 else nn.Module

        def make() -> nn.Module:
            parts = [nn.Linear(6, 12), nn.Dropout(0.3 if own is nn.Module else 0.0), nn.ReLU(), nn.Linear(12, 3)]
            return nn.Sequential(*parts)

        techniques = (D.Mixup(alpha=0.3), D.L1(strength=1e-3), *(() if own is nn.Module else (D.Dropout(p=0.2),)))
        together = population([member(make, techniques, seed=10 * job + k) for k in range(3)])
        together.train(1)
        together.clone(0)
        together.train(2)
        return [dict(together.tensors(k)) for k in range(4)]

    jobs = range(8)
    with ThreadPoolExecutor(4) as pool:
        beside = list(pool.map(work, jobs))
    for mine, own in zip(beside, map(work, jobs), strict=True):
        for one, other in zip(mine, own, strict=True):
            for key, t in other.items():
                assert torch.equal(one[key], t), key


class Modes(nn.Module):
    """Does something else in training than in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        # Torch's modules return Any.
        return self.a(x) + self.b(x) if self.training else self.a(x)  # type: ignore[no-any-return]


class Asks(nn.Module):
    """Asks for the shape, which it may."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] == x.size(-1) == 6
        return self.layer(x)  # type: ignore[no-any-return]  # torch's modules return Any


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out, self.act = nn.Linear(6, 6), nn.Linear(6, 3), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        # Torch's modules return Any.
        return self.out(self.act(self.layer(self.act(self.layer(x)))))  # type: ignore[no-any-return]


class Reads(nn.Module):
    """What Dropout gets is read elsewhere, too, as it was before."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.act, self.drop, self.two, self.out = (
            nn.Linear(6, 8),
            nn.ReLU(),
            nn.Dropout(0.0),
            nn.Linear(8, 8),
            nn.Linear(8, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.one(x))
        return self.out(h + self.two(self.drop(h)))  # type: ignore[no-any-return]  # torch's modules return Any


def techniques(make: Any) -> tuple[Any, ...]:
    if make in (Modes, Asks, Dead, Cuts):
        return (D.L1(strength=1e-3),)
    return (D.Dropout(p=0.3),) if make is Reads else (D.Dropout(p=0.3, on="type:Dropout | type:ReLU"),)


class Dead(nn.Module):
    """A layer whose output nobody reads: its gradient is none, not that of what last stood in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.one(x)
        self.two(h)
        return self.out(h)  # type: ignore[no-any-return]  # torch's modules return Any


class Cuts(nn.Module):
    """Columns of something else than the input."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.out = nn.Linear(6, 8), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.one(x)[..., 2:6])  # type: ignore[no-any-return]  # torch's modules return Any


def tables(**options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        settings = {"width": 16, "depth": 2, "numeric": 4, "embedding": "piecewise"} | options
        return nets.TableNet(6, 3, **settings).fit_bins(torch.randn(50, 6))

    return make


TABLES = {
    "piecewise": tables(bins=5),
    "periodic": tables(embedding="periodic"),
    "nominal": tables(nominal=[(4, 6)], nominal_size=3),
    "piecewise, layer norm, skip": tables(norm="layer", skip=True),
}


@pytest.mark.parametrize("name", TABLES)
def test_table_networks_are_programs_and_end_as_alone(name: str) -> None:
    recipes: list[tuple[Any, ...]] = [
        (D.Dropout(p=0.2), D.Mixup(alpha=0.3)),
        (D.Dropout(p=0.4), D.WeightDecay(strength=0.01)),
        (D.EMA(decay=0.7),),
    ]
    together = demand_as_alone([member(TABLES[name], r, seed=10 + k, lr=3e-3) for k, r in enumerate(recipes)])
    assert all(isinstance(group, StackedModels) and group.executor is not None for group, _ in together._groups)


@pytest.mark.parametrize(
    ("make", "fits"),
    [
        (Dead, False),
        (Cuts, False),
        (Reads, True),
        (Twice, False),
        (Modes, False),
        (Asks, True),
        (lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)), False),
        (lambda: nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Dropout(0.0), nn.Linear(8, 3)), False),
        (lambda: nn.Sequential(nn.Linear(6, 8), nn.Sequential(nn.ReLU(), nn.Dropout(0.0)), nn.Linear(8, 3)), True),
    ],
)
def test_what_is_no_program_runs_under_autograd_and_both_are_right(make: Any, fits: bool) -> None:
    together = demand_as_alone([member(make, techniques(make), seed=k) for k in range(2)])
    group = together._groups[0][0]
    assert isinstance(group, StackedModels)
    assert (group.executor is not None) == fits


def test_targets_that_are_no_classes_of_the_network_are_refused() -> None:
    x, y = table()
    with pytest.raises(DataError, match="must be classes 0 to 2.* got 1 to 3"):
        population([member()], [(x, y + 1)])


def test_what_fit_refuses_is_refused() -> None:
    x, _ = table()
    with pytest.raises(ConflictError, match="LabelSmoothing is for classification"):
        population([member(lambda: nets.MLP(6, 1), (D.LabelSmoothing(smoothing=0.1),))], [(x, x[:, 0])])
    with pytest.raises(ConflictError):
        population([member(techniques=(D.L1(strength=0.1), D.GroupLasso(strength=0.1)))])
    with pytest.raises(ConflictError, match="turned into a strength"):
        population([member(techniques=(D.L1(relative=0.1),))])


def test_large_networks_without_a_program_go_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "programmed", lambda *args: False)
    monkeypatch.setattr(planner, "ELEMENTS", 100)
    together = population([member(), member(seed=1)])
    assert isinstance(together._groups[0][0], SequentialTrainer)
    assert together.notes == ["trained one by one: so large that together they would be no faster"]
