"""``tflite-converter convert``: one model in, TFLite files, a table and two reports out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.cli.given import Given, takes
from tflite_converter.cli.groups import CONVERT, OUTPUT, SHOWN
from tflite_converter.errors import ConverterError, UsageError

if TYPE_CHECKING:
    from modelconversion_api.reports.conversion import ConversionReport
    from tflite_converter.console.report import ProgressView
    from tflite_converter.conversion.options import Options


@takes(*CONVERT)
def convert(given: Given) -> None:
    """Convert a trained model to TFLite, and measure each artifact against the original.

    Writes NAME_float32.tflite, NAME_dynamic_range.tflite, NAME_float16.tflite and NAME_int8.tflite, each with
    its graph for Model Explorer (.graph.json), NAME_report.json for programs and NAME_report.html to look at.

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
    from tflite_converter.cli.options import options_of
    from tflite_converter.console.report import ProgressView, open_console, show_report, stream_fd

    shown, output = given.build(SHOWN), given.build(OUTPUT).output
    console = open_console(stream_fd(json=shown.as_json))
    key = None if shown.sign_key is None else _read_key(shown.sign_key)
    with ProgressView(console, quiet=shown.quiet) as view:
        report, files = _convert(options_of(given), output, key, view)
    if shown.as_json:
        sys.stdout.write(f"{report.to_json(indent=2)}\n")
    else:
        show_report(console, report, files)
    _refuse_if_none_passed(report)


def _convert(
    options: Options, output: Path, key: str | None, view: ProgressView
) -> tuple[ConversionReport, list[Path]]:
    """Convert, and publish artifacts, reports and signature together in the folder ``output``."""
    from tflite_converter.conversion.pipeline import convert as run
    from tflite_converter.files.signing import sign
    from tflite_converter.files.workspace import workspace
    from tflite_converter.report.page import render

    with workspace(output) as work:
        report = run(options, work, view)
        work.write(f"{options.base_name}_report.json", f"{report.to_json(indent=2)}\n".encode())
        work.write(f"{options.base_name}_report.html", render(report).encode())
        if key is not None:
            folder = work.folder / "to-sign"
            folder.mkdir()
            work.write(f"{options.base_name}_model.sig", sign(work.finished, key, folder))
        return report, work.publish()


def _read_key(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        cause = f"--sign-key {path} cannot be read"
        raise UsageError(cause, hint="give a private key in PEM format") from error


def _refuse_if_none_passed(report: ConversionReport) -> None:
    from modelconversion_api.reports.conversion import reason_of_none_passed

    if report.recommended is not None:
        return
    # What is true of several files is said once.
    names: dict[str | None, list[str]] = {}
    for artifact in report.artifacts:
        names.setdefault(artifact.message, []).append(artifact.cli_name)
    missed = "; ".join(f"{', '.join(methods)}: {message}" for message, methods in names.items())
    reason = reason_of_none_passed(report.artifacts)
    if reason is not FailureReason.GATES_NOT_MET:
        raise ConverterError(reason, Stage.COMPILE, f"no artifact passed its gates ({missed})")
    if any(artifact.usable for artifact in report.artifacts):
        cause, hint = "passed its gates", "loosen the gates, or choose another method"
    else:
        cause = "does what the original does"
        hint = (
            "give quantities of different sizes outputs of their own, or normalize them;"
            " --floor 0 lets files pass that are under the floor"
        )
    raise ConverterError(reason, Stage.EVALUATE, f"no artifact {cause} ({missed})", hint=hint)
