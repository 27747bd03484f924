"""``dashpot tune-worker``: one more process for a search on this machine, which ``dashpot tune`` starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def tune_worker(
    folder: Annotated[Path, typer.Argument()],
    until: Annotated[float | None, typer.Option("--until", help="Unix time at which to end.")] = None,
    parent: Annotated[int, typer.Option("--parent", help="The process with which this one ends.")] = 0,
    model: Annotated[str | None, typer.Option("--model", help="As that of the search.")] = None,
) -> None:
    """One more worker for a search on this machine."""
    import signal
    import time

    import torch

    from dashpot.search.outcome.folder import end_with, read_config
    from dashpot.search.own import own_search
    from dashpot.search.racing.worker import Worker
    from dashpot.search.run import Search

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the first process tells when to end
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if parent:
        end_with(parent)
    torch.set_num_threads(max(1, torch.get_num_threads()))
    problem, config, _ = read_config(folder)
    own = {} if model is None else own_search(model, problem, config, lambda text: None)
    search = Search(problem, config, folder, **own)
    store = search.open()
    try:
        training = search.training_budget(store)
        deadline = None if until is None else time.monotonic() + until - time.time()
        Worker(search.task, search.space, training, store, folder, deadline=deadline, trials=config.trials).run()
    finally:
        store.close()
