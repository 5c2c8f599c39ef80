"""Where a file can run: each table's rule once broken, and once kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.methods import Target
from modelconversion_api.reports.measurements import TargetCheck
from support.converter.tflite_files import O, T, dense, floats, ints, tflite
from tflite_converter.targets.check import check_target
from tflite_converter.tflite.file import read_file

RUNTIMES = [Target.MOBILE, Target.MOBILE_ACCURACY_CRITICAL, Target.RASPBERRY_PI, Target.CLOUD]
IMAGE = T("image", (1, 8, 8, 4), scales=[0.1])
OUT = T("out", (1, 8, 8, 4), scales=[0.1])
ROW = T("row", (1, 4), scales=[0.1])


def checked(target: Target, tensors: Sequence[T], *operators: O, outside: bool = False) -> TargetCheck:
    return check_target(read_file(tflite(tensors, operators, outside=outside), "model.tflite"), target)


def weights(*shape: int, per_channel: bool = False) -> T:
    size = 1
    for side in shape:
        size *= side
    return T("weights", shape, data=bytes(size), scales=[0.1] * (shape[0] if per_channel else 1))


@pytest.mark.parametrize("target", RUNTIMES)
@pytest.mark.parametrize("name", ["TANH", "STABLEHLO_SCATTER", "TFLite_Detection_PostProcess"])
def test_litert_runs_its_builtins_whatever_the_dtype(target: Target, name: str) -> None:
    found = checked(target, [T("a", dtype="FLOAT32"), T("b", dtype="FLOAT32")], O(name))
    assert (found.suitable, found.problems) == (True, ())


@pytest.mark.parametrize("target", RUNTIMES)
@pytest.mark.parametrize(("name", "advice"), [("FlexErf", "Flex delegate"), ("MyOp", "register its kernel")])
def test_litert_lacks_custom_operators(target: Target, name: str, advice: str) -> None:
    found = checked(target, [ROW, ROW], O(name), O(name))
    assert not found.suitable
    (problem,) = found.problems
    assert problem.startswith(f"{name} (2x): ")
    assert advice in problem


def test_open_sizes_are_a_caution_for_litert_and_none_of_its_business_in_the_batch() -> None:
    opened = T("x", (1, 1, 4), open_shape=(-1, -1, 4))
    batch = T("x", (1, 1, 4), open_shape=(-1, 1, 4))
    assert "'x' is open" in checked(Target.MOBILE, [opened, ROW], O("TANH")).problems[0]
    assert checked(Target.MOBILE, [opened, ROW], O("TANH")).suitable
    assert checked(Target.MOBILE, [batch, ROW], O("TANH")).problems == ()
    for target in (Target.MICROCONTROLLER, Target.GPU, Target.EDGE_TPU):
        assert not checked(target, [opened, ROW], O("TANH")).suitable
        assert checked(target, [batch, ROW], O("TANH")).suitable


@pytest.mark.parametrize(
    ("tensors", "operator", "problem"),
    [
        ([ROW, ROW], O("TANH"), None),
        ([ROW, ROW], O("TOPK_V2"), "TOPK_V2: TFLite Micro has no kernel"),
        ([ROW, ROW], O("FlexErf"), "FlexErf: TFLite Micro has no kernel"),
        ([ROW, ROW], O("ethos-u"), None),
        (
            [T("a", dtype="FLOAT32"), ROW],
            O("QUANTIZE"),
            "1 operator runs in float: QUANTIZE; make it full integer",
        ),
        ([T("a", dtype="UINT8"), T("b", dtype="UINT8")], O("TANH"), "TANH: works on uint8"),
        ([T("a", dtype="UINT8"), ROW], O("QUANTIZE"), None),
    ],
)
def test_microcontroller(tensors: list[T], operator: O, problem: str | None) -> None:
    found = checked(Target.MICROCONTROLLER, tensors, operator)
    assert found.suitable is (problem is None)
    assert [p for p in found.problems if problem is not None and p.startswith(problem)] == list(
        found.problems
    )


def test_dense_weights_by_channel_are_a_caution_for_a_microcontroller() -> None:
    by_channel = checked(
        Target.MICROCONTROLLER, [ROW, ROW, weights(4, 4, per_channel=True)], O("FULLY_CONNECTED", (0, 2))
    )
    by_tensor = checked(Target.MICROCONTROLLER, [ROW, ROW, weights(4, 4)], O("FULLY_CONNECTED", (0, 2)))
    assert (by_channel.suitable, by_tensor.suitable) == (True, True)
    assert [("FULLY_CONNECTED" in p, "by tensor" in p) for p in by_channel.problems] == [(True, True)]
    assert by_tensor.problems == ()


@pytest.mark.parametrize("target", list(Target))
def test_constants_behind_the_flatbuffer(target: Target) -> None:
    tensors = [ROW, ROW, weights(4, 4)]
    inside = checked(target, tensors, O("FULLY_CONNECTED", (0, 2)))
    outside = checked(target, tensors, O("FULLY_CONNECTED", (0, 2)), outside=True)
    assert inside.suitable
    assert outside.suitable is (target not in (Target.MICROCONTROLLER, Target.EDGE_TPU))
    (new,) = set(outside.problems) - set(inside.problems)
    assert "behind the FlatBuffer" in new


AXIS_0, AXIS_1 = T("axis", (1,), "INT32", ints(0)), T("axis", (1,), "INT32", ints(1))
STRIDES_1, STRIDES_2 = T("s", (2,), "INT32", ints(1, 1)), T("s", (2,), "INT32", ints(1, 2))
PADS = T("p", (2, 2), "INT32", ints(0, 0, 1, 1))
PADS_BATCH = T("p", (2, 2), "INT32", ints(1, 0, 0, 0))
ZEROS = T("zeros", (1, 4), data=b"\x03" * 4, scales=[0.1], zero_points=[3])
ZEROS_BY_CHANNEL = T(
    "zeros", (1, 4), data=b"\x03\xff\x00\x07", scales=[0.1] * 4, zero_points=[3, -1, 0, 7], dimension=1
)
ONES = T("ones", (1, 4), data=b"\x04" * 4, scales=[0.1], zero_points=[3])
BIAS = T("bias", (4,), "INT32", ints(1, 2, 3, 4))
RELU = 1


@pytest.mark.parametrize(
    ("tensors", "operator", "problem"),
    [
        ([ROW, ROW], O("TANH"), None),
        ([ROW, ROW], O("EXP"), "does not have it"),
        ([ROW, ROW], O("edgetpu-custom-op"), None),
        ([T("a", dtype="FLOAT32"), ROW], O("QUANTIZE"), "runs in float"),
        ([T("a", dtype="INT16"), ROW], O("TANH"), "works on int16"),
        ([T("a", dtype="INT32"), ROW], O("ADD"), "works on int32"),
        ([ROW, ROW, weights(4, 4), BIAS], O("FULLY_CONNECTED", (0, 2, 3)), None),
        (
            [ROW, ROW, weights(4, 4), BIAS],
            O("FULLY_CONNECTED", (0, 2, 3), options={"weightsFormat": 1}),
            "shuffled",
        ),
        ([ROW, T("o", (2, 4)), weights(4, 4)], O("FULLY_CONNECTED", (0, 2)), "more than one dimension"),
        ([ROW, ROW, T("computed", (4, 4))], O("FULLY_CONNECTED", (0, 2)), "a parameter is computed"),
        ([ROW, ROW, T("shape", (2,), "INT32")], O("RESHAPE", (0, 2)), "works on int32"),
        ([IMAGE, OUT, weights(4, 1, 1, 4), BIAS], O("CONV_2D", (0, 2, 3)), None),
        ([IMAGE, OUT, weights(4, 1, 1, 4)], O("CONV_2D", (0, 2), version=5), None),
        ([IMAGE, OUT, weights(4, 1, 1, 4)], O("CONV_2D", (0, 2), version=6), "version 6"),
        ([IMAGE, OUT, weights(4, 1, 1, 4)], O("CONV_2D", (0, 2), options={"dilationWFactor": 2}), "dilation"),
        ([IMAGE, OUT], O("MAX_POOL_2D"), None),
        ([IMAGE, OUT], O("MAX_POOL_2D", options={"fusedActivationFunction": RELU}), "activation fused"),
        ([T("a", (2, 8, 8, 4)), OUT], O("TANH"), "more than 3 dimensions"),
        ([T("a", (1, 1, 8, 8, 4)), OUT], O("TANH"), None),
        ([ROW, ROW, ROW], O("CONCATENATION", (0, 2)), None),
        ([ROW, ROW, ZEROS], O("CONCATENATION", (0, 2)), None),
        ([ROW, ROW, ZEROS_BY_CHANNEL], O("CONCATENATION", (0, 2)), None),
        ([ROW, ROW, ONES], O("CONCATENATION", (0, 2)), "joins a constant"),
        ([T("a", (1, 16000)), ROW], O("SOFTMAX"), None),
        ([T("a", (1, 16001)), ROW], O("SOFTMAX"), "16,000"),
        ([T("a", (1, 2, 4)), ROW], O("SOFTMAX"), "16,000"),
        ([IMAGE, OUT, AXIS_1], O("MEAN", (0, 2)), None),
        ([IMAGE, OUT, AXIS_0], O("MEAN", (0, 2)), "reduces the batch"),
        ([T("a", (1, 2, 2, 6)), OUT, T("axis", (1,), "INT32", ints(-1))], O("MEAN", (0, 2)), "multiple of 4"),
        ([ROW, OUT, ROW], O("PACK", (0, 2), options={"axis": 0}), "packs along the batch"),
        ([ROW, OUT, ROW], O("PACK", (0, 2), options={"axis": 1}), None),
        ([ROW, ROW, PADS], O("PAD", (0, 2)), None),
        ([ROW, ROW, PADS_BATCH], O("PAD", (0, 2)), "pads the batch"),
        ([ROW, ROW, AXIS_1], O("SPLIT", (2, 0)), None),
        ([ROW, ROW, AXIS_0], O("SPLIT", (2, 0)), "splits the batch"),
        ([ROW, ROW, STRIDES_1], O("STRIDED_SLICE", (0, 2, 2, 2)), None),
        ([ROW, ROW, STRIDES_1, STRIDES_2], O("STRIDED_SLICE", (0, 2, 2, 3)), "skips elements"),
        ([ROW, ROW, STRIDES_1], O("STRIDED_SLICE", (0, 2, 2, 2), options={"newAxisMask": 1}), "adds axes"),
        ([IMAGE, OUT, weights(1, 1, 4)], O("PRELU", (0, 2)), None),
        ([IMAGE, OUT, weights(8, 8, 4)], O("PRELU", (0, 2)), "shared_axes"),
        ([T("a", (1, 1, 4)), ROW], O("SQUEEZE"), None),
        ([T("a", (1, 4, 1)), T("o", (1, 4))], O("SQUEEZE"), "do not lead"),
    ],
)
def test_edge_tpu(tensors: list[T], operator: O, problem: str | None) -> None:
    found = checked(Target.EDGE_TPU, tensors, operator)
    assert found.suitable is (problem is None), found.problems
    if problem is not None:
        (told,) = found.problems
        assert told.startswith(f"{operator.name}: ")
        assert problem in told


@pytest.mark.parametrize(
    ("target", "fallback"),
    [
        (Target.EDGE_TPU, 3),  # the refused one, and what follows it
        (Target.MICROCONTROLLER, 1),
        (Target.GPU, 1),
        (Target.CLOUD, 1),
    ],
)
def test_operators_that_fall_back_are_counted(target: Target, fallback: int) -> None:
    found = checked(target, [ROW, ROW], O("TANH"), O("Unheard"), O("TANH"), O("LOGISTIC"))
    assert (found.operators, found.fallback_operators) == (4, fallback)


def test_gpu_takes_floats_as_they_are_and_says_what_integers_are_worth() -> None:
    float32 = checked(Target.GPU, [T("a", dtype="FLOAT32"), T("b", dtype="FLOAT32")], O("TANH"))
    int8 = checked(Target.GPU, [ROW, ROW], O("TANH"))
    split = checked(Target.GPU, [ROW, ROW], O("TANH"), O("TOPK_V2"))
    assert (float32.suitable, float32.problems) == (True, ())
    assert int8.suitable
    assert "save space, not time" in int8.problems[0]
    assert not split.suitable
    assert split.problems[0].startswith("TOPK_V2: the GPU delegate has no kernel")


WIDE_IN, WIDE_OUT = T("x", (1, 4), "INT16", scales=[0.1]), T("y", (1, 4), "INT16", scales=[0.1])


@pytest.mark.parametrize("target", Target)
def test_16_bit_activations(target: Target) -> None:
    found = checked(target, [WIDE_IN, WIDE_OUT, weights(4, 4)], O("FULLY_CONNECTED", (0, 2, -1), (1,)))
    assert found.suitable is (target not in (Target.EDGE_TPU, Target.GPU))
    (problem,) = found.problems
    says = {
        Target.EDGE_TPU: "works on int16",
        Target.GPU: "takes no 16-bit integers",
        Target.MICROCONTROLLER: "kernels of the common operators",
    }
    assert says.get(target, "for which XNNPACK has no kernels") in problem


@pytest.mark.parametrize("dtype", ["INT8", "INT4"])
@pytest.mark.parametrize("target", Target)
def test_weights_that_are_widened(target: Target, dtype: str) -> None:
    stored = T("stored", (4, 4), dtype, bytes(16 if dtype == "INT8" else 8), scales=[0.1, 0.2, 0.3, 0.4])
    floats_of = [T(name, (1, 4), "FLOAT32") for name in ("x", "y")]
    widened = T("weights", (4, 4), "FLOAT32")
    found = checked(
        target,
        [*floats_of, stored, widened],
        O("DEQUANTIZE", (2,), (3,)),
        O("FULLY_CONNECTED", (0, 3, -1), (1,)),
    )
    on_a_cpu = target in RUNTIMES
    assert found.suitable is on_a_cpu
    told = " ".join(found.problems)
    assert ("widened to float when the file is loaded" in told) is on_a_cpu
    assert ("Qualcomm" in told) is (target in RUNTIMES[:2])
    assert ("does not load dense layers" in told) is (target is Target.GPU)
    assert ("int4 weights with float activations" in told) is (dtype == "INT4" and target in RUNTIMES[:2])


def test_a_convolution_that_reads_4_bits_itself_is_told() -> None:
    """This converter writes none: LiteRT 1.0 computes nonsense of it."""
    tensors = [T("x", (1, 8, 8, 4), "FLOAT32"), T("y", (1, 8, 8, 4), "FLOAT32")]
    stored = T("w", (4, 1, 1, 4), "INT4", bytes(8), scales=[0.1, 0.2, 0.3, 0.4])
    found = checked(Target.CLOUD, [*tensors, stored], O("CONV_2D", (0, 2, -1), (1,)))
    assert found.suitable
    assert "LiteRT 1.0 computes nonsense" in " ".join(found.problems)


def test_a_real_float_file() -> None:
    file = read_file(dense(), "dense.tflite")
    verdicts = {target: check_target(file, target).suitable for target in Target}
    assert verdicts == {target: target not in (Target.EDGE_TPU, Target.MICROCONTROLLER) for target in Target}


def test_many_different_operators_are_counted_not_all_named() -> None:
    found = checked(Target.MICROCONTROLLER, [ROW, ROW], *(O(f"Custom{i}") for i in range(30)))
    (problem,) = found.problems
    assert "22 more" in problem
    assert len(problem) < 300


NAMES = [
    "TANH",
    "SOFTMAX",
    "MEAN",
    "PAD",
    "SPLIT",
    "PACK",
    "SQUEEZE",
    "PRELU",
    "CONCATENATION",
    "CONV_2D",
    "STRIDED_SLICE",
    "SUM",
    "RESHAPE",
    "FlexX",
]
TENSORS = [
    T("scalar", ()),
    ROW,
    IMAGE,
    T("empty", (0,), "INT32"),
    T("odd", (2,), "INT32", b"\x01\x00\x00"),
    AXIS_0,
    T("f", (2,), "FLOAT32", floats(1.0, 2.0)),
]


@given(
    st.lists(
        st.builds(
            O,
            st.sampled_from(NAMES),
            st.lists(st.integers(-1, len(TENSORS) - 1), max_size=4),
            st.lists(st.integers(0, len(TENSORS) - 1), max_size=2),
        ),
        max_size=4,
    )
)
def test_any_graph_gets_an_answer(operators: list[O]) -> None:
    """Also operators without inputs, scalars and parameters of odd length, which no converter writes."""
    for target in Target:
        found = checked(target, TENSORS, *operators)
        assert found.suitable or found.problems
