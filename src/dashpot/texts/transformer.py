"""A folder of a model and its tokenizer, as ``save_pretrained`` of Hugging Face's ``transformers`` writes it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError, DataError, StorageError

RULE = "the folder of a model of transformers with its tokenizer, its weights in safetensors"
FILES = ("config.json", "*.safetensors", "tokenizer*", "vocab*", "merges.txt", "*.model", "*_map.json", "added_tokens*")
"""What a folder is known by. Nothing else in it matters, and no code of it is run."""
VOCABULARY = ("tokenizer.json", "vocab.*", "*.model", "vocab-*", "*.tiktoken")
"""One of these holds the tokens: without one the package makes a tokenizer that knows none."""
POOLED = "pooler."
"""A last layer that is not used; many folders are without its weights."""
TOKENS = 4096
"""Of a batch, at most: memory is bounded whatever the length of texts."""


class Parts(NamedTuple):
    """A tokenizer, and the model that gives a vector for each of its tokens."""

    tokenizer: Any
    model: nn.Module


def package() -> Any:
    """The module ``transformers``.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        way = f"That needs a package: pip install dashpot[transformers] ({error})."
        raise ConfigError("encoder", "None without the package transformers", "a folder", way) from None


def demand_folder(path: Path) -> None:
    """Refuse what is no folder of a model.

    Raises:
        StorageError: no such folder, or one that cannot be read.
        ConfigError: a file is missing.
    """
    try:
        names = {one.name for one in path.iterdir()}
    except OSError as error:
        raise StorageError(f"encoder {path} cannot be read: {error.strerror}. Name a folder of a model.") from None
    if "config.json" not in names:
        raise ConfigError("encoder", RULE, str(path), "It has no config.json.")
    if not any(name.endswith(".safetensors") for name in names):
        way = "Load it with transformers where you trust it, and save it with save_pretrained."
        raise ConfigError("encoder", RULE, str(path), f"It has no file *.safetensors. {way}")
    if not any(fnmatchcase(name, pattern) for name in names for pattern in VOCABULARY):
        way = "Save the tokenizer of its model beside it, with save_pretrained."
        raise ConfigError("encoder", RULE, str(path), f"It has no tokenizer.json. {way}")


def digest_of(path: Path) -> str:
    """A hash of the contents of the folder: of weights, configuration and tokenizer."""
    try:
        files = sorted({one for pattern in FILES for one in path.glob(pattern) if one.is_file()})
        return _digest(tuple((str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in files))
    except OSError as error:
        raise StorageError(f"encoder {path} cannot be read: {error.strerror}. Check its rights.") from error


@functools.lru_cache(maxsize=16)
def _digest(files: tuple[tuple[str, int, int], ...]) -> str:
    whole = hashlib.sha256()
    for name, _, _ in files:
        with open(name, "rb") as file:
            whole.update(f"{Path(name).name}\n{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()[:32]


def config_of(path: Path) -> Any:
    """The configuration of the model.

    Raises:
        ConfigError: none that the installed package knows without code of the folder's own.
    """
    with _quiet(path):
        return package().AutoConfig.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)


@functools.lru_cache(maxsize=1)
def config_at(path: str, digest: str) -> Any:
    """The configuration of the model; the digest says of which content of the folder."""
    return config_of(Path(path))


def width_of(config: Any) -> int:
    """Numbers of a token's vector."""
    return int(getattr(config, "hidden_size", 0) or getattr(config, "d_model", 0))


def longest(config: Any) -> int | None:
    """Tokens that the model takes; None where it has no limit."""
    most = getattr(config, "max_position_embeddings", None)
    # Models of RoBERTa's kind count positions from behind their padding's number.
    return None if not isinstance(most, int) or most < 4 else most - 2


@functools.lru_cache(maxsize=1)
def tokenizer_at(path: str, digest: str) -> Any:
    """The tokenizer; the digest says of which content of the folder."""
    with _quiet(Path(path)):
        return package().AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)


