"""A resumed run shares with the saved one all that it must, or nothing is touched."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.core.rng import initial_weights
from dashpot.nets import ConvNet
from dashpot.training import checkpoint
from dashpot.training.checkpoint import Checkpoint
from dashpot.training.resuming import loss_in_words

X = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()
RECIPE = dashpot.EMA(decay=0.9) | dashpot.EarlyStopping()


def net(hidden: int = 6, outputs: int = 2, *extra: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, outputs), *extra)


def squares(out: Tensor, y: Tensor) -> Tensor:
    return (out - functional.one_hot(y, 2)).square().sum(1)


def loss_times(factor: float) -> Any:
    return lambda out, y: factor * functional.cross_entropy(out, y, reduction="none")


def run(folder: Path, model: nn.Module | None = None, **options: Any) -> dashpot.FitResult:
    chosen: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 8,
        "recipe": RECIPE,
        "valid": (X, Y),
        "progress": False,
        **options,
    }
    return dashpot.fit(model or net(), (X, Y), checkpoint=folder, **chosen)


def sgd(**options: Any) -> Any:
    return lambda parameters: torch.optim.SGD(parameters, **{"lr": 0.1, "momentum": 0.9, **options})


def two_groups(parameters: Any) -> torch.optim.Optimizer:
    first, *rest = parameters
    return torch.optim.SGD([{"params": [first]}, {"params": rest}], lr=0.1, momentum=0.9)


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        ({}, {"lr": 0.01}, r"^lr must be 0\.001 as in the saved run in .*, got 0\.01\. Resume with that"),
        ({}, {"schedule": "constant"}, "^schedule must be 'cosine' as in the saved run"),
        (
            {},
            {"schedule": lambda t: 1 - t},
            "^schedule must be that of the saved run, whose learning rate was .* epoch 1",
        ),
        ({}, {"loss": squares}, "^loss must be"),
        ({"loss": loss_times(1.0)}, {"loss": loss_times(2.0)}, "^loss must be"),
        ({"loss": nn.CrossEntropyLoss()}, {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)}, "^loss must be"),
        ({}, {"valid": (X[:16], Y[:16])}, "^valid must be"),
        ({}, {"optimizer": sgd()}, "^optimizer must be 'AdamW'"),
        ({"optimizer": sgd()}, {"optimizer": sgd(lr=0.2)}, r"^lr must be 0\.1 .* got 0\.2"),
        ({"optimizer": sgd()}, {"optimizer": sgd(momentum=0.8)}, r"^optimizer's momentum must be 0\.9 .* got 0\.8"),
        ({"optimizer": sgd()}, {"optimizer": sgd(maximize=True)}, "^optimizer's maximize must be False"),
        ({"optimizer": sgd()}, {"optimizer": two_groups}, r"^optimizer must be one with groups of \[4\]"),
        ({}, {"recipe": dashpot.EMA(decay=0.8) | dashpot.EarlyStopping()}, "^recipe must be"),
    ],
)
def test_another_setting_is_refused_by_name(
    tmp_path: Path, first: dict[str, Any], then: dict[str, Any], message: str
) -> None:
    run(tmp_path, **first)
    model = net()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(dashpot.ConfigError, match=message):
        run(tmp_path, model, resume=True, **{**first, **then})
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    run(tmp_path, resume=True, **first)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (net(7), r"0\.weight is float32 \[7, 4\] here and float32 \[6, 4\] in the checkpoint"),
        (net(6, 2, nn.BatchNorm1d(2)), r"3\.weight is not in the checkpoint"),
        (nn.Sequential(nn.Linear(4, 2)), r"2\.weight is not in this model"),
        (nn.Sequential(net(), nn.Identity()), r"0\.weight is not in this model.*; and 4 more"),
    ],
    ids=["wider", "longer", "shorter", "wrapped"],
)
def test_another_model_is_refused_and_not_overwritten(tmp_path: Path, other: nn.Module, message: str) -> None:
    run(tmp_path)
    before = {name: t.clone() for name, t in other.state_dict().items()}
    with pytest.raises(dashpot.ConfigError, match=f"^model must be the one .*{message}"):
        run(tmp_path, other, resume=True)
    assert all(torch.equal(before[name], t) for name, t in other.state_dict().items())


def test_what_was_not_saved_is_not_compared(tmp_path: Path) -> None:
    """Checkpoints of before know fewer settings."""
    from dashpot.core.tree import load_tree, save_tree

    whole = run(tmp_path).model
    path = tmp_path / "checkpoint.safetensors"
    tree = load_tree(path)
    tree["settings"] = {name: tree["settings"][name] for name in ("epochs", "batch_size", "seed", "data", "optimizer")}
    del tree["session"]["model"]
    save_tree(tree, path)
    again = run(tmp_path, resume=True).model
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_losses_are_told_apart_by_what_they_do() -> None:
    def documented(out: Tensor, y: Tensor) -> Tensor:
        """What it is."""
        return functional.mse_loss(out, y)

    def with_default(out: Tensor, y: Tensor, scale: float = 1.0) -> Tensor:
        return scale * functional.mse_loss(out, y)

    def with_another(out: Tensor, y: Tensor, scale: float = 2.0) -> Tensor:
        return scale * functional.mse_loss(out, y)

    def with_default_again(out: Tensor, y: Tensor, scale: float = 1.0) -> Tensor:
        return scale * functional.mse_loss(out, y)

    losses = [
        *(functional.cross_entropy, nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight=torch.ones(2))),
        *(nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0])), nn.BCEWithLogitsLoss(), squares, documented),
        *(partial(functional.cross_entropy, label_smoothing=0.1), partial(functional.cross_entropy)),
        *(loss_times(1.0), loss_times(2.0), with_default, with_another),
        *(lambda o, y: functional.mse_loss(o, y), lambda o, y: functional.l1_loss(o, y)),
    ]
    assert len({loss_in_words(loss) for loss in losses}) == len(losses)
    assert loss_in_words(loss_times(2.0)) == loss_in_words(loss_times(2.0))
    assert loss_in_words(nn.MSELoss()) == loss_in_words(nn.MSELoss())
    assert loss_in_words(with_default).split(" #")[1] == loss_in_words(with_default_again).split(" #")[1]


# --- a session's own state -------------------------------------------------------------------------------------------


def session_of(model: nn.Module, recipe: Any = RECIPE, steps: int = 2) -> tuple[Any, torch.optim.Optimizer]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    session = recipe.attach(model, optimizer)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(X), Y).backward()
        optimizer.step()
    session.epoch({"val_loss": 1.0 - 0.1 * steps})
    return session, optimizer


OTHERS = {
    "wider": lambda: net(7),
    "other outputs": lambda: net(6, 3),
    "longer": lambda: net(6, 2, nn.Linear(2, 2)),
    "shorter": lambda: nn.Linear(4, 2),
}


@pytest.mark.parametrize(
    ("other", "older"), [*((name, False) for name in OTHERS), ("wider", True), ("other outputs", True)]
)
def test_a_state_of_another_model_changes_nothing(other: str, older: bool) -> None:
    state = session_of(net())[0].state_dict()
    if older:  # without the model's layout: the shapes of what the techniques keep tell
        del state["model"]
    session, _ = session_of(OTHERS[other](), steps=1)
    before = session.snapshot(), session.step, session.attached[1][1].state["best"]
    with pytest.raises(dashpot.ConfigError, match=r"model must be the one|in the state must be of shape"):
        session.load_state_dict(state)
    after = session.snapshot(), session.step, session.attached[1][1].state["best"]
    assert all(torch.equal(before[0][name], after[0][name]) for name in after[0])
    assert before[1:] == after[1:]


def test_a_state_that_lacks_a_technique_is_refused() -> None:
    state = session_of(net())[0].state_dict()
    del state["techniques"]["ema"]
    session, _ = session_of(net(), steps=1)
    with pytest.raises(dashpot.ConfigError, match="state must be one with the state of ema"):
        session.load_state_dict(state)


def test_loaders_that_fill_what_is_there_find_room_for_everything() -> None:
    """As torch.distributed.checkpoint does: tensors are copied into the fresh session's, key by key."""

    def fill(into: Any, values: Any) -> Any:
        if isinstance(into, dict):
            return {key: fill(value, values[key]) for key, value in into.items()}
        return into.copy_(values) if isinstance(into, Tensor) else values

    first, _ = session_of(net())
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    second = RECIPE.attach(model, optimizer)
    second.load_state_dict(fill(second.state_dict(), first.state_dict()))
    first.finish()
    second.finish()
    assert all(torch.equal(t, model.state_dict()[name]) for name, t in first.view.model.state_dict().items())


