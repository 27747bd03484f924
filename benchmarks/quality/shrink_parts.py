"""What it costs to drop nine tenths of a convnet for photographs, half of a table's columns, or half of the heads of a
transformer: test accuracy beside the full network's, with the standard error of their difference, and of a network
that is built that small.

cifar10, 5,000 rows to train and 1,500 to test: the residual net of ``shrink.py`` with a stem of stride 2, ``Compress``
to a tenth of its parameters, 20 epochs. spambase, 30 % of its rows to test: a perceptron of 57-128-128-2, 30 epochs; 20
of them under a group lasso on the columns of its first layer, that rises to a strength between 1e-2 and 3e-1 which is
halved on a logarithmic scale until it leaves half of the columns, and 10 without it on these columns alone; beside it
half of the columns taken at random. trec6, its own split: two layers of ``nn.TransformerEncoder``, width 64, 8 heads
each, over the words of a question, 12 epochs; ``Compress`` on the attention to the size of half its heads. Batches
of 128, AdamW at 3e-3 (1e-3 for the transformer), a cosine to zero, no augmentation.

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
SCORES = "full", "small", "built small", "standard error"
HALF, TRIALS = 28, 12
"""Of 57 columns, and how many strengths are tried; the last one counts where none leaves just as many."""


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


def questions(folder: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    with gzip.open(folder / "text_trec6.csv.gz", "rt") as file:
        table = pd.read_csv(file)
    texts = [re.findall(r"\w+|[^\w\s]", text.lower()) for text in table["text"]]
    train = (table["split"] == "train").to_numpy()
    seen = Counter(word for text, own in zip(texts, train, strict=True) for word in text if own)
    number = {word: k + 2 for k, (word, _) in enumerate(seen.most_common(WORDS - 2))}
    rows = [[number.get(word, 1) for word in text[:LENGTH]] + [0] * (LENGTH - len(text)) for text in texts]
    x, y = torch.tensor(rows), torch.as_tensor(pd.factorize(table["target"], sort=True)[0]).long()
    return x[train], y[train], x[~train], y[~train]


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


def convnet(one: int = 23) -> nn.Module:
    two = 2 * one
    return nn.Sequential(
        *(nn.Conv2d(3, one, 3, 2, 1, bias=False), nn.BatchNorm2d(one), nn.ReLU()),
        *(Block(one, one), Block(one, two, 2), Block(two, two)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(two, 10)),
    )


def perceptron(columns: int = 57) -> nn.Module:
    return nn.Sequential(nn.Linear(columns, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2))


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


def of_columns(data: Any, kept: Tensor) -> Any:
    x, y, x_test, y_test = data
    return x[:, kept], y, x_test[:, kept], y_test


def half_of_columns(data: Any, seed: int) -> tuple[nn.Module, Tensor, dict[str, Any]]:
    """A network on the columns that a group lasso leaves, and which they are."""
    low, high = 1e-2, 3e-1
    for _ in range(TRIALS):
        strength = (low * high) ** 0.5
        lasso = dashpot.GroupLasso(strength=f"0to{strength:.4g}", groups="columns", on="name:0.weight")
        large = fitted(made(perceptron, seed), lasso, data, seed, 20)
        shrunk = dashpot.shrink(large, data[0][:2], inputs="drop")
        (kept,) = shrunk.inputs.values()
        if len(kept) == HALF:
            break
        low, high = (strength, high) if len(kept) > HALF else (low, strength)
    places = torch.tensor(kept)
    small = fitted(shrunk.model, None, of_columns(data, places), seed, 10)
    return small, places, {"of": 57, "strength": f"{strength:.4g}"}


def right(model: nn.Module, data: Any) -> Tensor:
    """Which answers on the test rows are right."""
    return (answers(model, data[2]) == data[3]).double()


def one(case: str, folder: Path, seed: int) -> dict[str, Any]:
    """A full network, one made smaller, and one built small."""
    if case == "photographs":
        data = photographs(folder)
        full = fitted(made(convnet, seed), None, data, seed, 20)
        small = fitted(made(convnet, seed), dashpot.Compress(to="0.1x parameters"), data, seed, 20)
        narrow = fitted(made(lambda: convnet(7), seed), None, data, seed, 20)
        found = [right(model, data) for model in (full, small, narrow)]
        more: dict[str, Any] = {"parameters built small": count(narrow)}
    elif case == "columns":
        data = columns(folder, seed)
        full = fitted(made(perceptron, seed), None, data, seed, 30)
        small, kept, more = half_of_columns(data, seed)
        some = torch.randperm(57, generator=torch.Generator().manual_seed(seed))[: len(kept)]
        narrow = fitted(made(lambda: perceptron(len(kept)), seed), None, of_columns(data, some), seed, 30)
        more["columns"] = len(kept)
        found = [right(full, data), right(small, of_columns(data, kept)), right(narrow, of_columns(data, some))]
    else:
        data = questions(folder)
        full = fitted(made(Questions, seed), None, data, seed, 12, 1e-3)
        head = 3 * 8 * 65 + 8 * 64  # queries, keys and values with their biases, and what reads them
        half = dashpot.Compress(to=f"{count(full) - 8 * head} parameters", on="name:*self_attn*")
        small = fitted(made(Questions, seed), half, data, seed, 12, 1e-3)
        found = [right(full, data), right(small, data)]
        more = {"heads": sum(getattr(m, "num_heads", 0) for m in small.modules()), "of": 16}
    scores = {name: float(own.mean()) for name, own in zip(("full", "small", "built small"), found, strict=False)}
    apart = found[1] - found[0]
    return {
        **scores,
        "standard error": float(apart.std() / len(apart) ** 0.5),
        "rows": len(apart),
        "parameters": [count(full), count(small)],
        **more,
    }


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
            row = {"case": case, "seed": seed, **one(case, options.data, seed)}
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
            **{key: statistics.mean(row[key] for row in own) for key in SCORES if key in own[0]},
            "each": own,
        }
    write_result("shrink-parts", {"what": " ".join(__doc__.split("\n\n")[0].split()), "cases": table}, options.result)


if __name__ == "__main__":
    main()
