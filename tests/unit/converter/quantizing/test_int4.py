"""Int4: every layer of a dense model, as many layers as the gates bear of another, and none without a reason.

Files, quantizer and interpreter are real; where the budget matters, the clock is not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from modelconversion_api.fields.data import Task
from modelconversion_api.reasons import FailureReason
from support.converter import hard_models
from support.converter.hard_models import INPUT, OUTPUT, Hard, chain
from support.converter.tflite_files import O, T, floats, tflite
from tflite_converter.errors import ConverterError
from tflite_converter.measuring.evaluation import Reference, quality
from tflite_converter.measuring.gates import Gates
from tflite_converter.measuring.quality import Quality
from tflite_converter.measuring.tasks import agreement_metric
from tflite_converter.quantizing import int4
from tflite_converter.quantizing.int4 import Found, Search
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.runtime import TFLiteModel

PLENTY = 10_000.0
WIDTH, LAYERS = 32, 4


def judge_of(hard: Hard, gates: Gates) -> Callable[[bytes], Quality]:
    outputs = TFLiteModel(hard.content).run_each(hard.evaluation)
    metric = agreement_metric(Task.CLASSIFICATION, outputs)
    reference = Reference(hard.evaluation, outputs, None, Task.CLASSIFICATION, metric, None, 1)
    return lambda content: quality(content, reference, gates, threads=1, file_name="m.tflite")


def searched(hard: Hard, gates: Gates, budget: float = PLENTY) -> Found:
    judge = judge_of(hard, gates)
    return Search(hard.content, judge, judge, budget, lambda _text: None, has_gate=gates.judge_quality).run()


def layers(content: bytes) -> dict[str, str]:
    """Dtype of the weights by the name of their layer."""
    return {
        graph.tensors[operator.outputs[0]].name: graph.tensors[operator.inputs[1]].dtype
        for operator, graph in read_file(content, "m").operators()
        if operator.name == "FULLY_CONNECTED"
    }


def with_one_delicate_layer() -> Hard:
    """Four layers; in one, each output is the difference of large weights, which 4 bits do not tell apart."""
    generator = np.random.default_rng(11)
    kernels = [generator.normal(0, WIDTH**-0.5, (WIDTH, WIDTH)).astype(np.float32) for _ in range(LAYERS)]
    # Columns 0 and 1 read the same value: only the small difference of their weights says anything.
    kernels[0][1] = kernels[0][0]
    kernels[1][:, 0] += 3.0
    kernels[1][:, 1] -= 3.0
    names = ["first", "delicate", "third", OUTPUT]
    samples = generator.normal(size=(300, WIDTH)).astype(np.float32)
    return Hard(chain(kernels, names), {INPUT: samples[:100]}, {INPUT: samples[100:]})


def test_a_dense_model_has_every_layer_in_4_bits_with_the_first_try() -> None:
    found = searched(hard_models.easy(), Gates(min_agreement=0.75))
    assert set(layers(found.content).values()) == {"int4"}
    assert (found.attempts, found.message) == ((), None)
    assert found.recipe.startswith("int4 weights in 2 of 2 layers (optimal clipping)")
    noise = TFLiteModel(found.content).run_each(hard_models.easy().evaluation)[OUTPUT]
    assert np.isfinite(noise).all()


def test_a_layer_that_does_not_bear_4_bits_keeps_8() -> None:
    hard = with_one_delicate_layer()
    found = searched(hard, Gates(min_agreement=0.8))
    assert layers(found.content) == {
        "first": "int4",
        "delicate": "int8",
        "third": "int4",
        OUTPUT: "int4",
    }
    first, *_ = found.attempts
    assert (first.passed, first.recipe[:20]) == (False, "int4 weights in 4 of")
    (chosen,) = [attempt for attempt in found.attempts if attempt.chosen]
    assert chosen.passed
    assert chosen.size_bytes == len(found.content)
    assert chosen.recipe == found.recipe


def test_without_a_gate_a_dense_model_need_only_be_usable() -> None:
    hard = with_one_delicate_layer()
    assert judge_of(hard, Gates())(int4.int4(hard.content, tuple(layers(hard.content)))).agreement < 0.75
    assert layers(searched(hard, Gates()).content)["delicate"] == "int8"
    found = searched(hard, Gates(floor=0.3))
    assert set(layers(found.content).values()) == {"int4"}


def test_without_a_gate_another_model_may_lose_a_little(monkeypatch: pytest.MonkeyPatch) -> None:
    hard = with_one_delicate_layer()
    monkeypatch.setattr(int4, "is_dense_only", lambda _file: False)
    whole = judge_of(hard, Gates())(int4.int4(hard.content, ("first", "delicate", "third", OUTPUT)))
    int8 = judge_of(hard, Gates())(int4.int4(hard.content, ()))
    assert whole.agreement < int8.agreement - int4.MOST_LOST  # so that something is to be found
    found = searched(hard, Gates())
    kept = judge_of(hard, Gates())(found.content)
    assert int8.agreement - int4.MOST_LOST <= kept.agreement
    assert "int4" in layers(found.content).values()


def test_no_layer_within_the_gates_is_a_failure_with_the_nearest_try() -> None:
    with pytest.raises(ConverterError) as caught:
        searched(with_one_delicate_layer(), Gates(min_agreement=0.9999))
    assert caught.value.reason is FailureReason.NOTHING_QUANTIZED
    assert "no layer bears 4 bits within the gates (agreement 0." in caught.value.cause
    assert "is under 0.9999" in caught.value.cause


def test_a_model_without_such_layers_is_a_failure() -> None:
    content = tflite(
        [T("x", (1, 4), "FLOAT32"), T("y", (1, 4), "FLOAT32")],
        [O("SOFTMAX", (0,), (1,))],
        signature=({"x": 0}, {"y": 1}),
    )
    with pytest.raises(ConverterError) as caught:
        Search(content, pytest.fail, pytest.fail, PLENTY, lambda _text: None, has_gate=True).run()
    assert caught.value.reason is FailureReason.NOTHING_QUANTIZED
    assert "CONV_2D and FULLY_CONNECTED have" in caught.value.cause


def test_without_a_budget_every_layer_is_in_4_bits_unjudged() -> None:
    hard = with_one_delicate_layer()
    found = Search(hard.content, pytest.fail, pytest.fail, 0, lambda _text: None, has_gate=True).run()
    assert set(layers(found.content).values()) == {"int4"}
    assert found.attempts == ()


def test_the_search_ends_with_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock goes on by a second whenever it is looked at."""
    now = iter(range(1000))
    monkeypatch.setattr(int4.time, "monotonic", lambda: float(next(now)))
    hard = with_one_delicate_layer()
    with pytest.raises(ConverterError) as caught:
        searched(hard, Gates(min_agreement=0.8), budget=4)
    assert "the budget was used up" in caught.value.cause


