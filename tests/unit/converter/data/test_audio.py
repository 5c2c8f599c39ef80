"""Sounds: headers are judged before anything is decoded, and a clip is what the file holds."""

from __future__ import annotations

import io
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from modelconversion_api.fields.audio import Audio, AudioFeatures, AudioFit
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from support.converter.forks import DONE, REFUSED, outcome
from support.converter.records import png, write_tfrecord
from tflite_converter.arrays import Array
from tflite_converter.data.audio.decoding import clip, decode
from tflite_converter.data.audio.headers import read_header
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.data.overlap import disjoint
from tflite_converter.errors import ConverterError

RATE = 16000
WAVE = Audio(sample_rate=RATE, clip_millis=10, features=AudioFeatures.WAVEFORM)
CLIP = 160
SAMPLES = np.random.default_rng(0).integers(-(2**15), 2**15, 400).astype(np.int16)


def written(path: Path, samples: Array = SAMPLES, rate: int = RATE, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **options)
    return path


def wav(
    *,
    tag: int = 1,
    channels: int = 1,
    rate: int = RATE,
    bits: int = 16,
    size: int | None = None,
    data: bytes = b"\1\0" * 400,
) -> bytes:
    """A WAV file, chunk by chunk."""
    frame = channels * bits // 8
    header = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)
    length = len(data) if size is None else size
    body = b"WAVEfmt " + struct.pack("<I", len(header)) + header + b"data" + struct.pack("<I", length) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def loaded(path: Path, audio: Audio | None = WAVE, stage: Stage = Stage.CALIBRATE) -> Dataset:
    return load_dataset(DataFiles(path, audio=audio), stage, path.parent / "unpacked")


def bound(data: Dataset, folder: Path, *shape: int, dtype: str = "float32") -> Array:
    inputs = [TensorInfo(name="audio", shape=[1, *shape], dtype=dtype)]
    return data.save(folder, "drawn").bind(inputs, Stage.CALIBRATE)["audio"]


@pytest.mark.parametrize(
    ("form", "subtype"),
    [
        *[
            (form, bits)
            for form in ("WAV", "WAVEX")
            for bits in ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
        ],
        *[("FLAC", bits) for bits in ("PCM_16", "PCM_24")],
    ],
)
def test_samples_are_fractions_of_the_loudest(tmp_path: Path, form: str, subtype: str) -> None:
    """As tf.audio.decode_wav has them: an integer of 16 bits divided by 32768."""
    path = written(tmp_path / "x", SAMPLES.astype(np.float64) / 2**15, format=form, subtype=subtype)
    np.testing.assert_array_equal(clip(path, WAVE), SAMPLES[:CLIP].astype(np.float32) / 2**15)
    assert read_header(path) == ("FLAC" if form == "FLAC" else "WAV", RATE, 1, 400)


def test_eight_bits(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(wav(bits=8, data=bytes([0, 128, 255])))
    assert clip(tmp_path / "x.wav", WAVE)[:4].tolist() == [-1, 0, 127 / 128, 0]


def test_channels_are_averaged(tmp_path: Path) -> None:
    both = np.stack([SAMPLES / 2**15, np.zeros(400)], axis=1)
    path = written(tmp_path / "x.wav", both, subtype="FLOAT")
    np.testing.assert_allclose(clip(path, WAVE), SAMPLES[:CLIP] / 2**16, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 25), st.sampled_from(AudioFit), st.sampled_from(["wav", "flac"]))
def test_the_part_that_is_taken(length: int, millis: int, fit: AudioFit, suffix: str) -> None:
    audio = Audio(sample_rate=RATE, clip_millis=millis, features=AudioFeatures.WAVEFORM, fit=fit)
    with tempfile.TemporaryDirectory() as folder:
        found = clip(written(Path(folder) / f"x.{suffix}", SAMPLES[:length]), audio)
    wanted = millis * RATE // 1000
    whole = SAMPLES[:length].astype(np.float32) / 2**15
    if fit is AudioFit.START:
        expected = np.concatenate([whole, np.zeros(wanted)])[:wanted]
    elif length >= wanted:
        expected = whole[(length - wanted) // 2 :][:wanted]
    else:
        before = (wanted - length) // 2
        expected = np.concatenate([np.zeros(before), whole, np.zeros(wanted - length - before)])
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_class_folders_are_drawn_and_decoded_when_bound(tmp_path: Path) -> None:
    for number, (label, loud) in enumerate((("no", 1000), ("no", 2000), ("yes", 4000))):
        written(tmp_path / f"words/{label}/{number}.wav", np.full(400, loud, np.int16))
    data = loaded(tmp_path / "words")
    assert (data.count, data.format, data.class_names) == (3, "audio", ("no", "yes"))
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1]
    assert data.preprocessing == {
        "features": "Waveform",
        "channels": "mean",
        "sampleRate": "16000",
        "clipMillis": "10",
        "fit": "Start",
        "mean": "0",
        "deviation": "1",
    }
    drawn = data.take(np.array([2, 0]))
    assert drawn.fitting([TensorInfo(name="audio", shape=[1, 160, 1], dtype="float32")], Stage.CALIBRATE) == {
        "reshape": "audio: (160,) to (160, 1)"
    }
    np.testing.assert_array_equal(
        bound(drawn, tmp_path, CLIP, 1)[:, 0, 0], np.float32([4000 / 2**15, 1000 / 2**15])
    )
    assert disjoint(data, drawn).tolist() == [1]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in sorted((tmp_path / "words").rglob("*.wav")):
            archive.write(path, path.relative_to(tmp_path))
    packed = loaded(tmp_path / "x.zip")
    np.testing.assert_array_equal(bound(packed, tmp_path, CLIP), bound(data, tmp_path, CLIP))


