"""The arena estimate against what the real interpreter of TFLite Micro takes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.converter.tflite_files import O, T, ints, tflite
from support.paths import PUBLISHED_MODELS
from tflite_converter.compilers.arena import ALIGNMENT, Buffer, estimate, layout
from tflite_converter.tflite.file import read_file

buffers = st.lists(
    st.builds(
        lambda size, first, length: Buffer(size * ALIGNMENT, first, first + length),
        st.integers(1, 40),
        st.integers(0, 12),
        st.integers(0, 6),
    ),
    max_size=14,
)

runtime = pytest.importorskip("tflite_micro", reason="there is no package for this machine").runtime


@given(buffers)
def test_what_is_needed_at_the_same_time_never_overlaps(given_buffers):
    placed = list(zip(layout(given_buffers), given_buffers, strict=True))
    for i, (start, one) in enumerate(placed):
        assert start >= 0
        for other_start, other in placed[:i]:
            together = one.first <= other.last and other.first <= one.last
            apart = start + one.size <= other_start or other_start + other.size <= start
            assert apart or not together


@given(buffers)
def test_a_layout_takes_no_more_than_all_and_no_less_than_the_most_at_a_time(given_buffers):
    taken = max((at + b.size for at, b in zip(layout(given_buffers), given_buffers, strict=True)), default=0)
    at_a_time = [sum(b.size for b in given_buffers if b.first <= t <= b.last) for t in range(20)]
    assert max(at_a_time) <= taken <= sum(b.size for b in given_buffers)


def network(seed: int) -> bytes:
    """Dense layers of random widths, the later ones sometimes on an earlier and the last output together."""
    generator = np.random.default_rng(seed)
    tensors = [T("x", (1, int(generator.integers(1, 80))), scales=[0.1], zero_points=[0])]
    operators: list[O] = []
    values = [0]

    def add(tensor: T) -> int:
        tensors.append(tensor)
        return len(tensors) - 1

    for step in range(int(generator.integers(2, 9))):
        source = values[-1]
        if len(values) > 2 and generator.random() < 0.4:
            other = int(generator.choice(values[:-1]))
            width = tensors[source].shape[1] + tensors[other].shape[1]
            joined = add(T(f"joined{step}", (1, width), scales=[0.1], zero_points=[0]))
            operators.append(O("CONCATENATION", (source, other), (joined,), options={"axis": 1}))
            source = joined
        units, inputs = int(generator.integers(1, 80)), tensors[source].shape[1]
        weights = add(
            T(f"w{step}", (units, inputs), data=bytes(units * inputs), scales=[0.1], zero_points=[0])
        )
        bias = add(T(f"b{step}", (units,), "INT32", data=ints(*[0] * units), scales=[0.01], zero_points=[0]))
        output = add(T(f"y{step}", (1, units), scales=[0.1], zero_points=[0]))
        operators.append(O("FULLY_CONNECTED", (source, weights, bias), (output,)))
        values.append(output)
    return tflite(tensors, operators, outputs=(values[-1],))


def taken(content: bytes, capfd: pytest.CaptureFixture[str]) -> dict[str, int]:
    """What the interpreter says that it took: ``head`` are the activations, ``tail`` its tables."""
    runtime.Interpreter.from_bytes(content).print_allocations()
    said = re.findall(r"Arena allocation (total|head|tail) (\d+) bytes", "".join(capfd.readouterr()))
    return {name: int(size) for name, size in said}


@pytest.mark.parametrize("seed", range(20))
def test_the_activations_are_laid_out_as_the_planner_does_and_the_tables_are_no_larger(seed, capfd):
    content = network(seed)
    found, real = estimate(read_file(content, "m.tflite")), taken(content, capfd)
    assert found.activation_bytes == real["head"]
    assert real["tail"] <= found.table_bytes <= 1.3 * real["tail"] + 512


@pytest.mark.parametrize("name", ["vww_96_int8", "ad01_int8"])
def test_published_models(name, capfd):
    path = PUBLISHED_MODELS / f"{name}.tflite"
    if not path.is_file():
        pytest.skip("the MLPerf Tiny models are not here")
    content = path.read_bytes()
    found, real = estimate(read_file(content, path.name)), taken(content, capfd)
    assert found.activation_bytes == real["head"]
    assert real["total"] <= found.total_bytes <= 1.05 * real["total"]


def test_a_tensor_that_nobody_makes_is_kept_beside_the_activations():
    row = T("row", (1, 4), scales=[0.1], zero_points=[0])
    state = T("state", (1, 1000), scales=[0.1], zero_points=[0])
    plain = estimate(read_file(tflite([row, row, state], [O("TANH", (0,), (1,))]), "m.tflite"))
    kept = estimate(read_file(tflite([row, row, state], [O("TANH", (0, 2), (1,))]), "m.tflite"))
    assert kept.activation_bytes == plain.activation_bytes
    assert kept.table_bytes - plain.table_bytes == 1008
