"""The network for tables: shapes, descriptions, what its parts compute, and that it stacks."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import make_friedman1
from torch import Tensor

import dashpot
from dashpot import nets
from dashpot.core.fields.select import parameter_role
from dashpot.nets.layers import NominalEmbedding, Scaling
from dashpot.nets.members import MemberHeads, MemberInput, MemberScale, mean_prediction
from dashpot.nets.numeric import Periodic, PiecewiseLinear
from dashpot.nets.table import TableNet

# 3 numbers, a one-hot block of 2, one of 10, an indicator, one of 12.
MIXED: dict[str, Any] = {
    "inputs": 28,
    "outputs": 4,
    "numeric": 3,
    "nominal": ((5, 15), (16, 28)),
    "width": 16,
    "depth": 3,
}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"scaling": False, "activation": "relu"},
    {"norm": "layer", "activation": "mish", "embedding": "periodic"},
    {"norm": "batch", "skip": True, "embedding": "piecewise", "embedding_size": 6, "bins": 5},
    {"skip": True, "members": 3, "activation": "gelu"},
    {"members": 4, "norm": "batch", "embedding": "periodic"},
    {"depth": 0, "members": 2, "skip": True, "outputs": 1},
    {"depth": 1, "skip": True, "activation": "selu", "outputs": 1},
    {"nominal": (), "numeric": 28, "embedding": "periodic"},
]


def mixed(rows: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.zeros(rows, 28)
    x[:, :3] = torch.randn(rows, 3, generator=generator)
    for start, stop in ((3, 5), (5, 15), (16, 28)):
        x[torch.arange(rows), torch.randint(start, stop, (rows,), generator=generator)] = 1
    x[:, 15] = torch.randint(0, 2, (rows,), generator=generator).float()
    return x


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_shapes_and_descriptions(options: dict[str, Any]) -> None:
    options = MIXED | options
    x = mixed(9)
    net = nets.build("table", (28,), net="TableNet", **{k: v for k, v in options.items() if k != "inputs"})
    net.fit_bins(x)
    twin = nets.from_description(json.loads(json.dumps(nets.describe(net))))
    outputs, members = options["outputs"], options.get("members", 1)
    assert net.train()(x).shape == ((9, outputs, members) if members > 1 else (9, outputs))
    assert net.eval()(x).shape == (9, outputs)
    if options.get("norm") != "batch":  # torch's own takes no empty batch
        assert net(x[:0]).shape == (0, outputs)
    twin.load_state_dict(net.state_dict())  # after the pass in training mode, which moves statistics
    assert torch.equal(net(x), twin.eval()(x))
    assert nets.describe(twin) == nets.describe(net)
    for name, p in net.named_parameters():
        assert torch.isfinite(p).all(), name


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_every_parameter_is_used(options: dict[str, Any]) -> None:
    net = TableNet(**(MIXED | options))
    net.train()(mixed(64)).square().mean().backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    # A bias in front of a batch normalization only moves what that takes away; rounding may leave its gradient at
    # exactly 0.
    assert [name for name in idle if not name.endswith("bias")] == []


def test_without_extras_it_is_a_plain_perceptron() -> None:
    net = TableNet(5, 3, width=8, depth=2, activation="relu", scaling=False).eval()
    first, second = (linear.linear for linear in net.linears)
    x = torch.randn(7, 5)
    hidden = (x @ first.weight.T + first.bias).clamp(min=0)
    hidden = (hidden @ second.weight.T + second.bias).clamp(min=0)
    assert torch.allclose(net(x), hidden @ net.head.weight.T + net.head.bias, atol=1e-6)


def test_the_first_predictions_are_near_zero_and_hidden_layers_keep_the_variance() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = TableNet(64, 3, width=512, depth=2)
        x = torch.randn(256, 64)
    assert net.linears[0](x).std().item() == pytest.approx(1.0, abs=0.05)
    assert net(x).abs().max() < 0.3


def test_skip_connections_are_before_activation() -> None:
    net = TableNet(5, 2, width=8, depth=3, activation="relu", norm="layer", skip=True, scaling=False)
    x = torch.randn(7, 5)

    def act(h: Tensor) -> Tensor:
        return torch.nn.functional.layer_norm(h, (8,)).clamp(min=0)

    h = net.linears[0](x)
    h = h + net.linears[1](act(h))
    h = h + net.linears[2](act(h))
    assert torch.allclose(net(x), net.head(act(h)), atol=1e-6)


# --- the layers ------------------------------------------------------------------------------------------------------


def test_scaling_moves_as_much_faster_as_it_says() -> None:
    layer = Scaling(2, speed=7.0)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert torch.allclose(layer(torch.ones(1, 2)), torch.full((1, 2), 1 - 7e-3), atol=1e-5)  # Adam's first step is lr


def test_periodic_is_its_formula_column_by_column() -> None:
    layer, x = Periodic(3, 5, waves=4), np.random.default_rng(0).normal(size=(6, 3))
    f, b, w, c = (p.detach().double().numpy() for p in (layer.frequency, layer.phase, layer.weight, layer.bias))
    out = layer(torch.from_numpy(x).float()).detach().numpy()
    for row in range(6):
        for column in range(3):
            waves = np.cos(2 * np.pi * (f[column] * x[row, column] + b[column]))
            expected = [x[row, column], *(waves @ w[column] + c[column])]
            np.testing.assert_allclose(out[row, 5 * column : 5 * column + 5], expected, atol=1e-5)


def test_a_frequent_value_does_not_use_up_the_bins() -> None:
    """Nine rows in ten are 0: the bins are those of the column without what is beyond one bin's share of its zeros."""
    rng = np.random.default_rng(0)
    rest = np.sort(rng.lognormal(size=40))
    train = rng.permutation(np.concatenate([np.zeros(360), rest])).astype(np.float32)
    layer = PiecewiseLinear(2, bins=8)
    layer.fit_bins(torch.from_numpy(np.stack([train, (train > 0).astype(np.float32)], axis=1)))
    expected = np.quantile(np.concatenate([np.zeros(50), rest.astype(np.float32)]), np.linspace(0, 1, 9))
    np.testing.assert_allclose(layer.edges[0].numpy(), expected, rtol=1e-6)
    assert len(np.unique(layer.edges[0].numpy())) >= 4
    assert set(layer.edges[1].tolist()) == {0.0, 1.0}


