"""Training examples per second of the two networks for texts, beside fastText and the loop of the tutorials.

All arms start from the strings of the training rows and end with a trained model: splitting into words, the lexicon and
the rows are part of ours, reading the file and hashing part of fastText's. An arm's examples are its epochs times its
rows. Accuracy on the test rows stands beside. One thread; times are the processor's for this process, all arms in turn
in one process. fastText is measured where it is installed.

- *bag*, *conv*: :class:`TextBag` and :class:`TextConv` by ``dashpot.fit`` at their defaults, no technique. *steps*:
  the bag's training alone, on rows that are there.
- *fastText*: its own program, 32 numbers a vector, pairs and triples of words, pieces of 3 to 5 characters, 2 million
  buckets; *fastText, words*: its defaults with pairs.
- *tutorial*: ``nn.EmbeddingBag`` of 64 numbers, words only, a DataLoader with a collate function, SGD, batches of 64.

Run: ``python benchmarks/speed/text_training.py DATA.csv [--rounds 5] [--epochs 5]``; columns text, target and split.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import interleave, options, write_result

import dashpot
from dashpot.nets import TextBag, TextConv
from dashpot.texts.lexicon import Lexicon

Texts = list[str]
Arm = Callable[[], float]
"""Trains, and says the accuracy on the test rows."""
WORD = re.compile(r"\w+|[^\w\s]")


class Data:
    """Texts and classes of the training and test rows."""

    def __init__(self, path: Path, folder: Path) -> None:
        frame = pl.read_csv(path)
        names = sorted(frame["target"].unique().to_list())
        parts = [frame.filter(pl.col("split") == "test"), frame.filter(pl.col("split") != "test")]
        (self.new, self.texts) = (part["text"].to_list() for part in parts)
        (self.truth, self.y) = (torch.tensor([names.index(one) for one in part["target"]]) for part in parts)
        self.classes = len(names)
        self.files = [folder / "train.txt", folder / "test.txt"]
        for file, texts, y in zip(self.files, (self.texts, self.new), (self.y, self.truth), strict=True):
            # fastText splits at spaces, so it is given what the others split themselves.
            lines = [
                f"__label__{label} {' '.join(WORD.findall(one.lower()))}"
                for one, label in zip(texts, y.tolist(), strict=True)
            ]
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def right(self, logits: Tensor) -> float:
        """Accuracy on the test rows."""
        return float((logits.argmax(dim=1) == self.truth).float().mean())


def ours(data: Data, kind: Any, epochs: int) -> Arm:
    """From strings to a trained network."""

    def arm() -> float:
        lexicon = Lexicon.fit([WORD.findall(one) for one in data.texts])
        x = torch.from_numpy(lexicon.transform([WORD.findall(one) for one in data.texts]))
        net = kind.of(lexicon, data.classes)
        dashpot.fit(net, (x, data.y), epochs=epochs, batch_size=64, lr=2e-3, modality="text", device="cpu")
        with torch.no_grad():
            return data.right(net.eval()(torch.from_numpy(lexicon.transform([WORD.findall(t) for t in data.new]))))

    return arm


def steps(data: Data, epochs: int) -> Arm:
    """The bag's training alone."""
    lexicon = Lexicon.fit([WORD.findall(one) for one in data.texts])
    x, new = (torch.from_numpy(lexicon.transform([WORD.findall(t) for t in part])) for part in (data.texts, data.new))

    def arm() -> float:
        net = TextBag.of(lexicon, data.classes)
        dashpot.fit(net, (x, data.y), epochs=epochs, batch_size=64, lr=2e-3, modality="text", device="cpu")
        with torch.no_grad():
            return data.right(net.eval()(new))

    return arm


def fasttext_arm(data: Data, epochs: int, **settings: Any) -> Arm:
    """fastText's own program."""
    import fasttext

    def arm() -> float:
        model = fasttext.train_supervised(str(data.files[0]), thread=1, epoch=epochs, verbose=0, **settings)
        return float(model.test(str(data.files[1]))[1])

    return arm


class Words(nn.Module):
    """Mean of word vectors and a linear layer."""

    def __init__(self, words: int, classes: int) -> None:
        super().__init__()
        self.embedding, self.fc = nn.EmbeddingBag(words, 64, sparse=False), nn.Linear(64, classes)

    def forward(self, ids: Tensor, starts: Tensor) -> Tensor:
        out: Tensor = self.fc(self.embedding(ids, starts))
        return out


def tutorial(data: Data, epochs: int) -> Arm:
    """The usual loop."""

    def arm() -> float:
        words: dict[str, int] = {"<unk>": 0}
        for one in data.texts:
            for word in WORD.findall(one.lower()):
                words.setdefault(word, len(words))

        def collate(rows: list[tuple[str, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
            ids = [[words.get(word, 0) for word in WORD.findall(one.lower())] or [0] for one, _ in rows]
            starts = np.cumsum([0, *map(len, ids[:-1])])
            return (
                torch.tensor(list(itertools.chain.from_iterable(ids))),
                torch.tensor(starts),
                torch.stack([label for _, label in rows]),
            )

        model, loss = Words(len(words), data.classes), nn.CrossEntropyLoss()
        sgd = torch.optim.SGD(model.parameters(), lr=5.0)
        loader: Any = torch.utils.data.DataLoader(
            list(zip(data.texts, data.y, strict=True)), batch_size=64, shuffle=True, collate_fn=collate
        )
        for _ in range(epochs):
            for ids, starts, y in loader:
                sgd.zero_grad()
                loss(model(ids, starts), y).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
                sgd.step()
        ids, starts, _ = collate(list(zip(data.new, data.truth, strict=True)))
        with torch.no_grad():
            return data.right(model.eval()(ids, starts))

    return arm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    args = options(parser)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = Data(args.data, Path(folder))
        each: dict[str, Arm] = {
            "bag": ours(data, TextBag, args.epochs),
            "steps": steps(data, args.epochs),
            "conv": ours(data, TextConv, args.epochs),
            "tutorial": tutorial(data, args.epochs),
        }
        known = importlib.util.find_spec("fasttext") is not None
        if known:
            same = {"dim": 32, "wordNgrams": 3, "minn": 3, "maxn": 5}
            each |= {
                "fastText": fasttext_arm(data, args.epochs, **same),
                "fastText, words": fasttext_arm(data, args.epochs, wordNgrams=2),
            }
        accuracy: dict[str, float] = {}

        def noted(name: str, arm: Arm) -> Callable[[], None]:
            return lambda: accuracy.__setitem__(name, arm())

        rounds = 1 if args.quick else args.rounds
        times = interleave({name: noted(name, arm) for name, arm in each.items()}, rounds, clock=time.process_time)
    examples = args.epochs * len(data.texts)
    record = {
        "epochs": args.epochs,
        "rows": len(data.texts),
        "fasttext": version("fasttext-wheel") if known else None,
        "examples per second": {name: round(examples / statistics.median(t)) for name, t in times.items()},
        "accuracy": {name: round(value, 4) for name, value in accuracy.items()},
        "time over ours": {
            name: round(statistics.median(a / b for a, b in zip(times[name], times["bag"], strict=True)), 2)
            for name in times
        },
    }
    print(record)
    write_result("text-training", record, args.result)


if __name__ == "__main__":
    main()
