"""Networks that start from vectors of words."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dashpot.core.errors import ConfigError, DataError
from dashpot.nets.text_conv import TextConv
from dashpot.nets.text_vectors import start_from, with_vectors
from dashpot.texts.lexicon import Lexicon
from dashpot.texts.vectors import WordVectors

LEXICON = Lexicon.fit([["a", "red", "car"], ["A", "red", "house"], ["the", "car"]])
VECTORS = WordVectors(("Car", "red", "RED", "blue"), np.array([[3, 0], [0, 4], [9, 9], [8, 8]], dtype=np.float32), 2)


@pytest.mark.parametrize("frozen", [False, True])
def test_known_words_start_from_their_vectors(frozen: bool) -> None:
    torch.manual_seed(0)
    plain = TextConv.of(LEXICON, 2, width=2)
    torch.manual_seed(0)
    net = TextConv.of(LEXICON, 2, width=2)
    assert start_from(net, LEXICON, VECTORS, frozen=frozen) == pytest.approx(2 / 3)  # a, car, red
    place = {word: 3 + i for i, word in enumerate(LEXICON.words)}
    scale = 0.1 / np.sqrt((9 + 16) / 4)
    before, after = plain.word.weight.detach().clone(), net.word.weight.detach()
    before[place["car"]] = torch.tensor([3 * scale, 0])
    before[place["red"]] = torch.tensor([0, 4 * scale])
    if frozen:
        before[place["a"]] = 0
    assert torch.allclose(after, before)
    kept = after.clone()
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.1)
    x = torch.from_numpy(LEXICON.transform([["a", "red", "car"], ["the"]]))
    torch.autograd.backward(net(x).square().sum())
    optimizer.step()
    assert torch.equal(net.word.weight.detach(), kept) is frozen
    assert net.piece.weight.grad is not None


def test_the_width_is_that_of_the_vectors_unless_another_is_asked_for() -> None:
    assert with_vectors(LEXICON, 3, VECTORS, filters=4).options["width"] == 2
    with pytest.raises(ConfigError, match=r"width must be 2, .* got 5"):
        with_vectors(LEXICON, 3, VECTORS, width=5)


def test_other_lexicons_and_languages_are_refused() -> None:
    net = TextConv.of(LEXICON, 2, width=2)
    with pytest.raises(DataError, match="entries of the network"):
        start_from(net, Lexicon.fit([["a"], ["a"]]), VECTORS)
    with pytest.raises(DataError, match="got none of 3 words"):
        start_from(net, LEXICON, WordVectors(("rot",), np.ones((1, 2), dtype=np.float32), 2))