@functools.lru_cache(maxsize=1)
def parts_at(path: str, digest: str) -> Parts:
    """Tokenizer and model, which is kept until another is asked for.

    Raises:
        ConfigError: they cannot be loaded, or the weights are not all those that the model has.
    """
    made, config = package(), config_of(Path(path))
    with _quiet(Path(path)), torch.random.fork_rng(devices=[]):
        model, said = made.AutoModel.from_pretrained(
            path,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    missing = sorted(name for name in said["missing_keys"] if POOLED not in name)
    if missing:
        some = f"{len(missing)} of its weights are missing, such as {missing[0]}."
        raise ConfigError("encoder", RULE, path, some)
    return Parts(tokenizer_at(path, digest), encoder_part(model).eval())


def encoder_part(model: Any) -> nn.Module:
    """Of a model that writes another text the part that reads."""
    part: nn.Module = model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model
    return part


def plain_config(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON, without what says where it came from or names code of a folder."""
    known: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return {name: value for name, value in known.items() if not name.startswith("_") and name != "auto_map"}


def empty_model(config: Mapping[str, Any]) -> nn.Module:
    """The part of a model that reads, with random weights and without the last layer that is not used.

    Args:
        config: of :func:`plain_config`.

    Raises:
        ConfigError: none that the installed package knows, or the package is missing.
    """
    made = package()
    with _quiet(Path(str(config.get("model_type", "?")))):
        own = made.AutoConfig.for_model(**config)
        model = encoder_part(made.AutoModel.from_config(own, trust_remote_code=False))
    if isinstance(getattr(model, "pooler", None), nn.Module):
        model.register_module("pooler", None)  # as the package itself leaves it out
    return model


def weights_of(parts: Parts) -> dict[str, Tensor]:
    """The weights of a model, as :func:`empty_model` takes them."""
    return {name: t for name, t in parts.model.state_dict().items() if not name.startswith(POOLED)}


def tokens_of(tokenizer: Any, texts: Sequence[str], length: int) -> list[list[int]]:
    """The numbers of tokens of each text with the marks of its begin and end, ``length`` at most.

    Raises:
        DataError: the tokenizer fails.
    """
    # What is no character, such as half of a pair, cannot be passed on.
    clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
    try:
        found = tokenizer(clean, truncation=True, max_length=length, add_special_tokens=True)["input_ids"]
    except Exception as error:  # the package raises whatever its tokenizer does
        raise DataError(f"the encoder's tokenizer failed: {_said(error)}. Choose another folder.") from error
    return [[int(number) for number in row] for row in found]


@torch.inference_mode()
def vectors_of(parts: Parts, rows: Sequence[Sequence[int]], pool: str) -> Tensor:
    """Float32 [rows, width] on the CPU: rows of about the same length are computed together."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = parts.model.to(device)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    out = torch.zeros(len(rows), width_of(model.config))
    while order:
        size = max(1, TOKENS // max(len(rows[order[-1]]), 1))
        some, order = order[-size:], order[:-size]
        ids = nn.utils.rnn.pad_sequence([torch.tensor(rows[i], dtype=torch.int64) + 1 for i in some], batch_first=True)
        if ids.shape[1]:
            out[some] = pooled(model, ids.to(device), pool).float().cpu()
    if not out.isfinite().all():
        raise DataError("the encoder gives numbers that are not finite. Choose another folder.")
    return out


def pooled(model: nn.Module, ids: Tensor, pool: str) -> Tensor:
    """The vector of each text.

    Args:
        model: gives ``last_hidden_state`` for ``input_ids`` and ``attention_mask``.
        ids: [batch, length], each number of a token and 1; 0 behind a text.
        pool: ``"mean"`` over the tokens of a text, or ``"cls"``, that of the first.
    """
    there = ids > 0
    # A text without any token is one token, since attention to nothing is no number.
    seen = there.clone()
    seen[:, 0] = True
    hidden: Tensor = model(input_ids=(ids - 1).clamp_min(0), attention_mask=seen.long()).last_hidden_state
    if pool == "cls":
        return hidden[:, 0] * there[:, :1].to(hidden.dtype)
    mask = there[..., None].to(hidden.dtype)
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp_min(1)


@contextlib.contextmanager
def _quiet(path: Path) -> Iterator[None]:
    """Without bars and notes of the package; what it raises is one error of ours.

    Raises:
        ConfigError: whatever the package raised.
    """
    logs = package().utils.logging
    bars, level = logs.is_progress_bar_enabled(), logs.get_verbosity()
    logs.disable_progress_bar()
    logs.set_verbosity_error()
    try:
        yield
    except Exception as error:  # the package raises many kinds, and a damaged file any
        raise ConfigError("encoder", RULE, str(path), f"Loading it gave {_said(error)}.") from error
    finally:
        logs.set_verbosity(level)
        if bars:
            logs.enable_progress_bar()


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
