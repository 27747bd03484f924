"""Shrinking: the same outputs, gradients and training, and nothing left that could go."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

import dashpot
from dashpot.core.errors import ConfigError, ConflictError
from tests.shrinking.zoo import ZOO, Heads, Tied, close, count, planted


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", ZOO)
def test_a_smaller_network_has_the_same_outputs(name: str, seed: int) -> None:
    make, example = ZOO[name]
    model = planted(make, seed).double()
    x = example()
    x = x.double() if x.is_floating_point() else x
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = dashpot.shrink(model, x)
    assert count(found.model) < count(model)
    assert (found.before.parameters, found.after.parameters) == (count(model), count(found.model))
    assert found.after.macs < found.before.macs
    torch.manual_seed(9)
    other = example()
    other = 3 * other.double() if other.is_floating_point() else other
    assert close(model(other), found.model(other), 1e-6)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [type(m) for m in found.model.modules()] == [type(m) for m in model.modules()]
    assert not found.model.training


@pytest.mark.parametrize("name", ["perceptron", "gated", "unet", "ours for tables", "encoder"])
def test_gradients_of_what_is_left_are_equal(name: str) -> None:
    """Where no channel carries the constants of others: what makes that one has another gradient."""
    make, example = ZOO[name]
    model = planted(make, 1).double()
    found = dashpot.shrink(model, example().double())
    assert not any("carries" in reason for reason in found.stayed)
    x = example().double()
    for net in (model, found.model):
        net(x).square().mean().backward()
    big = dict(model.named_parameters())
    assert found.layers
    for key, parameter in found.model.named_parameters():
        if big[key].grad is not None:
            torch.testing.assert_close(parameter.grad, found.plan.cut(key, big[key].grad), rtol=1e-6, atol=1e-10)


def by_hand(weights: list[np.ndarray]) -> list[int]:
    """Of a perceptron with ReLU and biases how many units of each hidden layer both vary and are read."""
    varies = [np.ones(weights[0].shape[1], bool)]
    for w in weights[:-1]:
        varies.append(np.array([any(w[i, j] != 0 and varies[-1][j] for j in range(w.shape[1])) for i in range(len(w))]))
    read = np.ones(len(weights[-1]), bool)
    counts = []
    for k in range(len(weights) - 1, 0, -1):
        w = weights[k]
        read = np.array([any(w[i, j] != 0 and read[i] for i in range(len(w))) for j in range(w.shape[1])])
        counts.append(max(int((read & varies[k]).sum()), 1))
    return counts[::-1]


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_left_that_could_go(seed: int) -> None:
    """Random zeros of any share, against a loop over single weights."""
    draw = np.random.default_rng(seed)
    sizes = [int(n) for n in draw.integers(3, 12, size=4)]
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(sizes[-1], 2)).double()
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer in linear[:-1]:
            layer.weight[torch.from_numpy(draw.random(layer.weight.shape) < draw.uniform(0.6, 0.95))] = 0
        linear[-1].weight[:, 0] = 0
    found = dashpot.shrink(model, torch.randn(4, sizes[0], dtype=torch.float64))
    left = [layer.out_features for layer in found.model if isinstance(layer, nn.Linear)][:-1]
    assert left == by_hand([layer.weight.detach().numpy() for layer in linear])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_training_goes_on_as_the_large_network_would(optimizer: str) -> None:
    """Dead ReLU units get no gradient: the large network keeps them dead, and its moments come along."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 2)).double()
    with torch.no_grad():
        model[0].weight[3:9] = 0
        model[0].bias[3:9] = -0.1
        model[2].weight[:5] = 0
        model[2].bias[:5] = -0.1
    x, y = torch.randn(32, 6, dtype=torch.float64), torch.randint(2, (32,))
    options: dict[str, Any] = {"lr": 0.01, "weight_decay": 0.0}
    big: torch.optim.Optimizer = (
        torch.optim.AdamW(model.parameters(), **options)
        if optimizer == "adamw"
        else torch.optim.SGD(model.parameters(), momentum=0.9, **options)
    )

    def steps(net: nn.Module, by: torch.optim.Optimizer, number: int) -> None:
        for _ in range(number):
            by.zero_grad()
            functional.cross_entropy(net(x), y).backward()
            by.step()

    steps(model, big, 5)
    found = dashpot.shrink(model, x[:2])
    assert found.model[0].out_features == 10
    assert found.model[2].out_features == 7
    small = found.plan.carry(big, model, found.model)
    assert type(small) is type(big)
    steps(model, big, 20)
    steps(found.model, small, 20)
    torch.testing.assert_close(found.model(x), model(x), rtol=1e-9, atol=1e-9)
    fresh = torch.optim.AdamW(found.model.parameters())
    with pytest.raises(ConflictError, match="none of Sequential's"):
        found.plan.carry(fresh, model, found.model)


