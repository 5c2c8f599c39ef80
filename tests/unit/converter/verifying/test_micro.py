"""TFLite Micro's own interpreter: what it gives, what it takes, and why it refuses a file."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from support.converter.tflite_files import O, T, ints, running_sum, tflite
from tflite_converter.arrays import Array
from tflite_converter.compilers.arena import estimate
from tflite_converter.errors import NotVerifiedError
from tflite_converter.tflite.file import read_file
from tflite_converter.verifying.micro import ABSENT, MicroModel

pytest.importorskip("tflite_micro", reason="there is no package for this machine")

SAMPLES = np.random.default_rng(0).uniform(-2, 2, (20, 8)).astype(np.float32)
ROW = T("x", (1, 8), scales=[0.02], zero_points=[3])


def integers(operator: str = "TANH") -> bytes:
    """A dense layer of int8, and one operator behind it."""
    weights = bytes((i * 37) % 256 for i in range(32))
    tensors = [
        ROW,
        T("y", (1, 4), scales=[1 / 128], zero_points=[0]),
        T("w", (4, 8), data=weights, scales=[0.01], zero_points=[0]),
        T("b", (4,), "INT32", data=ints(100, -100, 0, 7), scales=[0.0002], zero_points=[0]),
        T("h", (1, 4), scales=[0.05], zero_points=[0]),
    ]
    return tflite(tensors, [O("FULLY_CONNECTED", (0, 2, 3), (4,), version=4), O(operator, (4,), (1,))])


def by_litert(content: bytes) -> Array:
    """The same on LiteRT's kernels, with quantizing and dequantizing written out."""
    resolver = OpResolverType.BUILTIN_REF
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    given = []
    for row in SAMPLES:
        stored = np.clip(np.rint(row.astype(np.float64) / np.float32(0.02)) + 3, -128, 127).astype(np.int8)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], stored[None])
        interpreter.invoke()
        given.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0] / 128)
    return np.array(given, np.float32)


def test_it_gives_what_litert_s_reference_kernels_give() -> None:
    done: list[int] = []
    (given,) = MicroModel(integers()).run_each({"x": SAMPLES}, done.append).values()
    assert given.shape == (20, 4)
    assert np.abs(given - by_litert(integers())).max() <= 1 / 128, "one step: the kernels round differently"
    assert len({tuple(row) for row in given.tolist()}) > 10, "the samples are told apart"
    assert done == list(range(1, 21))


def test_one_tensor_that_is_given_twice_gives_each_sample_once() -> None:
    twice = tflite(
        [ROW, T("y", (1, 8), scales=[1 / 128], zero_points=[0])],
        [O("TANH")],
        outputs=(1, 1),
        signature=({"x": 0}, {"first": 1, "second": 1}),
    )
    (given,) = MicroModel(twice).run_each({"x": SAMPLES}, lambda _: None).values()
    assert given.shape == (20, 8)
    np.testing.assert_allclose(given, np.tanh(SAMPLES), atol=0.03)


def test_the_arena_is_what_the_allocator_has_recorded() -> None:
    model = MicroModel(integers())
    model.run_each({"x": SAMPLES[:1]}, lambda _: None)
    taken = model.arena_bytes()
    assert taken is not None
    assert taken <= estimate(read_file(integers(), "m")).total_bytes < 2 * taken


def test_a_kernel_that_is_missing_is_named() -> None:
    with pytest.raises(RuntimeError, match="TFLite Micro has no kernel for GELU"):
        MicroModel(integers("GELU"))
    with pytest.raises(RuntimeError, match="refuses it: Failed to get registration from op code CUSTOM"):
        MicroModel(integers("MyOwn"))


def test_what_it_cannot_compute_is_said_in_its_own_words() -> None:
    """Dynamic range: integers times floats."""
    row = T("x", (1, 8), "FLOAT32")
    weights = T("w", (4, 8), data=bytes(32), scales=[0.01], zero_points=[0])
    mixed = tflite([row, T("y", (1, 4), "FLOAT32"), weights], [O("FULLY_CONNECTED", (0, 2, -1), (1,))])
    with pytest.raises(RuntimeError, match=r"TFLite Micro refuses it: .+"):
        MicroModel(mixed)


def test_samples_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"inputs \['x'\]"):
        MicroModel(integers()).run_each({"other": SAMPLES}, lambda _: None)
    with pytest.raises(ValueError, match="reshape"):
        MicroModel(integers()).run_each({"x": SAMPLES[:, :5]}, lambda _: None)


def test_without_the_package_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    with pytest.raises(NotVerifiedError, match=ABSENT):
        MicroModel(integers())


def test_what_a_file_keeps_goes_from_one_sample_to_the_next_as_on_litert() -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, (8, 4)).astype(np.float32)
    given = MicroModel(running_sum()).run_each({"x": samples}, lambda _: None)
    weights = ((7 * np.arange(12)) % 11 - 5).reshape(3, 4) / 4
    np.testing.assert_allclose(given["y"], np.cumsum(samples @ weights.T, axis=0), atol=1e-5)
