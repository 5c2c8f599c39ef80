"""Tables as R, spreadsheets, instruments and people write them: read rightly, or refused with the cause."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.errors import ConverterError

ROWS = [[1.5, 2.0], [3.0, 4.5]]


def loaded(path: Path, text: str, column: str | None = None, labels: str | None = None) -> Dataset:
    path.write_text(text)
    if labels is None:
        return load_dataset(DataFiles(path, None, column), Stage.EVALUATE, path.parent)
    beside = path.with_name("y.csv")
    beside.write_text(labels)
    return load_dataset(DataFiles(path, beside, column), Stage.EVALUATE, path.parent)


def failure(path: Path, text: str, column: str | None = None, labels: str | None = None) -> ConverterError:
    with pytest.raises(ConverterError) as caught:
        loaded(path, text, column, labels)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        "# made by an instrument\n# on a day\na,b\n1.5,2\n3,4.5\n",
        "# made by an instrument\n#\n1.5,2\n3,4.5\n",
        "# made by x, on a day\na,b\n1.5,2\n3,4.5\n",
        "# made by x\n# a b\n1.5 2\n3 4.5\n",  # numpy.savetxt with a header of two lines
        "#a,b\n1.5,2\n3,4.5\n",
        "".join(f"# {i}\n" for i in range(50)) + "a,b\n1.5,2\n3,4.5\n",
        "sep=;\na;b\n1,5;2\n3;4,5\n",
        '"sep=,"\n\na,b\n1.5,2\n3,4.5\n',
        "a,b,\n1.5,2,\n3,4.5,\n",
        "a,b\n1.5,2,\n3,4.5,\n",
        "1.5,2,\n3,4.5,\n",
        "1.5;2;\n3;4.5;\n",
        '"a" "b"\n"1" 1.5 2\n"2" 3 4.5\n',  # write.table
        '"a","b"\n"Mazda RX4",1.5,2\n"Fiat 128",3,4.5\n',
        '"a", "b"\n"1.5", 2\n3, "4.5"\n',
        "a,b\n1.5,2\n3,4.5\n,\n,\n",
    ],
)
def test_what_stands_around_the_numbers_is_left_out(tmp_path: Path, text: str) -> None:
    assert loaded(tmp_path / "x.csv", text).arrays["data"].tolist() == ROWS


@pytest.mark.parametrize(
    ("text", "column", "labels"),
    [
        ("# a b y\n1.5 2 1\n3 4.5 0\n", "y", [1, 0]),
        ("# made\n#a,b,y\n1.5,2,1\n3,4.5,0\n", "y", [1, 0]),
        ('"a" "b" "y"\n"1" 1.5 2 "u"\n"2" 3 4.5 "t"\n', "y", [1, 0]),
        ('"y", "a", "b"\n"u", 1.5, 2\n"t", 3, 4.5\n', "y", [1, 0]),
        ("#ff8800,1.5,2\n#000000,3,4.5\n", "1", [1, 0]),
        ("y,a,b,\n1,1.5,2,\n0,3,4.5,\n", "y", [1, 0]),
    ],
)
def test_labels_are_found_in_such_tables(tmp_path: Path, text: str, column: str, labels: list[int]) -> None:
    data = loaded(tmp_path / "x.csv", text, column)
    assert data.arrays["data"].tolist() == ROWS
    assert data.labels is not None
    assert data.labels.tolist() == labels


@pytest.mark.parametrize("cell", ["NA", "", "?", "#N/A", "#DIV/0!", "null", "None", "-", "<NA>", "."])
@pytest.mark.parametrize(
    ("row", "place"), [("1.5,{},2", 2), ("{},1,2", 1), ("1,{},2", 2), ("1,2,{}", 3), ("{},{},2", 1)]
)
def test_a_first_sample_without_a_value_is_no_header(tmp_path: Path, cell: str, row: str, place: int) -> None:
    found = failure(tmp_path / "x.csv", f"{row.replace('{}', cell)}\n3,4.5,1\n5,6,2.5\n")
    assert found.reason is FailureReason.DATA_UNREADABLE
    assert f"line 1, column '{place}'" in found.message
    assert "a value is missing" in found.message


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("2.O", "write the number alone"),
        ("5%", "write the number alone"),
        ("$5", "write the number alone"),
        ("\u22121.5", "- before a negative one"),
        ("TRUE", "write 1 for true"),
        ("2020-01-01", "dates"),
        ("10:15:00", "dates"),
        ('"1,234.5"', "thousands"),
        ("1\u202f234.5", "thousands"),
    ],
)
def test_a_first_sample_with_a_cell_that_is_no_number_is_no_header(
    tmp_path: Path, cell: str, says: str
) -> None:
    found = failure(tmp_path / "x.csv", f"1.5,{cell},2\n3,4.5,1\n")
    assert "line 1, column '2'" in found.message
    assert says in found.message


@pytest.mark.parametrize(
    "header",
    ["a,,2019", "label,0,1", "1st,2nd,3", "NA,EU,2019", ",0,1", "2020-01-01,2020-01-02,y", ",,", "NA,?,-"],
)
def test_a_header_with_numbers_or_empty_names_stays_one(tmp_path: Path, header: str) -> None:
    data = loaded(tmp_path / "x.csv", f"{header}\n0,4.5,1\n1,6,2.5\n")
    assert data.count == 2


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("t,v\ns,V\n1,2\n", None, "leave one row of names above the numbers"),
        ("a,b\n1,2\n# later\n3,4\n", None, "line 3 is a comment"),
        ("a,b,\n1,2,\n3,4,5\n", None, "line 2, column '' is empty"),
        ("# x\n# y\na,b\n1,2\n3,z\n", None, "line 5, column 'b'"),  # comments count as lines
        ('"a" "b" "y"\n"1" 1.5 2 0\n"2" 3 4.5 1\n', "3", "may be two columns"),
        ('"a" "b"\n"1" 1.5 2\n"2" 3\n', None, "cell"),
        ("# nothing\n", None, "it holds no row"),
    ],
)
def test_refusals_name_the_cause(tmp_path: Path, text: str, column: str | None, says: str) -> None:
    assert says in failure(tmp_path / "x.csv", text, column).message


def test_a_row_without_its_name_is_not_taken_for_one_with_it(tmp_path: Path) -> None:
    rows = "".join(f'"{i}" {i} 2.5\n' for i in range(40))
    assert "line 42 has 2 cells, expected 3" in failure(tmp_path / "x.csv", f'"a" "b"\n{rows}7 8\n').message


SIX = "".join(f"{i},{i}.5\n" for i in range(6))


@pytest.mark.parametrize(
    ("labels", "values", "names"),
    [
        (
            "hot dog\nice cream\nhot dog\ntea\nice cream\ntea\n",
            [0, 1, 0, 2, 1, 2],
            ("hot dog", "ice cream", "tea"),
        ),
        ("class 1\nclass 2\n" * 3, [0, 1] * 3, ("class 1", "class 2")),
        ("kind of\nclass 1\nclass 2\n" + "class 1\nclass 2\n" * 2, [0, 1] * 3, ("class 1", "class 2")),
        ("#sad\n#glad\n" * 3, [1, 0] * 3, ("#glad", "#sad")),
        ("# labels\n# made\n" + "0\n1\n" * 3, [0, 1] * 3, ()),
        ('"x"\n"1" 0\n"2" 1\n"3" 0\n"4" 1\n"5" 0\n"6" 1\n', [0, 1] * 3, ()),
        ("0,\n1,\n" * 3, [0, 1] * 3, ()),
        ("a,b\n" + "True,False\nFalse,True\n" * 3, [[1, 0], [0, 1]] * 3, ()),
        ("1 0\n0 1\n" * 3, [[1, 0], [0, 1]] * 3, ()),
    ],
)
def test_labels_as_text(tmp_path: Path, labels: str, values: list[object], names: tuple[str, ...]) -> None:
    data = loaded(tmp_path / "x.csv", SIX, labels=labels)
    assert data.labels is not None
    assert data.labels.tolist() == values
    assert data.labels.dtype == np.int64
    assert data.class_names == names


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ("label\n0\n1\n2\n0\n1\n", "5 labels for 6 samples"),  # not a class called label
        ("label\n0\n\n1\n2\n0\n1\n", "5 labels for 6 samples"),
        ("0\nNA\n2\n0\n1\n2\n", "line 2: the label 'NA' stands for a missing one"),
        ("0\n?\n2\n0\n1\n2\n", "line 2: the label '?' stands for a missing one"),
        ("0,1,2,0,1,2\n", "a column for each of the 6 samples"),
        ("-1\n1\n" * 3, "0 and 1 for -1 and 1"),
    ],
)
def test_labels_as_text_that_cannot_be_right(tmp_path: Path, labels: str, says: str) -> None:
    found = failure(tmp_path / "x.csv", SIX, labels=labels)
    assert found.reason is FailureReason.LABELS_MISMATCH
    assert says in found.message
