"""``Encoder``: a language model of the user's own disk that reads texts."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Choice, Flag, Range
from dashpot.texts import transformer
from dashpot.texts.feature_store import store_of
from dashpot.texts.path_options import path_and_options

OPTIONS = {
    "pool": Choice(("mean", "cls")),
    "length": Range(2, float("inf"), integer=True),
    "frozen": Flag(),
}
USUAL_LENGTH = 256
"""Tokens of a text at most, where nothing is said."""
REMEMBERED = 1 << 24
"""Numbers of tokens that are remembered: 64 megabytes."""
BLOCK = 256
"""Texts whose vectors are saved together: an interrupted run goes on from there."""


@dataclass(frozen=True)
class Encoder:
    """A folder of a model of Hugging Face's ``transformers`` and its tokenizer; see :func:`encoder_of`.

    Attributes:
        path: of the folder.
        pool: ``"mean"`` over the tokens of a text, or ``"cls"``, the vector of its first token.
        length: tokens of a text at most; None: 256, or as many as the model takes.
        frozen: it stays as it is, and a small network learns from its vectors; else it is trained further.
        digest: of the folder's content.
        width: numbers of a vector.
    """

    path: str
    pool: str = "mean"
    length: int | None = None
    frozen: bool = True
    digest: str = field(default="", kw_only=True)
    width: int = field(default=0, kw_only=True)

    def __str__(self) -> str:
        return self.path

    def read(self) -> Encoder:
        """The same with what the folder says.

        Raises:
            StorageError: it cannot be read.
            ConfigError: it is no folder of a model, an option has a value that is not allowed, or the package
                transformers is missing.
        """
        self._check()
        path = Path(self.path)
        transformer.demand_folder(path)
        transformer.package()
        config, digest = transformer.config_of(path), transformer.digest_of(path)
        width, most = transformer.width_of(config), transformer.longest(config)
        if not width:
            way = "It is no model of texts."
            raise ConfigError("encoder", transformer.RULE, self.path, way)
        tokens, known = len(transformer.tokenizer_at(self.path, digest)), getattr(config, "vocab_size", None)
        if isinstance(known, int) and tokens > known:
            way = f"Its tokenizer has {tokens} tokens, and its model {known}: they do not belong together."
            raise ConfigError("encoder", transformer.RULE, self.path, way)
        if most is not None and self.length is not None and self.length > most:
            raise ConfigError("encoder length", f"at most {most}, the places that its model has", self.length)
        length = min(USUAL_LENGTH, most or USUAL_LENGTH) if self.length is None else self.length
        return replace(self, digest=digest, width=width, length=length)

    def _check(self) -> None:
        for name, domain in OPTIONS.items():
            if name != "length" or self.length is not None:
                domain.check(f"encoder {name}", getattr(self, name))

    @property
    def most(self) -> int:
        """Tokens of a text at most."""
        return self.length or USUAL_LENGTH

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The numbers of tokens of texts, int32 each; those of a text are found once.

        Raises:
            ConfigError: the tokenizer cannot be loaded, or the folder is another one by now.
            DataError: it fails.
        """
        known = _tokens_known(self.digest, self.most)
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        found: dict[str, np.ndarray] = {}
        if missing:
            self.demand_same()
            rows = transformer.tokens_of(transformer.tokenizer_at(self.path, self.digest), missing, self.most)
            found = {text: np.array(row, dtype=np.int32) for text, row in zip(missing, rows, strict=True)}
        out = [found[text] if text in found else known[text] for text in texts]
        if sum(map(len, found.values())) + sum(map(len, known.values())) > REMEMBERED:
            known.clear()
        if sum(map(len, found.values())) <= REMEMBERED:
            known.update(found)
        return out

    def features(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors of texts, float32 [texts, width]. Each text is computed once: vectors are kept in the user's
        cache folder (``$XDG_CACHE_HOME`` or ``~/.cache``, in ``dashpot/encoders``) and in memory.

        Raises:
            ConfigError: the model cannot be loaded, or is another one by now.
            DataError: it fails, or gives numbers that are not finite.
        """
        known = store_of(f"{self.digest}-{self.pool}-{self.most}")
        distinct = list(dict.fromkeys(texts))
        found = known.of(distinct)
        missing = [text for text in distinct if text not in found]
        if missing:
            self.demand_same()
            parts = transformer.parts_at(self.path, self.digest)
            with _Bar(len(missing)) as bar:
                for start in range(0, len(missing), BLOCK):
                    some = missing[start : start + BLOCK]
                    rows = transformer.tokens_of(parts.tokenizer, some, self.most)
                    made = dict(zip(some, transformer.vectors_of(parts, rows, self.pool).numpy(), strict=True))
                    known.add(made)
                    found |= made
                    bar.add(len(some))
        return np.stack([found[text] for text in texts]) if len(texts) else np.zeros((0, self.width), dtype=np.float32)

    def demand_same(self) -> None:
        """Refuse a folder whose content is not that which was read.

        Raises:
            StorageError: it cannot be read.
            ConfigError: another content.
        """
        path = Path(self.path)
        transformer.demand_folder(path)
        if transformer.digest_of(path) != self.digest:
            way = "Name the folder as it was, with encoder= (--encoder), or train again."
            raise ConfigError("encoder", "that of the run, with the same files", self.path, way)

    def at(self, given: Any) -> Encoder:
        """That of a saved run, at the place where it is now.

        Args:
            given: its folder; None: where it was in training.

        Raises:
            StorageError: no folder is there.
            ConfigError: another model, or options of it, which are those of the run.
        """
        place = self if given is None else replace(self, path=str(given))
        place.demand_same()
        transformer.package()
        return place

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        own = {name: getattr(self, name) for name in ("path", "pool", "length", "digest", "width")}
        return own if self.frozen else {**own, "frozen": False}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Encoder:
        """The inverse of :meth:`to_dict`; nothing is read."""
        path, pool, digest = (str(data[name]) for name in ("path", "pool", "digest"))
        frozen, width = bool(data.get("frozen", True)), int(data["width"])
        made = Encoder(path, pool, int(data["length"]), frozen, digest=digest, width=width)
        made._check()
        return made


def encoder_of(given: Any) -> Encoder:
    """An encoder, from what a user gives: an :class:`Encoder`, the path of its folder, or path and options in one
    text, such as ``"models/minilm:pool=cls,length=128"``; with ``frozen=false`` it is trained further.

    Nothing is fetched and no code of the folder is run: weights are read from safetensors, and the model is one that
    the installed package ``transformers`` knows.

    Raises:
        StorageError: a folder that cannot be read.
        ConfigError: something else, a folder of no such model, or a value that an option does not allow.
        UnknownNameError: no such option.
    """
    if isinstance(given, Encoder):
        return given.read()
    if not isinstance(given, str | Path):
        raise ConfigError("encoder", "a path, or a dashpot.texts.encoder.Encoder", given)
    if isinstance(given, Path):
        return Encoder(str(given)).read()
    path, options = path_and_options("encoder", given, OPTIONS)
    return Encoder(path, **options).read()


@functools.lru_cache(maxsize=2)
def _tokens_known(digest: str, length: int) -> dict[str, np.ndarray]:
    """The tokens of texts, which are found again for each part of the data."""
    return {}


class _Bar:
    """Shows how far it is, where someone looks at many texts."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        quiet = total <= BLOCK or not sys.stderr.isatty()
        self._bar = Progress(console=Console(stderr=True), transient=True, disable=quiet)
        self._task = self._bar.add_task("encoding texts", total=total)

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def add(self, count: int) -> None:
        self._bar.advance(self._task, count)
