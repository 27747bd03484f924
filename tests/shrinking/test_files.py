"""Shrunk networks as files, and plans as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import dashpot
from dashpot.core.errors import DataError, StorageError
from dashpot.shrinking.plan import Plan
from tests.shrinking.zoo import ZOO, Tied, planted


@pytest.mark.parametrize("name", ["perceptron", "residual", "mobile", "encoder", "ours for tables"])
def test_a_file_is_read_back(tmp_path: Path, name: str) -> None:
    make, example = ZOO[name]
    found = dashpot.shrink(planted(make, 0), example())
    dashpot.save_shrunk(found, tmp_path / "small.safetensors")
    again = dashpot.load_shrunk(make, tmp_path / "small.safetensors").eval()
    x = example()
    assert torch.equal(again(x), found.model(x))
    assert Plan.from_dict(json.loads(json.dumps(found.plan.to_dict()))).to_dict() == found.plan.to_dict()


def test_tied_weights_are_saved_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Tied()
    with torch.no_grad():
        model.embedding.weight[:, 2] = 0
        model.body.weight[2] = 0
        model.body.bias[2] = 0
    found = dashpot.shrink(model, torch.randint(11, (2, 3)))
    dashpot.save_shrunk(found, tmp_path / "tied.safetensors")
    again = dashpot.load_shrunk(Tied, tmp_path / "tied.safetensors")
    x = torch.randint(11, (4, 3))
    assert again.head.weight is again.embedding.weight
    assert torch.equal(again(x), found.model(x))


def test_a_made_bias_is_read_back(tmp_path: Path) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))

    torch.manual_seed(0)
    model = make()
    with torch.no_grad():
        model[0].weight[1] = 0
        model[0].bias[1] = 2.0
    found = dashpot.shrink(model, torch.randn(2, 3))
    dashpot.save_shrunk(found, tmp_path / "a.safetensors")
    again = dashpot.load_shrunk(make, tmp_path / "a.safetensors")
    assert torch.equal(again[2].bias, found.model[2].bias)


def test_other_files_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    make, example = ZOO["perceptron"]
    found = dashpot.shrink(planted(make, 0), example())
    path = tmp_path / "small.safetensors"
    dashpot.save_shrunk(found, path)
    with pytest.raises(DataError, match="not of the network that build"):
        dashpot.load_shrunk(lambda: nn.Linear(3, 2), path)
    with pytest.raises(StorageError, match="cannot be read"):
        dashpot.load_shrunk(make, tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(StorageError, match="cannot be read"):
        dashpot.load_shrunk(make, tmp_path / "text")
    save_file({"weight": torch.zeros(2)}, tmp_path / "plain.safetensors")
    with pytest.raises(DataError, match="no plan of a shrunk network"):
        dashpot.load_shrunk(make, tmp_path / "plain.safetensors")
    with pytest.raises(StorageError, match="could not be written"):
        dashpot.save_shrunk(found, tmp_path / "no folder" / "small.safetensors")


@pytest.mark.parametrize(
    "content", [3, {}, {"version": 2}, {"version": 1}, {"version": 1, "kept": {"a": {"0": [[2, 1]]}}}]
)
def test_plans_that_cannot_be_read_are_refused(content: object) -> None:
    with pytest.raises(DataError, match="plan"):
        Plan.from_dict(content)
