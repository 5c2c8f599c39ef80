"""Which samples calibrate a model and which measure it: drawn once, and never the same ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from modelconversion_api.calibration_report import ClassCount, DataInfo, DataRole
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage

from .dataset_checks import class_counts, data_info, sample_warnings
from .datasets import Dataset, disjoint, load_dataset
from .errors import ConverterError
from .options import Options
from .progress import Event, Listener
from .sampling import draw, split

RANDOM_SAMPLES = 32
"""How many random inputs stand in where there is no data."""


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


def choose(options: Options, folder: Path, tell: Listener) -> ConversionData:
    """Reads and draws the data before TensorFlow starts: bad data is known within a second.

    Raises:
        ConverterError: CalibrationMissing, and the reasons of :func:`datasets.load_dataset`.

    """
    calibrates = Method.FULL_INTEGER in options.methods
    if calibrates and options.calibration is None:
        raise ConverterError(
            FailureReason.CALIBRATION_MISSING, Stage.CALIBRATE, "there is no calibration data"
        )
    data = ConversionData()
    whole = None
    if options.calibration is not None:
        tell(Event(Stage.CALIBRATE, "reading the calibration data"))
        whole = load_dataset(options.calibration, Stage.CALIBRATE, folder / "calibration-data")
    if options.validation is not None:
        tell(Event(Stage.EVALUATE, "reading the validation data"))
        held_out = load_dataset(options.validation, Stage.EVALUATE, folder / "validation-data")
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


def _calibrate_with(data: ConversionData, whole: Dataset, drawn: Dataset, options: Options) -> None:
    data.calibration = drawn
    data.calibration_info = data_info(whole, drawn, DataRole.CALIBRATION, options.seed)
    data.classes = class_counts(whole, drawn)
    data.warnings += sample_warnings(data.calibration_info, data.classes)


def _evaluate_on(data: ConversionData, held_out: Dataset, options: Options) -> None:
    """Validation data of its own, less what calibrates."""
    drawn = held_out.take(draw(held_out.count, options.evaluation_samples, options.seed, held_out.classes))
    if data.calibration is not None:
        fresh = disjoint(drawn, data.calibration)
        data.overlap = drawn.count - len(fresh)
        if len(fresh) == 0:
            data.warnings.append("all validation samples calibrate the model as well: its figures flatter it")
        elif data.overlap:
            drawn = drawn.take(fresh)
            data.warnings.append(
                f"{data.overlap} validation samples were left out: they calibrate the model as well"
            )
    data.evaluation = drawn
    data.evaluation_info = data_info(held_out, drawn, DataRole.VALIDATION, options.seed)


def _serve_both(data: ConversionData, whole: Dataset, options: Options, *, calibrates: bool) -> None:
    """One data set for both ends: some samples calibrate, others measure."""
    seed, most = options.seed, options.evaluation_samples
    if not calibrates:
        drawn = whole.take(draw(whole.count, most, seed, whole.classes))
        data.evaluation = drawn
        data.evaluation_info = data_info(whole, drawn, DataRole.HELD_OUT, seed)
        return
    first, rest = split(whole.count, options.samples, seed, whole.classes)
    chosen = whole.take(first)
    _calibrate_with(data, whole, chosen, options)
    if len(rest) == 0:
        data.evaluation = chosen
        data.evaluation_info = data_info(whole, chosen, DataRole.CALIBRATION, seed)
        data.warnings.append(
            "there is too little data to hold some out: artifacts are measured on what calibrates them"
        )
        return
    remaining = whole.take(rest)
    drawn = remaining.take(draw(remaining.count, most, seed, remaining.classes))
    data.evaluation = drawn
    data.evaluation_info = data_info(whole, drawn, DataRole.HELD_OUT, seed)
