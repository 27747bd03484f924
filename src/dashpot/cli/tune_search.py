"""The search of ``dashpot tune``: raced with the machine's workers, finished, reported and saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from dashpot.cli.tune_parts import show, tell_unfinished
from dashpot.core.language import mark

LATE = 0.04
"""The share of a budget for which workers whose race should be over are waited for."""


def search_and_report(
    problem: Any,
    config: Any,
    folder: Path,
    processes: int,
    interrupts: Any,
    agreed: Callable[[], None],
    model: str | None,
    robustness: bool = True,
    tracking: Any = None,
    started: float | None = None,
) -> tuple[bool, dict[str, Any]]:
    """Search, report and save; False where the user interrupted it, so that it can be resumed. And what was measured
    before the race.

    Args:
        model: a function of the user's own that makes the networks, as ``--model`` names it.
        robustness: report how the score falls as inputs get worse, too.
        tracking: which has begun once ``agreed`` was called.
        started: when the command was, by ``time.monotonic()``: the budget counts from there.

    Each command finishes by itself: it reports on all finished candidates of the study, from all workers. Networks of
    the best candidates that lie on another machine are trained again, so no files have to be copied.
    """
    import time
    from dataclasses import replace

    import torch

    from dashpot.cli.robust import robustness_part
    from dashpot.cli.sheets import recipe_figure
    from dashpot.cli.tune_progress import Live
    from dashpot.data.tables.monotone import certificate_of
    from dashpot.report.images.figures import image_figures
    from dashpot.report.tune.figures import tune_figures
    from dashpot.search.outcome import tracked
    from dashpot.search.outcome.folder import LOG, Clock, await_workers, start_workers
    from dashpot.search.own import own_search
    from dashpot.search.run import Search

    clock, budget = Clock(folder, started), config.budget
    if config.budget is not None and clock.before:
        config = replace(config, budget=max(config.budget - clock.before, 1.0))

    def tick() -> None:
        interrupts.check()
        clock.tick()

    with Live(config, tick, started) as live, clock.ticking():
        own = {} if model is None else own_search(model, problem, config, live.note)
        search = Search(
            problem, config, folder, note=live.note, say=live.say, processes=processes, started=started, **own
        )
        store = search.open()
        agreed()
        others: list[Any] = []
        training: Any = None
        threads = torch.get_num_threads()
        try:
            try:
                if processes > 1:
                    torch.set_num_threads(max(1, threads // processes))
                training = search.training_budget(store)
                clock.running = True
                live.training(training)
                # A resumed search whose final network is trained apart need not race again.
                if search.whole is None or budget is None or clock.raced != budget:
                    deadline = search.race_end(store)
                    if processes > 1:
                        others = start_workers(folder, processes - 1, deadline, config.storage, model)
                    search.work(store, training)
                    # Their last epoch may end a little later, and its networks are saved then.
                    late = 3 + LATE * (config.budget or 0.0)
                    left = 30 if deadline is None else max(1.0, deadline - time.monotonic() + late)
                    tell_unfinished(live, store, await_workers(others, left), processes, folder / LOG)
                    clock.race_over(budget)
            except KeyboardInterrupt:
                if training is None or not any(t.state.name in ("COMPLETE", "PRUNED") for t in store.trials()):
                    raise  # there is no best so far
                interrupts.handled()
                live.note("interrupted: the best so far is made ready; press again to end at once.")
                await_workers(others, 2)
                search.hurried = True
                search.config = replace(search.config, explain=False, budget=None)
            torch.set_num_threads(threads)
            if processes > 1 and not search.hurried:
                search.spread_out(store)
            live.stage(mark("finals"))
            result = search.finish(store, training)
        finally:
            await_workers(others, 0)
            store.close()
        record = replace(
            result.report,
            seconds=clock.before + (result.report.seconds or 0.0),
            budget_s=None if result.report.budget_s is None else result.report.budget_s + clock.before,
        )
        live.stage(mark("report"))
        worse: dict[str, Any] = {}
        more: dict[str, Any] = {}
        if robustness and not search.hurried:
            worse, more = robustness_part(
                problem,
                result.prepared,
                result.predictor,
                result.test,
                folder,
                decision=result.decision,
                budget=budget,
                seed=config.seed,
                note=live.note,
            )
        record = replace(record, robustness=worse)
        replace(result, report=record).write(folder)
        figures = tune_figures(record, folder) | more
        if result.judged is not None and problem.kind == "image":
            figures |= image_figures(result.judged, folder, record.dataset)
        figures |= recipe_figure(result.recipe, result.prepared, search.pool, folder, record.dataset, config.seed)
        tracked.end(tracking, record, result.recipe, folder, hurried=search.hurried)
    show(record, [str(png) for png, _ in figures.values()], folder)
    if certified := certificate_of(result.prepared):
        typer.echo(certified)
    return not search.hurried, search.measurements.record
