"""Targets of any form: ``fit`` trains, mixes, smooths and scores them as by hand, or refuses them before work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import dashpot
from dashpot.core.rng import Draws, derive, generator, stream

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(40, 5, generator=GENERATOR)
YES = (X[:, 0] > 0).long()
CODES = X[:, :3].argmax(1)
LABELS = (X[:, :3] > 0).long()
VALUES = X[:, 0] - X[:, 2]


def line(outputs: int, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(5, outputs, dtype=torch.float32).to(dtype)


def fit(model: nn.Module, data: Any, **options: Any) -> dashpot.FitResult:
    return dashpot.fit(model, data, **{"epochs": 2, "batch_size": 16, "lr": 0.05, "progress": False, **options})


def weights(result: dashpot.FitResult) -> Tensor:
    return torch.cat([p.detach().double().reshape(-1) for p in result.model.parameters()])


# --- one step by hand ------------------------------------------------------------------------------------------------

TYPES = {
    "int64": torch.int64,
    "int32": torch.int32,
    "int16": torch.int16,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "bool": torch.bool,
}


def shares(recipe: dashpot.Recipe, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Share and partner of each row in the first step, as the public generator draws them; without Mixup itself."""
    for path, technique in zip(recipe.paths(), recipe, strict=True):
        if isinstance(technique, dashpot.Mixup):
            draws = Draws(derive(stream(0, path), 0, 0, 0))
            share = draws.beta(technique.alpha, rows, torch.device("cpu"))
            return share.double().numpy(), draws.permutation(rows, torch.device("cpu")).numpy()
    return np.ones(rows), np.arange(rows)


def expected_step(
    kind: str, classes: int, x: np.ndarray, y: np.ndarray, recipe: dashpot.Recipe, model: nn.Linear
) -> tuple[float, np.ndarray]:
    """The objective of one full batch and the weights after one step of gradient descent at rate 1, in numpy."""
    w, b = (p.detach().double().numpy() for p in (model.weight, model.bias))
    share, partner = shares(recipe, len(x))
    smoothing = sum(t.smoothing for t in recipe if isinstance(t, dashpot.LabelSmoothing))
    mixed = share[:, None] * x + (1 - share)[:, None] * x[partner]
    target = np.eye(classes)[y.reshape(-1)] if kind == "classes" else y.reshape(len(y), -1).astype(float)
    target = share[:, None] * target + (1 - share)[:, None] * target[partner]
    even = {"classes": 1 / classes, "labels": 0.5, "values": 0.0}[kind]
    target = (1 - smoothing) * target + smoothing * even
    z = mixed @ w.T + b
    if kind == "classes":
        logs = z - np.log(np.exp(z).sum(1, keepdims=True))
        loss, slope = -(target * logs).sum(1).mean(), (np.exp(logs) - target) / len(x)
    elif kind == "labels":
        p = 1 / (1 + np.exp(-z))
        loss = -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean()
        slope = (p - target) / z.size
    else:
        loss, slope = ((z - target) ** 2).mean(), 2 * (z - target) / z.size
    return float(loss), np.concatenate([(w - slope.T @ mixed).reshape(-1), b - slope.sum(0)])


LOSSES: dict[str, list[Callable[[], Any] | None]] = {
    "classes": [None, nn.CrossEntropyLoss, lambda: functional.cross_entropy],
    "labels": [None, nn.BCEWithLogitsLoss, lambda: functional.binary_cross_entropy_with_logits],
    "values": [None, nn.MSELoss, lambda: functional.mse_loss],
}


