"""Reading the report as a strict reader: tags balanced, tables by their rows, what is loaded."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "link", "img", "br"}
HIDDEN = {"style", "svg"}


@dataclass
class Page(HTMLParser):
    """An HTML page.

    Attributes:
        text: What is read, white space collapsed.
        tables: Rows of cells of each table.
        images: Attributes of each image.
        addresses: Values of href and src.
        ids: Values of id.
        headings: Text of h1 and h2.
        banners: Text of each element with the role note.
    """

    source: str
    text: str = ""
    tables: list[list[list[str]]] = field(default_factory=list)
    images: list[dict[str, str]] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    headings: list[str] = field(default_factory=list)
    banners: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self._banner_depth: int | None = None
        self.feed(self.source)
        assert not self._open, f"left open: {self._open}"
        for texts in (self.headings, self.banners):
            texts[:] = [" ".join(text.split()) for text in texts]
        self.tables = [
            [[" ".join(cell.split()) for cell in row] for row in table] for table in self.tables
        ]
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.addresses += [given[key] for key in ("href", "src") if key in given]
        self.ids += [given["id"]] if "id" in given else []
        assert tag != "script"
        assert not [key for key in given if key.startswith("on")]
        if tag == "img":
            self.images.append(given)
        if tag == "th":
            assert given["scope"] in ("row", "col")
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag in ("h1", "h2"):
            self.headings.append("")
        if given.get("role") == "note":
            self.banners.append("")
            self._banner_depth = len(self._open)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self._open, f"<{tag}/> is no HTML"

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1] == tag, f"</{tag}> closes <{self._open[-1]}>"
        self._open.pop()
        if self._banner_depth == len(self._open):
            self._banner_depth = None

    def handle_data(self, data: str) -> None:
        if HIDDEN & set(self._open):
            return
        self.text += data
        if {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data + " "
        if {"h1", "h2"} & set(self._open):
            self.headings[-1] += data
        if self._banner_depth is not None:
            self.banners[-1] += data

    def table(self, *headings: str) -> dict[str, list[str]]:
        """Return the rows of the one table whose headings begin so, by first cell."""
        (found,) = [t for t in self.tables if t[0][: len(headings)] == list(headings)]
        return {row[0]: row[1:] for row in found[1:]}


def read(path: Path) -> Page:
    """Read a report and check what holds of each."""
    page = Page(path.read_text(encoding="utf-8"))
    assert not re.search(r"\b(?:None|nan|NaN|null|undefined|inf|Infinity)\b|[{}]", page.text)
    assert "nan%" not in page.source
    assert [a for a in page.addresses if not a.startswith(("data:", "#"))] == []
    assert {a[1:] for a in page.addresses if a[0] == "#"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert not re.search(r"@import|url\(|https?:", page.source)
    assert all(image["alt"] for image in page.images)
    for table in page.tables:
        assert len({len(row) for row in table}) == 1
    return page
