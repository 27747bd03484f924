"""Targets of all forms in a loop of one's own: yes/no labels, classes, values; smoothed, mixed, flattened, ignored."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(6, 1, generator=GENERATOR)
SEVERAL = torch.randn(6, 3, generator=GENERATOR)
YES = torch.tensor([1, 0, 1, 1, 0, 0])
LABELS = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0]])
bce = partial(functional.binary_cross_entropy_with_logits, reduction="none")


def session_of(recipe: Any, outputs: int = 3, **options: Any) -> dashpot.Session:
    model = nn.Linear(4, outputs)
    return dashpot.Recipe.coerce(recipe).attach(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)


def by_hand(logits: Tensor, labels: Tensor, smoothing: float, weight: Any = 1.0, *, yes: float = 1.0) -> float:
    """Binary cross entropy against labels that are moved towards one half, in numpy; ``yes`` weighs the positives."""
    z, t = logits.double().numpy(), (1 - smoothing) * labels.double().numpy() + smoothing / 2
    each = yes * t * np.log1p(np.exp(-z)) + (1 - t) * np.log1p(np.exp(z))
    w = np.broadcast_to(np.asarray(weight, dtype=float).reshape(-1, 1), each.shape)
    return float((each * w).sum() / w.sum())


class TestSmoothing:
    @pytest.mark.parametrize("said", [None, "multilabel", "classes"])
    @pytest.mark.parametrize("form", ["[B] loss", "[B, 1] loss", "[B] logits", "criterion", "function"])
    def test_of_one_yes_or_no(self, form: str, said: str | None) -> None:
        """Once four fifths of the plain loss: the mean over the one "class" is 0."""
        session = session_of(dashpot.LabelSmoothing(smoothing=0.2), 1, targets=said)
        session.batch(torch.zeros(6, 4), YES)
        loss: Any = {
            "[B] loss": (bce(LOGITS[:, 0], YES.float()), LOGITS),
            "[B, 1] loss": (bce(LOGITS, YES.float()[:, None]), LOGITS),
            "[B] logits": (bce(LOGITS[:, 0], YES.float()), LOGITS[:, 0]),
            "criterion": (nn.BCEWithLogitsLoss(), LOGITS),
            "function": (functional.binary_cross_entropy_with_logits, LOGITS),
        }[form]
        assert session.loss(*loss).item() == pytest.approx(by_hand(LOGITS, YES[:, None], 0.2), rel=1e-5)

    def test_of_one_yes_or_no_by_hand(self) -> None:
        """Logit 1 of a yes: log(1 + e^-1) = .313262, of a no 1.313262; nine tenths of one, a tenth of the other."""
        session = session_of(dashpot.LabelSmoothing(smoothing=0.2), 1)
        out = torch.tensor([[1.0]])
        got = session.loss(bce(out[:, 0], torch.ones(1)), out)
        assert got.item() == pytest.approx(0.9 * 0.3132617 + 0.1 * 1.3132617, rel=1e-5)

    @pytest.mark.parametrize("known", [False, True], ids=["no batch", "batch"])
    @pytest.mark.parametrize("made", ["each", "mean", "sum", "criterion"])
    def test_of_several_labels(self, made: str, known: bool) -> None:
        session = session_of(dashpot.LabelSmoothing(smoothing=0.2), targets="multilabel")
        if known:
            session.batch(torch.zeros(6, 4), LABELS)
        each = bce(SEVERAL, LABELS.float())
        expected = by_hand(SEVERAL, LABELS, 0.2)
        if made == "criterion":
            got = session.loss(nn.BCEWithLogitsLoss(), SEVERAL, LABELS)
        elif made == "sum":
            if not known:  # nothing says of what it is the sum
                with pytest.raises(dashpot.UsageError, match="LabelSmoothing needs the loss of each label"):
                    session.loss(each.sum(1), SEVERAL)
                return
            got, expected = session.loss(each.sum(1), SEVERAL), 3 * expected
        else:
            got = session.loss(each.mean(1) if made == "mean" else each, SEVERAL)
        assert got.item() == pytest.approx(expected, rel=1e-5)

    def test_of_labels_by_the_target_where_nobody_says_what_it_is(self) -> None:
        """The mean over labels [batch] looks like a loss of classes, but the target is none."""
        for y in (LABELS, LABELS.float()):
            session = session_of(dashpot.LabelSmoothing(smoothing=0.2))
            session.batch(torch.zeros(6, 4), y)
            got = session.loss(bce(SEVERAL, LABELS.float()).mean(1), SEVERAL)
            assert got.item() == pytest.approx(by_hand(SEVERAL, LABELS, 0.2), rel=1e-5)

    def test_of_labels_by_weights_of_samples_and_of_the_yes(self) -> None:
        weight = torch.tensor([1.0, 0.0, 2.0, 1.0, 0.5, 3.0])
        session = session_of(dashpot.LabelSmoothing(smoothing=0.2), targets="multilabel")
        session.batch(torch.zeros(6, 4), LABELS, weight)
        got = session.loss(nn.BCEWithLogitsLoss(), SEVERAL)
        assert got.item() == pytest.approx(by_hand(SEVERAL, LABELS, 0.2, weight.numpy()), rel=1e-5)
        got = session.loss(nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0)), SEVERAL)
        assert got.item() == pytest.approx(by_hand(SEVERAL, LABELS, 0.2, weight.numpy(), yes=3.0), rel=1e-5)

    def test_of_labels_whose_outputs_are_probabilities(self) -> None:
        session = session_of(dashpot.LabelSmoothing(smoothing=0.2), targets="multilabel")
        session.batch(torch.zeros(6, 4), LABELS)
        got = session.loss(nn.BCELoss(), SEVERAL.sigmoid())
        assert got.item() == pytest.approx(by_hand(SEVERAL, LABELS, 0.2), rel=1e-5)

    @pytest.mark.parametrize("y", [2 * LABELS - 1, LABELS + 1, 5.0 * LABELS], ids=["-1/1", "1/2", "values"])
    def test_of_what_is_neither_yes_nor_no_is_refused(self, y: Tensor) -> None:
        session = session_of(dashpot.LabelSmoothing(smoothing=0.2))
        session.batch(torch.zeros(6, 4), y)
        with pytest.raises(dashpot.DataError, match="must be labels 0 and 1"):
            session.loss(nn.SoftMarginLoss(), SEVERAL)

    @pytest.mark.parametrize("soft", [False, True])
    def test_twice_is_refused(self, soft: bool) -> None:
        session = session_of(dashpot.LabelSmoothing(smoothing=0.2), classes=3)
        y = torch.arange(6) % 3
        session.batch(torch.zeros(6, 4), functional.one_hot(y).float() if soft else y)
        with pytest.raises(dashpot.UsageError, match=r"smooths labels already, by label_smoothing=0.1"):
            session.loss(nn.CrossEntropyLoss(label_smoothing=0.1), SEVERAL)

    def test_of_classes_once_with_mixup_and_of_soft_targets(self) -> None:
        y = torch.arange(6) % 3
        session = session_of(dashpot.Mixup(alpha=0.5) | dashpot.LabelSmoothing(smoothing=0.2), classes=3)
        batch = session.batch(torch.randn(6, 4, generator=GENERATOR), y)
        target = 0.8 * batch.y.double() + 0.2 / 3
        expected = -(target * SEVERAL.double().log_softmax(1)).sum(1).mean()
        assert session.loss(nn.CrossEntropyLoss(), SEVERAL).item() == pytest.approx(expected.item(), rel=1e-5)


class TestMixup:
    x = torch.randn(6, 4, generator=GENERATOR)

    def shares(self, session: dashpot.Session, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The blended target, and partner and share of each row, found by a column of the inputs that says the row."""
        marked = torch.eye(6)
        batch = session.batch(marked, y)
        share = batch.x.diagonal()
        rest = batch.x - torch.diag(share)
        return batch.y, rest.argmax(1), share

    @pytest.mark.parametrize("shape", [(6,), (6, 1)], ids=str)
    @pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.float32], ids=str)
    def test_one_yes_or_no_is_blended_as_it_is(self, dtype: torch.dtype, shape: Any) -> None:
        """Once it became one column that said where the class is 0."""
        session = session_of(dashpot.Mixup(alpha=1.0), 1, targets="multilabel")
        y, partner, share = self.shares(session, YES.to(dtype).reshape(shape))
        expected = share * YES + (1 - share) * YES[partner]
        torch.testing.assert_close(y, expected.reshape(shape))

    @pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int8, torch.uint8], ids=str)
    def test_classes_become_rows_that_sum_to_one(self, dtype: torch.dtype) -> None:
        codes = torch.arange(6) % 3
        y, partner, share = self.shares(session_of(dashpot.Mixup(alpha=1.0), classes=4), codes.to(dtype))
        hot = torch.eye(4)[codes]
        torch.testing.assert_close(y, share[:, None] * hot + (1 - share)[:, None] * hot[partner])

    def test_positions_have_classes_of_their_own(self) -> None:
        codes = torch.randint(3, (6, 5), generator=GENERATOR)
        y, partner, share = self.shares(session_of(dashpot.Mixup(alpha=1.0), classes=3, targets="classes"), codes)
        hot = torch.eye(3)[codes].movedim(-1, 1)
        torch.testing.assert_close(y, share[:, None, None] * hot + (1 - share)[:, None, None] * hot[partner])

    def test_whole_values_are_blended_as_values(self) -> None:
        y, partner, share = self.shares(session_of(dashpot.Mixup(alpha=1.0), 1, targets="values"), 5 * YES)
        torch.testing.assert_close(y, 5 * (share * YES + (1 - share) * YES[partner]))

    @pytest.mark.parametrize(
        ("y", "options", "message"),
        [
            (torch.arange(6) % 3 + 1, {"classes": 3}, r"must be classes 0 to 2, got 1 to 3.*unique"),
            (2 * YES - 1, {"classes": 2}, "must be classes 0 to 1, got -1 to 1"),
            (2 * YES - 1, {"targets": "multilabel"}, "must be labels 0 and 1"),
            ((torch.arange(6) % 3).float(), {"classes": 3}, r"probabilities \[batch, 3\].*y.long"),
        ],
    )
    def test_what_would_be_blended_wrongly_is_refused(self, y: Tensor, options: Any, message: str) -> None:
        with pytest.raises(dashpot.DataError, match=message):
            session_of(dashpot.Mixup(alpha=1.0), **options).batch(self.x, y)

    def test_two_classes_of_one_output_are_no_and_yes(self) -> None:
        session = session_of(dashpot.Mixup(alpha=1.0), 1, classes=2)
        y, partner, share = self.shares(session, YES)
        expected = bce(LOGITS[:, 0], share * YES + (1 - share) * YES[partner]).mean()
        torch.testing.assert_close(session.loss(nn.BCEWithLogitsLoss(), LOGITS), expected)
        torch.testing.assert_close(y.sum(1), torch.ones(6))

    @pytest.mark.parametrize("classes", [1, 0, -3, 2.5])
    def test_fewer_than_two_classes_are_none(self, classes: Any) -> None:
        with pytest.raises(dashpot.ConfigError, match="classes must be"):
            session_of(dashpot.Mixup(alpha=1.0), classes=classes)


