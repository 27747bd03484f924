"""What ``fit``, a loop of one's own and a search tell to trackers, and that no tracker can end a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.tracking import End, Log, Start, Tracker, TrackerWarning
from tests.tracking.kept import Kept

X = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] + 0.3 * X[:, 1] > 0).long()


class Broken(Kept):
    """Raises at one of the three."""

    def __init__(self, at: str) -> None:
        super().__init__("broken")
        self.at = at

    def begin(self, start: Start) -> Any:
        if self.at == "begin":
            raise ConnectionError("no server")
        return super().begin(start)

    def epoch(self, number: int, values: Any, notes: Any) -> None:
        super().epoch(number, values, notes)
        if self.at == "epoch":
            raise OSError(28, "No space left on device")

    def end(self, end: End) -> None:
        super().end(end)
        if self.at == "end":
            raise RuntimeError("\n a message of\nseveral lines")


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))


def fit(log: Any, recipe: str = "", epochs: int = 3, **options: Any) -> tuple[nn.Sequential, dashpot.FitResult]:
    model = net()
    data, valid = (X[:40], Y[:40]), (X[40:], Y[40:])
    asked = {"recipe": recipe or None, "epochs": epochs, "batch_size": 10, "progress": False} | options
    return model, dashpot.fit(model, data, valid=valid, log=log, **asked)


def test_losses_penalties_zeros_strengths_and_the_gap_are_those_of_the_weights() -> None:
    kept = Kept()
    recipe = "dropout:p=0.4to0 | l1:strength=0.02 | l2:strength=0.3"
    model, result = fit(kept, recipe, epochs=2, lr=0.05, schedule="constant")
    assert [number for number, _, _ in kept.epochs] == [1, 2]
    last, row = kept.epochs[-1][1], result.history[-1]
    weights = {name: p.detach().numpy().astype(np.float64) for name, p in model.named_parameters() if p.ndim > 1}
    l1 = 0.02 * sum(np.abs(w).sum() for w in weights.values())
    l2 = 0.3 / 2 * sum((w**2).sum() for w in weights.values())
    assert last["penalty/l1"] == pytest.approx(l1, rel=1e-5)
    assert last["penalty/l2"] == pytest.approx(l2, rel=1e-5)
    assert last["loss/penalty"] == pytest.approx(l1 + l2, rel=1e-5)
    assert last["loss/data"] == row["objective"]
    assert last["loss/total"] == pytest.approx(row["objective"] + l1 + l2, rel=1e-6)
    assert last["gap/loss"] == pytest.approx(row["val_loss"] - row["train_loss"])
    assert last["gap/accuracy"] == pytest.approx(row["train_accuracy"] - row["val_accuracy"])
    assert (last["val/loss"], last["train/accuracy"]) == (row["val_loss"], row["train_accuracy"])
    zeros = {name: (w == 0).sum() for name, w in weights.items()}
    assert sum(zeros.values()) > 0
    assert last["zeros/all"] == pytest.approx(sum(zeros.values()) / sum(w.size for w in weights.values()))
    assert all(last[f"zeros/{name}"] == pytest.approx(zeros[name] / w.size) for name, w in weights.items())
    assert [values["strength/dropout.p"] for _, values, _ in kept.epochs] == pytest.approx([0.2, 0.0])
    assert last["lr"] == 0.05
    start, (end,) = kept.starts[0], kept.ends
    assert start.parameters["l1.strength"] == 0.02
    assert start.parameters["dropout.p"] == "0.4to0"
    assert start.parameters["versions.torch"] == torch.__version__
    assert len(str(start.parameters["data"])) == 16
    assert dashpot.Recipe.coerce(recipe) == dashpot.core.fields.codec.loads(start.texts["recipe.toml"])
    assert (end.status, end.reason) == ("finished", "all epochs done")


def test_the_penalty_of_an_optimizer_of_ours_and_of_a_start_counts() -> None:
    kept, model = Kept(), net()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = dashpot.optim.SGD(model, lr=0.1, penalty=dashpot.L1(strength=0.01))
    recipe = dashpot.fine_tuning.L2SP(strength=0.5, head="none")
    dashpot.fit(model, (X, Y), recipe=recipe, optimizer=optimizer, epochs=1, progress=False, log=kept)
    ((_, values, _),), (path,) = kept.epochs, dashpot.Recipe.coerce(recipe).paths()
    weights = {name: p.detach().double() for name, p in model.named_parameters() if p.ndim > 1}
    assert values["penalty/optimizer"] == pytest.approx(0.01 * sum(float(w.abs().sum()) for w in weights.values()))
    away = sum(float((w - before[name]).square().sum()) for name, w in weights.items())
    assert values[f"penalty/{path}"] == pytest.approx(0.25 * away)


def test_verdicts_of_stopping_are_told() -> None:
    kept = Kept()
    _, result = fit(kept, "early-stopping:patience=1,monitor=val_accuracy,mode=max", epochs=30)
    best = [values["stopping/best"] for _, values, _ in kept.epochs]
    assert best[0] == 1.0
    assert best[-1] == 0.0
    assert [values["stopping/stop"] for _, values, _ in kept.epochs] == [0.0] * (len(best) - 1) + [1.0]
    assert kept.epochs[-1][2] == {"stopped": result.stopped}
    assert kept.ends[0].scores["best_epoch"] == result.best_epoch


@pytest.mark.parametrize("at", ["begin", "epoch", "end"])
def test_a_tracker_that_fails_is_named_once_and_the_training_is_the_same(at: str) -> None:
    broken, kept = Broken(at), Kept()
    with pytest.warns(TrackerWarning, match="broken failed to") as told:
        model, _ = fit([broken, kept], "l1:strength=0.01")
    assert len([w for w in told if issubclass(w.category, TrackerWarning)]) == 1
    alone, _ = fit(None, "l1:strength=0.01")
    same = zip(model.state_dict().values(), alone.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    assert (len(kept.epochs), len(kept.ends)) == (3, 1)
    assert len(broken.epochs) == {"begin": 0, "epoch": 1, "end": 3}[at]


def test_warnings_as_errors_do_not_make_a_tracker_end_a_training(capsys: pytest.CaptureFixture[str]) -> None:
    _, result = fit(Broken("epoch"))  # this suite's filters make errors of warnings
    assert len(result.history) == 3
    assert "No space left on device" in capsys.readouterr().err


class Stop(Exception):
    """Ends a training in the middle."""


class Stops(Tracker):
    """Stands for what ends a process after an epoch."""

    name = "stops"

    def epoch(self, number: int, values: Any, notes: Any) -> None:
        if number == 2:
            raise KeyboardInterrupt


def test_a_resumed_run_goes_on_in_the_same_run(tmp_path: Path) -> None:
    kept = Kept()
    with pytest.raises(KeyboardInterrupt):
        fit([kept, Stops()], checkpoint=tmp_path)
    assert kept.ends[0].status == "interrupted"
    assert json.loads((tmp_path / "trackers.json").read_text())["kept-0"] == "token of kept"
    again = Kept()
    fit([again], checkpoint=tmp_path, resume=True)
    (start,) = again.starts
    assert (start.token, start.epochs) == ("token of kept", 1)
    # The second epoch was told but not saved: it comes again, with the same numbers.
    assert [number for number, _, _ in again.epochs] == [2, 3]
    first, second = ({k: v for k, v in e[1].items() if k != "seconds"} for e in (kept.epochs[1], again.epochs[0]))
    assert first == second


def test_a_damaged_file_of_tokens_begins_new_runs(tmp_path: Path) -> None:
    fit(Kept(), checkpoint=tmp_path, epochs=1)
    (tmp_path / "trackers.json").write_text("{")
    kept = Kept()
    with pytest.warns(TrackerWarning, match="new runs"):
        fit(kept, checkpoint=tmp_path, epochs=1, resume=True)
    assert kept.starts[0].token is None


def test_a_training_that_diverges_or_raises_ends_its_run_as_failed() -> None:
    kept = Kept()
    with pytest.warns(dashpot.training.loop.DivergenceWarning):
        fit(kept, optimizer=lambda p: torch.optim.SGD(p, lr=1e30), epochs=5)
    assert kept.ends[0].status == "failed"

    def loss(out: Tensor, y: Tensor) -> Tensor:
        if kept.starts[1:] and out.requires_grad:
            raise Stop
        return nn.functional.cross_entropy(out, y, reduction="none")

    with pytest.raises(Stop):
        fit(kept, loss=loss)
    assert [end.status for end in kept.ends] == ["failed", "failed"]
    assert kept.ends[1].reason == "Stop"


def test_a_loop_of_ones_own_tells_with_one_call() -> None:
    kept, model = Kept(), net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recipe = dashpot.L1(strength=0.01) | dashpot.EarlyStopping(patience=1)
    with recipe.attach(model, optimizer) as session, Log(session, kept, parameters={"lr": 0.1}) as log:
        for score in (1.0, 2.0):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(X), Y).backward()
            optimizer.step()
            verdict = log.epoch({"val_loss": score})
    assert verdict.stop
    assert [values["val/loss"] for _, values, _ in kept.epochs] == [1.0, 2.0]
    assert kept.starts[0].parameters["lr"] == 0.1
    assert kept.ends[0].reason == verdict.reason


def test_a_loop_that_raises_ends_its_run_as_failed() -> None:
    kept, model = Kept(), net()
    session = dashpot.EarlyStopping().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(Stop), Log(session, kept):
        raise Stop
    assert (kept.ends[0].status, kept.ends[0].reason) == ("failed", "Stop")


def test_a_search_tells_candidates_the_winner_and_contributions() -> None:
    kept = Kept()
    config = dashpot.SearchConfig(trials=3, epochs=2, cv=2)
    result = dashpot.tune((X.numpy(), Y.numpy()), recipe=["dropout", "l1"], config=config, progress=False, log=kept)
    (start,), (end,) = kept.starts, kept.ends
    record = result.record
    assert (start.kind, end.status) == ("tune", "finished")
    assert [one.number for one in end.candidates] == [one["number"] for one in record["candidates"]]
    (winner,) = [one for one in end.candidates if one.chosen]
    assert winner.number == record["chosen"]
    for one, known in zip(end.candidates, record["candidates"], strict=True):
        assert one.scores["score"] == known["score"]
        assert one.parameters["lr"] == known["params"]["lr"]
    for effect in record["contributions"]:
        name = f"contribution/{effect['technique']}/{effect['kind'].replace(' ', '_')}"
        assert end.scores.get(name) == effect["difference"]
    assert end.scores["test/chosen/accuracy"] == record["test"]["chosen"]["accuracy"]
    assert dashpot.core.fields.codec.loads(end.texts["winner.toml"]) == result.recipe
