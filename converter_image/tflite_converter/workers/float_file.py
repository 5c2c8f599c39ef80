"""The float file and what is measured against it, for models as they are and for trained ones. Child only.

Both tasks of the TensorFlow child call these functions, so that neither does a thing that the other forgets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from conversion_engine.files import EVALUATION_FOLDER, FLOAT_FILE, REFERENCE_FOLDER
from modelconversion_api.reasons import Stage
from tflite_converter.data.binding import grouped, random_inputs
from tflite_converter.data.npz import read_folder, write_folder
from tflite_converter.isolation.child import Child
from tflite_converter.original.batches import with_samples
from tflite_converter.original.errors import classify
from tflite_converter.original.freezing import (
    FakeQuantization,
    FrozenGraph,
    convert_float,
    freeze,
    freeze_for_integers,
    freeze_fused,
)
from tflite_converter.original.model import OriginalModel
from tflite_converter.original.running import run_reference
from tflite_converter.original.unrolling import NotFlatError, flattened, has_control_flow
from tflite_converter.workers.jobs import (
    CALIBRATION_FOLDER,
    CLIPPED_FOLDER,
    FROZEN_FOLDER,
    FUSED_FILE,
    FUSED_INTEGERS_FOLDER,
    INTEGERS_FILE,
    LABELS_FILE,
    OWN_RANGES_FOLDER,
    UNROLLED_FILE,
    TensorFlowJob,
)

_LARGE_BYTES = 4 << 20
"""A smaller graph leaves less behind than is worth a tenth of a second."""
_FUSED_FOLDER = f"{FROZEN_FOLDER}-fused"
_UNROLLED_FOLDER = f"{FROZEN_FOLDER}-unrolled"


def bind_samples(job: TensorFlowJob, original: OriginalModel, folder: Path) -> OriginalModel:
    """Write calibration and evaluation samples into ``folder`` as the model takes them.

    Returns the model as it is converted for these samples.

    Random inputs stand in where there is nothing to evaluate on. To be called before the conversion: data
    that does not fit must not cost one first.

    Raises:
        ConverterError: DataShapeMismatch and the other reasons of data.

    """
    given = [(job.calibration, Stage.CALIBRATE), (job.evaluation, Stage.EVALUATE)]
    shapes = next((data.shapes(original.inputs, stage) for data, stage in given if data is not None), {})
    fitted = with_samples(original, shapes)
    rows = original if fitted.group > 1 else fitted
    if job.calibration is not None:
        calibration = job.calibration.bind(rows.sample_inputs, Stage.CALIBRATE)
        write_folder(folder / CALIBRATION_FOLDER, grouped(calibration, fitted.group, Stage.CALIBRATE))
    if job.evaluation is not None:
        evaluation = job.evaluation.bind(rows.sample_inputs, Stage.EVALUATE)
    else:
        evaluation = random_inputs(rows.sample_inputs, job.random_samples, job.seed)
    write_folder(folder / EVALUATION_FOLDER, grouped(evaluation, fitted.group, Stage.EVALUATE))
    if fitted.group > 1:
        (folder / LABELS_FILE).unlink(missing_ok=True)  # they belong to single samples
    return fitted


def write_reference(original: OriginalModel, process: Child) -> tuple[str, ...]:
    """Run the original on the evaluation samples, and write its outputs into the reference folder.

    Returns the outputs that are random.
    """
    samples = read_folder(process.folder / EVALUATION_FOLDER)
    words = "running the original model"
    process.say(Stage.EVALUATE, words)
    step = process.counter(Stage.EVALUATE, words, len(next(iter(samples.values()))))
    reference = run_reference(original, samples, step)
    write_folder(process.folder / REFERENCE_FOLDER, reference.outputs)
    return reference.random_outputs


def random_warnings(outputs: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a user should know of random outputs."""
    if not outputs:
        return ()
    text = (
        "the original draws random numbers: on the same samples it gives other values each time in"
        f" {', '.join(map(repr, outputs))}; export it in inference mode (training=False)"
    )
    return (text,)


@dataclass(frozen=True, slots=True)
class FloatFiles:
    """What was written."""

    frozen: FrozenGraph
    control_flow: str | None
    """Why the float file keeps its loops and branches in full integer too; None where it does not."""
    fused_integers: bool = False
    """Whether there is a frozen graph with fused LSTM layers for full integer."""
    own_ranges_fault: str | None = None
    """Why full integer cannot have the ranges of the graph's fake quantization."""


