"""Pixels keep their range until all that acts on inputs is done; then the network standardizes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import dashpot
from dashpot.comparison.compare import compare
from dashpot.core.fields.domains import Range
from dashpot.core.requires import Requires
from dashpot.core.running.batch import Batch, unit_range
from dashpot.core.running.context import Context
from dashpot.core.technique import Technique
from dashpot.data import ImagePreprocessing, Prepared, Problem, load_rows
from dashpot.data.pictures.values import pixel_range
from dashpot.data.rows import Rows
from dashpot.evaluation.losses import predict
from dashpot.nets import ConvNet, ResNet, Standardize
from dashpot.nets.standardize import standardized
from dashpot.population.members import Member
from dashpot.population.population import Population
from dashpot.population.stack import stacked
from dashpot.runs.saved import load_run
from dashpot.training.builtin import TrainingLength, network_for, train

ROWS = 60


def pixels(channels: int = 1) -> np.ndarray:
    """Noise, bright on the left or on the right."""
    x = np.random.default_rng(0).integers(0, 120, (ROWS, channels, 8, 8), dtype=np.uint8)
    for i in range(ROWS):
        x[i, :, :, (i % 2) * 4 : (i % 2) * 4 + 4] += 100
    return x


def problem(channels: int = 1) -> Problem:
    return Problem("bars", pixels(channels), np.arange(ROWS) % 2)


def prepared(channels: int = 1) -> tuple[Problem, Prepared, Any]:
    data = problem(channels)
    split = data.split(0)
    return data, data.prepare(split.train), split


def by_hand(x: np.ndarray, train: np.ndarray) -> Tensor:
    """Standardized by the training images, in float64."""
    unit = x.astype(np.float64) / 255
    axes = (0, 2, 3)
    mean, std = unit[train].mean(axis=axes, keepdims=True), unit[train].std(axis=axes, keepdims=True)
    return torch.from_numpy(((unit - mean) / std).astype(np.float32))


class Brighten(Technique):
    """Adds light in the pixels' own range and clips, as an outside package would; it writes down what it sees."""

    summary = "brightens images"
    requires = Requires(modality=("image",), float_input=True)
    amount: Annotated[float, Range(0.0, 1.0, off=0.0)] = 0.4
    seen: ClassVar[list[Tensor]] = []

    def on_batch(self, batch: Batch, ctx: Context) -> Batch:
        Brighten.seen.append(batch.x)
        return batch.replace(x=(batch.x + self.amount).clamp(0, 1))


@pytest.fixture
def seen() -> list[Tensor]:
    Brighten.seen.clear()
    return Brighten.seen


def demand_raw(seen: list[Tensor], raw: np.ndarray) -> None:
    """What was seen are images of ``raw``, each pixel in 0..1 and not rounded."""
    assert seen
    known = {image.tobytes() for image in raw}
    for batch in seen:
        assert batch.dtype == torch.float32
        as_bytes = (batch * 255).round().to(torch.uint8)
        assert torch.equal(batch, as_bytes.float() / 255)
        assert all(image.numpy().tobytes() in known for image in as_bytes)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_stage_and_standardized_images_train_the_same_network(channels: int) -> None:
    """In float64, so that three epochs do not magnify rounding to more than the difference that is looked for."""
    _, ready, split = prepared(channels)
    # What float32 makes of bytes, before anything else is done.
    standard = by_hand(pixels(channels), split.train).double()
    networks = []
    for stage, x in ((ready.stage, ready.x), ({}, standard)):
        with dashpot.core.rng.initial_weights(0):
            network = ConvNet(channels, 2, size=8, **stage).double()
        parts = [(x[rows], ready.y[rows]) for rows in (split.train, split.valid)]
        dashpot.fit(
            network, parts[0], valid=parts[1], epochs=3, batch_size=16, seed=0, modality="image", progress=False
        )
        networks.append((network, x))
    one, other = (predict(network, x) for network, x in networks)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_network_of_raw_pixels_predicts_as_one_of_standardized_images() -> None:
    _, ready, split = prepared(3)
    one, other = ConvNet(3, 2, **ready.stage).eval(), ConvNet(3, 2).eval()
    one.load_state_dict(other.state_dict(), strict=False)
    wanted = other(by_hand(pixels(3), split.train))
    for x in (ready.x, unit_range(ready.x)):
        torch.testing.assert_close(one(x), wanted, rtol=1e-4, atol=1e-5)


