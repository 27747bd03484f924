"""What Dashpot finds on this machine: versions, processor, threads, compiler, kernels, GPU; what is slow, and why."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dashpot.core import compiler, native
from dashpot.core.environment import machine, versions

Finding = dict[str, str]
"""What is slow or broken, and the way out."""
PROBE = Path(__file__).with_name("draws.cpp")
"""The kernel that is compiled if no other is: a small one, which training needs anyway."""
NOT_FOR_USERS = {"test", "dev", "docs", "browser"}


def examine() -> dict[str, Any]:
    """Everything as plain JSON; of paths, the home folder is ``~``.

    ``slow`` and ``broken`` are lists of ``{"what": ..., "way_out": ...}``. One small kernel is compiled if it is not in
    the cache yet, so that a compiler that does not work is found.
    """
    slow: list[Finding] = []
    broken: list[Finding] = []
    found = {
        "versions": versions(),
        "extras": extras(),
        "machine": _machine(slow),
        "compiler": _compiler(slow, broken),
        "kernels": kernels(),
        "gpu": _gpu(slow),
    }
    broken += _packages()
    whole: dict[str, Any] = _without_home({**found, "slow": slow, "broken": broken})
    return whole


def kernels() -> dict[str, str]:
    """Of each kernel whether it is compiled, by its place in the package."""
    root = Path(__file__).parents[1]
    try:
        words: list[str] | None = compiler.command()
    except compiler.Unusable:
        words = None
    states = {}
    for source in sorted(root.rglob("*.cpp")):
        failed = native.failed(source)
        states[source.relative_to(root).as_posix()] = (
            "cannot be used: plain PyTorch in its place"
            if words is None or failed
            else "compiled"
            if compiler.is_kept(source, words)
            else "is compiled at its first use"
        )
    return states


def extras() -> dict[str, dict[str, str | None]]:
    """The packages of each optional extra with their versions, None where one is missing."""
    from importlib.metadata import PackageNotFoundError, requires

    found: dict[str, dict[str, str | None]] = {}
    with contextlib.suppress(PackageNotFoundError):  # Dashpot may run from its source
        for line in requires("dashpot") or ():
            name = re.match(r"[\w.-]+", line)
            extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
            if name and extra and extra[1] not in NOT_FOR_USERS:
                found.setdefault(extra[1], {})[name[0]] = _version(name[0])
    return found


def in_words(found: Mapping[str, Any]) -> str:
    """What :func:`examine` found, as text to read."""
    gpu, cxx, own = found["gpu"], found["compiler"], found["machine"]
    kept = [state for state in found["kernels"].values() if state == "compiled"]
    lines = [("versions", ", ".join(f"{name} {version}" for name, version in found["versions"].items()))]
    counts = ", ".join(f"{own[part]} {part if own[part] != 1 else part[:-1]}" for part in ("cores", "threads"))
    lines += [("processor", f"{own['processor']} ({own['vectors']}), {counts}")]
    lines += [("system", own["system"])]
    lines += [("GPU", gpu["name"] or f"none: {gpu['why']}")]
    lines += [("compiler", cxx["command"] or f"none: {cxx['why']}")]
    lines += [("kernels", f"{len(kept)} of {len(found['kernels'])} compiled, in {cxx['cache'] or 'no cache folder'}")]
    lines += [("", f"{name}: {state}") for name, state in found["kernels"].items() if state != "compiled"]
    for extra, packages in found["extras"].items():
        have = [f"{name} {version}" for name, version in packages.items() if version]
        lack = [name for name, version in packages.items() if not version]
        missing = f"without {', '.join(lack)} (pip install 'dashpot[{extra}]')" if lack else ""
        lines += [(f"[{extra}]", ", ".join([*have, *([missing] if missing else [])]))]
    text = [f"{name:<16}{value}" for name, value in lines]
    for name in ("slow", "broken"):
        text += [f"\n{name}: {one['what']}\n  way out: {one['way_out']}" for one in found[name]]
    if not found["slow"] and not found["broken"]:
        text += ["\nNothing is broken, and nothing is slower than it need be."]
    return "\n".join(text)


def _machine(slow: list[Finding]) -> dict[str, Any]:
    import torch

    own = {key: value for key, value in machine().items() if key not in ("accelerator", "kernels")}
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads, asked = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    if asked and threads < usable:
        slow.append(
            _finding(
                f"OMP_NUM_THREADS is {asked}: training uses {threads} of {usable} cores.",
                "Unset OMP_NUM_THREADS, unless other processes need the cores.",
            )
        )
    if threads > usable:
        slow.append(
            _finding(
                f"torch takes {threads} threads, and this process may use {usable} cores: they wait for each other.",
                f"Set OMP_NUM_THREADS={usable}.",
            )
        )
    vectors = torch.backends.cpu.get_cpu_capability()
    if vectors == "DEFAULT":
        set_ = os.environ.get("ATEN_CPU_CAPABILITY")
        why = f"ATEN_CPU_CAPABILITY is {set_}" if set_ else "the processor has no AVX2, or a virtual machine hides it"
        slow.append(_finding(f"torch uses no vector instructions: {why}.", "Unset it, or use another processor."))
    return {**own, "usable_cores": usable, "vectors": vectors}


def _compiler(slow: list[Finding], broken: list[Finding]) -> dict[str, Any]:
    place = compiler.folder()
    try:
        words = compiler.command()
    except compiler.Unusable as error:
        cost = "optimizer steps with a penalty take 3 to 40 times as long, and searches several times"
        # What CXX names is a wish that cannot be kept; no compiler at all is a way to live.
        list_ = broken if os.environ.get("CXX") and not os.environ.get("DASHPOT_NO_COMPILER") else slow
        list_.append(_finding(f"There are no compiled kernels, as {error.reason}: {cost}.", error.remedy or "None."))
        return {"command": None, "why": error.reason, "cache": str(place) if place else None}
    if native.library(PROBE) is None:
        broken.append(
            _finding(f"The compiler does not work: {native.why_not(PROBE)}", "Set CXX to another, or install g++.")
        )
    elif not compiler.is_kept(PROBE, words):
        where = str(place) if place else "no home folder"
        broken_cache = f"Kernels cannot be kept ({where}), so that every process compiles them anew: about 10 s each."
        slow.append(_finding(broken_cache, "Set XDG_CACHE_HOME to a folder that can be written and run from."))
    return {"command": " ".join(words), "why": None, "cache": str(place) if place else None}


def _gpu(slow: list[Finding]) -> dict[str, Any]:
    import torch

    if torch.cuda.is_available():
        return {"name": torch.cuda.get_device_name(), "count": torch.cuda.device_count(), "why": None}
    there = shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia").exists()
    built = torch.version.cuda or torch.version.hip
    if there and not built:
        slow.append(
            _finding(
                "There is an NVIDIA driver, and this torch is built for CPUs: the GPU is not used.",
                "Install torch's build for CUDA (pytorch.org, Get started).",
            )
        )
    if there and built:
        slow.append(
            _finding(
                f"There is an NVIDIA driver, and torch (CUDA {built}) cannot use it: it is too old, or hidden.",
                "Look at nvidia-smi and CUDA_VISIBLE_DEVICES, or install a torch for that driver.",
            )
        )
    why = "torch finds none" if built else "torch is built for CPUs"
    return {"name": None, "count": 0, "why": why}


def _packages() -> list[Finding]:
    """What cannot be imported, or does not work together."""
    broken = []
    for name in (
        "numpy",
        "scipy",
        "sklearn",
        "polars",
        "narwhals",
        "safetensors",
        "rich",
        "matplotlib",
        "PIL",
        "optuna",
    ):
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever a broken installation says
            broken.append(_finding(f"{name} cannot be imported: {error}", f"Install it anew: pip install -U {name}."))
    try:
        import numpy
        import torch

        torch.from_numpy(numpy.zeros(1)).numpy()
    except Exception as error:  # torch and NumPy of different ages
        broken.append(_finding(f"torch and NumPy do not work together: {error}", "pip install -U torch numpy"))
    return broken


def _finding(what: str, way_out: str) -> Finding:
    return {"what": what, "way_out": way_out}


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    with contextlib.suppress(PackageNotFoundError):
        return version(name)
    return None


def _without_home(value: Any) -> Any:
    """The same with ``~`` for the home folder: what is sent to others says nobody's name."""
    if isinstance(value, Mapping):
        return {key: _without_home(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_home(part) for part in value]
    if not isinstance(value, str):
        return value
    try:
        home = str(Path.home())
    except RuntimeError:  # there is none
        return value
    return re.sub(rf"{re.escape(home)}(?=[/\\]|\s|$)", "~", value) if len(home) > 1 else value
