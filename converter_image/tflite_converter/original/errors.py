"""TensorFlow's and Keras's exceptions as reasons of the contract, with the layer or operation named."""

from __future__ import annotations

import errno
import os
import re

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.spec import SourceFormat
from tflite_converter.errors import ConverterError, machine_failure, quoted

_OPERATIONS = (
    re.compile(r"'(tf\.[A-Za-z0-9_]+)' op is neither a custom op nor a flex op"),
    re.compile(r"(?:TF Select ops|Flex ops|Custom ops): ([A-Za-z0-9_, ]+)"),
    re.compile(r"^\s*(tf\.[A-Za-z0-9_]+)\(", re.MULTILINE),
)
_PLACE = re.compile(r'fused\["(\w+):", "([^"@]+)')
"""MLIR's location of an operation: its type, and its path through the model's layers."""
_WRAPPERS = re.compile(r"^(?:(?:Stateful)?PartitionedCall/)+|/(?:Stateful)?PartitionedCall(?=/)")
"""Steps of such a path that are calls of functions, which no layer is."""
_MLIR_ERROR = re.compile(r"error: loc\(.*\): (.+)")
_CUSTOM_OBJECTS = (
    re.compile(r"Unknown (?:layer|object|function|activation function)[^'\"]*['\"]([^'\"]+)['\"]"),
    re.compile(r"Could not locate (?:class|function) '([^']+)'"),
    re.compile(r"Could not deserialize '(?:[^']*\.)?([^'.]+)' because"),
)
_UNSAFE = ("Lambda", "unsafe deserialization", "safe_mode")
_SHAPE = ("element_shape to be static", "requires element_shape", "Ranked shape", "dynamic-sized tensors")
_MEMORY = ("std::bad_alloc", "Resource exhausted", "RESOURCE_EXHAUSTED", "OOM when allocating")
_FLOAT8 = re.compile(r"f8E\w+|float8_\w+")
_FOURIER = ("FFT", "FFT2D", "FFT3D", "IFFT", "IFFT2D", "IFFT3D", "IRFFT", "IRFFT2D", "IRFFT3D", "RFFT3D")
_IN_LAYER = re.compile(r"Exception encountered when calling (?:layer )?(.+?)\.?\s*\n\s*(\S[^\n]*)")
_COLOURS = re.compile("\x1b\\[[0-9;]*m")
_OF_PYTHON = (TypeError, KeyError, IndexError, AttributeError, AssertionError)
"""Exceptions whose text says little without their type."""
_ANOTHER_SOURCE = (
    "give the Keras file that the SavedModel was exported from, where there is one, or export it without the"
    " layer or operation that the message names"
)
_AS_KERAS = "save the model as a .keras file: model.save('model.keras')"
_AGAIN = (
    "where the file is whole, export it as a SavedModel (model.export) with the Keras that wrote it;"
    " otherwise copy or save it again"
)
_COPY = "copy the whole folder again, with saved_model.pb and variables"
_DAMAGED = (
    (
        "Failed to find any matching files",
        "the SavedModel lacks its folder of variables, where the weights are",
    ),
    ("Cannot parse proto file", "the SavedModel's saved_model.pb is truncated or corrupt"),
    ("Read less bytes than requested", "the SavedModel's file of weights, in variables, is truncated"),
    ("Checksum does not match", "the SavedModel's file of weights, in variables, is corrupt"),
)
_ENCOUNTERED = re.compile(r"Exception encountered: (.+)")
_WRAPPING = "could not be deserialized properly"
_FULL_DISK = os.strerror(errno.ENOSPC)
"""TensorFlow's own file system raises no OSError."""


def original_stops(words: str) -> ConverterError:
    """Return the error of an original that stops on a sample; ``words`` say on which, and why."""
    return ConverterError(
        FailureReason.EVALUATION_FAILED,
        Stage.EVALUATE,
        f"the original itself does not run on the evaluation samples: {words}",
        hint="leave out the samples that the model itself cannot compute, or check how they are prepared",
    )


def classify(
    error: BaseException,
    stage: Stage,
    *,
    at_memory_limit: bool = False,
    source: SourceFormat = SourceFormat.AUTO,
    doing: str = "",
) -> ConverterError:
    """Return the reason for an exception out of loading (``Stage.LOAD``) or converting (``Stage.CONVERT``).

    ``at_memory_limit``: whether the process has taken nearly all the memory that it may. ``source``: what was
    given, for a hint that names something else. ``doing``: the step under way.
    """
    if isinstance(error, ConverterError):
        return error
    text = str(error)
    at_memory_limit = at_memory_limit or any(mark in text for mark in _MEMORY)
    if (failure := machine_failure(error, stage, "TensorFlow", at_memory_limit=at_memory_limit)) is not None:
        return failure
    if _FULL_DISK in text:
        return ConverterError(FailureReason.NO_SPACE, stage, f"TensorFlow: {_first_line(text)}")
    if stage is Stage.LOAD:
        return _loading(text, error)
    return _converting(error, stage, source, doing)


