"""``dashpot tune``: find the combination and its strengths, and the contribution of each technique."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dashpot.cli.options import (
    Data,
    Device,
    Log,
    Model,
    Monotone,
    Out,
    Robustness,
    Seed,
    TargetName,
    Task,
    Tta,
    TtaDraws,
    Weights,
    read_search_tta,
    technique_names,
)
from dashpot.cli.reading import reads_tables
from dashpot.cli.smaller import SMALL, ToOfTune, demand_size, demand_size_for, make_smaller
from dashpot.cli.tune_parts import (
    again,
    demand_alone,
    demand_more,
    demand_same_model,
    low_precision,
    processes_for,
    seconds,
    tidy,
)
from dashpot.cli.tune_search import search_and_report
from dashpot.cli.tune_worker import tune_worker
from dashpot.core.language import mark

NET = mark(
    "An option of the network to search or fix: width=64,128 or depth=1,2 or activation=relu,gelu; of tables skip=true"
    " or norm=none,layer or members=1,8, of images residual=true or se=true, of --model its keywords; repeat for more."
)
SCHEDULE = mark(
    "The pruning of a race: halving, hyperband (brackets), none, or population (none; the worst take over networks of"
    " the best while training)."
)
STORAGE = mark(
    "A store for many machines: postgresql://..., mysql://..., grpc://host:port, or a journal file that all can reach."
)


def register(app: typer.Typer) -> None:
    """Add the command, and the one by which it starts its workers."""
    app.command(name="tune")(tune)
    app.command(name="tune-worker", hidden=True)(tune_worker)


@reads_tables
def tune(
    context: typer.Context,
    data: Data = None,
    target: TargetName = None,
    task: Task = None,
    weights: Weights = None,
    *,
    reading: dict[str, Any],
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="Time for everything: 90s, 10m, 2h. Without --trials, 5m.", show_default=False),
    ] = None,
    trials: Annotated[int | None, typer.Option("--trials", help="Candidates, instead of or beside a budget.")] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            help=(
                "What counts: accuracy (default), balanced_accuracy, f1, f1_macro, log_loss, brier, roc_auc; r2"
                " (default), rmse, mae."
            ),
        ),
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            help=(
                "A technique to search, such as l1:strength=1e-6..1e-2 or mixup; repeat for more. By default all that"
                " fit."
            ),
            metavar="TECHNIQUE",
            autocompletion=technique_names,
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            help="Leave a technique out of the default ones.",
            metavar="NAME",
            autocompletion=technique_names,
        ),
    ] = None,
    net: Annotated[list[str] | None, typer.Option("--net", help=NET, metavar="OPTION=VALUES")] = None,
    model: Model = None,
    monotone: Monotone = None,
    precision: Annotated[
        str, typer.Option("--precision", help="Of wide products while training: auto, float32 or bfloat16.")
    ] = "auto",
    positive: Annotated[
        str | None,
        typer.Option("--positive", help="The class that f1 is of; by default the less frequent one."),
    ] = None,
    cv: Annotated[
        int | None, typer.Option("--cv", help="Folds of the cross-validation. [default: 5]", show_default=False)
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            help="Processes on this machine. [default: one per core, 4 at most; one where --trials is 16 or fewer]",
            show_default=False,
        ),
    ] = None,
    sampler: Annotated[str, typer.Option("--sampler", help="tpe, random, quasi-random, gp or grid.")] = "tpe",
    schedule: Annotated[str, typer.Option("--schedule", help=SCHEDULE)] = "halving",
    ensemble: Annotated[
        str,
        typer.Option("--ensemble", help="finalists, folds (of the chosen recipe), or refit (one network on all rows)."),
    ] = "finalists",
    calibrate: Annotated[
        bool, typer.Option("--calibrate/--no-calibrate", help="Fit a temperature to the held-out predictions.")
    ] = True,
    explain: Annotated[
        bool,
        typer.Option("--explain/--no-explain", help="Retrain the winner without each technique, and with each alone."),
    ] = True,
    storage: Annotated[
        str | None,
        typer.Option("--storage", help=STORAGE),
    ] = None,
    study: Annotated[
        str, typer.Option("--study", help="The name of the search in --storage; workers of one name work together.")
    ] = "dashpot",
    resume: Annotated[Path | None, typer.Option("--resume", help="Go on with the search in this folder.")] = None,
    moved: Annotated[
        Path | None, typer.Option("--data", help="Where the data of --resume are now, if they were moved.")
    ] = None,
    to: ToOfTune = None,
    out: Out = None,
    seed: Seed = 0,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, help="Of a candidate that is never pruned.", show_default=False),
    ] = None,
    tta: Tta = None,
    tta_draws: TtaDraws = None,
    pictures: Annotated[
        str | None,
        typer.Option(
            "--pictures", help="What images are: photo, or glyph (digits, letters, drawings). By default found."
        ),
    ] = None,
    batch_size: Annotated[
        str | None, typer.Option("--batch-size", help="Rows per step: a number, or several to search, as in 32,64.")
    ] = None,
    robustness: Robustness = True,
    log: Log = None,
    device: Device = "auto",
) -> None:
    """Search the combination of regularizers and their strengths; report on rows that the search never saw.

    Ctrl-C ends the search early and makes the best so far ready (exit code 0); pressed again, or before any candidate
    has a score, it ends at once (130).
    """
    from dataclasses import replace

    from dashpot.core import native
    from dashpot.core.errors import ConfigError, StorageError
    from dashpot.data import load_problem
    from dashpot.runs.saved import open_folder
    from dashpot.search.config import SearchConfig
    from dashpot.search.interrupts import Interrupts
    from dashpot.search.outcome.folder import held, new_folder, read_config, update_config, write_config
    from dashpot.search.outcome.tracked import begin
    from dashpot.search.space.batch_sizes import sizes_of
    from dashpot.search.storage.backends import resolved
    from dashpot.tracking.tracking import Tracking

    native.prepare(images=False)  # while the data are read
    tracking = Tracking(log)

    if resume is not None:
        demand_alone(
            context, ("resume", "budget", "trials", "workers", "storage", "moved", "model", "robustness", "log")
        )
        problem, config, stored = read_config(resume, moved)
        demand_same_model(stored.get("model"), model)
        to = stored.get("to")
        if budget is not None or trials is not None:
            config = replace(config, budget=seconds(budget) if budget else None, trials=trials)
            demand_more(resume, stored, config.budget)
        elif stored.get("done"):
            again(resume)
            if to is not None and not (resume / SMALL).exists():  # the process ended before it was there
                make_smaller(resume, to, model, config.seed, config.device)
            return
        if storage is not None:
            config = replace(config, storage=resolved(storage))
        config.check()
        processes = processes_for(workers, config.device, config.trials, config.budget)
        folder = resume
    else:
        if moved is not None:
            raise ConfigError(
                "--data", "given with --resume", str(moved), "A new search takes its data by their place."
            )
        limit = seconds(budget) if budget is not None else None if trials is not None else 300.0
        processes = processes_for(workers, device, trials, limit)
        if monotone and model is not None:
            way = "dashpot.nets.MonotoneNet may be your model."
            raise ConfigError("--monotone", "given without --model", monotone, way)
        to = None if to is None else demand_size(to)
        reading = {**reading, **({"monotone": monotone} if monotone else {})}
        problem = load_problem(data, target, task, weights=weights, **reading)
        demand_size_for(to, problem)
        config = SearchConfig(
            budget=limit,
            trials=trials,
            cv=cv,
            metric=metric,
            positive=positive,
            recipe=with_ or None,
            without=tuple(without or ()),
            networks=tuple(net or ()),
            bfloat16=low_precision(precision),
            sampler=sampler,
            schedule=schedule,
            ensemble=ensemble,
            calibrate=calibrate,
            explain=explain,
            epochs=epochs,
            batch_size=sizes_of(batch_size),
            pictures=pictures,
            tta=read_search_tta(tta, tta_draws),
            storage=storage and resolved(storage),
            study=study,
            seed=seed,
            device=device,
        )
        config.check()
        folder = open_folder(out) if out is not None else new_folder("tune")
    try:
        with held(folder), Interrupts() as interrupts, tracking.guarded():
            if resume is None:
                write_config(
                    folder,
                    data,
                    target,
                    task,
                    config,
                    weights,
                    reading=reading,
                    fingerprint=problem.fingerprint,
                    model=model,
                    to=to,
                )

            def agreed() -> None:  # nothing of a search is touched before it is known to be the same
                if resume is not None:
                    update_config(folder, done=False, config=config, source=stored["found"])
                begin(tracking, problem, config, folder, resume=resume is not None)

            done, measured = search_and_report(
                problem, config, folder, processes, interrupts, agreed, model, robustness, tracking, context.obj
            )
            update_config(folder, done=done, measured=measured)
            if done and to is not None:
                make_smaller(folder, to, model, config.seed, config.device)
    except (ConfigError, StorageError) as error:
        if resume is None:
            tidy(folder)
        if isinstance(error, StorageError) and (folder / "spent.json").exists():
            raise StorageError(f"{error} What was done is kept: `dashpot tune --resume {folder}` goes on.") from error
        raise
