"""What ``fit`` takes: nested inputs, whole batches with masks, weights in loss and scores, labels, any criterion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, hamming_loss, log_loss, r2_score
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

import dashpot
from dashpot.evaluation.losses import metrics_of

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(60, 5, generator=GENERATOR)
CLASSES = (X[:, 0] + X[:, 1] > 0).long()
VALUES = X[:, 0] - X[:, 2]
LABELS = (X[:, :3] > 0).long()
WEIGHT = torch.rand(60, generator=GENERATOR) * (torch.arange(60) % 4 > 0)


def line(outputs: int = 2) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(5, outputs)


def fit(model: nn.Module, data: Any, **options: Any) -> dashpot.FitResult:
    return dashpot.fit(model, data, **{"epochs": 3, "batch_size": 16, "lr": 0.05, "progress": False, **options})


def bits(result: dashpot.FitResult) -> list[Tensor]:
    return list(result.model.state_dict().values())


def same(a: dashpot.FitResult, b: dashpot.FitResult) -> bool:
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in result.history] for result in (a, b)]
    return rows[0] == rows[1] and all(torch.equal(x, y) for x, y in zip(bits(a), bits(b), strict=True))


class ByName(nn.Module):
    """Takes its input in two parts."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = line()

    def forward(self, left: Tensor, right: Any) -> Any:
        return self.inner(torch.cat([left, right["rest"] if isinstance(right, dict) else right], 1))


class ByRow(Dataset[Any]):
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, i: int) -> Any:
        return {"left": X[i, :2], "right": {"rest": X[i, 2:]}}, CLASSES[i]


@pytest.mark.parametrize("kind", ["dict", "arrays", "tuple"])
def test_nested_inputs_in_memory_train_as_the_plain_ones(kind: str) -> None:
    x: Any = {
        "dict": {"left": X[:, :2], "right": {"rest": X[:, 2:]}},
        "arrays": {"left": X[:, :2].numpy(), "right": X[:, 2:].numpy()},
        "tuple": (X[:, :2], X[:, 2:]),
    }[kind]
    recipe = dashpot.L1() | dashpot.EMA(decay=0.9)
    nested = fit(ByName(), (x, CLASSES), valid=(x, CLASSES), recipe=recipe)
    plain = fit(line(), (X, CLASSES), valid=(X, CLASSES), recipe=recipe)
    assert same(nested, plain)


def test_nested_inputs_from_datasets(tmp_path: Any) -> None:
    result = fit(ByName(), ByRow(), valid=ByRow(), epochs=20, checkpoint=tmp_path)
    assert result.history[-1]["val_accuracy"] > 0.9


def test_parts_of_other_lengths_and_other_things_are_refused() -> None:
    with pytest.raises(dashpot.DataError, match="one length"):
        fit(ByName(), ({"left": X, "right": X[:9]}, CLASSES))
    with pytest.raises(dashpot.DataError, match=r"data\[0\]\['left'\] must be a tensor or a numeric array"):
        fit(ByName(), ({"left": ["a"] * 60, "right": X}, CLASSES))
    with pytest.raises(dashpot.DataError, match="whole ones"):
        fit(line(), DataLoader([{"x": X[0]}]))  # type: ignore[arg-type]  # a list is a dataset for it


def test_targets_and_outputs_of_any_structure_need_a_loss_and_are_scored_by_it() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = line(3)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            out = self.inner(x)
            return {"class": out[:, :2], "value": out[:, 2]}

    def loss(out: Any, y: Any) -> Tensor:
        each = functional.cross_entropy(out["class"], y["class"], reduction="none")
        return each + (out["value"] - y["value"]).square()

    y = {"class": CLASSES, "value": VALUES}
    with pytest.raises(dashpot.ConfigError, match="loss must be given where the target is no tensor"):
        fit(Two(), (X, y))
    result = fit(Two(), (X, y, WEIGHT), valid=(X, y, WEIGHT), loss=loss, epochs=30)
    each = loss(result.model(X), y).detach()
    assert result.history[-1]["val_loss"] == pytest.approx(float((each * WEIGHT).sum() / WEIGHT.sum()), rel=1e-5)
    assert result.history[-1]["val_loss"] < result.history[0]["val_loss"]


@pytest.mark.parametrize(
    "criterion",
    [nn.CrossEntropyLoss(), functional.cross_entropy, nn.CrossEntropyLoss(reduction="none")],
    ids=["module", "function", "none"],
)
@pytest.mark.parametrize("recipe", [None, dashpot.LabelSmoothing() | dashpot.Mixup()], ids=["baseline", "samples"])
def test_a_criterion_that_reduces_trains_as_the_losses_of_samples(criterion: Any, recipe: Any) -> None:
    ours, plain = (fit(line(), (X, CLASSES), loss=loss, recipe=recipe) for loss in (criterion, None))
    for a, b in zip(bits(ours), bits(plain), strict=True):
        torch.testing.assert_close(a, b)
    assert ours.history[-1]["train_loss"] == pytest.approx(plain.history[-1]["train_loss"], rel=1e-5)