def test_columns_that_nobody_reads_are_dropped_and_said() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        model[0].weight[:, [1, 4]] = 0
    kept = dashpot.shrink(model, torch.randn(2, 6))
    assert kept.inputs == {}
    assert kept.model[0].in_features == 6
    found = dashpot.shrink(model, torch.randn(2, 6), inputs="drop")
    assert list(found.inputs.values()) == [(0, 2, 3, 5)]
    x = torch.randn(5, 6)
    torch.testing.assert_close(found.model(x[:, [0, 2, 3, 5]]), model(x))
    with pytest.raises(ConfigError, match="inputs must be 'keep' or 'drop'"):
        dashpot.shrink(model, torch.randn(2, 6), inputs="none")


def test_group_lasso_ends_in_a_smaller_network() -> None:
    """What is made zero by training leaves, and predictions stay."""
    torch.manual_seed(0)
    x = torch.randn(256, 5)
    y = (x[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 2))
    penalty = dashpot.GroupLasso(strength=0.01, groups="rows", on="name:0.weight")
    optimizer = dashpot.optim.AdamW(model, lr=0.01, penalty=penalty)
    for _ in range(300):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    empty = int((model[0].weight == 0).all(dim=1).sum())
    assert empty > 10
    found = dashpot.shrink(model, x[:2])
    assert found.model[0].out_features == 32 - empty
    assert torch.equal(found.model(x).argmax(1), model(x).argmax(1))
    assert f"{32 - empty}x5" in found.summary()


def test_a_bias_is_made_where_a_constant_needs_one() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[0].weight[1] = 0
        model[0].bias[1] = 2.0
    found = dashpot.shrink(model, torch.randn(2, 3))
    torch.testing.assert_close(found.model[2].bias, 2.0 * model[2].weight[:, 1])
    assert found.plan.biases == ("2.bias",)


def test_a_constant_in_front_of_a_padded_convolution_is_carried_by_one_channel() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 1), nn.ReLU(), nn.Conv2d(6, 3, 3, padding=1)).double()
    with torch.no_grad():
        model[0].weight[1:5] = 0
        model[0].bias[1:5] = torch.tensor([0.5, 2.0, -1.0, 1.0])
    found = dashpot.shrink(model, torch.randn(2, 1, 6, 6, dtype=torch.float64))
    assert found.model[0].out_channels == 3  # two that vary, and the largest constant
    assert found.stayed == {"it carries constants into 2, which pads": 1}
    for size in (4, 5, 9):
        x = torch.randn(2, 1, size, size, dtype=torch.float64)
        assert close(model(x), found.model(x), 1e-12)


def test_what_stays_although_it_is_zero_has_its_reason() -> None:
    torch.manual_seed(0)
    recurrent = nn.LSTM(4, 8, batch_first=True)
    with torch.no_grad():
        recurrent.weight_hh_l0[:, 3] = 0
    assert dashpot.shrink(recurrent, torch.randn(2, 3, 4)).layers == {}
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    with torch.no_grad():
        model[0].weight[2] = 0
    found = dashpot.shrink(model, torch.randn(2, 4))
    assert found.layers == {}  # behind the norm it varies
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        model[0].weight.zero_()
    found = dashpot.shrink(model, torch.randn(2, 4))
    assert found.model[0].out_features == 1
    assert found.stayed == {"a layer keeps at least one unit": 1}


class Twice(nn.Module):
    """One layer that reads two others."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.shared = nn.Linear(3, 5), nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.shared(self.a(x)) + self.shared(self.b(x)).tanh()


def test_a_layer_used_twice_folds_no_constants() -> None:
    torch.manual_seed(0)
    model = Twice().double()
    with torch.no_grad():
        for layer, value in ((model.a, 1.0), (model.b, -2.0)):
            layer.weight[[0, 3]] = 0
            layer.bias[3] = 0.0
            layer.bias[0] = value
    found = dashpot.shrink(model, torch.randn(2, 3, dtype=torch.float64))
    assert found.model.a.out_features == 4  # the one of zeros in both leaves
    assert found.stayed == {"shared is used more than once": 1}
    x = torch.randn(4, 3, dtype=torch.float64)
    assert close(model(x), found.model(x), 1e-12)


def test_tied_weights_stay_tied() -> None:
    torch.manual_seed(0)
    model = Tied()
    with torch.no_grad():
        model.embedding.weight[:, 2] = 0
        model.body.weight[2] = 0
        model.body.bias[2] = 0
    found = dashpot.shrink(model, torch.randint(11, (2, 3)))
    assert found.model.head.weight is found.model.embedding.weight
    assert found.model.embedding.weight.shape == (11, 5)
    assert found.model.embedding.embedding_dim == 5


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x


class Sizes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4 * 16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).view(len(x), 4 * 16))


@pytest.mark.parametrize(
    ("make", "example", "message"),
    [
        (Branches, torch.randn(2, 3), "torch.export cannot trace its forward"),
        (lambda: torch.compile(nn.Linear(3, 2)), torch.randn(2, 3), "pass what it wraps"),
        (lambda: nn.Linear(3, 2), torch.randn(2, 3, device="meta"), "Move them to one device"),
        (lambda: nn.Linear(3, 2), (), "must hold a tensor"),
    ],
)
def test_what_cannot_be_shrunk_is_refused(make: Any, example: Any, message: str) -> None:
    with pytest.raises(ConflictError, match=message):
        dashpot.shrink(make(), example)


def test_what_sizes_in_the_code_need_stays_and_the_line_is_told() -> None:
    model = Sizes()
    with torch.no_grad():
        model.conv.weight[1] = 0
    before = copy.deepcopy(model.state_dict())
    found = dashpot.shrink(model, torch.randn(2, 1, 6, 6))
    assert found.layers == {}
    (reason,) = found.stayed
    assert "test_shrink.py:" in reason
    assert "`return self.head(self.conv(x).view(len(x), 4 * 16))`, has sizes of its own: write -1" in reason
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.training


class Counts(nn.Module):
    """A forward that fails where no operation is."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x).relu()
        if x.shape[-1] != 4:
            raise ValueError("four are needed")
        return self.head(x)


