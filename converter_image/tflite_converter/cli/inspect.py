"""``tflite-converter inspect``: what is in a model file, and where it can run."""

from __future__ import annotations

import hashlib
import json
import mmap
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelconversion_api.methods import Target
from modelconversion_api.spec import SourceFormat
from tflite_converter.cli.errors import ends_with_a_message

if TYPE_CHECKING:
    from modelconversion_api.measurements import Inventory, TargetCheck
    from tflite_converter.tflite.types import TFLiteFile


def inspect(
    file: Annotated[
        Path, typer.Argument(help="A .tflite file; a Keras file or SavedModel folder is recognised.")
    ],
    target: Annotated[
        Target | None,
        typer.Option(case_sensitive=False, help="Check this target only.", show_default="all of them"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what is in a model file and where it can run, without running it.

    Shows inputs and outputs with their quantization, operators, dtypes, where the bytes are, the record of
    the conversion that made the file, and for each target whether the file runs there and what is in its way.
    For EdgeTPU it predicts which operators the compiler would map, and for Microcontroller it estimates the
    arena and lists what a resolver needs.

    \b
    Examples:
      tflite-converter inspect converted_models/gesture_classifier_int8.tflite
      tflite-converter inspect model_int8.tflite --target edgetpu
      tflite-converter inspect model_int8.tflite --target microcontroller
      tflite-converter inspect model.tflite --json | jq '.inventory.operators'
    """  # noqa: D301 - \b is meant as the character: typer leaves the lines after it as they are
    with ends_with_a_message():
        # Not at the top: --help must not wait for the schema.
        from tflite_converter.files.formats import detect_format

        source_format = detect_format(file)
        if source_format is not SourceFormat.TFLITE:
            _show_source(file, source_format, as_json=as_json)
            return
        _inspect_tflite(file, target, as_json=as_json)


def _inspect_tflite(path: Path, target: Target | None, *, as_json: bool) -> None:
    from tflite_converter.compilers.details import details_of
    from tflite_converter.targets.check import check_target
    from tflite_converter.tflite.file import inventory, read_file
    from tflite_converter.tflite.metadata import read_record

    with path.open("rb") as stream:
        # Left to the process's end: views into it live on in a failure's traceback, and forbid to close it.
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    file = read_file(memoryview(content), path.name)
    digest = hashlib.sha256(content).hexdigest()
    contents = inventory(file)
    checks = [check_target(file, t) for t in ([target] if target is not None else Target)]
    record = read_record(file)
    details = details_of(file, target)
    if as_json:
        _print_json(_document(file, digest, contents, checks, record) | details.to_wire())
    else:
        from tflite_converter.console.inspection import show_file  # rich is for people

        show_file(file, digest, contents, checks, record, details)


def _document(
    file: TFLiteFile,
    digest: str,
    contents: Inventory,
    checks: list[TargetCheck],
    record: dict[str, Any] | None,
) -> dict[str, Any]:
    return {
        "file": file.name,
        "format": SourceFormat.TFLITE.value,
        "sizeBytes": file.size_bytes,
        "sha256": digest,
        "description": file.description,
        "signatures": [s.key for s in file.signatures],
        "inventory": contents.to_wire(),
        "targets": [check.to_wire() for check in checks],
        "metadata": {name: len(value) for name, value in file.metadata.items()},
        "conversion": record,
    }


def _show_source(path: Path, source_format: SourceFormat, *, as_json: bool) -> None:
    """Print the format and the next command; only TensorFlow can look inside, which means to run its code."""
    command = f"tflite-converter convert --model {path}"
    if as_json:
        _print_json({"file": path.name, "format": source_format.value, "next": command})
        return
    from tflite_converter.console.inspection import show_source

    show_source(path.name, source_format, command)


def _print_json(document: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(document, indent=2, ensure_ascii=False)}\n")
