"""On request: layers of low rank in two factors, and batch norms folded, against the large network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.core.errors import ConfigError, ConflictError
from dashpot.shrinking.beside import beside
from dashpot.shrinking.factors import Factors
from dashpot.shrinking.heads import HeadsAttention
from tests.shrinking.zoo import close, count


def of_rank(weight: Tensor, rank: int) -> None:
    """A product of two random matrices, of the weight's type."""
    rows, columns = weight.flatten(1).shape
    with torch.no_grad():
        made = torch.randn(rows, rank).to(weight) @ torch.randn(rank, columns).to(weight)
        weight.copy_(made.reshape(weight.shape) / (rank * columns) ** 0.5)


class Picture(nn.Module):
    """Convolutions with batch norm, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24)
        self.body = nn.Conv2d(24, 32, (3, 1), stride=2, padding=(1, 0), dilation=(2, 1), padding_mode="circular")
        self.narrow, self.last = nn.Conv2d(32, 24, 1, bias=False), nn.BatchNorm2d(24)
        self.wide, self.head = nn.Linear(24, 40), nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = self.last(self.narrow(self.body(x).relu()).tanh())
        return self.head(self.wide(x.mean((2, 3))).relu())


def picture() -> Picture:
    torch.manual_seed(0)
    model = Picture().eval()
    with torch.no_grad():
        for norm in (model.norm, model.last):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            norm.bias.normal_()
    return model


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_layers_of_low_rank_are_two_factors(kind: torch.dtype, tmp_path: Path) -> None:
    model = picture().to(kind)
    of_rank(model.body.weight, 5)
    of_rank(model.narrow.weight, 3)
    of_rank(model.wide.weight, 4)
    of_rank(model.head.weight, 5)  # of full rank
    with torch.no_grad():
        model.wide.weight[:7] = 0
    x = torch.randn(2, 3, 8, 8, dtype=kind)
    found = dashpot.shrink(model, x, low_rank=True)
    assert found.plan.factors == {"body": 5, "narrow": 3, "wide": 4}
    assert [tuple(p.shape) for p in found.model.body.parameters()] == [(5, 24, 3, 1), (32, 5, 1, 1), (32,)]
    assert [tuple(p.shape) for p in found.model.narrow.parameters()] == [(3, 32, 1, 1), (24, 3, 1, 1)]
    assert [tuple(p.shape) for p in found.model.wide.parameters()] == [(4, 24), (33, 4), (33,)]
    assert found.after.parameters == count(found.model) < dashpot.shrink(model, x).after.parameters
    assert found.after.macs < dashpot.shrink(model, x).after.macs
    assert "body: two factors of rank 5" in found.summary()
    share = 1e-5 if kind is torch.float32 else 1e-12
    other = torch.randn(3, 3, 10, 6, dtype=kind)
    assert close(model(other), found.model(other), share)
    torch.testing.assert_close(found.model.body.weight, model.body.weight, rtol=1e-5, atol=1e-5)
    layers = {layer["name"]: layer for layer in beside(model, found.model, (x,), {})["by_layer"]}
    assert layers["wide"]["parameters"] == [24 * 40 + 40, 4 * 24 + 33 * 4 + 33]
    assert layers["wide"]["macs"] == [24 * 40, 4 * 24 + 33 * 4]
    assert all(ms > 0 for ms in layers["wide"]["ms_64"])
    dashpot.save_shrunk(found, tmp_path / "small.safetensors")
    again = dashpot.load_shrunk(lambda: picture().to(kind), tmp_path / "small.safetensors")
    assert torch.equal(again(other), found.model(other))
    assert close(again(x), torch.export.export(again, (x,)).module()(x), share)
    second = dashpot.shrink(found.model, x, low_rank=True)
    assert second.plan.factors == {}
    assert second.layers == {}


def test_a_nuclear_norm_ends_in_two_factors() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 2))
    x = torch.randn(256, 20)
    y = (x[:, 0] + x[:, 1] > 0).long()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    with dashpot.Recipe([dashpot.penalties.NuclearNorm(strength=0.02, on="name:2.weight")]).attach(model, optimizer):
        for _ in range(200):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    rank = int(torch.linalg.matrix_rank(model[2].weight.double(), rtol=1e-5))
    assert 1 <= rank < 10
    found = dashpot.shrink(model, x[:2], low_rank=True)
    assert found.plan.factors["2"] == rank
    assert close(model(x), found.model(x), 1e-5)
    assert dashpot.shrink(model, x[:2]).plan.factors == {}


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.tied, self.groups = nn.Linear(12, 12), nn.Linear(12, 12), nn.Conv1d(1, 16, 9, groups=1)
        self.first.weight = self.tied.weight
        self.many, self.hooked, self.last = nn.Conv1d(16, 16, 9, groups=2), nn.Linear(16, 16), nn.Linear(16, 16)
        self.hooked.register_forward_hook(lambda module, args, out: None)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(self.groups(self.tied(self.first(x)).unsqueeze(1)), (4, 4))
        return self.last(self.hooked(self.many(functional.pad(x, (4, 4))).mean(2)))


def test_layers_of_low_rank_that_stay_have_a_reason() -> None:
    torch.manual_seed(0)
    model = Shared().double()
    for weight in (model.tied.weight, model.many.weight, model.hooked.weight, model.last.weight):
        of_rank(weight, 2)
    found = dashpot.shrink(model, torch.randn(2, 12, dtype=torch.float64), low_rank=True)
    assert found.plan.factors == {"last": 2}
    assert found.whole == {
        "first": "its weight is used in several places; its rank is 2",
        "tied": "its weight is used in several places; its rank is 2",
        "many": "a convolution in groups does not become two layers; its rank is 2",
        "hooked": "hooks are registered on it; its rank is 2",
    }
    assert "many stays: a convolution in groups" in found.summary()
    layer = nn.Linear(16, 16).double()
    of_rank(layer.weight, 2)
    alone = dashpot.shrink(layer, torch.randn(2, 16, dtype=torch.float64), low_rank=True)
    assert alone.whole == {"the network": "it is the whole network; its rank is 2"}
    half = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16)).bfloat16()
    of_rank(half[0].weight, 2)
    assert dashpot.shrink(half, torch.randn(2, 16).bfloat16(), low_rank=True).plan.factors == {}
    with pytest.raises(ConfigError, match="low_rank must be True or False"):
        x = torch.randn(2, 12, dtype=torch.float64)
        dashpot.shrink(model, x, low_rank=0.5)  # type: ignore[arg-type]  # that is the test


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_torchs_fused_layers_take_factors() -> None:
    """Torch computes a whole layer by itself in evaluation, from the weights that it reads."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).double()
    of_rank(model.layers[0].linear1.weight, 3)
    of_rank(model.layers[1].linear2.weight, 3)
    x = torch.randn(3, 5, 16, dtype=torch.float64)
    padding = torch.arange(5) >= torch.tensor([[5], [3], [2]])
    found = dashpot.shrink(model, {"src": x, "src_key_padding_mask": padding}, low_rank=True)
    assert found.plan.factors == {"layers.0.linear1": 3, "layers.1.linear2": 3}
    assert all(type(own.self_attn) is HeadsAttention for own in found.model.layers)
    for train in (True, False):
        for gradients in (True, False):
            with torch.set_grad_enabled(gradients):
                for masks in ({}, {"src_key_padding_mask": padding}):
                    wanted, got = (net.train(train)(x, **masks) for net in (model, found.model))
                    assert close(wanted, got, 1e-12), (train, gradients)