def test_sounds_in_parquet_and_tfrecord(tmp_path: Path) -> None:
    contents = [wav(data=np.full(200, loud, "<i2").tobytes()) for loud in (1000, 2000)]
    rows = [{"bytes": content, "path": "a.wav"} for content in contents]
    pq.write_table(pa.table({"audio": rows, "label": [1, 0]}), tmp_path / "x.parquet")
    write_tfrecord(
        tmp_path / "x.tfrecord", [{"audio": c, "label": [i]} for c, i in zip(contents, (1, 0), strict=True)]
    )
    for name in ("x.parquet", "x.tfrecord"):
        data = loaded(tmp_path / name)
        assert data.labels is not None
        assert data.labels.tolist() == [1, 0]
        np.testing.assert_array_equal(
            bound(data, tmp_path, CLIP)[:, 5], np.float32([1000 / 2**15, 2000 / 2**15])
        )
    pq.write_table(pa.table({"audio": [wav(), wav(rate=8000)]}), tmp_path / "y.parquet")
    with pytest.raises(ConverterError, match="the sound of sample 1 has 8000 samples a second"):
        loaded(tmp_path / "y.parquet")


def test_the_front_end_changes_what_is_taken(tmp_path: Path) -> None:
    written(tmp_path / "words/a.wav")
    changed = WAVE.changed(mean="0.5", deviation="0.25")
    values = bound(loaded(tmp_path / "words", changed), tmp_path, CLIP)
    np.testing.assert_allclose(values[0], (SAMPLES[:CLIP] / 2**15 - 0.5) / 0.25, rtol=1e-5, atol=1e-6)


def test_an_input_of_integers(tmp_path: Path) -> None:
    written(tmp_path / "words/a.wav")
    with pytest.raises(ConverterError) as caught:
        bound(loaded(tmp_path / "words"), tmp_path, CLIP, dtype="int8")
    assert caught.value.reason is FailureReason.DATA_SHAPE_MISMATCH


def test_another_shape_is_told_before_anything_is_decoded(tmp_path: Path) -> None:
    written(tmp_path / "words/a.wav")
    info = TensorInfo(name="audio", shape=[1, 98, 40], dtype="float32")
    with pytest.raises(
        ConverterError, match=r"samples of shape \(160,\), but the model's input 'audio' takes"
    ):
        loaded(tmp_path / "words").fitting([info], Stage.CALIBRATE)


def test_sounds_without_a_front_end(tmp_path: Path) -> None:
    written(tmp_path / "words/a.wav")
    with pytest.raises(ConverterError, match="nothing says how the model was trained to hear them") as caught:
        loaded(tmp_path / "words", None)
    assert caught.value.hint is not None
    assert "--audio-sample-rate" in caught.value.hint


# Hostile files.

FLAC_HEADER = b"fLaC\x80\0\0\x22" + bytes(34)


