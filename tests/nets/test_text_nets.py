"""The networks for texts against slow versions, text by text, written apart from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError, DataError, UnknownNameError
from dashpot.nets.text_bag import TextBag
from dashpot.nets.text_conv import TextConv
from dashpot.texts.lexicon import Lexicon
from dashpot.texts.spelling import pieces_of, shape_of

TEXTS = [
    ["Who", "wrote", "the", "Iliad", "?"],
    ["Who", "wrote", "Hamlet", "?"],
    ["who", "painted", "the", "Mona", "Lisa", "?"],
    ["Where", "is", "the", "Louvre", "?"],
    ["the", "the", "the"],
    list("我很好"),
    [],
]
NEW = [*TEXTS, ["Who", "wrotes", "the", "painting", "?"], ["zzz"], ["who"] * 40]
LABELS = torch.tensor([0, 0, 1, 2, 2, 1, 0])


@pytest.fixture
def lexicon() -> Lexicon:
    return Lexicon.fit(TEXTS)


def rows(lexicon: Lexicon, texts: list[list[str]] = NEW) -> Tensor:
    return torch.from_numpy(lexicon.transform(texts))


def seen(lexicon: Lexicon, tokens: list[str]) -> list[tuple[str, list[str]]]:
    """The words, and the pieces of each, that a row of this length has room for."""
    found: list[tuple[str, list[str]]] = []
    room = lexicon.length - 2
    for token in tokens:
        if room <= 0:
            break
        pieces = [piece for piece in dict.fromkeys(pieces_of(token.lower())) if piece in lexicon.pieces]
        if token.lower() in lexicon.words:
            room -= 1
        else:
            pieces = pieces[: room - 1]
            room -= 1 + len(pieces)
        found.append((token, pieces))
    return found


def features(lexicon: Lexicon, tokens: list[str]) -> dict[str, int]:
    """What a bag counts, by name."""
    there = seen(lexicon, tokens)
    names = ["<edge>", *(w.lower() if w.lower() in lexicon.words else "<unknown>" for w, _ in there), "<edge>"]
    counts: dict[str, int] = {}
    for name in [*names, *(f"#{piece}" for _, own in there for piece in own)]:
        counts[name] = counts.get(name, 0) + 1
    places = range(len(names))
    grams = [" ".join(names[i : i + n]) for n in (2, 3) for i in places if i + n <= len(names)]
    grams += [f"{names[i]} … {names[k]}" for i in places for k in places if 2 <= k - i <= 4]
    for gram in grams:
        counts[gram] = counts.get(gram, 0) + 1
    return counts


def names_of(lexicon: Lexicon) -> list[str]:
    """Of all features of a bag, in its order."""
    entries = ["<nothing>", "<unknown>", "<edge>", *lexicon.words, *(f"#{piece}" for piece in lexicon.pieces)]
    grams = []
    for key in lexicon.grams:
        parts = [(key >> 40) % 2**20, (key >> 20) % 2**20, key % 2**20]
        grams.append((" … " if key >> 60 else " ").join(entries[part] for part in parts if part))
    return [*entries, *grams]


def kind_of(name: str) -> str:
    if name.startswith("#"):
        return "piece"
    return "skip" if " … " in name else ("word", "pair", "triple")[name.count(" ")]


def test_bags_weigh_and_sum_what_a_loop_counts(lexicon: Lexicon) -> None:
    torch.manual_seed(0)
    net = TextBag.of(lexicon, 3, width=5).double().eval()
    net.begin(rows(lexicon, TEXTS), LABELS, bayes=0.7)
    for p in net.parameters():
        p.data += 0.3 * torch.randn_like(p)
    names = names_of(lexicon)
    training = [features(lexicon, tokens) for tokens in TEXTS]
    found = net(rows(lexicon))
    for tokens, logits in zip(NEW, found, strict=True):
        counts = {name: count for name, count in features(lexicon, tokens).items() if name in names}
        weight = {
            name: (1 + math.log(count)) * (math.log((1 + len(TEXTS)) / (1 + sum(name in t for t in training))) + 1)
            for name, count in counts.items()
        }
        # Each kind has a length of its own: 1/2 for pieces, and for the others what is 1 together.
        shares = {"word": 1.0, "pair": 1.0, "triple": 0.5, "skip": 1.0}
        square = {
            kind: sum(w * w for name, w in weight.items() if kind_of(name) == kind) for kind in (*shares, "piece")
        }
        whole = math.sqrt(sum(share**2 for kind, share in shares.items() if square[kind]))
        scale = {kind: share / whole for kind, share in shares.items()} | {"piece": 0.5}
        total, hidden = net.bias.detach().clone(), torch.zeros(5, dtype=torch.float64)
        for name, w in weight.items():
            w *= scale[kind_of(name)] / math.sqrt(square[kind_of(name)])
            total += 4 * w * net.linear.weight[names.index(name)]
            hidden += 4 * w * net.embedding.weight[names.index(name)]
        total += net.head(net.norm(hidden).relu())
        assert torch.allclose(5 * total, logits, atol=1e-9)


def test_a_step_of_the_optimizer_moves_the_logits_five_times_its_rate(lexicon: Lexicon) -> None:
    net = TextBag.of(lexicon, 2, width=0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.0, eps=0.0)
    x = rows(lexicon, [["zzz"]])  # an unknown word between edges
    torch.autograd.backward(nn.functional.cross_entropy(net(x), torch.tensor([1])))
    optimizer.step()
    _, _, weights = net.bags(x)
    moved = 5 * 2e-3 * (4 * float(weights.sum()) + 1)
    assert torch.allclose(net(x), torch.tensor([[-moved, moved]]), atol=1e-5)


def test_a_bag_takes_the_frequencies_of_the_lexicon(lexicon: Lexicon) -> None:
    again = TextBag.of(lexicon, 3).begin(rows(lexicon, TEXTS), LABELS)
    assert torch.allclose(TextBag.of(lexicon, 3).frequency, again.frequency)


def test_a_bag_begins_from_naive_bayes(lexicon: Lexicon) -> None:
    net = TextBag.of(lexicon, 3, width=0).double()
    net.begin(rows(lexicon, TEXTS), LABELS, bayes=1.0)
    names = names_of(lexicon)
    counts = np.ones((len(names), 3))
    for tokens, label in zip(TEXTS, LABELS.tolist(), strict=True):
        for name in features(lexicon, tokens):
            if name in names:
                counts[names.index(name), label] += 1
    share = np.log(counts / counts.sum(axis=0))
    wanted = share - share.mean(axis=1, keepdims=True)
    assert np.allclose(5 * net.linear.weight.detach().numpy(), wanted)  # all logits are times 5


def test_a_text_has_the_same_answer_in_any_batch(lexicon: Lexicon) -> None:
    torch.manual_seed(0)
    x = rows(lexicon)
    x = torch.cat([x[:7], torch.zeros_like(x[:1]), x[7:]])  # one of which nothing is left
    wide = torch.cat([x, torch.zeros(len(x), 7, dtype=x.dtype)], dim=1)
    for net in (
        TextBag.of(lexicon, 3).begin(x[:7], LABELS),
        TextConv.of(lexicon, 3),
        TextConv.of(lexicon, 3, pool="attention"),
        TextConv.of(lexicon, 3, pool="attention", kernels=(2, 5)),
    ):
        net.eval()
        together = net(x)
        assert torch.allclose(together, torch.cat([net(one[None]) for one in x]), atol=1e-5)
        assert torch.allclose(together, net(wide), atol=1e-5)


def conv1d(layer: nn.Module) -> nn.Conv1d:
    assert isinstance(layer, nn.Conv1d)
    return layer


def bias_of(layer: nn.Conv1d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


@pytest.mark.parametrize("pool", ["max", "attention"])
def test_convolutions_see_what_a_loop_over_words_sees(lexicon: Lexicon, pool: str) -> None:
    torch.manual_seed(0)
    net = TextConv.of(lexicon, 3, width=4, filters=3, kernels=(1, 2, 3), pool=pool, heads=2).double().eval()
    found = net(rows(lexicon))
    known = ["<nothing>", "<unknown>", "<edge>", *lexicon.words]
    for tokens, logits in zip(NEW, found, strict=True):
        vectors = []
        edge: tuple[str, list[str]] = ("<edge>", [])
        for word, own in [edge, *seen(lexicon, tokens), edge]:
            shape = 0 if word == "<edge>" else shape_of(word)
            name = word.lower() if word.lower() in known else "<unknown>"
            vector = net.word.weight[known.index(name)].clone()
            for piece in own:
                vector += net.piece.weight[lexicon.pieces.index(piece)] / math.sqrt(len(own))
            vectors.append(torch.cat([vector, net.shape.weight[shape]]))
        every = []
        for layer in map(conv1d, net.convolutions):
            size = layer.kernel_size[0]
            places = []
            for i in range(len(vectors)):
                total = bias_of(layer).clone()
                for k in range(size):
                    if 0 <= i + k - size // 2 < len(vectors):
                        total += layer.weight[:, :, k] @ vectors[i + k - size // 2]
                places.append(total.relu())
            every.append(torch.stack(places))
        maps = torch.cat(every, dim=1)
        if net.score is None:
            pooled = maps.max(dim=0).values
        else:
            pooled = torch.cat([net.score(maps)[:, h].softmax(0) @ maps for h in range(2)])
        assert torch.allclose(net.head(pooled), logits, atol=1e-9)


def test_gradients_reach_words_pieces_and_grams(lexicon: Lexicon) -> None:
    x = rows(lexicon)
    for net in (TextBag.of(lexicon, 3), TextConv.of(lexicon, 3)):
        torch.autograd.backward(torch.nn.functional.cross_entropy(net(x), torch.arange(len(x)) % 3))
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_bad_options_and_other_lexicons_are_refused(lexicon: Lexicon) -> None:
    with pytest.raises(UnknownNameError, match="pool"):
        TextConv.of(lexicon, 2, pool="mean")
    with pytest.raises(ConfigError, match="kernels"):
        TextConv.of(lexicon, 2, kernels=())
    with pytest.raises(DataError, match="sizes of the network"):
        TextBag.of(lexicon, 2).tables.read(Lexicon.fit(TEXTS[:2]))
    with pytest.raises(DataError, match="training rows"):
        TextBag.of(lexicon, 2).begin(rows(lexicon)[:0], LABELS[:0])
