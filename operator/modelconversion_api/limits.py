"""Lengths of the contract's texts and sizes of its files: each number stands here, and only here.

Two kinds of text have a length. One that a user writes is refused where it is too long. One that the
converter or the operator writes, e.g. a compiler's complaint, is cut by the model that holds it, and put on
one line without control characters: what an S3 server or a model's author wrote must not become a line of a
log, or steer a terminal. The types with ``Text`` in their names do so, and no caller needs to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from .text import printable, shortened

CONDITION_LENGTH: Final = 32768
"""Characters of a condition's message, as Kubernetes allows."""
FAILURE_LENGTH: Final = 2048
"""Characters of what went wrong and what to do about it."""
WARNING_LENGTH: Final = 1024
MESSAGE_LENGTH: Final = 512
"""Characters of what to know about one artifact, step or operator."""
SENTENCE_LENGTH: Final = 256
"""Characters of one sentence: a recipe, a trade-off, a summary."""
QUOTE_LENGTH: Final = 400
"""Characters that a message repeats of what a library or a program said."""
NAME_LENGTH: Final = 256
"""Characters of a name out of a model: of a tensor, or of a custom operator."""
KIND_LENGTH: Final = 64
"""Characters of an operator's kind, an accelerator or one of its settings."""
VERSION_LENGTH: Final = 128
"""Characters of a program's name and version."""
URI_LENGTH: Final = 1024
"""Characters of a URI that a user gives."""
ARTIFACT_URI_LENGTH: Final = 1280
"""Characters of an artifact's URI: that of the output folder with a file's name behind it."""
OBJECT_NAME_LENGTH: Final = 253
"""Characters of a Kubernetes object's name, or of a key in a Secret."""

MAX_TFLITE_BYTES: Final = 2 << 30
"""Largest artifact: FlatBuffers address their content with signed 32 bits."""
MAX_SOURCE_BYTES: Final = 6 << 30
"""Largest source model: besides its weights it may carry an optimizer's two slots for each of them."""
MAX_DATA_BYTES: Final = 8 << 30
"""Largest data set."""
MAX_REPORT_BYTES: Final = 16 << 20
"""Largest ``report.json``: a confusion matrix of a thousand classes takes 2 MiB for each artifact."""
MAX_GRAPH_BYTES: Final = 32 << 20
"""Largest graph of an artifact: ten thousand convolutions take 10 MB."""


def _cut(length: int, prepare: Callable[[str], str] = printable) -> BeforeValidator:
    def cut(value: Any) -> Any:
        return shortened(prepare(value), length) if isinstance(value, str) else value

    return BeforeValidator(cut)


ConditionText = Annotated[str, Field(max_length=CONDITION_LENGTH), _cut(CONDITION_LENGTH)]
FailureText = Annotated[str, Field(max_length=FAILURE_LENGTH), _cut(FAILURE_LENGTH)]
WarningText = Annotated[str, Field(max_length=WARNING_LENGTH), _cut(WARNING_LENGTH)]
MessageText = Annotated[str, Field(max_length=MESSAGE_LENGTH), _cut(MESSAGE_LENGTH)]
SentenceText = Annotated[str, Field(max_length=SENTENCE_LENGTH), _cut(SENTENCE_LENGTH)]
KindText = Annotated[str, Field(max_length=KIND_LENGTH), _cut(KIND_LENGTH)]
NameText = Annotated[str, Field(max_length=NAME_LENGTH), _cut(NAME_LENGTH, prepare=str)]
"""A name out of a model as it is, for programs find outputs by it; what shows it makes it printable. One that
finds a tensor again must be whole: see ``TensorInfo``."""
VersionText = Annotated[str, Field(max_length=VERSION_LENGTH), _cut(VERSION_LENGTH)]
