"""What notebooks show: results, recipes, plans and inspections as HTML that no name can break, and a live line."""

from __future__ import annotations

import pickle
import sys
import types
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import dashpot
from dashpot.core.notebook import ROWS, Line, page_html, table, titled, words
from dashpot.core.running.plan import Plan
from dashpot.report.compare.record import CompareRecord
from dashpot.report.page.blocks import Chart, Page, Section, Table
from dashpot.search.progress import ProgressLines
from tests.report.page.reading import Seen
from tests.report.records import arm, record

HOSTILE = [
    *("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</td></table>", "\u202eright", "&lt;"),
    "\U0001f642",
]


def read(html: Any) -> Seen:
    """The HTML by Python's parser; every element is closed, and none runs or loads anything."""
    assert isinstance(html, str)
    seen = Seen()
    seen.feed(html)
    seen.close()
    assert seen.open == []
    assert {tag for tag, _ in seen.starts} <= {"div", "p", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert all(set(attributes) <= {"style", "dir"} for _, attributes in seen.starts)
    return seen


@pytest.mark.parametrize("name", HOSTILE)
def test_every_text_is_escaped(name: str) -> None:
    seen = read(titled(name, words([name]), table((name, name), [(name, name)], name)))
    assert seen.tables == [[[name, name], [name, name]]]
    assert {text for _, text in seen.words} == {name}


def test_a_long_table_says_what_it_leaves_out() -> None:
    seen = read(table(("row",), [(i,) for i in range(ROWS + 12)]))
    assert len(seen.tables[0]) == ROWS + 1
    assert ("p", "and 12 more") in seen.words


def test_a_recipe_and_a_technique_show_their_settings() -> None:
    recipe = dashpot.Mixup(0.2) | dashpot.L1(1e-4)
    rows = read(recipe._repr_html_()).tables[0]
    assert [row[0] for row in rows[1:]] == recipe.paths()
    assert [row[1] for row in rows[1:]] == [str(part) for part in recipe]
    assert ["strength", "0.0001"] in read(dashpot.L1(1e-4)._repr_html_()).tables[0]
    assert read(dashpot.Recipe()._repr_html_()).tables == []


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        setattr(self, "<b>", nn.Linear(4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = getattr(self, "<b>")(x)
        return out


def test_a_plan_is_text_and_in_a_notebook_a_table() -> None:
    model = Odd()
    session = dashpot.L1(1e-3).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    plan = session.plan()
    session.close()
    assert plan.splitlines()[0] == "L1(strength=0.001)"
    assert len(plan.splitlines()) == len(plan.head) + len(plan.rows)
    again = pickle.loads(pickle.dumps(plan))
    assert (again, again.rows, again.head) == (plan, plan.rows, plan.head)
    rows = read(plan._repr_html_()).tables[0][1:]
    assert [tuple(row) for row in rows] == list(plan.rows)
    assert Plan(["a"], [("slow", "", "why")]) == "a\n  slow          why"


def test_an_inspection_shows_a_row_for_each_layer_and_draws_a_figure() -> None:
    found = dashpot.inspect(Odd())
    rows = read(found._repr_html_()).tables[0]
    assert [row[0] for row in rows[1:]] == ["<b>.weight"]
    assert isinstance(found.figure(), Figure)


def test_a_training_shows_how_it_ended_and_draws_its_curves() -> None:
    x = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
    data = (x, (x[:, 0] > 0).long())
    result = dashpot.fit(nn.Linear(3, 2), data, valid=data, epochs=2, progress=False)
    rows = read(result._repr_html_()).tables[0]
    assert rows[0][:2] == ["rows", "loss"]
    assert [row[0] for row in rows[1:]] == ["training", "validation"]
    assert float(rows[1][1]) == pytest.approx(result.history[-1]["train_loss"], rel=0.01)
    assert isinstance(result.figure(), Figure)


def test_a_search_and_a_path_show_what_was_chosen() -> None:
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)).numpy()
    y = [HOSTILE[0] if value > 0 else HOSTILE[1] for value in x[:, 0]]
    result = dashpot.tune((x, y), trials=2, epochs=2, cv=2, progress=False)
    seen = read(result._repr_html_())
    assert any(text.startswith("Chosen: ") for _, text in seen.words)
    assert seen.tables[0][1][0].startswith("chosen")
    assert all(isinstance(figure, Figure) for figure in result.figures().values())
    target = torch.from_numpy(x[:, :1])
    path = dashpot.path(lambda: nn.Linear(3, 1), (torch.from_numpy(x), target), dashpot.L1(), points=3, cv=2)
    assert any(text.startswith("Found: strength") for _, text in read(path._repr_html_()).words)
    assert isinstance(path.figure(), Figure)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_comparison_shows_its_arms(name: str) -> None:
    made = record(arm("baseline", [0.9, 0.91]), arm(name, [0.92, 0.93]), dataset=name)
    seen = read(CompareRecord.from_dict(made)._repr_html_())
    assert [row[0] for row in seen.tables[0][1:]] == ["baseline", name]


def test_of_a_page_the_first_table_is_shown() -> None:
    chart: Any = Chart("<svg>", "c")  # type: ignore[arg-type]  # no drawing
    page = Page("t", ["s"], [Section("a", [chart, Table(("x",), [("1",)])])])
    assert read(page_html(page)).tables == [[["x"], ["1"]]]


class Kernel:
    """IPython with a kernel, as far as a live line needs it: outputs with an identity that can be replaced."""

    def __init__(self) -> None:
        self.outputs: list[list[dict[str, str]]] = []

    def display(self, form: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        assert raw
        assert display_id
        output = [form]
        self.outputs.append(output)
        return types.SimpleNamespace(update=lambda form, raw: output.append(form))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    package, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    package.get_ipython = lambda: types.SimpleNamespace(kernel=made)  # type: ignore[attr-defined]  # a stand-in
    display.display = made.display  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return made


def test_in_a_notebook_a_training_is_one_line_that_changes(kernel: Kernel, capsys: pytest.CaptureFixture[str]) -> None:
    dashpot.fit(nn.Linear(3, 1), (torch.randn(16, 3), torch.randn(16, 1)), epochs=12)
    assert capsys.readouterr() == ("", "")
    assert len(kernel.outputs) == 1
    assert [form["text/plain"].split()[1] for form in kernel.outputs[0]] == [f"{i}/12" for i in range(1, 13)]
    read(kernel.outputs[0][-1]["text/html"])


def test_in_a_notebook_a_search_is_one_line_that_changes(kernel: Kernel, capsys: pytest.CaptureFixture[str]) -> None:
    candidate = types.SimpleNamespace(recipe="<b>")
    trial: Any = types.SimpleNamespace(score=0.5, candidate=candidate)
    lines = ProgressLines(True, 60.0, lambda: None)
    for epoch in (1, 2):
        lines._shown -= 2.0  # as if seconds had passed
        lines.say("race", [trial], epoch)
    assert capsys.readouterr() == ("", "")
    assert [len(output) for output in kernel.outputs] == [2]
    assert "epoch 2" in kernel.outputs[0][1]["text/plain"]
    read(kernel.outputs[0][1]["text/html"])


def test_elsewhere_there_are_few_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not Line()
    dashpot.fit(nn.Linear(3, 1), (torch.randn(16, 3), torch.randn(16, 1)), epochs=50)
    said = capsys.readouterr()
    assert said.out == ""
    assert "\r" not in said.err
    assert 1 <= len(said.err.splitlines()) <= 11
