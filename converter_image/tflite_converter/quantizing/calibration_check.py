"""Calibration data looked at without a conversion: what would be drawn, what it covers, what looks wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelconversion_api.base import ApiModel
from modelconversion_api.fields.data import DEFAULT_EVALUATION_SAMPLES
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.calibration import CalibrationReport, DataRole
from modelconversion_api.status import TensorInfo
from tflite_converter.arrays import NamedArrays
from tflite_converter.data.checks import (
    class_counts,
    coverage,
    data_info,
    range_warnings,
    sample_warnings,
    stability_warnings,
)
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.data.sampling import split
from tflite_converter.errors import ConverterError
from tflite_converter.files.formats import is_tflite
from tflite_converter.progress import Event, Listener, ignore
from tflite_converter.tflite.names import tensor_info

_STAGE = Stage.CALIBRATE


class CalibrationCheck(ApiModel):
    """What ``calibrate-check --json`` prints; both parts are as in ``report.json``."""

    calibration: CalibrationReport
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _FloatModel:
    """A float .tflite file and what it takes."""

    content: bytes
    inputs: tuple[TensorInfo, ...]


def check(
    files: DataFiles, model: Path | None, samples: int, seed: int, folder: Path, tell: Listener = ignore
) -> CalibrationCheck:
    """Draws up to ``samples`` samples as a conversion without validation data does, and looks at them.

    Args:
        files: The data.
        model: A float .tflite file. With it, the samples must fit its inputs, and it is run on them to see
            whether its activations' ranges depend on which samples are drawn.
        samples: How many to draw.
        seed: Seed of the draw.
        folder: Where archives are unpacked.
        tell: Hears of progress.

    Raises:
        ConverterError: what :func:`~tflite_converter.data.loading.load_dataset` and
        :meth:`~tflite_converter.data.binding.SavedSamples.bind` raise;
            SourceNotFound, UnsupportedFormat or UnreadableModel for the model; QuantizationFailed where it
            cannot be calibrated.

    """
    float_model = None if model is None else _read_model(model)
    tell(Event(_STAGE, f"reading {files.path.name}"))
    whole = load_dataset(files, _STAGE, folder, tell)
    calibrating, held_out = split(whole.count, samples, seed, whole.classes)
    chosen, others = whole.take(calibrating), whole.take(held_out[:DEFAULT_EVALUATION_SAMPLES])
    tell(Event(_STAGE, f"looking at {chosen.count} of {whole.count} samples"))
    shown, hidden = _values(chosen, float_model, folder), _values(others, float_model, folder)
    stability = None
    if float_model is not None and shown is not None:
        from tflite_converter.quantizing.calibration import (
            calibrate,  # with the quantizer, which takes seconds to import
        )

        step = _counter(tell, chosen.count)
        stability = calibrate(float_model.content, shown, threads=1, after_each=step).stability
    info, classes = data_info(whole, chosen, DataRole.CALIBRATION, seed), class_counts(whole, chosen)
    if float_model is not None:
        fitting = chosen.save(folder, "drawn").fitting(float_model.inputs, _STAGE)
        info = info.model_copy(update={"preprocessing": info.preprocessing | fitting})
    return CalibrationCheck(
        calibration=CalibrationReport(
            data=info,
            classes=classes,
            inputs=() if shown is None else coverage(shown, hidden),
            stability=stability,
        ),
        warnings=(
            *whole.notes,
            *sample_warnings(info, classes),
            *(() if shown is None else range_warnings(shown, hidden)),
            *stability_warnings(stability),
        ),
    )


def _values(dataset: Dataset, model: _FloatModel | None, folder: Path) -> NamedArrays | None:
    """Return the samples as the model gets them, or as they are without one, which images cannot be."""
    if dataset.count == 0:
        return None
    if model is None:
        return dataset.arrays or None
    return dataset.save(folder, "drawn").bind(model.inputs, _STAGE)


def _read_model(path: Path) -> _FloatModel:
    from tflite_converter.tflite.runtime import TFLiteModel  # with LiteRT, for this option only

    if not path.is_file():
        raise ConverterError(
            FailureReason.SOURCE_NOT_FOUND, Stage.LOAD, f"File not found: {path}", hint=_MAKE_ONE
        )
    content = path.read_bytes()
    if not is_tflite(content[:8]):
        cause = f"{path.name} is not a TFLite file"
        raise ConverterError(FailureReason.UNSUPPORTED_FORMAT, Stage.LOAD, cause, hint=_MAKE_ONE)
    try:
        inputs = TFLiteModel(content).inputs
    except (ValueError, RuntimeError) as error:
        cause = f"{path.name} cannot be loaded: {str(error).partition(chr(10))[0]}"
        raise ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, cause) from error
    if quantized := [tensor.name for tensor in inputs if tensor.scale != 0.0]:
        cause = f"{path.name} is quantized already (its input {quantized[0]!r} is)"
        raise ConverterError(FailureReason.UNSUPPORTED_FORMAT, Stage.LOAD, cause, hint=_MAKE_ONE)
    return _FloatModel(
        content,
        tuple(tensor_info(t.name, t.shape, np.dtype(t.dtype).name) for t in inputs),
    )


_MAKE_ONE = "give the file that `tflite-converter convert --method float32` makes"


def _counter(tell: Listener, count: int) -> Callable[[int], None]:
    """Tells of every twentieth part that is done."""
    every = max(1, count // 20)

    def step(done: int) -> None:
        if done % every == 0 or done == count:
            tell(Event(_STAGE, "comparing two halves of the samples", done / count))

    return step
