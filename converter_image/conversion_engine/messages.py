"""What an engine is asked, and what it answers: JSON, read strictly."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from conversion_engine import CONTRACT


class Task(StrEnum):
    """What an engine can be asked to do."""

    ABOUT = "about"
    """Say what it is. Answer: :class:`About`."""
    CONVERT = "convert"
    """Check the source and write the float file. Answer: :class:`Description`."""
    RUN = "run"
    """Run the original on the samples and write its outputs. Answer: :class:`Outputs`."""


class Stage(StrEnum):
    """Where in the conversion something happened; a part of the converter's own stages."""

    LOAD = "Load"
    CONVERT = "Convert"
    EVALUATE = "Evaluate"


class Reason(StrEnum):
    """Why an engine gave up; a part of the converter's own reasons."""

    INVALID_REQUEST = "InvalidRequest"
    UNREADABLE_MODEL = "UnreadableModel"
    UNSUPPORTED_FORMAT = "UnsupportedFormat"
    UNSUPPORTED_OPERATION = "UnsupportedOperation"
    UNSUPPORTED_SHAPE = "UnsupportedShape"
    UNSAFE_MODEL = "UnsafeModel"
    SOURCE_TOO_LARGE = "SourceTooLarge"
    CONVERSION_FAILED = "ConversionFailed"
    EVALUATION_FAILED = "EvaluationFailed"
    OUT_OF_MEMORY = "OutOfMemory"
    NO_SPACE = "NoSpace"
    INTERRUPTED = "Interrupted"
    ENGINE_TOO_OLD = "EngineTooOld"
    ENGINE_FAILED = "EngineFailed"


@dataclass(frozen=True, slots=True)
class About:
    """What an engine is."""

    engine: str
    formats: tuple[str, ...]
    """Formats of sources, e.g. ``ONNX``."""
    versions: dict[str, str]
    """Packages that do the work."""
    contract: int = CONTRACT


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of the model, and of the file that was made of it."""

    name: str
    """As the model has it, and as the signature of the file has it."""
    dtype: str
    """As the file has it, by numpy's name."""
    shape: tuple[int, ...]
    """In the model's own layout; -1 where the model leaves the size open."""
    file_shape: tuple[int, ...]
    """As the file has it; -1 where it is open there."""
    order: tuple[int, ...]
    """From the model's own layout to that of the file: dimension ``i`` of the file is dimension ``order[i]``
    of the model, as :func:`numpy.transpose` takes it."""

    @property
    def is_turned(self) -> bool:
        """Whether the file has another layout than the model."""
        return self.order != tuple(range(len(self.order)))


@dataclass(frozen=True, slots=True)
class Description:
    """What became of a source."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    """In the model's own order."""
    writer: str
    """Who wrote the model, e.g. ``pytorch 2.11.0``."""
    versions: dict[str, str]
    """Of the engine's tools, and of what the model is written in, e.g. ``onnx-opset``."""
    group: int = 1
    """The first size that the model fixes for all inputs: of samples that it takes at once, where samples are
    rows of them. 1 where it takes one, or any number."""
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage."""
    isolation: tuple[str, ...] = ()
    """Which restrictions held, as :func:`conversion_engine.sandbox.enter` says."""
    contract: int = CONTRACT


@dataclass(frozen=True, slots=True)
class Request:
    """What an engine is to do, on its standard input."""

    source: str
    """Absolute path of the model's file."""
    readable: tuple[str, ...] = ()
    """Files beside it that belong to the model, and that may be read."""
    input_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Sizes that the user gave to inputs, in the model's own layout, the batch first."""
    memory_limit_bytes: int | None = None
    """Limit of the process's data (RLIMIT_DATA)."""
    description: Description | None = None
    """For ``run``: what ``convert`` answered, as the converter has checked it."""
    contract: int = CONTRACT


@dataclass(frozen=True, slots=True)
class Outputs:
    """What running the original showed."""

    random_outputs: tuple[str, ...] = ()
    """Outputs that were others when the same samples were run again."""
    seconds: dict[str, float] = field(default_factory=dict)
    isolation: tuple[str, ...] = ()
    contract: int = CONTRACT


@dataclass(frozen=True, slots=True)
class Progress:
    """A line that says what is being done; that it comes at all shows that nothing hangs."""

    stage: str
    text: str
    fraction: float | None = None
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task has no answer."""

    reason: Reason
    stage: Stage
    cause: str
    """What is wrong with this model."""
    hint: str | None = None
    """What to do about it; None for what the converter says to the reason."""


class EngineError(Exception):
    """A task that cannot be done, for one of the contract's reasons."""

    def __init__(self, reason: Reason, stage: Stage, cause: str, *, hint: str | None = None) -> None:
        super().__init__(cause)
        self.failure = Failure(reason, stage, cause, hint)
