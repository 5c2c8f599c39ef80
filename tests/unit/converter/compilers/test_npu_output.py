"""What is read in lines of LiteRT's program and of the compilers behind it; they are as they were seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflite_converter.compilers.npu_output import complaint, read_output, reason_of, refused_kinds

PARTITIONED = (
    "INFO: [compiler_plugin.cc:742] Partitioned subgraph<{}>, selected {} ops, from a total of {} ops."
    " resulted in {} partitions.\n"
)
DATATYPES = (
    "     0.0ms [ ERROR ]   <E> Unsupported input/output datatypes requested for the HTP Op 'DepthWiseConv2d'"
    " in the node 'DepthWiseConv2d_2'. There is a mismatch for the combination of inputs and outputs.\n"
)


def test_the_figures_of_a_run_are_those_of_all_subgraphs():
    text = (
        "INFO: [compiler_plugin.cc:948] Applying plugin with SDK version: v2.50.40.260831140417\n"
        + PARTITIONED.format(0, 7, 8, 2)
        + PARTITIONED.format(1, 3, 5, 1)
        + "INFO: [qnn_manager.cc:408] Serialized a context bin of size (bytes): 50272\n"
        + "[LITERT_TOOLS:APPLY] Serialized a model of size 98216 bytes\n"
    )
    found = read_output(text)
    assert (found.operators, found.selected, found.partitions) == (13, 10, 3)
    assert (found.size_bytes, found.sdk, found.unloaded) == (98216, "v2.50.40.260831140417", None)


def test_a_run_that_says_nothing_has_no_figures():
    found = read_output("[LITERT_TOOLS:APPLY] Starting Load Model...\n")
    assert (found.operators, found.selected, found.partitions, found.size_bytes) == (None, None, None, None)


@pytest.mark.parametrize(
    ("text", "library"),
    [
        (
            "└ Could not load shared library /a/libP.so: libQnnHtp.so: cannot open shared object file: No\n",
            "libQnnHtp.so: cannot open shared object file",
        ),
        (
            "└ Could not load shared library /a/libP.so: /a/libP.so: undefined symbol: _ZN11flatbuffers.\n",
            "undefined symbol: _ZN11flatbuffers",
        ),
        (
            'Cannot load library "/x/libs/libopenvino_intel_npu_compiler_loader.so": /x/libs/libopenvino',
            "libopenvino_intel_npu_compiler_loader.so",
        ),
        (
            "Failed to load Tensor compiler: liblitert_plugin_compiler.so: cannot open shared object file\n",
            "liblitert_plugin_compiler.so: cannot open shared object file",
        ),
        (
            "ERROR: [neuron_adapter_api.cc:65] Failed to load NeuronAdapter shared library: Failed to load\n",
            "Failed to load NeuronAdapter shared library",
        ),
        (
            "Failed to load Tensor TPU compiler library: /a/liblitert_plugin_compiler.so: file too short\n",
            "liblitert_plugin_compiler.so: file too short",
        ),
    ],
    ids=["Qualcomm", "Samsung", "Intel", "Google", "MediaTek", "damaged"],
)
def test_a_library_that_cannot_be_loaded_is_named(text, library):
    assert library in (read_output(text).unloaded or "")


def test_refused_operators_are_named_as_the_file_does():
    qualcomm = "LiteRT Op #4 'SegmentSum' (code=125) is not supported in Qualcomm Compiler.\n"
    intel = "INFO: [openvino_compiler_plugin.cc:497] op type 3 is not supported\n"
    assert refused_kinds(qualcomm + intel) == {"SEGMENT_SUM", "CONV_2D"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "     0.0ms [ ERROR ]   <E> Op Dequantize does not support per-channel quant tensor\n",
            "full-integer or the float file (Op Dequantize does not support per-channel quant tensor)",
        ),
        (
            "ERROR: [qnn_compiler_plugin.cc:101] Unexpected SoC model: SM9999\n",
            "bring a newer SDK (Unexpected SoC model: SM9999)",
        ),
        ("ERROR: [apply_plugin.cc:455] ERROR: [litert/compiler/plugin/compiler_plugin.cc:504]\n", ""),
        (
            "ERROR: [ov.cc:714] Exception in compilation: Exception from src/core.cpp:1:\nIt is too large.\n",
            "It is too large",
        ),
        ("", ""),
    ],
)
def test_a_complaint_says_what_to_do_where_that_is_known(text, words):
    assert complaint(text).endswith(words)
    assert bool(complaint(text)) is bool(words)


def test_a_reason_is_that_of_the_operator_s_own_kind():
    assert "make it full integer, in and out, or float" in (reason_of("DEPTHWISE_CONV_2D", DATATYPES) or "")
    assert reason_of("CONV_2D", DATATYPES) is None


@given(st.text())
def test_whatever_is_printed_is_read_without_an_error(text):
    found = read_output(text)
    assert found.operators is None or found.operators >= 0
    assert len(complaint(text)) < 1000
    assert refused_kinds(text) is not None
