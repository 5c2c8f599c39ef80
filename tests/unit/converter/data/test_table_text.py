"""Tables as other countries and programs write them, and JSON that is given for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.errors import ConverterError

ROWS = np.random.default_rng(0).normal(size=(40, 3)).round(3).tolist()


def loaded(path: Path, text: str, column: str | None = None) -> Dataset:
    path.write_text(text)
    return load_dataset(DataFiles(path, None, column), Stage.CALIBRATE, path.parent)


def refusal(path: Path, text: str) -> ConverterError:
    with pytest.raises(ConverterError) as caught:
        loaded(path, text)
    assert caught.value.reason is FailureReason.DATA_UNREADABLE
    return caught.value


@pytest.mark.parametrize(
    ("delimiter", "decimal"),
    [
        *((delimiter, ".") for delimiter in [",", ";", "\t", "|", " ", "   ", " \t "]),
        *((delimiter, ",") for delimiter in [";", "\t", "|", " ", "   ", " \t "]),
    ],
)
@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("suffix", [".csv", ".txt", ""])
def test_cells_and_decimals_are_told_apart(
    tmp_path: Path, delimiter: str, header: bool, decimal: str, suffix: str
) -> None:
    text = f"{delimiter.join(['alpha', 'b', 'c'])}\n" if header else ""
    text += "".join(delimiter.join(str(v).replace(".", decimal) for v in row) + "\n" for row in ROWS)
    data = loaded(tmp_path / f"x{suffix}", text)
    np.testing.assert_array_equal(data.arrays["data"], np.float32(ROWS))
    assert ("decimal commas" in "".join(data.notes)) == (decimal == ",")


@pytest.mark.parametrize("delimiter", [" ", ",", ";"])
@pytest.mark.parametrize("header", ["", "a b c"])
def test_what_numpy_writes_is_read(tmp_path: Path, delimiter: str, header: str) -> None:
    path = tmp_path / "x.txt"
    np.savetxt(path, ROWS, delimiter=delimiter, header=header.replace(" ", delimiter))
    data = load_dataset(DataFiles(path), Stage.CALIBRATE, tmp_path)
    np.testing.assert_array_equal(data.arrays["data"], np.float32(ROWS))


def test_labels_have_decimal_commas_too(tmp_path: Path) -> None:
    data = loaded(tmp_path / "x.csv", "a;y\n1,5;0,25\n2,5;0,5\n", "y")
    assert data.arrays["data"].tolist() == [[1.5], [2.5]]
    assert data.labels is not None
    assert data.labels.tolist() == [0.25, 0.5]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1,5;2.5\n3,5;4.5\n", "some numbers have decimal commas and others decimal points"),
        ("a;b\n1.234,5;2,5\n", "without a sign between thousands"),
        ("0,126,-0,041\n1,5,-0,25\n", "divide both the cells and the decimals"),
        ("0,5,1,041\n1,5,2,25\n", "divide both the cells and the decimals"),
        ("1,5,2\n3,4\n", "no commas within numbers"),
    ],
)
def test_mixtures_are_refused_with_what_to_change(tmp_path: Path, text: str, says: str) -> None:
    assert says in refusal(tmp_path / "x.csv", text).message


def test_whole_numbers_between_commas_are_columns(tmp_path: Path) -> None:
    assert loaded(tmp_path / "x.csv", "10,5,7,41\n1,5,2,25\n").arrays["data"].shape == (2, 4)
