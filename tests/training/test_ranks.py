"""``fit`` of a model in DistributedDataParallel: two and three ranks do what one process does, to rounding."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import TensorDataset

import dashpot
from dashpot.training.ranks import Ranks
from tests.tracking.kept import Kept

pytestmark = pytest.mark.distributed
X = torch.randn(43, 5, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] + 0.3 * X[:, 1] > 0).long()
WEIGHT = torch.rand(43, generator=torch.Generator().manual_seed(1)) + 0.5
VALID = X[:16] + 0.1, Y[:16]
RECIPE = "l1:strength=0.01 | label-smoothing:smoothing=0.1 | ema:decay=0.8 | early-stopping:patience=2"


def make() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))


def fit(model: nn.Module, data: Any = (X, Y, WEIGHT), **options: Any) -> dashpot.FitResult:
    # 43 rows in batches of 10: parts of ranks differ, and with two ranks as with one the last batch has three rows.
    asked = {"recipe": RECIPE, "epochs": 4, "batch_size": 10, "lr": 0.02, "progress": False, "valid": VALID, **options}
    return dashpot.fit(model, data, **asked)


def told(result: dashpot.FitResult) -> dict[str, Any]:
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in result.history]
    return {"weights": result.model.state_dict(), "history": rows, "stopped": result.stopped}


def whole(rank: int, folder: Path) -> dict[str, Any]:
    """A training, and what only the first rank tells and writes."""
    kept = Kept()
    found = told(fit(DistributedDataParallel(make()), checkpoint=folder / f"checkpoint-{rank}", log=kept))
    return {**found, "told": len(kept.epochs), "written": (folder / f"checkpoint-{rank}" / "history.jsonl").exists()}


def resumed(rank: int, folder: Path) -> dict[str, Any]:
    """Ended after two epochs, and resumed."""
    options: dict[str, Any] = {"checkpoint": folder / "checkpoint"}
    with pytest.raises(Ended):
        fit(DistributedDataParallel(make()), schedule=halved(0.6), **options)
    dist.barrier()
    return told(fit(DistributedDataParallel(make()), schedule=halved(), resume=True, **options))


class Ended(Exception):
    """Ends a training in the middle, on all ranks."""


def halved(end: float = 2.0) -> Callable[[float], float]:
    """A schedule that ends the training at some progress, as a kill would."""

    def factor(progress: float) -> float:
        if progress > end:
            raise Ended
        return 1.0 - progress / 2

    return factor


class Rows(nn.Module):
    """Counts the rows that it sees outside training, and what is no sum over rows: it normalizes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 0 if self.training else len(x)
        return self.net(x)  # type: ignore[no-any-return]  # of a module


def scored(rank: int, folder: Path) -> dict[str, Any]:
    """A training whose running statistics each rank would have of its own rows."""
    model = Rows()
    result = fit(DistributedDataParallel(model), (X, Y), recipe=None, epochs=2, batch_size=12)
    return {**told(result), "seen": model.seen}


def refused(rank: int, folder: Path) -> list[str]:
    """What is said of each thing that cannot be."""
    x = X + rank
    cases: list[Callable[[nn.Module], Any]] = [
        lambda model: fit(model, (x, Y)),
        lambda model: fit(model, (X, Y), seed=rank),
        lambda model: fit(model, (X, Y), recipe="l1" if rank else "l2"),
        lambda model: fit(model, (X, Y), epochs=None, budget="10s"),
        lambda model: fit(model, TensorDataset(X, Y)),
        lambda model: fit(model, (X, Y), loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))),
        lambda model: fit(model, (X, Y), batch_size=1),
    ]
    said = []
    for case in cases:
        with pytest.raises(dashpot.DashpotError) as error:
            case(DistributedDataParallel(make()))
        said.append(str(error.value))
    return said


def _rank(rank: int, count: int, work: Callable[[int, Path], Any], folder: str) -> None:
    torch.set_num_threads(1)
    place = {"init_method": f"file://{folder}/store", "rank": rank, "world_size": count}
    dist.init_process_group("gloo", timeout=timedelta(seconds=240), **place)
    torch.save(work(rank, Path(folder)), Path(folder) / f"{rank}.pt")
    dist.barrier()  # who leaves while the other still works on the last exchange may abort it
    dist.destroy_process_group()


def ranks(count: int, work: Callable[[int, Path], Any]) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_rank, args=(count, work, folder), nprocs=count)
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(count)]


def alike(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["stopped"] == expected["stopped"]
    assert len(found["history"]) == len(expected["history"])
    for row, other in zip(found["history"], expected["history"], strict=True):
        torch.testing.assert_close(row, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["weights"], expected["weights"], rtol=1e-4, atol=1e-5)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("count", [2, 3])
def test_ranks_do_what_one_process_does(count: int) -> None:
    found, expected = ranks(count, whole), told(fit(make()))
    for rank, one in enumerate(found):
        alike(one, expected)
        assert same(one["weights"], found[0]["weights"])
        assert one["history"] == found[0]["history"]
        assert (one["told"], one["written"]) == ((4, True) if rank == 0 else (0, False))


def test_each_rank_runs_its_rows_and_all_score_the_outputs_of_the_first_s_network() -> None:
    first, second = ranks(2, scored)
    assert first["history"] == second["history"]
    assert first["seen"] == second["seen"] == 2 * (16 + 16) // 2 + 2  # and two rows each to learn the shapes from
    model = Rows().eval()
    model.load_state_dict(first["weights"])
    with torch.no_grad():
        out = model(VALID[0])
    last = first["history"][-1]
    assert last["val_loss"] == pytest.approx(nn.functional.cross_entropy(out, VALID[1]).item(), rel=1e-5)
    recall = [(out.argmax(1) == k)[VALID[1] == k].double().mean().item() for k in (0, 1)]
    assert last["val_balanced_accuracy"] == pytest.approx(sum(recall) / 2, rel=1e-6)


def test_ranks_resume_where_they_ended() -> None:
    found, expected = ranks(2, resumed), told(fit(make(), schedule=halved()))
    alike(found[0], expected)
    assert same(found[0]["weights"], found[1]["weights"])


def test_ranks_that_differ_and_what_they_cannot_do_are_refused_on_all() -> None:
    first, second = ranks(2, refused)
    expected = ["these differ by rank: data ", "seed 0, 1", "all ranks must attach the same recipe"]
    expected += [
        "budget must be None with",
        "data must be tensors or a DataLoader",
        "loss must be a mean in which rows",
    ]
    expected += ["batch_size must be a row for each of 2 ranks"]
    for said in (first, second):
        assert [words in text for words, text in zip(expected, said, strict=True)] == [True] * 7, said


def test_parts_cover_each_batch_once() -> None:
    for count in (1, 2, 3, 4):
        parts = [Ranks(rank, count).part(5, 5 + 11) for rank in range(count)]
        assert [row for start, stop in parts for row in range(start, stop)] == list(range(5, 16))
