"""What it costs to drop nine tenths of a convnet for photographs, half of a table's columns, or half of the heads of a
transformer: test accuracy beside the full network's, with the standard error of their difference.

cifar10, 5,000 rows to train and 1,500 to test: the residual net of ``shrink.py`` on every second pixel, ``Compress`` to
a tenth of its parameters, 20 epochs. spambase, 30 % of its rows to test: a perceptron of 57-128-128-2, 30 epochs; a
group lasso on the columns of its first layer at the least of the strengths 4e-3 times powers of 1.1 that leaves half
of them at most, then ``dashpot.shrink``. trec6, its own split: two layers of ``nn.TransformerEncoder``, width 64, 8
heads each, over the words of a question, 12 epochs; ``Compress`` by a tenth of the parameters at a time until half of
the heads have left. Batches of 128, AdamW at 3e-3 (1e-3 for the transformer), a cosine to zero, no augmentation.

Run: ``python benchmarks/quality/shrink_parts.py --data FOLDER [--seeds 3] [--cases columns,heads,photographs]``; a row
that is in ``shrink-parts.jsonl`` is not made again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import RESULTS, write_result
from shrink import Block, answers, count

import dashpot

LENGTH, WORDS = 20, 3000


class Questions(nn.Module):
    """A small transformer over the words of a question; word 0 is padding."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, 64), nn.Parameter(0.02 * torch.randn(LENGTH, 64))
        layer = nn.TransformerEncoderLayer(64, 8, 128, dropout=0.1, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, 6)

    def forward(self, x: Tensor) -> Tensor:
        there = (x > 0).unsqueeze(2)
        out = self.layers(self.words(x) + self.places, src_key_padding_mask=x == 0) * there
        found: Tensor = self.head(out.sum(1) / there.sum(1).clamp(min=1))
        return found

    def heads(self) -> int:
        return sum(layer.self_attn.num_heads for layer in self.layers.layers)


def questions(folder: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    with gzip.open(folder / "text_trec6.csv.gz", "rt") as file:
        table = pd.read_csv(file)
    texts = [re.findall(r"\w+|[^\w\s]", text.lower()) for text in table["text"]]
    train = (table["split"] == "train").to_numpy()
    seen = Counter(word for text, own in zip(texts, train, strict=True) for word in text if own)
    number = {word: k + 2 for k, (word, _) in enumerate(seen.most_common(WORDS - 2))}
    rows = [[number.get(word, 1) for word in text[:LENGTH]] + [0] * (LENGTH - len(text)) for text in texts]
    x, y = torch.tensor(rows), torch.as_tensor(pd.factorize(table["target"], sort=True)[0]).long()
    chosen = torch.tensor(train)
    return x[chosen], y[chosen], x[~chosen], y[~chosen]


def columns(folder: Path, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    table = pd.read_csv(folder / "spambase.csv.gz")
    y = torch.as_tensor(pd.factorize(table.pop("target"), sort=True)[0]).long()
    x = torch.as_tensor(np.log1p(table.to_numpy(dtype=np.float32)))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    test, train = order[: 3 * len(x) // 10], order[3 * len(x) // 10 :]
    x = (x - x[train].mean(0)) / x[train].std(0).clamp(min=1e-6)
    return x[train], y[train], x[test], y[test]


def photographs(folder: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    parts = np.load(folder / "cifar10_5k1500.npz")
    x, x_test = (
        torch.as_tensor(parts[name]).permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1
        for name in ("X_train", "X_test")
    )
    return x, torch.as_tensor(parts["y_train"]).long(), x_test, torch.as_tensor(parts["y_test"]).long()


def convnet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 23, 3, 2, 1, bias=False), nn.BatchNorm2d(23), nn.ReLU()),
        *(Block(23, 23), Block(23, 46, 2), Block(46, 46)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(46, 10)),
    )


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(57, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2))


def fitted(model: nn.Module, recipe: Any, data: Any, seed: int, epochs: int, lr: float = 3e-3) -> nn.Module:
    x, y, *_ = data
    few = (x[:128], y[:128])
    return dashpot.fit(
        model, (x, y), valid=few, recipe=recipe, epochs=epochs, batch_size=128, lr=lr, seed=seed, progress=False
    ).model


def made(make: Any, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model: nn.Module = make()
    return model


def both(case: str, folder: Path, seed: int) -> tuple[nn.Module, nn.Module, Any, dict[str, Any]]:
    """The full network and the one without, the data, and what is left."""
    if case == "photographs":
        data = photographs(folder)
        full = fitted(made(convnet, seed), None, data, seed, 20)
        small = fitted(made(convnet, seed), dashpot.Compress(to="0.1x parameters"), data, seed, 20)
        return full, small, data, {}
    if case == "columns":
        data = columns(folder, seed)
        full, strength = fitted(made(perceptron, seed), None, data, seed, 30), 4e-3
        while True:
            lasso = dashpot.GroupLasso(strength=strength, groups="columns", on="name:0.weight")
            large = fitted(made(perceptron, seed), lasso, data, seed, 30)
            left = int(large[0].weight.abs().sum(0).count_nonzero())  # type: ignore[index]  # a sequence of layers
            if left <= 28:
                break
            strength *= 1.1
        small = dashpot.shrink(large, data[0][:2]).model
        if not torch.equal(answers(large, data[2]), answers(small, data[2])):
            raise RuntimeError("the cut changed an answer")
        return full, small, data, {"columns": left, "of": 57, "strength": strength}
    data = questions(folder)
    full, share = fitted(made(Questions, seed), None, data, seed, 12, 1e-3), 1.0
    while True:
        share -= 0.1
        recipe = dashpot.Compress(to=f"{share:.1f}x parameters")
        found = fitted(made(Questions, seed), recipe, data, seed, 12, 1e-3)
        heads = sum(m.num_heads for m in found.modules() if hasattr(m, "num_heads"))
        if heads <= 8:
            return full, found, data, {"heads": heads, "of": 16, "asked for": f"{share:.1f}x parameters"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cases", default="columns,heads,photographs")
    parser.add_argument("--result", type=Path, default=RESULTS / "shrink-parts.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    log = options.result.with_suffix(".jsonl")
    for seed in range(options.seeds):
        for case in options.cases.split(","):
            rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
            if any((row["case"], row["seed"]) == (case, seed) for row in rows):
                continue
            started = time.process_time()
            full, small, data, more = both(case, options.data, seed)
            right = [(answers(model, data[2]) == data[3]).double() for model in (full, small)]
            row = {"case": case, "seed": seed, "full": float(right[0].mean()), "small": float(right[1].mean())}
            row |= {"standard error": float((right[1] - right[0]).std() / len(data[3]) ** 0.5), "rows": len(data[3])}
            row |= {"parameters": [count(full), count(small)], **more}
            row["seconds of processor time"] = round(time.process_time() - started)
            with log.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row, flush=True)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    table = {}
    for case in dict.fromkeys(row["case"] for row in rows):
        own = [row for row in rows if row["case"] == case]
        table[case] = {
            "seeds": len(own),
            **{key: statistics.mean(row[key] for row in own) for key in ("full", "small", "standard error")},
            "each": own,
        }
    write_result("shrink-parts", {"what": __doc__.split("\n\n")[0], "cases": table}, options.result)


if __name__ == "__main__":
    main()
