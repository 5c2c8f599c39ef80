"""Which signature of a SavedModel or TFLite file is converted, and what is said of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.errors import ConverterError

USUAL = "serving_default"
_OPTION = "--signature, spec.source.signature"
_MOST = 6
"""Signatures that a sentence lists."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One way to call a model."""

    name: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    @property
    def takes_text(self) -> bool:
        """Whether an input is text, which no edge model takes."""
        return any(info.dtype == "string" for info in self.inputs)

    def __str__(self) -> str:
        words = ", ".join(f"{info.name} {info.dtype} {info.shape}" for info in self.inputs)
        return f"{self.name!r} ({words})"


@dataclass(frozen=True, slots=True)
class Choice:
    """The signature that is converted."""

    name: str
    warnings: tuple[str, ...] = ()


def choose_signature(signatures: Sequence[Signature], wanted: str | None) -> Choice:
    """Return the signature ``wanted``; else ``serving_default`` or the first, rather one that takes numbers.

    Raises:
        ConverterError: InvalidRequest for a name that is not there, UnsupportedShape for one without inputs.

    """
    by_name = {signature.name: signature for signature in signatures}
    if wanted is not None:
        if wanted not in by_name:
            cause = f"there is no signature {wanted!r}: {_list(signatures) or 'the file has none'}"
            hint = f"correct the name ({_OPTION}), or leave it out"
            raise ConverterError(FailureReason.INVALID_REQUEST, Stage.LOAD, cause, hint=hint)
        return Choice(_with_inputs(by_name[wanted]).name)
    usual = by_name.get(USUAL, signatures[0])
    takes_numbers = [signature for signature in signatures if not signature.takes_text]
    chosen = _with_inputs(takes_numbers[0] if usual.takes_text and takes_numbers else usual)
    others = [s for s in signatures if (s.inputs, s.outputs) != (chosen.inputs, chosen.outputs)]
    if not others:
        return Choice(chosen.name)
    why = f", for {usual.name!r} takes text" if chosen is not usual else ""
    text = (
        f"the model has several signatures, and {chosen.name!r} was converted{why}; they are"
        f" {_list(signatures)}: choose another one by its name ({_OPTION})"
    )
    return Choice(chosen.name, (text,))


def _with_inputs(signature: Signature) -> Signature:
    """Return a signature that has inputs; what gives the same always is no model.

    Raises:
        ConverterError: UnsupportedShape.

    """
    if signature.inputs:
        return signature
    cause = f"the signature {signature.name!r} takes no input, so it always gives the same"
    hint = f"choose a signature that has inputs ({_OPTION}), or export the model with its inputs"
    raise ConverterError(FailureReason.UNSUPPORTED_SHAPE, Stage.LOAD, cause, hint=hint)


def _list(signatures: Sequence[Signature]) -> str:
    listed = ", ".join(map(str, signatures[:_MOST]))
    return listed + (f" and {len(signatures) - _MOST} more" if len(signatures) > _MOST else "")
