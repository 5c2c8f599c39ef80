"""``tflite-converter calibrate-check``: looks at calibration data before a conversion does."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

from modelconversion_api.base import ApiModel
from modelconversion_api.fields.audio import Audio
from modelconversion_api.fields.data import Images
from tflite_converter.cli.flags import Group
from tflite_converter.cli.given import Given, takes
from tflite_converter.cli.groups import AUDIO_NAMES, PRINTED, CalibrationFiles, File


class FloatModel(ApiModel):
    """The model that is to be calibrated."""

    model: File | None = None
    """Float .tflite file that the samples must fit. It is run on them, to see whether there are enough to set
    its activations' ranges."""


_DATA: Final = Group(CalibrationFiles, names={"uri": "--data", "labels_uri": "--labels"})
_IMAGES: Final = Group(Images, prefix="image-", asked_by=("--data",))
_AUDIO: Final = Group(Audio, prefix="audio-", names=AUDIO_NAMES, asked_by=("--data",))
_MODEL: Final = Group(FloatModel)
GROUPS: Final = (_DATA, _IMAGES, _AUDIO, _MODEL, PRINTED)


@takes(*GROUPS)
def calibrate_check(given: Given) -> None:
    """Check calibration data: what would be drawn, and what looks wrong.

    Prints the manifest (digest, seed, count, preprocessing), the classes,
    the range of each input, and warnings. With --model it also says whether
    two halves of the samples give the activations the same ranges.

    Ends with 0 where the data can be used, with warnings or without, and
    otherwise with the exit code of the reason.

    \b
    Examples:
      tflite-converter calibrate-check --data val_features.npy --labels val_labels.npy
      tflite-converter calibrate-check --data measured.csv --label-column gesture
      tflite-converter calibrate-check --data photos/ --image-scaling ZeroToOne \\
          --model converted_models/classifier_float32.tflite --samples 300
      tflite-converter calibrate-check --data words/ --audio-sample-rate 16000 --audio-clip-millis 1000 \\
          --audio-features Waveform
    """  # noqa: D301 - \b is meant as the character: typer leaves the lines after it as they are
    # Not at the top: --help must not wait for numpy and rich.
    from tflite_converter.cli.data import data_files, decoding_of
    from tflite_converter.console.calibration import show_check
    from tflite_converter.console.report import ProgressView, open_console, stream_fd
    from tflite_converter.quantizing.calibration_check import check

    data, model = given.build(_DATA), given.build(_MODEL).model
    as_json = given.build(PRINTED).as_json
    files = data_files(data, decoding_of(given))
    console = open_console(stream_fd(json=as_json))
    with tempfile.TemporaryDirectory(prefix="calibrate-check-") as folder, ProgressView(console) as view:
        result = check(files, model, data.samples, data.seed, Path(folder), view)
    if as_json:
        sys.stdout.write(f"{result.to_json(indent=2)}\n")
    else:
        show_check(console, result)
