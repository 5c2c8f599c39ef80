"""Hands what the children wrote for a user's own metrics over to the metrics' containers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from modelconversion_api.fields.metrics import LABELS_FILE, ORIGINAL, OUTPUTS_FOLDER
from modelconversion_api.reasons import Stage
from modelconversion_api.reports.conversion import ArtifactReport
from tflite_converter.errors import from_os_error
from tflite_converter.files.untrusted import open_regular
from tflite_converter.measuring.metric_data import LARGEST_FILE
from tflite_converter.workers.jobs import METRIC_DATA_FOLDER


def hand_over_metric_data(folders: Sequence[Path], artifacts: Sequence[ArtifactReport], into: Path) -> None:
    """Copy labels and outputs, of the original and each artifact, from the children's ``folders``.

    A file that nothing here runs has no outputs.

    Raises:
        ConverterError: ArtifactInvalid, NoSpace.

    """
    first = folders[0] / METRIC_DATA_FOLDER
    wanted = {into / LABELS_FILE: [first / LABELS_FILE]}
    wanted[into / OUTPUTS_FOLDER / f"{ORIGINAL}.npz"] = [first / f"{ORIGINAL}.npz"]
    for artifact in artifacts:
        name = f"{artifact.file_name.removesuffix('.tflite')}.npz"
        places = [folder / METRIC_DATA_FOLDER / f"{artifact.sha256}.npz" for folder in folders]
        wanted[into / OUTPUTS_FOLDER / name] = places
    try:
        (into / OUTPUTS_FOLDER).mkdir(parents=True, exist_ok=True)
        for target, places in wanted.items():
            for place in places:
                if place.exists():
                    _copy(place, target)
                    break
    except OSError as error:
        raise from_os_error(error, Stage.EVALUATE, "writing outputs for the metrics") from error


def _copy(source: Path, target: Path) -> None:
    with open_regular(source, LARGEST_FILE, Stage.EVALUATE) as stream, target.open("wb") as copy:
        shutil.copyfileobj(stream, copy, 1 << 20)
