"""Sound files as samples: decoded by libsndfile, brought to one channel and the clip's length.

It is for the processes that decode images too: native code that is handed a stranger's bytes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from modelconversion_api.fields.audio import Audio, AudioFit
from modelconversion_api.reasons import Stage
from tflite_converter.arrays import Array
from tflite_converter.data.audio.front_end import features, features_shape
from tflite_converter.data.audio.headers import SoundError, read_header
from tflite_converter.data.errors import not_finite, unreadable
from tflite_converter.errors import ConverterError, first_line, quoted
from tflite_converter.files.names import readable

_BLOCK = 1 << 16
"""Samples of each channel that are decoded at once."""
_COPY_AGAIN = "leave the file out, or save it again as WAV or FLAC"


def decode(files: Sequence[Path], audio: Audio, stage: Stage) -> Array:
    """Return the features of sounds: ``(n, *features_shape)``, float32.

    Raises:
        ConverterError: DataUnreadable for a file that is corrupt; DataNotFinite.

    """
    samples = np.empty((len(files), *features_shape(audio)), dtype=np.float32)
    for sample, file in zip(samples, files, strict=True):
        try:
            waveform = clip(file, audio)
        except (SoundError, soundfile.SoundFileError, OSError, ValueError, RuntimeError) as error:
            raise _unreadable(file, files, error, stage) from error
        if not np.isfinite(waveform).all():
            raise not_finite(f"{_name(file, files)} holds NaN or infinite samples", stage)
        sample[...] = features(waveform, audio)
    return samples


def clip(file: Path, audio: Audio) -> Array:
    """Return the clip of a file as float32 ``(clip_samples,)``, all channels averaged.

    Raises:
        SoundError: for what the header does not hold, or a decoder that stops before its end.

    """
    header = read_header(file)
    with soundfile.SoundFile(file) as sound:
        if (sound.samplerate, sound.channels) != (header.rate, header.channels):
            raise SoundError("its header says another rate or other channels than the decoder", _COPY_AGAIN)
        total = header.samples
        if sound.frames < total:
            missing = total - sound.frames
            raise SoundError(f"it is truncated: {missing} of its {total} samples are missing", _COPY_AGAIN)
        wanted = audio.clip_samples
        start = max(0, (total - wanted) // 2) if audio.fit is AudioFit.CENTER else 0
        taken = _mono(sound, start, min(wanted, total))
    missing = wanted - len(taken)
    before = missing // 2 if audio.fit is AudioFit.CENTER else 0
    return np.pad(taken, (before, missing - before))


def _mono(sound: soundfile.SoundFile, start: int, count: int) -> Array:
    """Return ``count`` samples from ``start`` on, the mean of the channels."""
    if start:
        sound.seek(start)
    mono = np.empty(count, dtype=np.float32)
    done = 0
    while done < count:
        try:
            block = sound.read(min(_BLOCK, count - done), dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise SoundError(f"it is truncated or corrupt ({first_line(error)})", _COPY_AGAIN) from error
        if not len(block):
            why = f"it is truncated or corrupt: {count - done} samples cannot be decoded"
            raise SoundError(why, _COPY_AGAIN)
        mono[done : done + len(block)] = block.mean(axis=1)
        done += len(block)
    return mono


def _name(file: Path, files: Sequence[Path]) -> str:
    root = os.path.commonpath([each.parent for each in files])
    return readable(str(file.relative_to(root)))


def _unreadable(file: Path, files: Sequence[Path], error: Exception, stage: Stage) -> ConverterError:
    """Return the reason for a file that cannot be decoded, named with the folder of its class."""
    why = error.why if isinstance(error, SoundError) else quoted(str(error).replace(f"{str(file)!r}", "it"))
    return unreadable(_name(file, files), why or type(error).__name__, stage, hint=_COPY_AGAIN)
