"""The C source of a file: compiled by a real compiler, it holds the file's bytes, aligned."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.fields.compilers import Microcontroller
from support.converter.tflite_files import O, T, tflite
from tflite_converter.compilers.c_source import identifier, resolver_methods, source
from tflite_converter.compilers.microcontroller import prepare
from tflite_converter.targets.operators import TFLITE_MICRO
from tflite_converter.tflite.file import read_file

runtime = pytest.importorskip("tflite_micro", reason="there is no package for this machine").runtime

ROW = T("row", (1, 4), scales=[0.1], zero_points=[0])
PROGRAM = """
#include "{header}"
#include <cstdint>
#include <cstdio>
struct Resolver {{
  int added = 0;
  int AddLogistic() {{ return ++added; }}
  int AddTanh() {{ return ++added; }}
}};
int main() {{
  Resolver resolver;
  {name}::AddOperators(resolver);
  bool aligned = reinterpret_cast<std::uintptr_t>({name}::kModel) % 16 == 0;
  std::fprintf(stderr, "%d %u %zu %d\\n", resolver.added, {name}::kOperators, {name}::kArenaBytes, aligned);
  std::fwrite({name}::kModel, 1, {name}::kModelBytes, stdout);
}}
"""


def chain(*names: str) -> bytes:
    tensors = [ROW] * (len(names) + 1)
    operators = [O(name, (i,), (i + 1,)) for i, name in enumerate(names)]
    return tflite(tensors, operators, outputs=(len(names),))


@pytest.mark.parametrize("stem", ["gesture_int8", "3d-model_int8"])
def test_a_compiler_takes_it_and_the_program_holds_the_file(stem: str, tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    content = chain("TANH", "LOGISTIC", "TANH")
    file = read_file(content, f"{stem}.tflite")
    for name, text in source(content, file, 4096, "0" * 64).items():
        (tmp_path / name).write_bytes(text)
    main = tmp_path / "main.cc"
    main.write_text(PROGRAM.format(header=f"{stem}.h", name=identifier(stem)))
    binary = tmp_path / "program"
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run(
        ["g++", *flags, "-o", str(binary), str(main), str(tmp_path / f"{stem}.cc")],  # noqa: S607 - from the PATH
        check=True,
        timeout=120,
    )
    ran = subprocess.run([str(binary)], check=True, capture_output=True, timeout=60)
    assert ran.stdout == content
    assert ran.stderr.split() == [b"2", b"2", b"4096", b"1"]


@given(st.text(max_size=40))
def test_any_name_becomes_an_identifier(name: str) -> None:
    made = identifier(name)
    assert made.isidentifier()
    assert made.isascii()


def test_every_operator_that_tflite_micro_has_becomes_a_method() -> None:
    """Their names are those of ``micro_mutable_op_resolver.h``; the unusual ones are spelled out here."""
    methods = dict(
        zip(
            sorted(TFLITE_MICRO),
            (resolver_methods(read_file(chain(name), "m.tflite"))[0] for name in sorted(TFLITE_MICRO)),
            strict=True,
        )
    )
    assert all(method.startswith("Add") and method.isalnum() for method in methods.values())
    unusual = {
        "CONV_2D": "AddConv2D",
        "L2_POOL_2D": "AddL2Pool2D",
        "BATCH_MATMUL": "AddBatchMatMul",
        "CUMSUM": "AddCumSum",
        "RELU6": "AddRelu6",
        "SPLIT_V": "AddSplitV",
        "GATHER_ND": "AddGatherNd",
        "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
        "ARG_MAX": "AddArgMax",
    }
    assert {name: methods[name] for name in unusual} == unusual


def test_what_tflite_micro_does_not_have_fails(tmp_path: Path) -> None:
    content = chain("TOPK_V2")
    report = prepare(content, read_file(content, "m_int8.tflite"), Microcontroller(), tmp_path)
    assert not report.passed
    assert "TOPK_V2: TFLite Micro has no kernel" in (report.message or "")


@pytest.mark.parametrize(("room", "passes"), [(0, True), (-1, False)])
def test_the_arena_is_a_gate(tmp_path: Path, room: int, passes: bool) -> None:
    content = chain("RELU")
    file = read_file(content, "m_int8.tflite")
    taken = prepare(content, file, Microcontroller(c_array=False), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert (taken.has_source, taken.files) == (False, ())
    limit = Microcontroller(max_arena_bytes=taken.arena_bytes + room)
    report = prepare(content, file, limit, tmp_path)
    assert report.passed is passes
    assert passes or "the arena takes about" in (report.message or "")
    assert {f.file_name for f in report.files} == {"m_int8.cc", "m_int8.h"}


def test_the_arena_suffices_for_the_real_interpreter(tmp_path: Path) -> None:
    content = chain("RELU", "RELU6")
    report = prepare(content, read_file(content, "m_int8.tflite"), Microcontroller(), tmp_path)
    runtime.Interpreter.from_bytes(content, arena_size=report.arena_bytes).invoke()
