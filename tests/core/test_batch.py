"""Batches of any structure: nested inputs and targets, loaders, devices, and techniques that need a tensor."""

from __future__ import annotations

import collections
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader

import dashpot
from dashpot.core.running.nested import called, moved, rows


class Pair(NamedTuple):
    left: Tensor
    right: Any


def session_of(recipe: dashpot.Recipe | dashpot.Technique | None = None, **options: Any) -> dashpot.Session:
    model = nn.Linear(3, 2)
    return (recipe or dashpot.Recipe()).attach(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)


@pytest.mark.parametrize(
    "x",
    [
        {"ids": torch.ones(2, 3, dtype=torch.long), "mask": torch.ones(2, 3)},
        (torch.ones(2), [torch.zeros(2)]),
        Pair(torch.ones(2), {"deep": torch.ones(2)}),
    ],
    ids=["dict", "tuple", "namedtuple"],
)
def test_a_batch_of_any_structure_passes_and_unpacks(x: Any) -> None:
    y = {"class": torch.zeros(2), "box": (torch.ones(2, 4),)}
    batch = session_of(dashpot.L1()).batch(x, y)
    assert batch.x is x
    assert batch.y is y
    assert batch.truth is y
    a, b = batch
    assert a is x
    assert b is y


@pytest.mark.parametrize("technique", [dashpot.Mixup(), dashpot.InputNoise()], ids=lambda t: t.name)
@pytest.mark.parametrize(
    ("x", "said"),
    [
        (
            {"ids": torch.ones(2, dtype=torch.long), "image": torch.ones(2)},
            r"a dict with ids \(int64\), image \(float32\)",
        ),
        (torch.ones(2, 3, dtype=torch.long), "a tensor of int64"),
        ((torch.ones(2),), r"a tuple with 0 \(float32\)"),
    ],
    ids=["dict", "ids", "tuple"],
)
def test_what_changes_inputs_refuses_others_by_name(technique: dashpot.Technique, x: Any, said: str) -> None:
    session = session_of(technique, classes=2)
    with pytest.raises(dashpot.UsageError, match=f"{type(technique).__name__} needs a floating-point input.*{said}"):
        session.batch(x, torch.tensor([0, 1]))


def test_mixup_refuses_padded_sequences_and_nested_targets() -> None:
    x, y = torch.ones(2, 3), torch.tensor([0, 1])
    with pytest.raises(dashpot.UsageError, match="Mixup cannot blend padded"):
        session_of(dashpot.Mixup(), classes=2).batch(x, y, lengths=torch.tensor([1, 3]))
    with pytest.raises(dashpot.UsageError, match="Mixup needs a target tensor, got a dict"):
        session_of(dashpot.Mixup(), classes=2).batch(x, {"y": y})


def test_a_whole_batch_is_taken_and_its_parts_are_not_given_twice() -> None:
    batch = dashpot.Batch(torch.ones(2, 3), torch.ones(2), weight=torch.ones(2))
    assert session_of(dashpot.L1()).batch(batch) is batch
    with pytest.raises(dashpot.UsageError, match="brings its own"):
        session_of().batch(batch, torch.ones(2))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mask": [1, 0]}, dashpot.DataError, "mask must be a tensor"),
        ({"lengths": torch.tensor([1.0, 2.0])}, dashpot.DataError, "lengths must be whole numbers"),
        ({"lengths": torch.tensor([[1, 2]])}, dashpot.DataError, "lengths must be whole numbers"),
        ({"lengths": torch.tensor([True, False])}, dashpot.DataError, "lengths must be whole numbers"),
        ({"mask": torch.ones(2, 3), "lengths": torch.tensor([1, 2])}, dashpot.UsageError, "not both"),
    ],
)
def test_masks_that_are_none_are_refused(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        session_of().batch(torch.ones(2, 3), torch.ones(2, 3), **options)


def collate(items: list[tuple[int, Tensor]]) -> dashpot.Batch:
    """Padded sequences in a dict, with their lengths."""
    sequences = [torch.full((length,), float(length)) for length, _ in items]
    padded = nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    return dashpot.Batch(
        {"tokens": padded, "extra": (padded > 0,)},
        torch.stack([y for _, y in items]),
        mask=torch.tensor([length for length, _ in items]),
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_come_out_of_loaders_and_their_workers(workers: int) -> None:
    data: Any = [(length, torch.tensor(float(length))) for length in (1, 3, 2, 5)]
    batches = list(DataLoader(data, batch_size=2, collate_fn=collate, num_workers=workers))
    assert [b.mask.tolist() for b in batches] == [[1, 3], [2, 5]]
    assert batches[1].x["tokens"].shape == (2, 5)
    assert all(b.truth is b.y for b in batches)


def test_batches_move_however_deep_their_tensors_lie() -> None:
    y = [torch.ones(2)]
    batch = dashpot.Batch({"a": Pair(torch.ones(2), "text")}, y, weight=torch.ones(2), mask=torch.ones(2, 3)).to("meta")
    assert batch.x["a"].left.is_meta
    assert batch.x["a"].right == "text"
    assert batch.y[0].is_meta
    assert batch.truth is batch.y
    assert batch.weight is not None
    assert batch.weight.is_meta
    assert batch.mask is not None
    assert batch.mask.is_meta
    whole = dashpot.Batch(torch.ones(2), torch.ones(2), truth=torch.zeros(2))
    other = whole.to(torch.float64)  # type: ignore[arg-type]  # a batch of one tensor
    assert other.truth.dtype == torch.float64


def test_structures_keep_their_types() -> None:
    tree = collections.OrderedDict(a=torch.ones(2), b=[torch.ones(3), 7])
    there = moved(tree, "meta")
    assert type(there) is collections.OrderedDict
    assert there["a"].is_meta
    assert there["b"][1] == 7
    packed = pack_sequence([torch.ones(3), torch.ones(2)])
    assert moved([packed], "cpu")[0].batch_sizes.tolist() == [2, 2, 1]
    assert rows(tree) == 2
    assert rows("text") is None
    assert called(lambda x: x, [1, 2]) == [1, 2]