def test_piecewise_bins_are_quantiles_and_the_way_through_them_is_an_interpolation() -> None:
    rng = np.random.default_rng(1)
    train = np.stack([rng.normal(size=101), rng.integers(0, 3, 101), np.full(101, 2.0)], axis=1)
    layer = PiecewiseLinear(3, 3, bins=4)
    layer.fit_bins(torch.from_numpy(train))
    edges = np.quantile(train, np.linspace(0, 1, 5), axis=0).T
    np.testing.assert_allclose(layer.edges.numpy(), edges, atol=1e-6)
    x = rng.normal(size=(50, 3)) * 3
    out = layer(torch.from_numpy(x).float()).detach().numpy()
    assert np.isfinite(out).all()
    for column in range(3):
        way = np.stack(
            [
                np.interp(x[:, column], [low, high], [0.0, 1.0]) if high > low else np.zeros(50)
                for low, high in zip(edges[column, :-1], edges[column, 1:], strict=True)
            ],
            axis=1,
        )
        expected = way @ layer.weight[column].detach().numpy() + layer.bias[column].detach().numpy()
        np.testing.assert_allclose(out[:, 3 * column], x[:, column], atol=1e-6)
        np.testing.assert_allclose(out[:, 3 * column + 1 : 3 * column + 3], expected, atol=1e-5)


def test_bins_are_part_of_the_state_and_refuse_what_they_cannot_use() -> None:
    net = TableNet(3, 2, numeric=2, embedding="piecewise", bins=4)
    before = net.embedding.edges.clone()
    net.fit_bins(torch.randn(50, 3) + 5)
    assert "embedding.edges" in net.state_dict()
    assert (net.embedding.edges > before).all()
    for wrong, words in (
        (torch.zeros(0, 3), "rows"),
        (torch.zeros(4, 1), "columns"),
        (torch.full((4, 3), torch.nan), "finite"),
    ):
        with pytest.raises(dashpot.DataError, match=words):
            net.fit_bins(wrong)
    assert TableNet(3, 2).fit_bins(torch.zeros(0, 3)) is not None  # nothing to fit


def test_nominal_blocks_are_looked_up_and_blended() -> None:
    layer = NominalEmbedding(12, 4)
    codes = torch.tensor([3, 0, 11])
    rows = torch.nn.functional.one_hot(codes, 12).float()
    assert torch.equal(layer(rows), torch.nn.functional.embedding(codes, layer.weight))
    blend = 0.3 * rows[:1] + 0.7 * rows[1:2]
    assert torch.allclose(layer(blend), 0.3 * layer(rows[:1]) + 0.7 * layer(rows[1:2]), atol=1e-6)
    assert not layer(torch.zeros(1, 12)).any()


