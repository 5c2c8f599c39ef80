"""Options that the commands share, and the client that they open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from modelconversion_client.blocking import ModelConversionClient


def _names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the conversions of the namespace, for the shell's completion; none where it cannot be asked."""
    from modelconversion_client.errors import ConversionClientError

    given = context.params
    try:
        with connect(given.get("namespace"), given.get("context"), given.get("kubeconfig")) as client:
            return [found.name for found in client.list() if found.name.startswith(incomplete)]
    except ConversionClientError:
        return []


_CLUSTER = "Which cluster, as with kubectl"

Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Instead of the context's namespace.", rich_help_panel=_CLUSTER),
]
Context = Annotated[
    str | None,
    typer.Option("--context", help="Instead of the current context.", rich_help_panel=_CLUSTER),
]
Kubeconfig = Annotated[
    str | None,
    typer.Option("--kubeconfig", help="Instead of KUBECONFIG and ~/.kube/config.", rich_help_panel=_CLUSTER),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Name = Annotated[str, typer.Argument(help="Name of a ModelConversion.", autocompletion=_names)]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        help="URL of the store as this machine reaches it; AWS S3 unless given. Credentials are AWS's usual:"
        " AWS_ACCESS_KEY_ID, ~/.aws, ...",
    ),
]


def connect(namespace: str | None, context: str | None, kubeconfig: str | None) -> ModelConversionClient:
    """Return a client to be used as a context manager."""
    # Not at the top: --help must not wait for the Kubernetes library.
    from modelconversion_client.blocking import ModelConversionClient

    return ModelConversionClient(kubeconfig=kubeconfig, context=context, namespace=namespace)
