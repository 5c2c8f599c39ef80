"""Headers that count columns, columns that count rows, and samples that only look like them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.errors import ConverterError

ROWS = np.random.default_rng(0).normal(size=(12, 8)).round(3)
WHOLE = np.random.default_rng(1).integers(0, 256, size=(12, 8))


def lines(rows: object, *, index: int | None = None) -> str:
    return "".join(
        ("" if index is None else f"{index + i},") + ",".join(map(str, row)) + "\n"
        for i, row in enumerate(np.asarray(rows).tolist())
    )


def loaded(path: Path, text: str, column: str | None = None) -> Dataset:
    path.write_text(text)
    return load_dataset(DataFiles(path, None, column), Stage.CALIBRATE, path.parent)


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("rows", [ROWS, WHOLE, ROWS[:, :2], ROWS[:, :1], WHOLE[:, :4]])
def test_a_row_that_counts_the_columns_is_a_header(
    tmp_path: Path, start: int, rows: np.ndarray[tuple[int, int], np.dtype[np.float64]]
) -> None:
    header = ",".join(str(start + i) for i in range(rows.shape[1]))
    data = loaded(tmp_path / "x.csv", f"{header}\n{lines(rows)}")
    np.testing.assert_array_equal(data.arrays["data"], rows.astype(np.float32))
    assert "was taken for a header" in "".join(data.notes)


@pytest.mark.parametrize(
    ("text", "is_doubtful"),
    [
        (lines(np.arange(24).reshape(3, 8)), True),  # the other rows count up as well
        (lines([[0, 1], [3, 0], [7, 7]]), True),  # two columns of whole numbers
        (lines([[1, 2, 3], [200, 13, 5]]), True),
        (lines([[0.0, 1.0, 2.0, 3.0], [0.5, 0.5, 0.1, 0.2]]), False),  # written as the others are
        (lines([[0, 1, 2, 4], [9, 5, 7, 1]]), False),
        (lines([[2, 3, 4, 5], [9, 5, 7, 1]]), False),
        ("0,1,2,3\n", False),
    ],
)
def test_a_row_that_may_be_a_sample_stays_one(tmp_path: Path, text: str, is_doubtful: bool) -> None:
    data = loaded(tmp_path / "x.csv", text)
    expected = [[float(cell) for cell in line.split(",")] for line in text.splitlines()]
    assert data.arrays["data"].tolist() == np.float32(expected).tolist()
    assert ("was taken for a sample" in "".join(data.notes)) == is_doubtful


@pytest.mark.parametrize("corner", ["", "Unnamed: 0", '""', "index"])
@pytest.mark.parametrize("header", ["0,1,2,3,4,5,6,7", "a,b,c,d,e,f,g,h"])
@pytest.mark.parametrize("start", [0, 1])
def test_a_column_that_counts_the_rows_is_left_out(
    tmp_path: Path, corner: str, header: str, start: int
) -> None:
    data = loaded(tmp_path / "x.csv", f"{corner},{header}\n{lines(ROWS, index=start)}")
    np.testing.assert_array_equal(data.arrays["data"], ROWS.astype(np.float32))
    assert "counts the rows: it was left out" in "".join(data.notes)


def test_a_column_without_a_name_that_does_not_count_is_a_feature(tmp_path: Path) -> None:
    rows = [[0, 0.5], [1, 0.25], [3, 0.125]]
    data = loaded(tmp_path / "x.csv", f",a\n{lines(rows)}")
    assert data.arrays["data"].tolist() == rows
    assert "was taken for a feature" in "".join(data.notes)


def test_a_column_called_index_that_does_not_count_is_a_feature(tmp_path: Path) -> None:
    data = loaded(tmp_path / "x.csv", "index,a\n0.5,0.5\n0.25,0.25\n")
    assert (data.arrays["data"].tolist(), data.notes) == ([[0.5, 0.5], [0.25, 0.25]], ())


def test_a_column_with_a_name_is_a_feature_even_where_it_counts(tmp_path: Path) -> None:
    data = loaded(tmp_path / "x.csv", "step,a\n0,0.5\n1,0.25\n2,0.75\n")
    assert (data.arrays["data"].shape, data.notes) == ((3, 2), ())


@pytest.mark.parametrize("column", ["label", "9", "10"])
def test_labels_are_found_beside_row_numbers_and_counted_columns(tmp_path: Path, column: str) -> None:
    names = ["cat", "dog", "cat"] * 4
    index, header = ("", ",") if column == "10" else ("no", "")
    text = f"{header}0,1,2,3,4,5,6,7,label\n" + "".join(
        f"{f'{i},' if index == '' else ''}{row}{name}\n"
        for i, (row, name) in enumerate(
            zip([f"{line}," for line in lines(ROWS).splitlines()], names, strict=True)
        )
    )
    data = loaded(tmp_path / "x.csv", text, column)
    np.testing.assert_array_equal(data.arrays["data"], ROWS.astype(np.float32))
    assert data.class_names == ("cat", "dog")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 0] * 4


@pytest.mark.parametrize(
    ("column", "place"),
    [("0", 0), ("3", 3), ("8", 8), ("9", 8)],
    ids=["first", "middle", "last", "by number"],
)
def test_a_column_of_counted_ones_is_the_labels_by_its_name(tmp_path: Path, column: str, place: int) -> None:
    rows = np.insert(WHOLE, place, np.arange(12) % 3, axis=1)
    data = loaded(tmp_path / "x.csv", f"0,1,2,3,4,5,6,7,8\n{lines(rows)}", column)
    np.testing.assert_array_equal(data.arrays["data"], WHOLE.astype(np.float32))
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 2] * 4


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (",0\n0,2\n1,0\n2,1\n", [2, 0, 1]),
        ("Unnamed: 0,kind\n0,b\n1,a\n2,b\n", [1, 0, 1]),
        ("0,1,2\n1,0,0\n0,0,1\n0,1,0\n", [[1, 0, 0], [0, 0, 1], [0, 1, 0]]),
        ("0\n1.0\n0.0\n1.0\n", [1, 0, 1]),
    ],
)
def test_labels_that_pandas_writes(tmp_path: Path, text: str, labels: list[object]) -> None:
    (tmp_path / "y.csv").write_text(text)
    (tmp_path / "x.csv").write_text("0.5\n0.25\n0.75\n")
    files = DataFiles(tmp_path / "x.csv", tmp_path / "y.csv")
    data = load_dataset(files, Stage.CALIBRATE, tmp_path)
    assert data.labels is not None
    assert data.labels.tolist() == labels


@pytest.mark.parametrize("text", ["0\n1\n2\n3\n", "0,1\n0,1\n1,0\n1,0\n"])
def test_one_row_of_labels_too_many_is_refused_where_it_may_be_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "y.csv").write_text(text)
    (tmp_path / "x.csv").write_text("0.5\n0.25\n0.75\n")
    with pytest.raises(ConverterError, match="4 labels for 3 samples") as caught:
        load_dataset(DataFiles(tmp_path / "x.csv", tmp_path / "y.csv"), Stage.CALIBRATE, tmp_path)
    assert caught.value.reason is FailureReason.LABELS_MISMATCH