class TestBroadcasts:
    """[batch, 1] against [batch]: torch compares every output with every target."""

    values = torch.randn(6, generator=GENERATOR)

    @pytest.mark.parametrize("needed", [False, True])
    @pytest.mark.parametrize("kind", [nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.PoissonNLLLoss])
    def test_a_loss_of_torch_gets_the_target_in_the_shape_of_the_output(self, kind: Any, needed: bool) -> None:
        session = session_of(None, 1)
        weight = torch.ones(6) if needed else None
        expected = kind()(LOGITS[:, 0], self.values)
        for y, out in ((self.values, LOGITS), (self.values[:, None], LOGITS[:, 0]), (self.values.double(), LOGITS)):
            session.batch(torch.zeros(6, 4), y, weight)
            torch.testing.assert_close(session.loss(kind(), out), expected)

    def test_another_shape_is_refused(self) -> None:
        session = session_of(None)
        session.batch(torch.zeros(3, 4), torch.randn(3))
        with pytest.raises(dashpot.UsageError, match=r"the model gives \[3, 3\] for targets \[3\]"):
            session.loss(nn.MSELoss(), torch.randn(3, 3))

    def test_a_loss_of_one_s_own_is_refused(self) -> None:
        session = session_of(None, 1)
        session.batch(torch.zeros(6, 4), self.values)
        with pytest.raises(dashpot.UsageError, match=r"\[6, 6\] compares every output with every target.*reshape"):
            session.loss((LOGITS - self.values).square(), LOGITS)
        with pytest.raises(dashpot.UsageError, match="compares every output"):
            session.loss(lambda out, y: (out - y).square(), LOGITS)

    def test_classes_of_any_type_for_cross_entropy(self) -> None:
        codes = torch.arange(6) % 3
        expected = functional.cross_entropy(SEVERAL, codes)
        session = session_of(None)
        for y in (codes.int(), codes.to(torch.int8), codes.to(torch.uint8), codes[:, None]):
            session.batch(torch.zeros(6, 4), y)
            torch.testing.assert_close(session.loss(nn.CrossEntropyLoss(), SEVERAL), expected)