@st.composite
def situations(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["classes", "labels", "values"]))
    rows, columns = draw(st.integers(2, 12)), draw(st.integers(1, 4))
    outputs = draw(st.integers(2 if kind == "classes" else 1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    name = draw(st.sampled_from(sorted(TYPES)))
    loss = draw(st.sampled_from(LOSSES[kind]))
    if kind == "values":
        y: Any = rng.normal(size=(rows, outputs))
        name = draw(st.sampled_from(["float32", "float64"]))
    else:
        high = min(outputs, 2) if name == "bool" else outputs
        y = rng.integers(0, high, rows) if kind == "classes" else rng.integers(0, 2, (rows, outputs))
        if loss is not None:
            name = draw(st.sampled_from([name, "float32", "float64"]))
    if y.ndim == 2 and outputs == 1 and draw(st.booleans()):
        y = y[:, 0]
    if y.ndim == 1 and kind == "classes" and draw(st.booleans()):
        y = y[:, None]
    techniques: list[Any] = [dashpot.Mixup(alpha=0.7)] if draw(st.booleans()) else []
    if kind != "values" and draw(st.booleans()):
        techniques.append(dashpot.LabelSmoothing(smoothing=0.3))
    given_as = y.astype(np.bool_ if name == "bool" else name)
    return {
        "kind": kind,
        "outputs": outputs,
        "x": rng.normal(size=(rows, columns)).astype(np.float32),
        "y": y,
        "given": given_as if draw(st.booleans()) else torch.from_numpy(given_as),
        "loss": None if loss is None else loss(),
        "recipe": dashpot.Recipe(techniques),
        "dtype": draw(st.sampled_from([torch.float32, torch.float64])),
    }


@settings(max_examples=60, deadline=None)
@given(situations())
def test_one_step_is_the_one_by_hand(case: dict[str, Any]) -> None:
    rows = len(case["x"])
    torch.manual_seed(0)
    model = nn.Linear(case["x"].shape[1], case["outputs"]).to(case["dtype"])
    order = torch.randperm(rows, generator=generator(derive(stream(0, "order"), 1))).numpy()
    x, y = case["x"][order], case["y"][order]
    loss, after = expected_step(case["kind"], case["outputs"], x, y, case["recipe"], model)
    result = dashpot.fit(
        model,
        (case["x"], case["given"]),
        recipe=case["recipe"],
        loss=case["loss"],
        optimizer=lambda p: torch.optim.SGD(p, lr=1.0),
        schedule="constant",
        epochs=1,
        batch_size=rows,
        progress=False,
        device="cpu",
    )
    assert result.history[0]["objective"] == pytest.approx(loss, rel=1e-4, abs=1e-6)
    np.testing.assert_allclose(weights(result).numpy(), after, rtol=1e-4, atol=1e-5)
    score = scored(case["kind"], case["x"], case["y"], result.model)
    assert result.history[0]["train_accuracy" if case["kind"] != "values" else "train_rmse"] == pytest.approx(score)


def scored(kind: str, x: np.ndarray, y: np.ndarray, model: Any) -> float:
    """The accuracy, of rows whose labels are all right, or the RMSE, in numpy."""
    w, b = (p.detach().double().numpy() for p in (model.weight, model.bias))
    z = x @ w.T + b
    if kind == "values":
        return float(np.sqrt(((z - y.reshape(z.shape)) ** 2).mean()))
    right = z.argmax(1) == y.reshape(-1) if kind == "classes" else ((z > 0) == y.reshape(z.shape)).all(1)
    return float(right.mean())


# --- forms that mean the same ----------------------------------------------------------------------------------------


class Rows(Dataset[Any]):
    """Rows as numpy and Python numbers, which a loader makes float64 of."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, i: int) -> Any:
        return X[i].double().numpy(), int(CODES[i])


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(zip(X, CODES, strict=True))


class Counted(Stream):
    def __len__(self) -> int:
        return len(X)


def test_a_dataset_trains_as_its_tensors() -> None:
    plain = fit(line(3), (X, CODES), valid=(X, CODES))
    for data in (TensorDataset(X, CODES), TensorDataset(X, CODES.int()), Rows()):
        assert torch.equal(weights(fit(line(3), data, valid=data)), weights(plain))


@pytest.mark.parametrize("batch_size", [16, 32])
def test_a_last_batch_of_one_row_joins_the_one_before_also_from_a_dataset(batch_size: int) -> None:
    def normed() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))

    ours = fit(normed(), TensorDataset(X[:33], CODES[:33]), batch_size=batch_size)
    assert torch.equal(weights(ours), weights(fit(normed(), (X[:33], CODES[:33]), batch_size=batch_size)))
    loader: Any = DataLoader(TensorDataset(X[:33], CODES[:33]), batch_size=batch_size)
    with pytest.raises(dashpot.ConflictError, match="batch_size must be at least 2, got 1"):
        fit(normed(), loader)
    fit(normed(), DataLoader(TensorDataset(X[:33], CODES[:33]), batch_size=batch_size, drop_last=True))


def test_a_stream_needs_a_length() -> None:
    for data in (Stream(), DataLoader(Stream(), batch_size=16)):
        with pytest.raises(dashpot.DataError, match="data must have a length"):
            fit(line(3), data)
    assert len(fit(line(3), Counted()).history) == 2
    with pytest.raises(dashpot.DataError, match="must have at least one row"):
        fit(line(3), TensorDataset(X[:0], CODES[:0]))


FRAMES = {
    "pandas": (pd.DataFrame(X.numpy(), index=np.arange(40) + 7), pd.Series(CODES.numpy(), index=np.arange(40) + 7)),
    "polars": (pl.DataFrame(X.numpy()), pl.Series(CODES.numpy())),
    "objects": (X.numpy().astype(object), CODES.numpy().astype(object)),
    "lists": (X.tolist(), CODES.tolist()),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_and_objects_that_hold_numbers_are_arrays(kind: str) -> None:
    assert torch.equal(weights(fit(line(3), FRAMES[kind])), weights(fit(line(3), (X, CODES))))


@pytest.mark.parametrize("default", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("own", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("given_as", ["array32", "array64", "tensor32", "tensor64"])
def test_precision_is_the_model_s(given_as: str, own: torch.dtype, default: torch.dtype) -> None:
    x = X.double() if given_as.endswith("64") else X
    y = VALUES.double() if given_as.endswith("64") else VALUES
    data = (x.numpy(), y.numpy()) if given_as.startswith("array") else (x, y)
    recipe = dashpot.Mixup() | dashpot.L1() | dashpot.EMA() | dashpot.SAM()
    torch.set_default_dtype(default)
    try:
        result = fit(line(1, own), data, recipe=recipe)
        classes = fit(line(3, own), (data[0], CODES), recipe=dashpot.Mixup() | dashpot.LabelSmoothing())
    finally:
        torch.set_default_dtype(torch.float32)
    reference = fit(line(1), (X, VALUES), recipe=recipe)
    torch.testing.assert_close(weights(result), weights(reference), rtol=1e-3, atol=1e-4)
    assert all(p.dtype == own for r in (result, classes) for p in r.model.parameters())


def test_positions_that_the_loss_ignores_count_in_no_score() -> None:
    """A class for each of 4 positions; the last two have none."""
    x, codes = X[:, :, None].repeat(1, 1, 4), CODES[:, None].repeat(1, 4)
    ignored = torch.where(torch.arange(4) < 2, codes, -100)

    def conv() -> nn.Module:
        torch.manual_seed(0)
        return nn.Conv1d(5, 3, 1)

    some = fit(conv(), (x, ignored), valid=(x, ignored), loss=nn.CrossEntropyLoss(), recipe=dashpot.LabelSmoothing())
    alone = fit(conv(), (x[..., :2], codes[:, :2]), valid=(x[..., :2], codes[:, :2]), recipe=dashpot.LabelSmoothing())
    torch.testing.assert_close(weights(some), weights(alone))
    for name in ("val_loss", "val_accuracy", "val_balanced_accuracy"):
        assert some.history[-1][name] == pytest.approx(alone.history[-1][name])
    with pytest.raises(dashpot.ConflictError, match="Mixup and ignore_index"):
        fit(conv(), (x, ignored), loss=nn.CrossEntropyLoss(), recipe=dashpot.Mixup())
    with pytest.raises(dashpot.DataError, match=r"must be classes 0 to 2.* got -100 to 2"):
        fit(conv(), (x, ignored))


def test_probabilities_of_classes_are_scored_by_the_largest() -> None:
    soft = 0.7 * functional.one_hot(CODES, 3) + 0.1
    for loss, targets in ((nn.CrossEntropyLoss(), None), (None, "classes")):
        result = fit(line(3), (X, soft), loss=loss, targets=targets, epochs=40)
        hit = (result.model(X).argmax(1) == CODES).double().mean()
        assert result.history[-1]["train_accuracy"] == pytest.approx(float(hit))
        assert float(hit) > 0.9


def test_probabilities_of_yes_are_yes_from_one_half() -> None:
    model = nn.Sequential(line(1), nn.Sigmoid())
    result = fit(model, (X, YES.float()), loss=nn.BCELoss(), recipe=dashpot.LabelSmoothing(), epochs=20)
    hit = float(((result.model(X)[:, 0] > 0.5) == YES.bool()).double().mean())
    assert result.history[-1]["train_accuracy"] == pytest.approx(hit)
    assert hit > 0.8


@pytest.mark.parametrize("recipe", [None, dashpot.LabelSmoothing(smoothing=0.2), dashpot.Mixup(alpha=0.2)])
@pytest.mark.parametrize("y", [YES, YES.bool(), YES[:, None], YES.float(), YES.float()[:, None]], ids=lambda y: y.dtype)
def test_one_output_is_watched_by_its_accuracy(y: Tensor, recipe: Any) -> None:
    watch = dashpot.EarlyStopping(monitor="val_balanced_accuracy", mode="max", patience=50)
    both = watch if recipe is None else recipe | watch
    result = fit(line(1), (X, y), valid=(X, y), loss=nn.BCEWithLogitsLoss(), recipe=both, epochs=15)
    best = max(row["val_balanced_accuracy"] for row in result.history)
    said = (result.model(X)[:, 0] > 0).long()
    recall = np.mean([float((said[c == YES] == c).double().mean()) for c in (0, 1)])
    assert recall == pytest.approx(best)
    assert recall > 0.85


# --- losses of pairs -------------------------------------------------------------------------------------------------

OWN: dict[str, Any] = {
    "each": lambda out, y: (out - y).square(),
    "mean": lambda out, y: (out - y).square().mean(),
    "absolute": lambda out, y: (out - y).abs().mean(),
}


@pytest.mark.parametrize("loss", OWN)
def test_a_loss_that_compares_every_output_with_every_target_is_refused(loss: str) -> None:
    model = line(1)
    for y, fits in ((VALUES, False), (VALUES[:, None], True)):
        if fits:
            assert fit(model, (X, y), loss=OWN[loss], epochs=40).history[-1]["train_rmse"] < 0.5
        else:
            with pytest.raises(dashpot.UsageError, match="compares every output with every target"):
                fit(model, (X, y), loss=OWN[loss])
            assert torch.equal(model.weight, line(1).weight)
    own = fit(line(1), (X, VALUES), loss=lambda out, y: (out[:, 0] - y).square(), epochs=40)
    assert own.history[-1]["train_rmse"] < 0.5


@pytest.mark.parametrize(
    "loss", [nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(), functional.mse_loss], ids=["mse", "l1", "huber", "function"]
)
def test_a_loss_of_torch_gets_the_target_in_the_shape_of_the_output(loss: Any) -> None:
    assert fit(line(1), (X, VALUES), loss=loss, epochs=60).history[-1]["train_rmse"] < 0.2


# --- what is refused -------------------------------------------------------------------------------------------------


class Out(nn.Module):
    def __init__(self, form: Callable[[Tensor], Any], outputs: int = 3) -> None:
        super().__init__()
        self.inner, self.form = line(outputs), form

    def forward(self, x: Tensor) -> Any:
        return self.form(self.inner(x))


REFUSED: dict[str, tuple[nn.Module, Any, dict[str, Any], type[Exception], str]] = {
    "float classes": (line(3), CODES.float(), {}, dashpot.DataError, r"for values \[2\].*pass whole numbers"),
    "two axes for one": (
        nn.Conv1d(5, 3, 1),
        CODES,
        {"x": X[:, :, None].repeat(1, 1, 4)},
        dashpot.DataError,
        r"gives \[2, 3, 4\] for classes \[2\]: logits must be \[batch, classes",
    ),
    "too few values": (line(3), VALUES, {}, dashpot.DataError, r"gives \[2, 3\] for values \[2\]"),
    "NaN": (line(1), VALUES.where(VALUES > 0, torch.nan), {}, dashpot.DataError, r"data\[1\] must hold finite"),
    "text": (line(3), np.array(["a", "b"])[YES], {}, dashpot.DataError, r"data\[1\] .* numeric.*unique"),
    "text and None": (line(3), np.array(["a", None])[YES], {}, dashpot.DataError, "NoneType, str.*fill or remove"),
    "None": (line(1), np.array([1.5, None])[YES], {}, dashpot.DataError, "NoneType.*fill or remove"),
    "complex": (line(1), VALUES + 1j, {}, dashpot.DataError, "must be real"),
    "columns": (nn.Linear(4, 3), CODES, {}, dashpot.DataError, r"must take the inputs, \[2, 5\] of float32, got"),
    "classes of a dataset": (
        line(3),
        None,
        {"x": TensorDataset(X, CODES + 1)},
        dashpot.DataError,
        r"data\[1\] must be classes 0 to 2.* got 1 to 3",
    ),
    "a tuple": (Out(lambda o: (o, o)), CODES, {}, dashpot.ConfigError, "loss must be given .*tuple"),
    "a dict": (Out(lambda o: {"logits": o}, 1), VALUES, {}, dashpot.ConfigError, "loss must be given .*dict"),
    "smoothing of floats": (
        line(1),
        YES.float(),
        {"recipe": dashpot.LabelSmoothing()},
        dashpot.ConflictError,
        "Say targets='multilabel' if they are yes and no",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_refused_before_it_begins(name: str) -> None:
    model, y, options, error, message = REFUSED[name]
    options = dict(options)
    x = options.pop("x", X)
    before = weights(dashpot.FitResult(model, [], "", ""))
    with pytest.raises(error, match=message):
        fit(model, x if y is None else (x, y), **options)
    assert torch.equal(weights(dashpot.FitResult(model, [], "", "")), before)


def test_a_loader_s_classes_are_checked_batch_by_batch() -> None:
    rows: Any = [(X[i], CODES[i] + 1) for i in range(40)]
    data: Any = DataLoader(rows, batch_size=16)
    with pytest.raises(dashpot.DataError, match=r"data\[1\] must be classes 0 to 2"):
        fit(line(3), data)


def test_outputs_that_are_no_tensor_train_by_a_loss_of_one_s_own() -> None:
    for form, get in ((lambda o: (o, o), lambda o: o[0]), (lambda o: {"logits": o}, lambda o: o["logits"])):
        result = fit(Out(form), (X, CODES), loss=lambda o, y, get=get: functional.cross_entropy(get(o), y))
        assert torch.equal(weights(result), weights(fit(line(3), (X, CODES), loss=nn.CrossEntropyLoss())))


@pytest.mark.parametrize("outputs", [1, 2])
def test_relative_strengths_are_of_the_loss_that_is_trained(outputs: int) -> None:
    """At the weakest strength that keeps all zero they stay zero; just below, they do not."""

    def trained(relative: float) -> Tensor:
        model = line(outputs)
        with torch.no_grad():
            model.weight.zero_()
            model.bias.zero_()
        recipe = dashpot.L1(relative=relative)
        options = {"optimizer": lambda p: torch.optim.SGD(p, lr=0.3), "schedule": "constant", "batch_size": 40}
        fit(model, (X, YES), recipe=recipe, epochs=100, **options)
        return model.weight

    assert not trained(1.2).any()
    assert trained(0.8).any()
