"""The flags that train a model before its conversion, as the plan of the training."""

from __future__ import annotations

from pathlib import Path

from modelconversion_api.fields.optimization import Distillation, Optimize
from tflite_converter.cli.data import Decoding, data_files
from tflite_converter.cli.flags import decimal
from tflite_converter.cli.given import Given
from tflite_converter.cli.groups import CHECKPOINT, DISTILLATION, PRUNING, QAT, STUDENT, TRAINING
from tflite_converter.errors import UsageError
from tflite_converter.training.plan import TrainingOptions, plan_of


def training_of(given: Given, decoding: Decoding) -> TrainingOptions | None:
    """Return what to train and on which files; None where nothing is to be trained.

    Raises:
        UsageError: A value is out of its limits, the data are missing, or an option would be ignored.

    """
    checkpoint = given.build(CHECKPOINT).checkpoint
    if not given.asks_for(TRAINING):
        if checkpoint is not None:
            raise UsageError("--checkpoint without --distill, --prune or --qat", hint="add one of them")
        return None
    if "--train-data" not in given.values:
        raise UsageError("training needs data", hint="give training samples with --train-data")
    training = given.build(TRAINING)
    distillation, student = _student(given, given.build(STUDENT).distill)
    request = Optimize(
        training=training,
        pruning=given.build_asked(PRUNING),
        quantization_aware_training=given.build_asked(QAT),
        distillation=distillation,
    )
    files = data_files(training, decoding, shared_column=True)
    return TrainingOptions(plan_of(request), files, student, checkpoint)


def _student(given: Given, text: str | None) -> tuple[Distillation | None, Path | None]:
    """Return the distillation, and the file of a student that is given: what is not a number is a path."""
    if text is None:
        return None, None
    try:
        float(text)
    except ValueError:
        return given.build(DISTILLATION), Path(text)
    return given.build(DISTILLATION, width=decimal(text)), None
