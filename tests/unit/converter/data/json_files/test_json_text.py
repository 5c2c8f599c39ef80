"""JSON is no format of data: it is called so, and the command that is given makes data of it."""

from __future__ import annotations

import gzip
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.errors import ConverterError

STAGE = Stage.CALIBRATE
ROWS = [[1.5, -2.0, 3.25], [0.0, 4.0, -1e-3], [7.0, 8.0, 9.0]]
NAMES = list("abc")
RECORDS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
TEXTS = ["low", "high, or so", "low"]
LABELLED = [{**record, "label": text} for record, text in zip(RECORDS, TEXTS, strict=True)]
COLUMNS = [list(column) for column in zip(*ROWS, strict=True)]


def lines(documents: list[object]) -> str:
    return "\n".join(map(json.dumps, documents)) + "\n"


def refusal(path: Path, text: str) -> ConverterError:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    with pytest.raises(ConverterError) as caught:
        load_dataset(DataFiles(path), STAGE, path.parent / "unpacked")
    assert caught.value.reason is FailureReason.DATA_UNREADABLE
    return caught.value


def made(path: Path, text: str, label_column: str | None = None) -> Dataset:
    """Return the data that the printed command makes of ``text``."""
    found = refusal(path, text)
    assert "it holds JSON, not a table" in found.message
    before = set(path.parent.iterdir())
    words = shlex.split(found.hint.partition(": ")[2])
    assert words[0] == "python3"
    subprocess.run([sys.executable, *words[1:]], check=True)
    (file,) = set(path.parent.iterdir()) - before
    return load_dataset(DataFiles(file, label_column=label_column), STAGE, path.parent)


def test_the_command_makes_data_of_every_form(tmp_path: Path) -> None:
    """In one test: each form starts a Python."""
    shuffled = [RECORDS[0], *(dict(reversed(record.items())) for record in RECORDS[1:])]
    forms = [
        json.dumps(ROWS, indent=1),
        lines(ROWS),
        json.dumps({"data": ROWS}, indent=4),
        json.dumps({"data": {"x": ROWS}}),
        json.dumps(shuffled),
        lines(RECORDS),
        json.dumps({"columns": NAMES, "index": [0, 1, 2], "data": ROWS}),
        json.dumps(dict(zip(NAMES, COLUMNS, strict=True))),
        json.dumps({name: dict(enumerate(column)) for name, column in zip(NAMES, COLUMNS, strict=True)}),
    ]
    for number, text in enumerate(forms):
        folder = tmp_path / str(number)
        folder.mkdir()
        (array,) = made(folder / "x.json", text).arrays.values()
        np.testing.assert_array_equal(array, ROWS, err_msg=text)


@pytest.mark.parametrize("name", ["x.csv", "my data's $HOME.txt", "x.json.gz"])
def test_the_command_names_the_file_that_was_given(tmp_path: Path, name: str) -> None:
    (array,) = made(tmp_path / name, json.dumps(ROWS)).arrays.values()
    np.testing.assert_array_equal(array, ROWS)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(LABELLED),
        json.dumps({"columns": [*NAMES, "label"], "data": [list(row.values()) for row in LABELLED]}),
    ],
)
def test_text_among_the_numbers_becomes_a_table(tmp_path: Path, text: str) -> None:
    data = made(tmp_path / "x.json", text, "label")
    np.testing.assert_array_equal(data.arrays["data"], np.float32(ROWS))
    assert data.class_names == ("high, or so", "low")
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0, 1]


def test_samples_and_labels_stay_together(tmp_path: Path) -> None:
    rows = [{"x": row, "y": label} for row, label in zip(ROWS, [2, 0, 1], strict=True)]
    data = made(tmp_path / "x.jsonl", lines(list(rows)))
    np.testing.assert_array_equal(data.arrays["x"], ROWS)
    assert data.labels is not None
    assert data.labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[1, 2, 3", "is damaged or truncated"),
        ('{"a": [1, 2], "b', "is damaged or truncated"),
        ("[[1, 2], [3]]", "rows have different lengths"),
        ('{"format": "layers-model", "n": 3}', "rows have different lengths, or are no numbers"),
        ('{"x": [[1, 2], [3]], "y": [0, 1]}', "rows have different lengths"),
        (json.dumps([{"x": [1, 2]}, {"x": [1]}]), "rows have different lengths"),
    ],
)
def test_what_no_command_helps(tmp_path: Path, text: str, says: str) -> None:
    found = refusal(tmp_path / "x.json", text)
    assert says in found.message
    assert "python3" not in found.message


def test_a_command_is_never_cut(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["a long name of a folder" * 4] * 6)
    folder.mkdir(parents=True)
    assert "python3" not in refusal(folder / "x.json", json.dumps(ROWS)).message
