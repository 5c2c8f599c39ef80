"""Ready code that runs a TFLite file on its target, with the names and numbers of that very file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from modelconversion_api.reports.measurements import Inventory
from tflite_converter.snippets.android import android
from tflite_converter.snippets.browser import browser
from tflite_converter.snippets.ios import ios
from tflite_converter.snippets.microcontroller import microcontroller
from tflite_converter.snippets.model import NoSnippetError, SnippetModel, snippet_model
from tflite_converter.snippets.python import coral, raspberry_pi
from tflite_converter.snippets.targets import SnippetTarget


@dataclass(frozen=True)
class Snippet:
    """Code for one target."""

    target: SnippetTarget
    title: str
    language: str
    code: str


@dataclass(frozen=True)
class _Writer:
    title: str
    language: str
    write: Callable[[SnippetModel], str]


_WRITERS: Final = {
    SnippetTarget.ANDROID: _Writer("Android", "Kotlin", android),
    SnippetTarget.IOS: _Writer("iOS", "Swift", ios),
    SnippetTarget.RASPBERRY_PI: _Writer("Raspberry Pi, Linux", "Python", raspberry_pi),
    SnippetTarget.CORAL: _Writer("Coral Edge TPU", "Python", coral),
    SnippetTarget.MICROCONTROLLER: _Writer("Microcontroller", "C++", microcontroller),
    SnippetTarget.BROWSER: _Writer("Browser", "JavaScript", browser),
}


def snippet(target: SnippetTarget, file_name: str, inventory: Inventory) -> Snippet:
    """Code that runs ``file_name``, which has ``inventory``, on ``target``.

    Inputs and outputs are plain numbers: the code quantizes and dequantizes by the file's own parameters.

    Raises:
        NoSnippetError: the target's runtime cannot take the file; ``cause`` says why.

    """
    writer = _WRITERS[target]
    model = snippet_model(file_name, inventory)
    _check_flex(target, inventory)
    return Snippet(target, writer.title, writer.language, writer.write(model))


def _check_flex(target: SnippetTarget, inventory: Inventory) -> None:
    """None of these runtimes brings TensorFlow's own operations; TFLite Micro says so itself."""
    if inventory.flex_operators and target is not SnippetTarget.MICROCONTROLLER:
        names = ", ".join(inventory.flex_operators[:8])
        raise NoSnippetError(
            f"the file needs the Flex delegate for {names}, which this runtime does not bring"
        )
