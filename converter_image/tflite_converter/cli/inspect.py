"""``tflite-converter inspect``: what is in a model file, and where it can run."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelconversion_api.base import ApiModel
from modelconversion_api.methods import Target
from modelconversion_api.spec import SourceFormat
from tflite_converter.cli.flags import Group
from tflite_converter.cli.given import Given, takes
from tflite_converter.cli.groups import PRINTED, File

if TYPE_CHECKING:
    from modelconversion_api.reports.measurements import Inventory, TargetCheck
    from tflite_converter.files.saved_model import SavedModel
    from tflite_converter.tflite.types import TFLiteFile


class InspectArguments(ApiModel):
    """The file to look at."""

    file: File
    """A .tflite file; a Keras, ONNX, PyTorch or JAX file or a SavedModel folder is recognised."""
    target: Target | None = None
    """Check this target only, instead of all of them."""
    layers: bool = False
    """List the layers too, by the names that a recipe's rules match."""


class KerasDescription(ApiModel):
    """What a Keras file says of itself."""

    writer: str | None = None
    """E.g. ``keras 2.4.0``; None where the file does not say it."""
    problem: str | None = None
    """Why the file cannot be converted, where that shows at once."""


_ARGUMENTS: Final = Group(InspectArguments, names={"file": "FILE"})
GROUPS: Final = (_ARGUMENTS, PRINTED)


@takes(*GROUPS)
def inspect(given: Given) -> None:
    """Say what is in a model file and where it can run, without running it.

    Shows inputs and outputs with their quantization, operators, dtypes, where the bytes are, the record of
    the conversion that made the file, and for each target whether the file runs there and what is in its way.
    For EdgeTPU it predicts which operators the compiler would map, and for Microcontroller it estimates the
    arena and lists what a resolver needs. Of a Keras file it says who wrote it, of a SavedModel its
    signatures too, and of an ONNX or PyTorch file its inputs, outputs and operators.

    \b
    Examples:
      tflite-converter inspect converted_models/gesture_classifier_int8.tflite
      tflite-converter inspect model_int8.tflite --target edgetpu
      tflite-converter inspect model_int8.tflite --target microcontroller
      tflite-converter inspect model.tflite --layers
      tflite-converter inspect model.tflite --json | jq '.inventory.operators'
    """  # noqa: D301 - \b is meant as the character: typer leaves the lines after it as they are
    # Not at the top: --help must not wait for the schema.
    from tflite_converter.files.archives import is_archive
    from tflite_converter.files.formats import detect_format, is_model_archive

    arguments, as_json = given.build(_ARGUMENTS), given.build(PRINTED).as_json
    file = arguments.file
    if file.is_file() and is_archive(file) and not is_model_archive(file):
        _show_archive(file, as_json=as_json)
    elif (source_format := detect_format(file)) is SourceFormat.TFLITE:
        _inspect_tflite(file, arguments, as_json=as_json)
    else:
        _show_source(file, file, source_format, as_json=as_json)


def _inspect_tflite(path: Path, arguments: InspectArguments, *, as_json: bool) -> None:
    from tflite_converter.compilers.details import details_of
    from tflite_converter.files.names import name_of
    from tflite_converter.targets.check import check_target
    from tflite_converter.tflite.file import inventory, read_file
    from tflite_converter.tflite.metadata import read_record

    with path.open("rb") as stream:
        # Left to the process's end: views into it live on in a failure's traceback, and forbid to close it.
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    file = read_file(memoryview(content), name_of(path))
    digest = hashlib.sha256(content).hexdigest()
    contents, target = inventory(file), arguments.target
    checks = [check_target(file, t) for t in ([target] if target is not None else Target)]
    record = read_record(file)
    details = details_of(file, target)
    if as_json:
        _print_json(_document(file, digest, contents, checks, record) | details.to_wire())
    else:
        from tflite_converter.console.inspection import show_file, show_layers  # rich is for people

        show_file(file, digest, contents, checks, record, details)
        if arguments.layers:
            show_layers(file)


def _document(
    file: TFLiteFile,
    digest: str,
    contents: Inventory,
    checks: list[TargetCheck],
    record: dict[str, Any] | None,
) -> dict[str, Any]:
    from tflite_converter.tflite.versions import oldest_runtime

    return {
        "file": file.name,
        "format": SourceFormat.TFLITE.value,
        "sizeBytes": file.size_bytes,
        "sha256": digest,
        "description": file.description,
        "signatures": [s.key for s in file.signatures],
        "minRuntimeVersion": oldest_runtime(file),
        "inventory": contents.to_wire(),
        "layers": [
            {
                "name": layer.name,
                "operator": layer.operator,
                "weights": layer.weights,
                "weightBytes": layer.weight_bytes,
                "output": layer.output,
            }
            for layer in file.layers()
        ],
        "targets": [check.to_wire() for check in checks],
        "metadata": {name: len(value) for name, value in file.metadata.items()},
        "conversion": record,
    }


def _show_archive(file: Path, *, as_json: bool) -> None:
    from tflite_converter.files.sources import open_source

    with tempfile.TemporaryDirectory(prefix="inspect-") as folder:
        source = open_source(file, SourceFormat.AUTO, None, Path(folder))
        _show_source(file, source.path, source.format, as_json=as_json)


