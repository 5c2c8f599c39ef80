"""The .keras archives of TensorFlow 2.11 to 2.13, made into what Keras 2 reads today. Child process only.

When the archive was new, layers were listed as in a checkpoint, where those with weights stand twice, and
classes were named by modules that have moved since. The weights are the same.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from modelconversion_api.limits import MAX_TFLITE_BYTES
from tflite_converter.files.formats import too_large
from tflite_converter.original.keras_files import nodes

WEIGHTS = "model.weights.h5"
_CONFIG = "config.json"
_OLD_LAYERS, _LAYERS = "_layer_checkpoint_dependencies", "layers"
_MOST_WEIGHTS_BYTES = 4 * MAX_TFLITE_BYTES
"""Of the weights with an optimizer's state, which is two or three times as large."""
_NUMBERED = re.compile(r"(.+?)(?:_(\d+))?")


def modernised(source: Path, target: Path) -> bool:
    """Rewrite the archive ``source`` to ``target``; return False, and write nothing, where it is new enough.

    Raises:
        ConverterError: SourceTooLarge.

    """
    with zipfile.ZipFile(source) as archive:
        config = json.loads(archive.read(_CONFIG))
        old = _has_old_layers(archive)
        if not (_with_todays_modules(config) or old):
            return False
        _with_plain_numbers(config)
        if archive.getinfo(WEIGHTS).file_size > _MOST_WEIGHTS_BYTES:
            raise too_large(source.name, archive.getinfo(WEIGHTS).file_size)
        weights = target.with_name(f"{target.name}.{WEIGHTS}")
        with archive.open(WEIGHTS) as packed, weights.open("wb") as stream:
            shutil.copyfileobj(packed, stream)
        if old:
            with h5py.File(weights, "r+") as file:
                _rename_layers(file)
        with zipfile.ZipFile(target, "w") as rewritten:
            rewritten.writestr(_CONFIG, json.dumps(config))
            rewritten.write(weights, WEIGHTS)
            for info in archive.infolist():
                if info.filename not in (_CONFIG, WEIGHTS):
                    with archive.open(info) as member, rewritten.open(info.filename, "w") as copy:
                        shutil.copyfileobj(member, copy)
    weights.unlink()
    return True


def _with_todays_modules(config: dict[str, Any]) -> bool:
    """Names the modules of Keras's own classes as they are called now; whether there were any others."""
    changed = False
    for node in nodes(config):
        parts = str(node.get("module")).split(".")
        if parts[0] == "keras" and not _exists(*parts[1:]) and _exists("src", *parts[1:]):
            node["module"] = ".".join(["keras", "src", *parts[1:]])
            changed = True
    return changed


def _with_plain_numbers(config: dict[str, Any]) -> None:
    """Replace the objects that NumPy's scalars were written as by plain numbers."""
    for node in nodes(config):
        for key, value in node.items():
            if isinstance(value, dict) and value.get("class_name") == "__numpy__":
                node[key] = value["config"]["value"]


def _exists(*parts: str) -> bool:
    try:
        return importlib.util.find_spec(".".join(["tf_keras", *parts])) is not None
    except ModuleNotFoundError:
        return False


def _has_old_layers(archive: zipfile.ZipFile) -> bool:
    if WEIGHTS not in archive.namelist():
        return False
    with archive.open(WEIGHTS) as stream, h5py.File(stream, "r") as file:
        return _OLD_LAYERS in file


def _rename_layers(file: h5py.File) -> None:
    """Give every layer the number that it has among those of its class, in models inside models too."""
    names: list[str] = []
    file.visit(lambda path: names.append(path) if path.rpartition("/")[2] == _OLD_LAYERS else None)
    for path in sorted(names, key=len, reverse=True):
        layers = file[path]
        for name, new_name in _renamed(layers):
            if new_name != name:
                layers.move(name, new_name)
        file.move(path, path[: -len(_OLD_LAYERS)] + _LAYERS)


def _renamed(layers: h5py.Group) -> Iterator[tuple[str, str]]:
    """Old and new names, in an order in which none is taken when it is given."""
    passed: dict[str, int] = {}
    for kind, number, name in sorted(_numbered(name) for name in layers):
        before = passed.get(kind, 0)
        passed[kind] = before + _has_weights(layers[name])
        yield name, kind if number == before else f"{kind}_{number - before}"


def _numbered(name: str) -> tuple[str, int, str]:
    match = _NUMBERED.fullmatch(name)
    return (match[1], int(match[2] or 0), name) if match else (name, 0, name)


def _has_weights(layer: h5py.Group) -> bool:
    return bool(layer.visititems(lambda _name, item: True if isinstance(item, h5py.Dataset) else None))
