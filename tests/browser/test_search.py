"""The documentation's search, from disk: the site's theme finds pages without a network, in both languages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

pytestmark = pytest.mark.browser
CONF = Path(__file__).parents[2] / "docs" / "conf.py"


CASES = [
    ("en", "shrinkage", "First"),
    ("zh_CN", "shrinkage", "First"),
    ("zh_CN", "早停", "Second"),
    ("zh_CN", "权重衰减", "Second"),
]


@pytest.mark.parametrize(("language", "word", "wanted"), CASES)
def test_a_word_is_found(driver: Any, tmp_path: Path, language: str, word: str, wanted: str) -> None:
    theme = re.search(r'^html_theme = "(\w+)"$', CONF.read_text(encoding="utf-8"), re.MULTILINE)
    assert theme is not None
    lines = [
        f"import sys; sys.path.insert(0, {str(CONF.parent / '_ext')!r})",
        "extensions = ['chinese']",
        f"html_theme, language = {theme[1]!r}, {language!r}",
    ]
    (tmp_path / "conf.py").write_text("\n".join(lines), encoding="utf-8")
    for name, text in (("index", ""), ("first", "Much shrinkage."), ("second", "用早停与权重衰减。")):
        heading = f"{name.title()}\n======\n\n{text}\n"
        more = "\n.. toctree::\n\n   first\n   second\n" if name == "index" else ""
        (tmp_path / f"{name}.rst").write_text(heading + more, encoding="utf-8")
    site = tmp_path / "site"
    subprocess.run([sys.executable, "-m", "sphinx", "-q", "-b", "html", str(tmp_path), str(site)], check=True)
    driver.get("about:blank")
    driver.get_log("performance")
    driver.get(f"{(site / 'search.html').as_uri()}?q={word}")
    found = WebDriverWait(driver, 60).until(lambda page: page.find_elements(By.CSS_SELECTOR, "#search-results li a"))
    assert [link.text for link in found] == [wanted]
    sent = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