def test_an_optimizer_goes_on_with_factors_but_not_with_folded_norms() -> None:
    model = picture()
    of_rank(model.wide.weight, 4)
    optimizer = torch.optim.AdamW(
        [{"params": model.head.parameters()}, {"params": model.wide.parameters(), "lr": 0.01}]
    )
    x, y = torch.randn(8, 3, 8, 8), torch.randint(5, (8,))
    functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    of_rank(model.wide.weight, 4)
    found = dashpot.shrink(model, x[:2], low_rank=True)
    carried = found.plan.carry(optimizer, model, found.model)
    wide = found.model.wide
    assert isinstance(wide, Factors)
    assert [id(p) for p in carried.param_groups[1]["params"]] == [id(p) for p in wide.parameters()]
    assert carried.param_groups[1]["lr"] == 0.01
    assert {id(p) for p in carried.state} == {id(p) for p in (*found.model.head.parameters(), wide[1].bias)}
    torch.testing.assert_close(carried.state[wide[1].bias]["exp_avg"], optimizer.state[model.wide.bias]["exp_avg"])
    functional.cross_entropy(found.model(x), y).backward()
    before = [p.detach().clone() for p in wide.parameters()]
    carried.step()
    assert all(not torch.equal(one, other) for one, other in zip(before, wide.parameters(), strict=True))
    folded = dashpot.shrink(model, x[:2], fold=True)
    with pytest.raises(ConflictError, match="without fold"):
        folded.plan.carry(torch.optim.SGD(model.parameters()), model, folded.model)


@pytest.mark.parametrize("both", [False, True])
def test_batch_norms_are_folded(both: bool, tmp_path: Path) -> None:
    model = picture().double()
    of_rank(model.narrow.weight, 3)
    with torch.no_grad():
        model.stem.weight[:5] = 0
        model.norm.bias[:5] = -9.0  # behind the activation nothing is left
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    found = dashpot.shrink(model, x, fold=True, low_rank=both)
    assert found.plan.folded == (("stem", "norm"),)
    assert found.plan.factors == ({"narrow": 3} if both else {})
    assert found.whole == {"last": "it is not alone behind a linear layer or convolution, or one of them is used twice"}
    assert isinstance(found.model.norm, nn.Identity)
    assert found.model.stem.weight.shape == (19, 3, 3, 3)
    assert "batch norms folded: norm" in found.summary()
    other = torch.randn(3, 3, 6, 6, dtype=torch.float64)
    assert close(model(other), found.model(other), 1e-12)
    dashpot.save_shrunk(found, tmp_path / "small.safetensors")
    again = dashpot.load_shrunk(lambda: picture().double(), tmp_path / "small.safetensors")
    assert torch.equal(again(other), found.model(other))
    with pytest.raises(ConfigError, match="fold must be True or False"):
        dashpot.shrink(model, x, fold="yes")  # type: ignore[arg-type]  # that is the test


MOVED: dict[str, Any] = {
    "in groups": lambda: nn.ConvTranspose2d(8, 12, 3, groups=2, bias=False),
    "plain": lambda: nn.ConvTranspose2d(8, 12, 3, stride=2, bias=False),
}


@pytest.mark.parametrize("name", MOVED)
def test_folding_makes_biases_that_a_file_has(name: str, tmp_path: Path) -> None:
    def build() -> nn.Module:
        torch.manual_seed(0)
        model = nn.Sequential(MOVED[name](), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 3, 1)).eval().double()
        model[1].running_mean.normal_()
        return model

    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    found = dashpot.shrink(build(), x, fold=True)
    assert found.model[0].bias.shape == (12,)
    dashpot.save_shrunk(found, tmp_path / "small.safetensors")
    again = dashpot.load_shrunk(build, tmp_path / "small.safetensors")
    assert close(build()(x), again(x), 1e-12)
