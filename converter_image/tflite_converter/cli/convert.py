"""``tflite-converter convert``: one model in, TFLite files, a table and two reports out."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelconversion_api.compilers import EDGE_TPU_TIMEOUT_SECONDS, EthosUOptimise
from modelconversion_api.data import (
    DEFAULT_CALIBRATION_SAMPLES,
    DEFAULT_EVALUATION_SAMPLES,
    ImageResize,
    ImageScaling,
    Task,
)
from modelconversion_api.methods import Method, Target, artifact_base_name, methods_for_target
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.spec import DEFAULT_TUNING_SECONDS
from tflite_converter.cli import training_options as training
from tflite_converter.cli.compile import (
    CArray,
    DensePerTensor,
    EdgeTPUFlag,
    EdgeTPUPredict,
    EdgeTPURuntime,
    EdgeTPUSearch,
    EdgeTPUSegments,
    EdgeTPUTimeout,
    EthosUMemoryOption,
    EthosUOptimiseOption,
    EthosUOption,
    EthosUSystemOption,
    MaxArena,
    MinMapped,
    compilers_of,
)
from tflite_converter.cli.errors import ends_with_a_message
from tflite_converter.errors import ConverterError, UsageError
from tflite_converter.progress import Event, Listener

if TYPE_CHECKING:
    from modelconversion_api.data import Images
    from tflite_converter.data.files import DataFiles

MethodName = StrEnum("MethodName", {m.name: m.cli_name for m in Method} | {"ALL": "all"})  # type: ignore[misc]  # made from the contract's methods, which mypy cannot see

_BY_NAME = {m.cli_name: m for m in Method}
_DATA, _GATES, _MODEL, _MEASURING, _LIMITS, _SHOWN = (
    "Data",
    "Gates: an artifact that misses one is marked; exit code 41 when none passes",
    "Model",
    "Measuring and tuning",
    "Limits",
    "What is shown",
)


def convert(
    model: Annotated[
        Path,
        typer.Option(
            help="Keras .h5 or .keras file, SavedModel folder or its .zip or .tar.gz, or float .tflite.",
            show_default=False,
        ),
    ],
    method: Annotated[
        MethodName | None,
        typer.Option(
            help="What to make; all makes every method that the data allows.", show_default="dynamic_range"
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Representative dataset, which full_integer needs: .npy, .npz, .csv, or a folder (or .zip,"
            " .tar.gz) of images.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the artifacts.")] = Path("converted_models"),
    target: Annotated[
        Target | None,
        typer.Option(
            case_sensitive=False, help="Where the model will run; chooses the methods instead of --method."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Class labels of --data (.npy or .csv): draws evenly over the classes.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    validation_data: Annotated[
        Path | None,
        typer.Option(
            help="Samples that the artifacts are compared on; without them, the part of --data that does not"
            " calibrate.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    validation_labels: Annotated[
        Path | None,
        typer.Option(
            help="Labels of --validation-data (.npy or .csv): measures accuracy.", rich_help_panel=_DATA
        ),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(help="Column of the .csv files that holds the labels.", rich_help_panel=_DATA),
    ] = None,
    image_scaling: Annotated[
        ImageScaling | None,
        typer.Option(
            case_sensitive=False,
            help="What becomes of the pixels' 0 to 255, as in training; needed for images.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    image_resize: Annotated[
        ImageResize,
        typer.Option(
            case_sensitive=False, help="How images come to the input's size.", rich_help_panel=_DATA
        ),
    ] = ImageResize.STRETCH,
    samples: Annotated[
        int, typer.Option(min=1, help="Calibration samples to draw.", rich_help_panel=_DATA)
    ] = DEFAULT_CALIBRATION_SAMPLES,
    evaluation_samples: Annotated[
        int, typer.Option(min=1, help="Most samples to compare on.", rich_help_panel=_DATA)
    ] = DEFAULT_EVALUATION_SAMPLES,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of every draw.", rich_help_panel=_DATA)
    ] = 0,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SIZES",
            help="Size of an input that the model leaves open, e.g. audio=1,16000; may be repeated.",
            rich_help_panel=_MODEL,
            show_default="batch 1, the rest as in the model",
        ),
    ] = None,
    select_tf_ops: Annotated[
        bool,
        typer.Option(
            "--select-tf-ops",
            help="Let operations that TFLite lacks stay TensorFlow's (Flex): devices then need its delegate.",
            rich_help_panel=_MODEL,
        ),
    ] = False,
    sha256: Annotated[
        str | None, typer.Option(help="Digest that the model must have.", rich_help_panel=_MODEL)
    ] = None,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Largest loss of accuracy, e.g. 0.02.", rich_help_panel=_GATES),
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Smallest agreement with the original, e.g. 0.98.",
            rich_help_panel=_GATES,
        ),
    ] = None,
    max_size: Annotated[
        int | None, typer.Option(min=1, help="Largest file, in bytes.", rich_help_panel=_GATES)
    ] = None,
    max_latency: Annotated[
        float | None,
        typer.Option(min=0.0, help="Longest median run on this machine, in ms.", rich_help_panel=_GATES),
    ] = None,
    task: Annotated[
        Task | None,
        typer.Option(
            case_sensitive=False,
            help="What the model is for, which decides the metrics.",
            show_default="read from its outputs and the labels",
            rich_help_panel=_MEASURING,
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(
            min=1, max=64, help="Threads for measuring and calibrating.", rich_help_panel=_MEASURING
        ),
    ] = 1,
    runs: Annotated[
        int,
        typer.Option(
            min=1, max=10_000, help="Runs that latency is measured over.", rich_help_panel=_MEASURING
        ),
    ] = 50,
    batch_size: Annotated[
        int,
        typer.Option(
            min=1, max=1024, help="Samples in one run of the batch measurement.", rich_help_panel=_MEASURING
        ),
    ] = 8,
    tuning_seconds: Annotated[
        int,
        typer.Option(
            min=0,
            help="How long other recipes are tried when full_integer misses its gates; 0 tries none.",
            rich_help_panel=_MEASURING,
        ),
    ] = DEFAULT_TUNING_SECONDS,
    prune: training.PruneOption = None,
    qat: training.QatOption = None,
    distill: training.DistillOption = None,
    train_data: training.TrainDataOption = None,
    train_labels: training.TrainLabelsOption = None,
    epochs: training.EpochsOption = None,
    learning_rate: training.LearningRateOption = None,
    train_batch: training.TrainBatchOption = training.TRAIN_BATCH,
    temperature: training.TemperatureOption = training.TEMPERATURE,
    alpha: training.AlphaOption = training.ALPHA,
    checkpoint: training.CheckpointOption = None,
    train_deadline: training.DeadlineOption = training.DEADLINE,
    edgetpu: EdgeTPUFlag = False,
    edgetpu_predict: EdgeTPUPredict = False,
    edgetpu_runtime: EdgeTPURuntime = None,
    edgetpu_segments: EdgeTPUSegments = 1,
    edgetpu_search: EdgeTPUSearch = False,
    edgetpu_timeout: EdgeTPUTimeout = EDGE_TPU_TIMEOUT_SECONDS,
    ethos_u: EthosUOption = None,
    ethos_u_system: EthosUSystemOption = None,
    ethos_u_memory: EthosUMemoryOption = None,
    ethos_u_optimise: EthosUOptimiseOption = EthosUOptimise.PERFORMANCE,
    min_mapped: MinMapped = None,
    c_array: CArray = False,
    max_arena: MaxArena = None,
    dense_per_tensor: DensePerTensor = False,
    memory_limit: Annotated[
        int | None,
        typer.Option(
            min=512,
            help="Memory of each process that touches the model, in MiB.",
            show_default="nearly all there is",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    step_timeout: Annotated[
        int,
        typer.Option(
            min=1,
            help="Seconds without progress after which a step counts as hung.",
            rich_help_panel=_LIMITS,
        ),
    ] = 1800,
    sign_key: Annotated[
        Path | None,
        typer.Option(
            help="Elliptic-curve private key (PEM) to sign the artifacts and reports with: writes model.sig"
            " (OpenSSF model signing).",
            rich_help_panel=_SHOWN,
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print the report as one JSON document; progress goes to stderr.",
            rich_help_panel=_SHOWN,
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="No progress, only warnings and results.", rich_help_panel=_SHOWN),
    ] = False,
) -> None:
    """Convert a trained model to TFLite, and measure each artifact against the original.

    Writes NAME_float32.tflite, NAME_dynamic_range.tflite, NAME_float16.tflite and NAME_int8.tflite, with
    NAME_report.json for programs and NAME_report.html to look at.

    Examples:
      convert --model gesture.h5 --method all --data val_features.npy

      convert --model vision.keras --target Microcontroller --data photos/ --image-scaling MinusOneToOne

      convert --model gesture.h5 --method full_integer --data val.csv --label-column gesture
      --max-accuracy-drop 0.01

      convert --model vww.h5 --method full_integer --data frames.npy --ethos-u ethos-u55-128 --c-array

      convert --model gesture.h5 --method full_integer --data val.npy --qat 3 --prune 0.8
      --train-data train.npy --train-labels train_labels.npy

    """
    # Not at the top: --help must not wait for numpy and rich.
    from modelconversion_api.report import reason_of_none_passed
    from modelconversion_api.spec import Benchmark
    from tflite_converter.console.report import ProgressView, open_console, show_report, stream_fd
    from tflite_converter.conversion.options import Options
    from tflite_converter.conversion.pipeline import convert as run
    from tflite_converter.files.workspace import workspace
    from tflite_converter.measuring.gates import Gates
    from tflite_converter.report.page import render

    with ends_with_a_message():
        console = open_console(stream_fd(json=as_json))
        _check_labels(data, labels, validation_data, validation_labels, label_column, image_scaling)
        measured = validation_labels if validation_data is not None else labels
        if max_accuracy_drop is not None and not (measured or label_column or image_scaling):
            raise UsageError(
                "--max-accuracy-drop needs labels of the data that artifacts are compared on",
                hint="give --validation-labels (or --labels), or use --min-agreement",
            )
        compilers = compilers_of(
            edgetpu=edgetpu,
            edgetpu_predict=edgetpu_predict,
            edgetpu_runtime=edgetpu_runtime,
            edgetpu_segments=edgetpu_segments,
            edgetpu_search=edgetpu_search,
            edgetpu_timeout=edgetpu_timeout,
            ethos_u=ethos_u,
            ethos_u_system=ethos_u_system,
            ethos_u_memory=ethos_u_memory,
            ethos_u_optimise=ethos_u_optimise,
            min_mapped=min_mapped,
            c_array=c_array,
            max_arena=max_arena,
            dense_per_tensor=dense_per_tensor,
        )
        key = None if sign_key is None else _read_key(sign_key)
        with ProgressView(console, quiet=quiet) as view:
            options = Options(
                source=model,
                base_name=artifact_base_name(str(model.absolute())),
                methods=_methods(method, target, data, view),
                expected_sha256=sha256,
                input_shapes=_input_shapes(input_shape or []),
                select_tensorflow_ops=select_tf_ops,
                target=target,
                calibration=_data(data, labels, label_column, image_scaling, image_resize),
                validation=_data(
                    validation_data, validation_labels, label_column, image_scaling, image_resize
                ),
                samples=samples,
                evaluation_samples=evaluation_samples,
                seed=seed,
                task=task,
                gates=Gates(max_accuracy_drop, min_agreement, max_size, max_latency),
                benchmark=Benchmark(threads=threads, runs=runs, batch_size=batch_size),
                tuning_seconds=tuning_seconds,
                compilers=compilers,
                training=training.training_options(
                    prune=prune,
                    qat=qat,
                    distill=distill,
                    data=train_data,
                    labels=train_labels,
                    label_column=label_column,
                    images=_images(image_scaling, image_resize),
                    epochs=epochs,
                    learning_rate=learning_rate,
                    batch_size=train_batch,
                    temperature=temperature,
                    alpha=alpha,
                    checkpoint=checkpoint,
                    deadline=train_deadline,
                    seed=seed,
                ),
                memory_limit_bytes=None if memory_limit is None else memory_limit << 20,
                step_timeout_seconds=step_timeout,
            )
            with workspace(output) as work:
                report = run(options, work, view)
                work.write(f"{options.base_name}_report.json", f"{report.to_json(indent=2)}\n".encode())
                work.write(f"{options.base_name}_report.html", render(report).encode())
                if key is not None:
                    from tflite_converter.files.signing import sign

                    folder = work.folder / "to-sign"
                    folder.mkdir()
                    work.write(f"{options.base_name}_model.sig", sign(work.finished, key, folder))
                files = work.publish()
        if as_json:
            sys.stdout.write(f"{report.to_json(indent=2)}\n")
        else:
            show_report(console, report, files)
        if report.recommended is None:
            missed = "; ".join(f"{a.method.cli_name}: {a.message}" for a in report.artifacts)
            reason = reason_of_none_passed(report.artifacts)
            by_gates = reason is FailureReason.GATES_NOT_MET
            raise ConverterError(
                reason,
                Stage.EVALUATE if by_gates else Stage.COMPILE,
                f"no artifact passed its gates ({missed})",
                hint="loosen the gates, or choose another method" if by_gates else None,
            )


def _methods(
    name: MethodName | None, target: Target | None, data: Path | None, listener: Listener
) -> tuple[Method, ...]:
    if target is not None:
        if name is not None:
            raise UsageError("--method and --target exclude each other", hint="a target chooses the methods")
        return methods_for_target(target, has_calibration=data is not None)
    if name is None:
        return (Method.DYNAMIC_RANGE,)
    if name.value != "all":
        return (_BY_NAME[name.value],)
    possible = tuple(m for m in Method if data is not None or not m.needs_calibration)
    if len(possible) < len(Method):
        left_out = "full_integer is left out: it needs calibration data, give it with --data"
        listener(Event(Stage.CALIBRATE, left_out, warning=True))
    return possible


def _data(
    path: Path | None,
    labels: Path | None,
    label_column: str | None,
    scaling: ImageScaling | None,
    resize: ImageResize,
) -> DataFiles | None:
    from tflite_converter.data.files import DataFiles

    if path is None:
        return None
    return DataFiles(path, labels, None if labels is not None else label_column, _images(scaling, resize))


def _images(scaling: ImageScaling | None, resize: ImageResize) -> Images | None:
    from modelconversion_api.data import Images

    return None if scaling is None else Images(scaling=scaling, resize=resize)


def _input_shapes(given: list[str]) -> dict[str, tuple[int, ...]]:
    """``["audio=1,16000"]`` as ``{"audio": (1, 16000)}``."""
    shapes = {}
    for text in given:
        name, _, sizes = text.partition("=")
        parts = sizes.replace("x", ",").split(",")
        if not name or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
            raise UsageError(
                f"--input-shape {text!r} is not NAME=SIZES", hint="for instance --input-shape audio=1,16000"
            )
        shapes[name] = tuple(int(part) for part in parts)
    return shapes


def _read_key(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        cause = f"--sign-key {path} cannot be read"
        raise UsageError(cause, hint="give a private key in PEM format") from error


def _check_labels(
    data: Path | None,
    labels: Path | None,
    validation_data: Path | None,
    validation_labels: Path | None,
    label_column: str | None,
    scaling: ImageScaling | None,
) -> None:
    if labels is not None and data is None:
        raise UsageError("--labels without --data", hint="give the samples that the labels belong to")
    if validation_labels is not None and validation_data is None:
        raise UsageError("--validation-labels without --validation-data", hint="give the samples as well")
    for name, value in (("--label-column", label_column), ("--image-scaling", scaling)):
        if value is not None and data is None and validation_data is None:
            raise UsageError(f"{name} without --data", hint="give the data that it belongs to")
