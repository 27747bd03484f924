"""Half of the training rows with augmentation beside all of them without: the claim of EDA (arXiv 1901.11196).

Questions of trec6, its official split. Every arm takes as many steps: an epoch has as many rows as the whole training
part, each row of half of it once as it is and once more, augmented afresh in each epoch; *half* has it twice as it is,
*all* has the whole part. The half is drawn anew for each seed, with the shares of the classes. Networks are the
built-in bag of words and convolutions over words; lexicons are of the arm's own rows as they are, so that a synonym
that is no word of theirs is read by its pieces; convolutions start from vectors that the arm's rows teach. ``eda``
draws one of the four techniques of that paper for each text. ``adversarial`` is *half* with AdversarialEmbeddings,
which takes a pass more.

An arm's line has the share of test questions that are right, of each seed. The summary has, for each arm, the mean
over seeds, and its difference to *all* and to *half* with 95 % intervals: test rows are drawn again, paired, 10,000
times; seeds are not, so the intervals are of these networks and not of further ones.

Run: ``python benchmarks/quality/text_augment.py DATA.csv --seeds 0 1 --nets bag conv [--synonyms FILE.tsv]`` (a word, a
tab, its synonyms with | between them; without it the arms that need some are left out or copy words); lines that
``--lines`` has already are not measured again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import options, write_result

from dashpot import LabelSmoothing, Recipe
from dashpot.augment import text as techniques
from dashpot.augment.text import TextTransform
from dashpot.data.texts.preprocessing import tokens_of
from dashpot.nets.text_bag import TextBag
from dashpot.nets.text_conv import TextConv
from dashpot.nets.text_vectors import start_from
from dashpot.noise import AdversarialEmbeddings
from dashpot.texts.lexicon import SHAPES, Lexicon
from dashpot.texts.neighbours import Neighbours

MOVED = "adversarial"
EPOCHS = {"bag": 12, "conv": 8}
EDA = ("deletion", "swap", "insertion", "synonyms")
Drawn = Callable[[list[str], np.ndarray, int], list[str]]
"""Texts, their places and the epoch to what training sees of them."""


def arms(synonyms: str | None, seed: int) -> dict[str, Drawn | None]:
    """What becomes of the second half of an epoch's rows; None: nothing."""
    single: dict[str, Any] = {
        "deletion": techniques.RandomDeletion(0.1),
        "swap": techniques.RandomSwap(0.1),
        "insertion": techniques.RandomInsertion(0.1, synonyms=synonyms),
        "masking": techniques.WordMasking(0.1),
        "punctuation": techniques.PunctuationInsertion(1 / 3),
        "characters": techniques.CharacterNoise(0.1),
    }
    if synonyms is not None:
        single["synonyms"] = techniques.SynonymReplacement(0.1, synonyms=synonyms)
    made = {name: TextTransform(technique, seed) for name, technique in single.items()}

    def alone(transform: TextTransform) -> Drawn:
        return lambda texts, places, epoch: transform.batch(texts, index=places, epoch=epoch)

    def eda(texts: list[str], places: np.ndarray, epoch: int) -> list[str]:
        found = [made[name].batch(texts, index=places, epoch=epoch) for name in EDA if name in made]
        which = np.random.default_rng((seed, epoch)).integers(len(found), size=len(texts))
        return [found[k][i] for i, k in enumerate(which)]

    return {
        "all": None,
        "half": None,
        MOVED: None,
        "eda": eda,
        **{name: alone(transform) for name, transform in made.items()},
    }


