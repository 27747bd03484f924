"""Saved runs as files and as estimators: what they answer is what ``dashpot predict`` writes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import polars
import pytest
import torch
from safetensors.torch import load_file

import dashpot
from dashpot.core.errors import ConfigError, DataError, StorageError, UsageError
from dashpot.data.rows import frame_rows
from dashpot.runs.exported import export_run


def table(path: Path, *, names: bool, values: bool = False) -> Path:
    """Columns of very different sizes, some values missing; with ``names`` one of levels."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(240, 3)) * [1.0, 1e4, 1e-3] + [0.0, 1e6, 5.0]
    level = draw.choice(["red", "blue"], 240)
    z = x[:, 0] + (x[:, 1] - 1e6) / 1e4
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["a", "b", "c", *(["colour"] if names else []), "y"])
        for k, row in enumerate(x):
            cells = ["" if k % 9 == j else repr(float(v)) for j, v in enumerate(row)]
            y = repr(100 + 50 * float(z[k])) if values else "no" if z[k] > 0 else "yes"
            rows.writerow([*cells, *([level[k]] if names else []), y])
    return path


def predicted(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def ran(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


@pytest.mark.parametrize("values", [False, True])
def test_a_table_of_numbers_goes_in_as_it_is(values: bool, command: Callable[..., str], tmp_path: Path) -> None:
    """The columns of the file, as the JSON names them, give what ``dashpot predict`` writes."""
    data = table(tmp_path / "t.csv", names=False, values=values)
    command("fit", data, "--target", "y", "--epochs", 5, "--out", "run", "--no-robustness")
    said = command("export", "run", "--to", "m.onnx", "--int8")
    assert ("rmse" if values else "accuracy") + " on test rows: network" in said
    assert "inputs are the numbers of the table" in said
    known = json.loads((tmp_path / "m.onnx.json").read_text())
    frame = polars.read_csv(data)
    x = frame.select(known["inputs"]["columns"]).cast(polars.Float64).fill_null(float("nan")).to_numpy()
    out = ran(tmp_path / "m.onnx", x)
    command("predict", "run", data, "--out", "p.csv")
    told = predicted(tmp_path / "p.csv")
    if values:
        np.testing.assert_allclose(out, [float(row["prediction"]) for row in told], rtol=1e-4, atol=1e-2)
    else:
        classes = known["outputs"]["classes"]
        assert known["outputs"]["what"] == "probabilities"
        wanted = [[float(row[f"p({name})"]) for name in classes] for row in told]
        np.testing.assert_allclose(out, wanted, atol=1e-4)
    run = dashpot.load_run(tmp_path / "run")
    for rows in (frame, frame.to_pandas()):
        own = run.predict(rows)
        if values:
            np.testing.assert_allclose(own, [float(row["prediction"]) for row in told], rtol=1e-6)
        else:
            assert own.tolist() == [row["prediction"] for row in told]
            np.testing.assert_allclose(run.predict_proba(rows), wanted, atol=1e-7)
            assert run.classes_.tolist() == ["no", "yes"]
    if values:
        with pytest.raises(UsageError, match="values, which have no probabilities"):
            run.predict_proba(frame)
    with pytest.raises(DataError, match="must have every column that training used; missing: 'b'"):
        run.predict(frame.drop("b"))


def test_names_are_prepared_outside_and_a_small_run_exports(command: Callable[..., str], tmp_path: Path) -> None:
    data = table(tmp_path / "t.csv", names=True)
    command("fit", data, "--target", "y", "--epochs", 5, "--out", "run", "--no-robustness")
    command("shrink", "run", "--to", "0.2x parameters", "--no-train", "--out", "small")
    said = command("export", "small", "--to", "m.onnx")
    assert "inputs are prepared outside" in said
    known = json.loads((tmp_path / "m.onnx.json").read_text())
    assert known["preprocessing"]["nominal"] == {"colour": ["blue", "red"]}
    run = dashpot.load_run(tmp_path / "small")
    frame = polars.read_csv(data)
    x = run.preprocessing.transform(frame_rows(frame), strict=False)
    assert known["inputs"]["columns"] == list(run.preprocessing.feature_names)
    np.testing.assert_allclose(ran(tmp_path / "m.onnx", x), run.predict_proba(frame), atol=1e-4)
    assert (tmp_path / "m.onnx").stat().st_size < 0.3 * (tmp_path / "run" / "model.safetensors").stat().st_size
    command("export", "small", "--to", "m.pt2")
    again = torch.export.load(tmp_path / "m.pt2").module()
    np.testing.assert_allclose(again(torch.from_numpy(x)).numpy(), run.predict_proba(frame), atol=1e-5)
    command("export", "small", "--to", "m.safetensors")
    assert json.loads((tmp_path / "m.safetensors.json").read_text())["outputs"]["what"] == "logits"


def test_bad_exports_are_one_message(command: Callable[..., str], tmp_path: Path) -> None:
    assert "RUN must be the folder of a finished" in command("export", "nowhere", "--to", "m.onnx", code=2)
    data = table(tmp_path / "t.csv", names=False)
    command("fit", data, "--target", "y", "--epochs", 1, "--out", "run", "--no-robustness")
    assert "ends in .onnx, .pt2, .safetensors" in command("export", "run", "--to", "m.bin", code=2)
    assert "int8 must be left out" in command("export", "run", "--to", "m.pt2", "--int8", code=2)
    with pytest.raises(StorageError, match="finished"):
        dashpot.load_run(tmp_path / "nowhere")


def test_the_mean_over_mirror_images_goes_into_the_file_and_draws_do_not(
    command: Callable[..., str], tmp_path: Path
) -> None:
    """By hand: the mean of the probabilities of an image and its mirror image, by the file without augmentation."""
    draw = np.random.default_rng(0)
    y = np.arange(60) % 3
    np.savez(tmp_path / "i.npz", X=draw.integers(0, 256, (60, 12, 10, 3), dtype=np.uint8), y=y)
    command("fit", "i.npz", "--epochs", 1, "--tta", "flip", "--out", "flip", "--no-robustness")
    command("export", "flip", "--to", "flip.onnx", "--data", "i.npz")
    command("export", "flip", "--tta", "none", "--to", "alone.onnx", "--data", "i.npz")
    for rows in (1, 5):
        x = draw.random((rows, 3, 12, 10), dtype=np.float32)
        mirrored = np.ascontiguousarray(x[..., ::-1])
        alone = (ran(tmp_path / "alone.onnx", x) + ran(tmp_path / "alone.onnx", mirrored)) / 2
        np.testing.assert_allclose(ran(tmp_path / "flip.onnx", x), alone, atol=1e-5)
    command("export", "flip", "--to", "flip.safetensors")
    saved = load_file(tmp_path / "flip" / "model.safetensors")
    assert load_file(tmp_path / "flip.safetensors").keys() == saved.keys()
    command(
        "fit", "i.npz", "--epochs", 1, "--tta", "translation", "--tta-draws", 2, "--out", "drawn", "--no-robustness"
    )
    with pytest.raises(ConfigError, match=r"must be flip or none, got 'Translation\(.*\) x 2'. Say --tta none"):
        export_run(tmp_path / "drawn", tmp_path / "drawn.onnx")
    assert not (tmp_path / "drawn.onnx").exists()
