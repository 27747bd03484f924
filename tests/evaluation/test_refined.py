"""The loss after temperature, against a search over temperatures; what watches it in ``fit``."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import nn

import dashpot
from dashpot.evaluation.refined import refined_loss


def by_search(z: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    """The lowest log loss over temperatures, with a quarter of a row spread over all rows and classes."""

    def smoothed(log_t: float) -> float:
        chances = log_softmax(z / np.exp(log_t), axis=1)
        share = 0.25 / weight.sum()
        each = (1 - share) * chances[np.arange(len(y)), y] + share * chances.mean(axis=1)
        return float(-np.average(each, weights=weight))

    log_t = minimize_scalar(smoothed, bounds=(np.log(0.05), np.log(20)), method="bounded", options={"xatol": 1e-10}).x
    return float(-np.average(log_softmax(z / np.exp(log_t), axis=1)[np.arange(len(y)), y], weights=weight))


@pytest.mark.parametrize("scale", [0.3, 1.0, 8.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_lowest_over_temperatures(scale: float, weighted: bool) -> None:
    random = np.random.default_rng(0)
    z, y = scale * random.standard_normal((200, 3)), random.integers(3, size=200)
    z[np.arange(200), y] += scale
    weight = random.integers(0, 4, size=200).astype(float) if weighted else np.ones(200)
    found = refined_loss(
        torch.from_numpy(z), torch.from_numpy(y), weight=torch.from_numpy(weight) if weighted else None
    )
    assert found == pytest.approx(by_search(z, y, weight), rel=1e-6)


def test_forms_of_outputs() -> None:
    random = torch.Generator().manual_seed(0)
    z, y = torch.randn(50, 1, generator=random), torch.randint(2, (50, 1), generator=random)
    two = torch.cat([torch.zeros_like(z), z], dim=1)
    expected = refined_loss(two, y[:, 0])
    assert refined_loss(z, y, targets="multilabel") == pytest.approx(expected, rel=1e-9)
    pictures, labels = torch.randn(4, 3, 5, generator=random), torch.randint(3, (4, 5), generator=random)
    flat = refined_loss(pictures.movedim(1, -1).reshape(20, 3), labels.reshape(20))
    assert refined_loss(pictures, labels) == pytest.approx(flat, rel=1e-9)
    assert np.isnan(refined_loss(torch.full((3, 2), torch.nan), torch.tensor([0, 1, 0])))


def data(n: int = 90) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] + 0.5 * torch.randn(n, generator=torch.Generator().manual_seed(1)) > 0).long()


def test_fit_takes_it_where_something_watches() -> None:
    x, y = data()
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    stopping = dashpot.EarlyStopping("val_refined_loss", mode="min", patience=99, restore=False)
    result = dashpot.fit(model, (x, y), valid=data(60), recipe=stopping, epochs=3, progress=False, device="cpu")
    assert "train_refined_loss" not in result.history[0]
    with torch.no_grad():
        z = model(data(60)[0]).double().numpy()
    last = result.history[-1]
    assert last["val_refined_loss"] == pytest.approx(by_search(z, data(60)[1].numpy(), np.ones(60)), rel=1e-5)
    plain = dashpot.fit(nn.Linear(4, 2), (x, y), valid=data(60), epochs=1, progress=False, device="cpu")
    assert "val_refined_loss" not in plain.history[0]


def test_what_has_no_such_loss_refuses_it() -> None:
    x, _ = data()
    stopping = dashpot.EarlyStopping("val_refined_loss", mode="min")
    soft = torch.full((len(x), 2), 0.5)
    for target, targets in ((x[:, :1], None), (soft, "classes")):
        model = nn.Linear(4, target.shape[1])
        with pytest.raises(dashpot.UnknownNameError, match="val_refined_loss"):
            dashpot.fit(
                *(model, (x, target)), valid=(x, target), targets=targets, recipe=stopping, epochs=1, progress=False
            )
