"""Tables of the site that are made of result files: each function returns a head and rows, or None where nothing is
measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Result = Callable[[str], Any]
Table = tuple[list[str], list[list[str]]] | None


def peers(result: Result, folder: Path) -> Table:
    """Tables: a search beside boosted trees and another network, over all pairs of set and split."""
    found = result("tune")
    losses, fits = found["classification"]["arms"], found["regression"]["arms"]
    rows = [
        [
            arm,
            f"{one['log-loss']['mean']:.3f}",
            f"{one['log-loss']['rank']:.1f}",
            f"{one['balanced accuracy']['mean']:.3f}",
            f"{fits[arm]['R2']['mean']:.3f}" if arm in fits else "",
            f"{one['cpu seconds']['median']:.1f}",
        ]
        for arm, one in sorted(losses.items(), key=lambda item: float(item[1]["log-loss"]["mean"]))
    ]
    return ["", "log loss", "mean rank", "balanced accuracy", "R² (regression)", "CPU seconds, median"], rows


def image_families(result: Result, folder: Path) -> Table:
    """Images: what each family earns alone over the network without any."""
    sets = result("images-quality")["sets"]
    names = [name for name in sets if "geometry" in sets[name]]
    known = "above the plain network"
    arms = [arm for arm, one in sets[names[0]].items() if known in one and not arm.startswith(("plain", "tune"))]
    rows = []
    for arm in sorted(arms, key=lambda a: -float(sets[names[0]][a][known])):
        cells = []
        for name in names:
            one = sets[name].get(arm)
            cells.append(f"{100 * one[known]:+.1f} ({len(one['each seed'])})" if one and known in one else "")
        rows.append([arm, *cells])
    return ["family", *names], rows


def text_augmentation(result: Result, folder: Path) -> Table:
    """Texts: test accuracy on TREC's questions with half of the rows and each augmentation."""
    arms = result("text-augment")["arms"]
    rows = []
    for arm in sorted(arms["bag"], key=lambda a: -float(arms["bag"][a]["mean"])):
        cells = []
        for network in ("bag", "conv"):
            one = arms[network][arm]
            gain = one.get("minus half")
            text = f"{one['mean']:.3f}"
            if gain is not None:
                text += f" ({1000 * gain[0]:+.0f} [{1000 * gain[1]:+.0f}, {1000 * gain[2]:+.0f}])"
            cells.append(text)
        rows.append([{"all": "all rows", "half": "half of the rows"}.get(arm, f"half, {arm}"), *cells])
    return ["training rows", "bag of words", "convolutions"], rows


def zeros(result: Result, folder: Path) -> Table:
    """Accuracy at shares of exact zeros, digits."""
    best = result("zeros-digits")["best at"]
    shares = list(next(iter(best.values())))
    rows = []
    for arm, at in best.items():
        cells = [f"{at[s]['test accuracy']:.3f}" if at[s] else "none" for s in shares]
        if any(cell != "none" for cell in cells):
            rows.append([arm, *cells])
    return ["digits, MLP 64-256-256-10", *(f"{100 * float(s):.0f} % zeros" for s in shares)], rows


def selection(result: Result, folder: Path) -> Table:
    """Columns that are kept, and accuracy with them: Madelon and Golub."""
    rows = []
    for name in ("madelon", "golub"):
        for arm, one in result(f"zeros-{name}")["arms"].items():
            score = f"{one['test accuracy']:.3f} ({one['test accuracy, standard error']:.3f})"
            rows.append([name, arm.strip(), f"{one['features']:.0f}", score, f"{one['seconds']:.1f}"])
    return ["set", "what", "columns", "test accuracy (standard error)", "seconds"], rows


def shrinking(result: Result, folder: Path) -> Table:
    """How many times as fast a network is once its empty units are taken out."""
    rows = [
        [
            name,
            f"{one['parameters'][0] / 1e6:.2f} M",
            f"{one['parameters'][1] / 1e6:.2f} M",
            *(f"{one[batch]['dense to shrunk']:.1f}" for batch in ("batch 1", "batch 64")),
        ]
        for name, one in result("shrink-speed")["nets"].items()
    ]
    return ["network", "parameters", "after", "times as fast, batch 1", "batch 64"], rows


