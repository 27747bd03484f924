"""Texts that an encoder has read, in every way of driving."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

import dashpot
from dashpot import nets
from dashpot.cli import fit, inspect, predict
from dashpot.core.errors import ConfigError, ConflictError, DashpotError, StorageError, UnknownNameError
from dashpot.data import Prepared, Problem, load_problem
from dashpot.data.texts.encoded import Encoded
from dashpot.data.texts.preprocessing import TextPreprocessing
from dashpot.nets import TextBag, TextConv, TextFeatures
from dashpot.nets.text_linear import fit_linear
from dashpot.runs.saved import load_run
from dashpot.search.fixed import checked_options, fixed_network
from dashpot.search.inputs import problem_of
from dashpot.search.networks import factory
from dashpot.search.own import demand_fit
from dashpot.search.space.defaults import default_space, first_candidates
from dashpot.sparsity.words import kept_words
from dashpot.texts.encoder import encoder_of
from dashpot.texts.feature_store import store_of
from dashpot.training.builtin import network_for
from tests import encoders
from tests.encoders import tiny_encoder

pytest.importorskip("transformers", reason="the extra dashpot[transformers]")

folder, cache = encoders.folder, encoders.cache
APP = typer.Typer()
for module in (fit, predict):
    module.register(APP)
TEXTS = [f"the {word} film number {i}" for i in range(8) for word in ("great", "awful", "fine")]
Y = np.array(["good", "bad", "good"] * 8)
EVERY = np.arange(24)


def prepared(folder: Path | None, **options: Any) -> tuple[Problem, Prepared, Any]:
    problem = problem_of((TEXTS, Y), None, None, own=False, encoder=folder, **options).problem
    data = problem.prepare(np.arange(20))
    return problem, data, data.preprocessing


def run(*arguments: Any) -> str:
    found = CliRunner().invoke(APP, [str(argument) for argument in arguments], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def test_rows_begin_with_vectors_that_are_standardized_by_the_training_rows(folder: Path) -> None:
    _, data, how = prepared(folder)
    features = encoder_of(folder).features(TEXTS).astype(np.float64)
    wanted = (features - features[:20].mean(axis=0)) / features[:20].std(axis=0)
    assert data.x.dtype == torch.int32
    assert np.allclose(data.x[:, :16].numpy().view(np.float32), wanted, atol=1e-4)
    plain = prepared(None)[1]
    assert torch.equal(data.x[:, 16:], plain.x)
    assert how.shape == (16 + plain.x.shape[1],)


def test_the_network_sees_the_vectors_and_others_the_words(folder: Path) -> None:
    problem, data, how = prepared(folder)
    plain = prepared(None)[1]
    net = network_for(problem, data)
    assert isinstance(net, TextFeatures)
    vectors = torch.from_numpy(data.x[:, :16].numpy().view(np.float32).copy())
    assert net.hidden is not None
    hidden = (vectors @ net.hidden.weight.T + net.hidden.bias).clamp_min(0)
    assert torch.allclose(net(data.x), hidden @ net.head.weight.T + net.head.bias, atol=1e-5)
    assert net(torch.zeros(1, *how.shape)).shape == (1, 2)
    make = factory(problem, data, EVERY)
    for name in ("textbag", "textconv"):
        torch.manual_seed(0)
        both = make({"net": name})
        torch.manual_seed(0)
        words = factory(problem, plain, EVERY)({"net": name})
        assert torch.equal(both.eval()(data.x), words.eval()(plain.x))
        again = nets.from_description(json.loads(json.dumps(nets.describe(both))))
        again.load_state_dict(both.state_dict())
        assert torch.equal(again.eval()(data.x), words(plain.x))
    assert isinstance(make({"net": "textfeatures", "width": 0}), TextFeatures)


def test_linear_models_of_words_stand_beside(folder: Path) -> None:
    problem, data, how = prepared(folder)
    bag = factory(problem, data, EVERY)({"net": "textbag", "width": 0})
    assert isinstance(bag, TextBag)
    fit_linear(bag, data.x, data.y, how="logistic")
    assert (bag(data.x).argmax(dim=1) == data.y).all()
    assert "awful" in kept_words(bag, how.lexicon)
    bag.begin(data.x, data.y, bayes=1.0)


def test_techniques_on_words_leave_the_vectors_alone_or_say_that_they_cannot_act(folder: Path) -> None:
    problem, data, _ = prepared(folder)
    make = factory(problem, data, EVERY)
    net = make({"net": "textconv"})
    seen: list[torch.Tensor] = []
    net.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    dashpot.fit(net, (data.x, data.y), recipe="word-masking:rate=0.9,protect=none", epochs=1, modality="text", seed=0)
    trained = torch.cat([x for x in seen if len(x)])
    known = {row.numpy().tobytes() for row in data.x[:, :16]}
    assert {row.numpy().tobytes() for row in trained[:, :16].contiguous()} <= known
    rows = {row.numpy().tobytes() for row in data.x}
    assert any(row.numpy().tobytes() not in rows for row in trained)
    for recipe in ("word-masking:rate=0.5", "random-swap", "random-deletion"):
        with pytest.raises(ConflictError, match="the network takes vectors of whole texts"):
            dashpot.fit(make({"net": "textfeatures"}), (data.x, data.y), recipe=recipe, epochs=1, modality="text")


def test_a_search_has_the_network_beside_the_others(folder: Path) -> None:
    problem, data, how = prepared(folder)
    space = default_space(problem, data, None, ())
    assert str(space.net["net"]) == "textbag | textconv | textfeatures"
    found = [candidate.net["net"] for candidate in first_candidates(space)]
    assert found.count("textfeatures") == 2
    assert str(default_space(problem, data, None, (), ("net=textfeatures",)).net["width"]) == "128 | 0"
    plain = prepared(None)
    space = default_space(plain[0], plain[1], None, ())
    assert str(space.net["net"]) == "textbag | textconv"
    with pytest.raises(UnknownNameError, match="textfeatures"):
        default_space(plain[0], plain[1], None, (), ("net=textfeatures",))
    with pytest.raises(UnknownNameError, match="textfeatures"):
        checked_options({"net": "textfeatures"}, "text")
    assert checked_options({}, "text", encoder=True) == {"net": "textfeatures"}
    assert checked_options({"filters": 4}, "text", encoder=True) == {"net": "textconv", "filters": 4}
    fixed = fixed_network(how, data.x, EVERY, 2, {"net": "textfeatures", "width": 5}, classes=True)
    assert fixed.options == {"outputs": 2, "before": 16, "width": 5}


def test_tune_and_predict(folder: Path, tmp_path: Path) -> None:
    found = dashpot.tune((TEXTS * 2, np.tile(Y, 2)), encoder=folder, net={"net": "textfeatures"}, trials=2, epochs=2)
    saved = found.save(tmp_path / "run")
    network, how, _ = load_run(saved)
    rows = torch.from_numpy(how.transform(np.array([[text] for text in TEXTS], dtype=object)))
    assert torch.allclose(network(rows), found.network.eval()(rows), atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"net": {"net": "textconv"}}, {"net": {"width": 0}}])
def test_an_estimator_takes_an_encoder(folder: Path, options: dict[str, Any]) -> None:
    model = dashpot.DashpotClassifier(encoder=str(folder), epochs=30, random_state=0, **options).fit(TEXTS, Y)
    assert model.score(TEXTS, Y) == 1.0
    assert isinstance(model.model_, TextConv if options.get("net") == {"net": "textconv"} else TextFeatures)
    assert isinstance(dashpot.DashpotRegressor(encoder=folder, epochs=1).fit(TEXTS, EVERY * 1.0).model_, TextFeatures)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text("text,y\n" + "".join(f"{text},{y}\n" for text, y in zip(TEXTS, Y, strict=True)))
    return path


def test_a_saved_run_reads_its_encoder_again(folder: Path, tmp_path: Path, file: Path) -> None:
    place = Path(shutil.copytree(folder, tmp_path / "model"))
    saved = tmp_path / "run"
    output = run("fit", file, "--target", "y", "--encoder", f"{place}:length=8", "--epochs", 2, "--out", saved)
    assert "on TextFeatures" in output
    setup = json.loads((saved / "preprocessing.json").read_text())["inputs"]["encoded"]
    assert (setup["encoder"]["path"], setup["encoder"]["length"]) == (str(place), 8)
    run("predict", saved, file, "--out", tmp_path / "first.csv")
    moved = place.rename(tmp_path / "moved")
    store_of.cache_clear()
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(StorageError, match=r"model cannot be read: .*can be named with encoder= \(--encoder\)"):
        load_run(saved)
    inspect.inspect(saved, out=tmp_path / "look")  # weights need no encoder
    assert (tmp_path / "look" / "inspect.json").exists()
    run("predict", saved, file, "--out", tmp_path / "second.csv", "--encoder", moved)
    first, second = (
        np.genfromtxt(tmp_path / name, delimiter=",", skip_header=1)[:, 2:] for name in ("first.csv", "second.csv")
    )
    assert np.allclose(first, second, atol=1e-5)
    with pytest.raises(ConfigError, match="encoder must be that of the run"):
        load_run(saved, encoder=tiny_encoder(tmp_path / "other", seed=1))
    setup["std"][0] = 0.0
    whole = json.loads((saved / "preprocessing.json").read_text())
    (saved / "preprocessing.json").write_text(json.dumps({**whole, "inputs": {**whole["inputs"], "encoded": setup}}))
    with pytest.raises(StorageError, match=r"is damaged: .*deviation above 0"):
        load_run(saved, encoder=moved)


def test_a_run_without_one_takes_none(tmp_path: Path, file: Path, folder: Path) -> None:
    run("fit", file, "--target", "y", "--epochs", 1, "--out", tmp_path / "words")
    with pytest.raises(ConfigError, match="encoder must be None for a run without one"):
        load_run(tmp_path / "words", encoder=folder)
    table = tmp_path / "table.csv"
    table.write_text("a,y\n" + "".join(f"{i}.5,{i % 2}\n" for i in range(20)))
    run("fit", table, "--target", "y", "--epochs", 1, "--out", tmp_path / "numbers")
    with pytest.raises(ConfigError, match="encoder must be left out for a run on other data than texts"):
        load_run(tmp_path / "numbers", encoder=folder)
    with pytest.raises(ConfigError, match="encoder must be None for other data than texts"):
        load_problem(table, "y", encoder=folder)


def test_what_cannot_be_is_said_at_once(folder: Path, tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=(24, 2))
    with pytest.raises(ConfigError, match="encoder must be None for other data than texts"):
        problem_of((numbers, Y), None, None, own=False, encoder=folder)
    with pytest.raises(ConfigError, match="encoder must be None for other data than texts"):
        dashpot.DashpotClassifier(encoder=folder).fit(numbers, Y)
    problem, data, _ = prepared(folder)
    with pytest.raises(ConfigError, match="encoder must be None with a model of your own"):
        demand_fit(lambda: torch.nn.Linear(2, 2), data, 2, None)
    with pytest.raises(ConfigError, match="a path or .* with encoder"):
        problem_of(problem, None, None, own=False, encoder=folder)
    with pytest.raises(DashpotError, match="nowhere"):
        dashpot.DashpotClassifier(encoder=tmp_path / "nowhere").fit(TEXTS, Y)


def test_columns_beside_texts_are_read_too(folder: Path) -> None:
    table = np.array([[text, "red", 1.5, None] for text in TEXTS], dtype=object)
    how = TextPreprocessing.fit(
        table, EVERY, columns=("text", "colour", "size", "note"), names=("colour",), encoder=folder
    )
    assert isinstance(how.encoded, Encoded)
    wanted = how.encoded.rows([f"{text}\ncolour: red\nsize: 1.5" for text in TEXTS])
    assert np.array_equal(how.transform(table)[:, :16], wanted)
