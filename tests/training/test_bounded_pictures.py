"""Images that are held as bytes are numbers only a few at a time: relative strengths, and what a report shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import dashpot
from dashpot.core.running.tensor_rows import TensorRows, UnitRows
from dashpot.data import Problem
from dashpot.evaluation.losses import predict
from dashpot.runs.judged import judged_rows
from dashpot.techniques.penalties.strengths import resolve_strengths
from dashpot.training.batches import Batches
from dashpot.training.builtin import network_for

X = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (30, 1, 8, 9), dtype=np.uint8))
Y = torch.arange(30) % 3


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(72, 4), nn.ReLU(), nn.Linear(4, 3))


@pytest.mark.parametrize("rows", [np.arange(30), np.arange(3, 30, 2)], ids=["all", "some"])
@pytest.mark.parametrize("of_rows", [False, True], ids=["tensor", "rows"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_relative_strength_of_bytes_is_that_of_numbers(rows: np.ndarray, of_rows: bool, weighted: bool) -> None:
    x = TensorRows(X, rows) if of_rows else X[rows]
    weight = (torch.arange(1, 1 + len(rows)).float(),) if weighted else ()
    held = Batches("data", (x, Y[rows], *weight), 8, 0, torch.device("cpu"), "image").whole()
    assert isinstance(held[0], UnitRows)
    recipe = dashpot.L1(relative=0.5)
    plain = resolve_strengths(recipe, network(), (X[rows].float() / 255, Y[rows], *weight))
    found = resolve_strengths(recipe, network(), held)
    assert found[0].strength == pytest.approx(plain[0].strength, rel=1e-5)  # type: ignore[attr-defined]  # an L1 has it
    linear = nn.Sequential(nn.Flatten(), nn.Linear(72, 3))
    plain = resolve_strengths(recipe, linear, (X[rows].float() / 255, Y[rows], *weight))
    assert resolve_strengths(recipe, linear, held)[0].strength == pytest.approx(  # type: ignore[attr-defined]  # too
        plain[0].strength,  # type: ignore[attr-defined]  # as above
        rel=1e-5,
    )


def test_numbers_and_other_types_are_as_before() -> None:
    (x, _) = Batches("data", (X.float(), Y), 8, 0, torch.device("cpu"), "image").whole()
    assert torch.equal(x, X.float())
    (x, _) = Batches("data", (X, Y), 8, 0, torch.device("cpu"), None).whole()
    assert torch.equal(x, X)


def test_answers_on_images_copy_no_more_than_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem("data", X.numpy(), Y.numpy(), "classification")
    prepared, rows = problem.prepare(np.arange(30)), np.array([4, 9, 2, 17])
    net = network_for(problem, prepared).eval()
    monkeypatch.setattr("dashpot.core.running.sizes.VALUES", 72)
    asked: list[int] = []
    original = TensorRows.__getitem__

    def seen(self: TensorRows, which: slice) -> torch.Tensor:
        found = original(self, which)
        asked.append(len(found))
        return found

    monkeypatch.setattr(TensorRows, "__getitem__", seen)
    judged = judged_rows(net, prepared, rows)
    assert max(asked) == 1
    np.testing.assert_array_equal(np.stack([judged.pixels[i] for i in range(4)]), X.numpy()[rows])
    assert judged.predicted.tolist() == predict(net, prepared.x[torch.as_tensor(rows)]).argmax(dim=1).tolist()
    assert judged.truth.tolist() == Y[rows].tolist()
