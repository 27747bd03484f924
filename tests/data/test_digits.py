"""The digits without scikit-learn are those of scikit-learn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from dashpot.data import digits


def demand_those_of_scikit_learn() -> None:
    names, pixels, labels = digits.digits()
    whole = load_digits()
    assert list(names) == list(whole.feature_names)
    assert np.array_equal(pixels, whole.data)
    assert np.array_equal(labels, whole.target)
    assert (pixels.dtype, labels.dtype) == (whole.data.dtype, whole.target.dtype)


def test_the_file_holds_what_scikit_learn_gives() -> None:
    demand_those_of_scikit_learn()


def test_a_version_that_keeps_it_elsewhere_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "FILE", "nowhere.csv.gz")
    demand_those_of_scikit_learn()


def test_a_training_on_digits_needs_no_scikit_learn(tmp_path: Path) -> None:
    code = (
        "import contextlib, sys; from dashpot.cli import app; sys.argv[1:] = ['fit', '--epochs', '1', '--out', 'run']\n"
        "with contextlib.suppress(SystemExit): app.main()\n"
        "print([name for name in ('sklearn', 'scipy.stats', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
