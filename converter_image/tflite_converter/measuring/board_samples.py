"""Samples for boards and guests: written where the original was run, read where the files are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from modelconversion_api.fields.boards import MOST_BOARD_SAMPLE_BYTES, MOST_BOARD_SAMPLES
from modelconversion_api.fields.detection import DEFAULT_IGNORE_LABEL
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.calibration import DataRole
from modelconversion_api.reports.conversion import ConversionReport
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.data.npz import read_arrays, write_npz
from tflite_converter.errors import ConverterError
from tflite_converter.measuring.boxes import reading_of
from tflite_converter.measuring.evaluation import Reference

_INPUT, _OUTPUT, _LABELS = "inputs/", "outputs/", "labels"
MOST_FILE_BYTES: Final = 1 << 30
"""Most bytes of the file: one sample is always there, however large it is."""


def write_board_samples(path: Path, reference: Reference) -> None:
    """Write the first samples, the original's outputs on them, and their labels, as far as they fit."""
    arrays = {f"{_INPUT}{name}": values for name, values in reference.samples.items()}
    arrays |= {f"{_OUTPUT}{name}": values for name, values in reference.outputs.items()}
    if reference.labels is not None:
        arrays[_LABELS] = reference.labels
    count = _fitting(arrays)
    write_npz(path, {name: values[:count] for name, values in arrays.items()})


def write_samples(path: Path, reference: Reference, most: int) -> None:
    """Write the first ``most`` samples alone, as far as they fit."""
    count = min(most, _fitting(reference.samples))
    write_npz(path, {name: values[:count] for name, values in reference.samples.items()})


def _fitting(arrays: NamedArrays) -> int:
    """Return how many samples are written: all, or as many as the limits take, and at least one."""
    count = len(next(iter(arrays.values())))
    each = sum(values.nbytes for values in arrays.values()) / max(1, count)
    return min(count, MOST_BOARD_SAMPLES, max(1, int(MOST_BOARD_SAMPLE_BYTES / max(1.0, each))))


def count_of(path: Path) -> int:
    """Return how many samples the file at ``path`` has."""
    return len(next(iter(_read(path).values())))


def read_board_samples(path: Path, report: ConversionReport) -> Reference:
    """Read what files are compared with on a board; ``report`` says by which task and metric.

    Raises:
        ConverterError: DataUnreadable.

    """
    arrays = _read(path)
    samples, outputs = _part(arrays, _INPUT), _part(arrays, _OUTPUT)
    labels: Array | None = arrays.get(_LABELS)
    evaluation = report.evaluation
    counts = {len(values) for values in arrays.values()}
    if not samples or not outputs or len(counts) != 1 or 0 in counts:
        raise ConverterError(
            FailureReason.DATA_UNREADABLE, Stage.MEASURE, f"{path.name} lacks samples or outputs of them"
        )
    detection, ignored = evaluation.detection, evaluation.ignore_label
    reading = None if detection is None else reading_of(detection, outputs, samples)
    return Reference(
        samples,
        outputs,
        labels,
        evaluation.task,
        evaluation.agreement_metric,
        None,
        report.source.size_bytes,
        is_real=evaluation.data.role not in (DataRole.RANDOM, DataRole.SYNTHETIC),
        reading=reading,
        boxes=None if reading is None else reading.boxes(outputs),
        ignore_label=DEFAULT_IGNORE_LABEL if ignored is None else ignored,
    ).with_scores()


def _read(path: Path) -> dict[str, Array]:
    # It is written without compression: what unpacks to more is not what was written.
    return read_arrays(path, Stage.MEASURE, most_bytes=path.stat().st_size)


def _part(arrays: NamedArrays, prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
