"""Data at a URL: a copy in the user's cache folder, made anew where what is there has changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from dashpot.core import compiler
from dashpot.core.errors import ConfigError, StorageError

# A path has lost one of the two slashes; a letter alone is a drive.
URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/{1,2}(?P<rest>[^/].*)", re.DOTALL)
SECRETS = ((re.compile(r"(?<=://)[^/@\s]+(?=@)"), "***"), (re.compile(r"(?<=\w\?)[^\s'\"]+"), "***"))
"""Names and passwords in front of a host, and what follows a question mark, which may be a signature."""
STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "created", "Last-Modified")
"""What file systems call that by which a file is known to have changed."""
WHOLE = "whole.json"


def at_hand(source: str | Path) -> Path:
    """A path as it is; of a URL that `fsspec` reads (https, s3, gs, memory, ...) the copy in the user's cache folder.

    The copy is made under a temporary name and renamed once it is whole. It is used again while the server says of the
    file what it said then (size, and a tag or a time); where it says neither, the file is fetched each time.
    A URL of a folder is a folder. The name of the copy is that of the file.

    Raises:
        ConfigError: no such kind of URL, or one whose package is not installed.
        StorageError: it is not there or cannot be read, or there is no room for the copy.

    Example:
        >>> at_hand("table.csv").name
        'table.csv'

    Not for rows that are read as a network is trained: the whole file is fetched first.
    """
    text = os.fspath(source)
    found = URL.fullmatch(text)
    if found is None or Path(text).exists():
        return Path(text)
    url = f"{found['scheme'].lower()}://{found['rest']}"
    system, path = _system(url)
    try:
        about = system.info(path)
        stamp = _stamp(about)
        place = _place(url)
        copy = place / (Path(path.rstrip("/").partition("?")[0]).name or "data")
        if stamp is not None and copy.exists() and _read(place / WHOLE) == stamp:
            return copy
        _fetch(system, path, place, copy, folder=about.get("type") == "directory")
        _write(place / WHOLE, stamp)
    except StorageError:
        raise
    except Exception as error:  # of as many kinds as there are file systems
        raise _refusal(url, error) from error
    return copy


def _refusal(url: str, error: Exception) -> StorageError:
    # A server that cannot be reached is called a missing file too, with the reason behind it.
    why = error.__cause__ or error
    if isinstance(why, FileNotFoundError) or getattr(why, "status", None) == 404:
        return StorageError(f"data {shown(url)} must exist, and there is no such file. Check the URL.")
    said = shown(" ".join(str(why).split())) or type(why).__name__
    return StorageError(f"data {shown(url)} cannot be read: {said}. Check the URL, the network and your rights.")


def shown(text: str) -> str:
    """A text with URLs as they may be shown: without passwords and signatures.

    >>> shown("https://me:secret@host/a.csv?signature=abc")
    'https://***@host/a.csv?***'
    """
    for secret, instead in SECRETS:
        text = secret.sub(instead, text)
    return text


def _system(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError as error:
        way = "pip install 'dashpot[remote]', or fetch the file first."
        raise ConfigError("data", "a path where fsspec is not installed", shown(url), way) from error
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:  # which names the package
        raise ConfigError(
            "data", "a URL whose package is installed", shown(url), f"{str(error).rstrip('.')}."
        ) from error
    except ValueError as error:
        kinds = "https://, s3://, gs://"
        raise ConfigError(
            "data", f"a path or a URL that fsspec reads ({kinds}, ...)", shown(url), f"{error}."
        ) from error
    return system, str(path)


def _stamp(about: Any) -> dict[str, str] | None:
    """What tells this state of a file from others; None where nothing does."""
    known = {name: str(about[name]) for name in STAMPS if about.get(name) is not None}
    return {**known, "size": str(about.get("size"))} if known else None


def _place(url: str) -> Path:
    cache = compiler.folder()
    if cache is None:
        raise StorageError("there is no home folder for a copy of the data. Let XDG_CACHE_HOME name one.")
    place = cache / "data" / hashlib.sha256(url.encode()).hexdigest()[:16]
    place.mkdir(parents=True, exist_ok=True)
    return place


def _fetch(system: Any, path: str, place: Path, copy: Path, *, folder: bool) -> None:
    (place / WHOLE).unlink(missing_ok=True)
    room = Path(tempfile.mkdtemp(prefix=".fetching-", dir=place))
    try:
        made = room / copy.name
        system.get(path.rstrip("/") + "/" if folder else path, str(made), recursive=folder)
        if not made.exists():
            raise FileNotFoundError(path)
        if copy.is_dir():
            shutil.rmtree(copy)
        made.replace(copy)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _read(path: Path) -> Any:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None


def _write(path: Path, stamp: dict[str, str] | None) -> None:
    if stamp is not None:
        path.with_suffix(".new").write_text(json.dumps(stamp), encoding="utf-8")
        path.with_suffix(".new").replace(path)
