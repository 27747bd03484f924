"""Texts per second of each augmentation of texts, beside nlpaug and textaugment, all arms in turn in one process.

2,000 texts of a file, such as the questions of trec6. *ours* has them as one batch whose words were seen before, as in
every epoch but the first; *first* meets them for the first time; *64* is in batches of 64, *one* each alone, *lists*
as lists of words that were split before. A ratio is a peer's time over ours of the same round: above 1 we are faster.
Times are the processor's, for this process alone. nlpaug takes a list at once, textaugment a text. Rates are those of
one word in ten, or one word of each text where a library counts words. Peers are measured where they are installed;
textaugment's two modules are loaded by file where its package lacks a dependency of another module. What fails is
named in the result.

Run: ``python benchmarks/speed/text.py DATA.csv [--synonyms FILE.tsv] [--rounds 7]``; with WordNet in NLTK's data for
synonyms of the peers.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import interleave, options, write_result

from dashpot.augment import text
from dashpot.texts.chunks import chunks

COUNT = 2000
STOP = ["a", "an", "and", "in", "is", "of", "the", "to", "was", "what", "who"]


def ours(synonyms: Any) -> dict[str, Any]:
    """The techniques that are measured."""
    return {
        "deletion": text.RandomDeletion(0.1),
        "swap": text.RandomSwap(0.1),
        "insertion": text.RandomInsertion(0.1, synonyms=synonyms),
        "insertion of copies": text.RandomInsertion(0.1),
        "masking": text.WordMasking(0.1),
        "span masking": text.SpanMasking(0.1),
        "synonyms": text.SynonymReplacement(0.1, synonyms=synonyms),
        "punctuation": text.PunctuationInsertion(1 / 3),
        "characters": text.CharacterNoise(0.1),
        "keyboard": text.KeyboardNoise(0.1),
        "case": text.CaseChange(0.1),
        "width": text.WidthChange(0.1),
        "sentences": text.SentenceShuffle(0.5),
    }


def module(library: str, name: str) -> Any:
    """A module of an installed library, by its file: without what the others need."""
    found = importlib.util.find_spec(library)
    assert found is not None
    assert found.origin is not None
    spec = importlib.util.spec_from_file_location(f"{library}_{name}", Path(found.origin).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def nlpaug() -> dict[str, Callable[[], Callable[[list[str]], Any]]]:
    """Makers of calls by row."""
    import nlpaug.augmenter.char as nac
    import nlpaug.augmenter.word as naw

    def call(make: Callable[[], Any]) -> Callable[[], Callable[[list[str]], Any]]:
        return lambda: make().augment

    return {
        "deletion": call(lambda: naw.RandomWordAug(action="delete", aug_p=0.1)),
        "swap": call(lambda: naw.RandomWordAug(action="swap", aug_p=0.1)),
        "masking": call(lambda: naw.RandomWordAug(action="substitute", aug_p=0.1, target_words=["[MASK]"])),
        "synonyms": call(lambda: naw.SynonymAug(aug_src="wordnet", aug_p=0.1)),
        "characters": call(lambda: nac.RandomCharAug(action="swap", aug_word_p=0.1, aug_char_max=1)),
        "keyboard": call(lambda: nac.KeyboardAug(aug_word_p=0.1, aug_char_max=1)),
    }


def textaugment() -> dict[str, Callable[[], Callable[[list[str]], Any]]]:
    """Makers of calls by row."""
    eda = module("textaugment", "eda").EDA(stop_words=STOP)
    aeda = module("textaugment", "aeda").AEDA()

    def call(act: Callable[[str], Any]) -> Callable[[], Callable[[list[str]], Any]]:
        return lambda: lambda texts: [act(one) for one in texts]

    return {
        "deletion": call(lambda one: eda.random_deletion(one, p=0.1)),
        "swap": call(lambda one: eda.random_swap(one, n=1)),
        "insertion": call(lambda one: eda.random_insertion(one, n=1)),
        "synonyms": call(lambda one: eda.synonym_replacement(one, n=1)),
        "punctuation": call(aeda.punct_insertion),
    }


def textattack() -> dict[str, Callable[[], Callable[[list[str]], Any]]]:
    """Makers of calls by row."""
    from textattack.augmentation import Augmenter
    from textattack.transformations import WordDeletion, WordInnerSwapRandom

    def call(kind: Any) -> Callable[[], Callable[[list[str]], Any]]:
        return lambda: lambda texts: [Augmenter(kind(), pct_words_to_swap=0.1).augment(one) for one in texts]

    return {"deletion": call(WordDeletion), "swap": call(WordInnerSwapRandom)}


PEERS = {"nlpaug": nlpaug, "textaugment": textaugment, "textattack": textattack}


def told(error: BaseException) -> str:
    """An error in a line."""
    return f"{type(error).__name__}: {' '.join(str(error).replace('*', '').split())[:80]}"


def peers(texts: list[str]) -> tuple[dict[str, dict[str, Callable[[], Any]]], dict[str, str]]:
    """Calls by row and library, and what failed."""
    found: dict[str, dict[str, Callable[[], Any]]] = {}
    failed: dict[str, str] = {}
    for library, make in PEERS.items():
        try:
            for row, maker in make().items():
                try:
                    call = maker()
                    call(texts[:20])
                    found.setdefault(row, {})[library] = lambda call=call: call(texts)
                except Exception as error:  # a peer may fail in any way, and is then left out, and said to be
                    failed[f"{library}, {row}"] = told(error)
        except (Exception, SystemExit) as error:  # the same for a whole library
            failed[library] = told(error)
    return found, failed


def arms(technique: Any, texts: list[str]) -> dict[str, Callable[[], Any]]:
    """Our ways to change the texts."""
    transform, places, lists = text.TextTransform(technique, 0), range(len(texts)), [one.split() for one in texts]

    def first() -> Any:
        chunks.cache_clear()
        return transform.batch(texts, index=places)

    def by(size: int) -> Any:
        for start in range(0, len(texts), size):
            part = slice(start, start + size)
            transform.batch(texts[part], index=places[part])

    return {
        "ours": lambda: transform.batch(texts, index=places),
        "first": first,
        "64": lambda: by(64),
        "one": lambda: by(1),
        "lists": lambda: transform.batch(lists, index=places),
    }


def measured(technique: Any, texts: list[str], others: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Texts per second of our ways and of each peer, and each peer's time over ours."""
    own = arms(technique, texts)
    near = interleave({**own, **others}, rounds, clock=time.process_time)
    rate = {name: round(len(texts) / statistics.median(times)) for name, times in near.items()}
    ratio = {name: statistics.median(a / b for a, b in zip(near[name], near["ours"], strict=True)) for name in others}
    return {"texts per second": rate, "ratios": {name: round(value, 1) for name, value in ratio.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a CSV file with a column text")
    parser.add_argument("--synonyms", default=None, help="a file of two columns; else two made-up ones for each word")
    parser.add_argument("--rounds", type=int, default=7)
    args = options(parser)
    torch.set_num_threads(1)
    texts = [one for one in pl.read_csv(args.data)["text"].to_list() if len(one.split()) > 2][:COUNT]
    words = sorted({word for one in texts for word in one.split()})
    synonyms = args.synonyms or {word: [word[::-1] + "s", word + "ly"] for word in words}
    others, failed = peers(texts)
    record: dict[str, Any] = {
        "texts": len(texts),
        "words of a text": statistics.mean(len(one.split()) for one in texts),
        "peers": {name: version(name) for name in PEERS if importlib.util.find_spec(name)},
        "left out": failed,
        "rows": {},
    }
    for row, technique in ours(synonyms).items():
        record["rows"][row] = found = measured(technique, texts, others.get(row, {}), 2 if args.quick else args.rounds)
        print(f"{row:20} {found}", flush=True)
    write_result("text-augment-speed", record, args.result)


if __name__ == "__main__":
    main()
