"""The estimators on images and signals, inside scikit-learn's own tools."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from dashpot import TTA, DashpotClassifier, DashpotRegressor, EarlyStopping, augment, nets
from dashpot.core.errors import DashpotError

RNG = np.random.default_rng(0)
CROP = "random-crop:padding=0.125"


def bars(n: int = 96, channels: int = 3, side: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Noisy photographs [n, h, w, c] as bytes with one bright bar, upright (1) or lying (0), somewhere."""
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 120, size=(n, side, side, channels), dtype=np.uint8), rng.integers(0, 2, size=n)
    for image, upright, place in zip(x, y, rng.integers(1, side - 1, size=n), strict=True):
        image[(slice(None), place) if upright else (place, slice(None))] += 100
    return x, y


def classifier(recipe: Any = None, **options: Any) -> DashpotClassifier:
    return DashpotClassifier(recipe, **{"width": 8, "epochs": 12, "batch_size": 16, "random_state": 0, **options})


def test_the_three_orders_of_axes_and_tensors_are_the_same_images() -> None:
    x, y = bars(24)
    wanted = classifier(CROP, epochs=2).fit(x, y).predict_proba(x)
    for same in (np.moveaxis(x, 3, 1), torch.from_numpy(x), list(x)):
        again = classifier(CROP, epochs=2).fit(same, y)
        np.testing.assert_allclose(again.predict_proba(same), wanted, atol=1e-6)
        np.testing.assert_allclose(again.predict_proba(x), wanted, atol=1e-6)
    grey = x[..., :1]
    first, second = classifier(epochs=2).fit(grey, y), classifier(epochs=2).fit(grey[..., 0], y)
    np.testing.assert_allclose(first.predict_proba(grey), second.predict_proba(grey[..., 0]), atol=1e-6)
    assert first.n_features_in_ == 144


def test_it_learns_with_techniques_on_images_and_keeps_bytes() -> None:
    x, y = bars(200)
    model = classifier([CROP, "brightness:strength=0.1"]).fit(x[:128], y[:128])
    assert model.score(x[128:], y[128:]) > 0.9
    assert type(model.model_).__name__ == "ConvNet"
    assert nets.describe(model.model_)["width"] == 8
    assert model.preprocessing_.transform(np.moveaxis(x, 3, 1)).dtype == np.uint8
    # The first stage of the network holds the mean of each channel over [0, 1].
    mean = np.moveaxis(x[:128], 3, 0).reshape(3, -1).mean(axis=1) / 255
    np.testing.assert_allclose(model.preprocessing_.mean, mean, atol=1e-5)
    assert "random-crop" in model.plan_


def test_the_defaults_of_images_are_those_of_fit() -> None:
    x, y = bars(32)
    model = DashpotClassifier(width=4, epochs=8, random_state=0).fit(x, y)
    # One step of 32 rows in each epoch; one cycle: up in the first quarter, down to zero in the rest.
    rates = [row["lr"] for row in model.history_]
    assert rates[0] < rates[1] < rates[2] == pytest.approx(6e-3)
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] < 2e-3
    assert len(DashpotClassifier(width=2, random_state=0).fit(x[:8], y[:8]).history_) == 100  # the most, for few rows


def test_pickle_clone_and_parameters() -> None:
    x, y = bars(40)
    model = classifier(augment.HorizontalFlip() | augment.RandomCrop(0.125), tta="flip", epochs=2).fit(x, y)
    assert model.get_params()["tta"] == "flip"
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
    copy = clone(model)
    assert not hasattr(copy, "model_")
    np.testing.assert_array_equal(copy.fit(x, y).predict_proba(x), model.predict_proba(x))


def test_scores_over_folds_and_a_grid_over_a_strength() -> None:
    x, y = bars(96)
    pipeline = make_pipeline(FunctionTransformer(lambda images: images[:, 1:, :]), classifier(CROP))
    assert cross_val_score(pipeline, x, y, cv=2).mean() > 0.7
    recipes = [augment.RandomCrop(padding=padding) for padding in (0.0, 0.125)]
    search = GridSearchCV(classifier(epochs=3), {"recipe": recipes}, cv=2).fit(x, y)
    assert search.best_params_["recipe"] in recipes
    assert search.best_estimator_.predict(x).shape == (96,)