def test_columns_reach_the_body_numbers_first_then_what_stays_then_embedded_blocks() -> None:
    net = TableNet(**MIXED)
    x = mixed(5)
    columns = net._columns(x)
    assert columns.shape == (5, 3 + 2 + 1 + 8 + 8)
    assert torch.equal(columns[:, :6], torch.cat([x[:, :5], x[:, 15:16]], dim=1))
    assert torch.equal(columns[:, 6:14], net.nominal[0].weight[x[:, 5:15].argmax(dim=1)])
    assert torch.equal(columns[:, 14:], net.nominal[1].weight[x[:, 16:28].argmax(dim=1)])


# --- members ---------------------------------------------------------------------------------------------------------


def test_each_member_is_a_network_of_its_own() -> None:
    """Member j written out by hand, with its factors folded into the shared matrices."""
    net = TableNet(5, 3, width=8, depth=2, activation="relu", members=4).train()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn_like(p))
    x = torch.randn(7, 5)
    out = net(x)
    for j in range(4):
        h = x * (1 + net.scaling.speed * net.scaling.theta)
        for i, layer in enumerate(net.linears):
            before = net.spread.scale[j] if i == 0 else layer.before.scale[j]
            weight = layer.after.scale[j][:, None] * layer.linear.weight * before
            h = (h @ weight.T + layer.after.scale[j] * layer.linear.bias + layer.after.bias[j]).clamp(min=0)
        assert torch.allclose(out[:, :, j], h @ net.head.weight[j] + net.head.bias[j], atol=1e-4)


def test_evaluation_gives_the_mean_probability() -> None:
    net = TableNet(5, 3, width=8, members=4)
    x = torch.randn(7, 5)
    each = net.train()(x)
    together = net.eval()(x)
    assert torch.allclose(together.softmax(dim=1), each.softmax(dim=1).mean(dim=2), atol=1e-6)
    assert torch.allclose(together.exp().sum(dim=1), torch.ones(7), atol=1e-5)
    assert torch.isfinite(mean_prediction(torch.tensor([[1000.0, -1000.0], [-1000.0, 1000.0]]))).all()
    values = TableNet(5, 1, width=8, members=4)
    assert torch.allclose(values.train()(x).mean(dim=2), values.eval()(x), atol=1e-6)


