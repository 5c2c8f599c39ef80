"""How the converter's tests convert: by the pipeline, or by the scripts as a person does."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelconversion_api.methods import Method
from modelconversion_api.reports.conversion import ConversionReport
from support.paths import SCRIPTS
from tflite_converter.conversion.options import Options
from tflite_converter.conversion.pipeline import convert
from tflite_converter.data.files import DataFiles
from tflite_converter.files.workspace import workspace
from tflite_converter.progress import Listener, ignore


@dataclass(frozen=True)
class Converted:
    """A finished conversion."""

    report: ConversionReport
    output: Path

    def file(self, method: Method) -> Path:
        """The artifact of a method."""
        (found,) = [a.file_name for a in self.report.artifacts if a.method is method]
        return self.output / found


def convert_into(
    output: Path, source: Path, *methods: Method, listener: Listener = ignore, **options: Any
) -> Converted:
    """Converts ``source`` by the pipeline, without a command line; data are paths or ``DataFiles``."""
    for name in ("calibration", "validation"):
        if isinstance(path := options.get(name), Path):
            options[name] = DataFiles(path, options.pop(f"{name}_labels", None))
    chosen = Options(source=source, base_name="model", methods=methods, **options)
    with workspace(output) as work:
        report = convert(chosen, work, listener)
        work.publish()
    return Converted(report, output)


@dataclass(frozen=True)
class Script:
    """Runs the project's scripts as a person does: a process in a folder."""

    folder: Path

    def __call__(
        self, name: str, *arguments: str | Path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """The finished process; nothing is checked."""
        return subprocess.run(
            [sys.executable, SCRIPTS / name, *map(str, arguments)],
            cwd=self.folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
