"""The network that is monotone in chosen inputs: by any weights, after any training, in every way to a prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from typer.testing import CliRunner

import dashpot
from dashpot import nets
from dashpot.cli import compare, fit, predict, tune
from dashpot.data.tables.monotone import certificate, directions
from dashpot.nets import MonotoneNet
from dashpot.runs.saved import load_run

APP = typer.Typer()
for module in (compare, fit, predict, tune):
    module.register(APP)
SIGNS = (1, -1, 0, 0)


def table(rows: int = 200, seed: int = 0) -> tuple[Any, np.ndarray]:
    """A frame whose target falls with ``age`` and ``debt``: where it must not with ``age``, a network is flat in it."""
    import polars

    rng = np.random.default_rng(seed)
    age, debt, other = rng.uniform(-2, 2, rows), rng.normal(size=rows), rng.normal(size=rows)
    town = np.array(["here", "there", "far"])[np.arange(rows) % 3]
    y = -age - 2 * debt + (town == "far") + 0.1 * rng.normal(size=rows)
    return polars.DataFrame({"age": age, "debt": debt, "other": other, "town": town}), y


class TestNetwork:
    @settings(max_examples=60, deadline=None)
    @given(
        seed=st.integers(0, 10**6),
        depth=st.integers(0, 3),
        outputs=st.sampled_from([1, 2]),
        signs=st.lists(st.sampled_from([-1, 0, 1]), min_size=4, max_size=4).filter(any),
        size=st.floats(0.01, 100),
        step=st.floats(1e-6, 1e3),
    )
    def test_no_weights_violate_it(
        self, seed: int, depth: int, outputs: int, signs: list[int], size: float, step: float
    ) -> None:
        """Weights of any sign and size; steps of any length in one input or in all. float64, to its rounding."""
        torch.manual_seed(seed)
        net = MonotoneNet(4, outputs, signs=signs, width=7, depth=depth).double().eval()
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(size * torch.randn_like(p))
        x = 3 * torch.randn(20, 4, dtype=torch.float64)
        direction = torch.tensor(signs, dtype=torch.float64)
        for way in (direction, direction * torch.eye(4, dtype=torch.float64)[next(i for i in range(4) if signs[i])]):
            with torch.no_grad():
                low, high = (net(rows)[:, -1] for rows in (x, x + step * way))
            assert bool((high >= low - 1e-9 * (1 + low.abs().max() + high.abs().max())).all())

    def test_by_hand(self) -> None:
        """depth 1, in NumPy."""
        torch.manual_seed(0)
        net = MonotoneNet(3, 1, signs=(-1, 0, 1), width=6, depth=1).double()
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(torch.randn_like(p))
        x = torch.randn(5, 3, dtype=torch.float64)
        w = {name: p.detach().numpy() for name, p in net.named_parameters()}
        chosen, other = x.numpy()[:, [0, 2]] * [-1, 1], x.numpy()[:, [1]]
        f = np.maximum(other @ w["free.0.weight"].T + w["free.0.bias"], 0)
        h = chosen @ np.abs(w["first.weight"]).T + w["first.bias"] + f @ w["join.weight"].T
        h = np.concatenate([np.maximum(h[:, :2], 0), np.minimum(h[:, 2:4], 0), np.clip(h[:, 4:], -1, 1)], axis=1)
        z = h @ np.abs(w["head.weight"]).T + w["head.bias"] + chosen @ np.abs(w["direct.weight"]).T
        z = z + f @ w["rest.weight"].T + w["rest.bias"]
        np.testing.assert_allclose(net(x).detach().numpy(), z, rtol=1e-9)
        assert net(x[None]).shape == (1, 5, 1)

    def test_two_classes_are_one_number(self) -> None:
        torch.manual_seed(0)
        net = MonotoneNet(3, 2, signs=(1,), width=4)
        out = net(torch.randn(5, 3))
        torch.testing.assert_close(out[:, 0], -out[:, 1])

    def test_described_and_built_again(self) -> None:
        net = nets.build("table", [4], 2, net="monotonenet", signs=[1, 0, -1], width=8, depth=1)
        other = nets.from_description(json.loads(json.dumps(nets.describe(net))))
        other.load_state_dict(net.state_dict())
        x = torch.randn(3, 4)
        torch.testing.assert_close(net.eval()(x), other.eval()(x))

    @pytest.mark.parametrize(
        ("outputs", "signs", "match"),
        [
            (3, (1,), "classes must be two with monotone columns, got 3"),
            (1, (), "signs must be 1, -1 or 0 .* and not 0 for all"),
            (1, (0, 0), "not 0 for all"),
            (1, (1, 0, 0, 0, 1), "at most 4 inputs"),
            (1, (2,), "1, -1 or 0"),
        ],
    )
    def test_refused(self, outputs: int, signs: tuple[int, ...], match: str) -> None:
        with pytest.raises(dashpot.ConfigError, match=match):
            MonotoneNet(4, outputs, signs=signs)

    def test_trained_with_a_recipe_that_pulls_the_other_way(self) -> None:
        """Targets that fall with the input: the best rising answer is flat. The recipe's zeros are zeros."""
        x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        torch.manual_seed(0)
        net = MonotoneNet(2, 1, signs=(1, 0), width=16)
        recipe = dashpot.Dropout(0.1) | dashpot.L1(1e-2) | dashpot.EMA(0.9)
        result = dashpot.fit(net, (x, -2 * x[:, :1]), recipe=recipe, epochs=30, seed=0, progress=False)
        assert dashpot.monotone_violations(result.model, x, {0: 1}).count == 0
        assert any(bool((p == 0).any()) for p in result.model.parameters() if p.ndim > 1)


