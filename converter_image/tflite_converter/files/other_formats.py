"""Models of formats that are not read, named by their bytes, with a way to one that is."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from modelconversion_api.reasons import FailureReason
from tflite_converter.files.names import for_shell, readable
from tflite_converter.files.pytorch_file import EXPORT, other_kind
from tflite_converter.files.strays import stray

HEAD_BYTES: Final = 512
SAVED_MODELS: Final = ("saved_model.pb", "saved_model.pbtxt")
_MODEL_FILES: Final = (".keras", ".h5", ".hdf5", ".tflite")
_SHOWN: Final = 4
_EXPORT: Final = "write it with jax.export.export(jax.jit(f))(…).serialize()"
_TO_SAVED_MODEL: Final = "export the model as a SavedModel, which holds graph and weights"
_SAVE_WHOLE: Final = (
    "save the whole model: model.save('model.keras'), or model.export('folder') for a SavedModel"
)
_GIVE: Final = (
    "give a Keras .h5 or .keras file, a SavedModel (folder, .zip or .tar.gz), an .onnx or .pt2 file, what"
    " jax.export wrote, or a float .tflite file"
)


class OtherFormat(NamedTuple):
    """What a file or folder is, and what to do."""

    kind: str
    way: str
    reason: FailureReason = FailureReason.UNSUPPORTED_FORMAT


_WEIGHTS: Final = FailureReason.WEIGHTS_ONLY
_BY_BYTES: Final[tuple[tuple[re.Pattern[bytes], OtherFormat], ...]] = tuple(
    (re.compile(pattern, re.DOTALL), other)
    for pattern, other in (
        (
            rb"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19",
            OtherFormat("a PyTorch file of the old kind, which is pickled and never loaded", EXPORT),
        ),
        (
            rb"\x80[\x02-\x05]",
            OtherFormat("a pickled Python object, which is never loaded", _GIVE),
        ),
        (
            rb".{8}\{\s*\"",
            OtherFormat("a safetensors file, which holds weights only, no model", _SAVE_WHOLE, _WEIGHTS),
        ),
        (
            rb"\x0a.{1,3}\x0a.[\w/.:-]+\x12.[A-Z]\w+",
            OtherFormat("a frozen TensorFlow graph (GraphDef)", _TO_SAVED_MODEL),
        ),
        (rb"node \{\s", OtherFormat("a TensorFlow graph as text", _TO_SAVED_MODEL)),
        (rb"GGUF", OtherFormat("a GGUF file of a language model", _GIVE)),
        (
            rb"\{[^{}]*\"format\":\s*\"(layers|graph)-model\"|\{\s*\"modelTopology\"",
            OtherFormat(
                "a TensorFlow.js model",
                "give the model that it was made from; of a layers model, tensorflowjs_converter"
                " --input_format tfjs_layers_model --output_format keras makes a Keras file",
            ),
        ),
        (
            rb"\{\s*\"(module|class_name)\":",
            OtherFormat("a Keras model's architecture without its weights", _SAVE_WHOLE),
        ),
        (rb"\{\s*\"(cells|nbformat)\"", OtherFormat("a notebook, not the model that it makes", _SAVE_WHOLE)),
        (rb"\{", OtherFormat("JSON text, perhaps an error message instead of a file", _GIVE)),
        (
            rb"<\?xml[^<]*<net\s",
            OtherFormat("an OpenVINO model", "give the model that it was made from"),
        ),
        (rb"<\?xml", OtherFormat("XML text, perhaps an error message instead of a file", _GIVE)),
        (
            rb"(#loc[^\n]*\n)*module\b[^\n]*[@{]",
            OtherFormat("a module of MLIR as text", _EXPORT),
        ),
        (rb"BZh", OtherFormat("a file compressed by bzip2", "decompress it: bunzip2 --keep")),
        (rb"\xfd7zXZ", OtherFormat("a file compressed by xz", "decompress it: unxz --keep")),
        (rb"\x28\xb5\x2f\xfd", OtherFormat("a file compressed by zstd", "decompress it: unzstd")),
        (rb"7z\xbc\xaf", OtherFormat("a 7-Zip archive", "pack it as .zip")),
        (rb"Rar!", OtherFormat("a RAR archive", "pack it as .zip")),
        (rb"\x93NUMPY", OtherFormat("a NumPy array, not a model", _GIVE)),
    )
)
_BY_NAME: Final[tuple[tuple[str, OtherFormat], ...]] = (
    (".onnx", OtherFormat("no ONNX model, whatever its name says", "export the model again")),
    (".jax", OtherFormat("no file of jax.export, whatever its name says", _EXPORT)),
    (".stablehlo", OtherFormat("no StableHLO, whatever its name says", _EXPORT)),
    (".mlirbc", OtherFormat("no bytecode of MLIR, whatever its name says", _EXPORT)),
    (".pt2", OtherFormat("no exported program of PyTorch, whatever its name says", EXPORT)),
    (".mlmodel", OtherFormat("a Core ML model", "give the model that it was made from")),
    (".mlpackage", OtherFormat("a Core ML model", "give the model that it was made from")),
    (".caffemodel", OtherFormat("a Caffe model", "make a SavedModel of it")),
    (".engine", OtherFormat("a TensorRT engine", "give the model that it was made from")),
    (".py", OtherFormat("Python code, not the model that it makes", _SAVE_WHOLE)),
    (
        ".index",
        OtherFormat("part of a TensorFlow checkpoint, which holds weights only", _SAVE_WHOLE, _WEIGHTS),
    ),
    (".ckpt", OtherFormat("a checkpoint, which holds weights only", _SAVE_WHOLE, _WEIGHTS)),
    (".pb", OtherFormat("no SavedModel's folder, but a single graph", _TO_SAVED_MODEL)),
)


def other_file(path: Path) -> OtherFormat | None:
    """Return what a file is that is no model that is read; None where it is not known."""
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if (found := stray(head)) is not None:
        return OtherFormat(*found)
    if path.name == "saved_model.pb":
        return OtherFormat("one file of a SavedModel", f"give its folder: {for_shell(path.parent)}")
    if ".data-00000-of-" in path.name:
        return OtherFormat("part of a TensorFlow checkpoint, which holds weights only", _SAVE_WHOLE, _WEIGHTS)
    by_bytes = next((other for pattern, other in _BY_BYTES if pattern.match(head)), None)
    return by_bytes or _by_name(path.name)


def _by_name(name: str) -> OtherFormat | None:
    return next((other for ending, other in _BY_NAME if name.lower().endswith(ending)), None)


def other_archive(path: Path) -> OtherFormat | None:
    """Return what a zip archive is that is neither of a SavedModel nor a .keras file; None if not known."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    if (kind := other_kind(names)) is not None:
        return OtherFormat(kind, EXPORT)
    parts = {"config.json", "metadata.json", "model.weights.h5"}
    if len(parts & set(names)) == len(parts) - 1:
        missing = (parts - set(names)).pop()
        return OtherFormat(f"a .keras file without {missing}", "save the model again")
    if names and all(name.endswith(".npy") for name in names):
        return OtherFormat("an .npz file of arrays, not a model", _GIVE)
    return None


