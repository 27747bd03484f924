"""Dropout of words of a vocabulary, and of features at all steps of a sequence, against slow versions."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashpot
import dashpot.core.rng
from dashpot.core.draws import uniform_by
from dashpot.core.rng import derive, stream
from dashpot.dropout import EmbeddingDropout, SingleEpochWarning, VariationalDropout
from dashpot.nets import TextBag, TextConv
from dashpot.texts.lexicon import Lexicon

TEXTS = [["The", "film", "was", "not", "good"], ["a", "film", "of", "sounds"], ["the", "sounds", "was", "7"], []]
LEXICON = Lexicon.fit(TEXTS * 2)


def attached(technique: Any, model: nn.Module, seed: int = 0) -> Any:
    return technique.attach(model.train(), torch.optim.SGD(model.parameters(), lr=0.1), seed=seed)


def drawn(technique: str, place: str, count: int, call: int = 0, seed: int = 0) -> np.ndarray:
    """The numbers of a place at the first step, by the definition."""
    key = derive(stream(stream(seed, technique), place), 0, call)
    return uniform_by([key], count)[0].numpy()


def slow_bag(table: np.ndarray, bags: list[list[int]], weights: list[list[float]], mode: str) -> np.ndarray:
    out = []
    for ids, some in zip(bags, weights, strict=True):
        vectors = [table[i] * w for i, w in zip(ids, some, strict=True)]
        if not vectors:
            out.append(np.zeros(table.shape[1]))
        else:
            out.append({"sum": np.sum, "mean": np.mean, "max": np.max}[mode](np.stack(vectors), axis=0))
    return np.stack(out)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 2])
def test_bags_are_of_tables_without_the_words_that_are_dropped(mode: str, padding: int | None) -> None:
    bags = [[1, 2, 3, 1], [], [4], [2, 5, 6, 0]]
    model = nn.ModuleDict({"bag": nn.EmbeddingBag(7, 3, mode=mode, padding_idx=padding)})
    with attached(EmbeddingDropout(0.5), model):
        ids = torch.tensor([i for bag in bags for i in bag])
        starts = torch.tensor([0, *np.cumsum([len(bag) for bag in bags])[:-1]])
        weights = torch.linspace(0.5, 2, len(ids)) if mode == "sum" else None
        found = model["bag"](ids, starts, weights)
        square = model["bag"](torch.tensor([[1, 2, 3], [6, 6, 0]]))
    table = model["bag"].weight.detach().double().numpy()
    for out, texts, scales, call in (
        (found, bags, weights if weights is not None else torch.ones(len(ids)), 0),
        (square, [[1, 2, 3], [6, 6, 0]], torch.ones(6), 1),
    ):
        kept = (drawn("embedding-dropout", "bag", 7, call) >= 0.5) / 0.5
        left = iter(scales.tolist())
        some = [[next(left) for _ in bag] for bag in texts]
        some = [[w for w, i in zip(s, b, strict=True) if i != padding] for s, b in zip(some, texts, strict=True)]
        expected = slow_bag(table * kept[:, None], [[i for i in b if i != padding] for b in texts], some, mode)
        np.testing.assert_allclose(out.detach(), expected, atol=1e-6)


@pytest.mark.parametrize("kind", [TextBag, TextConv])
def test_a_network_is_that_with_the_rows_of_its_tables_left_out(kind: Any) -> None:
    with dashpot.core.rng.seeded(0):
        model = kind.of(LEXICON, outputs=2)
        for p in model.parameters():
            nn.init.normal_(p)
    twin = copy.deepcopy(model)
    x = torch.from_numpy(LEXICON.transform(TEXTS))
    with attached(EmbeddingDropout(0.4), model, seed=3):
        out = model(x)
        out.square().sum().backward()
    factors = {}
    for name, module in twin.named_modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            u = drawn("embedding-dropout", name, len(module.weight), seed=3)
            kept = torch.from_numpy((u >= np.float32(0.4)) / np.float32(0.6)).float()[:, None]
            factors[name] = kept
            with torch.no_grad():
                module.weight.mul_(kept)
    expected = twin(x)
    expected.square().sum().backward()
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
    assert len(factors) >= 2
    for name, kept in factors.items():
        own, its = model.get_submodule(name).weight.grad, twin.get_submodule(name).weight.grad
        torch.testing.assert_close(own, its * kept, rtol=1e-3, atol=1e-3)
    assert torch.equal(model.eval()(x), copy.deepcopy(model)(x))


def test_what_has_no_table_is_refused() -> None:
    for on in ("embeddings", "linears"):
        with pytest.raises(dashpot.ConflictError, match=r"EmbeddingDropout\.on .* matches no nn\.Embedding"):
            attached(EmbeddingDropout(0.4, on=on), nn.Sequential(nn.Linear(2, 2)))


class Recurrent(nn.Module):
    def __init__(self, kind: Any, first: bool) -> None:
        super().__init__()
        self.layer = kind(4, 6, batch_first=first)

    def forward(self, x: Tensor) -> Any:
        return self.layer(x)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("first", [True, False])
def test_recurrent_outputs_have_one_mask_for_all_steps(kind: Any, first: bool) -> None:
    model = Recurrent(kind, first)
    plain = copy.deepcopy(model)
    x = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    with attached(VariationalDropout(0.5, on="type:RNNBase"), model):
        out, state = model(x)
    whole, end = plain(x)
    size = (5, 1, 6) if first else (1, 3, 6)
    u = drawn("variational-dropout", "layer", int(np.prod(size))).reshape(size)
    np.testing.assert_allclose(out.detach(), whole.detach().numpy() * (u >= 0.5) * 2, atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(state, end, strict=True))
    packed = nn.utils.rnn.pack_sequence([x[0], x[1]])
    dropped = attached(VariationalDropout(0.5, on="type:RNNBase"), model)
    with dropped, pytest.raises(dashpot.UsageError, match="VariationalDropout acts on tensors"):
        model(packed)


def test_it_takes_dropout_modules_over_and_stands_apart_from_dropout() -> None:
    model = nn.Sequential(nn.Embedding(9, 4), nn.Dropout(0.3), nn.Linear(4, 2))
    with attached(VariationalDropout(0.5), model):
        assert model[1].p == 0.5
        out = model[:2](torch.full((2, 6), 3))
        assert bool((out == out[:, :1]).all())
        with pytest.raises(dashpot.ConflictError, match="already"):
            attached(dashpot.Dropout(0.1), model)
    assert model[1].p == 0.3
    with pytest.raises(dashpot.ConflictError, match="variational-dropout|VariationalDropout"):
        attached(dashpot.Dropout(0.1) | VariationalDropout(0.5), model)
    with pytest.raises(dashpot.ConflictError, match=r"VariationalDropout\.on .* matches no module"):
        attached(VariationalDropout(0.5, on="convolutions"), model)


def test_word_vectors_are_dropped_number_by_number_by_dropout_on_embeddings() -> None:
    model = nn.Sequential(nn.Embedding(9, 400), nn.Linear(400, 2))
    with attached(dashpot.Dropout(0.25, on="embeddings"), model):
        out = model[0](torch.arange(8).reshape(2, 4))
    assert 0.2 < float((out == 0).float().mean()) < 0.3


def test_a_run_of_one_epoch_warns() -> None:
    model = nn.Embedding(4, 2)
    with pytest.warns(SingleEpochWarning, match="EmbeddingDropout in a run of one epoch"):
        EmbeddingDropout(0.1).attach(model, torch.optim.SGD(model.parameters(), lr=0.1), steps=9, steps_per_epoch=9)