def test_bytes_stay_bytes_and_other_ranges_become_0_to_1() -> None:
    raw, rows = pixels(), np.arange(40)
    for x, limits in (
        (raw, (0.0, 255.0)),
        (raw / 255, (0.0, 1.0)),
        (raw.astype(np.int64), (0.0, 255.0)),
        (raw.astype(np.float32), (0.0, 255.0)),
        (raw.astype(np.uint16) * 257, (0.0, 65535.0)),
    ):
        plan = ImagePreprocessing.fit(x, rows)
        assert (plan.low, plan.high) == limits
        out = plan.transform(x)
        assert out.dtype == (np.uint8 if x.dtype == np.uint8 else np.float32)
        np.testing.assert_allclose(unit_range(torch.from_numpy(out)).numpy(), raw / 255, atol=1e-6)
        assert ImagePreprocessing.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    assert pixel_range(raw / 100 - 1.0) == pytest.approx((raw.min() / 100 - 1, raw.max() / 100 - 1))


def test_an_augmentation_sees_raw_pixels_in_fit(seen: list[Tensor]) -> None:
    data, ready, split = prepared()
    result = train(data, ready, split, dashpot.Recipe((Brighten(),)), TrainingLength(2, 16), seed=0, progress=False)
    demand_raw(seen, pixels())
    assert result.diverged is None
    assert result.history[-1]["train_loss"] > 0


def test_an_augmentation_sees_raw_pixels_in_a_loop_of_its_own_and_in_a_loader(seen: list[Tensor]) -> None:
    x, y = torch.from_numpy(pixels()), torch.arange(ROWS) % 2
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=20)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    dashpot.fit(model, loader, valid=(x, y), recipe=Brighten(), epochs=1, modality="image", progress=False)
    demand_raw(seen, pixels())


def test_relative_strengths_are_those_of_pixels_between_0_and_1() -> None:
    x, y = torch.from_numpy(pixels()), torch.arange(ROWS) % 2
    plans = []
    for inputs, modality in ((x, "image"), (x.float() / 255, None)):
        with dashpot.core.rng.initial_weights(0):
            model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
        recipe = dashpot.L1(relative=0.1)
        plans.append(dashpot.fit(model, (inputs, y), recipe=recipe, epochs=1, modality=modality, progress=False).plan)
    assert plans[0] == plans[1]


def test_a_technique_for_images_is_refused_for_tables_everywhere() -> None:
    x, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    refused = pytest.raises(
        dashpot.ConflictError, match=r"Brighten is for images, but the inputs are tables\. Leave it"
    )
    with refused:
        dashpot.DashpotClassifier(Brighten()).fit(x, y)
    model, data = nn.Linear(3, 2), (torch.from_numpy(x).float(), torch.from_numpy(y))
    with refused:
        Brighten().attach(model, torch.optim.SGD(model.parameters(), lr=0.1), modality="table")
    with refused:
        dashpot.fit(model, data, recipe=Brighten(), modality="table", progress=False)
    table = Problem("rows", Rows(("a", "b", "c"), matrix=x), y)
    split = table.split(0)
    with refused:
        train(table, table.prepare(split.train), split, dashpot.Recipe((Brighten(),)), TrainingLength(1, 16), seed=0)
    member = Member(
        make=lambda: nn.Linear(3, 2), recipe=dashpot.Recipe((Brighten(),)), lr=0.1, seed=0, rows=split.train
    )
    with refused:
        Population([member], [data], epochs=1, batch_size=16, modality="table")


def test_an_unknown_modality_is_refused() -> None:
    with pytest.raises(dashpot.ConfigError, match="modality must be one of table, image, signal, text"):
        dashpot.fit(nn.Linear(2, 1), (torch.zeros(4, 2), torch.zeros(4)), modality="picture", progress=False)


def test_an_augmentation_sees_raw_pixels_in_a_comparison(seen: list[Tensor]) -> None:
    record = compare(problem(), dashpot.Recipe((Brighten(),)), repeats=1, epochs=2)
    demand_raw(seen, pixels())
    runs = {arm.name: arm.runs[0] for arm in record.arms}
    assert not any(run.error for run in runs.values())
    assert runs["logistic regression, L2"].test["accuracy"] > 0.9  # it learns from standardized pixels


@pytest.mark.parametrize("stack", [True, False])
def test_an_augmentation_sees_raw_pixels_in_a_population(seen: list[Tensor], stack: bool) -> None:
    data, ready, split = prepared()
    members = [
        Member(make=lambda: network_for(data, ready), recipe=recipe, lr=1e-3, seed=0, rows=split.train)
        for recipe in (dashpot.Recipe((Brighten(),)), dashpot.Recipe())
    ]
    options: dict[str, Any] = {"epochs": 2, "batch_size": 16, "device": "cpu", "bfloat16": False, "modality": "image"}
    population = Population(members, [(ready.x, ready.y)], stack=stack, **options)
    population.train(2)
    demand_raw(seen, pixels())
    alone = train(data, ready, split, dashpot.Recipe(), TrainingLength(2, 16), seed=0, progress=False).model
    out = population.outputs({1: split.test})[1]
    torch.testing.assert_close(out, predict(alone, ready.x[split.test]), rtol=1e-3, atol=1e-3)


