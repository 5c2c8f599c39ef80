"""TFRecords: features become arrays, labels and images; every kind of damage is told with its record."""

from __future__ import annotations

import gzip
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelconversion_api.fields.data import Images, ImageScaling
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from support.converter.records import example, field, framed, masked, png, varint, write_tfrecord
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.data.overlap import disjoint
from tflite_converter.data.records import frames, tfrecord
from tflite_converter.data.records.example import ExampleError, parse
from tflite_converter.data.records.making import read
from tflite_converter.data.records.messages import Form, ReadingJob, ReadingResult, Wanted
from tflite_converter.errors import ConverterError
from tflite_converter.files.digests import file_sha256
from tflite_converter.isolation.protocol import ChildLimits

IMAGES = Images(scaling=ImageScaling.ZERO_TO_ONE)
ROWS = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)


def loaded(
    path: Path, column: str | None = None, images: Images | None = None, stage: Stage = Stage.CALIBRATE
) -> Dataset:
    files = DataFiles(path, label_column=column, images=images)
    return load_dataset(files, stage, path.parent / "unpacked")


def read_here(
    *paths: Path, column: str | None = None, wanted: Wanted | None = None, **options: Any
) -> tuple[ReadingResult, dict[str, Any]]:
    """As the process does that reads, without its walls."""
    job = ReadingJob(
        limits=ChildLimits(),
        form=Form.TFRECORD,
        files=paths,
        name=paths[0].name,
        stage=Stage.CALIBRATE,
        label_column=column,
        wanted=wanted,
    )
    with tempfile.TemporaryDirectory(dir=paths[0].parent) as folder:
        result = read(job, Path(folder), **options)
        arrays = {key: np.load(Path(folder) / f"{i}.npy") for i, key in enumerate(result.arrays)}
        return result, arrays


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ConverterError) as caught:
        read_here(path, **options)
    assert caught.value.reason in (FailureReason.DATA_UNREADABLE, FailureReason.LABELS_MISMATCH)
    return caught.value.cause


def test_features_are_the_npy_file_of_their_numbers(tmp_path: Path) -> None:
    path = write_tfrecord(tmp_path / "x.tfrecord", ({"x": row, "y": [i % 3]} for i, row in enumerate(ROWS)))
    np.save(tmp_path / "x.npy", ROWS)
    data, same = loaded(path), loaded(tmp_path / "x.npy")
    np.testing.assert_array_equal(data.arrays["x"], same.arrays["data"])
    assert data.arrays["x"].dtype == np.float32
    assert (data.count, data.format, data.sha256) == (40, "tfrecord", file_sha256(path))
    assert data.labels is not None
    assert data.labels.tolist() == [i % 3 for i in range(40)]
    assert len(disjoint(data, same)) == 0, "the same samples in another format calibrate and measure"
    inputs = [TensorInfo(name="features", shape=[1, 2, 2], dtype="float32")]
    bound = data.save(tmp_path, "drawn").bind(inputs, Stage.CALIBRATE)
    np.testing.assert_array_equal(bound["features"], ROWS.reshape(40, 2, 2))