def test_a_technique_without_a_summary_resumes(tmp_path: Path) -> None:
    class Quiet(dashpot.Technique):
        def on_gradient(self, params: Any, ctx: Any) -> None:
            for g in params.grads:
                g.mul_(0.5)

    run(tmp_path, recipe=Quiet())
    assert run(tmp_path, recipe=Quiet(), resume=True).stopped == "all epochs done"


def test_a_network_in_channels_last_memory_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randint(256, (24, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data, save = (x, torch.arange(24) % 2), Checkpoint.save

    def trained(**given: Any) -> dict[str, Tensor]:
        with initial_weights(3):
            network = ConvNet(3, 2, size=8, width=8)
        dashpot.fit(network, data, epochs=5, batch_size=12, lr=0.01, modality="image", progress=False, **given)
        return dict(network.state_dict())

    def interrupted(self: Checkpoint, *given: Any) -> None:
        save(self, *given)
        if len(given[3]) == 2:
            raise KeyboardInterrupt

    whole = trained()
    monkeypatch.setattr(Checkpoint, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(checkpoint=tmp_path)
    monkeypatch.undo()
    resumed = trained(checkpoint=tmp_path, resume=True)
    assert any(not value.is_contiguous() for value in whole.values())
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


class Clock:
    """Seconds that pass only by what ``waits`` says of each call."""

    def __init__(self, waits: float) -> None:
        self.now, self.waits = 0.0, waits

    def monotonic(self) -> float:
        self.now += self.waits
        return self.now


@pytest.mark.parametrize(("waits", "written"), [(0.1, [1, 21, 30]), (100.0, list(range(1, 31)))])
def test_writing_takes_a_small_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: float, written: list[int]
) -> None:
    """On a clock that goes on by 0.1 s each time that it is read, a write takes 0.1 s and an epoch as long, so that the
    next is due 2 s later. On one where all takes longer than a minute each epoch is written.
    """
    lengths: list[int] = []
    monkeypatch.setattr(checkpoint, "time", Clock(waits))
    monkeypatch.setattr(checkpoint, "write_atomic", lambda path, rows: lengths.append(len(rows.splitlines())))
    run(tmp_path, epochs=30, recipe=dashpot.EMA(decay=0.9))
    assert lengths == written


@pytest.mark.parametrize("end", [KeyboardInterrupt, RuntimeError])
def test_what_ends_a_training_early_loses_no_finished_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: type[BaseException]
) -> None:
    monkeypatch.setattr(checkpoint, "EACH", 1e9)

    def rate(progress: float) -> float:
        if progress > 0.65:
            raise end("enough")
        return 1.0

    with pytest.raises(end):
        run(tmp_path, epochs=9, schedule=rate)
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 6
    again, whole = net(), net()
    run(tmp_path, again, epochs=9, schedule=lambda progress: 1.0, resume=True)
    run(tmp_path / "whole", whole, epochs=9, schedule=lambda progress: 1.0)
    assert all(torch.equal(t, again.state_dict()[name]) for name, t in whole.state_dict().items())


def test_a_large_state_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "EACH", 1e9)
    monkeypatch.setattr(checkpoint, "HELD", 1)

    def rate(progress: float) -> float:
        if progress > 0.65:
            raise KeyboardInterrupt
        return 1.0

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, epochs=9, schedule=rate)
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 1
