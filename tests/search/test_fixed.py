"""One network by the options that a user names: which one they belong to, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.data import Problem
from dashpot.data.rows import to_rows
from dashpot.nets import MLP, TableNet
from dashpot.search.fixed import checked_options, fixed_network, options_of_texts


@pytest.mark.parametrize(
    ("kind", "texts", "expected"),
    [
        ("table", [], {"net": "mlp"}),
        ("table", ["width=8"], {"net": "mlp", "width": 8}),
        ("table", ["width=8", "skip=true"], {"net": "tablenet", "width": 8, "skip": True}),
        ("image", ["se=true"], {"net": "convnet", "se": True}),
        ("image", ["net=ResNet", "width=4"], {"net": "resnet", "width": 4}),
        ("signal", ["norm=batch"], {"net": "mlp", "norm": "batch"}),
        ("text", ["filters=8", "pool=attention"], {"net": "textconv", "filters": 8, "pool": "attention"}),
        ("text", ["scale=2"], {"net": "textbag", "scale": 2}),
    ],
)
def test_options_belong_to_the_first_network_that_has_them(
    kind: str, texts: list[str], expected: dict[str, Any]
) -> None:
    assert options_of_texts(texts, kind) == expected


def test_of_a_network_of_ones_own_any_option_is_taken() -> None:
    assert options_of_texts(["layers=3", "name=a"], None) == {"layers": 3, "name": "a"}


@pytest.mark.parametrize(
    ("kind", "texts", "message"),
    [
        ("image", ["widht=8"], "--net must be one of net, width, .*'widht'. Did you mean 'width'"),
        ("image", ["width"], "--net must be written name=value"),
        ("image", ["width=8,16"], "--net must be one value for each option, got 'width=8,16'. `dashpot tune`"),
        ("image", ["width=8", "width=16"], "--net width must be said once"),
        ("image", ["net=resnet", "depth=2"], "--net of resnet must be one of width, got 'depth'"),
        ("image", ["net=vgg"], "--net net must be one of convnet, resnet, got 'vgg'"),
        ("text", ["scale=2", "filters=8"], "--net must be options of one network, got 'scale, filters'. They are, of"),
    ],
)
def test_what_no_network_has_is_refused(kind: str, texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        options_of_texts(texts, kind)


def test_without_a_search_a_value_is_one_value() -> None:
    with pytest.raises(ConfigError, match=r"net width must be one whole number.*\(8, 16\)"):
        checked_options({"width": (8, 16)}, "table")
    with pytest.raises(UnknownNameError, match="net must be one of"):
        checked_options({"wide": 8}, "table")


def test_the_network_for_tables_knows_numbers_and_names() -> None:
    rng = np.random.default_rng(0)
    x = np.empty((60, 3), dtype=object)
    x[:, 0], x[:, 1] = rng.normal(size=60) * 100, rng.normal(size=60)
    x[:, 2] = [f"name{i % 12}" for i in range(60)]
    problem = Problem("data", to_rows(x), np.arange(60) % 3, "classification")
    rows = np.arange(40)
    prepared = problem.prepare(rows)
    net = fixed_network(prepared.preprocessing, prepared.x, rows, 3, {"net": "tablenet", "width": 8}, classes=True)
    assert isinstance(net, TableNet)
    assert net.numeric == 2
    assert [stop - start for start, stop in net.blocks] == [12]
    piecewise = {"net": "tablenet", "embedding": "piecewise"}
    net = fixed_network(prepared.preprocessing, prepared.x, rows, 3, piecewise, classes=True)
    edges = next(b for name, b in net.named_buffers() if b.ndim == 2)
    # The bins end where the training rows do.
    assert torch.allclose(edges.max(dim=1).values, prepared.x[:40, :2].max(dim=0).values)
    assert isinstance(
        fixed_network(prepared.preprocessing, prepared.x, rows, 3, {"net": "mlp", "width": 4}, classes=True), MLP
    )
