"""Reads what LiteRT's program for compiler plugins prints, and the vendors' compilers behind it.

Pure readings of text: lines of LiteRT 2.3 with QNN 2.50 and OpenVINO 2026.3, as they were seen; those of
MediaTek and Google Tensor without their SDKs only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tflite_converter.errors import quoted
from tflite_converter.tflite.reader import operator_name

_PARTITIONED: Final = re.compile(
    r"Partitioned subgraph<(\d+)>, selected (\d+) ops, from a total of (\d+) ops\."
    r" resulted in (\d+) partitions\."
)
_WRITTEN: Final = re.compile(r"Serialized a model of size (\d+) bytes")
_VERSION: Final = re.compile(r"Applying plugin with SDK version: ([\w.+-]{1,64})")
_WHY_NOT: Final = r"(?:cannot open shared object file|file too short|invalid ELF header|wrong ELF class)"
"""What the system's loader says of a library that is missing or damaged."""
_UNLOADED: Final = (
    re.compile(r"Could not load shared library \S+: (?:/\S+: )?(.+)"),
    re.compile(r"Cannot load library \"(?:[^\"]*/)?([^\"/]+)\""),
    re.compile(rf"Failed to load .{{0,80}}?: (\S+\.so[\w.]*: {_WHY_NOT})"),
    re.compile(r"(Failed to load NeuronAdapter shared library)"),
    re.compile(rf"(\S+\.so[\w.]*: {_WHY_NOT})"),
    re.compile(r"(Loaded 0 plugins)"),
)
"""What is said of a library that cannot be loaded, the most telling first."""
_REFUSED_KINDS: Final = (
    re.compile(r"LiteRT Op #\d+ '\w*' \(code=(\d{1,3})\) is not supported"),
    re.compile(r"op type (\d{1,3}) is not supported"),
)
_OF_INTEL: Final = re.compile(r"Exception in compilation: (?:Exception from \S+\s+)*(.*\S)")
"""OpenVINO names the places that it has come through first, a line for each."""
_OF_QUALCOMM: Final = re.compile(r"<E> (.*\S)")
_OF_OTHERS: Final = re.compile(r"ERROR: \[[\w.]+:\d+\] (?!ERROR)(.*\S)")
_BARE: Final = re.compile(r"ERROR: \[Qnn\] (.*\S)")

KNOWN: Final = (
    (
        re.compile(r"does not support per-channel quant|int8 weight only supports per-channel"),
        "it refuses integer weights that are widened to float; give the full-integer or the float file",
    ),
    (
        re.compile(r"Un(?:expected|supported) SoC model"),
        "this version of the vendor's compiler does not know the chip; bring a newer SDK",
    ),
    (
        re.compile(r"Tensor name \S{1,200} already exists"),
        "two of the file's tensors have one name; give the model's layers names of their own",
    ),
    (
        re.compile(r"Unsupported input/output datatypes"),
        "it does not compute with these types; make it full integer, in and out, or float",
    ),
)
"""What is said of a failure, and words that say what to do."""


@dataclass(frozen=True, slots=True)
class Output:
    """What one run printed; None where it did not say."""

    operators: int | None
    """Operators that the plugin counted, of all subgraphs together."""
    selected: int | None
    """Those that the NPU takes."""
    partitions: int | None
    size_bytes: int | None
    """Size of the file that was written."""
    sdk: str | None
    """The SDK's version, as it calls itself."""
    unloaded: str | None
    """Which library could not be loaded, and why."""


def read_output(text: str) -> Output:
    """Return the figures in what LiteRT's program printed."""
    rows = {row[1]: row for row in _PARTITIONED.finditer(text)}  # a subgraph's last line counts
    written, version = _WRITTEN.search(text), _VERSION.search(text)

    def total(column: int) -> int | None:
        return sum(int(row[column]) for row in rows.values()) if rows else None

    return Output(
        operators=total(3),
        selected=total(2),
        partitions=total(4),
        size_bytes=int(written[1]) if written else None,
        sdk=version and version[1],
        unloaded=next((quoted(m[1]) for rule in _UNLOADED if (m := rule.search(text))), None),
    )


def refused_kinds(text: str) -> frozenset[str]:
    """Return the kinds of operators that the plugin says it does not take, e.g. ``SEGMENT_SUM``."""
    numbers = {int(match[1]) for rule in _REFUSED_KINDS for match in rule.finditer(text)}
    return frozenset(map(operator_name, numbers))


def complaint(text: str) -> str:
    """Return what the vendor's compiler complained of first, in words that say what to do where known."""
    for rule, words in KNOWN:
        if (match := rule.search(text)) is not None:
            line = text[text.rfind("\n", 0, match.start()) + 1 :]
            said = next(_complaints(line), match[0])
            return f"{words} ({quoted(said)})"
    return quoted(next(_complaints(text), ""))


def reason_of(kind: str, text: str) -> str | None:
    """Return what the log says of operators of one kind; None where it says nothing of them."""
    for said in _complaints(text):
        named = {word.lower() for word in re.findall(r"'(\w+)'", said)}
        if kind.replace("_", "").lower() in named:
            known = next((words for rule, words in KNOWN if rule.search(said)), None)
            return known or quoted(said)
    return None


def _complaints(text: str) -> Iterator[str]:
    for rule in (_OF_INTEL, _BARE, _OF_QUALCOMM, _OF_OTHERS):
        for match in rule.finditer(text):
            yield match[1]
