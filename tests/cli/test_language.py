"""``--lang`` and the environment: what a command says and the page that it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dashpot.core.language import spoken
from tests.report import records
from tests.report.typed import SMALLER, WORSE


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name, file, record in (
        ("compare", "compare.json", records.drawn()),
        ("robustness", "robustness.json", WORSE.to_dict()),
        ("shrink", "shrunk.json", SMALLER.to_dict()),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(json.dumps(record), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", ["compare", "robustness", "shrink"])
def test_a_page_is_made_again_in_the_other_language(command: Callable[..., str], runs: Path, name: str) -> None:
    page = runs / name / "report.html"
    for arguments, language, first in (
        (["report", name, "--lang", "zh"], "zh-CN", "网页"),
        (["report", name], "en", "page: "),
        (["--lang=zh", "report", name], "zh-CN", "网页"),
        (["report", "--lang", "en", name], "en", "page: "),
    ):
        assert command(*arguments).startswith(first)
        assert f'<html lang="{language}"' in page.read_text(encoding="utf-8")
        assert spoken() == "en"


def test_the_environment_says_which_and_the_option_counts_more(
    command: Callable[..., str], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    said = command("report", "compare")
    assert "接下来" in said
    assert "next:" not in said
    assert "next:" in command("report", "compare", "--lang", "en")
    monkeypatch.delenv("LC_ALL")
    monkeypatch.setenv("LANG", "zh_TW.UTF-8")
    monkeypatch.delenv("LC_MESSAGES", raising=False)
    assert "接下来" in command("report", "compare")


def test_an_unknown_language_is_refused(command: Callable[..., str], runs: Path) -> None:
    said = command("report", "compare", "--lang", "fr", code=2)
    assert "--lang must be one of en, zh, got 'fr'" in said
    assert not (runs / "compare" / "report.html").exists()


def test_help_names_the_option(command: Callable[..., str]) -> None:
    assert "--lang" in command("report", "--help")
    assert "--lang" in command("--help")