def flac() -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(1).integers(-(2**15), 2**15, 20000).astype(np.int16)
    soundfile.write(stream, noise, RATE, format="FLAC")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (wav(size=0xFFFFFFF0), "it is truncated: 4294966480 of the 4294967280 bytes"),
        (wav(channels=0), "its header says 0 channels of 16000 Hz"),
        (wav(rate=0), "its header says 1 channels of 0 Hz"),
        (wav(rate=1), "has 1 samples a second, and the front end 16000"),
        (wav(rate=44100), "has 44100 samples a second, and the front end 16000"),
        (wav(tag=7), "its samples are compressed by mu-law"),
        (wav(tag=99), "its samples are compressed by format 99, which is not known"),
        (wav(bits=12), "its samples have 12 bits"),
        (wav(data=b""), "it holds no sample"),
        (wav()[:30], "it is truncated: it ends within its header"),
        (wav()[:40], "it is truncated: it holds no samples"),
        (wav()[:-10], "it is truncated: 10 of the 800 bytes of its samples are missing"),
        (wav().replace(b"fmt ", b"junk"), "the samples come before their format"),
        (b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 2000, "its header is corrupt: no samples come after it"),
        (flac()[:20], "it is truncated: it ends within its header"),
        (FLAC_HEADER, "its header does not say how long it is"),
        (b"ID3" + bytes(50), "it is an MP3 file"),
        (b"OggS" + bytes(50), "it is an Ogg file"),
        (b"RF64" + bytes(50), "RF64"),
        (png(1), "it is no WAV or FLAC file"),
    ],
)
def test_headers_that_make_no_sense(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "words").mkdir()
    (tmp_path / "words/a.wav").write_bytes(content)
    with pytest.raises(ConverterError) as caught:
        loaded(tmp_path / "words")
    assert caught.value.reason is FailureReason.DATA_UNREADABLE
    assert says in caught.value.cause
    assert "'a.wav' in it" in caught.value.cause


def test_a_header_that_knows_no_end(tmp_path: Path) -> None:
    """What a program leaves that writes into a pipe: the samples reach to the end of the file."""
    (tmp_path / "x.wav").write_bytes(wav(size=0xFFFFFFFF, data=SAMPLES.astype("<i2").tobytes()))
    assert read_header(tmp_path / "x.wav").samples == 400
    np.testing.assert_array_equal(clip(tmp_path / "x.wav", WAVE), SAMPLES[:CLIP].astype(np.float32) / 2**15)


def test_a_flac_file_that_ends_early(tmp_path: Path) -> None:
    content = flac()
    (tmp_path / "words/yes").mkdir(parents=True)
    (tmp_path / "words/yes/a.flac").write_bytes(content[: len(content) // 2])
    whole = Audio(sample_rate=RATE, clip_millis=1250, features=AudioFeatures.WAVEFORM)
    data = loaded(tmp_path / "words", whole)
    with pytest.raises(ConverterError) as caught:
        decode(data.files, whole, Stage.CALIBRATE)
    assert caught.value.reason is FailureReason.DATA_UNREADABLE
    assert caught.value.cause.startswith("a.flac cannot be read: it is truncated or corrupt")


def test_a_header_that_promises_hours_takes_no_memory_for_them(tmp_path: Path) -> None:
    content = bytearray(flac())
    content[21] |= 0x0F  # the highest four bits of the number of samples
    (tmp_path / "x.flac").write_bytes(content)
    assert read_header(tmp_path / "x.flac").samples > 60_000_000_000
    middle = WAVE.changed(fit=AudioFit.CENTER)
    with pytest.raises(ConverterError) as caught:
        decode([tmp_path / "x.flac"], middle, Stage.CALIBRATE)
    assert caught.value.reason is FailureReason.DATA_UNREADABLE


def test_samples_that_are_no_numbers(tmp_path: Path) -> None:
    written(tmp_path / "x.wav", np.full(400, np.nan), subtype="FLOAT")
    with pytest.raises(ConverterError) as caught:
        decode([tmp_path / "x.wav"], WAVE, Stage.CALIBRATE)
    assert caught.value.reason is FailureReason.DATA_NOT_FINITE


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_is_told_and_never_crashes(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from([wav(), flac()[:3000]])))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 200) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(content)
        assert outcome(lambda: decode([path], WAVE, Stage.CALIBRATE)) in (DONE, REFUSED)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"frame_length": 100, "frame_step": 50}, "a Waveform has neither"),
        ({"features": "Spectrogram", "frame_length": 100}, "needs frameLength and frameStep"),
        ({"features": "Spectrogram", "frame_length": 161, "frame_step": 50}, "shorter than one frame"),
        (
            {"features": "Spectrogram", "frame_length": 100, "frame_step": 50, "fft_length": 64},
            "fftLength must be at least frameLength",
        ),
        ({"features": "LogMelSpectrogram", "frame_length": 100, "frame_step": 50}, "need numMelBins"),
        ({"num_mel_bins": 10, "lower_edge_hertz": 20, "upper_edge_hertz": 4000}, "nothing else has them"),
        ({"num_mfccs": 13}, "nothing else has it"),
    ],
)
def test_front_ends_that_cannot_be(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        WAVE.changed(**fields)


@pytest.mark.parametrize(("lower", "upper"), [(4000, 4000), (20, 8001)])
def test_edges_that_cannot_be(lower: int, upper: int) -> None:
    mel = {"num_mel_bins": 10, "lower_edge_hertz": lower, "upper_edge_hertz": upper}
    with pytest.raises(ValidationError, match="at most half of sampleRate"):
        WAVE.changed(features="LogMelSpectrogram", frame_length=100, frame_step=50, **mel)
