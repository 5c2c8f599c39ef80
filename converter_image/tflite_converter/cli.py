"""The command line: ``convert`` for people, ``job-fetch``, ``job-convert``, ``job-publish`` for the Job."""

from __future__ import annotations

import typer

from .cli_convert import convert
from .cli_jobs import job_convert, job_fetch, job_publish

app = typer.Typer(
    name="tflite-converter",
    no_args_is_help=True,
    add_completion=False,
    # A bug's traceback is for its report; rich's version would print local variables, and so model paths.
    pretty_exceptions_enable=False,
    help="Converts Keras and TensorFlow models to TFLite, and measures what each file is worth.",
)
app.command(name="convert")(convert)
app.command(name="job-fetch")(job_fetch)
app.command(name="job-convert")(job_convert)
app.command(name="job-publish")(job_publish)

convert_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
"""``convert`` alone, as ``convert_to_tflite.py`` runs it."""
convert_app.command()(convert)
