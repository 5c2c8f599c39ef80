"""An engine's tasks, each a confined child on the engine's own Python; its answers are checked before use."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from conversion_engine import CONTRACT, messages, wire
from conversion_engine.files import result_file
from conversion_engine.messages import About, Description, Outputs, Request, Task
from modelconversion_api.limits import NAME_LENGTH
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from modelconversion_api.text import printable, shortened
from tflite_converter.engines.finding import Engine, how_to_add
from tflite_converter.errors import ConverterError
from tflite_converter.files.untrusted import open_regular
from tflite_converter.isolation.parent import Watch, run_child
from tflite_converter.isolation.starting import Launch, passed_on
from tflite_converter.progress import Listener, ignore

Answer = TypeVar("Answer", About, Description, Outputs)

_MOST_ANSWER_BYTES: Final = 16 << 20
_MOST_TENSORS: Final = 1024
_MOST_DIMENSIONS: Final = 8
_MOST_SIZE: Final = 1 << 28
_MOST_WARNINGS: Final = 100
_ABOUT_SECONDS: Final = 60.0
_DTYPE: Final = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")
_BY_CHILD_OR_PARENT: Final = {
    *(reason.value for reason in messages.Reason),
    FailureReason.CONVERTER_TIMED_OUT.value,
}
"""The reasons that an engine may give, and that may be found out about it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine works, and who listens."""

    python: Path
    folder: Path
    """What it may write to; nothing in it is believed."""
    watch: Watch
    listener: Listener = ignore


def about(engine: Engine, python: Path, folder: Path) -> About:
    """Return what an engine says that it is; ``folder`` is an empty one inside another.

    Raises:
        ConverterError: EngineTooOld, EngineFailed.

    """
    place = Place(python, folder, Watch(_ABOUT_SECONDS, None))
    return _ask(engine, Task.ABOUT, Request(source=""), About, place)


def convert(engine: Engine, request: Request, place: Place) -> Description:
    """Have the float file made; return its description, which is sound.

    Raises:
        ConverterError: what the engine found, EngineTooOld, EngineFailed, OutOfMemory, ConverterTimedOut.

    """
    description = _ask(engine, Task.CONVERT, request, Description, place)
    try:
        _check(description)
    except ValueError as error:
        raise _failed(engine, f"{engine.words} describes a model that cannot be: {error}") from error
    return description


def run(engine: Engine, request: Request, place: Place) -> Outputs:
    """Have the original run on the samples.

    Raises:
        ConverterError: as :func:`convert`.

    """
    return _ask(engine, Task.RUN, request, Outputs, place)


def _ask(engine: Engine, task: Task, request: Request, kind: type[Answer], place: Place) -> Answer:
    launch = Launch(
        task.value,
        engine.words,
        # -P: the folder with the model's files is not searched for modules. -s: nor what lies in HOME, which
        # is the work folder, so that nothing that one task left is code of the next.
        (str(place.python), "-P", "-s", "-m", engine.package, task.value, str(place.folder)),
        passed_on(place.folder, os.environ),
        wire.dumped(request).encode(),
        crashed=FailureReason.ENGINE_FAILED,
    )
    try:
        run_child(launch, place.folder, place.watch, place.listener)
    except OSError as error:
        raise _failed(engine, f"{engine.words} does not start: {error.strerror} ({place.python})") from error
    except ConverterError as error:
        raise _explained(engine, error) from error
    return _answer(engine, place.folder / result_file(task.value), kind)


def _answer(engine: Engine, path: Path, kind: type[Answer]) -> Answer:
    try:
        with open_regular(path, _MOST_ANSWER_BYTES, Stage.CONVERT) as stream:
            content = stream.read()
    except ConverterError as error:
        raise _failed(engine, f"{engine.words} ended without an answer") from error
    contract = wire.contract_of(content)
    if contract is not None and contract != CONTRACT:
        cause = f"{engine.words} speaks version {contract} of the contract, this converter {CONTRACT}"
        raise ConverterError(FailureReason.ENGINE_TOO_OLD, Stage.LOAD, cause, hint=how_to_add(engine))
    try:
        return wire.read(kind, content)
    except wire.WireError as error:
        raise _failed(engine, f"{engine.words} gave an answer that cannot be read: {error}") from error


def _explained(engine: Engine, error: ConverterError) -> ConverterError:
    """Return the error with the next step of an engine, and never a reason that is none of an engine's."""
    if error.reason.value not in _BY_CHILD_OR_PARENT:
        return _failed(engine, error.cause)
    if error.reason is FailureReason.ENGINE_TOO_OLD:
        return ConverterError(error.reason, error.stage, error.cause, hint=how_to_add(engine))
    if error.reason is FailureReason.ENGINE_FAILED and "No module named" in error.cause:
        return _failed(engine, f"{engine.words} is not whole: {error.cause}", hint=how_to_add(engine))
    return error


def _failed(engine: Engine, cause: str, *, hint: str | None = None) -> ConverterError:
    return ConverterError(FailureReason.ENGINE_FAILED, Stage.CONVERT, cause, hint=hint)


def _check(description: Description) -> None:
    """Refuse a description that no model has.

    Raises:
        ValueError: with what is wrong.

    """
    if not description.inputs or not description.outputs:
        raise ValueError("it has no inputs, or no outputs")
    if not 1 <= description.group <= _MOST_SIZE or len(description.warnings) > _MOST_WARNINGS:
        raise ValueError("it takes no number of samples at once, or says too much")
    for tensors in (description.inputs, description.outputs):
        if len(tensors) > _MOST_TENSORS or len({tensor.name for tensor in tensors}) != len(tensors):
            raise ValueError("it has too many inputs or outputs, or two of one name")
        for tensor in tensors:
            _check_tensor(tensor)


def _check_tensor(tensor: messages.Tensor) -> None:
    name = shortened(printable(tensor.name), 60)
    if not tensor.name or len(tensor.name) > NAME_LENGTH:
        raise ValueError(f"the name {name!r} has no characters, or more than {NAME_LENGTH}")
    if not _DTYPE.fullmatch(tensor.dtype):
        raise ValueError(f"{name!r} is of no known type")
    rank = len(tensor.file_shape)
    if rank > _MOST_DIMENSIONS or len(tensor.shape) != rank or sorted(tensor.order) != list(range(rank)):
        raise ValueError(f"the dimensions of {name!r} are not those of its file in another order")
    if any(not -1 <= size <= _MOST_SIZE for size in (*tensor.shape, *tensor.file_shape)):
        raise ValueError(f"{name!r} has a size that is none")
    if tensor.is_turned and tensor.order[0] != 0:
        raise ValueError(f"the samples of {name!r} are not in front")


def tensor_infos(tensors: Sequence[messages.Tensor]) -> list[TensorInfo]:
    """Return inputs or outputs as the report has them: in the shapes of the file."""
    return [
        TensorInfo(
            name=tensor.name,
            shape=list(tensor.file_shape),
            dtype=np.dtype(tensor.dtype).name,
            source_shape=list(tensor.shape) if tensor.is_turned else None,
            axes=list(tensor.order) if tensor.is_turned else None,
        )
        for tensor in tensors
    ]


def stage_seconds(seconds: Mapping[str, float]) -> dict[Stage, float]:
    """Return an engine's times by stage; what is none of a stage is left out."""
    known = {stage.value: stage for stage in Stage}
    return {known[name]: max(0.0, value) for name, value in seconds.items() if name in known}
