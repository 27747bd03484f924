"""Groupings against explicit lists of members, found by loops over indices."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dashpot
from dashpot.core.fields import codec

Members = list[list[int]]


def gathered(keys: Iterator[tuple[int, ...]]) -> Members:
    """The flat positions that share a key, for the key of each position in turn."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for position, key in enumerate(keys):
        groups.setdefault(key, []).append(position)
    return list(groups.values())


def members(text: str, shape: tuple[int, ...]) -> Members:
    """The groups of a tensor as the documentation describes them, weight by weight."""
    kind, _, rest = text.partition(":")
    if kind == "index":
        return gathered((int(number),) for number in rest.split("/"))
    numbers = [int(part) for part in rest.split("x")] if rest else []
    rows, columns = shape[0], math.prod(shape[1:])

    def key(place: tuple[int, ...], flat: int) -> tuple[int, ...]:
        row, column = place[0], flat % columns
        if kind == "element":
            return (flat,)
        if kind == "layer":
            return ()
        if kind in ("rows", "filters"):
            return (row,)
        if kind in ("columns", "input-channels"):
            return (place[1],)
        if kind == "heads":
            parts = numbers[1] if len(numbers) > 1 else 1
            return (row % (rows // parts) // (rows // parts // numbers[0]),)
        assert kind == "block"
        return (row // numbers[0], column // numbers[-1])

    return gathered(key(place, flat) for flat, place in enumerate(itertools.product(*map(range, shape))))


def loop_value(w: np.ndarray, groups: Members, strength: float, size_weights: bool) -> float:
    flat = w.ravel()
    return sum(
        strength * (math.sqrt(len(g)) if size_weights else 1) * math.sqrt(sum(flat[i] ** 2 for i in g)) for g in groups
    )


def loop_prox(w: np.ndarray, groups: Members, step: float, strength: float, size_weights: bool) -> np.ndarray:
    flat = w.ravel().copy()
    for g in groups:
        threshold = step * strength * (math.sqrt(len(g)) if size_weights else 1)
        length = math.sqrt(sum(flat[i] ** 2 for i in g))
        for i in g:
            flat[i] = flat[i] * (1 - threshold / length) if length > threshold else 0.0
    return flat.reshape(w.shape)


CASES: list[tuple[str, tuple[int, ...]]] = [
    *[("element", shape) for shape in [(5,), (4, 6), (4, 3, 2, 2)]],
    *[("layer", shape) for shape in [(5,), (4, 6), (4, 3, 2, 2)]],
    *[("rows", shape) for shape in [(5,), (4, 6), (4, 3, 2), (4, 3, 2, 2)]],
    *[("columns", shape) for shape in [(4, 6), (4, 3, 2), (4, 3, 2, 2)]],
    *[("filters", shape) for shape in [(4, 3, 2), (4, 3, 2, 2)]],
    *[("input-channels", shape) for shape in [(4, 3, 2), (4, 3, 2, 2)]],
    *[("heads:2", shape) for shape in [(6,), (4, 6), (4, 3, 2, 2)]],
    *[("heads:2x3", shape) for shape in [(12,), (12, 5), (6, 2, 2, 2)]],
    *[("block:2", shape) for shape in [(4, 6), (4, 3, 2, 2)]],
    *[("block:2x3", shape) for shape in [(4, 6), (2, 3, 2, 2)]],
    ("index:0/0/1/1/0", (5,)),
    ("index:0/1/2/3/7/7/7/1/0/9/9/9", (3, 4)),
    ("index:5/5/5/5/5/5/5/2", (2, 2, 1, 2)),
    ("index:3", (1,)),
]


@pytest.mark.parametrize(("text", "shape"), CASES)
def test_the_layout_has_the_groups_that_it_should(text: str, shape: tuple[int, ...]) -> None:
    expected = members(text, shape)
    layout = dashpot.Grouping(text).layout(shape)
    numbered = torch.arange(1, math.prod(shape) + 1).reshape(shape).double()
    folded = layout.fold(numbered)
    outside = [axis for axis in range(folded.ndim) if axis not in layout.dims]
    rows = folded.permute(*outside, *layout.dims).reshape(math.prod(folded.shape[axis] for axis in outside), -1)
    found = {frozenset(int(v) - 1 for v in row if v > 0) for row in rows}
    assert found == {frozenset(group) for group in expected}
    assert torch.equal(layout.unfold(folded, shape), numbered)
    sizes = layout.size.ravel().tolist() if isinstance(layout.size, torch.Tensor) else [layout.size] * len(expected)
    assert sorted(sizes) == sorted(len(group) for group in expected)


@pytest.mark.parametrize("size_weights", [True, False])
@pytest.mark.parametrize(("text", "shape"), CASES)
def test_group_lasso_is_a_loop_over_groups(text: str, shape: tuple[int, ...], size_weights: bool) -> None:
    w = np.random.default_rng(3).standard_normal(shape)
    groups = members(text, shape)
    lengths = sorted(
        math.sqrt(sum(w.ravel()[i] ** 2 for i in g)) / (math.sqrt(len(g)) if size_weights else 1) for g in groups
    )
    # A threshold in the middle: some groups die, some live (where there are two).
    strength = (lengths[(len(lengths) - 1) // 2] + lengths[-1]) / 2 / 0.5 if len(lengths) > 1 else lengths[0]
    penalty = dashpot.GroupLasso(strength=strength, groups=dashpot.Grouping(text), size_weights=size_weights)
    expected = loop_prox(w, groups, 0.5, strength, size_weights)
    assert (expected != 0).any()
    assert len(groups) == 1 or (expected == 0).any()
    found = penalty.prox(torch.from_numpy(w), 0.5).numpy()
    np.testing.assert_array_equal(found == 0, expected == 0)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert float(penalty.value(torch.from_numpy(w))) == pytest.approx(
        loop_value(w, groups, strength, size_weights), rel=1e-12
    )


@pytest.mark.parametrize(("text", "shape"), CASES)
def test_one_step_for_each_weight_solves_each_group_by_itself(text: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(4)
    w, steps = rng.standard_normal(shape), 0.1 + rng.random(shape)
    penalty = dashpot.GroupLasso(strength=1.0, groups=dashpot.Grouping(text), size_weights=False)
    found = penalty.prox(torch.from_numpy(w), torch.from_numpy(steps)).numpy().ravel()
    for group in members(text, shape):
        mine, before, step = found[group], w.ravel()[group], steps.ravel()[group]
        # The optimality conditions: the pull of each weight is that of the group's norm.
        if (mine == 0).all():
            assert ((before / step) ** 2).sum() <= 1 + 1e-12
        else:
            np.testing.assert_allclose((before - mine) / step, mine / np.linalg.norm(mine), atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(["element", "rows", "columns", "layer", "heads", "heads-packed", "block", "index"]),
    counts=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    trailing=st.lists(st.integers(1, 3), max_size=2),
    strength=st.floats(0.0, 3.0),
    step=st.floats(1e-3, 2.0),
    size_weights=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_group_lasso_on_any_shape_and_strength(
    kind: str,
    counts: tuple[int, int, int, int],
    trailing: list[int],
    strength: float,
    step: float,
    size_weights: bool,
    seed: int,
) -> None:
    a, b, c, d = counts
    shape: tuple[int, ...]
    text, shape = {
        "heads": (f"heads:{a}", (a * b, c, *trailing)),
        "heads-packed": (f"heads:{a}x{b}", (a * b * c, d, *trailing)),
        "block": (f"block:{a}x{b}", (a * c, b * d, *trailing)),
    }.get(kind, (kind, (a * b, c, *trailing)))
    rng = np.random.default_rng(seed)
    if kind == "index":
        text = "index:" + "/".join(map(str, rng.integers(0, 5, math.prod(shape))))
    w = rng.standard_normal(shape)
    penalty = dashpot.GroupLasso(strength=strength, groups=dashpot.Grouping(text), size_weights=size_weights)
    groups = members(text, shape)
    np.testing.assert_allclose(
        penalty.prox(torch.from_numpy(w), step).numpy(), loop_prox(w, groups, step, strength, size_weights), atol=1e-12
    )
    assert float(penalty.value(torch.from_numpy(w))) == pytest.approx(
        loop_value(w, groups, strength, size_weights), rel=1e-10
    )
    assert codec.parse(codec.to_text(penalty)) == penalty


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "shape", "size"),
        [
            ("heads:3", (4, 6), "3 heads"),
            ("heads:2x3", (8, 6), "2 heads x 3"),
            ("block:3", (4, 6), "3 x 3"),
            ("block:2x4", (4, 6), "2 x 4"),
            ("block:2x4", (4, 3, 2, 1), "2 x 4"),
            ("block:2", (4,), "2 x 2"),
            ("columns", (4,), "columns"),
            ("filters", (4, 6), "filters"),
            ("input-channels", (4, 6), "input-channels"),
            ("index:0/0/1", (4, 6), "24 weights (3 are given)"),
        ],
    )
    def test_a_shape_that_does_not_divide(self, text: str, shape: tuple[int, ...], size: str) -> None:
        with pytest.raises(dashpot.ConfigError) as refused:
            dashpot.Grouping(text).layout(shape, "body.weight")
        message = str(refused.value)
        assert "body.weight" in message
        assert str(list(shape)) in message
        assert size in message
        assert text in message

    @pytest.mark.parametrize(
        "technique",
        [
            dashpot.GroupLasso(groups=dashpot.Grouping("heads:3")),
            dashpot.SparseGroupLasso(groups=dashpot.Grouping("heads:3")),
            dashpot.GroupElasticNet(groups=dashpot.Grouping("heads:3")),
            dashpot.MaxNorm(groups=dashpot.Grouping("heads:3")),
            dashpot.UnitNorm(groups=dashpot.Grouping("heads:3")),
        ],
    )
    def test_it_is_found_at_attach_with_the_parameters_name(self, technique: dashpot.Technique) -> None:
        model = torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.Linear(3, 4))
        with pytest.raises(dashpot.ConfigError, match=r"1\.weight.*3 heads.*\[4, 3\]"):
            technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "row",
            "heads",
            "heads:",
            "heads:0",
            "heads:2x0",
            "heads:-2",
            "block:0",
            "block:2x3x4",
            "block:axb",
            "index:",
            "index:0,1",
            "rows:2",
        ],
    )
    def test_text_that_is_no_grouping(self, text: str) -> None:
        with pytest.raises(dashpot.ConfigError, match="GroupLasso.groups must be one of element"):
            dashpot.GroupLasso(groups=text)  # type: ignore[arg-type]  # read from text, or refused

    @pytest.mark.parametrize(
        "wrong",
        [3, None, 1.5, torch.tensor([0.0, 1.0]), torch.tensor([-1, 0]), torch.tensor([True, False]), torch.tensor([])],
    )
    def test_values_that_are_no_grouping(self, wrong: object) -> None:
        with pytest.raises(dashpot.ConfigError, match="groups"):
            dashpot.GroupLasso(groups=wrong)  # type: ignore[arg-type]  # read from text, or refused


class TestText:
    @pytest.mark.parametrize("text", sorted({text for text, _ in CASES}))
    @pytest.mark.parametrize(
        "cls", [dashpot.GroupLasso, dashpot.SparseGroupLasso, dashpot.GroupElasticNet, dashpot.MaxNorm]
    )
    def test_round_trips(self, cls: type[dashpot.GroupLasso], text: str) -> None:
        technique = cls(groups=dashpot.Grouping(text))
        assert codec.parse(f"{cls.kind()}:groups={text}") == technique
        assert codec.parse(codec.to_text(technique)) == technique
        (again,) = codec.loads(codec.dumps(technique))
        assert again == technique
        assert str(getattr(again, "groups")) == text  # noqa: B009

    def test_a_tensor_is_its_index_map(self) -> None:
        groups = torch.tensor([[0, 0], [4, 1]])
        technique = dashpot.GroupLasso(groups=groups)  # type: ignore[arg-type]  # read from text, or refused
        assert str(technique.groups) == "index:0/0/4/1"
        assert technique == dashpot.GroupLasso(groups=dashpot.Grouping.index(groups.numpy()))
        # Read from text, or refused.
        assert technique == dashpot.GroupLasso(groups="index:0/0/4/1")  # type: ignore[arg-type]
        (again,) = codec.loads(codec.dumps(technique))
        assert again == technique