@pytest.mark.parametrize("mirrored", [False, True])
def test_both_mirror_images_have_one_answer(mirrored: bool) -> None:
    x, y = bars(40)
    model = classifier(tta="flip" if mirrored else None, epochs=2).fit(x, y)
    there, back = model.predict_proba(x), model.predict_proba(x[:, :, ::-1])
    assert np.allclose(there, back, atol=1e-6) == mirrored
    np.testing.assert_allclose(np.exp(model.predict_log_proba(x)), there, atol=1e-6)
    if mirrored:
        plain = clone(model).set_params(tta=None).fit(x, y)
        mean = (plain.predict_proba(x) + plain.predict_proba(x[:, :, ::-1])) / 2
        np.testing.assert_allclose(there, mean, atol=1e-5)


def test_values_of_images_in_their_own_units() -> None:
    x, _ = bars(120)
    light = np.random.default_rng(2).uniform(0.2, 1, size=120)
    x, y = (x * light[:, None, None, None]).astype(np.uint8), 1000 + 500 * light
    model = DashpotRegressor("horizontal-flip", tta="flip", width=8, epochs=20, batch_size=16, random_state=0)
    assert model.fit(x[:90], y[:90]).score(x[90:], y[90:]) > 0.5
    np.testing.assert_allclose(model.predict(x), model.predict(x[:, :, ::-1]), rtol=1e-5)
    two = DashpotRegressor(width=4, epochs=1, random_state=0).fit(x, np.column_stack([y, -y]))
    assert two.predict(x).shape == (120, 2)


def test_early_stopping_and_weights() -> None:
    x, y = bars(60)
    assert "val_loss" in classifier(EarlyStopping(patience=3), epochs=2).fit(x, y).history_[0]
    weight = np.r_[np.zeros(20), np.ones(40)]
    weighted = classifier(epochs=2).fit(x, y, sample_weight=weight)
    np.testing.assert_allclose(
        weighted.predict_proba(x), classifier(epochs=2).fit(x[20:], y[20:]).predict_proba(x), atol=1e-6
    )
    balanced = classifier(epochs=2, class_weight={0: 9.0, 1: 1.0}).fit(x, y)
    assert balanced.predict_proba(x)[:, 0].mean() > weighted.predict_proba(x)[:, 0].mean()


def test_signals() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, size=120)
    waves = np.sin(np.arange(40) * np.where(y, 0.9, 0.4)[:, None] + rng.uniform(0, 6, size=(120, 1)))
    x = np.stack([waves, rng.normal(size=waves.shape)], axis=1)
    model = classifier("time-shift").fit(x[:80], y[:80])
    assert type(model.model_).__name__ == "ConvNet1d"
    assert model.score(x[80:], y[80:]) > 0.9
    with pytest.raises(DashpotError, match="tta must be"):
        classifier(tta="flip").fit(x, y)


def test_a_search_over_images_inside_fit() -> None:
    digits, y = load_digits(return_X_y=True)
    x, y = digits[:150].reshape(-1, 8, 8), y[:150]
    model = classifier("auto", trials=2, epochs=2, cv=2, pictures="photo").fit(x, y)
    assert model.report_ is not None
    assert model.preprocessing_.pictures == "photo"
    assert {c["params"]["net.width"] for c in model.report_["candidates"]} == {8}
    assert model.predict(x).shape == (150,)
    assert (model.tta_ is not None) == ("flip" in str(model.recipe_).lower())
    with pytest.raises(DashpotError, match="pictures must be None"):
        classifier("auto", trials=2, epochs=1, cv=2, pictures="glyph").fit(digits[:150], y)


