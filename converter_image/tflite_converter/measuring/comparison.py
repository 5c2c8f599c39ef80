"""Two TFLite files on the same samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from modelconversion_api.base import ApiModel
from modelconversion_api.fields.data import Task
from modelconversion_api.methods import Method, artifact_base_name
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import ArtifactReport
from modelconversion_api.reports.measurements import AgreementMetric
from modelconversion_api.spec import Benchmark
from tflite_converter.data.file_samples import read_tflite, samples_for
from tflite_converter.data.files import DataFiles
from tflite_converter.data.labels import check_classes
from tflite_converter.errors import ConverterError
from tflite_converter.measuring.evaluation import Reference, Request, evaluate
from tflite_converter.measuring.gates import Gates
from tflite_converter.measuring.grounding import Told, grounded
from tflite_converter.measuring.tasks import agreement_metric, detect_task, is_scores, with_classes
from tflite_converter.tflite.file import inventory, is_float
from tflite_converter.tflite.runtime import TFLiteModel, why
from tflite_converter.tflite.types import TFLiteFile


class Comparison(ApiModel):
    """What was found; ``b`` is measured against ``a``."""

    task: Task
    agreement_metric: AgreementMetric
    samples: str
    a: ArtifactReport
    b: ArtifactReport


def compare_files(
    a: Path,
    b: Path,
    data: DataFiles | None,
    told: Told,
    most: int,
    seed: int,
    threads: int,
    folder: Path,
) -> Comparison:
    """Run both files on at most ``most`` samples; ``folder`` is for the data's files.

    Raises:
        ConverterError: those of reading the files and data; DataShapeMismatch where the files take different
            inputs, LabelsMismatch; EvaluationFailed where one does not run, or their outputs differ in name
            or shape.

    """
    content, file = read_tflite(a)
    _, other = read_tflite(b)
    _check_inputs(a.name, file, b.name, other)
    samples = samples_for(file, data, most, seed, folder)
    try:
        outputs = TFLiteModel(content, threads=threads).run_each(samples.arrays)
    except (RuntimeError, ValueError, KeyError) as error:
        cause = f"{a.name} does not run: {why(error)}"
        raise ConverterError(FailureReason.EVALUATION_FAILED, Stage.EVALUATE, cause) from error
    labels = with_classes(told.task, outputs, samples.labels)
    for_what = told.task or detect_task(samples.arrays, outputs, labels)
    if for_what.has_classes and is_scores(outputs):
        (values,) = outputs.values()
        check_classes(labels, samples.class_names, values.shape[1], samples.words, Stage.EVALUATE)
    reference = Reference(
        samples.arrays,
        outputs,
        labels,
        for_what,
        AgreementMetric.R2,
        None,
        len(content),
        samples.class_names,
    )
    if for_what in (Task.DETECTION, Task.SEGMENTATION):
        reference, _ = grounded(reference, told, samples.words)
    else:
        reference = replace(reference, metric=agreement_metric(for_what, outputs)).with_scores()
        # Labels that do not fit the task say nothing of either file.
        reference = replace(reference, labels=None if reference.original is None else labels)

    def measured(path: Path) -> ArtifactReport:
        bytes_of, file = read_tflite(path)
        name = f"{artifact_base_name(str(path))}.tflite"  # reports have names of published files only
        request = Request(kind(file), name, Gates(), Benchmark(threads=threads), None)
        return evaluate(bytes_of, reference, request, lambda _done: None)

    return Comparison(
        task=for_what, agreement_metric=reference.metric, samples=samples.words, a=measured(a), b=measured(b)
    )


def _check_inputs(a: str, first: TFLiteFile, b: str, second: TFLiteFile) -> None:
    """Refuses files that cannot be run on the same samples.

    Raises:
        ConverterError: DataShapeMismatch, with the inputs of both.

    """
    if _inputs(first) == _inputs(second):
        return
    cause = f"the files take different inputs: {a} takes {_words(first)}, {b} takes {_words(second)}"
    hint = "compare files that were made from the same model"
    raise ConverterError(FailureReason.DATA_SHAPE_MISMATCH, Stage.EVALUATE, cause, hint=hint)


def _inputs(file: TFLiteFile) -> dict[str, tuple[int, ...]]:
    """Sizes by name; the batch may be another."""
    return {named.name: named.tensor.shape[1:] for named in file.inputs}


def _words(file: TFLiteFile) -> str:
    return ", ".join(f"{named.name!r} {list(named.tensor.shape)}" for named in file.inputs) or "nothing"


def kind(file: TFLiteFile) -> Method:
    """Return the method that a file looks like."""
    dtypes = inventory(file).tensor_dtypes
    edges = [named.tensor for named in (*file.inputs, *file.outputs) if named.tensor.is_quantized]
    if edges:
        is_wide = any(tensor.dtype == "int16" for tensor in edges)
        return Method.INT16_ACTIVATIONS if is_wide else Method.FULL_INTEGER
    if "float16" in dtypes:
        return Method.FLOAT16
    if "int4" in dtypes:
        return Method.INT4
    if is_float(file):
        return Method.FLOAT32
    return Method.WEIGHT_ONLY_INT8 if _only_widens(file) else Method.DYNAMIC_RANGE


def _only_widens(file: TFLiteFile) -> bool:
    """Whether nothing but DEQUANTIZE, and GATHER from a table, reads what is quantized."""
    return all(
        operator.name in ("DEQUANTIZE", "GATHER")
        or not any(graph.tensors[index].is_quantized for index in operator.inputs if index >= 0)
        for operator, graph in file.operators()
    )
