"""``kubectl mconv list``, ``compare`` and ``targets``: tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from modelconversion_client.plugin import options
from modelconversion_client.plugin.exits import tells_errors
from modelconversion_client.plugin.output import show, show_json, show_table, tell


@tells_errors
def list_all(
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")] = False,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    as_json: options.AsJson = False,
) -> None:
    """List conversions, and sets below them: how far each is, and what came of it.

    Examples:
      kubectl mconv list

      kubectl mconv list -A --json

    """
    from modelconversion_client.tables import (
        CONVERSION_HEADERS,
        SET_HEADERS,
        conversion_json,
        conversion_row,
        set_json,
        set_row,
    )

    with options.connect(namespace, context, kubeconfig) as client:
        found = client.list(all_namespaces=everywhere)
        sets = client.list_sets(all_namespaces=everywhere)
        where = "any namespace" if everywhere else f"namespace {client.namespace}"
    if as_json:
        show_json({"conversions": [*map(conversion_json, found)], "sets": [*map(set_json, sets)]})
        return
    now = datetime.now(UTC)
    if not found and not sets:
        tell(f"no conversions in {where}; `kubectl mconv run MODEL` makes one")
    if found:
        rows = [conversion_row(conversion, now, with_namespace=everywhere) for conversion in found]
        show_table(CONVERSION_HEADERS, rows)
    if sets:
        if found:
            show("")
        show_table(SET_HEADERS, [set_row(one, now, with_namespace=everywhere) for one in sets])


@tells_errors
def compare(
    names: Annotated[list[str], typer.Argument(help="ModelConversions of one namespace, two or more.")],
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the artifacts of several conversions side by side; * marks those that are recommended.

    Example:
      kubectl mconv compare gesture-v1 gesture-v2

    """
    from modelconversion_client.tables import ARTIFACT_HEADERS, artifact_rows, conversion_json

    with options.connect(namespace, context, kubeconfig) as client:
        found = [client.get(name) for name in names]
    if as_json:
        show_json([conversion_json(conversion) for conversion in found])
        return
    rows = artifact_rows(found)
    if rows:
        show_table(ARTIFACT_HEADERS, rows)
    for conversion in found:
        if not conversion.status.artifacts:
            tell(f"{conversion.name} has no artifacts: it is {conversion.phase}")


@tells_errors
def targets(as_json: options.AsJson = False) -> None:
    """Show what each target gets: its methods, best first, and why. Asks no cluster."""
    from modelconversion_api.methods import TARGET_PLANS

    if as_json:
        show_json(
            {target: {"methods": [*plan.methods], "why": plan.why} for target, plan in TARGET_PLANS.items()}
        )
        return
    rows = [
        [
            target,
            ", ".join(plan.methods),
            "yes" if all(method.needs_calibration for method in plan.methods) else "",
            plan.why,
        ]
        for target, plan in TARGET_PLANS.items()
    ]
    show_table(("TARGET", "METHODS", "NEEDS DATA", "WHY"), rows)