class TestWeights:
    """A row of weight 0 is absent, one of weight 2 counts twice, everywhere."""

    @pytest.mark.parametrize("y", [CLASSES, VALUES, LABELS], ids=["classes", "values", "labels"])
    def test_scores_are_those_of_scikit_learn(self, y: Tensor) -> None:
        outputs = {1: 1 if y.is_floating_point() else 2, 2: 3}[y.ndim]
        model, w = line(outputs), WEIGHT.numpy()
        result = fit(model, (X, y, WEIGHT), valid=(X, y, WEIGHT))
        row, out = result.history[-1], model(X).detach()
        if y is CLASSES:
            p = out.double().softmax(1).numpy()
            assert row["val_loss"] == pytest.approx(log_loss(y, p, sample_weight=w), rel=1e-5)
            assert row["val_accuracy"] == pytest.approx(accuracy_score(y, p.argmax(1), sample_weight=w))
            wanted = balanced_accuracy_score(y, p.argmax(1), sample_weight=w)
            assert row["val_balanced_accuracy"] == pytest.approx(wanted)
        elif y is VALUES:
            values = out[:, 0].numpy()
            assert row["val_r2"] == pytest.approx(r2_score(y, values, sample_weight=w), rel=1e-5)
            rmse = np.sqrt(np.average((values - y.numpy()) ** 2, weights=w))
            assert row["val_rmse"] == pytest.approx(rmse, rel=1e-5)
            assert row["val_loss"] == pytest.approx(rmse**2, rel=1e-5)
        else:
            labels = (out > 0).long().numpy()
            assert row["val_accuracy"] == pytest.approx(accuracy_score(y, labels, sample_weight=w))
            assert row["val_hamming_loss"] == pytest.approx(hamming_loss(y, labels, sample_weight=w))

    @pytest.mark.parametrize("y", [CLASSES, VALUES, LABELS], ids=["classes", "values", "labels"])
    def test_rows_of_weight_zero_are_absent_and_of_weight_two_there_twice(self, y: Tensor) -> None:
        weight = (torch.arange(60) % 3).float()
        rows = torch.arange(60).repeat_interleave(weight.long())
        out = torch.randn(60, 1 if y is VALUES else 3 if y is LABELS else 2, generator=torch.Generator().manual_seed(3))
        loss = {LABELS: lambda o, t: functional.binary_cross_entropy_with_logits(o, t.float(), reduction="none")}
        targets = "multilabel" if y is LABELS else None
        ours = metrics_of(out, y, loss.get(y), weight=weight, targets=targets)
        assert ours == pytest.approx(metrics_of(out[rows], y[rows], loss.get(y), targets=targets), rel=1e-6)

    def test_early_stopping_listens_to_the_weighted_score(self) -> None:
        """Rows of weight 0 are of the other kind: by them the first epoch would be the best."""
        recipe = dashpot.EarlyStopping(patience=50)
        x, y = torch.cat([X, X.repeat(3, 1)]), torch.cat([CLASSES, (1 - CLASSES).repeat(3)])
        weight = torch.cat([torch.ones(60), torch.zeros(180)])
        with_them = fit(line(), (X, CLASSES), valid=(x, y, weight), recipe=recipe, epochs=10)
        without = fit(line(), (X, CLASSES), valid=(X, CLASSES), recipe=recipe, epochs=10)
        against = fit(line(), (X, CLASSES), valid=(x, y), recipe=recipe, epochs=10)
        assert with_them.best_epoch == without.best_epoch == 10
        assert against.best_epoch == 1
        for a, b in zip(with_them.history, without.history, strict=True):
            assert a["val_loss"] == pytest.approx(b["val_loss"], rel=1e-5)


