"""Tiny encoders, made here: models of ``transformers`` with random weights and their tokenizers; and the fixtures of
tests that read them, which a test module binds to names of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dashpot.texts.feature_store import store_of

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("the", "a", "film", "number", "was", "great", "awful", "fine", "good", "bad", "##s", "##y", ".", "!", "so")


def tiny_encoder(folder: Path, words: Sequence[str] = WORDS, *, seed: int = 0, **sizes: Any) -> Path:
    """A BERT with two layers and a WordPiece vocabulary, as ``save_pretrained`` writes them."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [*MARKS, *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    config = BertConfig(
        **{
            "vocab_size": len(vocabulary),
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 32,
            **sizes,
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(config)
    model.save_pretrained(folder)
    BertTokenizerFast.from_pretrained(str(folder), local_files_only=True).save_pretrained(folder)
    (folder / "vocab.txt").unlink()
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One encoder for a module."""
    return tiny_encoder(tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Vectors are kept in a folder of each test's own."""
    monkeypatch.setattr("dashpot.texts.feature_store.folder", lambda: tmp_path / "cache" / "dashpot")
    store_of.cache_clear()
    yield tmp_path / "cache"
    store_of.cache_clear()
