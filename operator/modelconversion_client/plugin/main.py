"""The program ``kubectl-mconv``, which kubectl runs as ``kubectl mconv``."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from modelconversion_client.plugin.channels import look, release
from modelconversion_client.plugin.listing import compare, list_all, targets
from modelconversion_client.plugin.page import page
from modelconversion_client.plugin.report import report
from modelconversion_client.plugin.retrying import retry
from modelconversion_client.plugin.run import run
from modelconversion_client.plugin.why import why

app = typer.Typer(
    name="kubectl-mconv",
    no_args_is_help=True,
    # A bug's traceback is for its report; rich's version would print local variables.
    pretty_exceptions_enable=False,
    help="Converts models in the cluster, and says what came of it.\n\n"
    "Start with: kubectl mconv run MODEL --target Mobile --bucket s3://BUCKET/PREFIX\n\n"
    "When something is wrong: kubectl mconv why NAME",
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"kubectl-mconv {version('model-conversion-client')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that stand before a command."""


app.command(name="run")(run)
app.command(name="list")(list_all)
app.command(name="why")(why)
app.command(name="retry")(retry)
app.command(name="look")(look)
app.command(name="release")(release)
app.command(name="compare")(compare)
app.command(name="report")(report)
app.command(name="page")(page)
app.command(name="targets")(targets)
