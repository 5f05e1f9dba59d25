"""Reads a page as a browser would, and fails where it is broken."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "input", "link"}


class Checker(HTMLParser):
    """Every element closed, every image with a text, every id once, nothing loaded from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            assert "alt" in found
        if "id" in found:
            self.ids.append(found["id"] or "")
        if tag == "th":
            assert found["scope"] in ("row", "col")
        self.links += [found[name] or "" for name in ("href", "src") if name in found]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
