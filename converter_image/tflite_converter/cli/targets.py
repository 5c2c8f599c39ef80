"""``tflite-converter targets``: which methods fit where a model will run."""

from __future__ import annotations

import typer

from tflite_converter.targets.flowchart import drawn


def targets() -> None:
    """Show which methods fit where the model will run: the values of --target.

    The first method of a target is the one that is recommended when it meets
    the gates; the others are made as well, for comparison and as a way out.
    """
    typer.echo(drawn())
