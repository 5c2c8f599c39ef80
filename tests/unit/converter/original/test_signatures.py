"""Which signature is converted, and what is said of the others."""

from __future__ import annotations

import pytest

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.errors import ConverterError
from tflite_converter.original.signatures import Signature, choose_signature


def signature(name: str, dtype: str = "float32", size: int = 4, output: int = 2) -> Signature:
    return Signature(
        name,
        (TensorInfo(name="x", shape=[-1, size], dtype=dtype),),
        (TensorInfo(name="y", shape=[-1, output], dtype="float32"),),
    )


ENCODE, DECODE = signature("encode"), signature("decode", size=2, output=4)
USUAL, TEXT = signature("serving_default", output=3), signature("serving_default", "string")


@pytest.mark.parametrize(
    ("signatures", "wanted", "chosen"),
    [
        ([ENCODE], None, "encode"),
        ([ENCODE, DECODE], None, "encode"),
        ([DECODE, ENCODE], None, "decode"),
        ([ENCODE, DECODE], "decode", "decode"),
        ([ENCODE, USUAL], None, "serving_default"),
        ([TEXT, DECODE], None, "decode"),
        ([TEXT, DECODE], "serving_default", "serving_default"),
        ([TEXT], None, "serving_default"),
    ],
)
def test_the_signature_that_is_converted(
    signatures: list[Signature], wanted: str | None, chosen: str
) -> None:
    assert choose_signature(signatures, wanted).name == chosen


def test_several_are_listed_with_their_inputs() -> None:
    (text,) = choose_signature([ENCODE, DECODE], None).warnings
    assert "'encode' was converted" in text
    assert "'encode' (x float32 [-1, 4]), 'decode' (x float32 [-1, 2])" in text
    assert "--signature" in text


def test_text_is_the_reason_for_another() -> None:
    (text,) = choose_signature([TEXT, DECODE], None).warnings
    assert "'decode' was converted, for 'serving_default' takes text" in text


@pytest.mark.parametrize(
    ("signatures", "wanted"),
    [
        ([ENCODE], None),
        ([ENCODE, DECODE], "encode"),
        ([signature("serving_default"), signature("serve")], None),
    ],
)
def test_nothing_is_said_where_there_is_no_choice(signatures: list[Signature], wanted: str | None) -> None:
    """Keras writes one function under two names."""
    assert choose_signature(signatures, wanted).warnings == ()


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(ConverterError, match=r"no signature 'encoder': 'encode' \(x float32") as caught:
        choose_signature([ENCODE, DECODE], "encoder")
    assert (caught.value.reason, caught.value.stage) == (FailureReason.INVALID_REQUEST, Stage.LOAD)


@pytest.mark.parametrize("wanted", [None, "serving_default"])
def test_a_signature_without_inputs_is_no_model(wanted: str | None) -> None:
    with pytest.raises(ConverterError, match="takes no input") as caught:
        choose_signature([Signature("serving_default", (), USUAL.outputs), ENCODE], wanted)
    assert caught.value.reason is FailureReason.UNSUPPORTED_SHAPE