class TestLabels:
    @pytest.mark.parametrize("labels", [LABELS, LABELS.bool(), LABELS.to(torch.int8)], ids=["int", "bool", "int8"])
    def test_several_labels_are_found_and_trained_as_by_hand(self, labels: Tensor) -> None:
        result = fit(line(3), (X, labels), optimizer=lambda p: torch.optim.SGD(p, lr=0.5), batch_size=60, epochs=5)
        model = line(3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for step in range(5):
            optimizer.param_groups[0]["lr"] = 0.5 * (1 + np.cos(np.pi * step / 5)) / 2
            optimizer.zero_grad()
            functional.binary_cross_entropy_with_logits(model(X), LABELS.float()).backward()
            optimizer.step()
        for ours, by_hand in zip(bits(result), model.state_dict().values(), strict=True):
            torch.testing.assert_close(ours, by_hand)

    def test_floating_point_labels_are_said(self) -> None:
        said = fit(line(3), (X, LABELS.float()), targets="multilabel")
        found = fit(line(3), (X, LABELS))
        assert same(said, found)

    @pytest.mark.parametrize(
        "recipe", [dashpot.Mixup(alpha=0.2), dashpot.LabelSmoothing(smoothing=0.2)], ids=lambda t: t.name
    )
    @pytest.mark.parametrize("shape", [(60,), (60, 1)], ids=str)
    def test_one_output_learns_yes_and_no(self, recipe: Any, shape: tuple[int, ...]) -> None:
        """Mixup once learned the labels inverted, and the accuracy said one half."""
        result = fit(line(1), (X, CLASSES.reshape(shape)), recipe=recipe, epochs=40)
        assert result.history[-1]["train_accuracy"] > 0.9
        assert float(((result.model(X)[:, 0] > 0) == CLASSES.bool()).float().mean()) > 0.9

    def test_one_output_by_a_loss_of_one_s_own(self) -> None:
        def loss(out: Tensor, y: Tensor) -> Tensor:
            return functional.binary_cross_entropy_with_logits(
                out, y.float().reshape(out.shape), reduction="none"
            ).mean(1)

        result = fit(line(1), (X, CLASSES), recipe=dashpot.Mixup(alpha=0.2), loss=loss, epochs=40)
        assert result.history[-1]["train_accuracy"] > 0.9

    @pytest.mark.parametrize("made", [None, Tensor.mean, Tensor.sum], ids=["default", "mean", "sum"])
    def test_smoothing_of_labels_is_by_label_however_their_loss_is_made(self, made: Any) -> None:
        def loss(out: Tensor, y: Tensor) -> Tensor:
            each = functional.binary_cross_entropy_with_logits(out, y.float(), reduction="none")
            return made(each, dim=1)  # type: ignore[no-any-return]  # of an unbound method

        recipe = dashpot.LabelSmoothing(smoothing=0.2)
        options = {"recipe": recipe, "loss": loss if made else None, "epochs": 1, "batch_size": 60}
        result = fit(line(3), (X, LABELS), **options)
        soft = 0.8 * LABELS + 0.1
        expected = functional.binary_cross_entropy_with_logits(line(3)(X), soft) * (3 if made is Tensor.sum else 1)
        assert result.history[0]["objective"] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("outputs", "y", "options", "error", "message"),
    [
        (
            2,
            CLASSES + 1,
            {},
            dashpot.DataError,
            r"data\[1\] must be classes 0 to 1, as the model has 2 outputs, got 1 to 2",
        ),
        (2, 2 * CLASSES - 1, {}, dashpot.DataError, "must be classes 0 to 1.* got -1 to 1"),
        (1, 2 * CLASSES - 1, {}, dashpot.DataError, "must be labels 0 and 1.* got -1 to 1"),
        (2, LABELS, {"targets": "multilabel"}, dashpot.DataError, "one output for each label"),
        (2, CLASSES, {"targets": "binary"}, dashpot.ConfigError, "targets must be one of classes, values, multilabel"),
    ],
)
def test_targets_that_do_not_fit_are_refused_before_training(
    outputs: int, y: Tensor, options: Any, error: type[Exception], message: str
) -> None:
    model = line(outputs)
    with pytest.raises(error, match=message):
        fit(model, (X, y), **options)
    assert torch.equal(model.weight, line(outputs).weight)


# --- padded sequences ------------------------------------------------------------------------------------------------


class Tagger(nn.Module):
    """A class for each position: logits [batch, classes, positions]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(7, 8), nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.head(self.embed(tokens)).movedim(-1, 1)
        return out


SENTENCES = [torch.randint(7, (n,), generator=GENERATOR) for n in (4, 9, 2, 6, 1, 5)]


def padded(sentences: list[Tensor]) -> dashpot.Batch:
    """A sequence of tokens, with its tags (the token modulo 3); what is padded has a tag that is wrong."""
    tokens = nn.utils.rnn.pad_sequence(sentences, batch_first=True)
    lengths = torch.tensor([len(s) for s in sentences])
    tags = torch.where(torch.arange(tokens.shape[1]) < lengths[:, None], tokens % 3, (tokens + 1) % 3)
    return dashpot.Batch({"tokens": tokens}, tags, mask=lengths)


def test_padded_sequences_train_and_score_as_their_positions_alone() -> None:
    loader: Any = DataLoader(SENTENCES, batch_size=6, collate_fn=padded)  # type: ignore[arg-type]  # rows are texts
    recipe = dashpot.L2(strength=0.01) | dashpot.LabelSmoothing(smoothing=0.1)
    ours = fit(Tagger(), loader, valid=loader, recipe=recipe, optimizer=lambda p: torch.optim.SGD(p, lr=0.5))
    tokens = torch.cat(SENTENCES)
    alone = Tagger()
    optimizer = torch.optim.SGD(alone.parameters(), lr=0.5)
    for step in range(3):
        optimizer.param_groups[0]["lr"] = 0.5 * (1 + np.cos(np.pi * step / 3)) / 2
        optimizer.zero_grad()
        logits = alone(tokens[:, None])[..., 0]
        loss = functional.cross_entropy(logits, tokens % 3, label_smoothing=0.1)
        (loss + 0.005 * alone.head.weight.square().sum()).backward()
        optimizer.step()
    for a, b in zip(bits(ours), alone.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    logits = alone(tokens[:, None])[..., 0].detach()
    assert ours.history[-1]["val_loss"] == pytest.approx(float(functional.cross_entropy(logits, tokens % 3)), rel=1e-5)
    hit = float((logits.argmax(1) == tokens % 3).double().mean())
    assert ours.history[-1]["val_accuracy"] == pytest.approx(hit)
