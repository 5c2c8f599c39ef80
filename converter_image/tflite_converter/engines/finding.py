"""Which engine reads a format, and where on this machine it is."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.spec import SourceFormat
from tflite_converter.errors import ConverterError
from tflite_converter.files.names import for_shell

ENGINES_ENV: Final = "TFLITE_CONVERTER_ENGINES"
"""Engines in other places: ``NAME=PYTHON``, several with commas between them."""
_SYSTEM_PLACE: Final = Path("/opt/engines")
"""Where an image has them."""


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that this version knows."""

    name: str
    words: str
    """Name in messages."""
    format: SourceFormat
    package: str
    """What ``python -m`` runs."""
    python: str
    """The oldest Python that it runs on."""
    size: str
    """What its environment takes on disk."""
    kind: str
    """What a source of it is called in messages."""
    apart: str | None = None
    """A package that comes from an index of its own, which ``PACKAGE-cpu.txt`` beside the lock names."""


ENGINES: Final = (
    Engine("onnx", "the ONNX engine", SourceFormat.ONNX, "onnx_engine", "3.12", "330 MB", "an ONNX file"),
    Engine(
        "pytorch",
        "the PyTorch engine",
        SourceFormat.PYTORCH,
        "pytorch_engine",
        "3.12",
        "1.7 GB",
        "a PyTorch file",
        apart="torch",
    ),
    Engine(
        "jax", "the JAX engine", SourceFormat.STABLEHLO, "jax_engine", "3.12", "920 MB", "a function of JAX"
    ),
)


def engine_for(source_format: SourceFormat) -> Engine | None:
    """Return the engine that reads a format; None for those that TensorFlow's or LiteRT's process reads."""
    return next((engine for engine in ENGINES if engine.format is source_format), None)


def tensorflow_versions() -> dict[str, str]:
    """Return the packages of TensorFlow's engine, which is part of the converter, with their versions."""
    versions = {}
    for name in ("tensorflow", "tensorflow-cpu", "keras", "tf-keras"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def refuse_without_tensorflow(source_format: SourceFormat) -> None:
    """Refuse a format that TensorFlow reads where it is not installed.

    Raises:
        ConverterError: EngineNotFound.

    """
    if importlib.util.find_spec("tensorflow") is None:
        cause = f"{source_format.value} models are read by TensorFlow, and this Python has none"
        hint = 'use the converter\'s image, or install its packages (the extra "converter") into this Python'
        raise ConverterError(FailureReason.ENGINE_NOT_FOUND, Stage.LOAD, cause, hint=hint)


def users_place(environment: Mapping[str, str]) -> Path:
    """Return the folder in which this user's engines are, one folder each."""
    home = Path(environment.get("HOME") or Path.home())
    data = environment.get("XDG_DATA_HOME")
    return (Path(data) if data else home / ".local/share") / "tflite-converter" / "engines"


def find(engine: Engine, environment: Mapping[str, str]) -> Path | None:
    """Return the Python of an engine's environment; None where there is none.

    What the environment variable says is taken as it is; then comes the user's place, then the image's.

    Raises:
        ConverterError: InvalidRequest for a variable that cannot be read; EngineNotFound where what it names
            is not there.

    """
    named = _named(environment.get(ENGINES_ENV, "")).get(engine.name)
    if named is not None:
        if not named.is_file():
            cause = f"{ENGINES_ENV} says that {engine.words} runs on {named}, which is not there"
            raise ConverterError(FailureReason.ENGINE_NOT_FOUND, Stage.LOAD, cause, hint=how_to_add(engine))
        return named
    places = (users_place(environment), _SYSTEM_PLACE)
    pythons = (place / engine.name / "bin/python" for place in places)
    return next((python for python in pythons if python.is_file()), None)


def found(engine: Engine, environment: Mapping[str, str]) -> Path:
    """Return the Python of an engine's environment.

    Raises:
        ConverterError: EngineNotFound, with the command that installs it; InvalidRequest.

    """
    python = find(engine, environment)
    if python is None:
        cause = f"{engine.format.value} models are read by {engine.words}, and it is not installed"
        raise ConverterError(FailureReason.ENGINE_NOT_FOUND, Stage.LOAD, cause, hint=how_to_add(engine))
    return python


def how_to_add(engine: Engine) -> str:
    """Return the next step where an engine is missing, broken or too old."""
    return (
        f"tflite-converter engines --install {engine.name} makes its environment (Python {engine.python} or"
        f" newer, {engine.size}); or set {ENGINES_ENV}={engine.name}=PYTHON to one that is there"
    )


def _named(text: str) -> dict[str, Path]:
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    named = {}
    for entry in entries:
        name, mark, python = entry.partition("=")
        if not mark or name not in {engine.name for engine in ENGINES} or not Path(python).is_absolute():
            cause = f"{ENGINES_ENV} has the entry {for_shell(Path(entry))}"
            known = ", ".join(engine.name for engine in ENGINES)
            hint = f"write NAME=/PATH/TO/python, with a name of {known}"
            raise ConverterError(FailureReason.INVALID_REQUEST, Stage.LOAD, cause, hint=hint)
        named[name] = Path(python)
    return named