def test_stacked_networks_standardize_by_their_own_numbers() -> None:
    models = [nn.Sequential(Standardize([mean], [0.5]), nn.Conv2d(1, 2, 3)).eval() for mean in (0.0, 0.7)]
    probe = torch.rand(3, 1, 8, 8)
    whole = stacked(models, probe)
    out = whole(probe.expand(2, *probe.shape))
    for k, model in enumerate(models):
        torch.testing.assert_close(out[k], model(probe))


def test_an_augmentation_sees_raw_pixels_in_a_search(seen: list[Tensor]) -> None:
    raw = pixels()
    config = dashpot.SearchConfig(cv=2, epochs=2, explain=False)
    result = dashpot.tune(
        (raw, np.arange(ROWS) % 2), recipe=[Brighten()], net={"width": 4}, trials=2, config=config, progress=False
    )
    demand_raw(seen, raw)
    assert result.predict(raw).shape == (ROWS,)
    assert isinstance(result.network.networks[0] if hasattr(result.network, "networks") else result.network, ConvNet)


def test_a_network_of_ones_own_is_handed_standardized_images(seen: list[Tensor]) -> None:
    lowest: list[float] = []

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 2)

        def forward(self, x: Tensor) -> Tensor:
            lowest.append(float(x.min()))
            return self.layer(x.flatten(1))  # type: ignore[no-any-return]  # torch's modules return Any

    config = dashpot.SearchConfig(cv=2, epochs=1, explain=False, test=False)
    dashpot.tune(problem(), model=Own, recipe=[Brighten()], trials=2, config=config, progress=False)
    demand_raw(seen, pixels())
    assert min(lowest) < -0.5  # below any pixel


def test_a_stage_put_first_leaves_names_alone() -> None:
    network = standardized(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), [0.2], [0.1])
    x = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(network(x), network[1](((x - 0.2) / 0.1).flatten(1)))
    assert [name for name, _ in network.named_parameters()] == ["1.weight", "1.bias"]


def test_mixing_pixels_is_mixing_standardized_images() -> None:
    a, b, share = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8), 0.3
    stage = Standardize([0.2, 0.5, 0.7], [0.1, 0.2, 0.3])
    mixed = stage(share * a + (1 - share) * b)
    torch.testing.assert_close(mixed, share * stage(a) + (1 - share) * stage(b))


@pytest.mark.parametrize(("mean", "std"), [([0.5], [0.0]), ([0.5], [1.0, 1.0]), ([float("nan")], [1.0]), ([], [])])
def test_numbers_that_standardize_nothing_are_refused(mean: list[float], std: list[float]) -> None:
    with pytest.raises(dashpot.ConfigError, match="a finite number per channel each"):
        Standardize(mean, std)


def test_a_run_from_before_pixels_kept_their_range_is_read(tmp_path: Path) -> None:
    raw, network = pixels(), ResNet(1, 2).eval()
    inputs = {"channels": 1, "height": 8, "width": 8, "mean": [0.4], "scale": [0.25], "kind": "image"}
    target = {"task": "classification", "classes": ["0", "1"], "mean": 0.0, "scale": 1.0, "name": ""}
    described = {"net": "ConvNet", "channels": 1, "outputs": 2, "width": 16}
    setup = {"inputs": inputs, "target": target, "network": described}
    (tmp_path / "preprocessing.json").write_text(json.dumps(setup), encoding="utf-8")
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    np.savez(tmp_path / "new.npz", X=raw)
    loaded, how, _ = load_run(tmp_path)
    x, _ = load_rows(tmp_path / "new.npz", how)
    wanted = network((torch.from_numpy(raw).float() / 255 - 0.4) / 0.25)
    torch.testing.assert_close(predict(loaded, torch.as_tensor(x)), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("technique", ["random-deletion:rate=0.1", "embedding-dropout"])
def test_a_technique_for_texts_is_refused_for_tables_with_the_kind_that_takes_it(technique: str) -> None:
    model = nn.Linear(3, 2)
    way = r"is for text, but the inputs are tables\. Say kind='text' \(--kind text\) if columns hold texts, or leave"
    with pytest.raises(dashpot.ConflictError, match=way):
        dashpot.Recipe.coerce(technique).attach(model, torch.optim.SGD(model.parameters(), lr=0.1), modality="table")
