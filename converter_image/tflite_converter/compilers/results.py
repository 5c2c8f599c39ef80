"""What all compilers' results have in common: files with their digests, the gate on the mapped share."""

from __future__ import annotations

import hashlib

from modelconversion_api.compilation import CompiledFile
from tflite_converter.measuring.gates import ROUNDING


def compiled_file(name: str, content: bytes) -> CompiledFile:
    """Describe a file as the report does."""
    return CompiledFile(file_name=name, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def missed_share(mapped: int, operators: int, least: str | None, where: str) -> str | None:
    """Return the message for a mapped share below the gate ``least``; None where the gate is met."""
    if least is None:
        return None
    share = float(least)
    if operators and mapped / operators >= share - ROUNDING:
        return None
    return f"{mapped} of {operators} operators map to {where}, less than {share:.0%}"
