"""Losses of outputs with a member axis are those of each member alone."""

from __future__ import annotations

import pytest
import torch

import dashpot
from dashpot.evaluation.losses import cross_entropy, squared_error


def test_cross_entropy_compares_each_member_with_the_target() -> None:
    out, y = torch.randn(6, 3, 5), torch.tensor([0, 1, 2, 2, 1, 0])
    soft = torch.rand(6, 3).softmax(dim=1)
    for target in (y, soft):
        loss = cross_entropy(out, target)
        assert loss.shape == (6, 5)
        for k in range(5):
            assert torch.allclose(
                loss[:, k], torch.nn.functional.cross_entropy(out[:, :, k], target, reduction="none"), atol=1e-6
            )


def test_cross_entropy_of_other_shapes_is_torchs() -> None:
    images, classes = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    assert torch.equal(
        cross_entropy(images, classes), torch.nn.functional.cross_entropy(images, classes, reduction="none")
    )
    probabilities = images.softmax(dim=1)
    assert torch.equal(
        cross_entropy(images, probabilities), torch.nn.functional.cross_entropy(images, probabilities, reduction="none")
    )
    with pytest.raises((RuntimeError, ValueError)):
        cross_entropy(torch.randn(3, 3), torch.randn(3))  # values are no classes


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 2)])
def test_squared_error_compares_each_member_with_the_target(shape: tuple[int, ...]) -> None:
    y = torch.randn(shape)
    out = torch.randn(6, y.numel() // 6, 5)
    loss = squared_error(out, y)
    assert loss.shape == (6, 5)
    for k in range(5):
        assert torch.allclose(loss[:, k], squared_error(out[:, :, k], y), atol=1e-6)


@pytest.mark.parametrize(
    ("out", "y"), [((6, 3), (6,)), ((6, 2, 5), (6,)), ((6, 2, 5), (6, 3)), ((6, 1, 5), (5,)), ((5, 6), (6,))]
)
def test_shapes_that_do_not_fit_are_still_refused(out: tuple[int, ...], y: tuple[int, ...]) -> None:
    with pytest.raises(dashpot.UsageError, match="same number of values"):
        squared_error(torch.randn(out), torch.randn(y))


def test_label_smoothing_smooths_each_member() -> None:
    out, y = torch.randn(6, 3, 5), torch.tensor([0, 1, 2, 2, 1, 0])
    model = torch.nn.Linear(1, 1)
    with dashpot.LabelSmoothing(smoothing=0.1).attach(model, torch.optim.SGD(model.parameters(), lr=0.1)) as session:
        session.batch(torch.zeros(6, 1), y)
        got = session.loss(cross_entropy(out, y), out)
    expected = torch.stack(
        [torch.nn.functional.cross_entropy(out[:, :, k], y, label_smoothing=0.1) for k in range(5)]
    ).mean()
    assert torch.allclose(got, expected, atol=1e-6)
