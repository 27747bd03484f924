"""How much memory images of 224 pixels take, in sizes of their pixels as bytes: to read them, and to train on them; in
memory, and from the mapped file that Dashpot makes of what does not fit. Run: ``python
benchmarks/speed/image_memory.py``

Each arm is a process of its own, watched from outside. ``own`` is the memory that only the process itself can give back
(RssAnon); ``resident`` counts pages of files, too, which the system takes away when it needs them (VmHWM). Both are the
peak, less the peak of the same work on ``FEW`` pictures, over the bytes that the further pictures have.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import interleave, options, ratios, write_result

from dashpot.core import compiler

SIZE, FEW = 224, 100
SHARES = {"in memory": 1e9, "mapped": 0.0}
"""Of the free memory that images may take before they are mapped."""
LOAD = "from dashpot.data import load_problem; p = load_problem(sys.argv[1]); p.prepare(p.split(0).train)"
FIT = (
    "from dashpot.cli import main; sys.argv[1:] = ['fit', sys.argv[1], '--budget', '3s', '--out', sys.argv[2]]; main()"
)
START = "import sys; from dashpot.data.pictures import cache; cache.SHARE = {share}; {work}"


def pictures(place: Path, count: int) -> Path:
    """JPEG files of two classes: smooth colours with some noise."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 24, (SIZE, SIZE, 3), dtype=np.uint8)
    for i in range(count):
        folder = place / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        smooth = Image.fromarray(random.integers(0, 230, (6, 6, 3), dtype=np.uint8)).resize((SIZE, SIZE))
        Image.fromarray(np.asarray(smooth) // 2 + noise).save(folder / f"{i}.jpg", quality=85)
    return place


def peak(work: str, share: float, folder: Path, cache: Path) -> dict[str, float]:
    """Bytes of a process, and the seconds that processors worked for it."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-c", START.format(share=share, work=work), str(folder)]
    with tempfile.TemporaryDirectory() as out:
        before, own, resident = resource.getrusage(resource.RUSAGE_CHILDREN), 0.0, 0.0
        with subprocess.Popen(
            [*command, f"{out}/run"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            while process.poll() is None:
                status = Path(f"/proc/{process.pid}/status").read_text()
                found = {name: float(kb) * 1024 for name, kb in re.findall(r"(RssAnon|VmHWM):\s+(\d+)", status)}
                own, resident = max(own, found.get("RssAnon", 0.0)), max(resident, found.get("VmHWM", 0.0))
                time.sleep(0.01)
            if process.returncode:
                raise SystemExit(process.stderr.read() if process.stderr else "it failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"own": own, "resident": resident, "seconds": worked}


def over(many: dict[str, float], few: dict[str, float], size: int) -> dict[str, float]:
    """What further pictures of so many bytes take, in their size."""
    return {kind: (many[kind] - few[kind]) / size for kind in ("own", "resident")} | {
        "MB in all": many["own"] / 1e6,
        "processor seconds": many["seconds"],
    }


def decoding(folder: Path) -> dict[str, object]:
    """What reading costs on one thread and on all."""
    from dashpot.data.pictures import decoding as reading
    from dashpot.data.pictures.images import image_files

    files = image_files(folder)[:400]

    def arm(threads: int) -> None:
        with mock.patch.object(reading, "cores", return_value=threads):
            reading.read_images(files)

    many = len(os.sched_getaffinity(0))
    times = interleave({"1": lambda: arm(1), str(many): lambda: arm(many)}, 5)
    return {f"{many} threads, ratio to one": ratios(times, to="1").get(str(many)), "decoding": {"seconds": times}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", type=int, default=4000, help="pictures to read")
    parser.add_argument("--fit", type=int, default=800, help="pictures to train on, by dashpot fit")
    chosen = options(parser)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        kernels = compiler.folder()  # what was compiled before is no part of this
        if kernels is not None and kernels.exists():
            shutil.copytree(kernels, root / "cache" / "dashpot", ignore=shutil.ignore_patterns("images"))
        folders = {n: pictures(root / str(n), n) for n in {FEW, chosen.load, chosen.fit}}
        found: dict[str, object] = {}
        for work, code, count in (("load", LOAD, chosen.load), ("fit", FIT, chosen.fit)):
            for name, share in SHARES.items():
                few = peak(code, share, folders[FEW], root / "cache")
                size = (count - FEW) * 3 * SIZE * SIZE
                found[f"{work} {count}, {name}"] = over(peak(code, share, folders[count], root / "cache"), few, size)
                if name == "mapped" and work == "load":
                    again = peak(code, share, folders[count], root / "cache")
                    found[f"{work} {count}, {name}, again"] = over(again, few, size)
            for old in (root / "cache" / "dashpot" / "images").glob("*"):
                old.unlink()
        found |= decoding(folders[chosen.load])
    write_result("image_memory", {"what": "peak memory in sizes of the pictures as bytes", **found}, chosen.result)


if __name__ == "__main__":
    main()