def other_folder(path: Path, files: Iterable[Path], *, is_unpacked: bool) -> OtherFormat:
    """Return what a folder without a SavedModel at its top is.

    Args:
        path: The folder.
        files: All files in it and in its folders.
        is_unpacked: Whether it is what an archive held, so that its path means nothing to the user.

    """
    if (named := _by_name(path.name)) is not None and not is_unpacked:
        return named
    places = sorted(file.relative_to(path) for file in files)
    names = {str(place) for place in places}
    if len({"config.json", "metadata.json", "model.weights.h5"} & names) == 3:
        way = "give the .keras file itself, or pack it again: python3 -m zipfile -c model.keras"
        return OtherFormat("an unpacked .keras file", way + ("" if is_unpacked else f" {for_shell(path)}/*"))
    models = [place.parent for place in places if place.name in SAVED_MODELS]
    models += [place for place in places if place.suffix.lower() in _MODEL_FILES]
    if models:
        shown = [readable(str(place)) if is_unpacked else for_shell(path / place) for place in models]
        listed = ", ".join(shown[:_SHOWN]) + (", …" if len(shown) > _SHOWN else "")
        verb = "unpack it, and give" if is_unpacked else "give"
        return OtherFormat(
            f"a folder around {_count(models)}",
            f"{verb} {'one of them' if len(models) > 1 else 'it'}: {listed}",
        )
    if any(place.suffix == ".index" for place in places):
        return OtherFormat(
            "a TensorFlow checkpoint, which holds weights only, no model", _SAVE_WHOLE, _WEIGHTS
        )
    for place in places:
        if (other := other_file(path / place)) is not None:
            return OtherFormat(
                f"a folder that holds {other.kind} ({readable(str(place))})", other.way, other.reason
            )
    return OtherFormat("a folder without a model", _GIVE)


def _count(models: list[Path]) -> str:
    return "a model" if len(models) == 1 else f"{len(models)} models"
