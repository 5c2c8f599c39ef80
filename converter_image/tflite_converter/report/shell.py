"""What every page of ours stands in: a head with a policy that lets nothing in, and one style sheet."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources

from modelconversion_api.markup import Child, document, styles, tag

_STYLE_SHEET = "html_report.css"


def whole_page(title: str, *body: Child) -> str:
    """Return a page that needs nothing else: no script, no external resource, no inline styles."""
    css = _css()
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        styles(css),
    )
    return document(head, tag("body", *body))


@cache
def _css() -> str:
    return resources.files(__package__).joinpath(_STYLE_SHEET).read_text(encoding="utf-8")