@settings(max_examples=60, deadline=None)
@given(
    floats=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 20), st.integers(1, 5)), elements=st.floats(width=32)
    ),
    integers=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5),
)
def test_every_number_is_read_as_it_was_written(floats: np.ndarray, integers: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_tfrecord(Path(folder) / "x.tfrecord", ({"x": row, "i": integers} for row in floats))
        _, arrays = read_here(path)
    expected = floats if floats.shape[1] > 1 else floats[:, 0]
    np.testing.assert_array_equal(arrays["x"], expected)
    numbers = np.array([integers] * len(floats), dtype=np.int64)
    np.testing.assert_array_equal(arrays["i"], numbers if len(integers) > 1 else numbers[:, 0])


def test_unpacked_lists_are_read(tmp_path: Path) -> None:
    """Writers of the first version of protocol buffers have a field for each number."""
    floats = b"".join(varint(1 << 3 | 5) + np.float32(value).tobytes() for value in (1.5, -2))
    integers = b"".join(varint(1 << 3) + varint(value) for value in (7, -1))
    entries = [field(1, b"f") + field(2, field(2, floats)), field(1, b"i") + field(2, field(3, integers))]
    record = field(1, b"".join(field(1, entry) for entry in entries))
    (tmp_path / "x").write_bytes(framed([record]))
    _, arrays = read_here(tmp_path / "x")
    assert (arrays["f"].tolist(), arrays["i"].tolist()) == ([[1.5, -2]], [[7, -1]])


@pytest.mark.parametrize("compress", [lambda c: c, lambda c: gzip.compress(c, mtime=0), zlib.compress])
def test_shards_in_an_archive_in_the_order_of_their_names(tmp_path: Path, compress: Any) -> None:
    for start in (30, 0, 10, 20):
        rows = [{"x": row} for row in ROWS[start : start + 10]]
        shard = write_tfrecord(tmp_path / f"set/a.tfrecord-{start // 10:05d}-of-00004", rows)
        shard.write_bytes(compress(shard.read_bytes()))
    (tmp_path / "set/features.json").write_text("{}")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in sorted((tmp_path / "set").iterdir(), reverse=True):
            archive.write(path, f"set/{path.name}")
    data, packed = loaded(tmp_path / "set"), loaded(tmp_path / "x.zip")
    np.testing.assert_array_equal(data.arrays["x"], ROWS)
    np.testing.assert_array_equal(packed.arrays["x"], ROWS)
    assert packed.sha256 == file_sha256(tmp_path / "x.zip") != data.sha256 != ""


def test_parts_for_training_and_test(tmp_path: Path) -> None:
    write_tfrecord(tmp_path / "set/mnist-train.tfrecord-00000-of-00001", [{"x": row} for row in ROWS[:30]])
    write_tfrecord(tmp_path / "set/mnist-test.tfrecord-00000-of-00001", [{"x": row} for row in ROWS[30:]])
    assert loaded(tmp_path / "set").count == 30
    assert loaded(tmp_path / "set", stage=Stage.EVALUATE).count == 10


def test_one_compressed_file(tmp_path: Path) -> None:
    path = write_tfrecord(tmp_path / "x.tfrecord", [{"x": row} for row in ROWS])
    path.write_bytes(zlib.compress(path.read_bytes()))
    np.testing.assert_array_equal(loaded(path).arrays["x"], ROWS)


def test_images_with_their_class(tmp_path: Path) -> None:
    rows = [
        {"image/encoded": png(shade), "image/class/label": [label], "image/filename": b"a.png"}
        for label, shade in enumerate((0, 51, 255))
    ]
    data = loaded(write_tfrecord(tmp_path / "x.tfrecord", rows), images=IMAGES)
    assert (data.count, data.format) == (3, "tfrecord")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 2]
    inputs = [TensorInfo(name="pixels", shape=[1, 8, 8, 1], dtype="float32")]
    pixels = data.take(np.array([1, 2])).save(tmp_path, "drawn").bind(inputs, Stage.CALIBRATE)["pixels"]
    np.testing.assert_allclose(pixels.mean(axis=(1, 2, 3)), [0.2, 1.0])


def test_names_of_classes(tmp_path: Path) -> None:
    rows = [{"x": row, "kind": b"up" if i % 2 else b"down"} for i, row in enumerate(ROWS)]
    data = loaded(write_tfrecord(tmp_path / "x.tfrecord", rows), "kind")
    assert data.labels is not None
    assert (data.labels.tolist(), data.class_names) == ([0, 1] * 20, ("down", "up"))


def test_raw_bytes_are_numbers_where_their_count_fits(tmp_path: Path) -> None:
    """What tf.io.decode_raw gives for uint8. Bytes of wider numbers are too many for the input."""
    pixels = np.random.default_rng(1).integers(0, 256, (5, 28, 28, 1), dtype=np.uint8)
    rows = [{"image_raw": pixel.tobytes()} for pixel in pixels]
    data = loaded(write_tfrecord(tmp_path / "x.tfrecord", rows))
    inputs = [TensorInfo(name="pixels", shape=[1, 28, 28, 1], dtype="float32")]
    bound = data.save(tmp_path, "drawn").bind(inputs, Stage.CALIBRATE)["pixels"]
    np.testing.assert_array_equal(bound, pixels.astype(np.float32))
    assert "each was taken for a number from 0 to 255" in data.notes[0]
    wide = [{"image_raw": pixel.astype(np.float32).tobytes()} for pixel in pixels]
    data = loaded(write_tfrecord(tmp_path / "y.tfrecord", wide))
    with pytest.raises(ConverterError) as caught:
        data.save(tmp_path, "drawn").bind(inputs, Stage.CALIBRATE)
    assert caught.value.reason is FailureReason.DATA_SHAPE_MISMATCH
    assert caught.value.hint is not None
    assert "float_list" in caught.value.hint


def test_sizes_beside_an_image_are_no_input(tmp_path: Path) -> None:
    """The features of TensorFlow's own example of MNIST, convert_to_records.py."""
    rows = [
        {"image_raw": bytes(range(16)), "height": [4], "width": [4], "depth": [1], "label": [number % 3]}
        for number in range(5)
    ]
    data = loaded(write_tfrecord(tmp_path / "x.tfrecord", rows))
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 2, 0, 1]
    inputs = [TensorInfo(name="pixels", shape=[1, 4, 4, 1], dtype="float32")]
    bound = data.save(tmp_path, "drawn").bind(inputs, Stage.CALIBRATE)["pixels"]
    np.testing.assert_array_equal(bound.reshape(5, 16), [range(16)] * 5)


