"""Tensors that are not dense float32 ones in the proximal optimizers, and an ``on`` that these cannot look up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

import dashpot
from dashpot.optim import SGD, AdamW
from dashpot.techniques.penalties.proximal import CHUNK, Proximal

ROWS, WIDTH = 400, 400
assert ROWS * WIDTH > CHUNK
STEP: dict[Any, float] = {AdamW: 0.01, SGD: 0.1}


@pytest.fixture
def mesh() -> Iterator[Any]:
    """Two ranks, of which this process is the first, and nobody is the second."""
    if not dist.is_available():
        pytest.skip("torch without distributed")
    from torch.distributed.tensor import DeviceMesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    try:
        yield DeviceMesh("cpu", [0, 1])
    finally:
        dist.destroy_process_group()


def stepped(p: Tensor, g: Tensor, make: Any, penalty: Proximal, attached: bool) -> Tensor:
    holder = nn.ParameterList([nn.Parameter(p)])
    if attached:
        torchs = {AdamW: torch.optim.AdamW, SGD: torch.optim.SGD}[make]
        optimizer: Any = torchs(holder.parameters(), lr=STEP[make])
        penalty.attach(holder, optimizer)
    else:
        optimizer = make(holder, lr=STEP[make], penalty=penalty)
    for _ in range(3):
        holder[0].grad = g
        optimizer.step()
    return holder[0].detach()


@pytest.mark.parametrize("attached", [False, True], ids=["optim", "attached"])
@pytest.mark.parametrize("make", [AdamW, SGD])
@pytest.mark.parametrize(
    "penalty",
    [
        dashpot.L1(strength=0.01),
        dashpot.L1(strength=0.5, scaling="decoupled"),
        dashpot.ElasticNet(strength=0.01),
        dashpot.SCAD(strength=0.01),
        dashpot.NonNegative(),
        dashpot.GroupLasso(strength=0.3),
    ],
    ids=str,
)
def test_a_large_dtensor_is_mapped_as_its_shard_alone_would_be(
    mesh: Any, make: Any, penalty: Proximal, attached: bool
) -> None:
    from torch.distributed.tensor import DTensor, Shard

    w = 0.05 * torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))
    g = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1))

    def sharded(t: Tensor) -> Tensor:
        return DTensor.from_local(t.clone(), mesh, [Shard(0)], run_check=False)

    got = stepped(sharded(w), sharded(g), make, penalty, attached).to_local()  # type: ignore[attr-defined]  # a DTensor
    expected = stepped(w.clone(), g, make, penalty, attached)
    assert not torch.equal(expected, stepped(w.clone(), g, make, dashpot.L1(strength=0.0), attached))
    torch.testing.assert_close(got, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("attached", [False, True], ids=["optim", "attached"])
@pytest.mark.parametrize("groups", ["heads:5", torch.arange(20 * 12).reshape(20, 12) // 7], ids=["heads", "index"])
def test_groups_that_shards_cut_are_refused_by_name(mesh: Any, groups: Any, attached: bool) -> None:
    from torch.distributed.tensor import DTensor, Shard

    w = DTensor.from_local(torch.ones(10, 12), mesh, [Shard(0)], run_check=False)
    with pytest.raises(
        dashpot.ConflictError, match=r"(?s)GroupLasso.* 0, a DTensor whose shards .*Shard.* cut its groups"
    ):
        stepped(w, w, AdamW, dashpot.GroupLasso(groups=groups), attached)


@pytest.mark.parametrize("make", [AdamW, SGD])
def test_another_subclass_is_mapped_whole_by_its_own_operations(make: Any) -> None:
    class Copying(Tensor):
        """Whose views are copies."""

        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = super().__torch_function__(func, types, args, kwargs or {})
            return out.clone() if func is Tensor.view else out

    w = 0.05 * torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))
    g = torch.ones_like(w)
    penalty = dashpot.L1(strength=0.3)
    got = stepped(w.clone().as_subclass(Copying), g.as_subclass(Copying), make, penalty, False).as_subclass(Tensor)
    torch.testing.assert_close(got, stepped(w.clone(), g, make, penalty, False), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("attached", [False, True], ids=["optim", "attached"])
def test_moments_may_lie_otherwise_in_memory_than_the_parameter(attached: bool) -> None:
    shape, penalty = (64, 64, 6, 6), dashpot.L1(strength=1e-3)
    w = 0.05 * torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def run(turn: Callable[[Tensor], Tensor]) -> Tensor:
        holder = nn.ParameterList([nn.Parameter(w.clone())])
        if attached:
            optimizer: Any = torch.optim.AdamW(holder.parameters(), lr=0.01)
            penalty.attach(holder, optimizer)
        else:
            optimizer = AdamW(holder, lr=0.01, penalty=penalty, engine="eager")
        for step in range(3):
            g = torch.randn(shape, generator=torch.Generator().manual_seed(step + 1))
            holder[0].grad = g
            state = optimizer.state[holder[0]]
            for name in ("exp_avg", "exp_avg_sq") if state else ():
                state[name] = turn(state[name])
            if attached:  # of torch's ways to step, its loop over parameters follows strides
                optimizer.param_groups[0]["foreach"] = False
            optimizer.step()
        return holder[0].detach()

    got, expected = run(lambda t: t.contiguous(memory_format=torch.channels_last)), run(lambda t: t)
    torch.testing.assert_close(got, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("make", [AdamW, SGD])
@pytest.mark.parametrize("engine", ["auto", "eager", "compiled"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_maximize_in_any_precision(make: Any, engine: str, dtype: torch.dtype) -> None:
    """Climbing by g is descending by -g, and the penalty shrinks in both."""
    w = (0.05 * torch.randn(200, 300, generator=torch.Generator().manual_seed(0))).to(dtype)
    g = torch.randn(200, 300, generator=torch.Generator().manual_seed(1)).to(dtype)
    penalty = dashpot.L1(strength=0.02)
    ends = []
    for sign, maximize in ((1, False), (-1, True)):
        p = nn.Parameter(w.clone())
        optimizer = make([p], lr=STEP[make], penalty=penalty, engine=engine, maximize=maximize)
        # The compiled pass itself takes a compiler many seconds: only that maximize does not go there.
        if engine == "compiled" and not maximize:
            optimizer.engine = "eager"
        p.grad = sign * g
        optimizer.step()
        ends.append(p.detach())
    assert torch.equal(ends[0], ends[1])
    assert 0 < int((ends[0] == 0).sum()) < ends[0].numel()


@pytest.mark.parametrize("make", [AdamW, SGD])
def test_what_the_map_cannot_act_on_is_refused_at_construction(make: Any) -> None:
    with pytest.raises(
        dashpot.ConflictError, match="L1 acts on dense real weights, and parameter 0 of group 0 is complex"
    ):
        make([nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))], penalty=dashpot.L1())
    with pytest.raises(dashpot.ConflictError, match="parameter 0 of group 0 is of layout torch.sparse_coo"):
        make([nn.Parameter(torch.ones(2, 2).to_sparse())], penalty=dashpot.L1())
    with pytest.raises(dashpot.ConfigError, match="differentiable must be False"):
        make([nn.Parameter(torch.ones(2, 2))], penalty=dashpot.L1(), differentiable=True)
    # Without a penalty they are torch's own affair.
    make([nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))])


@pytest.mark.parametrize("make", [AdamW, SGD])
def test_an_on_that_cannot_be_looked_up_is_refused(make: Any) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    for on in ("name:nope", "type:Linear", "biases", "weights & ~name:1.*"):
        with pytest.raises(
            dashpot.ConfigError, match=r"(?s)L1.on must be weights.*Give the optimizer the model itself"
        ):
            make(model.parameters(), penalty=dashpot.L1(on=on))
        with pytest.raises(dashpot.ConfigError, match=r"L1.on must be weights"):
            make([{"params": [model[0].weight], "penalty": dashpot.L1(on=on)}])
    with pytest.raises(dashpot.ConflictError, match=r"name:nope.*acts on no parameter of Sequential.*0.weight, 0.bias"):
        make(model, penalty=dashpot.L1(on="name:nope"))
    with pytest.raises(dashpot.ConflictError, match="acts on no parameter"):
        make(model, penalty="l1:on=embeddings")
    optimizer = make(model, penalty=dashpot.L1(on="name:0.weight"))
    assert optimizer.param_groups[0]["penalized"] == [True, False, False, False]
    with pytest.raises(dashpot.ConfigError, match=r"L1.on must be weights"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2, 2))]})
