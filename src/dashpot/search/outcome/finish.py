"""After the race: finalists on all folds, a second seed, the choice, the contribution of each technique, and more
seeds of what predicts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from dashpot.core.errors import ConfigError
from dashpot.evaluation.losses import predict
from dashpot.search import finetuned, images, texts
from dashpot.search.outcome import ablation, brief, ensemble, tested
from dashpot.search.outcome.all_rows import least_seconds, with_all_rows
from dashpot.search.outcome.final import final_network, key_of, planned
from dashpot.search.outcome.gains import FOLDS, Over
from dashpot.search.outcome.record import Outcome, judged, record
from dashpot.search.outcome.result import TuneResult
from dashpot.search.outcome.seeds import Seeds
from dashpot.search.outcome.words import final_words
from dashpot.search.racing import checkpoints
from dashpot.search.racing.budget import behind
from dashpot.search.racing.executor import reason
from dashpot.search.racing.failures import none_trains
from dashpot.search.racing.networks import with_networks
from dashpot.search.racing.trial import TrainingBudget, Trial
from dashpot.search.racing.worker import remembered
from dashpot.search.setup import Setup
from dashpot.search.storage.study import Store
from dashpot.techniques.penalties.compress import Compress

FINALISTS = 6
"""Complete candidates that are trained on all folds and may enter the final model."""
HURRY = 10.0
"""Seconds for the finals where the user has interrupted the search."""
END, FINALS = 0.9, 0.12
"""The share of a budget after which only the report is made, and that of the finals where the winner is to be
explained.
"""


@dataclass(frozen=True)
class Deadlines:
    """Until when, by ``time.monotonic()``; None has no end.

    Attributes:
        finals: the finalists are trained on all folds.
        explained: the contributions are measured.
        end: everything but the report.
    """

    finals: float | None
    explained: float | None
    end: float | None


def deadlines(setup: Setup, pace: float, beside: float = 0.0) -> Deadlines:
    """Of the finals and of all that follows; the contributions have a share of their own, which finals may not take.

    Args:
        pace: seconds of a member for an epoch.
        beside: seconds that an encoder is trained for, which come first.
    """
    if setup.hurried:  # interrupted by the user; but one candidate must have its first epochs
        soon = time.monotonic() + max(HURRY, 3 * pace * len(setup.task.folds))
        return Deadlines(soon, soon, soon)
    budget = setup.config.budget
    if budget is None:
        return Deadlines(None, None, None)
    if setup.whole is not None and setup.race_end is not None:
        before = setup.started + images.BEFORE * budget
        return Deadlines(setup.race_end + images.FINALS * budget, before, before)
    if texts.of_texts(setup.task) and setup.race_end is not None:
        last = setup.started + budget - behind(budget, 1.0)
        ends = (setup.started + beside + share * (budget - beside) for share in texts.ENDS)
        return Deadlines(*(min(end, last) for end in ends))
    end = setup.started + budget - behind(budget, END)
    if setup.race_end is None or not setup.config.explain:
        return Deadlines(end, end, end)
    return Deadlines(min(end, setup.race_end + FINALS * budget), end, end)


def finish(setup: Setup, store: Store, training: TrainingBudget) -> TuneResult:
    """Choose, assemble, measure, and report.

    Raises:
        ConfigError: no candidate was trained to its end, or every loss became infinite.
    """
    config, task = setup.config, setup.task
    trials = remembered(store, setup.space)
    pace = seconds_per_epoch(trials, training) or float(store.get("pace") or 0.0)
    plan = None if setup.hurried else finetuned.planned(store)
    until = deadlines(setup, pace, 0.0 if plan is None else plan.seconds)
    complete = sorted((r for r in trials if r.state == "complete" and math.isfinite(r.score)), key=lambda r: r.score)
    bare = dict(setup.space.baseline().params)
    baseline = next((r for r in complete if not r.lineage and dict(r.candidate.params) == bare), None)
    wanted, text = range(len(task.folds)), texts.of_texts(task)
    short = setup.whole is not None or (text and config.budget is not None)
    before = None if setup.whole is None else planned(store, trials)
    if before is not None:
        wanted = wanted[: before[1]]
    elif setup.whole is not None and not brief.finals_fit(setup, training, pace, until.finals):
        wanted = wanted[: training.folds]
    elif text and until.finals is not None:
        wanted = wanted[: texts.folds_that_fit(complete, training, pace, until.finals)]
    late = None if plan is None or config.budget is None else time.monotonic() + plan.seconds * finetuned.SLACK
    trained = finetuned.finetuned_trials(
        task, training, setup.folder, plan, deadline=late, say=setup.say, note=setup.note
    )
    if trained:  # which must have answered for the same rows
        wanted = wanted[: len(trained[0].tensors)]
    among = (texts.kinds_first(complete, baseline), None) if text else (complete, baseline)
    finalists = train_finalists(setup, training, trials, *among, pace, until.finals, wanted)
    every = list(wanted)[: len(finalists[0].tensors)]
    choice = ensemble.choose(finalists, simplest=not short)
    if before is not None:
        kept = next((r for r in finalists if key_of(r.candidate) == before[0]), choice.chosen)
        choice = replace(choice, chosen=kept)
    training = replace(training, epochs=choice.chosen.planned or training.epochs)
    seeds = Seeds(setup, training, every, until.end, pace * training.epochs)
    again = seeds.again(finalists, choice, baseline) if not short else []
    if again:
        # Only those that were trained as often are compared: the best of many is biased, and was, with its first
        # seed.
        first = {r.number: r for r in finalists}
        choice = ensemble.choose([ensemble.averaged(first[r.number], [first[r.number], r]) for r in again])
    kind = "folds" if config.ensemble == "refit" or setup.whole is not None else config.ensemble
    linear = texts.linear_trials(task, every, setup.pool) if text else []
    beside = [*linear, *(one for one in trained if len(one.tensors) == len(every))] if kind == "finalists" else []
    members: list[Trial] = [*finalists, *again, *beside]
    count_most: list[int] = []
    if text and kind == "finalists" and not setup.hurried:
        counts = ensemble.picked(task, members, choice, every, kind)
        count_most = sorted(counts, key=lambda number: -counts[number])
    explained = until.explained
    if explained is not None and until.end is not None and count_most:
        # Linear models have seen all rows. Networks that have not are behind what their weight was found by.
        spared = least_seconds(task, training, setup.pool, members, count_most, pace=pace)
        explained = min(explained, until.end - spared)
    found = ablation.Effects()
    folds: Sequence[int] = every
    if config.explain and not setup.hurried:
        # By the second seed where there is one: the first one's scores won the race, so they are biased.
        once = next(r for r in [*again, *finalists] if r.number == choice.chosen.number)
        folds, over, seconds = every, FOLDS, seeds.pace
        if short:
            folds, over = brief.explained_on(setup, training, once, every, pace, explained)
            once, seconds = brief.on_folds(once, folds), seeds.pace / setup.faster
        found = contributions(setup, store, training, once, folds, explained, seconds, over)
    finalists = [*finalists, *again]
    if count_most:
        members = with_all_rows(
            task, training, setup.pool, members, count_most, pace=pace, deadline=until.end, say=setup.say
        )
    elif setup.whole is None:
        members += seeds.more(finalists, choice)
    assembled = partial(ensemble.assemble, task, choice=choice, folds=every, kind=kind, calibrate=config.calibrate)
    made = assembled(members)
    tta = tested.tta_of(config.tta, choice.chosen.candidate.recipe) if setup.prepared.x.ndim == 4 else None
    how, unit = "", setup.prepared.modality == "image"
    if tta is not None:  # what is held out is answered as the final model will answer
        several = assembled([tested.of_trial(task, trial, every, tta, unit=unit) for trial in members])
        asked = config.tta != tested.AUTO
        tta, how = tested.kept(task, tta, made.held_out, several.held_out, asked=asked)
        made = made if tta is None else several
    if setup.whole is not None:
        race = {"trials": len(trials), "folds": len(every)}
        made = final_network(setup, setup.whole, training, store, choice.chosen.candidate, made, race)
    elif config.ensemble == "refit":
        made = ensemble.refit(task, training, setup.pool, choice, made)
    inside = {number for number, _ in made.members}
    if any(isinstance(t, Compress) for r in finalists if r.number in inside for t in r.candidate.recipe):
        setup.note("what Compress made zero is still in the final networks; `dashpot shrink RUN` takes it out.")
    steps = store.count("steps")
    made = replace(made, text=f"{made.text}; {how}") if how else made
    predictor = made.network if tta is None else tta.network(made.network, tested.targets_of(task), unit=unit).eval()
    # Of images only batches are copied.
    outputs = predict(predictor, setup.prepared.subset(setup.test)[0]) if len(setup.test) else None
    outcome = Outcome(trials, finalists, choice, made, training, found, baseline, steps, every, outputs, folds, linear)
    answers = judged(setup, made, outputs)
    measured = record(setup, outcome, answers)
    chosen = choice.chosen.candidate
    return TuneResult(
        chosen.recipe,
        chosen.lr,
        chosen.net if made.net is None else made.net,
        made.network,
        made.decision,
        measured,
        setup.prepared,
        setup.test,
        judged=answers,
        tta=tta,
        texts=final_words(setup, made, outputs, every[0]),
    )


def seconds_per_epoch(trials: Sequence[Trial], training: TrainingBudget) -> float:
    """Of a member, by what the races took, which is surer than what was measured before them; 0 where none ran."""
    trained = training.folds * sum(r.epochs for r in trials)
    return sum(r.seconds for r in trials) / trained if trained else 0.0


def train_finalists(
    setup: Setup,
    training: TrainingBudget,
    trials: Sequence[Trial],
    complete: Sequence[Trial],
    baseline: Trial | None,
    pace: float,
    deadline: float | None,
    folds: Sequence[int],
) -> list[Trial]:
    """The best candidates with their networks on all these folds, or on as many as the time allows.

    Raises:
        ConfigError: there is none.
    """
    every, budget = list(folds), setup.config.budget

    def lacks(trial: Trial) -> int:
        return len(every) - checkpoints.folds_of(setup.folder, trial.number)

    wanted = affordable(complete, baseline, lacks, pace * training.epochs, deadline)
    wanted = wanted or sorted((r for r in trials if r.state != "failed"), key=lambda r: r.score)[:1]
    if not wanted:
        raise none_trains(trials)
    finalists: list[Trial] = []
    tried: set[int] = set()
    while wanted and not finalists:  # some may fail on folds that they have not seen: the next ones take their place
        finalists = with_networks(
            setup.task, training, setup.folder, wanted, folds=every, deadline=deadline, say=setup.say
        )
        tried |= {r.number for r in wanted}
        wanted = [r for r in complete if r.number not in tried][:FINALISTS]
    if not finalists:
        raise ConfigError(
            "budget", "enough to train one candidate to its end", f"{budget:g} s" if budget else None, "Give more time."
        )
    return finalists


def contributions(
    setup: Setup,
    store: Store,
    training: TrainingBudget,
    chosen: Trial,
    folds: Sequence[int],
    deadline: float | None,
    seconds_per_member: float,
    over: Over,
) -> ablation.Effects:
    """Of each technique of the chosen recipe, measured now or before; kept for a search that is killed later."""
    found = ablation.remembered(store, chosen, folds)
    if found is None:
        try:
            found = ablation.measure(
                setup.task,
                training,
                setup.space,
                chosen,
                folds,
                deadline=deadline,
                seconds_per_member=seconds_per_member,
                say=setup.say,
                note=setup.note,
                over=over,
            )
        except Exception as error:  # what was found counts, whatever a technique raises without another one
            setup.note(f"the contribution of each technique could not be measured: {reason(error)}")
            return ablation.Effects()
    ablation.remember(store, chosen, folds, found)
    return found


def affordable(
    complete: Sequence[Trial], baseline: Trial | None, lacks: Callable[[Trial], int], pace: float, end: float | None
) -> list[Trial]:
    """The best candidates, and the baseline, as far as they can be trained on the folds that each ``lacks``, in
    the time there is; at least the best.
    """
    left = math.inf if end is None or not pace else (end - time.monotonic()) / (1.2 * pace)
    left -= 0 if baseline is None else lacks(baseline)
    found: list[Trial] = []
    for trial in complete:
        if len(found) == FINALISTS:
            break
        cost = 0 if trial is baseline else lacks(trial)
        if cost <= left or not (cost and found):
            found.append(trial)
            left -= cost
    return found + ([baseline] if baseline is not None and baseline not in found else [])
