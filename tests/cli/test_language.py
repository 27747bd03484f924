"""``--lang`` and the environment: what a command says and the page that it writes."""

# ruff: noqa: RUF001 - Chinese punctuation
from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import dashpot
from dashpot.cli.app import app
from dashpot.core.language import columns, say, speaking, spoken
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


COMMANDS = ("tune", "fit", "predict", "compare", "path", "report", "robustness", "inspect", "shrink", "export")
COMMANDS += ("show-augment", "augment-text", "techniques", "doctor")


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_is_in_chinese_and_whole(command: Callable[..., str], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = command(*filter(None, [name]), "--help", "--lang", "zh")
    assert "…" not in said  # what a cell that is too narrow would cut off
    assert {"选项", "显示本帮助并退出。"} <= set(said.replace("│", " ").split())
    assert all(columns(line) <= 80 for line in said.splitlines())
    # Beside Chinese stand names and values only, never the words that make an English sentence.
    assert not re.search(r"\b(the|which|where|more|than|with|that|and|of)\b", said.replace("--with", ""))


def test_every_help_text_has_its_chinese(command: Callable[..., str]) -> None:
    command("--help")  # which registers all of them
    group: Any = get_command(app)
    for one in (group, *(one for one in group.commands.values() if not one.hidden)):
        texts = [" ".join(part.split()) for part in (one.help or "").split("\n\n")]
        texts += [parameter.help or "" for parameter in one.params]
        with speaking("zh"):
            assert not [text for text in texts if text and not re.search("[\u4e00-\u9fff]", say(text))]


def test_help_is_english_again_and_shows_its_brackets(command: Callable[..., str]) -> None:
    command("tune", "--help", "--lang", "zh")
    said = " ".join(command("tune", "--help").replace("│", " ").split())
    assert "Folds of the cross-validation. [default: 5]" in said
    assert "Show this message and exit." in said
    assert not re.search("[\u4e00-\u9fff]", said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit", "none.csv", "--target", "y"], "错误：数据 'none.csv' 不存在"),
        (
            ["inspect", "none"],
            "错误：RUN 应是已完成的 `dashpot fit` 或 `dashpot tune` 的文件夹；none/model.safetensors",
        ),
        (["report", "none"], "错误：RUN 应是一次运行的文件夹；none 不存在。"),
        (["fit", "--with", "dropout:p=2"], "错误：Dropout.p 应是 [0, 1] 内的数，而不是 2。"),
        (["tune", "--metric", "foo"], "错误：metric 应为 accuracy,"),
        (
            ["tune", "--budget", "soon"],
            "错误：--budget 应为大于 0 的秒数，或 90s、10m、2h 这样的时间，而不是 'soon'。",
        ),
        (["fit", "--nonsense"], "dashpot fit --help' 查看帮助。"),
        # One of no known form stays as it is raised.
        (["fit", "--with", "l1:strength=5to1to"], "错误：L1.strength must be"),
    ],
)
def test_an_error_is_told_in_chinese(command: Callable[..., str], arguments: list[str], said: str) -> None:
    told = command(*arguments, "--lang", "zh", code=2)
    assert said in told
    assert "error: " in command(*arguments, code=2).lower() or "--nonsense" in arguments


def test_an_unknown_language_is_told_in_that_of_the_environment(
    command: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    told = command("report", "compare", "--lang", "fr", code=2)
    assert "错误：--lang 应为 en, zh 之一，而不是 'fr'" in told


def test_tables_of_weights_and_of_a_smaller_network_are_in_chinese() -> None:
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight[1] = 0.0
    found = dashpot.inspect(model)
    with speaking("zh"):
        head, first, _ = str(found).splitlines()
        assert " ".join(head.split()) == "层 形状 范数 零权重 全零行 全零列 秩 惩罚 比例"
        assert "1 / 4" in first
        # Columns are as wide on a terminal, where ideographs take two places.
        assert columns(head[: head.index("全零行")]) == columns(first[: first.index("1 / 4")])
        assert found.details().splitlines()[0].split()[:3] == ["层", "零权重", "近于零"]
        assert "恰为零" in found._repr_html_()
        smaller = SMALLER.summary()
    assert smaller.splitlines()[0].split() == ["之前", "之后", "倍数"]
    assert not re.search(r"\b(parameters|before|after|smaller|test|outputs)\b", smaller)
    assert "parameters" in SMALLER.summary()
