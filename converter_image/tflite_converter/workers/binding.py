"""The child process that writes the samples for a float file that an engine has made.

``python -m tflite_converter.workers.binding FOLDER``: see :mod:`tflite_converter.isolation.child`. It decodes
images and matches arrays to inputs, and needs no model for it: TensorFlow's child does the same for its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from conversion_engine.files import EVALUATION_FOLDER
from modelconversion_api.reasons import Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.data.binding import GROUPS, grouped, random_inputs
from tflite_converter.data.npz import write_folder
from tflite_converter.isolation import child
from tflite_converter.isolation.child import Child
from tflite_converter.workers.jobs import CALIBRATION_FOLDER, LABELS_FILE, BindingJob, BindingResult
from tflite_converter.workers.programs import BINDING


def work(job: BindingJob, process: Child) -> BindingResult:
    """Write calibration and evaluation samples, random ones where there are none to evaluate on.

    Raises:
        ConverterError: DataShapeMismatch and the other reasons of data.

    """
    process.say(Stage.LOAD, "preparing the samples")
    folder, inputs, group = process.folder, *_sample_inputs(job)
    if job.calibration is not None:
        calibration = job.calibration.bind(inputs, Stage.CALIBRATE)
        write_folder(folder / CALIBRATION_FOLDER, grouped(calibration, group, Stage.CALIBRATE))
    if job.evaluation is not None:
        evaluation = job.evaluation.bind(inputs, Stage.EVALUATE)
    else:
        evaluation = random_inputs(inputs, job.random_samples * group, job.seed)
    write_folder(folder / EVALUATION_FOLDER, grouped(evaluation, group, Stage.EVALUATE))
    if group == 1:
        return BindingResult(isolation=process.isolation)
    (folder / LABELS_FILE).unlink(missing_ok=True)  # they belong to single samples
    return BindingResult(isolation=process.isolation, warnings=(GROUPS.format(group=group),))


def _sample_inputs(job: BindingJob) -> tuple[list[TensorInfo], int]:
    """Return the inputs with the number of samples in front, and how many samples are one input.

    Data say which it is: samples with a dimension more than the input are whole inputs of it, and others are
    rows, of which the model takes a fixed number at once.
    """
    given = [(job.calibration, Stage.CALIBRATE), (job.evaluation, Stage.EVALUATE)]
    inputs = list(job.inputs)
    data, stage = next(((data, stage) for data, stage in given if data is not None), (None, Stage.EVALUATE))
    shapes = {} if data is None else data.shapes(inputs, stage)
    has_rows = data is not None and all(len(shapes.get(i.name, i.shape)) == len(i.shape) for i in inputs)
    if job.group > 1 and has_rows:
        rows = [info.model_copy(update={"shape": [1, *info.shape[1:]]}) for info in inputs]
        return rows, job.group
    return [for_samples(info, shapes.get(info.name)) for info in inputs], 1


def for_samples(info: TensorInfo, data: Sequence[int] | None) -> TensorInfo:
    """Return the input with a dimension for samples in front, where a sample is the whole input."""
    rank = len(info.shape)
    if data is not None:
        is_whole = len(data) == rank + 1
    else:
        is_whole = not rank or (rank == 1 and info.shape != [1]) or info.shape[0] not in (1, -1)
    return info.model_copy(update={"shape": [1, *info.shape]}) if is_whole else info


if __name__ == "__main__":
    child.run(BINDING.name, BindingJob, lambda job: job.limits, work, child.classified_as(BINDING.words))
