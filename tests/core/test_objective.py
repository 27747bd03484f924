"""The loss of a batch: per sample, by a criterion or as one number; weights, masks and positions that are ignored."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.core.technique import Technique

GENERATOR = torch.Generator().manual_seed(0)
OUT = torch.randn(6, 4, generator=GENERATOR)
Y = torch.tensor([0, 3, 1, 2, 3, 3])
WEIGHT = torch.tensor([1.0, 0.0, 2.0, 1.0, 0.5, 3.0])
CLASSES = torch.tensor([0.5, 2.0, 1.0, 0.25])


class Idle(Technique):
    """Asks for the loss of each sample and leaves it."""

    def on_loss(self, loss: Tensor, out: Any, ctx: Any) -> Tensor:
        return loss


def session_of(recipe: Any = None, **options: Any) -> dashpot.Session:
    model = nn.Linear(3, 4)
    return (recipe or dashpot.Recipe()).attach(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)


CRITERIA: dict[str, Any] = {
    "module": nn.CrossEntropyLoss(),
    "module, none": nn.CrossEntropyLoss(reduction="none"),
    "module, sum": nn.CrossEntropyLoss(reduction="sum"),
    "class weights": nn.CrossEntropyLoss(weight=CLASSES),
    "class weights, sum": nn.CrossEntropyLoss(weight=CLASSES, reduction="sum"),
    "class weights, smoothed": nn.CrossEntropyLoss(weight=CLASSES, label_smoothing=0.2),
    "smoothed": nn.CrossEntropyLoss(label_smoothing=0.2),
    "ignores": nn.CrossEntropyLoss(ignore_index=3),
    "ignores, weights": nn.CrossEntropyLoss(weight=CLASSES, ignore_index=3),
    "function": functional.cross_entropy,
    "partial": partial(functional.cross_entropy, weight=CLASSES, ignore_index=3),
    "own": lambda out, y: functional.cross_entropy(out, y, reduction="none"),
    "nll": lambda out, y, reduction="mean": functional.nll_loss(out.log_softmax(1), y, reduction=reduction),
}


def own_number(criterion: Any, out: Tensor, y: Tensor) -> Tensor:
    loss = criterion(out, y)
    return loss.mean() if loss.ndim else loss


@pytest.mark.parametrize("needed", [False, True])
@pytest.mark.parametrize("name", CRITERIA)
def test_a_criterion_ends_in_its_own_number(name: str, needed: bool) -> None:
    """Bit for bit where nothing needs samples; else to rounding, by way of the samples."""
    criterion = CRITERIA[name]
    session = session_of(Idle() if needed else None)
    session.batch(torch.zeros(6, 3), Y)
    expected = own_number(criterion, OUT, Y)
    got = session.loss(criterion, OUT)
    torch.testing.assert_close(got, expected)
    assert needed or torch.equal(got, expected)


@pytest.mark.parametrize(
    ("criterion", "out", "y"),
    [
        (nn.MSELoss(), OUT, OUT.flip(0)),
        (nn.L1Loss(reduction="sum"), OUT, OUT.flip(0)),
        (nn.HuberLoss(), OUT, OUT.flip(0)),
        (nn.KLDivLoss(reduction="batchmean"), OUT.log_softmax(1), OUT.flip(0).softmax(1)),
        (nn.BCEWithLogitsLoss(pos_weight=CLASSES, weight=CLASSES.flip(0)), OUT, OUT.sigmoid()),
        (nn.CrossEntropyLoss(weight=CLASSES), OUT, OUT.flip(0).softmax(1)),
        (functional.mse_loss, OUT, OUT.flip(0)),
        (nn.PoissonNLLLoss(), OUT, OUT.abs()),
        (nn.CrossEntropyLoss(weight=CLASSES), torch.stack([OUT, OUT.flip(0)], 2), torch.stack([Y, Y.flip(0)], 1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_so_do_other_losses_of_torch(criterion: Any, out: Tensor, y: Tensor) -> None:
    session = session_of(Idle())
    session.batch(torch.zeros(6, 3), y)
    torch.testing.assert_close(session.loss(criterion, out), criterion(out, y))


@pytest.mark.parametrize("name", CRITERIA)
def test_weights_count_as_repetitions_in_every_reduction(name: str) -> None:
    """A row of weight 0 is absent, one of weight 2 counts twice; half a row is half of one."""
    criterion = CRITERIA[name]
    twice = torch.arange(6).repeat_interleave((2 * WEIGHT).long())
    session = session_of()
    session.batch(torch.zeros(6, 3), Y, WEIGHT)
    expected = own_number(criterion, OUT[twice], Y[twice])
    if getattr(criterion, "reduction", "") == "sum":
        expected = expected / 2
    torch.testing.assert_close(session.loss(criterion, OUT), expected)


LONG = torch.randn(3, 5, 4, generator=GENERATOR)
WORDS = torch.randint(4, (3, 5), generator=GENERATOR)
LENGTHS = torch.tensor([5, 2, 3])
MASK = torch.arange(5) < LENGTHS[:, None]


@pytest.mark.parametrize("kind", ["mask", "numbers", "lengths"])
@pytest.mark.parametrize("name", [name for name in CRITERIA if name not in ("own", "nll")])
def test_padding_counts_nothing(name: str, kind: str) -> None:
    criterion = CRITERIA[name]
    given: dict[str, Any] = (
        {"lengths": LENGTHS} if kind == "lengths" else {"mask": MASK if kind == "mask" else MASK.long()}
    )
    logits = LONG.clone()
    logits[~MASK] = float("nan")  # what stands there does not matter
    logits.requires_grad_()
    session = session_of()
    session.batch(torch.zeros(3, 5), WORDS, **given)
    got = session.loss(criterion, logits.movedim(-1, 1))
    torch.testing.assert_close(got, own_number(criterion, LONG[MASK], WORDS[MASK]))


def test_padding_counts_nothing_in_losses_of_samples_of_vectors_and_by_batchmean() -> None:
    other = LONG.flip(2)
    session = session_of()
    session.batch(torch.zeros(3, 5), other, lengths=LENGTHS)
    torch.testing.assert_close(session.loss(nn.MSELoss(), LONG), functional.mse_loss(LONG[MASK], other[MASK]))
    torch.testing.assert_close(
        session.loss(functional.mse_loss(LONG, other, reduction="none")), functional.mse_loss(LONG[MASK], other[MASK])
    )
    shares, wanted = LONG.log_softmax(2), other.softmax(2)
    session.batch(torch.zeros(3, 5), wanted, lengths=torch.tensor([5, 0, 3]))
    kept = torch.arange(5) < torch.tensor([5, 0, 3])[:, None]
    by_hand = functional.kl_div(shares[kept], wanted[kept], reduction="sum") / 2  # the second sequence is absent
    torch.testing.assert_close(session.loss(nn.KLDivLoss(reduction="batchmean"), shares), by_hand)


def test_weights_and_masks_multiply_and_smoothing_stays_inside() -> None:
    weight = torch.tensor([1.0, 2.0, 0.5])
    session = session_of(dashpot.LabelSmoothing(smoothing=0.2))
    session.batch(torch.zeros(3, 5), WORDS, weight, lengths=LENGTHS)
    each = functional.cross_entropy(LONG.movedim(-1, 1), WORDS, reduction="none", label_smoothing=0.2)
    both = weight[:, None] * MASK
    expected = (each * both).sum() / both.sum()
    logits = LONG.movedim(-1, 1)
    torch.testing.assert_close(session.loss(nn.CrossEntropyLoss(), logits), expected)
    torch.testing.assert_close(
        session.loss(functional.cross_entropy(logits, WORDS, reduction="none"), logits), expected
    )


def test_a_mask_that_does_not_fit_says_so() -> None:
    session = session_of()
    session.batch(torch.zeros(3, 5), WORDS, mask=MASK[:, :4])
    with pytest.raises(dashpot.UsageError, match=r"a mask \[3, 4\] does not fit a loss \[3, 5\]"):
        session.loss(torch.ones(3, 5))
    session.batch(torch.zeros(3, 5), WORDS, lengths=LENGTHS)
    with pytest.raises(dashpot.UsageError, match=r"lengths need a loss \[batch, positions\], got \[3\]"):
        session.loss(torch.ones(3))
    session.batch(torch.zeros(3, 5), WORDS, torch.ones(3))
    with pytest.raises(dashpot.UsageError, match="2 samples and the batch 3 weights"):
        session.loss(torch.ones(2))


def test_one_number_passes_where_nothing_needs_samples() -> None:
    session = session_of(dashpot.L1())
    session.batch(torch.zeros(6, 3), Y)
    number = functional.cross_entropy(OUT, Y)
    assert session.loss(number) is number


@pytest.mark.parametrize(
    ("options", "weight", "named"),
    [
        ({"recipe": dashpot.LabelSmoothing()}, None, "LabelSmoothing"),
        ({}, WEIGHT, "the batch's weight"),
        ({"ignore_index": -100}, None, "ignore_index"),
    ],
)
def test_one_number_is_refused_by_name_where_something_does(options: Any, weight: Any, named: str) -> None:
    session = session_of(options.pop("recipe", None), **options)
    session.batch(torch.zeros(6, 3), Y, weight)
    scalar: list[Callable[[], Tensor]] = [
        lambda: session.loss(functional.cross_entropy(OUT, Y), OUT),
        lambda: session.loss(lambda out, y: functional.cross_entropy(out, y), OUT),
    ]
    for form in scalar:
        with pytest.raises(dashpot.UsageError, match=f"{named} needs the loss of each sample.*session.loss.criterion"):
            form()


def test_a_criterion_needs_a_target_and_takes_one() -> None:
    session = session_of()
    with pytest.raises(dashpot.UsageError, match="has no target"):
        session.loss(nn.CrossEntropyLoss(), OUT)
    assert torch.equal(session.loss(nn.CrossEntropyLoss(), OUT, Y), functional.cross_entropy(OUT, Y))


def test_a_criterion_whose_mean_is_another_is_refused_rather_than_changed() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.reduction = "mean"

        def forward(self, out: Tensor, y: Tensor) -> Tensor:
            each = functional.cross_entropy(out, y, reduction="none")
            return each.sum() / 100 if self.reduction == "mean" else each

    odd = Odd()
    plain = session_of()
    plain.batch(torch.zeros(6, 3), Y)
    assert torch.equal(plain.loss(odd, OUT), odd(OUT, Y))
    session = session_of(Idle())
    session.batch(torch.zeros(6, 3), Y)
    with pytest.raises(dashpot.ConfigError, match="criterion must be one whose mean is that of its values"):
        session.loss(odd, OUT)


def test_the_criterion_stays_as_it_is() -> None:
    criterion = nn.CrossEntropyLoss(weight=CLASSES)
    session = session_of(Idle())
    session.batch(torch.zeros(6, 3), Y)
    session.loss(criterion, OUT)
    assert criterion.reduction == "mean"
    assert criterion.weight is CLASSES


def test_total_divides_the_sum_of_micro_batches_of_different_sizes() -> None:
    session = session_of()
    parts = []
    for rows in (slice(0, 4), slice(4, 6)):
        session.batch(torch.zeros(len(Y[rows]), 3), Y[rows], WEIGHT[rows])
        parts.append(session.loss(nn.CrossEntropyLoss(), OUT[rows], total=WEIGHT.sum()))
    each = functional.cross_entropy(OUT, Y, reduction="none")
    torch.testing.assert_close(sum(parts), (each * WEIGHT).sum() / WEIGHT.sum())


class TestIgnored:
    y = torch.tensor([0, -100, 1, -100, 3, 3])
    wanted = functional.cross_entropy(OUT, y)

    def test_without_a_call_of_batch_by_the_criterion_s_target(self) -> None:
        session = session_of(ignore_index=-100)
        torch.testing.assert_close(session.loss(nn.CrossEntropyLoss(), OUT, self.y), self.wanted)
        each = functional.cross_entropy(OUT, self.y, reduction="none")
        torch.testing.assert_close(session.loss(each, OUT, self.y), self.wanted)

    def test_remembered_from_the_batch(self) -> None:
        session = session_of(ignore_index=-100)
        session.batch(torch.zeros(6, 3), self.y)
        each = functional.cross_entropy(OUT, self.y, reduction="none")
        torch.testing.assert_close(session.loss(each, OUT), self.wanted)

    def test_not_guessed(self) -> None:
        session = session_of(ignore_index=-100)
        with pytest.raises(dashpot.UsageError, match="ignore_index=-100 needs the target"):
            session.loss(functional.cross_entropy(OUT, self.y, reduction="none"), OUT)

    def test_the_criterion_s_own_and_the_session_s(self) -> None:
        session = session_of(ignore_index=-100)
        session.batch(torch.zeros(6, 3), self.y)
        kept = (self.y != -100) & (self.y != 3)
        torch.testing.assert_close(
            session.loss(lambda out, y: functional.cross_entropy(out, y, reduction="none"), OUT), self.wanted
        )
        own = session.loss(partial(nn.functional.cross_entropy, ignore_index=3), OUT.clone(), Y)
        torch.testing.assert_close(own, functional.cross_entropy(OUT[Y != 3], Y[Y != 3]))
        assert kept.sum() == 2


def test_a_batch_of_the_evaluation_does_not_weigh_the_next_training_loss() -> None:
    model = nn.Linear(3, 4)
    session = dashpot.L1().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    each = functional.cross_entropy(OUT, Y, reduction="none")
    with session.evaluate():
        session.batch(torch.zeros(6, 3), Y, WEIGHT)
        torch.testing.assert_close(session.loss(each, OUT), (each * WEIGHT).sum() / WEIGHT.sum())
    assert torch.equal(session.loss(each, OUT), each.mean())
    model.eval()
    assert torch.equal(session.loss(each, OUT), each.mean())
    model.train()
    session.batch(torch.zeros(6, 3), Y, WEIGHT)
    with session.evaluate():  # nor does a training batch weigh the evaluation
        assert torch.equal(session.loss(each, OUT), each.mean())
    torch.testing.assert_close(session.loss(each, OUT), (each * WEIGHT).sum() / WEIGHT.sum())


def test_a_loop_by_criterion_trains_as_one_by_samples() -> None:
    def trained(form: str) -> Tensor:
        torch.manual_seed(0)
        model, x = nn.Linear(3, 4), torch.randn(6, 3, generator=torch.Generator().manual_seed(2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        recipe = dashpot.Mixup(alpha=0.5) | dashpot.LabelSmoothing(smoothing=0.1)
        with recipe.attach(model, optimizer, classes=4) as session:
            for _ in range(5):
                optimizer.zero_grad()
                inputs, y = session.batch(x, Y)
                out = model(inputs)
                each: Any = (
                    functional.cross_entropy(out, y, reduction="none") if form == "samples" else nn.CrossEntropyLoss()
                )
                session.loss(each, out).backward()
                optimizer.step()
        return model.weight.detach()

    assert torch.equal(trained("samples"), trained("criterion"))
