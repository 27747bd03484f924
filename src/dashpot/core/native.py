"""C++ kernels: compiled once for this processor by the C++ compiler that is at hand, kept in the user's cache folder."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

_LOCKS: dict[Path, threading.Lock] = {}
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
    """The compiled and loaded ``source``, or None where there is no C++ compiler, or ``DASHPOT_NO_COMPILER`` is set."""
    compiler = os.environ.get("CXX") or next((found for name in ("g++", "clang++", "c++") if (found := shutil.which(name))), None)
    if compiler is None or os.environ.get("DASHPOT_NO_COMPILER") or platform.system() == "Windows":
        return None
    try:
        return ctypes.CDLL(str(_built(source, compiler)))
    except (OSError, subprocess.SubprocessError):
        return None


def prepare() -> list[threading.Thread]:
    """Begin to compile every kernel of the package that is not in the cache yet, all at once and in the background; whoever needs one waits for it.

    Returns:
        What does so.
    """
    sources = sorted(Path(__file__).parents[1].rglob("*.cpp"))
    threads = [threading.Thread(target=library, args=(source,), name=f"compiling {source.name}", daemon=True) for source in sources]
    for thread in threads:
        thread.start()
    return threads


def _built(source: Path, compiler: str) -> Path:
    """The shared library, from the cache where this source was compiled by this compiler for this processor before."""
    headers = [path.read_bytes() for path in sorted([*source.parent.glob("*.h"), *Path(__file__).parent.glob("*.h")])]
    key = hashlib.sha256(b"\0".join([source.read_bytes(), *headers, " ".join(FLAGS).encode(), compiler.encode(), _processor().encode()])).hexdigest()[
        :24
    ]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dashpot"
    path = folder / f"{source.stem}-{key}.so"
    with _LOCKS.setdefault(path, threading.Lock()):
        if not path.exists():
            _compile(source, compiler, path)
    return path


def _compile(source: Path, compiler: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".so")
    os.close(handle)
    try:
        subprocess.run([compiler, *FLAGS, str(source), "-o", name], check=True, capture_output=True, timeout=120)
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
