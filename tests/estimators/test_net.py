"""``net=`` of the estimators: options of the network beside width and depth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from dashpot import DashpotClassifier, DashpotRegressor
from dashpot.core.errors import ConfigError, UnknownNameError

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)


def test_a_table_gets_the_network_that_has_the_options() -> None:
    model = DashpotClassifier(net={"norm": "batch"}, width=4, epochs=1, random_state=0).fit(X, Y)
    assert model.model_.options == {"inputs": 3, "outputs": 2, "width": 4, "depth": 2, "norm": "batch"}
    model = clone(model).set_params(net={"embedding": "piecewise", "width": 6}, width=None).fit(X, Y)
    assert type(model.model_).__name__ == "TableNet"
    assert (model.model_.options["width"], model.model_.options["numeric"]) == (6, 3)
    assert model.predict(X).shape == (40,)


def test_images_and_values() -> None:
    images = np.random.default_rng(0).integers(0, 255, (20, 8, 8), dtype=np.uint8)
    model = DashpotRegressor(net={"net": "resnet", "width": 4}, epochs=1, random_state=0)
    assert type(model.fit(images, np.arange(20.0)).model_).__name__ == "ResNet"


def test_a_search_takes_several_values() -> None:
    model = DashpotClassifier("auto", trials=2, epochs=1, cv=2, net={"skip": (True, False), "width": 8}, random_state=0)
    model.fit(X, Y)
    assert model.report_ is not None
    tried = [candidate["params"] for candidate in model.report_["candidates"]]
    assert {params["net.skip"] for params in tried} <= {True, False}
    assert {params.get("net.width", 8) for params in tried} == {8}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"net": {"nrom": "batch"}}, UnknownNameError, "net must be one of .*'nrom'. Did you mean 'norm'"),
        ({"net": {"width": 4}, "width": 8}, ConfigError, "net must be without 'width' where width is given"),
        ({"net": {"width": (4, 8)}}, ConfigError, "net width must be one whole number, text or boolean"),
        ({"net": "resnet"}, ConfigError, "net must be a mapping from options to values, or None, got 'resnet'"),
        ({"net": {"net": "resnet"}}, UnknownNameError, "net must be one of mlp, tablenet, got 'resnet'"),
    ],
)
def test_what_no_network_has_is_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        DashpotClassifier(**options).fit(X, Y)