class TestFlattened:
    """Losses of flattened logits; the batch holds the target [batch, positions]."""

    logits = torch.randn(2, 4, 3, generator=GENERATOR)
    words = torch.tensor([[0, 1, -100, -100], [2, 2, 1, -100]])
    flat = functional.cross_entropy(logits.reshape(8, 3), words.reshape(8), reduction="none")

    def test_ignored_positions_stay_out(self) -> None:
        session = session_of(dashpot.LabelSmoothing(smoothing=0.2), ignore_index=-100)
        session.batch(torch.zeros(2, 4), self.words)
        kept = self.words.reshape(8) != -100
        chosen, codes = self.logits.reshape(8, 3)[kept], self.words.reshape(8)[kept]
        expected = functional.cross_entropy(chosen, codes, label_smoothing=0.2)
        torch.testing.assert_close(session.loss(self.flat, self.logits.reshape(8, 3)), expected)

    def test_masks_and_weights_of_sequences_too(self) -> None:
        session = session_of(None)
        weight = torch.tensor([3.0, 1.0])
        session.batch(torch.zeros(2, 4), self.words, weight, mask=self.words != -100)
        w = (weight[:, None] * (self.words != -100)).reshape(8)
        torch.testing.assert_close(session.loss(self.flat, self.logits.reshape(8, 3)), (self.flat * w).sum() / w.sum())

    def test_one_output_for_each_sample(self) -> None:
        """The truth [batch] and a loss [batch, 1] are of the same samples, and not of all pairs of them."""
        session = session_of(None, 1, ignore_index=-100)
        y = torch.tensor([1, 0, -100, 1, 0, -100])
        session.batch(torch.zeros(6, 4), y)
        kept = y >= 0
        got = session.loss(bce(LOGITS, y.float().clamp(min=0)[:, None]), LOGITS)
        torch.testing.assert_close(got, bce(LOGITS[kept, 0], y[kept].float()).mean())

    def test_floating_point_labels_that_are_not_known(self) -> None:
        session = session_of(None, ignore_index=-1, targets="multilabel")
        y = LABELS.float().index_put((torch.tensor([0, 3]), torch.tensor([1, 2])), torch.tensor(-1.0))
        session.batch(torch.zeros(6, 4), y)
        each = bce(SEVERAL, y.clamp(min=0))
        torch.testing.assert_close(session.loss(each, SEVERAL), each[y >= 0].mean())


