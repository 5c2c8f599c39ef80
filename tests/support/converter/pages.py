"""A reader of report pages, and texts that would break a page that does not escape them."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "br", "input", "link"}


class Page(HTMLParser):
    """A page's elements and texts; an element that is not closed where it should be is an error."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == name]

    def with_class(self, name: str) -> list[dict[str, str | None]]:
        return [a for _, a in self.elements if name in (a.get("class") or "").split()]


HOSTILE = [
    "</style></title><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' style='position:fixed",
    "<!-- ]]> &lt;b&gt; &amp; &#60;",
    "\x00\x1b\x0b\u202e\ufffe",
]
