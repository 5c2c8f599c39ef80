"""How long each operator takes: what LiteRT's profiler says, and how it is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.reports.board import MOST_OPERATORS, FileProfile
from support.converter.tflite_files import O, T, dense, running_sum, tflite
from tflite_converter.measuring.profile import read_summary

_COLUMNS = "  [node type]  [start]  [first]  [avg ms]  [%]  [cdf%]  [mem KB]  [times called]  [Name]\n"
HEAD = f"===== Run Order =====\n{_COLUMNS}"
TAIL = "\nTimings (microseconds): count=3 first=400 curr=500 min=1 max=2\n"

_PROFILE = """
import sys
import numpy as np
from pathlib import Path
from modelconversion_api.reports.board import FileProfile
from tflite_converter.measuring.profile import profile
sample = {"x": np.load(sys.argv[2])}
found = profile(Path(sys.argv[1]).read_bytes(), sample, threads=1, runs=40)
print(FileProfile(operators=found).model_dump_json(by_alias=True))
"""


def profiled(folder: Path, content: bytes, sample: np.ndarray) -> FileProfile:
    """Of a process of its own, as it is meant to be."""
    (folder / "m.tflite").write_bytes(content)
    np.save(folder / "x.npy", sample)
    command = [sys.executable, "-c", _PROFILE, folder / "m.tflite", folder / "x.npy"]
    return FileProfile.model_validate_json(subprocess.run(command, capture_output=True, check=True).stdout)


def row(kind: str, share: str, calls: int, name: str = "[Builtin]:0") -> str:
    times = "0.000      0.009      0.010"
    return f"      {kind}      {times}    {share}%    50.000%      0.000      {calls}   {name}\n"


def test_each_operator_has_a_row_with_who_ran_it_and_its_part(tmp_path: Path) -> None:
    wide, weights = 2048, np.ones((2048, 2048), np.float32).tobytes()
    content = tflite(
        [
            T("x", (1, wide), "FLOAT32"),
            T("y", (1, wide), "FLOAT32"),
            T("w", (wide, wide), "FLOAT32", weights),
            T("h", (1, wide), "FLOAT32"),
        ],
        [O("FULLY_CONNECTED", (0, 2, -1), (3,)), O("SIGN", (3,), (1,))],
    )
    found = {
        each.operator: each for each in profiled(tmp_path, content, np.ones((1, wide), np.float32)).operators
    }
    layer, sign = found["Fully Connected (NC, F32) GEMM"], found["SIGN"]
    assert (layer.by, sign.by, layer.calls) == ("XNNPACK", "LiteRT", 1)
    # Four million multiplications are a millisecond or so, and are counted.
    assert layer.millis > 0
    assert sum(each.share for each in found.values()) == pytest.approx(1, abs=1e-3)
    assert layer.millis / layer.share == pytest.approx(sum(each.millis for each in found.values()), rel=0.01)


def test_names_of_a_signature_and_variables(tmp_path: Path) -> None:
    sample = np.ones((1, 4), np.float32)
    assert profiled(tmp_path, dense(), sample).operators
    kinds = {each.operator for each in profiled(tmp_path, running_sum(), sample).operators}
    assert {"CALL_ONCE", "Add (ND)"} <= kinds  # XNNPACK takes the variables along


def test_what_is_said_becomes_figures_of_one_inference() -> None:
    text = HEAD + row("Delegate/Add (ND)", "60.000", 5, "[Delegate]:0") + row("WHILE", "40.000", 20) + TAIL
    first, second = read_summary(text, runs=5)
    # 500 microseconds in all, of 5 runs.
    assert (first.operator, first.by, first.calls, first.millis, first.share) == (
        "Add (ND)",
        "XNNPACK",
        1,
        0.06,
        0.6,
    )
    assert (second.operator, second.by, second.calls, second.millis, second.share) == (
        "WHILE",
        "LiteRT",
        4,
        0.04,
        0.4,
    )


def test_other_sections_are_not_read_and_the_list_has_an_end() -> None:
    text = (
        HEAD + row("ADD", "1.0", 1) * (MOST_OPERATORS + 5) + "===== Top =====\n" + row("ADD", "1.0", 1) + TAIL
    )
    assert len(read_summary(text, 1)) == MOST_OPERATORS


@pytest.mark.parametrize("text", ["", HEAD, HEAD + row("ADD", "100.0", 1), HEAD + TAIL, "Run Order" + TAIL])
def test_what_says_nothing_is_no_profile(text: str) -> None:
    with pytest.raises(RuntimeError, match="says nothing of the file's operators"):
        read_summary(text, 1)