def test_a_file_without_a_record(tmp_path: Path) -> None:
    write_tfrecord(tmp_path / "set/a-00000-of-00002", [{"x": ROWS[0]}])
    (tmp_path / "set/a-00001-of-00002").write_bytes(zlib.compress(b""))
    with pytest.raises(ConverterError, match="'a-00001-of-00002' in it is no TFRecord file"):
        loaded(tmp_path / "set")


SOUND = framed([example({"x": row, "y": [i]}) for i, row in enumerate(ROWS[:3])])
ONE = len(SOUND) // 3


def changed(place: int, value: int) -> bytes:
    return SOUND[:place] + bytes([SOUND[place] ^ value]) + SOUND[place + 1 :]


SEQUENCE = field(1, b"") + field(2, field(1, field(1, b"frames")))
GIANT = (1 << 40).to_bytes(8, "little")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (changed(ONE, 1), "record 1: it is corrupt: the checksum of its length is wrong"),
        (changed(ONE + 20, 1), "record 1: it is corrupt: the checksum of its content is wrong"),
        (changed(3 * ONE - 1, 1), "record 2: it is corrupt: the checksum of its content is wrong"),
        (SOUND[:-5], "record 2: it is truncated: 5 of its"),
        (SOUND[: 2 * ONE + 7], "record 2: it is truncated: it ends within its header"),
        (gzip.compress(SOUND)[:-20], "it is truncated: the compressed data ends too early"),
        (zlib.compress(SOUND)[:-20], "it is truncated: the compressed data ends too early"),
        (SOUND + GIANT + masked(GIANT), "record 3: it has 1099511627776 bytes, more than 256.0MiB"),
        (framed([SEQUENCE]), "it holds tf.train.SequenceExample"),
        (framed([b"\x0b"]), "record 0 is no tf.train.Example: there is a field of wire type 3"),
        (framed([b"hello"]), "record 0 is no tf.train.Example"),
        (framed([b""]), "its first record has no feature"),
        (framed([example({"x": ROWS[0]}), example({"x": ROWS[0][:2]})]), "record 1 has 2 values in 'x'"),
        (
            framed([example({"x": ROWS[0]}), example({"z": ROWS[0]})]),
            "record 1 has no value in the feature 'x'",
        ),
        (framed([example({"x": ROWS[0]}), example({"x": [1, 2, 3, 4]})]), "record 1 has int64 in 'x'"),
        (framed([example({"x": b"words"})]), "its column 'x' holds text, not numbers"),
        (framed([example({"x": [b"a", b"b"]})]), "its column 'x' holds several texts"),
        (framed([example({"x": png(1)})]), "its column 'x' holds images, and nothing says how"),
    ],
)
def test_damage_is_told_with_its_record(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "x.tfrecord").write_bytes(content)
    assert says in refusal(tmp_path / "x.tfrecord")


def test_images_that_are_none(tmp_path: Path) -> None:
    path = write_tfrecord(tmp_path / "x.tfrecord", [{"image": png(1)}, {"image": b"\0\1"}])
    assert "record 1 has no images in 'image'" in refusal(path, wanted=Wanted.IMAGES)


def test_nothing_unpacks_beyond_the_limit(tmp_path: Path) -> None:
    zeros = framed([example({"x": np.zeros(1000, np.float32)})]) * 300
    (tmp_path / "x.tfrecord.gz").write_bytes(gzip.compress(zeros))
    assert (tmp_path / "x.tfrecord.gz").stat().st_size < 20_000
    assert "the file unpacks to more than 1.0MiB" in refusal(tmp_path / "x.tfrecord.gz", most_bytes=1 << 20)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_any_record_is_an_example_or_is_refused(content: bytes) -> None:
    try:
        parse(content)
    except ExampleError as error:
        assert type(error).__name__  # noqa: PT017 - some of the bytes are an empty message


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(SOUND) - 1), st.integers(1, 255))
def test_no_changed_byte_goes_unnoticed(place: int, value: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tfrecord"
        path.write_bytes(changed(place, value))
        assert f"record {place // ONE}" in refusal(path)


def test_batches_follow_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfrecord, "_BATCH", 7)
    _, arrays = read_here(write_tfrecord(tmp_path / "x", [{"x": row} for row in ROWS]))
    np.testing.assert_array_equal(arrays["x"], ROWS)


def test_the_checksum_is_that_of_the_standard() -> None:
    """The first value is RFC 3720's for 32 bytes of zeros, B.4; masked as record_writer.h does."""
    crc = 0x8A9136AA
    expected = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert frames.masked_crc(bytes(32)) == expected
    assert masked(bytes(32)) == expected.to_bytes(4, "little")
