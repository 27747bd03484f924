"""``dashpot fit``: train the built-in network with a recipe and save what is needed to use and repeat it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dashpot.cli.options import (
    Data,
    Device,
    Epochs,
    Log,
    Model,
    Monotone,
    Out,
    RecipeFile,
    Robustness,
    Seed,
    TargetName,
    Task,
    Tta,
    TtaDraws,
    Weights,
    With,
    read_recipe,
    read_tta,
)
from dashpot.cli.reading import reads_tables
from dashpot.cli.smaller import ToOfFit, with_size
from dashpot.core.digits import digits
from dashpot.core.language import filled, mark, say

if TYPE_CHECKING:
    from torch import nn

NET = mark(
    "An option of the network, one value each: width=64 or depth=2; of images net=resnet, se=true or activation=gelu;"
    " of tables norm=batch, or skip=true and the others of tune's network; of --model its keywords; repeat for more."
)
LR = mark("The learning rate at its highest, above 0; by default what suits the network.")
LR_DECAY = mark(
    "Of --model, a network that was trained before: each stage has this much of the learning rate of the one behind it;"
    " above 0, at most 1. 0.75 is usual."
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="fit")(fit)


@reads_tables
def fit(
    data: Data = None,
    target: TargetName = None,
    task: Task = None,
    weights: Weights = None,
    *,
    reading: dict[str, Any],
    with_: With = None,
    recipe: RecipeFile = None,
    to: ToOfFit = None,
    out: Out = None,
    seed: Seed = 0,
    epochs: Epochs = None,
    budget: Annotated[
        str | None, typer.Option("--budget", help="Train for so long at most, such as 90s, 10m or 2h.", metavar="TIME")
    ] = None,
    device: Device = "auto",
    tta: Tta = None,
    tta_draws: TtaDraws = None,
    net: Annotated[list[str] | None, typer.Option("--net", help=NET, metavar="OPTION=VALUE")] = None,
    model: Model = None,
    lr: Annotated[float | None, typer.Option("--lr", help=LR, metavar="RATE")] = None,
    lr_decay: Annotated[float, typer.Option("--lr-decay", help=LR_DECAY, metavar="FACTOR")] = 1.0,
    monotone: Monotone = None,
    robustness: Robustness = True,
    log: Log = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> None:
    """Train the built-in network, or one of your own, on 60 % of DATA, validate on 20 %, and test on the last 20 %."""
    from contextlib import nullcontext
    from dataclasses import replace
    from functools import partial
    from pathlib import Path

    from dashpot.cli.next_steps import after_fit, for_record, read_from, said_of_training
    from dashpot.cli.ranks import Ranks
    from dashpot.cli.robust import robustness_part
    from dashpot.cli.sheets import recipe_figure
    from dashpot.comparison.words_alone import seconds_for, words_beside
    from dashpot.core.durations import seconds
    from dashpot.core.environment import machine, versions
    from dashpot.core.errors import ConfigError
    from dashpot.core.native import tell
    from dashpot.data import load_problem
    from dashpot.data.tables.monotone import certificate_of
    from dashpot.evaluation.losses import predict
    from dashpot.evaluation.metrics import DEFAULT
    from dashpot.report.fit.curves import curves_figure
    from dashpot.report.fit.record import FitRecord
    from dashpot.report.images.figures import image_figures
    from dashpot.report.robustness.lines import robustness_lines
    from dashpot.runs.flip_choice import flips_that_help
    from dashpot.runs.judged import judged_rows
    from dashpot.runs.page import write_run_page
    from dashpot.runs.saved import (
        discarded_unless_started,
        next_folder,
        open_folder,
        save_model,
        save_setup,
        write_json,
    )
    from dashpot.runs.shrunk import keep_plan
    from dashpot.runs.teachers import demand_same_inputs
    from dashpot.runs.text_report import text_report
    from dashpot.search.fixed import fixed_network, options_of_texts
    from dashpot.search.networks import frozen_of
    from dashpot.search.outcome.tested import tta_of
    from dashpot.search.own import LR_DEFAULT, own_network
    from dashpot.tracking.tracking import Tracking, report_files
    from dashpot.training.builtin import TrainingLength, exact_zeros, split_scores, train
    from dashpot.training.checkpoint import FILE as CHECKPOINT

    ranks, tracking = Ranks(device, budget), Tracking(log)
    chosen, auto = (
        read_recipe(recipe, with_size(with_, to, known=budget is None or epochs is not None)),
        tta == ["auto"],
    )
    averaging = read_tta(None if auto else tta, tta_draws)
    if resume and out is None:
        raise ConfigError("--out", "given together with --resume", None, "Name the folder of the run to go on with.")
    limit = None if budget is None else seconds(budget, "--budget")
    if monotone and model is not None:
        raise ConfigError(
            "--monotone", "given without --model", monotone, "dashpot.nets.MonotoneNet may be your model."
        )
    with ranks.alike() as same:
        problem = load_problem(data, target, task, weights, monotone=monotone, **reading)
        frozen, known = frozen_of(problem.how.get("encoder")), problem.kind if model is None else None
        options = options_of_texts(net or (), known, encoder=frozen, monotone=bool(monotone))
        tell()
        split = problem.split(seed)
        prepared = problem.prepare(split.train)
        demand_same_inputs(chosen, prepared.preprocessing, problem.classes)
        pretrained = frozen is False and options.get("net") == "textencoder"
        length = TrainingLength.default(problem.kind, len(split.train), epochs, limit, pretrained=pretrained)
        make: Callable[[], nn.Module] | None = None
        if net and model is None:
            classes = len(problem.classes)
            how, x, rows = prepared.preprocessing, prepared.x, split.train
            make = partial(fixed_network, how, x, rows, max(classes, 1), options, classes=classes > 0)
            make()  # a value that is not allowed is refused before there is a folder
        elif model is not None:
            make = own_network(model, problem, prepared, options)
            length = replace(length, lr=LR_DEFAULT)
        length = replace(length, lr=length.lr if lr is None else lr, lr_decay=lr_decay)
        same["fingerprint"] = problem.fingerprint
    with ranks.alike():
        folder = open_folder(out or next_folder("fit"), resume=resume) if ranks.first else Path(out or ".")

    def keep_setup(network: nn.Module) -> None:
        # A run to go on with has its own: whether this command's is the same is not known before the checkpoint has
        # been compared.
        if ranks.first and not (folder / CHECKPOINT).exists():
            save_setup(folder, network, prepared, chosen, averaging)

    made_from = read_from(data, target, reading, task=task, weights=weights, monotone=monotone)
    tracking.parameters = {"dataset": problem.name, "dataset.rows": problem.n, "fingerprint": problem.fingerprint}
    started = time.perf_counter()
    with tracking.guarded():  # their runs end, too, where what follows the training raises
        with discarded_unless_started(folder) if ranks.first else nullcontext():
            result = train(
                problem,
                prepared,
                split,
                chosen,
                length,
                seed=seed,
                device=device,
                checkpoint=folder if ranks.first or resume else None,
                resume=resume,
                before=keep_setup,
                tta=averaging,
                make=make,
                log=tracking,
                wrapped=ranks.wrapped,
            )
        ranks.end()
        if not ranks.first:
            return
        save_model(folder, result.model)
        predictor, said = result.predictor, ""
        if auto:
            valid = prepared.subset(split.valid)
            averaging, said = flips_that_help(result.model, tta_of("auto", chosen), valid, problem.task)
            if averaging is not None:
                targets = "classes" if problem.classes else "values"
                predictor = averaging.network(result.model, targets).eval()
                save_setup(folder, result.model, prepared, chosen, averaging)
        if result.shrunk is not None:
            keep_plan(folder, result.shrunk)
        measured = split_scores(predictor, prepared, split)
        metric = DEFAULT[problem.task]
        share, layers = exact_zeros(result.model)
        answers = None if result.diverged else judged_rows(predictor, prepared, split.test)
        worse: dict[str, Any] = {}
        figures: dict[str, Any] = {}
        if robustness and not result.diverged:
            worse, figures = robustness_part(
                problem,
                prepared,
                predictor,
                split.test,
                folder,
                budget=limit,
                seed=seed,
                note=partial(typer.echo, err=True),
            )
        record = FitRecord(
            **measured,
            gaps={f"train - {part}": measured["train"][metric] - measured[part][metric] for part in ("valid", "test")},
            exact_zeros={"all": share, **layers},
            epochs=len(result.history),
            best_epoch=result.best_epoch,
            stopped=result.stopped,
            diverged=result.diverged,
            seconds=time.perf_counter() - started,
            seed=seed,
            training=said_of_training(lr, lr_decay, net, model),
            data={
                "name": problem.name,
                "rows": problem.n,
                "fingerprint": problem.fingerprint,
                **for_record(made_from),
            },
            versions=versions(),
            machine=machine(),
            answers=answers.to_dict() if answers is not None else {},
            robustness=worse,
        )
        write_json(folder / record.FILE, record.to_dict())
        if result.history:
            curves_figure(result.history, folder / "curves", f"{problem.name}: {chosen}", result.best_epoch)
        figures |= image_figures(answers, folder, problem.name) if answers and problem.kind == "image" else {}
        figures |= recipe_figure(chosen, prepared, split.train, folder, problem.name, seed)
        words = ""
        if not result.diverged:
            alone = words_beside(
                problem,
                prepared,
                split.train,
                split.valid,
                lambda: predict(predictor, prepared.subset(split.valid)[0]),
                seconds=seconds_for(limit),
                note=partial(typer.echo, err=True),
            )
            words = text_report(folder, problem, prepared, split, result.predictor, alone)
        page = write_run_page(folder)
        tested = {f"{part}/{name}": value for part, scores in measured.items() for name, value in scores.items()}
        ended = tracking.ending
        tracking.end(replace(ended, scores={**ended.scores, **tested}, files=report_files(folder)))
    result.raise_if_diverged()
    if averaging is not None and not auto:
        said = f"predictions are the mean over {averaging.versions} versions of each image: {averaging}"
    if said:
        typer.echo(said)
    if result.shrunk is not None:
        typer.echo(result.shrunk.summary() + "\n")
    _print(result.plan, measured, share, str(folder), problem.task)
    if certified := certificate_of(prepared):
        typer.echo(certified)
    for line in robustness_lines(worse):
        typer.echo(line)
    if words:
        typer.echo(f"words that count, of a linear model (and the surest mistakes, in {folder}):\n{words}")
    if figures:
        typer.echo(say("figures: {files}", files=", ".join(str(png) for png, _ in figures.values())))
    typer.echo(say("page: {file}", file=page))
    after_fit(folder, made_from, chosen, model, bool(net))


PARTS = {"train": mark("train"), "valid": mark("valid"), "test": mark("test")}


def _print(plan: str, measured: dict[str, dict[str, float]], zeros: float, folder: str, task: str) -> None:
    typer.echo(plan)
    names = list(measured["test"])
    typer.echo("\n" + " " * 12 + "".join(filled(say(name.replace("_", " ")), -20) for name in names))
    for part, values in measured.items():
        typer.echo(filled(say(PARTS[part]), 12) + "".join(f"{digits(values[name]):>20}" for name in names))
    typer.echo("\n" + say("exact zeros: {share:.1%} of the weights", share=zeros))
    typer.echo(say("saved in {folder}", folder=folder))
