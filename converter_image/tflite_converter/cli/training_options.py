"""The options of ``tflite-converter convert`` that train the model before it is converted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from modelconversion_api.optimization import (
    DEFAULT_ALPHA,
    DEFAULT_BATCH_SIZE,
    DEFAULT_DISTILLATION_EPOCHS,
    DEFAULT_PRUNING_EPOCHS,
    DEFAULT_TEMPERATURE,
    DEFAULT_TRAINING_SECONDS,
    OptimizationStep,
)
from tflite_converter.errors import UsageError

if TYPE_CHECKING:
    from modelconversion_api.data import Images
    from tflite_converter.training.plan import TrainingOptions

_PANEL: Final = "Training before the conversion (Keras models): distil, then prune, then train for int8"

PruneOption = Annotated[
    float | None,
    typer.Option(
        metavar="SPARSITY",
        help="Set this share of each kernel to zero while the rest learns to do without, e.g. 0.8. The file"
        " compresses better; it is no smaller or faster by itself.",
        rich_help_panel=_PANEL,
    ),
]
QatOption = Annotated[
    int | None,
    typer.Option(
        metavar="EPOCHS",
        min=1,
        help="Quantization-aware training: train with int8's rounding in place, e.g. 3. For models that lose"
        " accuracy in full_integer.",
        rich_help_panel=_PANEL,
    ),
]
DistillOption = Annotated[
    str | None,
    typer.Option(
        metavar="WIDTH|FILE",
        help="Train a smaller model to do what this one does: a copy with this share of its filters and"
        " units, e.g. 0.5, or a Keras file with the same inputs and outputs.",
        rich_help_panel=_PANEL,
    ),
]
TrainDataOption = Annotated[
    Path | None,
    typer.Option(
        help="Training samples, in the same formats as --data. Those that are measured on are left out.",
        rich_help_panel=_PANEL,
    ),
]
TrainLabelsOption = Annotated[
    Path | None,
    typer.Option(
        help="Labels of --train-data (.npy or .csv). Without labels, the model's own outputs are learned.",
        rich_help_panel=_PANEL,
    ),
]
EpochsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Passes over the data for --distill and --prune.",
        show_default=f"{DEFAULT_DISTILLATION_EPOCHS} to distil, {DEFAULT_PRUNING_EPOCHS} to prune",
        rich_help_panel=_PANEL,
    ),
]
LearningRateOption = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="Highest learning rate; lower it when training diverges.",
        show_default="0.002 to distil and prune, 0.0002 for int8",
        rich_help_panel=_PANEL,
    ),
]
TrainBatchOption = Annotated[
    int, typer.Option(min=1, help="Samples in one step of training.", rich_help_panel=_PANEL)
]
TemperatureOption = Annotated[
    float,
    typer.Option(
        min=1.0, help="Softens the classes that are compared with the original's.", rich_help_panel=_PANEL
    ),
]
AlphaOption = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Weight of the labels in training; the rest is what the original model gives.",
        rich_help_panel=_PANEL,
    ),
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        help="File that keeps the state after each epoch (.npz); training goes on from it where it is there.",
        rich_help_panel=_PANEL,
    ),
]
DeadlineOption = Annotated[
    int,
    typer.Option(
        min=1,
        help="Seconds that all training may take; the best weights until then are kept.",
        rich_help_panel=_PANEL,
    ),
]

TRAIN_BATCH: Final = DEFAULT_BATCH_SIZE
TEMPERATURE: Final = float(DEFAULT_TEMPERATURE)
ALPHA: Final = float(DEFAULT_ALPHA)
DEADLINE: Final = DEFAULT_TRAINING_SECONDS


def training_options(
    *,
    prune: float | None,
    qat: int | None,
    distill: str | None,
    data: Path | None,
    labels: Path | None,
    label_column: str | None,
    images: Images | None,
    epochs: int | None,
    learning_rate: float | None,
    batch_size: int,
    temperature: float,
    alpha: float,
    checkpoint: Path | None,
    deadline: int,
    seed: int,
) -> TrainingOptions | None:
    """What the command line asks to train; None for nothing.

    Raises:
        UsageError: for options that make no sense together.

    """
    from tflite_converter.data.files import DataFiles
    from tflite_converter.training.plan import PlannedStep, TrainingOptions, TrainingPlan

    steps: list[PlannedStep] = []
    student: Path | None = None
    width: dict[str, float] = {}
    if distill is not None:
        student, width = _student(distill)
        steps.append(
            PlannedStep(step=OptimizationStep.DISTILLATION, epochs=epochs or DEFAULT_DISTILLATION_EPOCHS)
        )
    if prune is not None:
        if not 0.0 < prune < 1.0:
            raise UsageError(
                f"--prune {prune:g} is no share between 0 and 1", hint="for instance --prune 0.8"
            )
        step = OptimizationStep.PRUNING
        steps.append(PlannedStep(step=step, epochs=epochs or DEFAULT_PRUNING_EPOCHS, target_sparsity=prune))
    if qat is not None:
        steps.append(PlannedStep(step=OptimizationStep.QUANTIZATION_AWARE_TRAINING, epochs=qat))
    given = {"--train-data": data, "--train-labels": labels, "--checkpoint": checkpoint}
    if not steps:
        if useless := [name for name, value in given.items() if value is not None]:
            raise UsageError(
                f"{useless[0]} without anything to train for", hint="give --prune, --qat or --distill as well"
            )
        return None
    if data is None:
        raise UsageError("training needs data", hint="give training samples with --train-data")
    if learning_rate == 0.0:
        raise UsageError("--learning-rate 0 trains nothing", hint="for instance --learning-rate 0.0005")
    plan = TrainingPlan(
        steps=tuple(steps),
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        deadline_seconds=deadline,
        temperature=temperature,
        alpha=alpha,
        **width,
    )
    files = DataFiles(data, labels, None if labels is not None else label_column, images)
    return TrainingOptions(plan, files, student, checkpoint)


def _student(text: str) -> tuple[Path | None, dict[str, float]]:
    """A number is a width, anything else a file."""
    try:
        width = float(text)
    except ValueError:
        return Path(text), {}
    if not 0.0 < width < 1.0:
        raise UsageError(
            f"--distill {text} is no width between 0 and 1",
            hint="for instance --distill 0.5, or the path of a Keras file",
        )
    return None, {"width": width}
