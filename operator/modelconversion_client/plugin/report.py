"""``kubectl mconv report``: the page of a conversion, on this machine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from modelconversion_client.errors import NotFoundError
from modelconversion_client.plugin import options
from modelconversion_client.plugin.exits import UsageProblem, tells_errors
from modelconversion_client.plugin.output import show, show_json
from modelconversion_client.plugin.run import open_page, page_uri


@tells_errors
def report(
    name: options.Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; NAME_report.html unless given.")
    ] = None,
    open_report: Annotated[bool, typer.Option("--open", help="Open it in the browser instead.")] = False,
    endpoint: options.Endpoint = None,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    as_json: options.AsJson = False,
) -> None:
    """Download the report of a conversion. This machine must reach the store.

    Examples:
      kubectl mconv report gesture --open

      kubectl mconv report gesture --output gesture.html --endpoint http://127.0.0.1:9000

    """
    from modelconversion_client.plugin.store import Store

    if open_report and output is not None:
        raise UsageProblem("--open and --output: it is one or the other", "leave one of them out")
    with options.connect(namespace, context, kubeconfig) as client:
        found = client.get(name)
    uri = found.status.report_uri
    if uri is None:
        step = f"wait for its end, or see `kubectl mconv why {name}`"
        raise NotFoundError(f"{name} has no report: it is {found.phase}", step)
    storage = found.raw_spec.get("storage") or {}
    store = Store(endpoint or storage.get("endpoint"), storage.get("region"))
    if open_report:
        open_page(store, found, None)
        return
    target = output or Path(f"{name}_report.html")
    if target.exists() or not target.resolve().parent.is_dir():
        problem = "is there already" if target.exists() else "would be in a folder that is not there"
        raise UsageProblem(f"{target} {problem}", "name another --output")
    with tempfile.TemporaryDirectory(dir=target.resolve().parent) as folder:
        os.replace(store.download(page_uri(uri), Path(folder)), target)  # noqa: PTH105 - on every system
    if as_json:
        show_json({"name": name, "uri": page_uri(uri), "file": str(target)})
    else:
        show(f"Saved: {target}")