def _loading(text: str, error: BaseException) -> ConverterError:
    if any(mark in text for mark in _UNSAFE):
        cause = f"the model wants to run code when it is loaded: {_first_line(text)}"
        return ConverterError(FailureReason.UNSAFE_MODEL, Stage.LOAD, cause)
    if (class_name := custom_class(text)) is not None:
        cause = f"the model uses {class_name!r}, which is not part of Keras"
        return ConverterError(FailureReason.CUSTOM_OBJECT, Stage.LOAD, cause)
    if "No cast function available" in text:
        cause = "the model's weights are bfloat16, which an HDF5 file cannot give back"
        return ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, cause, hint=_AS_KERAS)
    cause = f"the model cannot be loaded: {innermost(text) or type(error).__name__}"
    if (damaged := next((words for mark, words in _DAMAGED if mark in text), None)) is not None:
        return ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, f"{damaged}", hint=_COPY)
    hint = _AGAIN if isinstance(error, (ValueError, *_OF_PYTHON)) else None
    return ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, cause, hint=hint)


def innermost(text: str) -> str:
    """Return what went wrong, out of a message of Keras that has messages in it of what it was doing."""
    inner = [words for words in _ENCOUNTERED.findall(text) if _WRAPPING not in words]
    return _first_line(inner[-1] if inner else text)


def _converting(error: BaseException, stage: Stage, source: SourceFormat, doing: str) -> ConverterError:
    text = str(error)
    if any(mark in text for mark in _SHAPE):
        cause = f"a dimension that is open keeps the model from being converted: {_complaint(text)}"
        return ConverterError(FailureReason.UNSUPPORTED_SHAPE, stage, cause)
    if (float8 := _FLOAT8.search(text)) is not None:
        cause = f"the model computes in 8-bit floating point ({float8[0]}), which TFLite has not"
        hint = (
            "give the model as it was before model.quantize('float8'), and let full_integer make 8 bits of it"
        )
        return ConverterError(FailureReason.UNSUPPORTED_OPERATION, stage, cause, hint=hint)
    if operations := _unsupported(text):
        return _unsupported_operation(operations, text, stage)
    words = _keras_complaint(text) or _complaint(text) or type(error).__name__
    if isinstance(error, _OF_PYTHON):
        words = f"{type(error).__name__}: {words}"
    step = f" while {doing}" if doing else ""
    cause = f"TensorFlow could not convert the model{step}: {words}"
    other = _ANOTHER_SOURCE if source is SourceFormat.SAVED_MODEL else None
    return ConverterError(FailureReason.CONVERSION_FAILED, stage, cause, hint=other)


def _unsupported_operation(operations: list[str], text: str, stage: Stage) -> ConverterError:
    names = [operation.partition(" ")[0] for operation in operations]
    cause = f"TFLite has no operation for {', '.join(operations)}"
    hint = (
        "replace it by operations that TFLite has, or keep TensorFlow's own (--select-tf-ops,"
        " selectTensorFlowOps), for which a device needs the Flex delegate"
    )
    if any("Random" in name for name in names):
        cause = f"the model draws random numbers when it is run: {cause}"
        hint = (
            "leave layers that are for training only (RandomFlip, RandomRotation, noise, dropout) out of the"
            " export, or give the .keras file, which is converted in inference mode"
        )
    elif any(name in _FOURIER or _takes(text, name, "complex<") for name in names):
        cause = f"{cause} on complex numbers"
        hint = (
            "take the magnitude or the real part (tf.abs, tf.math.real) right behind tf.signal.rfft or stft,"
            " and write what follows with real numbers: a DCT (tf.signal.dct, MFCC) as a product with a"
            " constant matrix; or keep TensorFlow's own operations (--select-tf-ops, selectTensorFlowOps)"
        )
    return ConverterError(FailureReason.UNSUPPORTED_OPERATION, stage, cause, hint=hint)


def _takes(text: str, operation: str, kind: str) -> bool:
    """Whether an operation in MLIR's text has an operand or a result of a kind."""
    return any(f"tf.{operation}" in line and kind in line for line in text.splitlines())


def _keras_complaint(text: str) -> str | None:
    """Return what went wrong in a layer, with the layer; Keras says first that something did."""
    match = _IN_LAYER.search(_COLOURS.sub("", text))
    return None if match is None else f"{_first_line(match[2])} (in {match[1].strip()})"


def custom_class(text: str) -> str | None:
    """Return the class that a loading error misses."""
    for pattern in _CUSTOM_OBJECTS:
        if match := pattern.search(text):
            return match[1].split(">")[-1]
    return None


def _unsupported(text: str) -> list[str]:
    """Operations that an error complains of, each with the place where the model uses it."""
    names = {
        name.strip().removeprefix("tf.")
        for pattern in _OPERATIONS
        for match in pattern.findall(text)
        for name in match.split(",")
    }
    places: dict[str, str] = {}
    for operation, path in _PLACE.findall(text):
        if scope := _scope(path):
            places.setdefault(operation, scope)
    return [f"{n} (in {places[n]})" if n in places else n for n in sorted(names) if n]


def layer_of(path: str) -> str:
    """Return a node's path through the layers, without the calls of functions around it."""
    return _WRAPPERS.sub("", path)


def _scope(path: str) -> str:
    """Return the layer that an operation belongs to: its path without outer calls and its own name."""
    return layer_of(path).rpartition("/")[0]


def _complaint(text: str) -> str:
    """Return the converter's message, with the place in the model instead of its chain of locations."""
    if (match := _MLIR_ERROR.search(text)) is None:
        return _first_line(text)
    place = _PLACE.search(match[0])
    scope = _scope(place[2]) if place else ""
    return _first_line(match[1]) + (f" (in {scope})" if scope else "")


def _first_line(text: str) -> str:
    """Return the first line that is not blank, without the folders of this process."""
    return quoted(re.sub(r"(?<![\w/])/[\w./-]+/", "", text))
