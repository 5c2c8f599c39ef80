"""Parquet: values as in the same data's .npy file, and every bound holds before memory is taken."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelconversion_api.fields.data import Images, ImageScaling
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from support.converter.forks import DONE, REFUSED, outcome
from support.converter.records import png
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.data.overlap import disjoint
from tflite_converter.data.records import parquet
from tflite_converter.data.records.footer import ParquetError, _Compact, _judged, read_footer
from tflite_converter.data.records.making import read
from tflite_converter.data.records.messages import Form, ReadingJob, ReadingResult, Wanted
from tflite_converter.errors import ConverterError
from tflite_converter.files.digests import file_sha256
from tflite_converter.isolation.protocol import ChildLimits

IMAGES = Images(scaling=ImageScaling.ZERO_TO_ONE)
ROWS = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
CLASSES = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}


def written(path: Path, table: pa.Table, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def loaded(
    path: Path, column: str | None = None, images: Images | None = None, stage: Stage = Stage.CALIBRATE
) -> Dataset:
    return load_dataset(DataFiles(path, label_column=column, images=images), stage, path.parent / "unpacked")


def job(path: Path, column: str | None = None, *, wanted: Wanted | None = None) -> ReadingJob:
    return ReadingJob(
        limits=ChildLimits(),
        form=Form.PARQUET,
        files=(path,),
        name=path.name,
        stage=Stage.CALIBRATE,
        label_column=column,
        wanted=wanted,
    )


def read_here(path: Path, column: str | None = None, **options: Any) -> tuple[ReadingResult, list[Any]]:
    """As the process does that reads, without its walls."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        result = read(job(path, column), Path(folder), **options)
        return result, [np.load(Path(folder) / f"{i}.npy") for i in range(len(result.arrays))]


def refusal(path: Path, column: str | None = None, *, wanted: Wanted | None = None, **options: Any) -> str:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, pytest.raises(ConverterError) as caught:
        read(job(path, column, wanted=wanted), Path(folder), **options)
    assert caught.value.reason in (FailureReason.DATA_UNREADABLE, FailureReason.LABELS_MISMATCH)
    return caught.value.cause


def table(**columns: Any) -> pa.Table:
    return pa.table(columns)


def test_a_table_is_the_npy_file_of_its_numbers(tmp_path: Path) -> None:
    columns = {f"c{i}": ROWS[:, i] for i in range(4)}
    path = written(tmp_path / "x.parquet", table(**columns, gesture=["up", "down"] * 20), row_group_size=7)
    np.save(tmp_path / "x.npy", ROWS)
    data, same = loaded(path, "gesture"), loaded(tmp_path / "x.npy")
    np.testing.assert_array_equal(data.arrays["data"], same.arrays["data"])
    assert data.arrays["data"].dtype == np.float32
    assert (data.count, data.format, data.sha256) == (40, "parquet", file_sha256(path))
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0] * 20
    assert data.class_names == ("down", "up")
    assert len(disjoint(data, same)) == 0, "the same samples in another format calibrate and measure"


DTYPES = st.sampled_from(["<f2", "<f4", "<f8", "<i1", "<i2", "<i4", "<i8", "<u1", "<u2", "<u4", "<u8", "?"])


@settings(max_examples=50, deadline=None)
@given(
    array=DTYPES.flatmap(
        lambda dtype: hnp.arrays(
            dtype, st.tuples(st.integers(1, 30), *[st.integers(1, 4)] * 2), elements=finite(dtype)
        )
    ),
    fixed=st.booleans(),
    group=st.integers(1, 40),
    compression=st.sampled_from(["none", "snappy", "gzip", "zstd", "lz4", "brotli"]),
    dictionary=st.booleans(),
    version=st.sampled_from(["1.0", "2.0"]),
)
def test_lists_are_read_as_their_array(
    array: np.ndarray, fixed: bool, group: int, compression: str, dictionary: bool, version: str
) -> None:
    kind = pa.from_numpy_dtype(array.dtype)
    for size in reversed(array.shape[1:]):
        kind = pa.list_(kind, size if fixed else -1)
    rows = pa.array(array.tolist(), kind) if array.dtype != np.float16 else halves(array, kind)
    with tempfile.TemporaryDirectory() as folder:
        path = written(
            Path(folder) / "x.parquet",
            table(x=rows, z=array.reshape(len(array), -1)[:, 0]),
            row_group_size=group,
            compression=compression,
            use_dictionary=dictionary and array.dtype.kind != "b",
            data_page_version=version,
        )
        result, (tensor, numbers) = read_here(path)
    assert result.arrays == ("x", "z")
    assert tensor.dtype == numbers.dtype == array.dtype
    np.testing.assert_array_equal(tensor, array)
    np.testing.assert_array_equal(numbers, array.reshape(len(array), -1)[:, 0])


