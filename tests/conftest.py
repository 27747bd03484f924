"""Shared by all tests."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

# No test fails because a machine is slow.
hypothesis.settings.register_profile("dashpot", deadline=None)
hypothesis.settings.load_profile("dashpot")
THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))
"""``scripts/test`` runs what computes with two, too."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shapes", action="store_true", help="check the jaxtyping shapes of the pure functions at run time"
    )


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell that runs the suite in the background lets it ignore Ctrl-C, and all that it starts; some tests press
        # it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--shapes"):
        from jaxtyping import install_import_hook

        import tests.shapes  # noqa: F401  (the hook looks it up by name)

        # Before anything imports dashpot; the hook rewrites modules as they load.
        install_import_hook("dashpot.techniques", "tests.shapes.checked")


@pytest.fixture(autouse=True)
def alike() -> None:
    """Every test begins alike, whichever ran before it: the same random state, and one thread, since two workers with a
    thread pool each would only get in the other's way.
    """
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The command in an empty folder: what it says, and that it ends as expected."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")  # which language the command speaks

    from dashpot.cli.app import main

    def run(*arguments: object, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["dashpot", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert (ended.value.code or 0) == code, said.err
        assert "Traceback" not in said.err
        return said.out + said.err

    return run