def test_a_forward_that_fails_by_itself_is_refused() -> None:
    model = Counts()
    with torch.no_grad():
        model.body.weight[1] = 0
    with pytest.raises(ConflictError, match=r"fails with fewer units at test_shrink.py:.*four are"):
        dashpot.shrink(model, torch.randn(2, 3))


@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, parametrizations.weight_norm])
def test_a_layer_whose_weight_is_computed_stays_and_the_others_shrink(norm: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(norm(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 2)).eval()
    with torch.no_grad():
        model[2].weight[:5] = 0
    found = dashpot.shrink(model, torch.randn(2, 4))
    assert found.model[2].out_features == 7
    assert found.model[0].weight.shape == (8, 4)
    x = torch.randn(5, 4)
    torch.testing.assert_close(found.model(x), model(x), rtol=1e-5, atol=1e-6)


def test_half_precision_and_modes_are_kept() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2)).bfloat16()
    model[3].requires_grad_(False)
    with torch.no_grad():
        model[0].weight[:3] = 0
    model[1].eval()
    x = torch.randn(2, 4).bfloat16()
    random = torch.get_rng_state()
    found = dashpot.shrink(model, x)
    assert torch.equal(torch.get_rng_state(), random)
    assert found.model[0].weight.dtype is torch.bfloat16
    assert not found.model[3].weight.requires_grad
    assert [m.training for m in found.model.modules()] == [m.training for m in model.modules()]


@pytest.mark.parametrize("by", ["values", "outputs"])
def test_whole_heads_leave(by: str) -> None:
    """A head without values gives its bias at every place; one that nobody reads need not be computed."""
    torch.manual_seed(0)
    model = Heads().double()
    with torch.no_grad():
        if by == "values":
            model.value.weight[4:8] = 0
        else:
            model.join.weight[:, 4:8] = 0
        model.query.weight[13] = 0  # a part of a head stays
        model.query.bias[13] = 0
        model.wide.weight[:6] = 0
    found = dashpot.shrink(model, torch.randn(2, 5, 16, dtype=torch.float64))
    kept = [*range(4), *range(8, 16)]
    for name in ("query", "key", "value"):
        assert found.plan.kept[f"{name}.weight"][0].tolist() == kept
    assert found.model.join.in_features == 12
    assert found.model.wide.out_features == 26
    x = 3 * torch.randn(3, 7, 16, dtype=torch.float64)
    assert close(model(x), found.model(x), 1e-9)


def test_heads_stay_where_the_code_needs_all_of_them() -> None:
    torch.manual_seed(0)
    model = Heads(fixed=True)
    with torch.no_grad():
        model.value.weight[4:8] = 0
        model.wide.weight[:6] = 0
    found = dashpot.shrink(model, torch.randn(2, 5, 16))
    assert found.model.join.in_features == 16
    assert found.model.wide.out_features == 26
    (reason,) = found.stayed
    assert "zoo.py:" in reason
    assert "has sizes of its own: write -1" in reason


def test_heads_of_transformers_leave() -> None:
    transformers = pytest.importorskip("transformers")
    settings = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
    torch.manual_seed(0)
    model = transformers.BertModel(
        transformers.BertConfig(vocab_size=30, max_position_embeddings=16, **settings)
    ).eval()
    with torch.no_grad():
        layer = model.encoder.layer[0]
        layer.attention.self.value.weight[8:12] = 0
        layer.intermediate.dense.weight[:5] = 0
    found = dashpot.shrink(model, torch.randint(30, (2, 6)))
    small = found.model.encoder.layer[0]
    assert small.attention.self.query.out_features == 12
    assert small.attention.output.dense.in_features == 12
    assert small.intermediate.dense.out_features == 19
    assert found.model.encoder.layer[1].attention.self.query.out_features == 16
