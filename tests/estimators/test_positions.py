"""Trained on one kind of table, asked with another: without names on both sides the position of a column counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse

from dashpot import DashpotClassifier

X = np.random.default_rng(0).normal(size=(60, 3))
Y = (X[:, 0] > 0).astype(int)
FORMS: dict[str, Any] = {
    "array": np.asarray,
    "sparse": scipy.sparse.csr_array,
    "pandas": lambda x: pd.DataFrame(x, columns=list("abc")[: x.shape[1]]),
    "numbered": pd.DataFrame,
    "polars": lambda x: pl.DataFrame(x, schema=list("abc")[: x.shape[1]]),
}


@pytest.fixture(scope="module")
def models() -> dict[str, DashpotClassifier]:
    return {name: DashpotClassifier(width=4, epochs=2, random_state=0).fit(form(X), Y) for name, form in FORMS.items()}


@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")
@pytest.mark.parametrize("new", FORMS)
@pytest.mark.parametrize("trained", FORMS)
def test_every_pair(models: dict[str, DashpotClassifier], trained: str, new: str) -> None:
    np.testing.assert_allclose(
        models[trained].predict_proba(FORMS[new](X)), models["array"].predict_proba(X), rtol=1e-6
    )


@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")
@pytest.mark.parametrize("new", FORMS)
@pytest.mark.parametrize("trained", FORMS)
def test_another_count_of_columns_is_told(models: dict[str, DashpotClassifier], trained: str, new: str) -> None:
    named = {"pandas", "polars"}
    message = (
        "feature names"
        if {trained, new} <= named
        else "X has 2 features, but DashpotClassifier is expecting 3 features"
    )
    with pytest.raises(ValueError, match=message):
        models[trained].predict(FORMS[new](X[:, :2]))


@pytest.mark.parametrize("form", ["pandas", "polars"])
def test_frames_in_another_order_stay_refused(models: dict[str, DashpotClassifier], form: str) -> None:
    with pytest.raises(ValueError, match="same order"):
        models[form].predict(FORMS[form](X)[["c", "b", "a"]])
