"""The command line: commands for people, and those that begin with ``job-`` for the Job."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer

from tflite_converter.cli.benchmark import benchmark
from tflite_converter.cli.calibrate_check import calibrate_check
from tflite_converter.cli.compare import compare
from tflite_converter.cli.compile import compile_file
from tflite_converter.cli.convert import convert
from tflite_converter.cli.engines import engines
from tflite_converter.cli.inspect import inspect
from tflite_converter.cli.jobs import JOBS
from tflite_converter.cli.snippet import snippet
from tflite_converter.cli.targets import targets

_JOB_PANEL = "In a Job's containers, run by the operator"

app = typer.Typer(
    name="tflite-converter",
    no_args_is_help=True,
    # A bug's traceback is for its report; rich's version would print local variables, and so model paths.
    pretty_exceptions_enable=False,
    help="Converts Keras, TensorFlow, ONNX, PyTorch and JAX models to TFLite, and measures each file.\n\n"
    "Start with: tflite-converter convert --model MODEL --method all --data SAMPLES.npy\n\n"
    "Completion for your shell: tflite-converter --install-completion",
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tflite-converter {version('model-conversion-operator')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def _ending(job: Callable[[], int]) -> Callable[[], None]:
    """Return a command that ends with the exit code that ``job`` returns."""

    @functools.wraps(job)
    def command() -> None:
        raise typer.Exit(job())

    return command


app.command(name="convert")(convert)
app.command(name="targets")(targets)
app.command(name="engines")(engines)
app.command(name="inspect")(inspect)
app.command(name="compile")(compile_file)
app.command(name="snippet")(snippet)
app.command(name="compare")(compare)
app.command(name="benchmark")(benchmark)
app.command(name="calibrate-check")(calibrate_check)
for _name, _job in JOBS.items():
    app.command(name=_name, rich_help_panel=_JOB_PANEL)(_ending(_job))

convert_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
"""``convert`` alone, as ``convert_to_tflite.py`` runs it."""
convert_app.command()(convert)
