"""``tflite-converter convert``: one model in, TFLite files and a table out."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from modelconversion_api.methods import Method, Target, artifact_base_name, methods_for_target
from modelconversion_api.reasons import INTERNAL_EXIT_CODE, FailureReason, Stage
from modelconversion_api.data import DEFAULT_CALIBRATION_SAMPLES

from .errors import ConverterError, UsageError, from_os_error
from .progress import Event, Listener

MethodName = StrEnum("MethodName", {m.name: m.cli_name for m in Method} | {"ALL": "all"})  # type: ignore[misc]  # made from the contract's methods, which mypy cannot see

_BY_NAME = {m.cli_name: m for m in Method}


def convert(
    model: Annotated[
        Path, typer.Option(help="Keras .h5 or .keras file, or SavedModel folder.", show_default=False)
    ],
    method: Annotated[
        MethodName | None,
        typer.Option(
            help="What to make; all makes every method that the data allows.", show_default="dynamic_range"
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Calibration samples, .npy or .npz; full_integer needs them."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the artifacts.")] = Path("converted_models"),
    labels: Annotated[
        Path | None,
        typer.Option(help="Integer class labels of --data (.npy): draws evenly over the classes."),
    ] = None,
    validation_data: Annotated[
        Path | None, typer.Option(help="Samples that the artifacts are compared on, other than --data.")
    ] = None,
    validation_labels: Annotated[
        Path | None, typer.Option(help="Labels of --validation-data (.npy): measures accuracy.")
    ] = None,
    target: Annotated[
        Target | None,
        typer.Option(
            case_sensitive=False, help="Where the model will run; chooses the methods instead of --method."
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Calibration samples to draw.")
    ] = DEFAULT_CALIBRATION_SAMPLES,
    evaluation_samples: Annotated[int, typer.Option(min=1, help="Most samples to compare on.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of every draw.")] = 0,
    max_accuracy_drop: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Gate: largest loss of accuracy that passes.")
    ] = None,
    min_agreement: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Gate: smallest agreement that passes.")
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="Digest that the model must have.")] = None,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads for measuring and calibrating.")] = 1,
    runs: Annotated[int, typer.Option(min=1, max=100_000, help="Runs that latency is measured over.")] = 50,
    memory_limit: Annotated[
        int | None, typer.Option(min=512, help="Limit of the TensorFlow process in MiB.", show_default="none")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as one JSON document; progress goes to stderr.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress, only warnings and results.")
    ] = False,
) -> None:
    """Convert a trained model to TFLite, and measure each artifact against the original.

    Writes NAME_float32.tflite, NAME_dynamic_range.tflite, NAME_float16.tflite and NAME_int8.tflite.
    """
    # Not at the top: --help must not wait for numpy and rich.
    from .console import ProgressView, open_console, show_report, stream_fd
    from .evaluation import Benchmark
    from .gates import Gates
    from .pipeline import Options
    from .pipeline import convert as run
    from .workspace import workspace

    with _ends_with_a_message():
        console = open_console(stream_fd(json=as_json))
        _check_labels(data, labels, validation_data, validation_labels, max_accuracy_drop)
        with ProgressView(console, quiet=quiet) as view:
            options = Options(
                source=model,
                base_name=artifact_base_name(str(model.absolute())),
                methods=_methods(method, target, data, view),
                expected_sha256=sha256,
                target=target,
                calibration=data,
                calibration_labels=labels,
                validation=validation_data,
                validation_labels=validation_labels,
                samples=samples,
                evaluation_samples=evaluation_samples,
                seed=seed,
                gates=Gates(max_accuracy_drop, min_agreement),
                benchmark=Benchmark(threads, runs),
                memory_limit_bytes=None if memory_limit is None else memory_limit << 20,
            )
            with workspace(output) as work:
                report = run(options, work, view)
                work.write(f"{options.base_name}_report.json", f"{report.to_json(indent=2)}\n".encode())
                files = work.publish()
        if as_json:
            sys.stdout.write(f"{report.to_json(indent=2)}\n")
        else:
            show_report(console, report, files)
        if report.recommended is None:
            missed = "; ".join(f"{a.method.cli_name}: {a.message}" for a in report.artifacts)
            raise ConverterError(
                FailureReason.GATES_NOT_MET,
                Stage.EVALUATE,
                f"no artifact passed its gates ({missed})",
                hint="loosen the gates, or choose another method",
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


def _check_labels(
    data: Path | None,
    labels: Path | None,
    validation_data: Path | None,
    validation_labels: Path | None,
    max_accuracy_drop: float | None,
) -> None:
    if labels is not None and data is None:
        raise UsageError("--labels without --data", hint="give the samples that the labels belong to")
    if validation_labels is not None and validation_data is None:
        raise UsageError("--validation-labels without --validation-data", hint="give the samples as well")
    measured = validation_labels if validation_data is not None else labels
    if max_accuracy_drop is not None and measured is None:
        raise UsageError(
            "--max-accuracy-drop needs labels of the data that artifacts are compared on",
            hint="give --validation-labels (or --labels), or use --min-agreement",
        )


@contextmanager
def _ends_with_a_message() -> Iterator[None]:
    """Ends a failure with a line on standard error and the contract's exit code; a traceback is for a bug."""
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        yield
    except ConverterError as error:
        typer.echo(f"error: {error.message}", err=True)
        raise typer.Exit(error.exit_code) from None
    except (typer.Exit, KeyboardInterrupt):
        raise
    except OSError as error:
        found = from_os_error(error, Stage.CONVERT, "reading or writing files")
        typer.echo(f"error: {found.message}", err=True)
        raise typer.Exit(found.exit_code) from None
    except Exception as error:
        traceback.print_exc()
        typer.echo(f"error: this is a bug, please report it with the lines above: {error}", err=True)
        raise typer.Exit(INTERNAL_EXIT_CODE) from None


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise ConverterError(FailureReason.INTERRUPTED, Stage.CONVERT, "stopped by SIGTERM")
