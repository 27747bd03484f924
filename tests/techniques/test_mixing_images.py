"""CutMix, ResizeMix, RandomMix and partners by class: against per-sample arithmetic, and each refusal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.core.fields import codec
from dashpot.techniques.augment.mixing.cutmix import clipped_boxes
from dashpot.techniques.augment.mixing.mixed_targets import classes_of
from dashpot.techniques.augment.mixing.partners import other_class, same_class
from dashpot.techniques.augment.mixing.resize_mix import inner_boxes
from tests.population.helpers import demand_equal_alone, member, population

KINDS = (dashpot.CutMix(p=1.0), dashpot.augment.ResizeMix(p=1.0), dashpot.augment.RandomMix(p=1.0, resizemix=1.0))
COPYING = KINDS[:2]


def attached(technique: Any, **options: Any) -> dashpot.Session:
    model = nn.Linear(2, 3)
    return technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)


def numbered(n: int, channels: int = 1, height: int = 8, width: int = 6) -> Tensor:
    """Images whose pixels say which image they are from."""
    return torch.arange(n).float().reshape(-1, 1, 1, 1).expand(n, channels, height, width).clone()


@pytest.mark.parametrize("technique", COPYING, ids=lambda t: t.name)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_the_weight_is_the_share_of_pixels(technique: Any, channels: int) -> None:
    n = 33
    x, y = numbered(n, channels), torch.arange(n)
    batch = attached(technique, classes=n).batch(x, y)
    for i in range(n):
        counts = np.bincount(batch.x[i, 0].long().flatten().numpy(), minlength=n) / 48
        np.testing.assert_allclose(batch.y[i].numpy(), counts, atol=1e-6)
    assert (batch.y.amax(dim=1) < 1).float().mean() > 0.5
    assert torch.equal(batch.x, batch.x[:, :1].expand_as(x))


def test_the_box_of_cutmix_is_clipped_and_about_its_centre() -> None:
    share, centres = (
        torch.tensor([0.0, 1.0, 0.75, 0.75]),
        torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.0, 0.99], [0.5, 0.5]]),
    )
    boxes, left = clipped_boxes(share, centres, 8, 16)
    # Sides of all, none, and half of the image; the third is clipped at the top and at the right.
    assert boxes.tolist() == [[0, 8, 0, 16], [4, 4, 8, 8], [0, 2, 11, 16], [2, 6, 4, 12]]
    torch.testing.assert_close(left, torch.tensor([0.0, 1.0, 1 - 10 / 128, 0.75]))


def test_the_boxes_of_resize_mix_lie_inside() -> None:
    scale, corners = torch.rand(200), torch.rand(200, 2)
    top, bottom, left, right = inner_boxes(scale, corners, 9, 5).unbind(1)
    assert int(top.min()) >= 0
    assert int(bottom.max()) <= 9
    assert int(left.min()) >= 0
    assert int(right.max()) <= 5
    for i in range(200):
        assert int(bottom[i] - top[i]) == max(1, round(float(scale[i].double() * 9)))
    assert inner_boxes(torch.zeros(1), corners[:1], 9, 5).diff(dim=1)[0, ::2].tolist() == [0, 0]


@pytest.mark.parametrize("technique", KINDS, ids=lambda t: t.name)
def test_weights_count_each_part_with_its_own_sample(technique: Any) -> None:
    n = 12
    x, y, weight = torch.rand(n, 2, 6, 6), torch.arange(n), torch.rand(n) + 0.1
    session = attached(technique, classes=n)
    plain = session.batch(x, y)
    session.run.rewind()
    batch = session.batch(x, y, weight)
    out = torch.randn(n, n)
    ours = session.loss(functional.cross_entropy(out, batch.y, reduction="none"), out)
    parts = plain.y.double() * weight.double()[None]  # of each sample in each mixture, with its own weight
    loss = (parts * -out.double().log_softmax(dim=1)).sum() / parts.sum()
    torch.testing.assert_close(ours.double(), loss, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("technique", KINDS, ids=lambda t: t.name)
@pytest.mark.parametrize("form", ["values", "values [batch, 1]", "multilabel", "one sample"])
def test_other_targets(technique: Any, form: str) -> None:
    n = 1 if form == "one sample" else 11
    x = numbered(n, 3)
    y = {"values": x[:, 0, 0, 0], "values [batch, 1]": x[:, 0, 0, :1]}.get(form, (torch.rand(n, 4) > 0.5).long())
    targets = "multilabel" if y.ndim == 2 and y.shape[1] == 4 else "values"
    batch = attached(technique, targets=targets).batch(x, y)
    assert batch.y.shape == y.shape
    if targets == "values":  # a pixel's mean is the target, since pixels are what the target is
        torch.testing.assert_close(batch.y.reshape(-1), batch.x.mean(dim=(1, 2, 3)), rtol=1e-5, atol=1e-5)
    if n == 1:
        assert torch.equal(batch.x, x)


@pytest.mark.parametrize("technique", COPYING, ids=lambda t: t.name)
def test_targets_of_each_pixel_move_with_the_pixels(technique: Any) -> None:
    y = torch.randint(0, 5, (7, 8, 6))
    x = y[:, None].float()
    batch = attached(technique, classes=5, targets="classes", ignore_index=4).batch(x, y)
    assert torch.equal(batch.y, batch.x[:, 0].long())
    assert not torch.equal(batch.y, y)


def test_bytes_stay_bytes() -> None:
    batch = attached(dashpot.CutMix(p=1.0), classes=3).batch(
        torch.randint(0, 255, (6, 3, 8, 8)).byte(), torch.arange(6) % 3
    )
    assert batch.x.dtype == torch.uint8


def test_p_is_the_share_of_images_that_are_mixed() -> None:
    x = numbered(400)
    for technique in (dashpot.CutMix(p=0.3), dashpot.augment.ResizeMix(p=0.3), dashpot.augment.RandomMix(p=0.3)):
        changed = (attached(technique).batch(x, x[:, 0, 0, :1]).x != x).flatten(1).any(dim=1).float().mean()
        assert 0.2 < changed < 0.4, technique


def test_random_mix_chooses_for_each_image() -> None:
    x = numbered(300) + 1000
    blended = []
    for weights in ({"mixup": 3, "cutmix": 1}, {"mixup": 0, "cutmix": 1}, {"mixup": 1, "cutmix": 0}):
        out = attached(dashpot.augment.RandomMix(p=1.0, mixup_alpha=1.0, **weights)).batch(x, x[:, 0, 0, :1]).x
        blended.append(float((out != out.round()).flatten(1).any(dim=1).float().mean()))
    assert 0.6 < blended[0] < 0.85
    assert blended[1] == 0
    assert blended[2] > 0.9


class TestPartners:
    def codes(self, counts: tuple[int, ...], seed: int) -> Tensor:
        g = torch.Generator().manual_seed(seed)
        codes = torch.cat([torch.full((count,), k) for k, count in enumerate(counts)])
        return codes[torch.randperm(len(codes), generator=g)]

    @pytest.mark.parametrize("counts", [(5, 4, 3), (1, 1), (6, 6), (9, 2, 1), (7,), (1, 0, 8), (3, 3, 3, 3)])
    def test_are_permutations_by_class(self, counts: tuple[int, ...]) -> None:
        n, most = sum(counts), max(counts)
        for seed in range(20):
            codes, lots = self.codes(counts, seed), torch.rand(1, n + 1, generator=torch.Generator().manual_seed(seed))
            same, other = same_class(codes[None], lots)[0], other_class(codes[None], lots, len(counts))[0]
            assert sorted(same.tolist()) == sorted(other.tolist()) == list(range(n))
            assert torch.equal(codes[same], codes)
            alike = codes[other] == codes
            assert int(alike.sum()) == max(0, 2 * most - n)
            assert torch.equal(other[alike], torch.arange(n)[alike])

    def test_every_pair_of_other_classes_comes(self) -> None:
        codes, pairs = torch.tensor([0, 0, 1, 1, 2, 3]), set[tuple[int, int]]()
        for seed in range(400):
            lots = torch.rand(1, 7, generator=torch.Generator().manual_seed(seed))
            pairs |= set(enumerate(other_class(codes[None], lots, 4)[0].tolist()))
        assert pairs == {(i, j) for i in range(6) for j in range(6) if codes[i] != codes[j]}

    @pytest.mark.parametrize(
        "cls", [dashpot.Mixup, dashpot.CutMix, dashpot.augment.ResizeMix, dashpot.augment.RandomMix]
    )
    def test_within_a_class_targets_stay(self, cls: Any) -> None:
        x, y = torch.rand(12, 1, 4, 4), torch.arange(12) % 3
        strong = {"alpha": 1.0} if cls is dashpot.Mixup else {"p": 1.0}
        batch = attached(cls(partner="same-class", **strong), classes=3).batch(x, y)
        torch.testing.assert_close(batch.y, functional.one_hot(y).float())
        assert not torch.equal(batch.x, x)

    def test_soft_targets_have_the_class_of_their_largest_probability(self) -> None:
        assert classes_of(torch.tensor([[0.2, 0.8], [0.7, 0.3]]), 1, "Mixup").tolist() == [1, 0]
        with pytest.raises(dashpot.UsageError, match="one class per sample, got targets .*partner='any'"):
            classes_of(torch.zeros(4), 1, "Mixup")
        with pytest.raises(dashpot.ConflictError, match="chooses partners by class, but the targets are values"):
            attached(dashpot.CutMix(partner="other-class"), targets="values")


class TestRefusals:
    @pytest.mark.parametrize("technique", KINDS, ids=lambda t: t.name)
    def test_what_is_no_image(self, technique: Any) -> None:
        with pytest.raises(dashpot.UsageError, match=f"{type(technique).__name__} needs images.*height, width"):
            attached(technique, classes=3).batch(torch.rand(4, 6), torch.arange(4) % 3)
        with pytest.raises(dashpot.ConflictError, match="is for images, but the inputs are tables"):
            attached(technique, modality="table")

    def test_weights_or_blends_where_each_pixel_has_a_target(self) -> None:
        x, y = torch.rand(4, 1, 5, 5), torch.randint(0, 3, (4, 5, 5))
        with pytest.raises(dashpot.UsageError, match="cannot carry weights"):
            attached(dashpot.CutMix(), classes=3, targets="classes").batch(x, y, torch.ones(4))
        with pytest.raises(dashpot.UsageError, match="one for each pixel. Use CutMix"):
            attached(dashpot.augment.RandomMix(), classes=3, targets="classes").batch(x, y)
        with pytest.raises(dashpot.UsageError, match="CutMix and ignore_index"):
            attached(dashpot.CutMix(), classes=3, ignore_index=0).batch(x, y[:, 0, 0])

    def test_numbers(self) -> None:
        with pytest.raises(dashpot.ConfigError, match="smallest must be at most largest, 0.2, got 0.5"):
            dashpot.augment.ResizeMix(smallest=0.5, largest=0.2)
        with pytest.raises(dashpot.ConfigError, match="must be not all 0"):
            dashpot.augment.RandomMix(mixup=0, cutmix=0)


def test_names_without_hyphens_are_known() -> None:
    assert codec.parse("cutmix:p=0.3") == codec.parse("CutMix:p=0.3") == dashpot.CutMix(p=0.3)


@pytest.mark.parametrize("weighted", [False, True])
def test_in_a_stack_as_alone(weighted: bool) -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(80, 2, 6, 6, generator=g), torch.arange(80) % 3
    x[torch.arange(80), 0, y] += 1

    def net() -> nn.Module:
        return nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))

    mixers = [*KINDS, dashpot.CutMix(p=0.5, partner="other-class"), dashpot.Mixup(1.0, partner="same-class")]
    rows: dict[str, Any] = {"rows": np.arange(60), "watch": np.arange(60, 80)}
    members = [member(net, (t,), seed=k, **rows) for k, t in enumerate(mixers)]
    members += [member(net, (dashpot.CutMix(p="1to0"),), seed=9, **rows), member(net, seed=8, **rows)]
    if not weighted:
        together = population(members, [(x, y)], stack=True)
        together.train(4)
        for number, m in enumerate(members):
            demand_equal_alone(together, number, m, [(x, y)])
        return
    weight = torch.rand(80, generator=g) + 0.5
    together = population(members, [(x, y)], stack=True, weight=weight)
    together.train(4)
    assert all(t.isfinite().all() for number in range(len(members)) for t in together.tensors(number).values())