class Falling(nn.Module):
    """Falls in the first input between 0 and 1, and nowhere else."""

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, 0] - 3 * x[:, 0].clamp(0, 1)).unsqueeze(1)


class TestViolations:
    def test_they_are_found_and_counted(self) -> None:
        """Of pairs (a, b), a < b uniform in [0, 1], all fall, by at most 2; those of equal numbers do not count."""
        x = torch.linspace(0, 1, 101, dtype=torch.float64).unsqueeze(1)
        found = dashpot.monotone_violations(Falling(), x, {0: 1}, pairs=2000, seed=1)
        assert found.pairs == 2000
        # One pair in 101 is of equal numbers: 1,980 +- 4.4 are left; 6 deviations.
        assert 1953 < found.count < 2000
        assert 1.5 < found.largest <= 2.0
        assert dashpot.monotone_violations(Falling(), x, {0: -1}, pairs=2000).count == 0
        assert dashpot.monotone_violations(Falling(), x - 3, {0: 1}, pairs=2000).count == 0

    @pytest.mark.parametrize(
        ("x", "signs"), [([[1.0], [2.0]], {}), ([[1.0], [2.0]], {1: 1}), ([[1.0], [2.0]], {0: 2}), ([1.0], {0: 1})]
    )
    def test_refused(self, x: Any, signs: dict[int, int]) -> None:
        with pytest.raises(ValueError, match=r"signs must be|x must be"):
            dashpot.monotone_violations(Falling(), x, signs)


class TestEstimators:
    def grid(self, column: str) -> Any:
        """One row of the table with this column going up."""
        import polars

        frame, _ = table()
        row = frame.head(1)
        return polars.concat([row.with_columns(polars.lit(v).alias(column)) for v in np.linspace(-4, 4, 60)])

    def test_regression(self) -> None:
        X, y = table()
        model = dashpot.DashpotRegressor(monotone={"age": 1, "debt": -1}, epochs=40, random_state=0).fit(X, 100 * y)
        assert isinstance(model.model_, MonotoneNet)
        assert (np.diff(model.predict(self.grid("age"))) >= -1e-9).all()
        assert (np.diff(model.predict(self.grid("debt"))) <= 1e-9).all()
        assert model.score(X, 100 * y) > 0.3
        free = dashpot.DashpotRegressor(epochs=40, random_state=0).fit(X, 100 * y)
        assert (np.diff(free.predict(self.grid("age"))) < 0).all()  # so that the data ask something of it

    def test_two_classes_and_missing_values(self) -> None:
        import polars

        X, y = table()
        X = X.with_columns(polars.when(polars.col("age") > 1.5).then(None).otherwise(polars.col("age")).alias("age"))
        labels = np.where(y > 0, "yes", "no")
        model = dashpot.DashpotClassifier(monotone={"age": 1}, epochs=20, random_state=0).fit(X, labels)
        assert (np.diff(model.predict_proba(self.grid("age"))[:, 1]) >= -1e-9).all()

    def test_refused_by_name(self) -> None:
        X, y = table()

        def fitted(monotone: Any, target: Any = y, kind: Any = dashpot.DashpotRegressor, **more: Any) -> None:
            kind(monotone=monotone, epochs=1, **more).fit(X, target)

        with pytest.raises(dashpot.UnknownNameError, match=r"monotone must be one of .* got 'aeg'. Did you mean 'age'"):
            fitted({"aeg": 1})
        with pytest.raises(dashpot.ConfigError, match="monotone must be a column of numbers.* got 'town'"):
            fitted({"town": 1})
        with pytest.raises(dashpot.ConfigError, match="monotone of 'age' must be 1 .* got 2"):
            fitted({"age": 2})
        with pytest.raises(dashpot.ConfigError, match="classes must be two with monotone columns, got 3"):
            fitted({"age": 1}, np.arange(200) % 3, dashpot.DashpotClassifier)
        with pytest.raises(dashpot.ConfigError, match="one value per row with monotone"):
            fitted({"age": 1}, np.stack([y, y], axis=1))
        with pytest.raises(dashpot.UnknownNameError, match="mlp"):
            fitted({"age": 1}, net={"net": "mlp"})
        with pytest.raises(dashpot.ConfigError, match="None for other data than tables"):
            dashpot.DashpotRegressor(monotone={"age": 1}).fit(np.zeros((8, 9, 9)), np.arange(8.0))

    def test_a_search(self) -> None:
        """All candidates, their ensemble, temperature and decision keep to it."""
        X, y = table()
        labels = np.where(y > 0, "yes", "no")
        config = dashpot.SearchConfig(trials=3, epochs=3, cv=2, explain=False)
        result = dashpot.tune((X, labels), config=config, monotone={"age": 1, "debt": -1}, progress=False)
        assert (np.diff(result.predict_proba(self.grid("age"))[:, 1]) >= -1e-6).all()
        assert (np.diff(result.predict_proba(self.grid("debt"))[:, 1]) <= 1e-6).all()
        kinds = {type(m).__name__ for m in result.network.modules()}
        assert "MonotoneNet" in kinds
        assert not kinds & {"TableNet", "MLP"}
        with pytest.raises(dashpot.ConfigError, match="None with a model of your own"):
            dashpot.tune((X, labels), model=lambda: nn.Linear(3, 2), monotone={"age": 1}, trials=2, progress=False)


