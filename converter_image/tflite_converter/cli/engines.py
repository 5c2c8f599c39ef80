"""``tflite-converter engines``: which engines are there, and how one is added."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from modelconversion_api.base import ApiModel
from modelconversion_api.spec import SourceFormat
from tflite_converter.cli.flags import Group
from tflite_converter.cli.given import Given, takes
from tflite_converter.cli.groups import File

if TYPE_CHECKING:
    from tflite_converter.engines.finding import Engine


class EnginesArguments(ApiModel):
    """What is to be done about engines."""

    install: Annotated[str, Field(pattern=r"^[a-z]+$")] | None = None
    """Make the environment of this engine, or bring it up to date; needs uv and a package registry."""
    python: File | None = None
    """The Python of a new environment; the oldest that is found and new enough unless given."""


_ARGUMENTS: Final = Group(EnginesArguments)


@takes(_ARGUMENTS)
def engines(given: Given) -> None:
    """List the engines, which read the formats of models, and add one.

    TensorFlow's is part of the converter. Every other one has an environment of its own: its packages are
    installed beside nobody else's.

    \b
    Examples:
      tflite-converter engines
      tflite-converter engines --install onnx
      tflite-converter engines --install pytorch
      tflite-converter engines --install jax
    """  # noqa: D301 - \b is meant as the character: typer leaves the lines after it as they are
    from tflite_converter.engines.finding import ENGINES
    from tflite_converter.engines.installing import install
    from tflite_converter.errors import UsageError

    arguments = given.build(_ARGUMENTS)
    if arguments.install is None:
        _show_tensorflow()
        for engine in ENGINES:
            _show(engine)
        return
    chosen = next((engine for engine in ENGINES if engine.name == arguments.install), None)
    if chosen is None:
        known = ", ".join(engine.name for engine in ENGINES)
        raise UsageError(
            f"--install {arguments.install}: there is no such engine", hint=f"there are: {known}"
        )
    install(chosen, os.environ, _say, arguments.python)
    _show(chosen)


def _show_tensorflow() -> None:
    from tflite_converter.engines.finding import refuse_without_tensorflow, tensorflow_versions
    from tflite_converter.errors import ConverterError

    formats = ", ".join(
        f.value for f in (SourceFormat.KERAS_H5, SourceFormat.KERAS, SourceFormat.SAVED_MODEL)
    )
    try:
        refuse_without_tensorflow(SourceFormat.SAVED_MODEL)
    except ConverterError as error:
        _say(f"tensorflow: not installed. To read {formats} models: {error.hint}")
        return
    versions = ", ".join(f"{name} {version}" for name, version in tensorflow_versions().items())
    _say(f"tensorflow: reads {formats}, part of the converter ({versions})")


def _show(engine: Engine) -> None:
    """Print one engine: where it is and what it says of itself, or how to add it."""
    from tflite_converter.engines.asking import about
    from tflite_converter.engines.finding import find, how_to_add
    from tflite_converter.errors import ConverterError

    python = find(engine, os.environ)
    if python is None:
        _say(f"{engine.name}: not installed. To read {engine.format.value} models: {how_to_add(engine)}")
        return
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        work = Path(folder, "work")
        work.mkdir()
        try:
            told = about(engine, python, work)
        except ConverterError as error:
            _say(f"{engine.name}: {python} cannot be used: {error.message}")
            return
    versions = ", ".join(f"{name} {version}" for name, version in told.versions.items())
    _say(f"{engine.name}: reads {', '.join(told.formats)}, at {python} ({versions})")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
