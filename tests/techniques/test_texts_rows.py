"""Techniques on texts that act on rows of networks for texts: as they act on the tokens, by the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.augment import text
from dashpot.nets import TextBag, TextConv
from dashpot.techniques.augment.text.base import WordTechnique
from dashpot.texts.lexicon import EDGE, SHAPES, UNKNOWN, Lexicon
from dashpot.texts.spelling import FIELD, shape_of

TEXTS = [
    ["The", "film", "was", "not", "good", ",", "but", "3.50", "is", "cheap", "!"],
    ["a", "filmy", "MP3", "of", "unheard", "thundering", "sounds"],
    [],
    ["..."],
    ["good"],
    ["7", "not", "?"],
    ["nothing", "but", "the", "thunder", "of", "sounds", "and", "no", "film", "at", "all"],
    ["the", "thunder", "of", "the", "sounds", "of", "7", "films"] * 5,
]
WORDS = Lexicon.fit([*TEXTS, *TEXTS, ["was", "is", "but"]])
KNOWN = Lexicon.fit([t for t in TEXTS if "filmy" not in t] * 2 + [["filmed", "thunders"]])


def net(lexicon: Lexicon, kind: Any = TextConv) -> nn.Module:
    return kind.of(lexicon, outputs=2)


def through(technique: WordTechnique, model: nn.Module, x: Tensor, seed: int = 0, **options: Any) -> Tensor:
    session = technique.attach(model.train(), torch.optim.SGD(model.parameters(), lr=0.1), seed=seed, modality="text")
    found = session.batch(x, **options).x
    session.close()
    return found


def by_tokens(technique: WordTechnique, tokens: list[list[str]], seed: int = 0) -> list[list[str]]:
    """What the technique makes of lists of tokens at the first step."""
    model = nn.Linear(1, 1)
    session = technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), seed=seed)
    return session.batch(tokens).x


def rows(lexicon: Lexicon, tokens: list[list[str]]) -> np.ndarray:
    """One by one, from the words; ``None`` is a mask."""
    out = np.zeros((len(tokens), lexicon.length), dtype=np.int32)
    for row, words in zip(out, tokens, strict=True):
        numbers = [SHAPES * EDGE]
        for word in words:
            if word is None:
                numbers.append(SHAPES * UNKNOWN)
            elif word.lower() in lexicon.words:
                numbers.append(SHAPES * (3 + lexicon.words.index(word.lower())) + shape_of(word))
            else:
                pieces = [SHAPES * piece for piece in lexicon.pieces_in(word.lower())]
                numbers += [SHAPES * UNKNOWN + shape_of(word), *pieces]
        numbers.append(SHAPES * EDGE)
        row[: len(numbers)] = numbers
    return out


EVERY = [
    text.RandomDeletion(0.4),
    text.RandomDeletion(1.0),
    text.RandomSwap(0.5),
    text.RandomSwap(1.0),
    text.WordMasking(0.4),
    text.SpanMasking(0.3, span=2),
    text.SpanMasking(0.5, span=3, merge=True),
    text.SpanMasking(1.0, span=700),
    text.RandomDeletion(0.6, protect="none"),
    text.RandomSwap(0.6, protect=r"\b(?:film|of)\b|numbers"),
]


@pytest.mark.parametrize("technique", EVERY, ids=str)
def test_rows_change_as_their_tokens_do(technique: WordTechnique) -> None:
    for lexicon in (WORDS, KNOWN):
        model, changed = net(lexicon), 0
        x = torch.from_numpy(lexicon.transform(TEXTS))
        np.testing.assert_array_equal(x, rows(lexicon, TEXTS))
        for seed in range(4):
            found = through(technique, model, x, seed)
            tokens = [[None if t == "[MASK]" else t for t in one] for one in by_tokens(technique, TEXTS, seed)]
            np.testing.assert_array_equal(found, rows(lexicon, tokens))
            assert found.dtype == torch.int32
            changed += int((found != x).sum())
        assert changed


def test_a_lexicon_of_few_words_has_unknown_ones_with_pieces() -> None:
    """Else the test above would say less than it seems to."""
    assert "filmy" not in KNOWN.words
    assert [name for name in KNOWN.names(KNOWN.transform([["filmy"]])[0]) if name.startswith("#")]


def test_zeros_within_and_masks() -> None:
    """Zeros that stand between words stay where they are, and what a mask hides is not touched."""
    model = net(WORDS)
    x = torch.from_numpy(WORDS.transform(TEXTS))
    holes = torch.zeros(len(x), 2 * x.shape[1], dtype=x.dtype)
    holes[:, 1::2] = x
    found = through(text.RandomSwap(1.0), model, holes)
    assert torch.equal(found[:, 1::2], through(text.RandomSwap(1.0), model, x))
    assert not found[:, ::2].any()
    hidden = torch.arange(x.shape[1]) < 3
    found = through(text.RandomDeletion(1.0), model, x, mask=hidden.expand(x.shape))
    assert torch.equal(found[:, 3:], x[:, 3:])


def test_nothing_is_emptied_and_marks_edges_numbers_and_negations_stay() -> None:
    x = torch.from_numpy(WORDS.transform(TEXTS))
    for technique in (text.RandomDeletion(1.0), text.SpanMasking(1.0, merge=True)):
        found = through(technique, net(WORDS, TextBag), x)
        for old, new in zip(TEXTS, found, strict=True):
            names = WORDS.names(new.tolist())
            assert names[0] == names[-1] == "<edge>"
            kept = [w for w in old if w in ("not", ",", "3.50", "!", "MP3", "...", "7", "?", "nothing", "no")]
            assert [name for name in names if name in {w.lower() for w in kept}] == [w.lower() for w in kept]
            assert len(names) >= 2 + min(len(old), 1)


def test_unknown_numbers_are_protected_and_without_words_by_shape() -> None:
    model = net(KNOWN)
    x = torch.from_numpy(KNOWN.transform([["1234", "b2b", "filmy", "filmy"]]))
    assert KNOWN.names(through(text.WordMasking(1.0), model, x)[0].tolist())[:3] == ["<edge>", "<unknown>", "<unknown>"]
    kept = through(text.RandomDeletion(1.0), model, x)[0]
    assert [n % SHAPES for n in kept.tolist() if n // SHAPES == UNKNOWN] == [1, 4, 0]
    for module in model.modules():
        if hasattr(module, "vocabulary"):
            module.vocabulary = ()
    x = torch.from_numpy(KNOWN.transform([["7", "but", "the", "..."]]))
    assert KNOWN.names(through(text.RandomDeletion(1.0), model, x)[0].tolist()) in (
        ["<edge>", "7", "but", "...", "<edge>"],
        ["<edge>", "7", "the", "...", "<edge>"],
    )


def test_a_row_is_as_alone_and_its_width_does_not_matter() -> None:
    model = net(WORDS)
    x = torch.from_numpy(WORDS.transform(TEXTS))
    for technique in EVERY:
        together = through(technique, model, x)
        wide = through(technique, model, torch.nn.functional.pad(x, (0, 9)))
        assert torch.equal(wide[:, :-9], together)
        assert torch.equal(through(technique, model, x[:1]), together[:1])


def test_ids_change_as_their_tokens_do() -> None:
    """Ids of a network that knows no rows, with padding in front and behind."""
    tokens = [[str(10 + (7 * i + j) % 50) for j in range(3 + i)] for i in range(5)]
    x = torch.zeros(5, 12, dtype=torch.int64)
    for i, row in enumerate(tokens):
        x[i, i : i + len(row)] = torch.tensor([int(t) for t in row])
    for technique in (
        text.RandomDeletion(0.5, protect="none"),
        text.RandomSwap(0.7, protect="none"),
        text.WordMasking(0.5, protect="none", mask="77", mask_id=77),
        text.SpanMasking(0.4, span=2, protect="none", mask="77", mask_id=77, merge=True),
    ):
        found = through(technique, nn.Linear(1, 1), x)
        for i, words in enumerate(by_tokens(technique, tokens)):
            numbers = [int(word) for word in words]
            assert found[i].tolist() == [0] * i + numbers + [0] * (12 - i - len(numbers))


def test_others_are_refused_on_rows() -> None:
    with pytest.raises(dashpot.UsageError, match="CaseChange needs texts or lists of tokens, got ids"):
        through(text.CaseChange(1.0), net(WORDS), torch.from_numpy(WORDS.transform(TEXTS)))


def test_equal_texts_of_a_batch_are_changed_apart() -> None:
    model = net(WORDS)
    x = torch.from_numpy(WORDS.transform([TEXTS[0]] * 50))
    assert len({tuple(row) for row in through(text.RandomDeletion(0.5), model, x).tolist()}) > 20


def test_values_of_other_columns_stay() -> None:
    texts = [[f"{FIELD}colour=red", "good", "film", f"{FIELD}price>a"], [f"{FIELD}colour=blue", "film", "good"]] * 2
    lexicon = Lexicon.fit(texts)
    found = through(text.RandomDeletion(1.0), net(lexicon), torch.from_numpy(lexicon.transform(texts)))
    for old, new in zip(texts, found, strict=True):
        names = [name for name in lexicon.names(new.tolist()) if name != "<edge>"]
        assert [name for name in names if "colour" in name or "price" in name] == [
            name.lstrip(FIELD) for name in old if name.startswith(FIELD)
        ]
        assert len(names) == sum(name.startswith(FIELD) for name in old) + 1
