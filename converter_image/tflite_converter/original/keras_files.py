"""The description that a Keras file has of itself, read without deserialising a layer.

It says who wrote the file, and what in it is unsafe.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from modelconversion_api.limits import MAX_TFLITE_BYTES
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.spec import SourceFormat
from tflite_converter.errors import ConverterError
from tflite_converter.files.damage import damage
from tflite_converter.files.formats import too_large

MAX_CONFIG_BYTES = 64 << 20
"""A model's JSON configuration beyond this is refused: real ones have a few megabytes at most."""
_OWN_MODULES = ("keras", "tf_keras", "tensorflow", "builtins")


@dataclass(frozen=True, slots=True)
class KerasFile:
    """A Keras model file and its own description, which is read once and handed on."""

    path: Path
    format: SourceFormat
    keras_version: str
    config: dict[str, Any]
    has_weights: bool = True

    @property
    def writer(self) -> str:
        """Who wrote it, e.g. ``keras 2.4.0``."""
        return f"keras {self.keras_version}"

    @property
    def is_keras_3(self) -> bool:
        """Whether Keras 3 wrote it, and reads it; everything older goes to tf_keras, which is Keras 2."""
        return self.major >= 3

    @property
    def major(self) -> int:
        """The first number of the version; 0 where the file does not say one."""
        first = self.keras_version.partition(".")[0]
        return int(first) if first.isdecimal() else 0

    def layers_of(self, class_name: str) -> list[str]:
        """Return the names of the layers of a class, at most eight."""
        return self._layers(
            lambda node, _config: str(node.get("class_name", "")).split(">")[-1] == class_name
        )

    def layers_using(self, function: str) -> list[str]:
        """Return the names of the layers that take a function, e.g. as their activation; at most eight."""
        return self._layers(lambda _node, config: function in map(_function, config.values()))

    def steps(self, *, layers: bool) -> set[str]:
        """Return the classes of a functional model's layers, or of what Keras 3 has between layers."""
        return {
            str(node.get("class_name"))
            for node in nodes(self.config)
            if "inbound_nodes" in node
            and isinstance(config := node.get("config"), dict)
            and ("trainable" in config) is layers
        }

    def foreign(self) -> list[str]:
        """Return classes and functions that are not Keras's own; files of Keras 2.13 and later say so."""
        names = []
        for node in nodes(self.config):
            module, _, _ = str(node.get("module") or "keras").partition(".")
            package, registered, _ = str(node.get("registered_name")).partition(">")
            if node.get("class_name") == "function":
                names.append(str(node.get("config")))
            elif module not in _OWN_MODULES or (registered and package not in _OWN_MODULES):
                names.append(str(node.get("class_name")))
        return names

    def _layers(self, fits: Callable[[dict[str, Any], dict[str, Any]], bool]) -> list[str]:
        names = (
            str(config["name"])
            for node in nodes(self.config)
            if isinstance(config := node.get("config"), dict) and "name" in config and fits(node, config)
        )
        return list(dict.fromkeys(names))[:8]


def _function(value: object) -> object:
    """Return the name of a function in a layer's configuration, which Keras 3 wraps in an object."""
    return value.get("config") if isinstance(value, dict) and value.get("class_name") == "function" else value


def describe(path: Path, source_format: SourceFormat) -> KerasFile:
    """Read version and configuration of a Keras file.

    Raises:
        ConverterError: UnreadableModel, WeightsOnly, UnsupportedFormat (a zip that is not Keras), or
            UnsafeModel naming the Lambda layers.

    """
    read = _read_h5 if source_format is SourceFormat.KERAS_H5 else _read_archive
    version, config, has_weights = read(path)
    if lambdas := _lambdas(config):
        cause = f"the model carries Python code, which is never run, in {', '.join(lambdas)}"
        raise ConverterError(FailureReason.UNSAFE_MODEL, Stage.LOAD, cause)
    return KerasFile(path, source_format, version, config, has_weights)


def version_of(path: Path, source_format: SourceFormat) -> str | None:
    """Return the version of Keras that wrote a file; None where the file does not say it, or is broken."""
    try:
        if source_format is SourceFormat.KERAS_H5:
            with h5py.File(path, "r") as file:
                return _text(file.attrs.get("keras_version")) or None
        with zipfile.ZipFile(path) as archive:
            version = _json(path, _member(archive, "metadata.json")).get("keras_version")
    except (
        ConverterError,
        zipfile.BadZipFile,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
        KeyError,
    ):
        return None
    return None if version is None else str(version)


