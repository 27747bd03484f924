"""The page of a search: its size, the time to write it, and what a browser takes to show it and to point at a line.

Searches of 20, 200 and 2,000 candidates, made up as the tests make them. Writing is timed with everything imported,
the median of five, each page in turn. The browser is a headless Chromium that opens the file from disk: the time to the
first paint, and the longest task while the pointer moves across the race in 60 steps.

Run: ``python benchmarks/speed/page.py``; needs the extra ``browser``, Chromium and its driver.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]
from common import write_result

from dashpot.report.page.tune import tune_page
from dashpot.report.page.write import render
from tests.report.tune_record import searched

SIZES = (20, 200, 2000)
POINT = """
const svg = document.querySelector("svg[data-walk]"), box = svg.getBoundingClientRect();
let worst = 0;
for (let i = 0; i < 60; i++) {
  const at = { clientX: box.left + box.width * (i + 0.5) / 60, clientY: box.top + box.height / 2, bubbles: true };
  const started = performance.now();
  svg.dispatchEvent(new PointerEvent("pointermove", at));
  worst = Math.max(worst, performance.now() - started);
}
return worst;
"""


def browser() -> Any:
    """A headless Chromium."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking"):
        options.add_argument(f"--{flag}")
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def main() -> None:
    searches = {size: searched(size) for size in SIZES}
    seconds: dict[int, list[float]] = {size: [] for size in SIZES}
    pages = {size: render(tune_page(record)) for size, record in searches.items()}  # with everything imported
    for _ in range(5):
        for size, record in searches.items():
            started = time.perf_counter()
            render(tune_page(record))
            seconds[size].append(time.perf_counter() - started)
    found = []
    driver = browser()
    with tempfile.TemporaryDirectory() as folder:
        for size, html in pages.items():
            path = Path(folder) / f"{size}.html"
            path.write_text(html, encoding="utf-8")
            paints, moves = [], []
            for _ in range(5):
                driver.get(path.as_uri())
                script = "return performance.getEntriesByName('first-contentful-paint')[0].startTime"
                time.sleep(0.5)
                paints.append(driver.execute_script(script))
                moves.append(driver.execute_script(POINT))
            found.append(
                {
                    "candidates": size,
                    "kilobytes": round(len(html.encode()) / 1000, 1),
                    "seconds to make": round(statistics.median(seconds[size]), 3),
                    "ms to first paint": round(statistics.median(paints), 1),
                    "ms of the slowest move of the pointer": round(statistics.median(moves), 2),
                }
            )
            print(found[-1], flush=True)
    driver.quit()
    write_result("page", {"what": __doc__.split("\n")[0], "aim": "1 MB and 2 s at 200 candidates", "pages": found})


if __name__ == "__main__":
    main()
