"""What TensorFlow's converter complains of, as a person can use it."""

from __future__ import annotations

import pytest

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.original.errors import classify

CALLS = (
    'callsite(fused["PartitionedCall:", "PartitionedCall@__inference_f_1"] at fused["PartitionedCall:", "P"])'
)


def complaint(operation: str, path: str, text: str) -> str:
    """An error as MLIR writes it: the operation, then the calls around it."""
    place = f'loc(callsite(fused["{operation}:", "{path}@__inference_serve_1"] at {CALLS}))'
    return (
        f"Could not translate MLIR to FlatBuffer.<unknown>:0: error: {place}: {text}\n<unknown>:0: note: see"
    )


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("model_25/inverting/MatrixInverse", " (in model_25/inverting)"),
        ("StatefulPartitionedCall/StatefulPartitionedCall/model/inverting/Inv", " (in model/inverting)"),
        ("StatefulPartitionedCall/model/lstm/PartitionedCall/Inv", " (in model/lstm)"),
        ("functional_27_1/MatrixInverse", " (in functional_27_1)"),
        ("MatrixInverse", ""),
    ],
)
def test_an_operation_that_tflite_lacks_is_named_with_its_layer(path: str, where: str) -> None:
    text = complaint("MatrixInverse", path, "'tf.MatrixInverse' op is neither a custom op nor a flex op")
    found = classify(ValueError(text), Stage.CONVERT)
    assert found.reason is FailureReason.UNSUPPORTED_OPERATION
    assert found.cause == f"TFLite has no operation for MatrixInverse{where}"
    assert "--select-tf-ops" in (found.hint or "")


def test_every_operation_is_named_once_with_its_first_place() -> None:
    says = "op is neither a custom op nor a flex op"
    text = "\n".join(
        [
            complaint("Svd", "model/first/Svd", f"'tf.Svd' {says}"),
            complaint("Svd", "model/second/Svd", f"'tf.Svd' {says}"),
            complaint("MatrixInverse", "model/third/MatrixInverse", f"'tf.MatrixInverse' {says}"),
            "TF Select ops: MatrixInverse, Svd",
        ]
    )
    cause = classify(ValueError(text), Stage.CONVERT).cause
    assert cause == "TFLite has no operation for MatrixInverse (in model/third), Svd (in model/first)"


def test_a_chain_of_locations_is_not_a_message() -> None:
    text = complaint("TensorListReserve", "model/lstm/TensorArrayV2_1", "requires element_shape to be static")
    found = classify(ValueError(text), Stage.CONVERT)
    assert found.reason is FailureReason.UNSUPPORTED_SHAPE
    assert found.cause.endswith(": requires element_shape to be static (in model/lstm)")
    other = classify(ValueError(complaint("Add", "model/add/Add", "does not fit")), Stage.CONVERT)
    assert other.cause == "TensorFlow could not convert the model: does not fit (in model/add)"
