"""Networks as files for other programs: equal on fresh inputs, any number of rows."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import dashpot
from dashpot.core.errors import ConfigError, ConflictError, StorageError, UsageError
from dashpot.nets import TextBag, TextConv
from dashpot.texts.lexicon import Lexicon
from tests.shrinking.zoo import ZOO


def ran(path: Path, *inputs: Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {given.name: x.numpy() for given, x in zip(session.get_inputs(), inputs, strict=True)})


@pytest.mark.parametrize("name", ["perceptron", "residual"])
def test_a_shrunk_network_as_onnx_gives_what_the_full_one_gave(name: str, tmp_path: Path) -> None:
    make, example = ZOO[name]
    torch.manual_seed(0)
    model, x = make().eval(), example()
    small = dashpot.shrink_to(model, x, "0.5x parameters").model
    file = dashpot.export(small, x, tmp_path / "small.onnx")
    loaded = onnx.load(file.path)
    onnx.checker.check_model(loaded)
    assert [entry.version for entry in loaded.opset_import if entry.domain == ""] == [18] == [file.opset]
    sizes = [dim.dim_param or dim.dim_value for dim in loaded.graph.input[0].type.tensor_type.shape.dim]
    assert isinstance(sizes[0], str)  # rows have no number
    assert sizes[1:] == list(x.shape[1:])
    fresh = torch.randn(5, *x.shape[1:], generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        wanted = small(fresh).numpy()
    np.testing.assert_allclose(ran(file.path, fresh)[0], wanted, atol=1e-4 * np.abs(wanted).max())
    assert file.error < 1e-4
    assert file.bytes == file.path.stat().st_size
    assert set(file.milliseconds) == {1, 64}
    assert "opset 18" in file.summary()
    assert not list(tmp_path.glob(".*"))


def test_the_model_is_not_changed_and_is_exported_as_it_evaluates(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2)).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(6, 4)
    for ending in ("onnx", "pt2", "safetensors"):
        dashpot.export(model, x, tmp_path / f"model.{ending}")
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        wanted = model.eval()(x)
    torch.testing.assert_close(torch.from_numpy(ran(tmp_path / "model.onnx", x)[0]), wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(torch.export.load(tmp_path / "model.pt2").module()(x), wanted)
    saved = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(value, saved[name]) for name, value in state.items())
    assert saved.keys() == state.keys()


class Two(nn.Module):
    """Two inputs by name, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Embedding(7, 4)

    def forward(self, x: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        joined = self.first(x) + self.second(words).mean(1)
        return joined, joined.relu()


@pytest.mark.parametrize("by_name", [False, True])
def test_several_inputs_and_outputs(by_name: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x, words = Two().eval(), torch.randn(3, 3), torch.randint(7, (3, 5))
    given = {"x": x, "words": words} if by_name else (x, words)
    file = dashpot.export(model, given, tmp_path / "two.onnx")
    assert file.inputs == ["x", "words"]
    assert len(file.outputs) == 2
    wanted = model(x, words)
    for got, one in zip(ran(file.path, x, words), wanted, strict=True):
        torch.testing.assert_close(torch.from_numpy(got), one.detach(), atol=1e-5, rtol=1e-4)
    dashpot.export(model, given, tmp_path / "two.pt2")
    again = torch.export.load(tmp_path / "two.pt2").module()(*([] if by_name else given), **(given if by_name else {}))
    torch.testing.assert_close(again, wanted)


def test_eight_bits_are_smaller_and_near(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10)).eval(), torch.randn(20, 64)
    file = dashpot.export(model, x, tmp_path / "model.onnx", int8=True)
    assert file.int8 is not None
    assert file.int8.path == tmp_path / "model.int8.onnx"
    assert file.int8.bytes < 0.4 * file.bytes
    kinds = {node.op_type for node in onnx.load(file.int8.path).graph.node}
    assert "MatMulInteger" in kinds
    wanted = model(x).detach().numpy()
    apart = np.abs(ran(file.int8.path, x)[0] - wanted).max() / np.abs(wanted).max()
    assert 1e-5 < apart < 0.03  # signed weights overflow on some processors, and would be off by 0.1 and more
    assert 1e-5 < file.int8.error < 0.03
    assert "int8" in file.summary()


def test_a_session_is_exported_without_its_techniques(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer, x = torch.optim.SGD(model.parameters(), lr=0.1), torch.randn(16, 4)
    session = (dashpot.Dropout() | dashpot.EMA()).attach(model, optimizer)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    final = session.export()
    dashpot.export(final, x, tmp_path / "final.onnx")
    torch.testing.assert_close(
        torch.from_numpy(ran(tmp_path / "final.onnx", x)[0]), final(x).detach(), atol=1e-4, rtol=1e-4
    )


class Branches(nn.Module):
    """Decides by a value."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if float(x.sum()) > 0 else x - 1


class Fixed(nn.Module):
    """Takes two rows only."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, 4).sum(1)


def test_networks_over_words_say_why_they_are_neither_exported_nor_shrunk(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without the graph that torch prints where tracing fails."""
    lexicon = Lexicon.fit([["a", "red", "car"], ["a", "red", "house"], ["the", "car"]])
    x = torch.from_numpy(lexicon.transform([["red", "cars"], ["a"]]))
    for net in (TextConv.of(lexicon, 2), TextBag.of(lexicon, 2)):
        with pytest.raises(ConflictError, match=r"how many words the texts have.*--net width=16.*\.safetensors"):
            dashpot.export(net.eval(), x, tmp_path / "model.onnx")
        with pytest.raises(ConflictError, match=r"cannot be shrunk: .* depends on how many words the texts have"):
            dashpot.shrink(net.eval(), x)
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_exported_is_said_in_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 4)
    for model in (Branches(), Fixed()):
        for ending in ("onnx", "pt2"):
            with pytest.raises(ConflictError, match="cannot be exported: torch.export does not trace"):
                dashpot.export(model, x, tmp_path / f"model.{ending}")
    with pytest.raises(ConfigError, match="--to must be a file that ends in .onnx, .pt2, .safetensors"):
        dashpot.export(nn.Linear(4, 2), x, tmp_path / "model.pkl")
    with pytest.raises(ConfigError, match="int8 must be left out"):
        dashpot.export(nn.Linear(4, 2), x, tmp_path / "model.pt2", int8=True)
    with pytest.raises(StorageError, match="does not exist"):
        dashpot.export(nn.Linear(4, 2), x, tmp_path / "no" / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UsageError, match=r"ONNX needs onnxscript: pip install 'dashpot\[onnx\]'"):
        dashpot.export(nn.Linear(4, 2), x, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
