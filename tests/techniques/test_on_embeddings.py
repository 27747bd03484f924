"""Constraints and penalties on lookup tables: a group is a row, a word or a feature of the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import dashpot
from dashpot.nets import TextBag
from dashpot.texts.lexicon import Lexicon

TEXTS = [["good", "film", w] for w in "abcdef"] + [["bad", "film", w] for w in "abcdef"]
LEXICON = Lexicon.fit(TEXTS)


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_max_norm_is_of_each_row_of_a_table(kind: Any) -> None:
    model = nn.ModuleDict({"table": kind(5, 3), "head": nn.Linear(3, 2)})
    with torch.no_grad():
        model["table"].weight.copy_(torch.arange(15.0).reshape(5, 3) - 7)
        model["head"].weight.fill_(9)
    start, other = model["table"].weight.detach().numpy().copy(), model["head"].weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with dashpot.MaxNorm(maximum=4.0, on="embeddings").attach(model, optimizer):
        out = model["head"](model["table"](torch.tensor([[0, 1]])))
        (0 * out.sum()).backward()
        optimizer.step()
    expected = [row * min(1.0, 4.0 / np.linalg.norm(row)) for row in start]
    np.testing.assert_allclose(model["table"].weight.detach(), expected, rtol=1e-6)
    assert torch.equal(model["head"].weight, other)


@pytest.mark.parametrize("penalty", [dashpot.GroupLasso(strength=0.05), dashpot.L1(strength=0.05)])
def test_one_step_on_a_bag_of_words_is_the_threshold_of_each_feature(penalty: Any) -> None:
    """A group is one feature over all classes; a feature that no text of the batch has shrinks, too."""
    net = TextBag.of(LEXICON, outputs=3, width=0)
    with torch.no_grad():
        net.linear.weight.copy_(torch.randn(net.linear.weight.shape, generator=torch.Generator().manual_seed(0)) * 0.1)
    before = net.linear.weight.detach().double().numpy()
    x = torch.from_numpy(LEXICON.transform(TEXTS[:3]))
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    with penalty.attach(net, optimizer) as session:
        session.loss(cross_entropy(net(x), torch.tensor([0, 1, 2]), reduction="none")).backward()
        gradient = net.linear.weight.grad.double().numpy()
        optimizer.step()
    moved = before - gradient
    if isinstance(penalty, dashpot.L1):
        expected = [[np.sign(w) * max(abs(w) - 0.05, 0) for w in row] for row in moved]
    else:
        own = 0.05 * 3**0.5  # by the square root of a group's size
        expected = [row * max(1 - own / max(np.linalg.norm(row), 1e-12), 0) for row in moved]
    np.testing.assert_allclose(net.linear.weight.detach(), expected, atol=1e-6)


def test_group_lasso_keeps_the_words_that_tell_the_classes() -> None:
    net = TextBag.of(LEXICON, outputs=2, width=0)
    x, y = torch.from_numpy(LEXICON.transform(TEXTS)), torch.tensor([0] * 6 + [1] * 6)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    with dashpot.GroupLasso(strength=0.03).attach(net, optimizer) as session:
        for _ in range(150):
            optimizer.zero_grad()
            session.loss(cross_entropy(net(session.batch(x, y).x), y, reduction="none")).backward()
            optimizer.step()
    zero = (net.linear.weight == 0).all(dim=1)
    kept = {name for name, i in zip(LEXICON.words, range(3, 3 + len(LEXICON.words)), strict=True) if not zero[i]}
    assert {"good", "bad"} <= kept
    assert not kept & {"film", *"abcdef"}
    assert torch.equal(net(x).argmax(dim=1), y)