def compressing(result: Result, folder: Path) -> Table:
    """Accuracy of networks of a size that was asked for; None until it is measured."""
    if not (folder / "shrink-quality.json").exists():
        return None
    arms = result("shrink-quality")["arms"]
    rows = []
    for key in arms:
        case, _, rest = key.partition(", ")
        if not rest.startswith("compress "):
            continue
        size = rest.removeprefix("compress ")
        named = (f"{case}, {name}" for name in ("dense", f"compress {size}", f"pruned {size}", f"narrow {size}"))
        cells = [f"{arms[k]['accuracy']:.4f} ({arms[k]['parameters'] / 1e3:.1f} k)" if k in arms else "" for k in named]
        rows.append([f"{case}, {int(size):,} parameters asked for", *cells])
    return ["test accuracy (parameters)", "full size", "`Compress`", "Torch-Pruning", "built that small"], rows


BESIDE = "seconds beside full size"


def in_time(result: Result, folder: Path) -> Table:
    """Networks that were asked to be faster; None until they are measured."""
    arms = result("shrink-quality")["arms"] if (folder / "shrink-quality.json").exists() else {}
    rows = []
    for key, own in arms.items():
        case, _, rest = key.partition(", ")
        if rest.startswith("faster "):
            accuracies = [f"{one['accuracy']:.4f}" for one in (arms[f"{case}, dense"], own)]
            times = [f"{own[k]:.2f}" for k in (*(f"times as fast at batch {n}" for n in (1, 64)), BESIDE)]
            rows.append([f"{case}, `{rest.removeprefix('faster ')}`", *accuracies, *times])
    head = ["asked for", "test accuracy at full size", "of the faster one", "times as fast, batch 1", "batch 64"]
    return ([*head, "seconds of the training beside full size"], rows) if rows else None


def parts(result: Result, folder: Path) -> Table:
    """What it costs to drop columns, heads and nine tenths of a convnet; None until it is measured."""
    if not (folder / "shrink-parts.json").exists():
        return None
    said = {
        "photographs": "cifar10, a tenth",
        "columns": "spambase, half of the columns",
        "heads": "trec6, half of the heads",
    }
    rows = []
    for case, own in result("shrink-parts")["cases"].items():
        built = f"{own['built small']:.4f}" if "built small" in own else ""
        rows.append([said[case], f"{own['full']:.4f}", f"{own['small']:.4f}", f"{own['standard error']:.4f}", built])
    return ["test accuracy", "full", "smaller", "standard error of the difference", "built that small"], rows


def batch_norm(result: Result, folder: Path) -> Table:
    """Dropout and decay, with batch normalization and without."""
    arms: dict[tuple[str, str], dict[str, Any]] = {}
    for key, one in result("batch-norm")["arms"].items():
        parts = key.split(" | ")
        if len(parts) == 3 and parts[1].startswith("dropout"):
            arms.setdefault((parts[0], parts[1]), {})[parts[2]] = one
    decays = list(dict.fromkeys(d for found in arms.values() for d in found))
    rows = [
        [f"{norm}, {drop}", *(f"{found[d]['log loss'][0]:.3f}" if d in found else "" for d in decays)]
        for (norm, drop), found in arms.items()
    ]
    return ["", *decays], rows


def coverage(result: Result, folder: Path) -> Table:
    """How often the 95 % intervals of contributions hold."""
    found = result("attribution")
    rows = [[name, str(one["searches"]), f"{100 * one['covered']:.1f} %"] for name, one in found["sets"].items()]
    rows.append(["**all**", "", f"**{100 * found['covered']['all']:.1f} %**"])
    return ["set", "searches", "intervals that hold"], rows


def pages(result: Result, folder: Path) -> Table:
    """What the page of a search weighs and takes."""
    names = ("kilobytes", "seconds to make", "ms to first paint", "ms of the slowest move of the pointer")
    rows = [
        [f"{one['candidates']:,}", f"{one[names[0]]:,.0f}", *(f"{one[name]:.3g}" for name in names[1:])]
        for one in result("page")["pages"]
    ]
    return ["candidates", *names], rows


def minute(result: Result, folder: Path) -> Table:
    """Seconds from nothing to a first result; None until it is measured."""
    if not (folder / "first-minute.json").exists():
        return None
    found = result("first-minute")
    load = found["load average over 5 minutes"]
    rows = [[name, f"{seconds:.1f}"] for name, seconds in found["seconds"].items()]
    return ["", f"seconds, at a load of {load:.1f} on {found['machine']['cores']} cores"], rows