def test_after_images_a_table_and_back() -> None:
    x, y = bars(40)
    model = classifier(epochs=1).fit(x, y)
    assert model.fit(x.reshape(40, -1)[:, :5], y).predict(x.reshape(40, -1)[:, :5]).shape == (40,)
    assert model.n_features_in_ == 5
    with pytest.raises(ValueError, match="dim 4"):
        model.predict(x)
    assert model.fit(x, y).n_features_in_ == 432


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[..., [0] * 12], r"channels, h, w\], with 1 or 3 channels .*, got \[40, 12, 12, 12\]"),
        (lambda x: x[None], "X must be a table .*, got "),
        (lambda x: np.where(np.arange(40)[:, None, None, None] == 3, np.nan, x), "NaN or infinity in 1 of 40"),
        (lambda x: x.astype(object), "X must hold numbers where it has 4 axes, got object"),
        (lambda x: x.astype(complex), "complex128"),
        (lambda x: [*x[1:], x[0, 1:]], r"images of one size, got 40 arrays such as \[12, 12, 3\] and \[11, 12, 3\]"),
        (lambda x: x[:0], "0 sample"),
        (lambda x: x[:, :6, :9], "at least 8 x 8, got"),
        (lambda x: x[1:], "inconsistent numbers of samples"),
    ],
)
def test_images_that_are_refused(change: Any, message: str) -> None:
    x, y = bars(40)
    with pytest.raises((DashpotError, ValueError), match=message) as caught:
        classifier(epochs=1).fit(change(x), y)
    assert "\n" not in str(caught.value)


def test_predictions_for_other_shapes_are_refused() -> None:
    x, y = bars(40)
    model = classifier(epochs=1).fit(x, y)
    wanted = r"X must be images \[n, 3, 12, 12\] or \[n, 12, 12, 3\], as in training, got "
    for other, got in (
        (x[:, :10], r"\[40, 10, 12, 3\]\.$"),
        (x[..., 0], r"\[40, 12, 12\]\.$"),
        (x[0, ..., 0], r"\[12, 12\]\. A single one is X\[None\]\.$"),
        (scipy.sparse.csr_array(x.reshape(40, -1)), r"\[40, 432\]"),
    ):
        with pytest.raises(DashpotError, match=wanted + got):
            model.predict(other)
    with pytest.raises(ValueError, match="0 sample"):
        model.predict(x[:0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pictures": "drawing"}, "pictures must be one of photo, glyph or None, got 'drawing'"),
        ({"tta": "mixup"}, "tta"),
        ({"numeric": ["x0"]}, "numeric, dates and categorical must be None"),
        ({"recipe": "time-shift"}, "signal"),
        ({"depth": -1}, "depth must be"),
    ],
)
def test_arguments_that_do_not_fit_images(options: dict[str, Any], message: str) -> None:
    x, y = bars(40)
    with pytest.raises(DashpotError, match=message):
        classifier(**{"epochs": 1, **options}).fit(x, y)


def test_tta_of_tables_is_refused_and_a_ready_one_is_taken() -> None:
    x, y = bars(40)
    for tta in ("flip", TTA("flip")):
        with pytest.raises(DashpotError, match="tta must be None for other inputs than images"):
            classifier(tta=tta, epochs=1).fit(x.reshape(40, -1), y)
    with pytest.raises(DashpotError, match="pictures must be None for other data than images"):
        classifier(pictures="photo", epochs=1).fit(x.reshape(40, -1), y)
    assert str(classifier(tta=TTA("translation", draws=2), epochs=1).fit(x, y).tta_).endswith(" x 2")


@pytest.mark.parametrize("channels", [2, 4, 9])
def test_any_number_of_channels_on_either_side(channels: int) -> None:
    """Satellites' and microscopes' images: only one channel of several shows the class."""
    x, y = bars(40)
    many = np.random.default_rng(0).integers(0, 256, (40, 12, 12, channels), dtype=np.uint8)
    many[..., -1] = x[..., 0]
    last, first = (
        classifier("rotation:degrees=3 | brightness", epochs=2).fit(z, y) for z in (many, many.transpose(0, 3, 1, 2))
    )
    np.testing.assert_array_equal(last.predict_proba(many), first.predict_proba(many.transpose(0, 3, 1, 2)))
    weights = next(p for p in last.model_.parameters() if p.ndim == 4)
    assert weights.shape[1] in (channels, 4 * channels)  # of a stem that folds 2 x 2 pixels
    with pytest.raises(DashpotError, match=rf"\[n, {channels}, 12, 12\] .* as in training, got \[40, 12, 12, 3\]"):
        last.predict(x)


def test_several_labels_are_told_two_ways_out() -> None:
    x, y = bars(40)
    with pytest.raises(DashpotError, match=r"one class for each row, got \[40, 2\].*MultiOutputClassifier.*multilabel"):
        classifier(epochs=1).fit(x, np.stack([y, y], axis=1))
