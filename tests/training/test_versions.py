"""Test-time augmentation as part of a network, of `fit` and of a saved run, against means that are taken by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.core.registry import registry
from dashpot.core.running.modes import evaluating
from dashpot.imaging.content import image_hashes
from dashpot.techniques.augment.picture import PictureTechnique
from dashpot.training.versions import TTANetwork

PER_IMAGE = sorted(name for name, kind in registry().items() if issubclass(kind, PictureTechnique))


def images(n: int = 6, channels: int = 3, size: int = 8, seed: int = 0) -> Tensor:
    return torch.randint(
        256, (n, channels, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def net(outputs: int = 3, pixels: int = 192) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, outputs))


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def by_hand(model: nn.Module, x: Tensor) -> np.ndarray:
    weight, bias = (p.detach().double().numpy() for p in model[1].parameters())  # type: ignore[index]  # a Sequential
    return np.asarray(x.double().flatten(1).numpy() / 255 @ weight.T + bias)


class TestMean:
    @pytest.mark.parametrize(
        ("given", "weights"),
        [
            ("flip", {(): 0.5, (3,): 0.5}),
            ("horizontal-flip:p=0.2", {(): 0.8, (3,): 0.2}),
            ("horizontal-flip:alternate=true", {(): 0.5, (3,): 0.5}),
            ("flip | vertical-flip:p=0.25", {(): 0.375, (3,): 0.375, (2,): 0.125, (2, 3): 0.125}),
            ("vertical-flip:p=1", {(2,): 1.0}),
            ("flip | flip", {(): 0.5, (3,): 0.5}),
        ],
    )
    def test_over_flips_is_exact(self, given: str, weights: dict[tuple[int, ...], float]) -> None:
        model, x = net(), images()
        tta = dashpot.TTA(given)
        assert tta.versions == len(weights)
        mean = sum(w * softmax(by_hand(model, x.flip(axes))) for axes, w in weights.items())
        with torch.no_grad():
            out = tta.network(model).eval()(x)
        np.testing.assert_allclose(out.softmax(1).numpy(), mean, atol=1e-6)
        np.testing.assert_allclose(dashpot.tta_predict(model, x, given).mean.numpy(), mean, atol=1e-6)

    def test_of_labels_and_values(self) -> None:
        model, x = net(), images()
        there, back = by_hand(model, x), by_hand(model, x.flip(3))
        with torch.no_grad():
            values = dashpot.TTA("flip").network(model, "values").eval()(x)
            labels = dashpot.TTA("flip").network(model, "multilabel").eval()(x)
        np.testing.assert_allclose(values.numpy(), (there + back) / 2, atol=1e-5)
        sigmoid = (1 / (1 + np.exp(-there)) + 1 / (1 + np.exp(-back))) / 2
        np.testing.assert_allclose(labels.sigmoid().numpy(), sigmoid, atol=1e-6)

    def test_of_drawn_versions_holds_the_image_itself(self) -> None:
        model, x = net(), images()
        tta = dashpot.TTA("translation:fraction=0.3", draws=3)
        versions = [shown for _, shown in tta.images(x)]
        assert len(versions) == tta.versions == 4
        torch.testing.assert_close(versions[0], x / 255)
        assert not any(torch.equal(a, b) for i, a in enumerate(versions) for b in versions[:i])
        mean = np.mean([softmax(by_hand(model, v * 255)) for v in versions], axis=0)
        with torch.no_grad():
            np.testing.assert_allclose(tta.network(model).eval()(x).softmax(1).numpy(), mean, atol=1e-6)

    def test_of_improbable_classes_is_no_infinity(self) -> None:
        model = net()
        with torch.no_grad():
            model[1].weight.mul_(1e4)  # type: ignore[index]  # a Sequential
            out = dashpot.TTA("flip").network(model).eval()(images())
        assert bool(out.isfinite().all())
        assert float(out.softmax(1).min()) == 0

    def test_in_training_is_the_network_itself(self) -> None:
        model, x = net(), images() / 255
        both = TTANetwork(model.train(), dashpot.TTA("flip"))
        assert both.training
        assert torch.equal(both(x), model(x))
        with evaluating(both):
            assert not torch.equal(both(x), model(x))


class TestDraws:
    @pytest.mark.parametrize("name", [name for name in PER_IMAGE if name != "aug-mix"])
    def test_belong_to_the_image(self, name: str) -> None:
        """Whatever stands beside it, as bytes or floats, in either memory format."""
        x = images(n=5, size=16)
        tta = dashpot.TTA(registry()[name](), draws=2)
        whole = [v for _, v in tta.images(x)]
        for other in (x[[3, 1]], x[[3, 1]] / 255, (x[[3, 1]] / 255).contiguous(memory_format=torch.channels_last)):
            for a, b in zip(whole, (v for _, v in tta.images(other)), strict=True):
                torch.testing.assert_close(a[[3, 1]], b, atol=1e-5, rtol=0)

    def test_differ_by_image_version_and_seed(self) -> None:
        x = images(n=1).expand(3, -1, -1, -1).clone()
        x[2, 0, 0, 0] ^= 1  # a single bit
        first = [v for _, v in dashpot.TTA("pixel-noise", draws=2).images(x)]
        other = [v for _, v in dashpot.TTA("pixel-noise", draws=2, seed=1).images(x)]
        assert torch.equal(first[1][0], first[1][1])
        assert not torch.allclose(first[1][0], first[1][2], atol=0.01)
        assert not torch.allclose(first[1], first[2], atol=0.01)
        assert not torch.allclose(first[1], other[1], atol=0.01)

    def test_hashes_are_spread_and_take_any_number(self) -> None:
        x = torch.zeros(200, 1, 4, 4)
        x.view(200, -1)[torch.arange(200), torch.arange(200) % 16] = (torch.arange(200) + 1) / 200
        hashes = image_hashes(x)
        assert len(set(hashes.tolist())) == 200
        bits = np.unpackbits(hashes.view(np.uint8)).mean()
        assert 0.45 < bits < 0.55
        x[0, 0, 0, 0], x[1, 0, 0, 0] = float("nan"), float("inf")
        assert len(image_hashes(x)) == 200
        assert len(image_hashes(x[:0])) == 0

    def test_json_makes_the_same(self) -> None:
        for tta in (dashpot.TTA("flip"), dashpot.TTA(["translation:fraction=0.1", dashpot.augment.Hue(5)], 3, 7)):
            again = dashpot.TTA.of(json.loads(json.dumps(tta.to_dict())))
            assert again == tta
            assert str(again) == str(tta)
        assert dashpot.TTA.of(None) is dashpot.TTA.of("none") is None


class TestFit:
    def test_scores_are_of_the_averaged_answers(self) -> None:
        x, y = images(24), torch.arange(24) % 3
        plain = dashpot.fit(net(), (x, y), valid=(x[:9], y[:9]), epochs=2, modality="image", progress=False)
        result = dashpot.fit(
            net(), (x, y), valid=(x[:9], y[:9]), epochs=2, modality="image", tta="flip", progress=False
        )
        assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), result.model.parameters(), strict=True))
        mean = (softmax(by_hand(result.model, x[:9])) + softmax(by_hand(result.model, x[:9].flip(3)))) / 2
        expected = -np.log(mean[np.arange(9), y[:9].numpy()]).mean()
        assert result.history[-1]["val_loss"] == pytest.approx(expected, abs=1e-5)
        assert plain.history[-1]["val_loss"] != pytest.approx(expected, abs=1e-5)
        with torch.no_grad():
            np.testing.assert_allclose(result.predictor(x[:9]).softmax(1).numpy(), mean, atol=1e-6)
        assert plain.predictor is plain.model

    def test_is_compared_when_a_run_is_resumed(self, tmp_path: Path) -> None:
        data: Any = images(12), torch.arange(12) % 3
        options: Any = {"epochs": 2, "modality": "image", "progress": False, "checkpoint": tmp_path}
        dashpot.fit(net(), data, tta="flip", **options)
        with pytest.raises(dashpot.ConfigError, match="tta"):
            dashpot.fit(net(), data, resume=True, **options)

    def test_probabilities_are_averaged_as_they_are(self) -> None:
        model = nn.Sequential(net(1), nn.Sigmoid())
        x, y = images(12), (torch.arange(12) % 2).float()[:, None]
        result = dashpot.fit(
            model,
            (x, y),
            loss=nn.BCELoss(),
            epochs=1,
            modality="image",
            tta="flip",
            targets="multilabel",
            progress=False,
        )
        with torch.no_grad():
            expected = (model(x / 255) + model(x.flip(3) / 255)) / 2
            torch.testing.assert_close(result.predictor(x), expected)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("mixup", "recipe of tta must be of techniques that change single images, got 'Mixup"),
            ("dropout", "recipe of tta must be of techniques that change single images, got 'Dropout"),
            ("rotation:degrees=10to0", "recipe of tta must be of techniques without schedules"),
            ([], "recipe of tta must be of one technique"),
            (["none", "flip"], 'tta must be "none" alone'),
        ],
    )
    def test_refuses_what_is_no_version_of_an_image(self, given: Any, message: str) -> None:
        with pytest.raises(dashpot.ConfigError, match=message):
            dashpot.fit(net(), (images(), torch.arange(6) % 3), modality="image", tta=given, progress=False)

    def test_refuses_tables_and_numbers(self) -> None:
        table: Any = torch.rand(8, 192), torch.arange(8) % 2
        with pytest.raises(dashpot.ConfigError, match="tta must be None for other inputs than images"):
            dashpot.fit(net(), table, modality="table", tta="flip", progress=False)
        with pytest.raises(dashpot.ConfigError, match="draws of tta must be a whole number >= 1"):
            dashpot.TTA("flip", draws=0)
        with pytest.raises(dashpot.ConfigError, match="draws of tta must be given with techniques"):
            dashpot.TTA.of(None, 3)
        data: Any = images(size=16), torch.arange(6) % 3
        with pytest.raises(dashpot.DataError, match="must take the images that tta makes"):
            crop = dashpot.augment.RandomResizedCrop(size=8)
            dashpot.fit(net(3, 768), data, modality="image", tta=crop, progress=False)

    def test_bytes_that_nobody_called_pixels_stay_bytes(self) -> None:
        class Bytes(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(192, 3)

            def forward(self, x: Tensor) -> Tensor:
                assert x.dtype == torch.uint8
                out: Tensor = self.layer(x.float().flatten(1) / 255)
                return out

        x, y = images(12), torch.arange(12) % 3
        for tta in ("flip", "pixel-noise"):
            result = dashpot.fit(Bytes(), (x, y), epochs=1, tta=tta, progress=False)
            assert result.predictor(x).shape == (12, 3)
