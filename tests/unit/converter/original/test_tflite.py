"""A TFLite file as a source: one of its signatures, by itself; outputs and names of a file that was made."""

from __future__ import annotations

import numpy as np
import pytest

from modelconversion_api.reasons import FailureReason
from support.converter.tflite_files import O, T, dense, floats, tflite
from tflite_converter.errors import ConverterError
from tflite_converter.original.own_outputs import with_own_outputs
from tflite_converter.original.scope_names import is_plain, scope_name, with_given_names
from tflite_converter.original.tflite import prepared
from tflite_converter.tflite import editing
from tflite_converter.tflite.runtime import TFLiteModel

X = np.array([[1.0, 2.0, 3.0, -4.0]], np.float32)


def with_two_signatures() -> bytes:
    """``scores`` of the first graph, 3 of 4 features, and ``negated`` of the second, its input times -1."""
    model = editing.unpacked(dense())
    negating = editing.unpacked(
        tflite(
            [
                T("in", (1, 4), "FLOAT32"),
                T("out", (1, 4), "FLOAT32"),
                T("weights", (4, 4), "FLOAT32", floats(*(-np.eye(4)).flatten())),
            ],
            [O("FULLY_CONNECTED", (0, 2, -1), (1,))],
            signature=({"x": 0}, {"negated": 1}),
        )
    )
    (graph,) = negating.subgraphs
    for tensor in graph.tensors:
        tensor.buffer += len(model.buffers)
    model.buffers += negating.buffers
    model.subgraphs.append(graph)
    (second,) = negating.signatureDefs
    second.signatureKey, second.subgraphIndex = b"negate", 1
    model.signatureDefs.append(second)
    return editing.packed(model)


@pytest.mark.parametrize(
    ("wanted", "output", "warnings"),
    [(None, "scores", 1), ("negate", "negated", 0), ("serving_default", "scores", 0)],
)
def test_a_file_is_converted_by_one_signature(wanted: str | None, output: str, warnings: int) -> None:
    content, said = prepared(with_two_signatures(), "two.tflite", wanted)
    assert len(said) == warnings
    values = TFLiteModel(content).run({"x": X})
    assert list(values) == [output]
    expected = -X if output == "negated" else TFLiteModel(dense()).run({"x": X})["scores"]
    np.testing.assert_allclose(values[output], expected)


def test_what_other_signatures_need_is_left_out() -> None:
    content, _ = prepared(with_two_signatures(), "two.tflite", "negate")
    model = editing.unpacked(content)
    assert len(model.subgraphs) == len(model.signatureDefs) == 1


def test_a_file_with_one_signature_is_left_as_it_is() -> None:
    assert prepared(dense(), "one.tflite") == (dense(), ())


@pytest.mark.parametrize("content", [dense(), with_two_signatures(), dense(signature=False)])
def test_a_signature_that_is_not_there(content: bytes) -> None:
    with pytest.raises(ConverterError, match="no signature 'embed'") as caught:
        prepared(content, "x.tflite", "embed")
    assert caught.value.reason is FailureReason.INVALID_REQUEST


def several_outputs(shape: tuple[int, ...]) -> bytes:
    """One tensor as two outputs, and an input and a constant as outputs."""
    constant = floats(*range(int(np.prod(shape))))
    return tflite(
        [
            T("x", shape, "FLOAT32"),
            T("y", shape, "FLOAT32"),
            T("c", shape, "FLOAT32", constant),
        ],
        [O("ADD", (0, 2), (1,))],
        outputs=(1, 0, 2),
        signature=({"x": 0}, {"sum": 1, "sum_1": 1, "x_again": 0, "constant": 2}),
    )


@pytest.mark.parametrize("shape", [(1, 4), (1, 2, 2), (4,), ()])
def test_every_output_is_a_tensor_of_its_own(shape: tuple[int, ...]) -> None:
    content = with_own_outputs(several_outputs(shape))
    model = editing.unpacked(content)
    indices = [entry.tensorIndex for entry in model.signatureDefs[0].outputs]
    assert len(set(indices)) == 4
    assert sorted(model.subgraphs[0].outputs) == sorted(indices)
    x = np.full(shape, 2.5, np.float32)
    constant = np.arange(x.size, dtype=np.float32).reshape(shape)
    values = TFLiteModel(content).run({"x": x})
    assert values.keys() == {"sum", "sum_1", "x_again", "constant"}
    for name, expected in {
        "sum": x + constant,
        "sum_1": x + constant,
        "x_again": x,
        "constant": constant,
    }.items():
        np.testing.assert_array_equal(values[name], expected)


def test_outputs_that_are_results_stay_as_they_are() -> None:
    assert with_own_outputs(dense()) == dense()


@pytest.mark.parametrize("name", ["größe", "выход", "日本", "_x", "a b", "ß", "plain_1", "a.b-c"])
def test_names_that_a_graph_cannot_have_come_back(name: str) -> None:
    written = scope_name(name)
    assert is_plain(written)
    assert (written == name) == is_plain(name)
    content = tflite(
        [T("in", (1, 4), "FLOAT32"), T("out", (1, 4), "FLOAT32")],
        [O("RELU", (0,), (1,))],
        signature=({written: 0}, {f"{written}_out": 1}),
    )
    model = TFLiteModel(with_given_names(content))
    assert [t.name for t in (*model.inputs, *model.outputs)] == [name, f"{name}_out"]