class TestCommandLine:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        X, y = table()
        X.with_columns(y=np.where(y > 0, "yes", "no")).write_csv(tmp_path / "table.csv")
        return tmp_path

    def test_fit_and_predict(self, place: Path) -> None:
        arguments = ["--target", "y", "--epochs", "3", "--monotone", "age=1", "--monotone", "debt=-1"]
        run = CliRunner().invoke(APP, ["fit", str(place / "table.csv"), *arguments, "--out", str(place / "run")])
        assert run.exit_code == 0, run.output
        assert "monotone (certified): P(yes) rises with age, falls with debt" in run.output
        network, how, _ = load_run(place / "run")
        assert isinstance(network, MonotoneNet)
        x = torch.randn(40, *how.shape)
        names = list(how.feature_names)
        signs = {names.index("age"): 1, names.index("debt"): -1}
        assert dashpot.monotone_violations(network, x, signs).count == 0
        done = CliRunner().invoke(
            APP, ["predict", str(place / "run"), str(place / "table.csv"), "--out", str(place / "p.csv")]
        )
        assert done.exit_code == 0, done.output

    def test_refused(self, place: Path) -> None:
        arguments = ["fit", str(place / "table.csv"), "--target", "y", "--out", str(place / "no"), "--monotone"]
        for said, match in (("age", "written COLUMN=1"), ("town=1", "a column of numbers"), ("ag=1", "Did you mean")):
            done = CliRunner().invoke(APP, [*arguments, said])
            assert match in f"{done.output}{done.exception}"
        done = CliRunner().invoke(APP, [*arguments, "age=1", "--net", "net=mlp"])
        assert "monotonenet" in f"{done.output}{done.exception}"
        assert not (place / "no").exists()

    def test_compare(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("dashpot.comparison.compare.references", lambda task, kind: {})
        arguments = ["compare", str(place / "table.csv"), "--target", "y", "--epochs", "2", "--repeats", "1"]
        arguments += ["--with", "dropout", "--monotone"]
        done = CliRunner().invoke(APP, [*arguments, "age=1", "--out", str(place / "compared")])
        assert done.exit_code == 0, done.output
        certified = "monotone (certified): P(yes) rises with age"
        assert f"{certified}; of the networks, not of the reference models" in done.output
        record = json.loads((place / "compared" / "compare.json").read_text())
        assert record["monotone"] == certified
        assert all(run["error"] is None for arm in record["arms"] for run in arm["runs"])
        for said, match in (("age", "written COLUMN=1"), ("town=1", "a column of numbers"), ("ag=1", "Did you mean")):
            done = CliRunner().invoke(APP, [*arguments, said, "--out", str(place / "no")])
            assert done.exit_code != 0
            assert match in f"{done.output}{done.exception}"
        done = CliRunner().invoke(APP, [*arguments, "age=1", "--target", "town", "--out", str(place / "no")])
        assert "classes must be two" in f"{done.output}{done.exception}"
        assert not (place / "no").exists()

    def test_tune(self, place: Path) -> None:
        arguments = ["--target", "y", "--trials", "2", "--epochs", "2", "--cv", "2", "--no-explain", "--workers", "1"]
        more = ["--monotone", "age=1", "--with", "dropout", "--net", "width=16", "--out", str(place / "tuned")]
        done = CliRunner().invoke(APP, ["tune", str(place / "table.csv"), *arguments, *more], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert "monotone (certified): P(yes) rises with age" in done.output
        network, how, _ = load_run(place / "tuned")
        signs = {list(how.feature_names).index("age"): 1}
        assert dashpot.monotone_violations(network, torch.randn(40, *how.shape), signs).count == 0


def test_what_is_said() -> None:
    assert directions({"a": 1, "b": 0}) == {"a": 1}
    assert directions(None) == {}
    for bad in ("age=1", 3, ["age=2"], ["age"], {"a": True}, ["a=1", "a=-1"]):
        with pytest.raises(dashpot.ConfigError, match="monotone"):
            directions(bad)
    assert certificate({}) == ""
    assert certificate({"a": 1, "b": 1}) == "monotone (certified): the prediction rises with a, b"
