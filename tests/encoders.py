"""Tiny encoders, made here: models of ``transformers`` with random weights and their tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

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
