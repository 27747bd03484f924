"""Checks of a built site: no page loads anything from the network, and every local link and picture is there.

Run: ``python docs/_ext/checks.py FOLDER``
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "link": ("href",),
    "video": ("src",),
}
"""What a browser fetches by itself; a link that is clicked is none of it."""
FROM_STYLE = re.compile(r"url\(\s*['\"]?(?:https?:)?//|@import\s+['\"](?:https?:)?//")
SAID_ONLY = ("canonical", "alternate", "author", "license", "prev", "next", "index", "search")
"""Relations of ``<link>`` that load nothing."""


class Page(HTMLParser):
    """What a page loads, and where it leads to."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.names |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "link" and found.get("rel") in SAID_ONLY:
            return
        for name in LOADS.get(tag, ()):
            value = found.get(name, "")
            self.loads += [part.split()[0] for part in value.split(",") if part.split()] if "set" in name else [value]
        self.loads = [value for value in self.loads if value and not value.startswith("data:")]


def problems(folder: Path) -> Iterator[str]:
    """One sentence for each thing that is wrong."""
    pages = {path.resolve(): Page() for path in folder.rglob("*.html") if "_static" not in path.parts}
    for path, page in pages.items():
        page.feed(path.read_text(encoding="utf-8"))
    for path, page in pages.items():
        for url in page.loads + page.links:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                if url in page.loads:
                    yield f"{path}: loads {url}"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                yield f"{path}: {url} is not there"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].names:
                yield f"{path}: {url} has no such place"
    for path in folder.rglob("*.css"):
        if FROM_STYLE.search(path.read_text(encoding="utf-8")):
            yield f"{path}: a style loads from the network"


def main() -> None:
    found = list(dict.fromkeys(problems(Path(sys.argv[1]))))
    print("\n".join(found[:50]))
    sys.exit(f"{len(found)} problems in {sys.argv[1]}" if found else 0)


if __name__ == "__main__":
    main()
