"""How sounds become samples: the front end that a model was trained with, in the terms of ``tf.signal``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import ConfigDict, Field, model_validator

from ..base import ApiModel, NumberText, cel, number_text

DEFAULT_LOG_OFFSET: Final = "0.000001"
_PER_SECOND: Final = 1000


class AudioFeatures(StrEnum):
    """What a model is given of a sound."""

    WAVEFORM = "Waveform"
    """The samples themselves, from -1 to 1, as ``tf.audio.decode_wav`` gives them: ``(samples,)``."""
    SPECTROGRAM = "Spectrogram"
    """The size of ``tf.signal.stft``: ``(frames, fftLength / 2 + 1)``."""
    LOG_MEL_SPECTROGRAM = "LogMelSpectrogram"
    """Its logarithm in the bands of ``tf.signal.linear_to_mel_weight_matrix``: ``(frames, numMelBins)``."""
    MFCC = "MFCC"
    """The first of ``tf.signal.mfccs_from_log_mel_spectrograms``: ``(frames, numMfccs)``."""


class AudioFit(StrEnum):
    """Which part of a sound is taken, where it is not as long as the clip."""

    START = "Start"
    """Its beginning, with silence behind a short one, as Keras's ``audio_dataset_from_directory``."""
    CENTER = "Center"
    """Its middle, with silence on both sides of a short one."""


_NUMBER = number_text(
    r"^-?[0-9]{1,6}(\.[0-9]{1,6})?$",
    14,
    NumberText("-1000000<x<1000000", 6, 'must be a number in quotes, e.g. "-6.5"'),
)
Number = Annotated[str, _NUMBER[0], _NUMBER[1], _NUMBER[2]]
"""A number in decimal notation."""

_POSITIVE = number_text(
    r"^(0\.[0-9]{0,5}[1-9][0-9]{0,5}|[1-9][0-9]{0,5}(\.[0-9]{1,6})?)$",
    13,
    NumberText("0<x<1000000", 6, 'must be a number over "0" in quotes, e.g. "0.5"'),
)
Positive = Annotated[str, _POSITIVE[0], _POSITIVE[1], _POSITIVE[2]]
"""A number greater than 0, in decimal notation."""

_FRAMES_NEEDED: Final = "a spectrogram needs frameLength and frameStep, and a Waveform has neither"
_MEL_NEEDED: Final = (
    "LogMelSpectrogram and MFCC need numMelBins, lowerEdgeHertz and upperEdgeHertz, and nothing else has them"
)
_MFCC_NEEDED: Final = "MFCC needs numMfccs, at most numMelBins, and nothing else has it"
_FFT_TOO_SHORT: Final = "fftLength must be at least frameLength, and is for spectrograms only"
_EDGES: Final = "lowerEdgeHertz must be below upperEdgeHertz, and that at most half of sampleRate"
_CLIP_TOO_SHORT: Final = "the clip of clipMillis is shorter than one frame of frameLength samples"

_IS_MEL: Final = "self.features in ['LogMelSpectrogram', 'MFCC']"


