"""How fast a search is: the same candidates stacked and one by one, and the time to a cross-validated score beside
plain Optuna.

Part one: 64 random candidates of the default space for digits and one training with its rungs. A first race decides how
many epochs each candidate gets; every arm then trains exactly those. Arms: the race with stacked networks (in bfloat16
where the processor does so fast, and in float32), the same race one by one (``dashpot.fit``'s own loop, network after
network), and a loop in plain PyTorch with fused AdamW and the same techniques by hand. Warm: in turn in one process.
Cold: a process of its own each, from its start, with an empty folder for compiled kernels.

Part two: the same space, folds, epochs and evaluation epochs. Optuna's side is what a practitioner would write: TPE, a
pruner, the plain loop on index tensors. The target is the best mean log-loss of the folds (breast-cancer) that Optuna
reaches in its time; the ratio is Dashpot's time to it over Optuna's. Dashpot's arm is ``dashpot.tune``'s search, with
the combinations it tries first, and a second time without them. Both keep one core busy.

CPU seconds stand beside wall seconds, since the machine may be shared. Run: ``python benchmarks/speed/tune.py [--seeds
6] [--seconds 40]``; about 15 minutes on an idle machine. ``--only warm`` (or cold, score) measures that part and keeps
the rest of the result file.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plain_loop import plain_race
from tune_score import PRUNER, time_to_score, timed
from tune_setup import CANDIDATES, COLD_EPOCHS, WARM_EPOCHS, Clocks, clocks, in_a_process, search_of, training_of

# --- part one: the same candidates -----------------------------------------------------------------------------------


def random_candidates(space: Any) -> list[Any]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [space.sample(study.ask()) for _ in range(CANDIDATES)]


def race(
    search: Any, training: Any, candidates: Sequence[Any], plan: Mapping[int, int] | None, **options: Any
) -> tuple[dict[int, int], list[float]]:
    """A race on one fold; with a plan, the trials of the plan go on. Returns the plan that it followed, and the
    scores.
    """
    from dashpot.search.racing.race import Race
    from dashpot.search.racing.trial import Trial

    class Follow(Race):
        def _rung(self, running: Sequence[int]) -> list[int]:
            if plan is None:
                return super()._rung(running)
            kept = [i for i in running if plan[i] > self.trials[i].epochs]
            for i in set(running) - set(kept):
                self._finish(i, "pruned")
            return self._kept(kept)

        def over(self, i: int) -> bool:
            epochs = self.trials[i].epochs
            return (
                super().over(i) if plan is None else plan[i] <= epochs and epochs not in training.rungs
            )  # at a rung others are weaker

    trials = Follow(
        replace(search.task, **options), training, [Trial(i, c) for i, c in enumerate(candidates)], folds=[0]
    ).run()
    return {r.number: r.epochs for r in trials}, [r.score for r in trials]


ARMS: dict[str, Any] = {
    "stacked": {},
    "stacked, float32": {"bfloat16": False},
    "race one by one": {"stack": False},
    "plain PyTorch one by one": None,
}


def run_arm(name: str, search: Any, training: Any, candidates: Sequence[Any], plan: Mapping[int, int]) -> list[float]:
    if ARMS[name] is None:
        return plain_race(search, training, candidates, plan)
    return race(search, training, candidates, plan, **ARMS[name])[1]


def warm(rounds: int) -> dict[str, Any]:
    """The arms in turn in one process, in random order, after an uncounted epoch of every candidate in each; by the
    epochs of the training budget.
    """
    return {str(epochs): _warm(rounds, epochs) for epochs in WARM_EPOCHS}


def _warm(rounds: int, epochs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        search = search_of("digits", 0, epochs, Path(folder))
        training, candidates = training_of(search, 1, CANDIDATES), random_candidates(search.space)
        plan, _ = race(search, training, candidates, None)
        for name in ARMS:
            run_arm(name, search, replace(training, epochs=1, rungs=()), candidates, dict.fromkeys(plan, 1))
        seconds: dict[str, list[Clocks]] = {name: [] for name in ARMS}
        best: dict[str, float] = {}
        order, shuffle = list(ARMS), random.Random(0)
        for _ in range(rounds):
            shuffle.shuffle(order)
            for name in order:
                wall, cpu = time.perf_counter(), time.process_time()
                best[name] = min(run_arm(name, search, training, candidates, plan))
                seconds[name].append({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu})
                print(f"warm, {epochs} epochs: {name}: {seconds[name][-1]}", file=sys.stderr, flush=True)
    gains = {
        name: {
            clock: [a[clock] / b[clock] for a, b in zip(seconds[name], seconds["stacked"], strict=True)]
            for clock in ("wall", "cpu")
        }
        for name in ARMS
        if name != "stacked"
    }
    return {
        "seconds": seconds,
        "times the stacked race, each round": gains,
        "best log-loss": best,
        "member epochs": sum(plan.values()),
    }


def cold(name: str, started: float, plan: Mapping[int, int] | None) -> dict[str, Any]:
    """One arm in this process, from its start."""
    with tempfile.TemporaryDirectory() as folder:
        search = search_of("digits", 0, COLD_EPOCHS, Path(folder))
        training, candidates = training_of(search, 1, CANDIDATES), random_candidates(search.space)
        ready = clocks(started)
        if plan is None:
            plan, scores = race(search, training, candidates, None)
        else:
            scores = run_arm(name, search, training, candidates, plan)
    return {"seconds": clocks(started), "until training": ready, "plan": plan, "best log-loss": min(scores)}


NAME, PARTS = "tune-speed", ("cold", "warm", "score")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=40.0, help="CPU seconds of each run of Optuna")
    parser.add_argument("--pruner", choices=("halving", "median"), default=PRUNER)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        print(json.dumps(one_arm(**json.loads(options.arm))))
        return

    import torch
    from common import RESULTS, write_result

    torch.set_num_threads(1)
    measure = {
        "cold": cold_arms,
        "warm": lambda: warm(options.rounds),
        "score": lambda: time_to_score(options.seeds, options.seconds, options.pruner),
    }
    before = json.loads((RESULTS / f"{NAME}.json").read_text()) if (RESULTS / f"{NAME}.json").exists() else {}
    record: dict[str, Any] = {"what": " ".join((__doc__ or "").split("Run:")[0].split())}
    record |= {part: before[part] for part in PARTS if part in before}
    for part in options.only:
        record[part] = measure[part]()
        write_result(NAME, record)


def cold_arms() -> dict[str, Any]:
    """Stacked with nothing compiled, then the plain loop for the same epochs."""
    with tempfile.TemporaryDirectory() as folder:
        ours = in_a_process("stacked", cache=folder)
        theirs = in_a_process("plain PyTorch one by one", cache=folder, plan=ours["plan"])
    for run in (ours, theirs):
        run["member epochs"] = sum(run.pop("plan").values())
    gain = {clock: theirs["seconds"][clock] / ours["seconds"][clock] for clock in ("wall", "cpu")}
    print(f"cold: {gain}", file=sys.stderr, flush=True)
    return {"stacked": ours, "plain PyTorch one by one": theirs, "times the stacked race": gain}


def one_arm(arm: str, started: float, plan: Mapping[str, int] | None = None, **options: Any) -> dict[str, Any]:
    """What a process of its own does."""
    if arm in ARMS:
        return cold(arm, started, {int(k): v for k, v in plan.items()} if plan else None)
    return timed(arm, started=started, **options)


if __name__ == "__main__":
    main()