def finite(dtype: str) -> Any:
    options = {"allow_nan": False, "allow_infinity": False} if "f" in dtype else {}
    return hnp.from_dtype(np.dtype(dtype), **options)


def halves(array: np.ndarray, kind: pa.DataType) -> pa.Array:
    """float16, of which pyarrow takes no Python numbers."""
    return pa.array([[list(row) for row in sample] for sample in array], kind)


def test_many_batches_are_one_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_BATCH_BYTES", 100)
    path = written(tmp_path / "x.parquet", table(x=list(ROWS), y=np.arange(40)), row_group_size=13)
    done: list[float] = []
    _, (x, y) = read_here(path, tell=done.append)
    np.testing.assert_array_equal(x, ROWS)
    np.testing.assert_array_equal(y, np.arange(40))
    assert len(done) > 10
    assert done[-1] == 1


def test_samples_and_labels_by_their_names(tmp_path: Path) -> None:
    data = loaded(written(tmp_path / "x.parquet", table(x=list(ROWS), y=np.arange(40) % 3)))
    assert list(data.arrays) == ["x"]
    assert data.labels is not None
    assert data.labels.tolist() == (np.arange(40) % 3).tolist()
    inputs = [TensorInfo(name="features", shape=[1, 2, 2], dtype="float32")]
    bound = data.save(tmp_path, "drawn").bind(inputs, Stage.CALIBRATE)
    np.testing.assert_array_equal(bound["features"], ROWS.reshape(40, 2, 2))


def test_images_of_hugging_face(tmp_path: Path) -> None:
    rows = [{"bytes": png(shade), "path": f"{shade}.png"} for shade in (0, 51, 255)]
    found = table(image=rows, label=[1, 0, 1], url=["a", "b", "c"])
    path = written(
        tmp_path / "x.parquet", found.replace_schema_metadata({"huggingface": json.dumps(CLASSES)})
    )
    data = loaded(path, images=IMAGES)
    assert (data.count, data.format, data.class_names) == (3, "parquet", ("cat", "dog"))
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0, 1]
    assert data.preprocessing == {"resize": "Stretch", "scaling": "ZeroToOne"}
    assert any("left out: url" in note for note in data.notes)
    inputs = [TensorInfo(name="pixels", shape=[1, 8, 8, 1], dtype="float32")]
    pixels = data.take(np.array([1, 2])).save(tmp_path, "drawn").bind(inputs, Stage.CALIBRATE)["pixels"]
    np.testing.assert_allclose(pixels.mean(axis=(1, 2, 3)), [0.2, 1.0])