class Audio(ApiModel):
    """How sounds become samples; channels are averaged into one."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "(self.features != 'Waveform') == has(self.frameLength)"
                    " && has(self.frameLength) == has(self.frameStep)",
                    _FRAMES_NEEDED,
                ),
                cel(
                    f"({_IS_MEL}) == has(self.numMelBins) && has(self.numMelBins) == has(self.lowerEdgeHertz)"
                    " && has(self.numMelBins) == has(self.upperEdgeHertz)",
                    _MEL_NEEDED,
                ),
                cel(
                    "(self.features == 'MFCC') == has(self.numMfccs) && (!has(self.numMfccs)"
                    " || !has(self.numMelBins) || self.numMfccs <= self.numMelBins)",
                    _MFCC_NEEDED,
                ),
                cel(
                    "!has(self.fftLength) || (has(self.frameLength) && self.fftLength >= self.frameLength)",
                    _FFT_TOO_SHORT,
                ),
                cel(
                    "!has(self.lowerEdgeHertz) || !has(self.upperEdgeHertz) || (self.lowerEdgeHertz"
                    " < self.upperEdgeHertz && self.upperEdgeHertz * 2 <= self.sampleRate)",
                    _EDGES,
                ),
                cel(
                    "!has(self.frameLength) || self.sampleRate * self.clipMillis"
                    f" >= self.frameLength * {_PER_SECOND}",
                    _CLIP_TOO_SHORT,
                ),
            ]
        }
    )

    sample_rate: Annotated[int, Field(ge=1000, le=384000)]
    """Samples a second that the model was trained with. Files of another rate are refused: every way of
    resampling gives other values."""
    clip_millis: Annotated[int, Field(ge=1, le=60000)]
    """Length that every sound is brought to, in milliseconds."""
    features: AudioFeatures
    """What the model is given of a sound; it must be what the model was trained with."""
    fit: AudioFit = AudioFit.START
    """Which part is taken of a sound that is longer or shorter than the clip."""
    frame_length: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Samples of one frame of the spectrogram, e.g. 480 for 30 ms at 16 kHz. Frames that would reach over
    the end are left out."""
    frame_step: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Samples from one frame to the next, e.g. 320 for 20 ms at 16 kHz."""
    fft_length: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Size of the Fourier transform; the smallest power of two that holds a frame unless given."""
    power: Annotated[int, Field(ge=1, le=2)] = 1
    """1 for magnitudes, 2 for their squares."""
    num_mel_bins: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Bands on the mel scale, e.g. 40 or 80."""
    lower_edge_hertz: Annotated[int, Field(ge=0, le=192000)] | None = None
    """Where the lowest band begins, e.g. 20."""
    upper_edge_hertz: Annotated[int, Field(ge=1, le=192000)] | None = None
    """Where the highest band ends, e.g. 4000."""
    log_offset: Positive = DEFAULT_LOG_OFFSET
    """Number that is added before the logarithm, which has no value for silence."""
    num_mfccs: Annotated[int, Field(ge=1, le=1024)] | None = None
    """How many coefficients, from the first one on, e.g. 13."""
    mean: Number = "0"
    """Number that is subtracted from every value in the end."""
    deviation: Positive = "1"
    """Number that every value is divided by after that."""

    @property
    def clip_samples(self) -> int:
        """Samples of a clip, rounded to the nearest."""
        return max(1, (self.sample_rate * self.clip_millis + _PER_SECOND // 2) // _PER_SECOND)

    @property
    def fft_size(self) -> int:
        """Size of the Fourier transform: as given, or the power of two that encloses a frame."""
        return self.fft_length or 1 << max(0, (self.frame_length or 1) - 1).bit_length()

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        has_frames = self.features is not AudioFeatures.WAVEFORM
        is_mel = self.features in (AudioFeatures.LOG_MEL_SPECTROGRAM, AudioFeatures.MFCC)
        if any((value is not None) != has_frames for value in (self.frame_length, self.frame_step)):
            raise ValueError(_FRAMES_NEEDED)
        mel = (self.num_mel_bins, self.lower_edge_hertz, self.upper_edge_hertz)
        if any((value is not None) != is_mel for value in mel):
            raise ValueError(_MEL_NEEDED)
        is_mfcc = self.features is AudioFeatures.MFCC
        if (self.num_mfccs is not None) != is_mfcc or (self.num_mfccs or 0) > (self.num_mel_bins or 0):
            raise ValueError(_MFCC_NEEDED)
        self._check_sizes()
        return self

    def _check_sizes(self) -> None:
        if self.fft_length is not None and self.fft_length < (self.frame_length or self.fft_length + 1):
            raise ValueError(_FFT_TOO_SHORT)
        if self.lower_edge_hertz is not None and self.upper_edge_hertz is not None:
            rises = self.lower_edge_hertz < self.upper_edge_hertz
            if not rises or self.upper_edge_hertz * 2 > self.sample_rate:
                raise ValueError(_EDGES)
        if self.sample_rate * self.clip_millis < (self.frame_length or 0) * _PER_SECOND:
            raise ValueError(_CLIP_TOO_SHORT)
