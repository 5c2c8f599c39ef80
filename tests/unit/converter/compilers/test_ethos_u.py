"""Vela, the real compiler: what maps, what does not and why, and that its exit status is not believed."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from rich.console import Console

from modelconversion_api.fields.compilation import Compilations, EthosUReport
from modelconversion_api.fields.compilers import (
    EthosU,
    EthosUAccelerator,
    EthosUMemoryMode,
    EthosUSystem,
    system_fits,
)
from modelconversion_api.reasons import FailureReason
from support.converter.tflite_files import O, T, floats, tflite
from support.paths import PUBLISHED_MODELS
from tflite_converter.compilers.compiling import compile_alone
from tflite_converter.compilers.ethos_u import Run, report_of
from tflite_converter.compilers.options import Compilers
from tflite_converter.console.compilers import show_compilation
from tflite_converter.files.workspace import workspace
from tflite_converter.progress import ignore
from tflite_converter.tflite.file import read_file

ROW = T("row", (1, 16), scales=[0.1], zero_points=[0])
U55 = EthosU(accelerator=EthosUAccelerator.U55_128)


def chain(*names: str) -> bytes:
    tensors = [ROW] * (len(names) + 1)
    operators = [O(name, (i,), (i + 1,)) for i, name in enumerate(names)]
    return tflite(tensors, operators, outputs=(len(names),))


def compiled(content: bytes, folder: Path, options: EthosU = U55) -> EthosUReport:
    (folder / "m_int8.tflite").write_bytes(content)
    with workspace(folder / "out") as work:
        made = compile_alone(folder / "m_int8.tflite", Compilers(ethos_u=options), work, ignore)
        work.publish()
    assert made.ethos_u is not None
    return made.ethos_u


def left(folder: Path) -> set[str]:
    return {path.name for path in (folder / "out").glob("*")}


def test_a_model_that_maps_whole(tmp_path):
    report = compiled(chain("TANH", "LOGISTIC"), tmp_path)
    assert (report.passed, report.compiled, report.reason, report.message) == (True, True, None, None)
    assert (report.operators, report.mapped_operators, report.fallbacks) == (2, 2, ())
    assert (report.accelerator, report.memory_mode) == ("ethos-u55-128", "Shared_Sram")
    assert (report.compiler or "").startswith("ethos-u-vela ")
    assert report.sram_bytes
    assert float(report.inferences_per_second or 0) > 0
    (file,) = report.files
    assert (file.file_name, left(tmp_path)) == ("m_int8_vela.tflite", {"m_int8_vela.tflite"})
    content = (tmp_path / "out" / file.file_name).read_bytes()
    assert [o.name for o, _ in read_file(content, "x").operators()] == ["ethos-u"]


def test_an_operator_that_stays_on_the_cpu_has_a_reason_and_counts_against_the_gate(tmp_path):
    gate = U55.model_copy(update={"min_mapped_fraction": "0.9"})
    report = compiled(chain("TANH", "ROUND", "TANH"), tmp_path, gate)
    assert (report.compiled, report.passed, report.reason) == (True, False, None)
    assert (report.operators, report.mapped_operators) == (3, 2)
    (fallback,) = report.fallbacks
    assert (fallback.operator, fallback.count) == ("ROUND", 1)
    assert "2 of 3 operators map to ethos-u55-128, less than 90%" in (report.message or "")
    assert left(tmp_path) == {"m_int8_vela.tflite"}


def test_a_float_model_is_a_failure_although_vela_ends_well(tmp_path):
    weights = T("w", (3, 4), "FLOAT32", data=floats(*[0.5] * 12))
    content = tflite(
        [T("x", (1, 4), "FLOAT32"), T("y", (1, 3), "FLOAT32"), weights],
        [O("FULLY_CONNECTED", (0, 2), (1,))],
    )
    report = compiled(content, tmp_path)
    assert (report.compiled, report.passed, report.reason) == (False, False, FailureReason.NOTHING_MAPPED)
    assert [f.reason for f in report.fallbacks] == [
        "runs in float, and the Ethos-U in integers; make it full integer, in and out"
    ]
    assert left(tmp_path) == set()


def test_other_cores_and_memories(tmp_path):
    options = EthosU(
        accelerator=EthosUAccelerator.U85_256,
        system_config=EthosUSystem.U85_DRAM_MID,
        memory_mode=EthosUMemoryMode.DEDICATED_SRAM_384KB,
    )
    report = compiled(chain("TANH"), tmp_path, options)
    assert report.passed
    assert report.system_config == "Ethos_U85_SYS_DRAM_Mid"
    assert report.memory_mode == "Dedicated_Sram_384KB"


def test_what_vela_says_of_a_wrong_memory_is_told(tmp_path):
    options = EthosU(accelerator=EthosUAccelerator.U55_128, memory_mode=EthosUMemoryMode.DEDICATED_SRAM_384KB)
    report = compiled(chain("TANH"), tmp_path, options)
    assert (report.reason, report.compiled) == (FailureReason.COMPILATION_FAILED, False)
    assert "Vela stopped: " in (report.message or "")


@pytest.mark.parametrize(
    ("run", "content", "reason"),
    [
        (Run("RuntimeError: no", "", {}), b"", FailureReason.COMPILATION_FAILED),
        (Run(None, "", {"system_config": "x"}), b"", FailureReason.COMPILATION_FAILED),
        (Run(None, "", {"system_config": "x"}), chain("TANH"), FailureReason.NOTHING_MAPPED),
    ],
)
def test_a_run_without_a_file_that_maps_anything_is_no_success(run, content, reason):
    report = report_of(run, read_file(chain("TANH"), "m_int8.tflite"), content, U55)
    assert (report.reason, report.passed, report.files) == (reason, False, ())


@pytest.mark.parametrize("accelerator", list(EthosUAccelerator))
def test_a_system_of_another_core_is_refused_before_vela_is_asked(accelerator):
    fitting = [s for s in EthosUSystem if system_fits(accelerator, s)]
    assert fitting
    for system in EthosUSystem:
        if system in fitting:
            assert EthosU(accelerator=accelerator, system_config=system)
        else:
            with pytest.raises(ValidationError):
                EthosU(accelerator=accelerator, system_config=system)


@pytest.mark.parametrize(
    ("name", "size", "sram"), [("vww_96_int8", 83248, 74480), ("ad01_int8", 203136, 768)]
)
def test_published_models_give_what_vela_gives_by_itself(name, size, sram, tmp_path):
    path = PUBLISHED_MODELS / f"{name}.tflite"
    if not path.is_file():
        pytest.skip("the MLPerf Tiny models are not here")
    report = compiled(path.read_bytes(), tmp_path)
    assert report.mapped_operators == report.operators
    assert (report.size_bytes, report.sram_bytes) == (size, sram)


def test_a_name_in_a_model_does_not_steer_the_terminal(tmp_path, capsys):
    content = chain("TANH", "\x1b[2J\x1b[1mMyOp")
    report = compiled(content, tmp_path)
    show_compilation(Console(width=200), Compilations(ethos_u=report))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "MyOp" in shown
