"""What all compilers' results have in common: files with their digests, the gate on the mapped share."""

from __future__ import annotations

import hashlib
from typing import Final

from modelconversion_api.fields.compilation import CompiledFile, NPURun
from tflite_converter.measuring.gates import ROUNDING

_LEAST_DB: Final = 20.0
"""Signal-to-noise ratio from which on outputs on random inputs are near enough, as for artifacts."""


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


def other_values(run: NPURun) -> str | None:
    """Return the message for a compiled file that gives other values than the one that it was made of."""
    if run.snr_db is None or run.snr_db >= _LEAST_DB:
        return None
    return (
        f"it gives other values than on the CPU: {run.max_difference:.4g} apart at most, where all values"
        f" span {run.output_range:.4g}"
    )