def _read_h5(path: Path) -> tuple[str, dict[str, Any], bool]:
    """Return Keras version, configuration, and whether there are weights."""
    try:
        with h5py.File(path, "r") as file:
            version, config = file.attrs.get("keras_version"), file.attrs.get("model_config")
            weights_only = (
                "layer_names" in file.attrs or "layers" in file or "_layer_checkpoint_dependencies" in file
            )
            keys = list(file)[:8]
            has_weights = "model_weights" in file
            if config is not None and has_weights:
                _refuse_too_large(path, file["model_weights"])
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise _unreadable(path, damage(error)) from error
    if config is None:
        if weights_only:
            raise ConverterError(
                FailureReason.WEIGHTS_ONLY, Stage.LOAD, f"{path.name} holds weights only, no model"
            )
        raise ConverterError(
            FailureReason.UNSUPPORTED_FORMAT,
            Stage.LOAD,
            f"{path.name} is an HDF5 file, but holds no Keras model (it holds {keys})",
        )
    return _text(version) or "1", _json(path, _text(config)), has_weights


def _read_archive(path: Path) -> tuple[str, dict[str, Any], bool]:
    """Return Keras version, configuration, and whether there are weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if not {"metadata.json", "config.json"} <= names:
                raise ConverterError(
                    FailureReason.UNSUPPORTED_FORMAT,
                    Stage.LOAD,
                    f"{path.name} is a zip archive, but not a .keras file (no metadata.json and config.json)",
                )
            metadata = _json(path, _member(archive, "metadata.json"))
            config = _json(path, _member(archive, "config.json"))
            if "model.weights.h5" in names:
                with archive.open("model.weights.h5") as stream, h5py.File(stream, "r") as file:
                    for name in set(file) - {"optimizer"}:
                        if isinstance(file[name], h5py.Group):
                            _refuse_too_large(path, file[name])
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise _unreadable(path, damage(error)) from error
    has_weights = any(name.startswith("model.weights") for name in names)
    return str(metadata.get("keras_version", "3.")), config, has_weights


def _member(archive: zipfile.ZipFile, name: str) -> str:
    with archive.open(name) as stream:
        content = stream.read(MAX_CONFIG_BYTES + 1)
    if len(content) > MAX_CONFIG_BYTES:
        raise zipfile.BadZipFile(f"{name} is larger than {MAX_CONFIG_BYTES >> 20} MiB")
    return content.decode("utf-8", errors="replace")


def _json(path: Path, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, f"its configuration is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise _unreadable(path, "its configuration is not a JSON object")
    return value


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return "" if value is None else str(value)


def _lambdas(root: object) -> list[str]:
    """Say where in a configuration there are Lambda layers, and lambdas that other layers were given."""
    places: dict[str, None] = {}
    for node in nodes(root):
        config = node.get("config")
        if not isinstance(config, dict):
            continue
        if node.get("class_name") == "Lambda":
            places[f"Lambda layer {config.get('name')!r}"] = None
        elif any(isinstance(v, dict) and v.get("class_name") == "__lambda__" for v in config.values()):
            places[f"a lambda of {node.get('class_name')} {config.get('name')!r}"] = None
    if not places and any(node.get("class_name") == "__lambda__" for node in nodes(root)):
        return ["a lambda"]
    return list(places)


def nodes(root: object) -> Iterator[dict[str, Any]]:
    """Yield every object inside a JSON value, itself among them."""
    pending = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            yield node
            pending.extend(reversed(list(node.values())))
        elif isinstance(node, list):
            pending.extend(reversed(node))


def _refuse_too_large(path: Path, weights: h5py.Group) -> None:
    """Add up the weights as the file declares them, and raise SourceTooLarge; none is read."""
    total = 0

    def add(_name: str, item: h5py.Group | h5py.Dataset) -> None:
        nonlocal total
        if isinstance(item, h5py.Dataset):
            total += item.size * item.dtype.itemsize

    weights.visititems(add)
    if total > MAX_TFLITE_BYTES:
        raise too_large(path.name, total)


def _unreadable(path: Path, why: str) -> ConverterError:
    return ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, f"{path.name} cannot be read: {why}")