def write_float(model: OriginalModel, job: TensorFlowJob, process: Child) -> FloatFiles:
    """Write the float file of ``model``, and a second one with its time steps unrolled where the job asks.

    Raises:
        Exception: TensorFlow's own, for the first file only.

    """
    folder = process.folder
    process.say(Stage.CONVERT, "freezing the graph")
    frozen = freeze(model, folder / FROZEN_FOLDER)
    process.say(Stage.CONVERT, "writing the float file")
    select = job.select_tensorflow_ops
    is_large = (folder / FROZEN_FOLDER / "saved_model.pb").stat().st_size > _LARGE_BYTES
    # Tracing and converting leave graphs with all weights behind: what comes next would stand beside them.
    if is_large:
        process.give_back()
    (folder / FLOAT_FILE).write_bytes(convert_float(folder / FROZEN_FOLDER, select_tensorflow_ops=select))
    if is_large:
        process.give_back()
    fault = _write_for_own_ranges(model, process) if frozen.is_fake_quantized and job.unroll else None
    if not has_control_flow(frozen.definition):
        return FloatFiles(frozen, None, own_ranges_fault=fault)
    fused = _write_fused(frozen, model, job, process)
    if not job.unroll:
        return FloatFiles(frozen, None, fused, fault)
    return FloatFiles(frozen, _write_unrolled(model, process), fused, fault)


def _write_for_own_ranges(model: OriginalModel, process: Child) -> str | None:
    """Write a fake-quantized graph as integers take it, and a float file without its steps for calibration.

    Returns why the graph's own ranges cannot be used. A failure is no error: there is the float file.
    """
    path = process.folder / INTEGERS_FILE
    try:
        own = freeze(model, process.folder / OWN_RANGES_FOLDER, FakeQuantization.EIGHT_BITS)
        freeze(model, process.folder / CLIPPED_FOLDER, FakeQuantization.CLIPPED)
        path.write_bytes(convert_float(process.folder / CLIPPED_FOLDER, select_tensorflow_ops=False))
    except Exception as error:
        path.unlink(missing_ok=True)  # half a file would be taken for a whole one
        return classify(error, Stage.CONVERT).cause
    return own.own_ranges_fault


def _write_fused(whole: FrozenGraph, model: OriginalModel, job: TensorFlowJob, process: Child) -> bool:
    """Write a float file with LSTM layers as TFLite's own operator, where there are such.

    A failure is no error: the file with loops does as well, only slower. Whether this one does what the
    original does is found out where it is run. Returns whether there is a graph for full integer as well.
    """
    path, folder = process.folder / FUSED_FILE, process.folder / _FUSED_FOLDER
    calibration = process.folder / CALIBRATION_FOLDER
    try:
        frozen = freeze_fused(whole, model, folder)
        if frozen is None:
            return False
        process.say(Stage.CONVERT, "writing the float file with fused LSTM layers")
        path.write_bytes(convert_float(folder, select_tensorflow_ops=False))
        if job.unroll and calibration.is_dir():
            integers = process.folder / FUSED_INTEGERS_FOLDER
            freeze_for_integers(frozen, model, read_folder(calibration), integers)
            return True
    except Exception as error:
        path.unlink(missing_ok=True)  # half a file would be taken for a whole one
        cause = classify(error, Stage.CONVERT).cause
        process.say(Stage.CONVERT, f"its LSTM layers stay loops: {cause}", warning=True)
    return False


def _write_unrolled(model: OriginalModel, process: Child) -> str | None:
    """Write the file that full integer starts from, without loops and branches, or return why there is none.

    A failure is no error: other methods need no such file, and full integer may do without. It must not
    cost a conversion that works, least of all after hours of training.
    """
    path, folder = process.folder / UNROLLED_FILE, process.folder / _UNROLLED_FOLDER
    try:
        stepwise = model.unroll() or model
        freeze(flattened(stepwise), folder, FakeQuantization.CLIPPED)
        process.say(Stage.CONVERT, "writing the float file with its time steps unrolled")
        path.write_bytes(convert_float(folder, select_tensorflow_ops=False))
    except NotFlatError as error:
        return str(error)
    except Exception as error:
        path.unlink(missing_ok=True)  # half a file would be taken for a whole one
        cause = f"its time steps cannot be unrolled: {classify(error, Stage.CONVERT).cause}"
        process.say(Stage.CONVERT, cause, warning=True)
        return cause
    return None
