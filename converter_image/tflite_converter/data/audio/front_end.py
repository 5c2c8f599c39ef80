"""From a waveform to what a model was trained on, as ``tf.signal`` computes it.

The formulas are those of ``tensorflow/python/ops/signal``: ``window_ops.py`` (Hann, periodic),
``spectral_ops.py`` (stft), ``mel_ops.py`` (HTK's mel scale) and ``mfcc_ops.py``. Computed in 64 bits, given
in 32.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from modelconversion_api.fields.audio import Audio, AudioFeatures
from tflite_converter.arrays import Array

_MEL_BREAK_HERTZ = 700.0
_MEL_HIGH_Q = 1127.0


def features_shape(audio: Audio) -> tuple[int, ...]:
    """Return the shape of one sample."""
    frames = 0
    if audio.frame_length is not None and audio.frame_step is not None:
        frames = 1 + max(0, audio.clip_samples - audio.frame_length) // audio.frame_step
    match audio.features:
        case AudioFeatures.WAVEFORM:
            return (audio.clip_samples,)
        case AudioFeatures.SPECTROGRAM:
            return frames, audio.fft_size // 2 + 1
        case AudioFeatures.LOG_MEL_SPECTROGRAM:
            return frames, audio.num_mel_bins or 0
        case AudioFeatures.MFCC:
            return frames, audio.num_mfccs or 0


def features(waveform: Array, audio: Audio) -> Array:
    """Return the features of a clip.

    Args:
        waveform: Shape ``(clip_samples,)``, float, from -1 to 1.
        audio: The front end.

    Returns:
        float32 of :func:`features_shape`.

    """
    values = waveform.astype(np.float64)
    if audio.features is not AudioFeatures.WAVEFORM:
        values = _spectrogram(values, audio)
    if audio.features in (AudioFeatures.LOG_MEL_SPECTROGRAM, AudioFeatures.MFCC):
        values = np.log(values @ mel_weights(audio) + float(audio.log_offset))
    if audio.features is AudioFeatures.MFCC:
        values = _mfccs(values, audio.num_mfccs or 0)
    normalized = (values - float(audio.mean)) / float(audio.deviation)
    return np.asarray(normalized, dtype=np.float32)


def _spectrogram(waveform: Array, audio: Audio) -> Array:
    length, step = audio.frame_length or 1, audio.frame_step or 1
    frames = np.lib.stride_tricks.sliding_window_view(waveform, length)[::step]
    sizes = np.abs(np.fft.rfft(frames * _hann(length), n=audio.fft_size))
    return np.asarray(sizes**audio.power)


def _hann(length: int) -> Array:
    """Return the window of ``tf.signal.hann_window``, which is periodic for even lengths only."""
    if length == 1:
        return np.ones(1)
    period = length - (length & 1)
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / period))


@lru_cache(maxsize=8)
def mel_weights(audio: Audio) -> Array:
    """Return the weights of spectrogram bins in mel bands: ``(fft_size / 2 + 1, num_mel_bins)``.

    The first row, of no frequency, is zero.
    """
    bands, bins = audio.num_mel_bins or 1, audio.fft_size // 2 + 1
    frequencies = _mel(np.linspace(0.0, audio.sample_rate / 2, bins)[1:])[:, np.newaxis]
    lowest, highest = audio.lower_edge_hertz or 0, audio.upper_edge_hertz or 0
    edges = np.linspace(_mel(lowest), _mel(highest), bands + 2)
    lower, center, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies - lower) / (center - lower)
    falling = (upper - frequencies) / (upper - center)
    return np.pad(np.maximum(0.0, np.minimum(rising, falling)), ((1, 0), (0, 0)))


def _mel(hertz: Array | float) -> Array:
    return np.asarray(_MEL_HIGH_Q * np.log1p(np.asarray(hertz) / _MEL_BREAK_HERTZ))


def _mfccs(log_mel: Array, count: int) -> Array:
    """Return the first coefficients of the DCT-II, scaled as HTK does."""
    bands = log_mel.shape[-1]
    angles = np.pi / bands * np.outer(np.arange(bands) + 0.5, np.arange(count))
    return np.asarray(log_mel @ np.cos(angles) * np.sqrt(2.0 / bands))
