"""What a function of JAX says of itself, read without JAX: a file of jax.export, or a bare module."""

from __future__ import annotations

import mmap
from pathlib import Path

from conversion_engine.exported import MODULE, ExportedError, ExportedFile, is_exported, read_exported
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError


def is_stablehlo(path: Path) -> bool:
    """Whether the file at ``path`` is a file of ``jax.export``, whole or cut off, or bytecode of MLIR."""
    if not path.is_file() or not path.stat().st_size:
        return False
    view = _mapped(path)
    return bytes(view[: len(MODULE)]) == MODULE or is_exported(view)


def read_stablehlo(path: Path) -> ExportedFile | None:
    """Return what the file says; None of a bare module, which only an engine reads.

    Raises:
        ConverterError: UnreadableModel for a file that is truncated or corrupt.

    """
    view = _mapped(path)
    if bytes(view[: len(MODULE)]) == MODULE:
        return None
    try:
        return read_exported(view)
    except ExportedError as error:
        cause = f"{path.name} is a truncated or corrupt file of jax.export: {error}"
        raise ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, cause) from error


def _mapped(path: Path) -> memoryview:
    """Map a file, which is let go of with the last view of it."""
    with path.open("rb") as stream:
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
