"""Every link of a Markdown file that points into the repository leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from support.paths import REPOSITORY

FOLDERS = (".github", "docs", "examples", "helm", "tests")
PAGES = sorted({*REPOSITORY.glob("*.md"), *(p for f in FOLDERS for p in (REPOSITORY / f).rglob("*.md"))})


@cache
def tokens(page: Path) -> tuple[Token, ...]:
    return tuple(MarkdownIt("commonmark").enable("table").parse(page.read_text()))


def links(page: Path) -> Iterator[str]:
    for block in tokens(page):
        for token in block.children or ():
            if token.type in ("link_open", "image"):
                yield str(token.attrGet("href") or token.attrGet("src"))


def slug(title: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@cache
def anchors(page: Path) -> set[str]:
    """Anchors of headings, a repeated one numbered, and those that the page sets itself."""
    seen: dict[str, int] = {}
    named = set(re.findall(r'<a (?:id|name)="([^"]+)"', page.read_text()))
    blocks = tokens(page)
    for opening, inline in pairwise(blocks):
        if opening.type == "heading_open":
            words = "".join(t.content for t in inline.children or () if t.type in ("text", "code_inline"))
            count = seen[slug(words)] = seen.get(slug(words), -1) + 1
            named.add(f"{slug(words)}-{count}" if count else slug(words))
    return named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_into_the_repository_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = page.parent / unquote(parts.path) if parts.path else page
        has_anchors = target.suffix == ".md" and target.exists()
        if not target.exists() or (has_anchors and parts.fragment and parts.fragment not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_a_link_to_nowhere_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `word`, two\n\n# Same\n\n# Same\n\n[a](#one-word-two) | ![b](none.png)\n")
    assert list(links(page)) == ["#one-word-two", "none.png"]
    assert anchors(page) == {"one-word-two", "same", "same-1"}
