"""The runtime library: numbers in, numbers out, whatever the file stores; delegates; what it refuses.

No Edge TPU is here. Its delegate is tested where its library is absent, and with a stand-in that takes over
nothing (stand_in_delegate.c).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_inference import (
    Delegate,
    DelegateError,
    Observation,
    TFLiteInference,
    edge_tpu,
)
from edge_inference.confidence import EDGES, decided, decided_one, histogram
from edge_inference.tensors import Tensor, joined
from support.converter.snippet_samples import code, loaded, quantized, two_of_each
from support.converter.tflite_files import O, T, dense, floats, ints, tflite
from support.paths import REPOSITORY

finite = st.floats(-1e6, 1e6, width=32)


def saved(folder: Path, content: bytes, name: str = "net.tflite") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


class Seen:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[Observation] = []
        self.failures = 0

    def observed(self, observation: Observation) -> None:
        self.calls.append(observation)

    def failed(self) -> None:
        self.failures += 1


def test_it_needs_no_tensorflow_and_metrics_alone_need_a_client() -> None:
    code = (
        "import sys\nimport edge_inference\n"
        "heavy = {'tensorflow', 'tflite_converter', 'modelconversion_api', 'pydantic', 'prometheus_client'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "import edge_inference.metrics\n"
        "assert not {'tensorflow', 'tflite_converter'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("dtype", ["INT8", "UINT8"])
def test_quantized_files_take_and_give_real_numbers(tmp_path: Path, dtype: str) -> None:
    model = TFLiteInference(saved(tmp_path, quantized(dtype=dtype)))
    x = np.array([1.0, -0.5, 0.25, 2.0], np.float32)
    weights = np.array([(7 * i) % 11 - 5 for i in range(12)]).reshape(3, 4) * 0.25
    expected = weights @ x + np.array([10, -20, 30]) * 0.0125
    found = model.predict(x)["scores"]
    np.testing.assert_allclose(found, expected, atol=0.07)  # half a step of the output
    assert found.dtype == np.float32
    assert model.input_dtype == np.dtype(dtype.lower())


def test_several_inputs_and_outputs_go_by_name(tmp_path: Path) -> None:
    model = TFLiteInference(saved(tmp_path, two_of_each()))
    assert list(model.inputs) == ["first", "second"]
    found = model.predict({"second": [1, 10], "first": np.arange(4)})
    np.testing.assert_array_equal(found["one"], [14, 38, 62])
    np.testing.assert_array_equal(found["other"], [10, 32, 54])
    many = model.predict_many({"first": np.eye(4), "second": np.ones((4, 2))})
    assert {name: values.shape for name, values in many.items()} == {"one": (4, 3), "other": (4, 3)}
    for ask in (
        lambda: model.predict_single([1, 2, 3, 4]),
        lambda: model.input_shape,
        lambda: model.scores([[1]]),
    ):
        with pytest.raises(ValueError, match=r"2 (inputs|outputs).*use predict with"):
            ask()


def test_integers_that_stand_for_themselves_stay_integers(tmp_path: Path) -> None:
    table = floats(*range(12))
    tensors = [
        T("ids", (1, 2), "INT32"),
        T("rows", (1, 2, 3), "FLOAT32"),
        T("table", (4, 3), "FLOAT32", table),
    ]
    content = tflite(tensors, [O("GATHER", (2, 0), (1,))], signature=({"ids": 0}, {"rows": 1}))
    model = TFLiteInference(saved(tmp_path, content))
    np.testing.assert_array_equal(model.predict([3, 0])["rows"], [[9, 10, 11], [0, 1, 2]])


@pytest.mark.parametrize("content", [dense(), quantized()], ids=["open batch", "batch of 1 in the file"])
def test_a_batch_gives_what_its_samples_give(tmp_path: Path, content: bytes) -> None:
    model = TFLiteInference(saved(tmp_path, content))
    samples = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    together = model.predict_many(samples)["scores"]
    for sample, expected in zip(samples, together, strict=True):
        np.testing.assert_allclose(model.predict(sample)["scores"], expected, rtol=1e-5)
    assert model.predict_batch(samples) == [model.predict_single(s) for s in samples]
    assert model.scores(samples[:0]).shape == (0, 3)
    assert model.predict_batch(samples[:0]) == []


def test_a_graph_that_cannot_be_resized_runs_sample_by_sample(tmp_path: Path) -> None:
    tensors = [
        T("x", (1, 4), "FLOAT32", open_shape=(-1, 4)),
        T("y", (1, 4), "FLOAT32"),
        T("shape", (2,), "INT32", ints(1, 4)),
    ]
    content = tflite(tensors, [O("RESHAPE", (0, 2), (1,))], signature=({"x": 0}, {"y": 1}))
    model = TFLiteInference(saved(tmp_path, content))
    samples = np.arange(12, dtype=np.float32).reshape(3, 4)
    for _ in range(2):
        np.testing.assert_array_equal(model.predict_many(samples)["y"], samples)
    np.testing.assert_array_equal(model.predict(samples[1])["y"], samples[1])


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        ({"x": [1, 2, 3]}, r"a batch of x has the shape \(n, 4\), got \(1, 3\)"),
        ({"y": [1, 2, 3, 4]}, "the inputs are x; got y"),
        ({}, "the inputs are x; got none"),
        ([float("nan"), 0, 0, 0], "x has NaN or infinite values"),
        ([float("inf"), 0, 0, 0], "x has NaN or infinite values"),
        (["a", "b", "c", "d"], "could not convert"),
    ],
)
def test_what_the_file_cannot_take_is_refused(tmp_path: Path, samples: object, says: str) -> None:
    model = TFLiteInference(saved(tmp_path, quantized()))
    with pytest.raises(ValueError, match=says):
        model.predict(samples)  # type: ignore[arg-type]


def test_what_is_no_classifier_has_no_class(tmp_path: Path) -> None:
    content = tflite([T("x", (1, 2, 2), "FLOAT32"), T("y", (1, 2, 2), "FLOAT32")], [O("RELU")])
    with pytest.raises(ValueError, match="are no classes"):
        TFLiteInference(saved(tmp_path, content)).predict_single(np.ones((2, 2)))


@pytest.mark.parametrize("content", [b"", b"x" * 64, dense()[:60]])
def test_a_file_that_is_none_is_a_value_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        TFLiteInference(saved(tmp_path, content))


def test_the_observer_is_told_of_every_call(tmp_path: Path) -> None:
    seen = Seen()
    model = TFLiteInference(saved(tmp_path, dense()), observer=seen)
    model.predict_single([1, 2, 3, 4])
    model.predict_batch(np.ones((5, 4)))
    model.predict([1, 2, 3, 4])
    model.predict_batch(np.ones((0, 4)))
    assert [call.samples for call in seen.calls] == [1, 5, 1]
    assert all(call.seconds > 0 for call in seen.calls)
    assert [call.labels is None for call in seen.calls] == [False, False, True]
    with pytest.raises(ValueError, match="shape"):
        model.predict([1])
    assert seen.failures == 0  # a wrong argument is the caller's, and never ran


def test_threads_may_share_a_model(tmp_path: Path) -> None:
    model = TFLiteInference(saved(tmp_path, dense()))
    samples = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    expected = model.scores(samples)
    wrong: list[int] = []

    def work(first: int) -> None:
        for i in range(first, 400, 4):
            size = 1 + i % 3
            start = i % 37
            found = model.scores(samples[start : start + size])
            if not np.allclose(found, expected[start : start + size], rtol=1e-5):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# Quantization


@given(
    arrays(np.float32, st.integers(1, 20), elements=finite),
    st.floats(1e-4, 1e3),
    st.sampled_from([np.int8, np.uint8, np.int16]),
    st.data(),
)
def test_a_stored_value_stands_for_the_nearest_there_is(
    values: np.ndarray, scale: float, dtype: type, data: st.DataObject
) -> None:
    limits = np.iinfo(dtype)
    zero = data.draw(st.integers(int(limits.min), int(limits.max)))
    tensor = Tensor("x", 0, (-1,), np.dtype(dtype), scale, zero)
    stored = tensor.store(values)
    assert stored.dtype == dtype
    low, high = ((limit - zero) * scale for limit in (int(limits.min), int(limits.max)))
    clipped = np.clip(values.astype(np.float64), low, high)
    assert np.all(np.abs(tensor.value(stored) - clipped) <= scale * 0.501 + 1e-3 * np.abs(clipped))
    np.testing.assert_array_equal(tensor.store(tensor.value(stored)), stored)


# Confidence


@given(
    arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 6)), elements=st.floats(-50, 50, width=32))
)
def test_the_confidence_of_logits_is_that_of_their_softmax(logits: np.ndarray) -> None:
    labels, confidences = decided(logits, logits=True)
    columns = logits.shape[1]
    whole = logits if columns > 1 else np.concatenate([np.zeros_like(logits), logits], axis=1)
    shifted = np.exp(whole.astype(np.float64) - whole.max(axis=1, keepdims=True))
    expected = (shifted / shifted.sum(axis=1, keepdims=True))[np.arange(len(whole)), labels]
    np.testing.assert_allclose(confidences, expected)
    assert np.all(confidences >= 1 / max(2, columns) - 1e-9)


@given(
    arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.floats(-9, 9, width=32)),
    st.booleans(),
)
def test_one_row_is_decided_like_many(scores: np.ndarray, logits: bool) -> None:
    if not logits:
        scores = np.abs(scores) / 9
    labels, confidences = decided(scores, logits=logits)
    for row, label, confidence in zip(scores, labels, confidences, strict=True):
        assert decided_one(row, logits=logits) == (label, pytest.approx(confidence))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("logits", [True, False])
@pytest.mark.parametrize("columns", [1, 3])
def test_scores_that_are_no_numbers_have_no_confidence(bad: float, logits: bool, columns: int) -> None:
    """A NaN that reached a counter would stay in its sum for good."""
    scores = np.full((2, columns), 0.2, np.float32)
    scores[1, 0] = bad
    labels, confidences = decided(scores, logits=logits)
    assert confidences[1] == 0.0
    assert confidences[0] > 0.0
    assert decided_one(scores[1], logits=logits) == (labels[1], 0.0)


def test_a_class_that_was_masked_is_no_matter() -> None:
    logits = np.array([[-np.inf, 1.0, 1.0]], np.float32)
    labels, confidences = decided(logits, logits=True)
    assert (labels[0], confidences[0]) == (1, pytest.approx(0.5))
    assert decided_one(logits[0], logits=True) == (1, pytest.approx(0.5))


@pytest.mark.parametrize(
    ("score", "label", "confidence"), [(0.9, 1, 0.9), (0.2, 0, 0.8), (0.5, 1, 0.5), (1.0, 1, 1.0)]
)
def test_one_column_is_the_probability_of_class_1(score: float, label: int, confidence: float) -> None:
    labels, confidences = decided(np.array([[score]]), logits=False)
    assert (labels.tolist(), confidences.tolist()) == ([label], [pytest.approx(confidence)])


@given(arrays(np.float64, st.integers(0, 60), elements=st.floats(0, 1)))
def test_every_confidence_is_in_one_bin(confidences: np.ndarray) -> None:
    counts = histogram(confidences)
    assert counts.sum() == len(confidences)
    for low, high, count in zip(EDGES[:-1], EDGES[1:], counts, strict=True):
        lowest = low == 0.0
        assert count == np.sum(((confidences > low) | (lowest & (confidences == 0))) & (confidences <= high))


def test_a_file_of_logits_is_noticed(tmp_path: Path) -> None:
    model = TFLiteInference(saved(tmp_path, dense()))
    label, confidence = model.predict_single([10, 10, 10, 10])
    assert 0 <= label < 3
    assert 1 / 3 <= confidence <= 1


# Delegates


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler on PATH")
    made = tmp_path_factory.mktemp("delegate") / "libstandin.so"
    source = REPOSITORY / "tests/support/edge/stand_in_delegate.c"
    subprocess.run([compiler, "-Wall", "-Werror", "-shared", "-fPIC", source, "-o", made], check=True)
    return made


def test_without_coral_s_library_the_message_says_what_to_install(tmp_path: Path) -> None:
    try:
        import ctypes

        ctypes.CDLL("libedgetpu.so.1")
    except OSError:
        pass
    else:
        pytest.skip("libedgetpu.so.1 is installed here")
    with pytest.raises(DelegateError, match=r"libedgetpu\.so\.1 cannot be loaded.*libedgetpu1-std"):
        TFLiteInference(saved(tmp_path, quantized()), delegates=[edge_tpu()])


def test_a_library_that_is_no_delegate(tmp_path: Path) -> None:
    with pytest.raises(DelegateError, match="no TFLite delegate: it has no tflite_plugin_create_delegate"):
        TFLiteInference(saved(tmp_path, dense()), delegates=[Delegate("libc.so.6")])


def test_a_stand_in_for_a_delegate_is_loaded_with_its_options(stand_in: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    delegate = Delegate(str(stand_in), {"log": str(log), "device": "usb:0"})
    path = saved(tmp_path, dense())
    model, plain = TFLiteInference(path, delegates=[delegate]), TFLiteInference(path)
    sample = [1, 2, 3, 4]
    np.testing.assert_allclose(model.predict(sample)["scores"], plain.predict(sample)["scores"], rtol=1e-5)
    assert "device=usb:0" in log.read_text()


@pytest.mark.parametrize(
    ("option", "says"), [("refuse", "refuses: .*no device"), ("fail", "the file does not run with")]
)
def test_a_stand_in_for_a_delegate_that_does_not_work(
    stand_in: Path, tmp_path: Path, option: str, says: str
) -> None:
    with pytest.raises(DelegateError, match=says):
        TFLiteInference(saved(tmp_path, dense()), delegates=[Delegate(str(stand_in), {option: "1"})])


def test_the_edge_tpu_s_delegate_is_told_the_device() -> None:
    assert edge_tpu().options == {}
    assert edge_tpu("pci:1").options == {"device": "pci:1"}
    assert re.fullmatch(r"libedgetpu\.so\.1", edge_tpu().library)


def test_the_snippet_for_coral_runs_with_a_stand_in(stand_in: Path, tmp_path: Path) -> None:
    path = saved(tmp_path, quantized(), "net_int8_edgetpu.tflite")
    text = code("coral", quantized()).replace("libedgetpu.so.1", str(stand_in))
    predict = loaded(text, tmp_path)["predict"]
    sample = [1.0, -0.5, 0.25, 2.0]
    expected = TFLiteInference(path).predict(sample)["scores"]
    np.testing.assert_allclose(predict(sample)["scores"][0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("each", "expected"),
    [
        ([np.ones((1, 2)), np.zeros((1, 2))], [[1, 1], [0, 0]]),
        ([np.float32(1), np.float32(2)], [1, 2]),
        ([np.array([1, 2]), np.array([3, 4])], [[1, 2], [3, 4]]),  # without a batch
        ([np.array([5]), np.array([6, 7]), np.array([])], [[5, 0], [6, 7], [0, 0]]),
        ([np.ones((1, 2, 1)), np.ones((1, 1, 1))], [[[1], [1]], [[1], [0]]]),
    ],
)
def test_what_samples_give_one_by_one_is_joined(each: list[np.ndarray], expected: list[object]) -> None:
    assert joined(each).tolist() == expected


def test_an_output_without_elements_is_given_as_such(tmp_path: Path) -> None:
    content = tflite(
        [
            T("x", (1, 3), "FLOAT32"),
            T("limit", (), "FLOAT32", floats(1.0)),
            T("above", (1, 3), "BOOL"),
            T("places", (1, 2), "INT64", open_shape=(-1, 2)),
        ],
        [O("GREATER", (0, 1), (2,)), O("WHERE", (2,), (3,))],
        outputs=(3,),
        signature=({"x": 0}, {"places": 3}),
    )
    model = TFLiteInference(saved(tmp_path, content))
    samples = np.array([[0.0, 2.0, 3.0], [0.0, 0.0, 0.0], [5.0, 0.0, 7.0]], np.float32)
    assert model.predict(samples[0])["places"].tolist() == [[0, 1], [0, 2]]
    assert model.predict(samples[1])["places"].shape == (0, 2)
    found = model.predict_many(samples)["places"]
    assert found.tolist() == [[[0, 1], [0, 2]], [[0, 0], [0, 0]], [[0, 0], [0, 2]]]
