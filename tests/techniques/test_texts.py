"""Techniques on texts, against slow versions of a sample that are written here."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, StackDataset

import dashpot
from dashpot.augment import Augmented, text
from dashpot.techniques.augment.text.base import TextTechnique
from dashpot.testing import Toy
from tests.techniques.text_helpers import CHINESE, EDGES, EVERY, LATIN, PLAIN, apply


@pytest.mark.parametrize("technique", [*EVERY, *LATIN], ids=lambda t: t.name)
class TestEvery:
    def test_no_text_becomes_empty_and_what_is_protected_stays(self, technique: TextTechnique) -> None:
        many = [f"{edge} {PLAIN}, I don't owe 3.50 to <b> {{name}}" for edge in EDGES] + list(EDGES) + [CHINESE]
        for seed in range(3):
            for old, new in zip(many, apply(technique, many, seed), strict=True):
                assert bool(new.strip()) == bool(old.strip())
                kept = Counter({part: old.count(part) for part in ("don't", "3.50", "<b>", "{name}", "<br>")})
                assert all(new.count(part) == count for part, count in kept.items())

    def test_a_batch_is_as_its_texts_alone(self, technique: TextTechnique) -> None:
        many = [PLAIN + ". Why? No! OK", CHINESE, "a b", "", PLAIN * 40] * 3
        transform = text.TextTransform(technique, 3)
        together = transform.batch(many, index=range(len(many)), epoch=2)
        assert together == [transform(one, index=i, epoch=2) for i, one in enumerate(many)]
        assert together != transform.batch(many, index=range(len(many)), epoch=3)
        order = [7, 0, 4]
        assert transform.batch([many[i] for i in order], index=order, epoch=2) == [together[i] for i in order]

    def test_chinese_changes_and_gets_no_spaces(self, technique: TextTechnique) -> None:
        found = apply(technique, [CHINESE] * 20)
        assert any(one != CHINESE for one in found) == (technique not in LATIN)
        assert not any(" " in one for one in found)

    def test_workers_of_a_loader_give_the_same(self, technique: TextTechnique) -> None:
        data = Augmented([(f"{PLAIN}. Eleven? Twelve! Thirteen!", i) for i in range(6)], technique, seed=1)
        found = [list(one) for workers in (0, 2) for one, _ in DataLoader(data, batch_size=6, num_workers=workers)]
        assert found[0] == found[1]
        data.set_epoch(1)
        assert [data[i][0] for i in range(6)] != found[0]

    def test_bad_input_is_named(self, technique: TextTechnique) -> None:
        name = type(technique).__name__
        session = technique.attach(model := nn.Linear(2, 1), torch.optim.SGD(model.parameters(), lr=0.1))
        with pytest.raises(dashpot.DataError, match=r"text 1 must be a str, got None\. Replace missing texts by ''"):
            session.batch(["a", None])
        for wrong in ("one text", torch.zeros(2, 3), 5):
            with pytest.raises(dashpot.UsageError, match=f"{name} needs .*texts"):
                session.batch(wrong)
        assert session.batch((PLAIN, "")).x[1] == ""
        assert isinstance(session.batch(np.array([PLAIN])).x, np.ndarray)
        assert isinstance(session.batch([PLAIN.split()]).x[0], list)
        if not technique.on_ids:
            with pytest.raises(dashpot.UsageError, match=f"{name} needs texts or lists of tokens, got "):
                session.batch(torch.ones(2, 3, dtype=torch.int64))


def test_ids_change_as_tokens_do() -> None:
    x = torch.tensor([[101, 5, 6, 7, 8, 102, 0, 0], [101, 9, 102, 0, 0, 0, 0, 0], [0] * 8])
    for technique in (
        text.RandomDeletion(0.5, protected_ids=(101, 102)),
        text.RandomSwap(0.5, protected_ids="101 102"),
    ):
        session = technique.attach(model := nn.Linear(2, 1), torch.optim.SGD(model.parameters(), lr=0.1))
        new = session.batch(x).x
        assert new.shape == x.shape
        assert new.dtype == x.dtype
        assert new[1].tolist() == x[1].tolist()
        assert new[2].tolist() == x[2].tolist()
        assert new[0, 0] == 101
        left = [i for i in new[0].tolist() if i]
        assert left[-1] == 102
        assert set(left) <= set(x[0].tolist())
        by_length = session.batch(x, lengths=torch.tensor([2, 1, 0])).x
        assert by_length[:, 2:].tolist() == x[:, 2:].tolist()


def test_a_network_on_strings_is_fitted_through_a_loader() -> None:
    toy = Toy(modality="text", strings=True)
    x, y = toy.data()
    found = []
    for recipe in ("random-deletion:rate=0.3", "random-deletion:rate=0"):
        model, data = toy.network(), DataLoader(StackDataset(x, y), batch_size=8)
        dashpot.fit(model, data, valid=data, recipe=recipe, epochs=2, progress=False, device="cpu")
        found.append(model.head.weight)
    assert not torch.equal(*found)
