"""The same key gives the same draw on every device."""

from __future__ import annotations

import torch
from torch import nn

import dashpot
from dashpot.core.draws import beta_by, permutation_by, uniform_by
from dashpot.core.rng import Draws, initial_weights, stream, uniform_at
from dashpot.training.batches import Batches
from tests.cuda.helpers import DEVICE, PLACE, cuda, each, table

pytestmark = cuda

KEYS = [stream(k, "device") for k in range(5)] + [0, 1, (1 << 32) - 1, 1 << 32, (1 << 64) - 1]


@each("count", [1, 2, len(KEYS)])
def test_uniform_numbers(count: int) -> None:
    for keys in (KEYS[:count], KEYS[-count:]):
        got = uniform_by(keys, 1001, DEVICE)
        assert got.device.type == PLACE.type
        assert torch.equal(got.cpu(), uniform_by(keys, 1001, "cpu"))


def test_permutations_and_mixup_shares() -> None:
    for key in KEYS:
        mine, theirs = Draws(key), Draws(key)
        assert torch.equal(mine.permutation(77, DEVICE).cpu(), theirs.permutation(77))
        assert torch.equal(mine.beta(0.3, 77, DEVICE).cpu(), theirs.beta(0.3, 77))
        assert torch.equal(mine.beta(0.0, 7, DEVICE).cpu(), theirs.beta(0.0, 7))
    assert torch.equal(Draws(7).permutation(50, DEVICE).cpu(), permutation_by([Draws(7).keys(1)[0]], 50)[0])
    assert torch.equal(Draws(7).beta(2.0, 50, DEVICE).cpu(), beta_by([Draws(7).keys(1)[0]], [2.0], 50)[0])


def test_noise_depends_on_its_key_only() -> None:
    first = Draws(3).normal((64, 5), DEVICE)
    torch.rand(3, device=DEVICE)
    assert torch.equal(Draws(3).normal((64, 5), DEVICE), first)
    assert not torch.equal(Draws(4).normal((64, 5), DEVICE), first)


def test_masks() -> None:
    clock = torch.tensor([3, 1])
    mine, theirs = (uniform_at(KEYS[0], clock, (4, 9), torch.device(place)) for place in (DEVICE, "cpu"))
    assert torch.equal(mine.cpu(), theirs)
    zeros = []
    for place in (DEVICE, "cpu"):
        model = nn.Sequential(nn.Identity(), nn.Dropout(0.5)).to(place)
        holder = nn.Linear(2, 2).to(place)
        with dashpot.Dropout(p=0.4).attach(model, torch.optim.SGD(holder.parameters(), lr=0.1), seed=5):
            zeros.append(torch.stack([model(torch.ones(30, 20, device=place)) for _ in range(3)]).cpu())
    assert torch.equal(*zeros)
    assert 0.3 < float((zeros[0] == 0).double().mean()) < 0.5


def test_the_order_of_rows() -> None:
    orders = []
    for place in (DEVICE, "cpu"):
        x, y = table(50, place)
        batches = Batches("data", (x, y), 16, 3, torch.device(place))
        orders.append(torch.cat([batch.x for batch in batches.epoch(2)]).cpu())
    assert torch.equal(*orders)


def test_initial_weights_leave_the_devices_own_random_state_alone() -> None:
    def drawn() -> torch.Tensor:
        torch.manual_seed(11)
        torch.rand(2, device=DEVICE)
        with initial_weights(3):
            made.append(nn.Linear(4, 4).weight.detach())
        return torch.rand(5, device=DEVICE)

    made: list[torch.Tensor] = []
    assert torch.equal(drawn(), drawn())
    assert torch.equal(*made)
    torch.manual_seed(11)
    torch.rand(2, device=DEVICE)
    assert torch.equal(torch.rand(5, device=DEVICE), drawn())
