"""C++ kernels: compiled once for this processor by the installed C++ compiler, and kept in the user's cache
folder.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

_LOCKS: dict[Path, threading.Lock] = {}
_FAILED: dict[Path, str] = {}
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


def library(source: Path) -> ctypes.CDLL | None:
    """The compiled and loaded ``source``, or None where there is no C++ compiler that can, or ``DASHPOT_NO_COMPILER``
    is set; see :func:`why_not`.
    """
    compiler = os.environ.get("CXX") or next(
        (found for name in ("g++", "clang++", "c++") if (found := shutil.which(name))), None
    )
    if compiler is None or os.environ.get("DASHPOT_NO_COMPILER") or platform.system() == "Windows":
        return None
    try:
        return ctypes.CDLL(str(_built(source, compiler)))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None)
        _FAILED[source] = (
            f"{compiler}: {said.decode(errors='replace').strip()[-500:]}" if said else f"{compiler}: {error}"
        )
        return None


def why_not(source: Path) -> str:
    """Why :func:`library` gave nothing for ``source``, and the way out."""
    if source in _FAILED:
        return f"The compiler failed ({_FAILED[source]}). Set CXX to another one."
    return "Unset DASHPOT_NO_COMPILER." if os.environ.get("DASHPOT_NO_COMPILER") else "Install g++ or clang++."


def prepare() -> list[threading.Thread]:
    """Begin to compile every kernel of the package that is not in the cache yet, all at once and in the background;
    the first use of one waits for it.

    Returns:
        The background thread.
    """
    sources = sorted(Path(__file__).parents[1].rglob("*.cpp"))
    threads = [
        threading.Thread(target=library, args=(source,), name=f"compiling {source.name}", daemon=True)
        for source in sources
    ]
    for thread in threads:
        thread.start()
    return threads


def _built(source: Path, compiler: str) -> Path:
    """The shared library, from the cache where this source was compiled by this compiler for this processor before."""
    headers = [path.read_bytes() for path in sorted([*source.parent.glob("*.h"), *Path(__file__).parent.glob("*.h")])]
    key = hashlib.sha256(
        b"\0".join([source.read_bytes(), *headers, " ".join(FLAGS).encode(), compiler.encode(), _processor().encode()])
    ).hexdigest()[:24]
    path = _folder(f"{source.stem}-{key}.so")
    with _LOCKS.setdefault(path, threading.Lock()):
        if not path.exists():
            _compile(source, compiler, path)
    return path


def _folder(name: str) -> Path:
    """Where the library of this name is or can be written: the user's cache folder, else one of this process's own."""
    try:
        path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dashpot" / name
        if path.exists():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.access(path.parent, os.W_OK):
            return path
    except (OSError, RuntimeError):  # no home, or one that cannot be written
        pass
    return _own_folder() / name


@functools.cache
def _own_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="dashpot-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _compile(source: Path, compiler: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".so")
    os.close(handle)
    try:
        subprocess.run(
            [*shlex.split(compiler), *FLAGS, str(source), "-o", name], check=True, capture_output=True, timeout=120
        )
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


@functools.cache
def _processor() -> str:
    """What ``-march=native`` depends on: a cache folder may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return platform.machine() + next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        return platform.machine() + platform.processor()
