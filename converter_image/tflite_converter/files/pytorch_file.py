"""What PyTorch's files are, told from their entries, and what an exported program says of itself.

A .pt2 file is a zip archive with its graph as JSON; nothing is unpickled. Whether it is safe to load is for
its engine to find out.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from conversion_engine.torch_types import DTYPES
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError
from tflite_converter.files.onnx_file import OnnxTensor

EXPORT: Final = (
    "in Python, two lines make a .pt2 file of a PyTorch model: ep = torch.export.export(model.eval(),"
    ' (example,)) and torch.export.save(ep, "model.pt2"), where example is an input'
)
_FIRST_ENTRY: Final = re.compile(
    rb"PK\x03\x04.{26}([^/\x00]+/)?(data/(weights|constants)/|models/\w+\.json|archive_format)", re.DOTALL
)
_GRAPH: Final = re.compile(r"([^/]+/)?models/\w+\.json")
_MOST_GRAPH_BYTES: Final = 256 << 20


@dataclass
class ExportedProgram:
    """A .pt2 file, as far as it can be told without its weights."""

    writer: str | None = None
    inputs: tuple[OnnxTensor, ...] = ()
    outputs: tuple[OnnxTensor, ...] = ()
    operators: Counter[str] = field(default_factory=Counter)
    """How often each is used: ``aten.conv2d.default``."""


def is_exported_program(path: Path) -> bool:
    """Whether the file at ``path`` is what ``torch.export.save`` writes, whole or cut off."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        head = stream.read(512)
    if not head.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return _FIRST_ENTRY.match(head) is not None
    return any(map(_GRAPH.fullmatch, names)) and any(n.rpartition("/")[2] == "archive_format" for n in names)


def other_kind(names: Iterable[str]) -> str | None:
    """Return which other file of PyTorch's a zip archive of these entries is; None where it is none."""
    last = {name.rpartition("/")[2] for name in names}
    if "serialized_exported_program.json" in last:
        return "a program that torch 2.7 or older exported, whose weights are pickled"
    if "constants.pkl" in last:
        return "a TorchScript file, which holds code"
    if "data.pkl" in last or "archive_format" in last:
        return "a PyTorch file that is pickled and never loaded: weights, or a module with its classes"
    return None


def read_exported_program(path: Path) -> ExportedProgram:
    """Return what the file says.

    Raises:
        ConverterError: UnreadableModel for a file that is truncated or says nothing.

    """
    try:
        with zipfile.ZipFile(path) as archive:
            (entry,) = (info for info in archive.infolist() if _GRAPH.fullmatch(info.filename))
            if entry.file_size > _MOST_GRAPH_BYTES:
                raise ValueError("its graph has more bytes than any graph")  # noqa: TRY301 - one end for all
            return _told(json.loads(archive.read(entry)))
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unreadable(path, error) from error
    except (RecursionError, NotImplementedError) as error:
        raise _unreadable(path, error) from error


def _told(document: Mapping[str, Any]) -> ExportedProgram:
    module = document["graph_module"]
    graph, signature = module["graph"], module["signature"]
    version = document.get("torch_version")
    return ExportedProgram(
        writer=f"torch {version}" if isinstance(version, str) and version else None,
        inputs=tuple(_tensors(graph, signature["input_specs"], "user_input")),
        outputs=tuple(_tensors(graph, signature["output_specs"], "user_output")),
        operators=Counter(str(node["target"]).removeprefix("torch.ops.") for node in graph["nodes"]),
    )


def _tensors(graph: Mapping[str, Any], specs: Iterable[Mapping[str, Any]], kind: str) -> Iterable[OnnxTensor]:
    for spec in specs:
        name = spec.get(kind, {}).get("arg", {}).get("as_tensor", {}).get("name")
        if name is not None:
            meta = graph["tensor_values"][name]
            shape = tuple(int(size.get("as_int", -1)) for size in meta["sizes"])
            yield OnnxTensor(str(name), DTYPES.get(meta["dtype"], "another kind"), shape)


def _unreadable(path: Path, error: Exception) -> ConverterError:
    cause = f"{path.name} is a truncated or corrupt PyTorch file: {str(error)[:120] or type(error).__name__}"
    return ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, cause, hint=EXPORT)