def test_parts_of_a_data_set(tmp_path: Path) -> None:
    for name, rows in (("train-00000-of-00002", ROWS[:10]), ("train-00001-of-00002", ROWS[10:20])):
        written(tmp_path / f"set/data/{name}.parquet", table(x=list(rows)))
    written(tmp_path / "set/data/test-00000-of-00001.parquet", table(x=list(ROWS[20:])))
    (tmp_path / "set/README.md").write_text("words")
    train, test = loaded(tmp_path / "set"), loaded(tmp_path / "set", stage=Stage.EVALUATE)
    np.testing.assert_array_equal(train.arrays["x"], ROWS[:20])
    np.testing.assert_array_equal(test.arrays["x"], ROWS[20:])
    assert "'train' was taken to calibrate" in " ".join(train.notes)
    assert train.sha256 == test.sha256 != ""


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (table(x=[1, None, 3]), "row 1 of its column 'x' has no value (NULL)"),
        (table(x=[[1, 2], [3, None]]), "row 1 of its column 'x' has no value (NULL)"),
        (table(x=[[1, 2], None]), "row 1 of its column 'x' has no value (NULL)"),
        (table(x=[[1, 2], [3]]), "row 1 of its column 'x' has a list of 1, others of 2"),
        (table(x=[[[1, 2], [3, 4]], [[1, 2], [3]]]), "row 1 of its column 'x' has a list of 1, others of 2"),
        (table(x=pa.array([[], []], pa.list_(pa.int8()))), "row 0 of its column 'x' has an empty list"),
        (table(x=[1, 2], t=["a", "b"]), "its column 't' holds text, not numbers"),
        (table(x=pa.array([1, 2], pa.timestamp("s"))), "its column 'x' holds times, not numbers"),
        (table(x=[{"a": 1}]), "its column 'x' holds structures, not numbers"),
        (table(x=[b"raw"]), "its column 'x' holds images or sounds, and nothing says how the model"),
    ],
)
def test_what_are_no_numbers(tmp_path: Path, found: pa.Table, says: str) -> None:
    assert says in refusal(written(tmp_path / "x.parquet", found))


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (table(x=[1.0]), "it has no column of images, but x"),
        (table(image=[{"bytes": None, "path": "a.png"}]), "has the path of a file, not its bytes"),
        (table(a=[png(1)], b=[png(2)]), "it has more than one column of images: a, b"),
    ],
)
def test_what_are_no_images(tmp_path: Path, found: pa.Table, says: str) -> None:
    assert says in refusal(written(tmp_path / "x.parquet", found), wanted=Wanted.IMAGES)


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    found = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    assert "it has more than one column 'x'" in refusal(written(tmp_path / "x.parquet", found))


def test_parts_beside_a_file_that_says_no_part(tmp_path: Path) -> None:
    for name in ("train", "test", "more"):
        written(tmp_path / f"set/{name}.parquet", table(x=[1.0]))
    with pytest.raises(
        ConverterError, match=r"it holds parts of a data set, and 'more\.parquet' beside them"
    ):
        loaded(tmp_path / "set")


def test_no_such_column(tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", table(x=[1.0], when=pa.array([1], pa.timestamp("s"))))
    assert "has no column 'y': it has x, when" in refusal(path, "y")
    assert "holds times, which are no labels" in refusal(path, "when")


def test_a_label_column_by_its_number(tmp_path: Path) -> None:
    result, (x,) = read_here(written(tmp_path / "x.parquet", table(x=[1.5, 2.5], y=[0, 1])), "2")
    assert (result.label_column, x.tolist()) == ("y", [[1.5], [2.5]])


def test_labels_that_nobody_has(tmp_path: Path) -> None:
    """The test part of a contest's data has -1 for every label; it calibrates all the same."""
    found = table(x=list(ROWS), label=[-1] * 40)
    named = found.replace_schema_metadata({"huggingface": json.dumps(CLASSES)})
    data = loaded(written(tmp_path / "x.parquet", named))
    assert data.labels is None
    assert any("negative labels" in note for note in data.notes)


def test_the_index_of_pandas_is_no_feature(tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", table(x=[1.5, 2.5], __index_level_0__=[7, 8]))
    result, (x,) = read_here(path)
    assert x.tolist() == [[1.5], [2.5]]
    assert "holds names of rows: it was left out" in result.notes[0]


def test_tensors_of_arrow_have_their_shape(tmp_path: Path) -> None:
    flat = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(12, dtype=np.int16)), 6)
    shaped = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.int16(), [2, 3]), flat)
    turned = pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.int16(), [2, 3], permutation=[1, 0]), flat
    )
    _, (x,) = read_here(written(tmp_path / "x.parquet", table(x=shaped)))
    np.testing.assert_array_equal(x, np.arange(12).reshape(2, 2, 3))
    why = refusal(written(tmp_path / "y.parquet", table(x=turned)))
    assert "the dimensions of its column 'x' are stored in another order" in why