def test_a_try_that_does_not_run_is_told_and_left() -> None:
    hard = with_one_delicate_layer()
    judge = judge_of(hard, Gates(min_agreement=0.8))

    def broken(content: bytes) -> Quality:
        if layers(content)["third"] == "int4":
            raise RuntimeError("it does not load")
        return judge(content)

    found = Search(hard.content, broken, judge, PLENTY, lambda _text: None, has_gate=True).run()
    assert layers(found.content)["third"] == "int8"
    assert any(attempt.message == "it does not load" and not attempt.passed for attempt in found.attempts)


def test_convolutions_are_mixed_too() -> None:
    """Their 4-bit weights are widened in front of them: no kernel of an older runtime may read them."""
    generator = np.random.default_rng(3)
    kernels = [generator.normal(size=(4, 3, 3, 4)).astype(np.float32) for _ in range(2)]
    options = {"strideW": 1, "strideH": 1, "padding": 0}
    content = tflite(
        [
            T("x", (1, 6, 6, 4), "FLOAT32"),
            T("a/kernel", kernels[0].shape, "FLOAT32", kernels[0].tobytes()),
            T("a", (1, 6, 6, 4), "FLOAT32"),
            T("b/kernel", kernels[1].shape, "FLOAT32", kernels[1].tobytes()),
            T("b", (1, 6, 6, 4), "FLOAT32"),
            T("bias", (4,), "FLOAT32", floats(0.1, -0.2, 0.3, 0.0)),
        ],
        [O("CONV_2D", (0, 1, 5), (2,), options=options), O("CONV_2D", (2, 3, 5), (4,), options=options)],
        outputs=(4,),
        signature=({"x": 0}, {"b": 4}),
    )
    file = read_file(int4.int4(content, ("a",)), "m")
    read = {
        graph.tensors[operator.inputs[0]].dtype: operator.name
        for operator, graph in file.operators()
        if operator.name == "DEQUANTIZE"
    }
    assert read == {"int4": "DEQUANTIZE", "int8": "DEQUANTIZE"}
    samples = {"x": generator.normal(size=(4, 6, 6, 4)).astype(np.float32)}
    expected = TFLiteModel(content).run_each(samples)["b"]
    actual = TFLiteModel(int4.int4(content, ("a",))).run_each(samples)["b"]
    noise = float(np.sum((expected - actual) ** 2) / np.sum(expected**2))
    assert 1e-5 < noise < 0.02  # 4 bits, and not more than that
