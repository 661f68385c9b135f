"""A report as a test reads it, and the bench that it shows."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

from edgekd.bench import BenchResult


class Parsed(HTMLParser):
    """Tags, visible text, links and loads of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def plain_bench(run: Path) -> tuple[Path, BenchResult]:
    """The bench that scored under the protocol `plain`."""
    (path,) = (run / "bench").glob("*-plain-*.json")
    return path, BenchResult.read(path)


def rows_of(page: str, section: str) -> list[dict[str, str]]:
    """The first table of a section: the text of each cell by its heading."""
    part = page[page.index(f"<h2>{section}") :]
    part = part[: part.index("</table>")]

    def text(cell: str) -> str:
        return unescape(re.sub(r"<[^>]*>", "", cell))

    headings = [text(cell) for cell in re.findall(r'<th scope="col">(.*?)</th>', part)]
    rows = re.findall(r'<tr><th scope="row">(.*?)</tr>', part)
    return [dict(zip(headings, map(text, re.split(r"</t[hd]>", row)), strict=False)) for row in rows]
