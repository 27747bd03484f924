"""An encoder that is trained further in every way of driving, and folders that are refused on the command line."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dashpot
from dashpot.cli import main
from dashpot.core.errors import ConfigError, StorageError, UnknownNameError
from dashpot.nets import TextBag, TextEncoder
from dashpot.runs.saved import load_run
from dashpot.search.fixed import checked_options
from dashpot.search.inputs import problem_of
from dashpot.search.space.defaults import default_space, first_candidates
from dashpot.texts.feature_store import store_of
from dashpot.training.builtin import TrainingLength
from tests import encoders
from tests.encoders import tiny_encoder

pytest.importorskip("transformers", reason="the extra dashpot[transformers]")

folder, cache = encoders.folder, encoders.cache
TEXTS = [f"the {word} film number {i}" for i in range(8) for word in ("great", "awful", "fine")]
Y = np.array(["good", "bad", "good"] * 8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text("text,y\n" + "".join(f"{text},{y}\n" for text, y in zip(TEXTS, Y, strict=True)))
    return path


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The command: what it says, and that it ends as expected."""

    def run(*arguments: object, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["dashpot", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert (ended.value.code or 0) == code, said
        return said.err if code else said.out

    return run


def numbers(path: Path) -> np.ndarray:
    return np.genfromtxt(path, delimiter=",", skip_header=1)[:, 2:]


def test_fit_and_predict(folder: Path, tmp_path: Path, file: Path, command: Callable[..., str]) -> None:
    place, saved = Path(shutil.copytree(folder, tmp_path / "model")), tmp_path / "run"
    given = ("fit", file, "--target", "y", "--encoder", f"{place}:frozen=false,length=9", "--out", saved)
    assert "on TextEncoder" in command(*given, "--epochs", 2, "--with", "word-masking:rate=0.1", "--with", "ema")
    setup = json.loads((saved / "preprocessing.json").read_text())
    known = setup["inputs"]["tokenized"]["encoder"]
    assert (known["path"], known["frozen"], known["length"]) == (str(place), False, 7)  # the longest text has 7 tokens
    assert setup["network"]["net"] == "TextEncoder"
    assert not list(saved.glob("*.bin")) + list(saved.glob("*.pkl"))
    command("predict", saved, file, "--out", tmp_path / "first.csv")
    moved = place.rename(tmp_path / "moved")
    store_of.cache_clear()
    with pytest.raises(StorageError, match=r"model cannot be read: .*can be named with encoder= \(--encoder\)"):
        load_run(saved)
    command("predict", saved, file, "--out", tmp_path / "second.csv", "--encoder", moved)
    assert np.allclose(numbers(tmp_path / "first.csv"), numbers(tmp_path / "second.csv"), atol=1e-6)
    network, how, _ = load_run(saved, encoder=moved)
    assert isinstance(network, TextEncoder)
    rows = torch.from_numpy(how.transform(np.array([[text] for text in TEXTS], dtype=object)))
    wanted = network(rows).softmax(dim=1).detach().numpy()
    assert np.allclose(wanted, numbers(tmp_path / "first.csv"), atol=1e-5)
    with pytest.raises(ConfigError, match="encoder must be that of the run"):
        load_run(saved, encoder=tiny_encoder(tmp_path / "other", seed=1))


def test_a_run_goes_on(folder: Path, tmp_path: Path, file: Path, command: Callable[..., str]) -> None:
    given = (
        "fit",
        file,
        "--target",
        "y",
        "--encoder",
        f"{folder}:frozen=false",
        "--epochs",
        2,
        "--out",
        tmp_path / "a",
    )
    command(*given)
    before = numbers_of(tmp_path / "a")
    assert "TextEncoder" in command(*given, "--resume")
    assert numbers_of(tmp_path / "a") == before


def numbers_of(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_other_networks_read_the_same_rows(
    folder: Path, tmp_path: Path, file: Path, command: Callable[..., str]
) -> None:
    given = ("fit", file, "--target", "y", "--encoder", f"{folder}:frozen=false", "--epochs", 1)
    assert "on TextBag" in command(*given, "--net", "net=textbag", "--out", tmp_path / "bag")
    assert isinstance(load_run(tmp_path / "bag")[0], TextBag)
    said = command(*given, "--net", "width=4", "--net", "net=textencoder", "--out", tmp_path / "x", code=2)
    assert "width" in said
    said = command(*given, "--net", "net=textfeatures", "--out", tmp_path / "x", code=2)
    assert "textfeatures" in said


def test_an_estimator(folder: Path) -> None:
    given: dict[str, Any] = {"encoder": f"{folder}:frozen=false", "random_state": 0, "batch_size": 8}
    model = dashpot.DashpotClassifier(epochs=30, lr=2e-2, **given).fit(TEXTS, Y)
    assert isinstance(model.model_, TextEncoder)
    assert model.score(TEXTS, Y) == 1.0
    assert model.predict_proba(["the awful film", ""]).shape == (2, 2)
    short = dashpot.DashpotRegressor(**given).fit(TEXTS, np.arange(24.0))
    assert short.n_iter_ == 10  # of few rows; of many 3
    assert TrainingLength.default("text", 100_000, pretrained=True).epochs == 3


def test_the_space_of_a_search(folder: Path) -> None:
    problem = problem_of((TEXTS, Y), None, None, own=False, encoder=f"{folder}:frozen=false").problem
    data = problem.prepare(np.arange(20))
    space = default_space(problem, data, None, (), ("net=textencoder",))
    assert [candidate.net for candidate in first_candidates(space)][:2] == [{"net": "textencoder"}] * 2
    assert "LabelSmoothing" in str(first_candidates(space)[1].recipe)
    assert str(default_space(problem, data, None, ()).net["net"]) == "textbag | textconv"  # it stands beside these
    both = default_space(problem, data, None, (), ("net=textencoder,textbag",))
    assert str(both.net["net"]) == "textencoder | textbag"
    assert checked_options({}, "text", encoder=False) == {"net": "textencoder"}
    with pytest.raises(UnknownNameError, match="width"):
        default_space(problem, data, None, (), ("net=textencoder", "width=3"))


def test_a_search_over_it(folder: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"encoder": f"{folder}:frozen=false", "trials": 2, "epochs": 1, "progress": False}
    found = dashpot.tune((TEXTS * 2, np.tile(Y, 2)), net={"net": "textencoder"}, **given)
    saved = found.save(tmp_path / "run")
    network, how, _ = load_run(saved)
    rows = torch.from_numpy(how.transform(np.array([[text] for text in TEXTS], dtype=object)))
    assert torch.allclose(network(rows), found.network.eval()(rows), atol=1e-5)


def _without(name: str) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        for file in place.glob(name):
            file.unlink()

    return change


def _pickled(place: Path) -> None:
    (place / "model.safetensors").rename(place / "pytorch_model.bin")


def _whole(place: Path) -> None:
    pass


@pytest.mark.parametrize("frozen", ["true", "false"])
@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (_without("config.json"), "", "It has no config.json"),
        (_pickled, "", "It has no file *.safetensors"),
        (_without("token*"), "", "It has no tokenizer.json"),
        (_whole, ",length=99", "encoder length must be at most 30, the places that its model has, got 99"),
        (_whole, ",pool=max", "encoder pool must be one of mean, cls"),
        (shutil.rmtree, "", "cannot be read: No such file or directory. Name a folder of a model"),
    ],
)
def test_folders_that_are_refused(
    folder: Path,
    tmp_path: Path,
    file: Path,
    command: Callable[..., str],
    change: Callable[[Path], None],
    options: str,
    message: str,
    frozen: str,
) -> None:
    place = Path(shutil.copytree(folder, tmp_path / "model"))
    change(place)
    for name in ("fit", "tune"):
        out = tmp_path / f"run-{name}"
        given = (name, file, "--target", "y", "--encoder", f"{place}:frozen={frozen}{options}", "--out", out)
        said = command(*given, code=2)
        lines = [line for line in said.splitlines() if line.startswith("error")]
        assert len(lines) == 1, said
        assert message in lines[0]
        assert str(place) in lines[0] or "must be" in lines[0]
        assert "Traceback" not in said
        assert not out.exists()


def test_weights_that_are_missing_are_named(
    folder: Path, tmp_path: Path, file: Path, command: Callable[..., str]
) -> None:
    place = Path(shutil.copytree(folder, tmp_path / "model"))
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    said = command("fit", file, "--target", "y", "--encoder", f"{place}:frozen=false", "--out", tmp_path / "x", code=2)
    assert "16 of its weights are missing, such as encoder.layer.2" in said


def test_a_model_that_reads_and_writes_is_read_with(tmp_path: Path, file: Path, command: Callable[..., str]) -> None:
    from transformers import T5Config, T5Model

    place = tiny_encoder(tmp_path / "t5")
    (place / "model.safetensors").unlink()
    T5Model(T5Config(vocab_size=40, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2)).save_pretrained(place)
    for frozen, name in (("true", "TextFeatures"), ("false", "TextEncoder")):
        out = tmp_path / name
        given = ("fit", file, "--target", "y", "--encoder", f"{place}:frozen={frozen}", "--epochs", 1, "--out", out)
        assert f"on {name}" in command(*given)
        command("predict", out, file, "--out", tmp_path / f"{name}.csv")
