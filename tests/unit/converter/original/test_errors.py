"""What TensorFlow's converter complains of, as a person can use it."""

from __future__ import annotations

import pytest

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.spec import SourceFormat
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


@pytest.mark.parametrize(
    ("text", "cause", "hint"),
    [
        (
            "TF Select ops: StridedSlice\n\ttf.StridedSlice(tensor<1x21xcomplex<f32>>) -> (tensor<1xf32>)",
            "TFLite has no operation for StridedSlice on complex numbers",
            "tf.abs",
        ),
        ("TF Select ops: IRFFT", "TFLite has no operation for IRFFT on complex numbers", "tf.math.real"),
        (
            "TF Select ops: StatelessRandomUniformV2",
            (
                "the model draws random numbers when it is run:"
                " TFLite has no operation for StatelessRandomUniformV2"
            ),
            "RandomFlip",
        ),
        (
            "Failed to convert element type 'f8E4M3FN': Unsupported type",
            "the model computes in 8-bit floating point (f8E4M3FN), which TFLite has not",
            "before model.quantize",
        ),
        (
            "TF Select ops: StridedSlice\n\ttf.StridedSlice(tensor<1x15xf32>) -> (tensor<1xf32>)",
            "TFLite has no operation for StridedSlice",
            "--select-tf-ops",
        ),
    ],
)
def test_what_an_operation_computes_with_is_the_cause(text: str, cause: str, hint: str) -> None:
    found = classify(ValueError(text), Stage.CONVERT)
    assert found.reason is FailureReason.UNSUPPORTED_OPERATION
    assert found.cause == cause
    assert hint in (found.hint or "")


@pytest.mark.parametrize(
    "text",
    [
        "Exception encountered when calling Dense.call().\n\n\x1b[1mit does not fit\x1b[0m\n\nArguments",
        'Exception encountered when calling layer "Dense.call()" (type Dense).\n\nit does not fit\n\nCall',
    ],
)
def test_the_cause_inside_a_layer_is_not_that_something_was_called(text: str) -> None:
    cause = classify(ValueError(text), Stage.CONVERT, doing="freezing the graph").cause
    assert cause.startswith(
        "TensorFlow could not convert the model while freezing the graph: it does not fit (in "
    )
    assert "Dense.call()" in cause


@pytest.mark.parametrize(
    ("source", "hint"),
    [(SourceFormat.KERAS, "SavedModel export"), (SourceFormat.SAVED_MODEL, "the Keras file that")],
)
def test_the_hint_names_another_source_than_the_one_given(source: SourceFormat, hint: str) -> None:
    found = classify(KeyError("y"), Stage.CONVERT, source=source)
    assert found.cause == "TensorFlow could not convert the model: KeyError: 'y'"
    assert hint in (found.hint or "")


@pytest.mark.parametrize(
    ("text", "reason", "says"),
    [
        ("No cast function available.", FailureReason.UNREADABLE_MODEL, "save the model as a .keras file"),
        (
            (
                "<class 'Sequential'> could not be deserialized properly. Please\n\nconfig={}.\n\nException"
                " encountered: <class 'Dense'> could not be deserialized properly. Please\n\nException"
                " encountered: Unrecognized keyword arguments passed to Dense: {'quantum': 3}"
            ),
            FailureReason.UNREADABLE_MODEL,
            "cannot be loaded: Unrecognized keyword arguments passed to Dense",
        ),
        (
            "Unsuccessful TensorSliceReader constructor: Failed to find any matching files for /a/variables",
            FailureReason.UNREADABLE_MODEL,
            "lacks its folder of variables",
        ),
        ("Cannot parse proto file b'/a/saved_model.pb'", FailureReason.UNREADABLE_MODEL, "is truncated or"),
        ("Input 0 is incompatible", FailureReason.UNREADABLE_MODEL, "with the Keras that wrote it"),
        (
            "Could not deserialize 'keras.layers.HyperDense' because it is not a KerasSaveable subclass",
            FailureReason.CUSTOM_OBJECT,
            "'HyperDense', which is not part of Keras",
        ),
    ],
)
def test_what_keeps_a_keras_file_from_being_loaded(text: str, reason: FailureReason, says: str) -> None:
    found = classify(ValueError(text), Stage.LOAD)
    assert (found.reason, says in found.message) == (reason, True), found.message
