"""The user's C++ compiler, and the folder in which what it made is kept.

A library is named after what it was made of and after its own content: one that was cut short, or is empty, does not
fit its name and is made again, and processes that make the same one at once cannot disturb each other.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from dashpot.core.files import write_atomic

FLAGS = (
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-fopenmp-simd",
    "-std=c++17",
    "-shared",
    "-fPIC",
    "-pthread",
)
SECONDS = 120.0
"""How long a compiler may take; the largest source takes about ten seconds."""
_LOCKS: dict[str, threading.Lock] = {}
_HUNG: set[tuple[str, ...]] = set()


class Unusable(Exception):
    """Why there is no library, and the way out, which is empty where there is none."""

    def __init__(self, reason: str, remedy: str = "Set CXX to another compiler.") -> None:
        self.reason, self.remedy = reason, remedy
        super().__init__(reason, remedy)


def command() -> list[str]:
    """The compiler and its own arguments: what ``CXX`` says, else the first of g++, clang++ and c++ that is there.

    Raises:
        Unusable: there is none, or it is not wanted.
    """
    if platform.system() == "Windows":
        raise Unusable("they are not built on Windows", "")
    if os.environ.get("DASHPOT_NO_COMPILER"):
        raise Unusable("DASHPOT_NO_COMPILER is set", "Unset DASHPOT_NO_COMPILER.")
    asked = os.environ.get("CXX", "").strip()
    if asked:
        if (words := split(asked)) is None:
            raise Unusable(f"CXX is {asked!r}, and there is no such program", "Set CXX to a C++ compiler, or unset it.")
        return words
    for name in ("g++", "clang++", "c++"):
        if (found := shutil.which(name)) is not None:
            return [found]
    raise Unusable("there is no C++ compiler", "Install g++ or clang++.")


def split(text: str) -> list[str] | None:
    """Program and arguments: the path of a program may have spaces in it, quoted or not; None where there is none."""
    if shutil.which(text):
        return [text]
    with contextlib.suppress(ValueError):  # a quote without its end
        words = shlex.split(text)
        if words and shutil.which(words[0]):
            return words
        parts = text.split(" ")
        for n in range(len(parts) - 1, 0, -1):
            if shutil.which(path := " ".join(parts[:n])):
                return [path, *shlex.split(" ".join(parts[n:]))]
    return None


def load(source: Path, compiler: Sequence[str]) -> ctypes.CDLL:
    """The library of ``source``: a whole one from the cache, else a new one, from a folder of this process where the
    cache cannot be written or run from.

    Raises:
        Unusable: the compiler failed, or nothing that it made can be loaded.
    """
    name = f"{source.stem}-{_key(source, compiler)}"
    with _LOCKS.setdefault(name, threading.Lock()):
        if (kept := _kept(name)) is not None:
            with contextlib.suppress(OSError):
                return ctypes.CDLL(str(kept))
            with contextlib.suppress(OSError):  # nothing may be run from that folder
                return ctypes.CDLL(str(shutil.copy(kept, _own_folder())))
        made = _compiled(source, compiler)  # also where another machine's does not load here
        if (kept := _keep(made, name)) is not None:
            with contextlib.suppress(OSError):
                found = ctypes.CDLL(str(kept))
                made.unlink()
                return found
        try:
            return ctypes.CDLL(str(made))
        except OSError as error:
            raise Unusable(f"what {compiler[0]} made cannot be loaded: {_short(str(error))}") from error


def _key(source: Path, compiler: Sequence[str]) -> str:
    headers = [path.read_bytes() for path in sorted([*source.parent.glob("*.h"), *Path(__file__).parent.glob("*.h")])]
    stamps = []
    for word in compiler:  # another version of it at the same place
        with contextlib.suppress(OSError):
            found = os.stat(shutil.which(word) or "")
            stamps.append(f"{found.st_size} {found.st_mtime_ns}")
    parts = [" ".join(FLAGS), "\n".join(compiler), " ".join(stamps), _processor(), _system()]
    return hashlib.sha256(b"\0".join([source.read_bytes(), *headers, *(p.encode() for p in parts)])).hexdigest()[:24]


def is_kept(source: Path, compiler: Sequence[str]) -> bool:
    """Whether the library of ``source`` is in the cache."""
    return _kept(f"{source.stem}-{_key(source, compiler)}") is not None


def folder() -> Path | None:
    """The user's cache folder, None without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dashpot"
    except RuntimeError:
        return None


def _kept(name: str) -> Path | None:
    """The library of this name in the cache; one whose content is not what it was is removed."""
    place = folder()
    with contextlib.suppress(OSError):
        for path in sorted(place.glob(f"{name}-*.so")) if place is not None else ():
            if path.stem == f"{name}-{_digest(path.read_bytes())}":
                return path
            with contextlib.suppress(OSError):  # it may only be read
                path.unlink()
    return None


def _keep(made: Path, name: str) -> Path | None:
    """Where it is in the cache now; None where it could not be written, or not as a whole."""
    place, content = folder(), made.read_bytes()
    if place is None:
        return None
    try:
        path = place / f"{name}-{_digest(content)}.so"
        place.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
        return path if path.read_bytes() == content else None
    except OSError:  # it may not be written, or is full
        return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


@functools.cache
def _own_folder() -> Path:
    own = tempfile.mkdtemp(prefix="dashpot-")
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return Path(own)


def _compiled(source: Path, compiler: Sequence[str]) -> Path:
    """The new library, in the folder of this process.

    Raises:
        Unusable: with what the compiler said.
    """
    if tuple(compiler) in _HUNG:
        raise Unusable(f"{compiler[0]} did not end within {SECONDS:g} seconds")
    try:
        handle, name = tempfile.mkstemp(dir=_own_folder(), suffix=".so")
        os.close(handle)
        # Into a file and in a session of its own: what a killed compiler has started would keep a pipe open.
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [*compiler, *FLAGS, str(source), "-o", name],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(SECONDS)
            except BaseException:  # also Ctrl-C, which does not reach another session
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
            said.seek(0)
            words = _short(said.read().decode(errors="replace"))
    except subprocess.TimeoutExpired as error:
        _HUNG.add(tuple(compiler))
        raise Unusable(f"{compiler[0]} did not end within {SECONDS:g} seconds") from error
    except OSError as error:  # no folder to write into, or no program after all
        raise Unusable(f"{compiler[0]}: {error}") from error
    made = Path(name)
    if code or not made.exists() or not made.stat().st_size:
        made.unlink(missing_ok=True)
        raise Unusable(f"{compiler[0]} failed: {words or f'it ended with {code} and said nothing'}")
    return made


def _short(said: str) -> str:
    """The one line of it that says most."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "")[:300]


@functools.cache
def _processor() -> str:
    """What ``-march=native`` depends on: a cache folder may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return platform.machine() + next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        return platform.machine() + platform.processor()


def _system() -> str:
    """The C library that a compiled one needs, and the system."""
    with contextlib.suppress(AttributeError, ValueError, OSError):  # of other systems than Linux
        return f"{platform.system()} {os.confstr('CS_GNU_LIBC_VERSION')}"
    return platform.system()
