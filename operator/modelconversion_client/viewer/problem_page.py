"""The pages that say why something cannot be shown, and what to do. Pure."""

from __future__ import annotations

from typing import Final

from modelconversion_api.base import GROUP
from modelconversion_api.markup import Child, Markup, tag
from modelconversion_client import errors
from modelconversion_client.viewer.layout import page, section, with_code
from modelconversion_client.viewer.listing import KINDS

_STATUS: Final[dict[type[errors.ConversionClientError], tuple[int, str]]] = {
    errors.UnauthorizedError: (401, "You are not logged in"),
    errors.ForbiddenError: (403, "You may not see this"),
    errors.NotInstalledError: (404, "This is not installed"),
    errors.NotFoundError: (404, "There is no such object"),
    errors.RefusedError: (400, "The API server refuses this"),
    errors.UnreachableError: (502, "The API server cannot be reached"),
    errors.ExpiredError: (410, "The list is too old"),
    errors.TooLargeError: (502, "This is too large to be shown"),
    errors.ServerError: (502, "The API server cannot answer"),
}
"""The status and the title of a page by what went wrong; the first that fits counts."""

_OTHER: Final = (502, "This cannot be fetched")
"""Of what is neither here nor the API server's: a store."""


def status_of(error: errors.ConversionClientError) -> tuple[int, str]:
    """Return the HTTP status and the title for an error."""
    return next((row for kind, row in _STATUS.items() if isinstance(error, kind)), _OTHER)


def error_page(error: errors.ConversionClientError, namespace: str) -> str:
    """Return the page of an error."""
    _, title = status_of(error)
    return problem_page(
        title,
        tag("p", error.cause),
        tag("p", "Next: ", with_code(error.next_step)),
        _rights(namespace) if isinstance(error, errors.ForbiddenError) else None,
        namespace=namespace,
    )


def problem_page(title: str, *body: Child, namespace: str = "") -> str:
    """Return a page that says that something is wrong."""
    return page(title, tag("div", *body, class_="problem", role="alert"), namespace=namespace)


def _rights(namespace: str) -> Markup:
    """Return what whoever gives out rights has to give."""
    plurals = ", ".join(kind.plural for kind in KINDS.values())
    rule = f'- apiGroups: ["{GROUP}"]\n  resources: [{plurals}]\n  verbs: [get, list]'
    form = tag(
        "form",
        tag("label", "Namespace", tag("input", name="namespace", value=namespace, autocomplete="off")),
        tag("button", "Show"),
        method="get",
        action="./",
        class_="filter",
    )
    where = f"a Role in namespace {namespace}" if namespace else "a ClusterRole, for all namespaces"
    return section(
        "What is missing",
        tag(
            "p",
            f"This rule, in {where}, bound to you. The cluster's role view has it where the chart's"
            " rbac.aggregate is on.",
        ),
        tag("pre", rule),
        tag("p", "Or look at a namespace in which you have it:"),
        form,
    )
