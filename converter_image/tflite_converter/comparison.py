"""Two TFLite files on the same samples."""

from __future__ import annotations

from pathlib import Path

from modelconversion_api.base import ApiModel
from modelconversion_api.data import Task
from modelconversion_api.measurements import AgreementMetric
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.report import ArtifactReport
from modelconversion_api.spec import Benchmark

from .datasets import DataFiles
from .errors import ConverterError
from .evaluation import Reference, Request, evaluate
from .file_samples import read_tflite, samples_for
from .gates import Gates
from .metrics import scores
from .quantizer_errors import first_line
from .runtime import TFLiteModel
from .tasks import agreement_metric, detect_task
from .tflite_file import inventory, is_float
from .tflite_types import TFLiteFile


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
    task: Task | None,
    most: int,
    seed: int,
    threads: int,
    folder: Path,
) -> Comparison:
    """Runs both on at most ``most`` samples; ``folder`` is for what the data needs.

    Raises:
        ConverterError: those of reading the files and data; EvaluationFailed where one does not run, or
            their outputs have other names or shapes.

    """
    content, file = read_tflite(a)
    samples = samples_for(file, data, most, seed, folder)
    try:
        outputs = TFLiteModel(content, threads=threads).run_each(samples.arrays)
    except (RuntimeError, ValueError, KeyError) as error:
        cause = f"{a.name} does not run: {first_line(error)}"
        raise ConverterError(FailureReason.EVALUATION_FAILED, Stage.EVALUATE, cause) from error
    for_what = task or detect_task(samples.arrays, outputs, samples.labels)
    metric = agreement_metric(for_what, outputs)
    own = None if samples.labels is None else scores(for_what, samples.arrays, outputs, samples.labels)
    reference = Reference(
        samples.arrays, outputs, samples.labels, for_what, metric, own, len(content), samples.class_names
    )

    def measured(path: Path) -> ArtifactReport:
        bytes_of, found = read_tflite(path)
        request = Request(kind(found), path.name, Gates(), Benchmark(threads=threads), None)
        return evaluate(bytes_of, reference, request, lambda _done: None)

    return Comparison(
        task=for_what, agreement_metric=metric, samples=samples.words, a=measured(a), b=measured(b)
    )


def kind(file: TFLiteFile) -> Method:
    """The method that a file looks like."""
    dtypes = inventory(file).tensor_dtypes
    if any(named.tensor.is_quantized for named in (*file.inputs, *file.outputs)):
        return Method.FULL_INTEGER
    if "float16" in dtypes:
        return Method.FLOAT16
    return Method.FLOAT32 if is_float(file) else Method.DYNAMIC_RANGE