def test_nan_is_refused_as_in_every_format(tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", table(x=[1.0, float("nan")]))
    with pytest.raises(ConverterError) as caught:
        loaded(path)
    assert caught.value.reason is FailureReason.DATA_NOT_FINITE
    assert "1 NaN or infinite value, the first at index (1, 0)" in caught.value.cause


# Hostile files.


def test_what_it_unpacks_to_is_known_before(tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", table(x=np.zeros(1_000_000)))
    assert path.stat().st_size < 20_000
    with pytest.raises(ParquetError, match=r"unpacks to 7\.6MiB, more than 1\.0MiB"):
        read_footer(path, 1 << 20)
    assert "more than 1.0MiB" in refusal(path, most_bytes=1 << 20)


def test_repeated_images_do_not_fill_the_disk(tmp_path: Path) -> None:
    """One image in a dictionary, and a thousand rows that name it: the footer knows nothing of it."""
    path = written(tmp_path / "x.parquet", table(image=[png(1) + bytes(50_000)] * 1000))
    assert path.stat().st_size < 60_000
    assert "it unpacks to more than 1.0MiB" in refusal(path, wanted=Wanted.IMAGES, most_bytes=1 << 20)


def test_encrypted_and_unknown_compressions(tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", table(x=np.arange(100)), compression="snappy")
    content = path.read_bytes()
    (tmp_path / "e.parquet").write_bytes(b"PARE" + content[4:-4] + b"PARE")
    assert "it is encrypted" in refusal(tmp_path / "e.parquet")
    # Field 4 (codec) of the column's description: zigzag of 1, Snappy, becomes that of 3, LZO, or of 9.
    start = content.rindex(b"x\x15\x02")
    for codec, says in ((3, "it is compressed by LZO"), (9, "codec 9, which is not known")):
        (tmp_path / "c.parquet").write_bytes(
            content[: start + 2] + bytes([codec << 1]) + content[start + 3 :]
        )
        assert says in refusal(tmp_path / "c.parquet")


def test_deep_columns(tmp_path: Path) -> None:
    kind: pa.DataType = pa.int8()
    for _ in range(20):
        kind = pa.list_(kind)
    path = written(tmp_path / "x.parquet", table(x=pa.array([None], kind)))
    assert "lie in each other too deeply" in refusal(path)


SOUND = table(x=list(ROWS), y=np.arange(40), t=[f"row {i}" for i in range(40)])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_is_told_or_ends_the_process_that_reads(data: st.DataObject) -> None:
    """A panic of Rust that cannot be caught aborts, which is the file's fault; nothing worse happens."""
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "x.parquet", SOUND, compression="snappy", row_group_size=15)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
        kept = data.draw(st.integers(0, len(content))) if data.draw(st.booleans()) else len(content)
        path.write_bytes(content[:kept])
        assert outcome(lambda: read_here(path, "t")) in (DONE, REFUSED, -signal.SIGABRT)


@pytest.mark.parametrize("field", [7, 9])
def test_pages_outside_of_the_file(tmp_path: Path, field: int) -> None:
    """Where a column's pages begin, and how long they are: as far as a footer can be believed."""
    path = written(tmp_path / "x.parquet", table(x=np.arange(100)))
    content = path.read_bytes()
    size = len(content)
    footer = _Compact(content[size - 8 - int.from_bytes(content[-8:-4], "little") : -8]).struct()
    (chunk,) = footer[4][0][1]
    chunk[3][field] = -1
    with pytest.raises(ValueError, match="pages lie outside of the file"):
        _judged(footer, size, 1 << 20)


def test_it_is_read_behind_walls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that decodes says which protections hold for it."""
    path = written(tmp_path / "x.parquet", table(x=ROWS[:, 0]))
    from tflite_converter.data.records import reading

    seen: list[ReadingResult] = []
    apart = reading._apart

    def noted(*args: Any) -> ReadingResult:
        seen.append(apart(*args))
        return seen[-1]

    monkeypatch.setattr(reading, "_apart", noted)
    loaded(path)
    assert seen[0].isolation, f"on this kernel ({os.uname().release}) no wall holds"


def test_a_process_that_dies_is_the_files_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tflite_converter.data.records import reading

    monkeypatch.setattr(reading, "_memory_limit", lambda: 1 << 24)  # too little to start with
    with pytest.raises(ConverterError) as caught:
        loaded(written(tmp_path / "x.parquet", table(x=ROWS[:, 0])))
    assert caught.value.reason is FailureReason.DATA_UNREADABLE
    assert "a part of it is too large" in caught.value.cause
