"""The site of the documents: every page is on it, and its links lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from devcluster import site
from devcluster.errors import DevClusterError
from support.paths import REPOSITORY


def test_every_document_has_a_place_at_the_side() -> None:
    named = [page for entry in site.navigation() for pages in entry.values() for page in pages]
    assert len(named) == len(set(named))
    assert {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "docs").rglob("*.md")} <= set(named)


@pytest.mark.slow
def test_it_is_built_with_search_and_no_link_that_leads_nowhere(tmp_path: Path) -> None:
    site.build(tmp_path / "site")
    built = (tmp_path / "site" / "docs" / "API" / "index.html").read_text()
    assert "spec.source" in built
    assert "INSTALL" in (tmp_path / "site" / "search.json").read_text()
    assert "make demo" in (tmp_path / "site" / "index.html").read_text()
    site.build(tmp_path / "site")  # in the place of the earlier one


def test_nothing_but_a_site_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(DevClusterError, match="holds something else than a site"):
        site.build(tmp_path)
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "README.md").write_text("[there](nowhere.md)")
    monkeypatch.setattr(site, "REPOSITORY", tmp_path)
    monkeypatch.setattr(site, "_COPIED", ("README.md",))
    monkeypatch.setattr(site, "NAVIGATION", {"Start": ("README.md",)})
    with pytest.raises(DevClusterError, match="page does not exist"):
        site.build(tmp_path / "site")