@pytest.mark.parametrize("floats", [False, True])
def test_labels_that_are_not_known_are_not_smoothed(floats: bool) -> None:
    session = session_of(dashpot.LabelSmoothing(smoothing=0.2), ignore_index=-1, targets="multilabel")
    y = LABELS.index_put((torch.tensor([0, 3]), torch.tensor([1, 2])), torch.tensor(-1))
    session.batch(torch.zeros(6, 4), y.float() if floats else y)
    got = session.loss(bce(SEVERAL, y.float().clamp(min=0)), SEVERAL)
    known = y >= 0
    torch.testing.assert_close(got, bce(SEVERAL, 0.8 * y + 0.1)[known].mean())


def test_a_driver_that_divides_by_its_number_of_items_gets_the_strength_that_was_asked_for() -> None:
    """Two micro-batches of 2 and 4 rows, summed and divided by 6, are one batch of 6 for loss and penalty alike."""
    x, y = torch.randn(6, 4, generator=GENERATOR), torch.arange(6) % 3

    def stepped(parts: list[slice]) -> Tensor:
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        with (dashpot.L2(strength=0.3) | dashpot.L1(strength=0.1)).attach(model, optimizer) as session:
            for rows in parts:
                batch = session.batch(x[rows], y[rows])
                session.loss(nn.CrossEntropyLoss(), model(batch.x), total=6).backward()
            optimizer.step()
        return model.weight.detach()

    torch.testing.assert_close(stepped([slice(0, 2), slice(2, 6)]), stepped([slice(0, 6)]))