def _show_source(named: Path, path: Path, source_format: SourceFormat, *, as_json: bool) -> None:
    """Print what a source says of itself, and the next command; only TensorFlow could look further.

    ``named`` is what the user gave, and ``path`` where its content is.
    """
    from tflite_converter.files.names import for_shell, name_of
    from tflite_converter.files.saved_model import read_saved_model
    from tflite_converter.files.stablehlo_file import read_stablehlo

    command = f"tflite-converter convert --model {for_shell(named)}"
    if source_format is SourceFormat.ONNX:
        _show_onnx(named, path, command, as_json=as_json)
        return
    if source_format is SourceFormat.PYTORCH:
        _show_pytorch(named, path, command, as_json=as_json)
        return
    saved_model = read_saved_model(path) if source_format is SourceFormat.SAVED_MODEL else None
    writer, problem = None if saved_model is None else saved_model.writer, None
    if source_format.is_keras:
        description = _keras_description(path, source_format)
        writer, problem = description.writer, description.problem
    exported = read_stablehlo(path) if source_format is SourceFormat.STABLEHLO else None
    if exported is not None and exported.jax_version is not None:
        writer = f"jax {exported.jax_version}"
    if as_json:
        document = {"file": name_of(named), "format": source_format.value, "writer": writer, "next": command}
        if problem is not None:
            document["problem"] = problem
        _print_json(document | _signatures(saved_model))
        return
    from tflite_converter.console.inspection import show_source

    show_source(name_of(named), source_format, writer, saved_model, problem, command)


def _show_onnx(named: Path, path: Path, command: str, *, as_json: bool) -> None:
    """Print what an ONNX file says of itself, and which engine reads it."""
    from tflite_converter.files.formats import onnx_file
    from tflite_converter.files.names import name_of
    from tflite_converter.files.onnx_file import read_onnx
    from tflite_converter.files.sources import external_data

    file = onnx_file(path)
    found, belonging = read_onnx(file), external_data(file)
    python, problem = _engine_of(SourceFormat.ONNX)
    if as_json:
        document: dict[str, Any] = {"file": name_of(named), "format": SourceFormat.ONNX.value}
        document |= {"writer": found.writer, "opset": found.opset, "operators": dict(found.operators)}
        document |= {"inputs": [edge.to_json() for edge in found.inputs]}
        document |= {"outputs": [edge.to_json() for edge in found.outputs]}
        document |= {"externalData": [part.name for part in belonging], "next": command}
        document |= {"engine": None if python is None else str(python)}
        _print_json(document if problem is None else document | {"problem": problem})
        return
    from tflite_converter.console.inspection import show_graph

    show_graph(name_of(named), f"an ONNX model of opset {found.opset}", found, problem, command)


def _show_pytorch(named: Path, path: Path, command: str, *, as_json: bool) -> None:
    """Print what an exported program of PyTorch says of itself, and which engine reads it."""
    from tflite_converter.files.names import name_of
    from tflite_converter.files.pytorch_file import read_exported_program

    found = read_exported_program(path)
    python, problem = _engine_of(SourceFormat.PYTORCH)
    if as_json:
        document: dict[str, Any] = {"file": name_of(named), "format": SourceFormat.PYTORCH.value}
        document |= {"writer": found.writer, "operators": dict(found.operators)}
        document |= {"inputs": [edge.to_json() for edge in found.inputs]}
        document |= {"outputs": [edge.to_json() for edge in found.outputs]}
        document |= {"next": command, "engine": None if python is None else str(python)}
        _print_json(document if problem is None else document | {"problem": problem})
        return
    from tflite_converter.console.inspection import show_graph

    show_graph(name_of(named), "an exported program of PyTorch", found, problem, command)


def _engine_of(source_format: SourceFormat) -> tuple[Path | None, str | None]:
    """Return the Python of a format's engine, or what to do where there is none."""
    from tflite_converter.engines.finding import engine_for, find, how_to_add

    engine = engine_for(source_format)
    python = None if engine is None else find(engine, os.environ)
    if engine is None or python is not None:
        return python, None
    return None, f"{engine.words} is not installed: {how_to_add(engine)}"


def _keras_description(path: Path, source_format: SourceFormat) -> KerasDescription:
    """Read what the Keras file at ``path`` says, in a confined process: native code parses HDF5.

    Raises:
        ConverterError: ConverterCrashed or OutOfMemory where the file breaks the library that reads it.

    """
    from tflite_converter.isolation.isolated import run_isolated

    def read() -> KerasDescription:
        return _described(path, source_format)

    words = f"reading {path.name}"
    return run_isolated(words, KerasDescription, [path], read, who="the process that reads Keras files")


def _described(path: Path, source_format: SourceFormat) -> KerasDescription:
    from tflite_converter.errors import ConverterError
    from tflite_converter.original.keras_files import describe, version_of

    version = version_of(path, source_format)
    writer = None if version is None else f"keras {version}"
    try:
        describe(path, source_format)
    except ConverterError as error:
        return KerasDescription(writer=writer, problem=error.message)
    return KerasDescription(writer=writer)


def _signatures(saved_model: SavedModel | None) -> dict[str, Any]:
    if saved_model is None:
        return {}
    return {
        "signatures": [
            {
                "name": signature.name,
                "inputs": [tensor._asdict() for tensor in signature.inputs],
                "outputs": [tensor._asdict() for tensor in signature.outputs],
            }
            for signature in saved_model.signatures
        ]
    }


def _print_json(document: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(document, indent=2, ensure_ascii=False)}\n")
