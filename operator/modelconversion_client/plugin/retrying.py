"""``kubectl mconv retry``: what has failed, once more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelconversion_client.errors import RecreateError
from modelconversion_client.plugin import options
from modelconversion_client.plugin.exits import UsageProblem, tells_errors
from modelconversion_client.plugin.output import show, show_json

if TYPE_CHECKING:
    from modelconversion_client.blocking import ModelConversionClient


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
    """Make a failed conversion again from its own spec, or the failed members of a set.

    The conversion is deleted with its Job and made again; before that the API server is asked whether it
    would have it. A set is asked by its annotation edgeml.dev/retry-failed.

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
            where, words = _again(client, name or "")
    if as_json:
        show_json({"name": of_set or name, "kind": "set" if of_set else "conversion", "namespace": where})
    else:
        show(words)


def _again(client: ModelConversionClient, name: str) -> tuple[str, str]:
    try:
        made = client.retry(name)
    except RecreateError as error:
        # Nothing is lost: what the cluster has no more lies here.
        path = Path(f"{name}.modelconversion.json")
        path.write_text(f"{json.dumps(error.manifest, indent=2)}\n")
        raise RecreateError(
            error.cause, f"`kubectl apply -f {path}`, which was written here", error.manifest
        ) from error
    return made.meta.namespace, f"{name}: made again; `kubectl mconv why {name}` says how it goes"
