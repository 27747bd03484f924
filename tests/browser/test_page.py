"""The page of a run in a real browser: pointed at, clicked, walked by keys, narrow, dark, printed, read aloud."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from axe_core_python.selenium import Axe
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By

import dashpot
from dashpot.core.language import speaking
from dashpot.report.page.blocks import Page
from dashpot.report.page.compare import compare_page
from dashpot.report.page.fit import fit_page
from dashpot.report.page.path import path_page
from dashpot.report.page.source import Source
from dashpot.report.page.tune import tune_page
from dashpot.report.page.write import write_page
from tests.report import records
from tests.report.tune_record import searched
from tests.report.typed import FITTED, walked

pytestmark = pytest.mark.browser
RECIPE = dashpot.Recipe.coerce("mixup:alpha=0.2 | l1:strength=1e-4")
LAYER = {"name": "0.weight", "values": 10, "zeros": 4, "counts": [1, 3, 2], "edges": [-1.0, -0.3, 0.3, 1.0]}
SOURCE = Source("runs/tune-1", "wine.csv", "quality", RECIPE, [LAYER])
CURVE = [{"epoch": e, "train_loss": 1 / e, "val_loss": 0.5 + 1 / e} for e in range(1, 9)]
CONFUSED = {"classes": ["猫", "狗"], "confusion": [[8.0, 2.0], [1.0, 9.0]], "mistakes": [{"row": 3, "truth": "猫"}]}
PAGES: dict[str, Page] = {
    "tune": tune_page(searched() | {"answers": CONFUSED}, SOURCE),
    "fit": fit_page(FITTED.to_dict() | {"answers": CONFUSED}, CURVE, SOURCE),
    "compare": compare_page(records.drawn()),
    "path": path_page(walked()),
}
with speaking("zh"):
    PAGES["Chinese tune"] = tune_page(searched() | {"answers": CONFUSED}, SOURCE)
    PAGES["Chinese compare"] = compare_page(records.drawn())


@pytest.fixture
def opened(driver: Any, tmp_path: Path) -> Any:
    def go(name: str, width: int = 1100, *, dark: bool = False) -> Any:
        path = write_page(PAGES[name], tmp_path / "report.html")
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": [feature]})
        driver.get_log("performance")
        driver.get_log("browser")
        driver.get(path.as_uri())
        return driver

    return go


@pytest.mark.parametrize("name", PAGES)
def test_a_page_sends_no_request_and_has_no_mistake(opened: Any, name: str) -> None:
    browser = opened(name)
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == 1
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(opened: Any, name: str, dark: bool) -> None:
    found = Axe().run(opened(name, dark=dark))["violations"]
    serious = [(v["id"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in ("serious", "critical")]
    assert serious == []


@pytest.mark.parametrize("name", PAGES)
def test_a_narrow_page_is_not_wider_than_its_window(opened: Any, name: str) -> None:
    browser = opened(name, 360)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360


def test_a_line_of_the_race_says_what_it_is(opened: Any) -> None:
    browser = opened("tune")
    svg = next(s for s in browser.find_elements(By.CSS_SELECTOR, "svg[data-walk]"))
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", svg)
    chosen = svg.find_element(By.CSS_SELECTOR, "path.line.chosen")
    key, d = chosen.get_attribute("data-k"), chosen.get_attribute("d")
    x, y = map(float, d[1:].split("L")[-1].split())
    at = browser.execute_script(
        "const p = new DOMPoint(arguments[1], arguments[2]).matrixTransform(arguments[0].getScreenCTM());"
        "return [p.x, p.y]",
        svg,
        x,
        y,
    )
    tip = browser.find_element(By.ID, "tip")
    assert not tip.is_displayed()
    actions = ActionChains(browser)
    actions.w3c_actions.pointer_action.move_to_location(int(at[0]), int(at[1]))
    actions.perform()
    assert tip.is_displayed()
    assert tip.text.split("\n") == [line for line in PAGES["tune"].tips[key] if line]
    assert "on" in chosen.get_attribute("class").split()


def test_marks_are_walked_by_the_arrow_keys_and_told(opened: Any) -> None:
    browser = opened("tune")
    svg = browser.find_element(By.CSS_SELECTOR, "svg[data-walk]")
    browser.execute_script("arguments[0].focus()", svg)
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    said = browser.find_element(By.ID, "said")
    first = said.get_attribute("textContent")
    assert first.startswith("#")
    assert "chosen" in first
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    assert said.get_attribute("textContent") != first
    ActionChains(browser).send_keys(Keys.ARROW_LEFT).perform()
    assert said.get_attribute("textContent") == first
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert not browser.find_element(By.ID, "tip").is_displayed()


def test_a_text_is_copied(opened: Any) -> None:
    browser = opened("tune")
    copy = browser.find_elements(By.CSS_SELECTOR, ".copy")[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", copy)
    browser.execute_script(
        "window.copied = ''; document.addEventListener('copy', () => {"
        " window.copied = String(document.activeElement.value || getSelection()); });"
        " navigator.clipboard && (navigator.clipboard.writeText ="
        " async (text) => { window.copied = text; });"
    )
    button = copy.find_element(By.TAG_NAME, "button")
    button.click()
    assert browser.execute_script("return window.copied") == copy.find_element(By.TAG_NAME, "code").text
    assert button.text == "Copied"


def test_a_table_is_sorted_and_opened(opened: Any) -> None:
    browser = opened("tune")
    table = browser.find_element(By.CSS_SELECTOR, "table[data-sort]")
    head = next(h for h in table.find_elements(By.CSS_SELECTOR, "thead th") if h.text == "epochs")
    column = table.find_elements(By.CSS_SELECTOR, "thead th").index(head) + 1
    button = head.find_element(By.TAG_NAME, "button")
    for order in ("ascending", "descending"):
        browser.execute_script("arguments[0].click()", button)
        assert head.get_attribute("aria-sort") == order
        cells = table.find_elements(By.CSS_SELECTOR, f"tbody tr > :nth-child({column})")
        values = [int(cell.get_attribute("textContent")) for cell in cells]
        assert values == sorted(values, reverse=order == "descending")
        assert len(set(values)) > 1
    rest = table.find_element(By.CSS_SELECTOR, "tbody.more")
    assert not rest.is_displayed()
    more = table.find_element(By.XPATH, "./ancestor::div[@class='scroll']/following-sibling::button")
    browser.execute_script("arguments[0].click()", more)
    assert rest.is_displayed()
    assert more.text == "Show fewer"


def test_a_page_in_chinese_speaks_chinese_when_it_is_used(opened: Any) -> None:
    browser = opened("Chinese tune")
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "zh-CN"
    theme = browser.find_element(By.ID, "theme")
    assert theme.text == "深色"
    theme.click()
    assert theme.text == "浅色"
    more = browser.find_element(By.XPATH, "//button[contains(., '再显示')]")
    browser.execute_script("arguments[0].click()", more)
    assert more.text == "收起"
    svg = browser.find_element(By.CSS_SELECTOR, "svg[data-walk]")
    browser.execute_script("arguments[0].focus()", svg)
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    assert "选中" in browser.find_element(By.ID, "said").get_attribute("textContent")


def test_words_in_drawings_stay_inside_them(opened: Any) -> None:
    """Ideographs are wider than letters: the names beside marks and lines have room all the same."""
    for name in ("Chinese tune", "Chinese compare"):
        cut = opened(name).execute_script(
            "return [...document.querySelectorAll('svg')].flatMap((svg) => [...svg.querySelectorAll('text')]"
            ".filter((t) => { const b = t.getBBox(), v = svg.viewBox.baseVal;"
            " return !t.closest('[transform]') && (b.x < -2 || b.x + b.width > v.width + 2); })"
            ".map((t) => t.textContent))"
        )
        assert cut == []


def test_light_and_dark_follow_the_system_and_the_button(opened: Any) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor"
    browser = opened("fit")
    light = browser.execute_script(paper)
    browser.find_element(By.ID, "theme").click()
    dark = browser.execute_script(paper)
    assert light != dark
    browser = opened("fit", dark=True)
    assert browser.execute_script(paper) == dark
    browser.find_element(By.ID, "theme").click()
    assert browser.execute_script(paper) == light


def test_a_page_is_printed(opened: Any) -> None:
    browser = opened("tune", dark=True)
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert printed.startswith(b"%PDF")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    assert browser.execute_script("return getComputedStyle(document.querySelector('nav')).display") == "none"