@pytest.mark.parametrize(("outputs", "recipe"), [(3, True), (3, False), (1, False)])
def test_members_train_with_the_loop_and_with_techniques_on_labels(outputs: int, recipe: bool) -> None:
    x, y = make_friedman1(120, random_state=0)
    target = torch.from_numpy(
        np.digitize(y, np.quantile(y, [1 / 3, 2 / 3]))
        if outputs > 1
        else ((y - y.mean()) / y.std())[:, None].astype("float32")
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = TableNet(10, outputs, width=32, depth=2, members=4, numeric=10, embedding="periodic")
    parts = (
        dashpot.LabelSmoothing(smoothing=0.1) | dashpot.Mixup(alpha=0.2) | dashpot.Dropout(p=0.1) if recipe else None
    )
    data = (
        torch.from_numpy((x - x.mean(axis=0)) / x.std(axis=0)).float(),
        target.squeeze(-1) if outputs == 1 else target,
        torch.rand(120) + 0.5,
    )
    result = dashpot.fit(net, data, recipe=parts, epochs=30, batch_size=32, lr=5e-3, progress=False)
    assert result.history[-1].get("train_accuracy", result.history[-1].get("train_r2")) > 0.8


# --- populations -----------------------------------------------------------------------------------------------------


LEAVES = [
    (lambda: Scaling(6), 6),
    (lambda: NominalEmbedding(6, 3), 6),
    (lambda: Periodic(6, 4), 6),
    (lambda: PiecewiseLinear(6, 4), 6),
    (lambda: MemberInput(4, 6), 6),
    (lambda: MemberScale(4, 6), 6),
    (lambda: MemberScale(4, 6, bias=True), 6),
    (lambda: MemberHeads(4, 6, 3), 6),
]


def stacked(models: list[torch.nn.Module]) -> Mapping[str, Tensor]:
    return {name: torch.stack([model.state_dict()[name] for model in models]) for name in models[0].state_dict()}


@pytest.mark.parametrize(("make", "features"), LEAVES, ids=[type(make()).__name__ for make, _ in LEAVES])
def test_leaves_work_unchanged_on_stacked_parameters(make: Any, features: int) -> None:
    models = [make() for _ in range(3)]
    for model in models:
        assert model.stackable is True
        assert model.parameter_role in ("weights", "scales", "embeddings")
        for tensor in model.state_dict().values():
            tensor.add_(0.1 * torch.rand(tensor.shape).cumsum(-1))  # apart, and edges still in order
    x = torch.randn(3, 8, features)
    whole = torch.func.functional_call(models[0], dict(stacked(models)), (x,))
    for k, model in enumerate(models):
        assert torch.allclose(whole[k], model(x[k]), atol=1e-6)


@pytest.mark.parametrize("options", [v for v in VARIANTS if v.get("norm", "none") == "none"], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_the_whole_network_takes_a_member_axis(options: dict[str, Any], training: bool) -> None:
    """With a stand-in for stacked Linear layers; norms have twins of their own in a population."""

    class StackedLinear(torch.nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight.transpose(-1, -2) + self.bias.unsqueeze(-2)

    models = [TableNet(**(MIXED | options)).train(training) for _ in range(3)]
    x = torch.stack([mixed(8, seed) for seed in range(3)])
    alone = [model(x[k]) for k, model in enumerate(models)]
    tensors = dict(stacked(models))
    for module in models[0].modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = StackedLinear
    whole = torch.func.functional_call(models[0], tensors, (x,))
    for k in range(3):
        assert torch.allclose(whole[k], alone[k], atol=1e-5)


# --- in the library --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
def test_dropout_goes_after_each_activation_but_not_before_batch_normalization(norm: str) -> None:
    net = TableNet(5, 2, width=8, depth=3, norm=norm)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan = dashpot.Dropout(p=0.3).attach(net, torch.optim.SGD(net.parameters(), lr=0.1)).plan()
    assert f"after {1 if norm == 'batch' else 3} modules" in plan


def test_decay_and_sparsity_are_meant_for_matrices_only() -> None:
    net = TableNet(**MIXED, embedding="periodic", members=3)
    owners = dict(net.named_modules())
    roles: dict[str, str] = {}
    for name, p in net.named_parameters():
        owner, _, leaf = name.rpartition(".")
        roles[name] = parameter_role(owners[owner], leaf, p)
    weights = sorted(name for name, role in roles.items() if role == "weights")
    assert weights == ["head.weight", *(f"linears.{i}.linear.weight" for i in range(3))]
    assert (
        roles["embedding.frequency"]
        == roles["embedding.phase"]
        == roles["embedding.weight"]
        == roles["nominal.0.weight"]
        == "embeddings"
    )
    assert (
        roles["spread.scale"]
        == roles["linears.1.before.scale"]
        == roles["linears.1.after.scale"]
        == roles["scaling.theta"]
        == "scales"
    )
    assert roles["head.bias"] == roles["embedding.bias"] == roles["linears.0.after.bias"] == "biases"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"activation": "sillu"}, "Did you mean 'silu'"),
        ({"norm": "group"}, "norm must be one of none, batch, layer"),
        ({"embedding": "piecwise"}, "Did you mean 'piecewise'"),
        ({"numeric": 6}, "at most inputs"),
        ({"numeric": 2, "nominal": ((1, 4),)}, "nominal must be"),
        ({"nominal": ((0, 3), (2, 5))}, "nominal must be"),
        ({"nominal": ((2, 6),)}, "nominal must be"),
        ({"numeric": 5, "embedding": "periodic", "embedding_size": 1}, "embedding_size must be"),
        ({"members": 0}, "members must be"),
        ({"depth": -1}, "depth must be"),
    ],
)
def test_wrong_options_are_refused_by_name(options: dict[str, Any], words: str) -> None:
    with pytest.raises(dashpot.ConfigError, match=words):
        TableNet(5, 2, **options)


def test_only_networks_for_tables_are_built_for_tables() -> None:
    assert isinstance(nets.build("table", (4,), 2), nets.MLP)
    assert isinstance(nets.build("table", (4,), 2, net="TableNet"), TableNet)
    with pytest.raises(dashpot.ConfigError, match="one of MLP, TableNet"):
        nets.build("table", (4,), 2, net="ConvNet")
