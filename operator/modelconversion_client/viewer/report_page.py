"""The page around a report, and what a browser is told about the report itself. Pure.

A report is a file of a bucket, and whoever can write there can write anything into it. So it is shown as what
it is, a page of a stranger: in a frame without scripts, forms, pop-ups and a way to the page around it, and
with a policy that lets it load nothing. The two do not rely on one another: the frame holds where a browser
does not know the policy, and the policy where the report is opened without the frame.

One thing neither stops: ``<link rel="preconnect">`` has a browser connect to a server of the stranger's,
which learns by that who looks, and when. So no link element is left; reports of ours have none.
"""

from __future__ import annotations

import re
from typing import Final

from modelconversion_api.markup import tag
from modelconversion_client.resources import Conversion
from modelconversion_client.viewer.layout import link, page

MOST_REPORT_BYTES: Final = 16 << 20
"""The largest report that is shown."""
REPORT_POLICY: Final = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:;"
    " form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)


_LINK: Final = re.compile("<(?=link)", re.IGNORECASE)


def harmless(report: bytes) -> bytes:
    """Return a report without link elements, in UTF-8: in another encoding they could hide."""
    return _LINK.sub("&lt;", report.decode("utf-8", errors="replace")).encode()


def report_page(found: Conversion) -> str:
    """Return the page around the report of a conversion."""
    query = {"namespace": found.meta.namespace, "name": found.name}
    frame = tag(
        "iframe",
        src=link("report.html", **query),
        sandbox="",
        referrerpolicy="no-referrer",
        title=f"Report of {found.name}",
    )
    return page(
        f"Report of {found.name}",
        tag("p", tag("a", f"Back to {found.name}", href=link("conversion", **query))),
        tag(
            "p",
            "This is a file from the bucket. It cannot run anything, and cannot load anything.",
            class_="note",
        ),
        frame,
        namespace=found.meta.namespace,
        current="conversion",
    )
