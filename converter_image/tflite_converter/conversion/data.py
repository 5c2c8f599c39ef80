"""Which samples calibrate a model and which measure it: drawn once, and never the same ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.calibration import ClassCount, DataInfo, DataRole
from tflite_converter.conversion.options import Options
from tflite_converter.data.binding import SavedSamples
from tflite_converter.data.checks import class_counts, data_info, sample_warnings
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.loading import load_dataset
from tflite_converter.data.overlap import disjoint
from tflite_converter.data.sampling import draw, split
from tflite_converter.errors import ConverterError
from tflite_converter.progress import Event, Listener
from tflite_converter.workers.jobs import LABELS_FILE

RANDOM_SAMPLES = 32
"""How many random inputs stand in where there is no data."""
SYNTHETIC_SAMPLES = 128
"""How many made-up samples calibrate where there is no calibration data."""
_SYNTHETIC_WARNING = (
    ": calibrated on made-up samples, for there is no calibration data, so that its ranges are a guess;"
    " give the data that the model will see (--data), or --require-data to refuse"
)

_NONE = np.array([], dtype=np.int64)


@dataclass
class ConversionData:
    """The samples of one conversion."""

    calibration: Dataset | None = None
    """What sets the ranges; None where nothing is calibrated."""
    calibration_info: DataInfo | None = None
    classes: tuple[ClassCount, ...] = ()
    evaluation: Dataset | None = None
    """What artifacts are compared on; None for random inputs."""
    evaluation_info: DataInfo = field(
        default_factory=lambda: DataInfo(role=DataRole.RANDOM, samples=RANDOM_SAMPLES, seed=0)
    )
    overlap: int = 0
    """Evaluation samples left out because they calibrate as well."""
    warnings: list[str] = field(default_factory=list)

    @property
    def is_synthetic(self) -> bool:
        """Whether what needs calibration is calibrated on made-up samples."""
        return self.calibration_info is not None and self.calibration_info.role is DataRole.SYNTHETIC


@dataclass(frozen=True)
class HandedOver:
    """The samples as the children get them: files, while this process keeps none in memory."""

    calibration: SavedSamples | None
    evaluation: SavedSamples | None
    class_names: tuple[str, ...]
    calibration_form: Dataset | None
    """The data set without its samples: what is left to say how they fit the model."""
    evaluation_form: Dataset | None


def hand_over(data: ConversionData, folder: Path) -> HandedOver:
    """Write samples and labels into ``folder``, and free their memory.

    To be called before a child has run there, which could put links in the files' place.
    """
    calibration, evaluation = data.calibration, data.evaluation
    data.calibration = data.evaluation = None
    if evaluation is not None and evaluation.labels is not None:
        np.save(folder / LABELS_FILE, evaluation.labels, allow_pickle=False)
    return HandedOver(
        calibration.save(folder, "calibration-samples") if calibration else None,
        evaluation.save(folder, "evaluation-samples") if evaluation else None,
        evaluation.class_names if evaluation else (),
        calibration.take(_NONE) if calibration else None,
        evaluation.take(_NONE) if evaluation else None,
    )


def choose(options: Options, folder: Path, tell: Listener) -> ConversionData:
    """Read and draw the data before TensorFlow starts: bad data is refused within a second.

    Raises:
        ConverterError: CalibrationMissing, and the reasons of
        :func:`~tflite_converter.data.loading.load_dataset`.

    """
    calibrated = options.calibrated
    calibrates = bool(calibrated)
    data = ConversionData()
    if calibrates and options.calibration is None:
        if options.require_data:
            raise ConverterError(
                FailureReason.CALIBRATION_MISSING, Stage.CALIBRATE, "there is no calibration data"
            )
        data.calibration_info = DataInfo(
            role=DataRole.SYNTHETIC, samples=SYNTHETIC_SAMPLES, seed=options.seed
        )
        data.warnings.append(" and ".join(dict.fromkeys(calibrated)) + _SYNTHETIC_WARNING)
    whole = None
    if options.calibration is not None:
        tell(Event(Stage.CALIBRATE, "reading the calibration data"))
        whole = load_dataset(options.calibration, Stage.CALIBRATE, folder / "calibration-data", tell)
        data.warnings += whole.notes
    if options.validation is not None:
        tell(Event(Stage.EVALUATE, "reading the validation data"))
        held_out = load_dataset(options.validation, Stage.EVALUATE, folder / "validation-data", tell)
        data.warnings += [note for note in held_out.notes if note not in data.warnings]
        if whole is not None and calibrates:
            indices = draw(whole.count, options.samples, options.seed, whole.classes)
            _calibrate_with(data, whole, whole.take(indices), options)
        _evaluate_on(data, held_out, options)
    elif whole is not None:
        _serve_both(data, whole, options, calibrates=calibrates)
    else:
        data.evaluation_info = data.evaluation_info.model_copy(update={"seed": options.seed})
        data.warnings.append("no data was given: artifacts are compared with the original on random inputs")
    return data


def _calibrate_with(data: ConversionData, whole: Dataset, chosen: Dataset, options: Options) -> None:
    data.calibration = chosen
    data.calibration_info = data_info(whole, chosen, DataRole.CALIBRATION, options.seed)
    data.classes = class_counts(whole, chosen)
    data.warnings += sample_warnings(data.calibration_info, data.classes)


def _evaluate_on(data: ConversionData, held_out: Dataset, options: Options) -> None:
    """Use validation data of its own, without samples that calibrate."""
    chosen = held_out.take(draw(held_out.count, options.evaluation_samples, options.seed, held_out.classes))
    fresh = _without_calibration(data, chosen)
    if fresh is None:
        data.warnings.append("all validation samples calibrate the model as well: its figures flatter it")
    data.evaluation = fresh or chosen
    data.evaluation_info = data_info(held_out, data.evaluation, DataRole.VALIDATION, options.seed)


def _serve_both(data: ConversionData, whole: Dataset, options: Options, *, calibrates: bool) -> None:
    """One data set for both ends: some samples calibrate, others measure."""
    seed, most = options.seed, options.evaluation_samples
    if not calibrates:
        sample = whole.take(draw(whole.count, most, seed, whole.classes))
        data.evaluation = sample
        data.evaluation_info = data_info(whole, sample, DataRole.HELD_OUT, seed)
        return
    first, rest = split(whole.count, options.samples, seed, whole.classes)
    chosen = whole.take(first)
    _calibrate_with(data, whole, chosen, options)
    fresh = None
    if len(rest) > 0:
        classes = None if whole.classes is None else whole.classes[rest]
        fresh = _without_calibration(data, whole.take(rest[draw(len(rest), most, seed, classes)]))
    if fresh is None:
        data.warnings.append(
            "there is too little data to hold some out: artifacts are measured on what calibrates them"
        )
    data.evaluation = fresh or chosen
    role = DataRole.CALIBRATION if fresh is None else DataRole.HELD_OUT
    data.evaluation_info = data_info(whole, data.evaluation, role, seed)


def _without_calibration(data: ConversionData, chosen: Dataset) -> Dataset | None:
    """``chosen`` less the samples that calibrate, by their content; None where nothing is left.

    Also a part that was held out may have some: a data set can hold a sample twice.
    """
    if data.calibration is None:
        return chosen
    fresh = disjoint(chosen, data.calibration)
    if len(fresh) == chosen.count:
        return chosen
    if len(fresh) == 0:
        return None
    data.overlap = chosen.count - len(fresh)
    data.warnings.append(
        f"{data.overlap} evaluation sample{'s were' if data.overlap > 1 else ' was'} left out:"
        " the same calibrate the model as well"
    )
    return chosen.take(fresh)
