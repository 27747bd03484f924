"""Which activations are a network's output, and that the default of dropouts and their kin leaves them alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.core.running.ending import ending


class Wrapped(nn.Module):
    """One part and nothing else."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


class Own(nn.Module):
    """A forward that is not the order of its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.act = nn.Linear(4, 4), nn.Linear(4, 2), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.act(self.first(x)))
        return out


class Backwards(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        for part in reversed(list(self)):
            x = part(x)
        return x


def mlp(*end: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), *end)


def shared() -> nn.Sequential:
    act = nn.ReLU()
    return nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 4), act)


CASES: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "none": (mlp, []),
    "one": (lambda: mlp(nn.Sigmoid()), ["3"]),
    "behind it nothing has weights": (lambda: mlp(nn.Tanh(), nn.Flatten(), nn.Dropout(0.1), nn.Softplus()), ["3", "6"]),
    "behind it something has": (lambda: mlp(nn.ReLU(), nn.BatchNorm1d(4)), []),
    "with weights of its own": (lambda: mlp(nn.ReLU(), nn.PReLU()), []),
    "nested": (lambda: nn.Sequential(mlp(nn.ReLU()), mlp(nn.ReLU())), ["1.3"]),
    "nested, and an empty end": (lambda: nn.Sequential(mlp(nn.ReLU()), nn.Sequential()), ["0.3"]),
    "a wrapper": (lambda: Wrapped(Wrapped(mlp(nn.ReLU()))), ["body.body.3"]),
    "another order": (lambda: Backwards(nn.Linear(4, 4), nn.ReLU()), []),
    "a forward of its own": (Own, []),
    "used within, too": (shared, []),
    "all of it": (nn.ReLU, [""]),
}


@pytest.mark.parametrize("case", CASES)
def test_ends(case: str) -> None:
    make, expected = CASES[case]
    model = make()
    found = ending(model)
    assert [name for name, module in model.named_modules() if id(module) in found] == expected


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


DROPOUTS = (
    dashpot.Dropout,
    dashpot.dropout.ChannelDropout,
    dashpot.dropout.DropBlock,
    dashpot.dropout.GaussianDropout,
    dashpot.dropout.AlphaDropout,
    dashpot.dropout.VariationalDropout,
)


@pytest.mark.parametrize("technique", DROPOUTS, ids=lambda t: t.kind())
def test_the_output_is_dropped_only_where_it_is_named(technique: type[dashpot.Technique]) -> None:
    def dropped(**on: str) -> list[bool]:
        model, x = mlp(nn.Hardtanh(-9, 9)), torch.linspace(1, 2, 160).reshape(40, 4)
        with technique(p=0.5, **on).attach(model.train(), sgd(model)):
            return [not torch.equal(model[i](x), x) for i in (1, 3)]

    assert dropped() == [True, False]
    assert dropped(on="hidden & ~name:7") == [True, False]
    assert dropped(on="activations") == [True, True]
    assert dropped(on="type:Hardtanh") == [False, True]


def test_where_nothing_else_is_there_the_error_says_so() -> None:
    for technique in (dashpot.Dropout(0.1), dashpot.dropout.VariationalDropout(0.1)):
        model = nn.Sequential(nn.Linear(4, 2), nn.Sigmoid())
        with pytest.raises(dashpot.ConflictError, match="output of 1 is the network's, which `hidden` leaves out"):
            technique.attach(model, sgd(model))


def test_a_model_that_grows_has_another_end() -> None:
    model = mlp(nn.Hardtanh(-9, 9))
    optimizer = sgd(model)
    with dashpot.Dropout(0.5).attach(model.train(), optimizer) as session:
        assert "after 1 modules: 1" in session.plan()
        model.append(nn.Linear(4, 2))
        optimizer.add_param_group({"params": model[4].parameters()})
        session.batch(torch.ones(2, 4))
        assert "after 2 modules: 1, 3" in session.plan()


def test_a_dropout_of_the_models_own_stays_a_place() -> None:
    """Left alone it would drop at its own rate."""
    model = mlp(nn.ReLU(), nn.Dropout(0.9))
    with dashpot.Dropout(0.5).attach(model, sgd(model)) as session:
        assert "after 1 modules: 4" in session.plan()
