"""``kubectl mconv retry``: what has failed, once more."""

from __future__ import annotations

from typing import Annotated

import typer

from modelconversion_client.plugin import options
from modelconversion_client.plugin.exits import UsageProblem, tells_errors
from modelconversion_client.plugin.output import show, show_json


@tells_errors
def retry(
    name: Annotated[
        str | None, typer.Argument(help="Name of a failed ModelConversion.", show_default=False)
    ] = None,
    of_set: Annotated[
        str | None, typer.Option("--set", help="Instead: the failed members of this set.")
    ] = None,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    as_json: options.AsJson = False,
) -> None:
    """Run a failed conversion again, or the failed members of a set.

    An annotation asks for it: edgeml.dev/run-again of the conversion, edgeml.dev/retry-failed of the set.

    Examples:
      kubectl mconv retry gesture

      kubectl mconv retry --set fleet

    """
    if (name is None) == (of_set is None):
        raise UsageProblem("retry takes a name or --set, and not both", "give one of them")
    with options.connect(namespace, context, kubeconfig) as client:
        if of_set is not None:
            asked = client.retry_set(of_set)
            words = f"{of_set}: its {asked.status.failed} failed members are made again"
            where = asked.meta.namespace
        else:
            where = client.retry(name or "").meta.namespace
            words = f"{name}: runs again; `kubectl mconv why {name}` says how it goes"
    if as_json:
        show_json({"name": of_set or name, "kind": "set" if of_set else "conversion", "namespace": where})
    else:
        show(words)
