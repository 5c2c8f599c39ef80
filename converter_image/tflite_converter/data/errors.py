"""What goes wrong with data, as errors of the contract."""

from __future__ import annotations

from pathlib import Path

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError


def unreadable(name: str, why: str, stage: Stage, *, hint: str | None = None) -> ConverterError:
    """DataUnreadable: the file ``name`` is not what it should be."""
    return ConverterError(FailureReason.DATA_UNREADABLE, stage, f"{name} cannot be read: {why}", hint=hint)


def shape_mismatch(cause: str, stage: Stage, *, hint: str | None = None) -> ConverterError:
    """DataShapeMismatch: samples that the model, or the other arrays, have no place for."""
    return ConverterError(FailureReason.DATA_SHAPE_MISMATCH, stage, cause, hint=hint)


def not_finite(cause: str, stage: Stage, *, hint: str | None = None) -> ConverterError:
    """DataNotFinite: NaN, infinity, or what becomes infinite in the input's dtype."""
    return ConverterError(FailureReason.DATA_NOT_FINITE, stage, cause, hint=hint)


def labels_mismatch(cause: str, stage: Stage, *, hint: str | None = None) -> ConverterError:
    """LabelsMismatch: labels that do not belong to the samples or to the model."""
    return ConverterError(FailureReason.LABELS_MISMATCH, stage, cause, hint=hint)


def not_found(path: Path, stage: Stage) -> ConverterError:
    """SourceNotFound: there is no file of data."""
    cause = f"File not found: {path}"
    return ConverterError(FailureReason.SOURCE_NOT_FOUND, stage, cause, hint="correct the path of the data")
