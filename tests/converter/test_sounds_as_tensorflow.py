"""The front ends for sounds give what ``tf.signal`` and ``tf.audio`` give, to the precision of float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from modelconversion_api.fields.audio import Audio
from modelconversion_api.reasons import Stage
from tflite_converter.arrays import Array
from tflite_converter.data.audio.decoding import decode
from tflite_converter.data.audio.front_end import features_shape, mel_weights

tf = pytest.importorskip("tensorflow")

RATE = 16000
FRAMES = {"sample_rate": RATE, "clip_millis": 1000}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of a rising tone with noise."""
    time = np.arange(RATE) / RATE
    generator = np.random.default_rng(0)
    tone = 0.4 * np.sin(2 * np.pi * (200 * time + 1500 * time**2)) + 0.01 * generator.standard_normal(RATE)
    path = tmp_path_factory.mktemp("sounds") / "x.wav"
    soundfile.write(path, tone, RATE, subtype="PCM_16")
    return path


def waveform(path: Path) -> Any:
    samples, rate = tf.audio.decode_wav(path.read_bytes(), desired_channels=1)
    assert rate == RATE
    return tf.squeeze(samples, -1)


def spectrogram(path: Path, audio: Audio) -> Any:
    found = tf.signal.stft(waveform(path), audio.frame_length, audio.frame_step, audio.fft_length)
    return tf.abs(found) ** audio.power


def log_mel(path: Path, audio: Audio) -> Any:
    values = spectrogram(path, audio)
    weights = tf.signal.linear_to_mel_weight_matrix(
        audio.num_mel_bins,
        values.shape[-1],
        audio.sample_rate,
        audio.lower_edge_hertz,
        audio.upper_edge_hertz,
    )
    return tf.math.log(tf.tensordot(values, weights, 1) + float(audio.log_offset))


def ours(path: Path, audio: Audio) -> Array:
    (sample,) = decode([path], audio, Stage.CALIBRATE)
    assert sample.shape == features_shape(audio)
    assert sample.dtype == np.float32
    return sample


def test_the_waveform(sound: Path) -> None:
    audio = Audio(**FRAMES, features="Waveform")
    np.testing.assert_array_equal(ours(sound, audio), waveform(sound).numpy())


@pytest.mark.parametrize(
    ("frame_length", "frame_step", "fft_length", "power"),
    [(255, 128, None, 1), (480, 320, None, 1), (400, 160, 512, 2), (512, 512, 1024, 1), (1, 7, 2, 1)],
)
def test_spectrograms(
    sound: Path, frame_length: int, frame_step: int, fft_length: int | None, power: int
) -> None:
    """Of frames of odd length too, as TensorFlow's tutorial has them: their window is another."""
    audio = Audio(
        **FRAMES,
        features="Spectrogram",
        frame_length=frame_length,
        frame_step=frame_step,
        fft_length=fft_length,
        power=power,
    )
    expected = spectrogram(sound, audio).numpy()
    np.testing.assert_allclose(ours(sound, audio), expected, rtol=1e-4, atol=1e-5 * expected.max())


MEL = [
    {"num_mel_bins": 40, "lower_edge_hertz": 20, "upper_edge_hertz": 4000},
    {"num_mel_bins": 80, "lower_edge_hertz": 80, "upper_edge_hertz": 7600},
    {"num_mel_bins": 13, "lower_edge_hertz": 0, "upper_edge_hertz": 8000},
]


@pytest.mark.parametrize("mel", MEL)
def test_the_weights_of_mel_bands(mel: dict[str, int]) -> None:
    audio = Audio(**FRAMES, features="LogMelSpectrogram", frame_length=480, frame_step=320, **mel)
    expected = tf.signal.linear_to_mel_weight_matrix(
        mel["num_mel_bins"], 257, RATE, mel["lower_edge_hertz"], mel["upper_edge_hertz"], tf.float64
    )
    np.testing.assert_allclose(mel_weights(audio), expected.numpy(), atol=1e-9)


@pytest.mark.parametrize("mel", MEL)
@pytest.mark.parametrize("offset", ["0.000001", "0.01"])
def test_log_mel_spectrograms(sound: Path, mel: dict[str, int], offset: str) -> None:
    audio = Audio(
        **FRAMES, features="LogMelSpectrogram", frame_length=480, frame_step=320, log_offset=offset, **mel
    )
    np.testing.assert_allclose(ours(sound, audio), log_mel(sound, audio).numpy(), atol=1e-4)


@pytest.mark.parametrize("mel", MEL)
def test_mfccs(sound: Path, mel: dict[str, int]) -> None:
    audio = Audio(**FRAMES, features="MFCC", frame_length=1024, frame_step=256, num_mfccs=13, **mel)
    expected = tf.signal.mfccs_from_log_mel_spectrograms(log_mel(sound, audio))[..., :13]
    np.testing.assert_allclose(ours(sound, audio), expected.numpy(), atol=1e-4)


def test_normalised(sound: Path) -> None:
    audio = Audio(
        **FRAMES,
        features="LogMelSpectrogram",
        frame_length=480,
        frame_step=320,
        mean="-6.5",
        deviation="4",
        **MEL[0],
    )
    np.testing.assert_allclose(ours(sound, audio), (log_mel(sound, audio).numpy() + 6.5) / 4, atol=1e-4)
