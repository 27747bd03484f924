"""Augmentation of single images in a Dataset, and test-time augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import dashpot
from dashpot.augment import Augmented, SampleTransform
from dashpot.core.registry import registry
from dashpot.techniques.augment.picture import PictureTechnique

RECIPE = "rotation:degrees=20 | horizontal-flip | pixel-noise:std=0.1"


PICTURES = [cls for cls in registry().values() if issubclass(cls, PictureTechnique) and "dashpot." in cls.__module__]


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def data(n: int = 12) -> Augmented:
    images = TensorDataset(torch.from_numpy(pixels(n, 3, 8, 8)), torch.arange(n) % 2)
    return Augmented(images, RECIPE, seed=3)


def seen(loader: Any, made: Augmented, epochs: int = 2) -> Tensor:
    found = []
    for epoch in range(epochs):
        made.set_epoch(epoch)
        found += [x for x, _ in loader]
    return torch.cat(found)


class TestSamples:
    def test_any_number_of_workers_gives_the_same(self) -> None:
        made = data()
        plain = seen(DataLoader(made, batch_size=5), made)
        assert torch.equal(seen(DataLoader(made, batch_size=3, num_workers=2), made), plain)
        kept = DataLoader(made, batch_size=5, num_workers=2, persistent_workers=True)
        assert torch.equal(seen(kept, made), plain)
        assert not torch.equal(plain[:12], plain[12:])

    def test_no_two_images_share_a_draw(self) -> None:
        same = TensorDataset(torch.from_numpy(pixels(1, 1, 8, 8)).expand(30, 1, 8, 8), torch.zeros(30))
        made = Augmented(same, "rotation:degrees=30", seed=0)
        rows = {made[i][0].numpy().tobytes() for i in range(30)}
        assert len(rows) == 30
        assert torch.equal(made[-1][0], made[29][0])

    def test_global_random_state_is_neither_read_nor_changed(self) -> None:
        made, before = data(), torch.get_rng_state()
        first = made[4][0]
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(99)
        assert torch.equal(made[4][0], first)

    @pytest.mark.parametrize("shape", [(7, 9), (7, 9, 3)])
    def test_arrays_tensors_and_pictures_are_the_same_image(self, shape: tuple[int, ...]) -> None:
        transform, image = SampleTransform(RECIPE, seed=1), pixels(*shape)
        before = image.copy()
        array = transform(image, index=5, epoch=2)
        picture = transform(Image.fromarray(image), index=5, epoch=2)
        tensor = torch.from_numpy(image).permute(2, 0, 1) if len(shape) == 3 else torch.from_numpy(image)
        out = transform(tensor, index=5, epoch=2)
        assert isinstance(picture, Image.Image)
        np.testing.assert_array_equal(np.array(picture), array)
        np.testing.assert_array_equal((out.permute(1, 2, 0) if out.ndim == 3 else out).numpy(), array)
        np.testing.assert_array_equal(image, before)
        assert array.dtype == np.uint8
        assert array.shape == shape
        assert (array != image).any()

    def test_a_single_image_is_the_one_of_a_batch(self) -> None:
        """The draws are those of any batch: a flip of probability 1 is the mirrored image."""
        image = pixels(5, 6, 3)
        np.testing.assert_array_equal(SampleTransform("horizontal-flip:p=1")(image, index=0), image[:, ::-1])

    @pytest.mark.parametrize("cls", PICTURES, ids=lambda cls: cls.kind())
    def test_each_image_of_a_batch_is_as_alone(self, cls: Any) -> None:
        technique = cls(p=0.6) if "p" in cls.fields() else cls()
        transform, images = SampleTransform(technique, seed=4), torch.from_numpy(pixels(7, 3, 10, 12))
        for kind in (images, images.float() / 255):
            found = transform.batch(list(kind), index=range(5, 12), epoch=1)
            alone = [transform(image, index=5 + k, epoch=1) for k, image in enumerate(kind)]
            assert all(torch.equal(a, b) for a, b in zip(found, alone, strict=True))

    def test_a_batch_of_images_of_several_kinds_and_sizes(self) -> None:
        transform = SampleTransform(RECIPE, seed=1)
        images = [pixels(6, 7, 3), Image.fromarray(pixels(6, 7, 3)), torch.from_numpy(pixels(3, 5, 5)), pixels(6, 7)]
        found = transform.batch(images, index=[3, 0, 8, 2])
        for k, (image, place) in enumerate(zip(images, [3, 0, 8, 2], strict=True)):
            assert type(found[k]) is type(image)
            np.testing.assert_array_equal(np.asarray(found[k]), np.asarray(transform(image, index=place)))
        with pytest.raises(dashpot.DataError, match="one whole number for each of the 4 images"):
            transform.batch(images, index=[3])

    def test_a_loader_augments_the_images_of_a_batch_in_one_call(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made, calls = data(), []
        original = made.transform.batch
        monkeypatch.setattr(made.transform, "batch", lambda *a, **k: calls.append(len(a[0])) or original(*a, **k))
        list(DataLoader(made, batch_size=5))
        assert calls == [5, 5, 2]

    def test_fit_resumes_and_counts_epochs(self, tmp_path: Any) -> None:
        def run(**options: Any) -> dict[str, Tensor]:
            torch.manual_seed(0)
            model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
            made = Augmented(data().dataset, RECIPE, seed=3, then=lambda image: image.float() / 255)
            dashpot.fit(model, DataLoader(made, batch_size=4), progress=False, device="cpu", **options)
            return model.state_dict()

        whole = run(epochs=3)
        run(epochs=3, checkpoint=tmp_path)
        resumed = run(epochs=3, checkpoint=tmp_path, resume=True)
        assert all(torch.equal(resumed[name], t) for name, t in whole.items())

    def test_refusals(self) -> None:
        with pytest.raises(dashpot.ConfigError, match="recipe of SampleTransform must be of techniques.*Mixup"):
            SampleTransform("mixup")
        with pytest.raises(dashpot.ConfigError, match="without schedules"):
            SampleTransform("rotation:degrees=10to0")
        transform = SampleTransform("horizontal-flip")
        with pytest.raises(dashpot.DataError, match=r"mode L or RGB, got RGBA.*convert\('RGB'\)"):
            transform(Image.fromarray(pixels(4, 4, 4)), index=0)
        with pytest.raises(dashpot.DataError, match="a PIL image, an array or a tensor"):
            transform("a picture", index=0)
        with pytest.raises(dashpot.DataError, match="2 or 3 axes, of uint8 or floating point"):
            transform(torch.zeros(3, 4, 4, dtype=torch.int64), index=0)


class TestTTA:
    def test_is_the_mean_and_deviation_of_the_versions(self) -> None:
        model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(8, 3)).train()
        x = torch.rand(6, 1, 2, 4)
        result = dashpot.tta_predict(model, x, "horizontal-flip:p=1", draws=1, batch_size=4)
        with torch.no_grad():
            there, back = (model[2](t.flatten(1)).softmax(1).double() for t in (x, x.flip(3)))
        torch.testing.assert_close(result.mean, ((there + back) / 2).float())
        torch.testing.assert_close(result.spread, ((there - back).abs() / 2).float(), atol=1e-5, rtol=1e-4)
        assert model.training

    def test_values_bytes_and_no_draws(self) -> None:
        model = nn.Sequential(nn.Flatten(), nn.Linear(8, 1))
        x = pixels(3, 1, 2, 4)
        result = dashpot.tta_predict(model, x, "rotation", draws=0, targets="values")
        with torch.no_grad():
            torch.testing.assert_close(result.mean, model(torch.from_numpy(x).float() / 255))
        assert result.versions == 1
        assert float(result.spread.abs().max()) == 0
        again = [dashpot.tta_predict(model, x, "rotation", seed=2, targets="values").mean for _ in range(2)]
        assert torch.equal(*again)

    def test_refusals(self) -> None:
        model, x = nn.Flatten(), torch.rand(2, 1, 4, 4)
        for options, message in (
            ({"recipe": "cutmix"}, "recipe of tta"),
            ({"draws": -1}, "draws must be"),
            ({"targets": "labels"}, "targets must be one of"),
        ):
            with pytest.raises(dashpot.ConfigError, match=message):
                dashpot.tta_predict(model, x, **{"recipe": "rotation", **options})
        with pytest.raises(dashpot.UsageError, match="tta_predict needs images"):
            dashpot.tta_predict(model, x[0], "rotation")
        with pytest.raises(dashpot.DataError, match="outputs"):
            dashpot.tta_predict(nn.Identity(), x, "rotation")
        with pytest.raises(dashpot.DataError, match="at least one image"):
            dashpot.tta_predict(model, x[:0], "rotation")
