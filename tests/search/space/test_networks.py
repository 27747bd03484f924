"""Options of the networks for images, searched and fixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dashpot.cli.predict import predict
from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.data import Problem
from dashpot.nets import ConvNet
from dashpot.runs.saved import load_run
from dashpot.search.config import SearchConfig
from dashpot.search.run import run
from dashpot.search.space.defaults import default_space
from dashpot.search.space.distributions import Categorical

PROBLEM = Problem(
    "dots",
    np.random.default_rng(0).integers(0, 256, (40, 3, 9, 11), dtype=np.uint8),
    np.array(["a", "b"] * 20),
)
PREPARED = PROBLEM.prepare(np.arange(40))


def network(*texts: str) -> tuple[dict[str, Any], dict[str, Any]]:
    space = default_space(PROBLEM, PREPARED, None, networks=texts)
    return dict(space.net), dict(space.baseline().net)


def test_two_widths_are_searched_and_nothing_else() -> None:
    assert network() == ({"width": Categorical((16, 32))}, {"width": 16})


def test_every_option_of_the_family_is_searched_or_fixed() -> None:
    space, default = network("depth=1,2", "activation=relu,gelu", "se=true", "residual=false,true")
    assert space["depth"] == Categorical((1, 2))
    assert default == {"width": 16, "depth": 1, "activation": "relu", "se": True, "residual": False}
    assert network("net=resnet", "width=8")[1] == {"net": "resnet", "width": 8}


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (["depth=1,-1"], ConfigError, "depth must be"),
        (["width=0"], ConfigError, "width must be"),
        (["se=maybe"], ConfigError, "se must be True or False"),
        (["activation=relu,tanh"], UnknownNameError, "activation"),
        (["kernel=3"], UnknownNameError, "--net"),
        (["net=resnet", "depth=2"], UnknownNameError, "--net"),
        (["net=convnet,resnet"], ConfigError, "one network"),
    ],
)
def test_what_no_network_has_is_refused_before_the_race(texts: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        network(*texts)


def test_a_search_over_options_saves_a_network_that_predict_uses(tmp_path: Path) -> None:
    options = ("width=4", "depth=0,2", "residual=true", "se=true", "activation=gelu")
    config = SearchConfig(
        trials=2,
        epochs=1,
        cv=2,
        recipe=["weight-decay"],
        networks=options,
        explain=False,
        ensemble="refit",
        device="cpu",
    )
    (tmp_path / "study").mkdir()
    result = run(PROBLEM, config, tmp_path / "study")
    folder = result.save(tmp_path / "run")
    loaded = load_run(folder)[0]
    assert isinstance(loaded, ConvNet)
    kept = {name: loaded.options[name] for name in ("width", "residual", "se", "activation")}
    assert kept == {"width": 4, "residual": True, "se": True, "activation": "gelu"}
    assert loaded.options["depth"] in (0, 2)
    images = np.asarray(PROBLEM.inputs)
    with torch.no_grad():
        probabilities = result.predict_proba(images)
    np.savez(tmp_path / "new.npz", X=images)
    predict(folder, tmp_path / "new.npz", out=tmp_path / "p.csv")
    rows = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()
    told = np.array([[float(v) for v in row.split(",")[-2:]] for row in rows[1:]])
    np.testing.assert_allclose(told, probabilities, atol=1e-5)
