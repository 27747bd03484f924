"""``dashpot.tune`` beside what users could pick for a table instead, on the same test rows.

``python benchmarks/quality/tune.py --splits 2 --budget 60`` measures Dashpot's side, a line of JSON per (set, split),
and skips what is there already; ``--plain`` does so for the network without any technique. The peers' side is
``peers.py``, in an environment that has them. ``python benchmarks/quality/tune.py table`` puts all together, see
``summary.py``, in ``benchmarks/results/tune.json``.
"""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before NumPy reads them
    os.environ.setdefault(_variable, "1")

import argparse
import contextlib
import io
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import write_result
from summary import METRICS, OURS, PLAIN, beside_text, collect, families, in_common, set_by_set, summary, text
from tables import DASHPOT_LINES, DATA, PEER_LINES, SETS, Case, Prediction, case_of, lines, measure

from dashpot.data import Problem


def dashpot_arm(problem: Problem, pool: np.ndarray, test: np.ndarray, budget: float, seed: int) -> Prediction:
    """Tune on the rows ``pool`` for ``budget`` seconds and predict the rows ``test``.

    Returns:
        Probabilities [rows, classes] in the order of ``problem.classes``, or values in the target's unit [rows]; as
        ``decided`` the class codes for balanced accuracy.
    """
    import tempfile

    import torch

    from dashpot.evaluation.decision import Decision
    from dashpot.evaluation.losses import predict
    from dashpot.search.config import SearchConfig
    from dashpot.search.run import run

    classes = problem.task == "classification"
    options = SearchConfig(
        budget=budget, metric="balanced_accuracy" if classes else "rmse", seed=seed, explain=False, device="cpu"
    )
    with tempfile.TemporaryDirectory() as folder:
        result = run(problem, options, Path(folder))
    assert np.array_equal(result.test, test)
    out = predict(result.network, result.prepared.x[torch.as_tensor(test)]).double().numpy()
    if not classes:
        return Prediction(test=out[:, 0] * result.prepared.target.scale + result.prepared.target.mean)
    decision = result.decision or Decision()
    probabilities = decision.probabilities(out)
    return Prediction(test=probabilities, decided=decision.decide(probabilities))


def plain_arm(problem: Problem, pool: np.ndarray, test: np.ndarray, seed: int) -> Prediction:
    """The network that is in every race without any technique: trained on the same folds as Dashpot's, the mean of the
    folds' networks predicts.
    """
    import tempfile

    import torch

    from dashpot.evaluation.losses import predict
    from dashpot.search.config import SearchConfig
    from dashpot.search.outcome.ensemble import Choice, assemble
    from dashpot.search.racing.networks import with_networks
    from dashpot.search.racing.trial import Trial
    from dashpot.search.run import Search

    classes = problem.task == "classification"
    options = SearchConfig(
        trials=2, metric="balanced_accuracy" if classes else "rmse", seed=seed, explain=False, device="cpu"
    )
    with tempfile.TemporaryDirectory() as folder:
        search = Search(problem, options, Path(folder))
        store = search.open()
        try:
            training = search.training_budget(store)
        finally:
            store.close()
        folds = list(range(options.cv))
        wanted = [Trial(0, search.space.baseline())]
        trial = with_networks(search.task, training, Path(folder), wanted, folds=folds, deadline=None, say=search.say)[
            0
        ]
        final = assemble(search.task, [trial], Choice(trial, trial, ""), folds, "folds")
    assert np.array_equal(search.test, test)
    assert not search.space.baseline().recipe
    out = predict(final.network, search.prepared.x[torch.as_tensor(test)]).double().numpy()
    if not classes:
        return Prediction(test=out[:, 0] * search.prepared.target.scale + search.prepared.target.mean)
    assert final.decision is not None
    probabilities = final.decision.probabilities(out)
    return Prediction(test=probabilities, decided=final.decision.decide(probabilities))


def arm_name(budget: float) -> str:
    return f"{OURS}, {budget:g} s"


def run(options: argparse.Namespace) -> None:
    """Dashpot's side: splits one after another, and within a split small sets first."""
    from importlib.metadata import version

    import torch

    torch.set_num_threads(1)
    arm = PLAIN if options.plain else arm_name(options.budget)
    have = {(line["set"], line["split"]) for line in lines(options.to) if line["arm"] == arm}

    def predict(case: Case) -> Prediction:
        if options.plain:
            return plain_arm(case.problem, case.pool, case.split.test, case.seed)
        return dashpot_arm(case.problem, case.pool, case.split.test, options.budget, case.seed)

    for name, split in ((name, split) for split in range(options.splits) for name in options.sets):
        if (name, split) not in have:
            measure(
                options.to,
                case_of(name, split, options.data),
                arm,
                predict,
                f"dashpot {version('dashpot')}",
                options.keep,
            )


def table(options: argparse.Namespace) -> None:
    """Both sides together: ``benchmarks/results/tune.json``, and text."""
    record, shown = {}, []
    for task, metrics in METRICS.items():
        found = collect(options.lines, options.without, options.sets, task)
        results = in_common(found)
        if results and next(iter(results.values())):
            record[task] = summary(results, metrics)
            beside = {
                ours: {arm: {m: set_by_set(found, m, ours, arm) for m in metrics} for arm in found if arm != ours}
                for ours in families(found).get(OURS, ())
            }
            record[task]["set by set, all pairs of both"] = beside
            shown += [text(task, record[task]), *(beside_text(ours, others) for ours, others in beside.items())]
    used = sorted({line["by"] for path in options.lines for line in lines(path)})
    what = (
        "60/20/20, one thread each; the scores are of the test rows. Best per family: chosen on the test rows, for all"
        " families alike."
    )
    with contextlib.redirect_stdout(io.StringIO()):  # the text below says it shorter
        write_result(options.name, {"what": what, "arms by": used, **record})
    print("\n".join(shown))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of each search")
    parser.add_argument(
        "--plain", action="store_true", help="measure the network without any technique instead, with the same folds"
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--to", type=Path, default=DASHPOT_LINES)
    parser.add_argument("--keep", type=Path, help="a folder for the predictions themselves")
    parser.set_defaults(do=run)
    tables = parser.add_subparsers().add_parser("table", help="means, ranks and families from the lines that are there")
    tables.add_argument("--lines", type=Path, nargs="+", default=[PEER_LINES, DASHPOT_LINES])
    tables.add_argument(
        "--without", nargs="+", default=[], help="arms to leave out, as one that has few pairs yet", metavar="ARM"
    )
    tables.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    tables.add_argument("--name", default="tune", help="of the result file")
    tables.set_defaults(do=table)
    options = parser.parse_args()
    options.do(options)


if __name__ == "__main__":
    main()