def families(result: Result, folder: Path) -> Table:
    """What each technique earns alone; None until it is measured."""
    if not (folder / "families.json").exists():
        return None
    sets = result("families")["sets"]
    techniques = list(dict.fromkeys(t for one in sets.values() for t in one["techniques"]))
    rows = [
        [f"`{t.replace('|', ' + ')}`", *(family_cell(one["techniques"].get(t)) for one in sets.values())]
        for t in techniques
    ]
    return ["", *(f"{name} ({one['rows'][0]} rows)" for name, one in sets.items())], rows


def family_cell(found: Mapping[str, Any] | None) -> str:
    """A difference of log loss in thousandths, bold where its interval does not reach zero."""
    if found is None or "refused" in found:
        return "" if found is None else "refused"
    mean, low, high = (1000 * v for v in found["log loss"])
    text = f"{mean:+.0f} [{low:+.0f}, {high:+.0f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def ranks(result: Result, folder: Path) -> Table:
    """Ranks of DistributedDataParallel: throughput, and what a recipe adds to a step; None until it is measured."""
    if not (folder / "ranks.json").exists():
        return None
    found = result("ranks")["ranks"]
    share = "share of a step, by processor time"
    rows = [["throughput to one process", *(spread(one["throughput to one process"], 1, "") for one in found.values())]]
    rows += [
        [f"{arm}: share of a step", *(spread(one["arms"][arm][share], 100, " %") for one in found.values())]
        for arm in next(iter(found.values()))["arms"]
    ]
    return ["", *(f"{count} rank{'s' if count != '1' else ''}" for count in found)], rows


def spread(value: Mapping[str, Any], times: float, unit: str) -> str:
    """A median with its quartiles."""
    digits = 2 if times == 1 else 1
    middle, low, high = (f"{times * v:.{digits}f}" for v in (value["median"], *value["quartiles"]))
    return f"{middle}{unit} ({low} to {high})"


def tune_workers(result: Result, folder: Path) -> Table:
    """Searches by several processes on one PostgreSQL; None until it is measured."""
    if not (folder / "workers.json").exists():
        return None
    rows = [
        [
            count,
            f"{one['candidates an hour, of races']:,.0f}",
            f"{one['statements a candidate']:.0f}",
            f"{one['bytes to a candidate'] / 1e3:.0f} kB",
            f"{one['bytes from a candidate'] / 1e3:.0f} kB",
        ]
        for count, one in result("workers")["tune"].items()
    ]
    return ["processes of `dashpot tune`", "candidates an hour", "statements a candidate", "sent", "received"], rows


def simulated_workers(result: Result, folder: Path) -> Table:
    """Workers that wait instead of training, on one PostgreSQL; None until it is measured."""
    if not (folder / "workers.json").exists():
        return None
    rows = []
    for count, one in result("workers")["simulated"].items():
        waits = [
            f"{one['milliseconds'][what]['median']:,.0f} ({one['milliseconds'][what]['95 %']:,.0f})" for what in WAITS
        ]
        hour = f"{one['candidates an hour']:,.0f} of {one['candidates an hour without any wait']:,.0f}"
        rows.append([count, hour, *waits, f"{one['transactions a candidate']:.0f}", str(one["connections"])])
    head = ["workers", "candidates an hour, of those without any wait", *(f"{what}, ms (95 %)" for what in WAITS)]
    return [*head, "transactions a candidate", "connections"], rows


WAITS = ("ask", "report", "tell")
"""What a worker asks of its storage."""


def files(result: Result, folder: Path) -> Table:
    """All result files, with date, machine and versions."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        found = result(path.stem)
        machine, versions = found.get("machine") or {}, found.get("versions") or {}
        what = str(found.get("what") or "").split(". ")[0]
        rows.append(
            [
                f"`{path.name}`",
                what,
                str(found.get("date") or ""),
                str(machine.get("processor") or machine.get("device") or ""),
                str(found.get("threads") or machine.get("threads") or ""),
                str(versions.get("torch") or ""),
            ]
        )
    return ["file", "what", "date", "processor", "threads", "torch"], rows
