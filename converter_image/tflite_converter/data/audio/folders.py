"""Which files are sounds that a front end can take: judged by their headers, before anything is decoded."""

from __future__ import annotations

from pathlib import Path

from modelconversion_api.fields.audio import Audio
from modelconversion_api.reasons import Stage
from tflite_converter.data.audio.headers import SoundError, read_header
from tflite_converter.data.errors import unreadable
from tflite_converter.data.images import FileKind
from tflite_converter.files.names import readable


def sound_files(audio: Audio) -> FileKind:
    """Return what the files of a folder must be for a front end."""

    def check(path: Path, relative: str, name: str, stage: Stage) -> None:
        check_sound(path, f"{relative!r} in it", audio, name, stage)

    return FileKind("sound", "sounds", check)


def check_sound(path: Path, place: str, audio: Audio, name: str, stage: Stage) -> None:
    """Refuse a file that is no sound, or has another rate than the front end; ``place`` is its name.

    Raises:
        ConverterError: DataUnreadable.

    """
    try:
        sound = read_header(path)
    except SoundError as error:
        raise unreadable(name, f"{readable(place)}: {error.why}", stage, hint=error.hint) from error
    if sound.rate != audio.sample_rate:
        why = f"{readable(place)} has {sound.rate} samples a second, and the front end {audio.sample_rate}"
        hint = "resample the files as for training, e.g. sox IN.wav -r RATE OUT.wav; or correct the rate"
        raise unreadable(name, why, stage, hint=hint)


def preprocessing(audio: Audio) -> dict[str, str]:
    """Describe the front end, for the report."""
    given = audio.to_wire()
    told = {key: str(value) for key, value in given.items() if key != "features"}
    if audio.frame_length is not None:
        told["fftLength"] = str(audio.fft_size)
    else:
        told = {key: value for key, value in told.items() if key not in ("power", "logOffset")}
    return {"features": audio.features.value, "channels": "mean", **told}