def half(target: np.ndarray, seed: int) -> np.ndarray:
    """Half of the rows of each class, in order."""
    random = np.random.default_rng(seed)
    own = [random.permutation(np.flatnonzero(target == one)) for one in np.unique(target)]
    return np.sort(np.concatenate([rows[: (len(rows) + 1) // 2] for rows in own]))


def rows_of(lexicon: Lexicon, texts: Sequence[str]) -> torch.Tensor:
    """Texts as rows of a lexicon."""
    return torch.from_numpy(lexicon.transform(tokens_of(np.array(texts, dtype=object)[:, None], "words")))


def network(name: str, lexicon: Lexicon, rows: torch.Tensor, classes: int) -> TextBag | TextConv:
    """With its rates of dropout; convolutions start from the vectors that the rows teach."""
    if name == "bag":
        bag = TextBag.of(lexicon, classes)
        bag.keep.p, bag.dropout.p = 0.2, 0.5
        return bag
    conv, near = TextConv.of(lexicon, classes), Neighbours()
    near.add(rows.numpy() // SHAPES, lexicon.first_piece)
    start_from(conv, lexicon, near.vectors(lexicon))
    conv.dropout.p = 0.5
    return conv


def trained(
    name: str,
    arm: str,
    lexicon: Lexicon,
    epochs: Callable[[int], tuple[torch.Tensor, torch.Tensor]],
    own: torch.Tensor,
    seed: int,
) -> Any:
    """A network after its epochs, each of rows and targets that a function gives; ``own`` are the arm's rows."""
    torch.manual_seed(seed)
    x, y = epochs(0)
    net = network(name, lexicon, own, int(y.max()) + 1)
    recipe = [LabelSmoothing(0.05), *([AdversarialEmbeddings(0.3)] if arm == MOVED else [])]
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.0, betas=(0.9, 0.99), fused=True)
    steps = EPOCHS[name] * -(-len(x) // 64)
    warm = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=0.1, cycle_momentum=False)
    session = Recipe(recipe).attach(net, optimizer, targets="classes", classes=int(y.max()) + 1, modality="text")
    for epoch in range(EPOCHS[name]):
        x, y = epochs(epoch)
        for some in torch.randperm(len(x)).split(64):
            own_x, own_y = session.batch(x[some], y[some])
            loss = session.loss(nn.CrossEntropyLoss(), net(own_x), own_y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            warm.step()
    session.close()
    return net.eval()


def measured(name: str, arm: str, draw: Drawn | None, data: pl.DataFrame, seed: int) -> list[bool]:
    """Which test rows a network of an arm gets right."""
    train, test = (data.filter(pl.col("split") == part) for part in ("train", "test"))
    texts, target = train["text"].to_list(), train["target"].to_numpy()
    kept = np.arange(len(texts)) if arm == "all" else half(target, seed)
    own = [texts[i] for i in kept]
    lexicon = Lexicon.fit(tokens_of(np.array(own, dtype=object)[:, None], "words"))
    x, y = rows_of(lexicon, own), torch.as_tensor(target[kept])

    def epoch_rows(epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        if arm == "all":
            return x, y
        more = x if draw is None else rows_of(lexicon, draw(own, kept, epoch))
        wide = max(x.shape[1], more.shape[1])
        both = [nn.functional.pad(rows, (0, wide - rows.shape[1])) for rows in (x, more)]
        return torch.cat(both), torch.cat([y, y])

    net = trained(name, arm, lexicon, epoch_rows, x, seed)
    with torch.no_grad():
        found = net(rows_of(lexicon, test["text"].to_list())).argmax(1).numpy()
    right: list[bool] = (found == test["target"].to_numpy()).tolist()
    return right


def summary(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each network and arm: the mean over seeds, and differences with intervals, of seeds that both arms have."""
    random, found = np.random.default_rng(0), {}
    for net in sorted({line["net"] for line in lines}):
        right = {
            (line["arm"], line["seed"]): np.array(line["right"], dtype=float) for line in lines if line["net"] == net
        }
        found[net] = {}
        for arm in dict.fromkeys(arm for arm, _ in right):
            seeds = sorted(seed for a, seed in right if a == arm)
            record: dict[str, Any] = {"accuracy": [round(right[arm, seed].mean(), 4) for seed in seeds]}
            record["mean"] = float(np.mean(record["accuracy"]))
            for other in ("all", "half"):
                shared = [seed for seed in seeds if (other, seed) in right]
                if arm == other or not shared:
                    continue
                gain = np.mean([right[arm, seed] - right[other, seed] for seed in shared], axis=0)
                drawn = gain[random.integers(len(gain), size=(10_000, len(gain)))].mean(1)
                low, high = np.quantile(drawn, [0.025, 0.975])
                record[f"minus {other}"] = [float(gain.mean()), float(low), float(high)]
            found[net][arm] = record
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a CSV file with columns text, split and target")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--nets", nargs="+", choices=list(EPOCHS), default=list(EPOCHS))
    parser.add_argument("--synonyms", default=None, help="a file of two columns")
    parser.add_argument("--lines", type=Path, default=Path("text-augment.jsonl"), help="what is measured already")
    args = options(parser)
    torch.set_num_threads(1)
    data = pl.read_csv(args.data).with_columns(pl.col("target").cast(pl.Int64))
    lines = [json.loads(line) for line in args.lines.read_text().splitlines()] if args.lines.exists() else []
    for seed in args.seeds:
        for net in args.nets:
            for arm, draw in arms(args.synonyms, seed).items():
                if any((line["net"], line["arm"], line["seed"]) == (net, arm, seed) for line in lines):
                    continue
                started = time.process_time()
                right = measured(net, arm, draw, data, seed)
                line = {"net": net, "arm": arm, "seed": seed, "right": right}
                lines.append(line)
                with args.lines.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print(f"{net} {arm:12} {seed} {np.mean(right):.4f} {time.process_time() - started:.0f} s", flush=True)
    write_result("text-augment", {"train": "half of trec6", "arms": summary(lines)}, args.result)


if __name__ == "__main__":
    main()
