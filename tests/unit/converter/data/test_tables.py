""".csv files: whatever divides the cells, with or without a header; mistakes are named by line and column."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.errors import ConverterError

STAGE = Stage.EVALUATE
NUMBERS = st.floats(-1e6, 1e6, width=32)
NAMES = st.text(st.sampled_from('ab ;,\t"é1'), min_size=1, max_size=6).map(lambda name: f"{name}x")


def loaded(path: Path, text: str | bytes, column: str | None = None, labels: Path | None = None) -> Dataset:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_dataset(DataFiles(path, labels, column), STAGE, path.parent)


def failure(path: Path, text: str | bytes, column: str | None = None) -> ConverterError:
    with pytest.raises(ConverterError) as caught:
        loaded(path, text, column)
    assert caught.value.stage is STAGE
    return caught.value


def labels_of(data: Dataset) -> list[float]:
    assert data.labels is not None
    found: list[float] = data.labels.tolist()
    return found


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", ["", "x,y,z\n", '"x, or so",y,z\n'])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_features_are_read(tmp_path: Path, delimiter: str, header: str, start: str, end: str) -> None:
    text = start + header.replace(",", delimiter) + "1,2.5,-3e2\n\n 4 ,5,6".replace(",", delimiter)
    data = loaded(tmp_path / "x.csv", text.replace("\n", end))
    assert data.arrays["data"].dtype == np.float32
    assert data.arrays["data"].tolist() == [[1.0, 2.5, -300.0], [4.0, 5.0, 6.0]]
    assert (data.format, data.labels) == ("csv", None)


@pytest.mark.parametrize(
    ("text", "column", "features", "labels", "names"),
    [
        ("a,label,b\n1,2,3\n4,0,6\n", "label", [[1, 3], [4, 6]], [2, 0], ()),
        ("a,label,b\n1,2,3\n4,0,6\n", "2", [[1, 3], [4, 6]], [2, 0], ()),
        ("1,2,3\n4,0,6\n", "2", [[1, 3], [4, 6]], [2, 0], ()),
        (
            "a;b;kind\n1;3;swipe\n4;6;pinch\n7;9;swipe\n",
            "kind",
            [[1, 3], [4, 6], [7, 9]],
            [1, 0, 1],
            ("pinch", "swipe"),
        ),
        ("1,3,swipe\n4,6,pinch\n", "3", [[1, 3], [4, 6]], [1, 0], ("pinch", "swipe")),
        ("0,1,label\n1,3,0\n4,6,1\n", "3", [[1, 3], [4, 6]], [0, 1], ()),
        ("a,target\n1,0.5\n2,1\n", "target", [[1], [2]], [0.5, 1.0], ()),
        ("a,kind\n1,1_0\n2,1_1\n", "kind", [[1], [2]], [0, 1], ("1_0", "1_1")),
        ("2,kind\n1,7\n2,8\n", "kind", [[1], [2]], [7, 8], ()),
    ],
)
def test_a_column_of_labels(
    tmp_path: Path,
    text: str,
    column: str,
    features: list[list[float]],
    labels: list[float],
    names: tuple[str, ...],
) -> None:
    data = loaded(tmp_path / "x.csv", text, column)
    assert data.arrays["data"].tolist() == features
    assert labels_of(data) == labels
    assert data.class_names == names


@pytest.mark.parametrize(
    ("text", "column", "reason", "says"),
    [
        ("", None, FailureReason.DATA_UNREADABLE, "empty"),
        ("x,y\n", None, FailureReason.DATA_TOO_FEW, "no sample"),
        (
            "w,x\n1,2\n3,abc\n",
            None,
            FailureReason.DATA_UNREADABLE,
            "line 3, column 'x': 'abc' is not a number",
        ),
        ("1,2\n3,abc\n", None, FailureReason.DATA_UNREADABLE, "line 2, column '2': 'abc' is not a number"),
        (
            "w,k,x\n1,a,2\n3,b,?\n",
            "k",
            FailureReason.DATA_UNREADABLE,
            "line 3, column 'x': '?' is not a number",
        ),
        (
            "w,x\n1,1_000\n",
            None,
            FailureReason.DATA_UNREADABLE,
            "line 2, column 'x': '1_000' is not a number",
        ),
        ("w,x\n1,2\n\n3,\n", None, FailureReason.DATA_UNREADABLE, "line 4, column 'x' is empty"),
        ('w,x\n1,"2\n"\n3,no\n', None, FailureReason.DATA_UNREADABLE, "line 4, column 'x'"),
        ("w,x\n1,2\n3,nan\n", None, FailureReason.DATA_NOT_FINITE, "line 3, column 'x': nan"),
        ("w,k,x\n1,0,2\n3,0,-inf\n", "k", FailureReason.DATA_NOT_FINITE, "line 3, column 'x': -inf"),
        ("w,x\n1,2\n3,1e39\n", None, FailureReason.DATA_NOT_FINITE, "line 3, column 'x': 1e+39"),
        ("1,2\n3\n", None, FailureReason.DATA_UNREADABLE, "line 2 has 1 cells, expected 2"),
        ('1,2\n"3,4\n', None, FailureReason.DATA_UNREADABLE, "unexpected end of data"),
        ("w,x\n1,2\n", "y", FailureReason.LABELS_MISMATCH, "no column 'y': it has the columns 'w', 'x'"),
        ("1,2\n", "3", FailureReason.LABELS_MISMATCH, "no column '3': it has 2 columns without names"),
        ("1,2\n", "0", FailureReason.LABELS_MISMATCH, "no column '0'"),
        ("y,y\n1,2\n", "y", FailureReason.LABELS_MISMATCH, "more than one column 'y'"),
        ("y\n1\n", "y", FailureReason.DATA_UNREADABLE, "no column beside the labels"),
        ("x,y\n1,2\n1, \n", "y", FailureReason.LABELS_MISMATCH, "line 3: the label is empty"),
        ("x,y\n1,-2\n", "y", FailureReason.LABELS_MISMATCH, "negative"),
        ("x,y\n1,nan\n1,0.5\n", "y", FailureReason.LABELS_MISMATCH, "NaN"),
        ("1,2\n".encode("utf-16"), None, FailureReason.DATA_UNREADABLE, ".npy, .npz or .csv"),
        ("größe\n1\n".encode("latin-1"), None, FailureReason.DATA_UNREADABLE, "not UTF-8"),
    ],
)
def test_mistakes_are_named_with_their_place(
    tmp_path: Path, text: str | bytes, column: str | None, reason: FailureReason, says: str
) -> None:
    found = failure(tmp_path / "x.csv", text, column)
    assert (found.reason, says in found.message) == (reason, True), found.message


def test_places_are_right_beyond_the_first_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tflite_converter.data.tables._BLOCK_VALUES", 8)
    rows = ["1,2,3"] * 30
    assert loaded(tmp_path / "x.csv", "\n".join(rows)).arrays["data"].tolist() == [[1, 2, 3]] * 30
    rows[20] = "1,2,inf"
    assert "line 21, column '3'" in failure(tmp_path / "x.csv", "\n".join(rows)).message


def test_large_files_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tflite_converter.data.tables.MAX_CSV_BYTES", 10)
    found = failure(tmp_path / "x.csv", "1,2,3\n4,5,6\n")
    assert (found.reason, ".npy" in found.message) == (FailureReason.DATA_UNREADABLE, True)


@pytest.mark.parametrize(
    ("text", "values", "names"),
    [
        ("0\n1\n2\n", [0, 1, 2], ()),
        ("label\n0\n1\n2\n", [0, 1, 2], ()),
        ("cat\ndog\ncat\n", [0, 1, 0], ("cat", "dog")),
        ("animal\ncat\ndog\ncat\n", [0, 1, 0], ("cat", "dog")),
        ("0.5\n1\n2\n", [0.5, 1.0, 2.0], ()),
        ("a,b\n0,1\n1,1\n0,0\n", [[0, 1], [1, 1], [0, 0]], ()),
        ("0.5;1\n1;1\n0;2\n", [[0.5, 1], [1, 1], [0, 2]], ()),
    ],
)
def test_a_file_of_labels(tmp_path: Path, text: str, values: list[object], names: tuple[str, ...]) -> None:
    labels = tmp_path / "labels"
    labels.write_text(text)
    data = loaded(tmp_path / "x.csv", "1\n2\n3\n", labels=labels)
    assert labels_of(data) == values
    assert data.class_names == names


@pytest.mark.parametrize(
    ("text", "reason", "says"),
    [
        ("", FailureReason.LABELS_MISMATCH, "0 labels for 3 samples"),
        ("0\n1\n2\n3\n", FailureReason.LABELS_MISMATCH, "4 labels for 3 samples"),
        ("0\n1\n", FailureReason.LABELS_MISMATCH, "2 labels for 3 samples"),
        ("0,1\n1\n2,2\n", FailureReason.DATA_UNREADABLE, "line 2 has 1 cells, expected 2"),
        ("0,a\n1,b\n2,c\n", FailureReason.DATA_UNREADABLE, "not all are numbers"),
        ("0,2\n1,2\n2,2\n", FailureReason.LABELS_MISMATCH, "shape (3, 2), expected (3,)"),
    ],
)
def test_a_file_of_labels_that_do_not_fit(
    tmp_path: Path, text: str, reason: FailureReason, says: str
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(text)
    with pytest.raises(ConverterError) as caught:
        loaded(tmp_path / "x.csv", "1\n2\n3\n", labels=labels)
    assert (caught.value.reason, says in caught.value.message) == (reason, True)


def test_rows_take_the_shape_of_the_input(tmp_path: Path) -> None:
    data = loaded(tmp_path / "x.csv", "1,2,3,4\n5,6,7,8\n")
    info = TensorInfo(name="image", shape=[1, 2, 2, 1], dtype="uint8")
    bound = data.save(tmp_path, "rows").bind([info], STAGE)["image"]
    assert (bound.dtype, bound.reshape(2, 4).tolist()) == (np.uint8, [[1, 2, 3, 4], [5, 6, 7, 8]])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(NUMBERS, min_size=width, max_size=width), min_size=2, max_size=40)
    ),
    names=st.lists(NAMES, min_size=4, max_size=4),
    delimiter=st.sampled_from([",", ";", "\t"]),
    has_header=st.booleans(),
)
def test_what_is_written_is_read_back(
    tmp_path: Path, rows: list[list[float]], names: list[str], delimiter: str, has_header: bool
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    if has_header:
        writer.writerow(names[: len(rows[0])])
    writer.writerows(rows)
    data = loaded(tmp_path / "x.csv", text.getvalue())
    np.testing.assert_array_equal(data.arrays["data"], np.array(rows, dtype=np.float32))
