"""Names that TensorFlow's graphs cannot have, written so that they can, and put back in the file. Child only.

A graph knows the letters A to Z, digits and a few signs; a TFLite signature takes any text.
"""

from __future__ import annotations

import re

from tflite_converter.tflite import editing

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_FOREIGN = re.compile(r"[^A-Za-z0-9_.-]|^[^A-Za-z0-9]")
_ESCAPED = re.compile(r"U([0-9a-f]{4,6})_")


def is_plain(name: str) -> bool:
    """Whether a graph can have the name."""
    return _PLAIN.fullmatch(name) is not None


def scope_name(name: str) -> str:
    """Return the name with the code in the place of each character that a graph cannot have."""
    return _FOREIGN.sub(lambda match: f"U{ord(match[0]):04x}_", name)


def with_given_names(content: bytes) -> bytes:
    """Return the TFLite file with its signature's inputs and outputs called as the model calls them."""
    model = editing.unpacked(content)
    changed = False
    for signature in model.signatureDefs or ():
        for entry in (*signature.inputs, *signature.outputs):
            name = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), entry.name.decode())
            changed |= name.encode() != entry.name
            entry.name = name.encode()
    return editing.packed(model) if changed else content
