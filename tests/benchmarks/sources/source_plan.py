"""What each writer writes, and what must come of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from modelconversion_api.reasons import FailureReason

_ALL = (
    "2.3.4",
    "2.4.4",
    "2.6.5",
    "2.8.4",
    "2.10.1",
    "2.12.1",
    "2.13.1",
    "2.15.1",
    "2.16.2",
    "2.18.1",
    "2.21.0",
)


@dataclass(frozen=True)
class Case:
    """One source, and one way of asking for it."""

    name: str
    """``ARCHITECTURE.FORMAT``, see :mod:`write_sources`."""
    refused: FailureReason | None = None
    """Why it must not convert; None where it must."""
    says: str = ""
    """What the refusal must name."""
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    select_tensorflow_ops: bool = False
    full_integer: bool = True
    """Whether a full-integer file must come of it too."""
    min_snr_db: float = 90.0
    """What the float file must reach against the writer's own outputs."""

    @property
    def architecture(self) -> str:
        """What kind of model it is."""
        return self.name.partition(".")[0]

    @property
    def suffix(self) -> str:
        """How it is saved."""
        return self.name.partition(".")[2]

    @property
    def asked(self) -> str:
        """What is asked for beyond the usual."""
        shapes = (f"{name} as {'x'.join(map(str, shape))}" for name, shape in self.shapes.items())
        return ", ".join([*shapes, *(["with Flex"] if self.select_tensorflow_ops else [])])


_CUSTOM, _UNSAFE = FailureReason.CUSTOM_OBJECT, FailureReason.UNSAFE_MODEL
_OPERATION, _UNREADABLE = FailureReason.UNSUPPORTED_OPERATION, FailureReason.UNREADABLE_MODEL

_PLAN: tuple[tuple[Case, tuple[str, ...]], ...] = (
    # What nearly every project has, from every writer.
    (Case("mlp.h5"), _ALL),
    (Case("cnn.savedmodel"), _ALL),
    (Case("two_inputs.h5"), _ALL),
    (Case("lstm.h5"), _ALL),
    (Case("cnn.keras"), _ALL),
    # Other formats.
    (Case("mlp_legacy.h5"), ("2.10.1", "2.12.1", "2.15.1")),
    (Case("mlp_legacy.savedmodel"), ("2.3.4", "2.15.1")),
    (Case("mlp_legacy.keras"), ("2.12.1", "2.15.1")),
    (Case("mlp.zip"), ("2.3.4", "2.15.1")),
    (Case("mlp.tar.gz"), ("2.6.5", "2.21.0")),
    (Case("mlp.positional"), ("2.4.4", "2.18.1")),
    (Case("mlp.dictionary"), ("2.8.4",)),
    (Case("mlp.two_signatures"), ("2.12.1",)),
    (Case("mlp.graph"), ("2.3.4", "2.16.2")),
    (Case("cnn.tflite"), ("2.3.4", "2.8.4", "2.18.1")),
    (Case("two_inputs.savedmodel"), ("2.4.4", "2.13.1", "2.21.0")),
    (Case("two_inputs.keras"), ("2.13.1", "2.16.2")),
    # The archive before it was what a .keras name means.
    (Case("cnn.v3.keras"), ("2.12.1",)),
    (Case("nested.v3.keras"), ("2.12.1",)),
    (Case("bidirectional.v3.keras"), ("2.12.1",)),
    # Other architectures.
    (Case("deferred.h5"), ("2.3.4", "2.13.1", "2.18.1")),
    (Case("nested.h5"), ("2.6.5", "2.15.1")),
    (Case("nested.keras"), ("2.13.1", "2.16.2")),
    (Case("encoder_decoder.h5"), ("2.3.4", "2.15.1")),
    (Case("encoder_decoder.keras"), ("2.21.0",)),
    (Case("lstm.savedmodel"), ("2.3.4", "2.15.1", "2.21.0")),
    (Case("gru.h5"), ("2.4.4", "2.12.1", "2.21.0")),
    (Case("gru.keras"), ("2.15.1",)),
    (Case("bidirectional.h5"), ("2.3.4", "2.10.1", "2.18.1")),
    (Case("bidirectional.keras"), ("2.15.1", "2.21.0")),
    (Case("simple_rnn.h5"), ("2.6.5",)),
    (Case("conv_lstm.h5"), ("2.8.4",)),
    (Case("conv_lstm.keras"), ("2.15.1",)),
    (Case("conv_lstm.savedmodel"), ("2.21.0",)),
    (Case("gru.savedmodel"), ("2.6.5", "2.16.2")),
    (Case("masked.savedmodel"), ("2.3.4",)),
    (Case("time_distributed.h5"), ("2.10.1", "2.21.0")),
    (Case("masked.h5"), ("2.4.4", "2.15.1", "2.21.0")),
    (Case("embedding.h5"), ("2.3.4", "2.13.1")),
    (Case("embedding.keras"), ("2.12.1", "2.18.1")),
    (Case("normalization.h5"), ("2.3.4", "2.8.4", "2.15.1")),
    (Case("normalization.keras"), ("2.13.1", "2.21.0")),
    (Case("attention.h5"), ("2.3.4", "2.4.4", "2.6.5", "2.15.1", "2.18.1")),
    (Case("operators.h5"), ("2.3.4", "2.4.4", "2.12.1", "2.21.0")),
    # The writer computed these in float16, with three digits.
    (Case("mixed_precision.h5", min_snr_db=45), ("2.8.4", "2.15.1")),
    (Case("mixed_precision.keras", min_snr_db=45), ("2.18.1",)),
    (Case("mixed_precision.savedmodel", min_snr_db=45), ("2.10.1",)),
    (Case("subclassed.savedmodel"), ("2.3.4", "2.10.1", "2.15.1", "2.21.0")),
    (Case("open_steps.h5", shapes={"audio": (1, 20, 2)}), ("2.4.4", "2.18.1")),
    (Case("open_steps.savedmodel", shapes={"audio": (1, 20, 2)}), ("2.10.1",)),
    (Case("open_steps.h5"), ("2.4.4", "2.18.1")),
    (Case("open_lstm.h5", shapes={"steps": (1, 10, 4)}), ("2.6.5", "2.16.2")),
    # Without a length there is no number of steps to unroll.
    (Case("open_lstm.h5", full_integer=False), ("2.6.5", "2.16.2")),
    # Code of the user's own: only a SavedModel carries it.
    (Case("custom_layer.h5", _CUSTOM, "'swelling' is of class 'Swell'"), ("2.3.4", "2.13.1", "2.21.0")),
    (Case("custom_layer.keras", _CUSTOM, "'swelling' is of class 'Swell'"), ("2.15.1", "2.18.1")),
    (Case("custom_layer.savedmodel"), ("2.3.4", "2.12.1", "2.21.0")),
    (Case("custom_activation.h5", _CUSTOM, "wobble"), ("2.6.5", "2.18.1")),
    (Case("custom_activation.savedmodel"), ("2.6.5",)),
    (Case("subclassed.keras", _CUSTOM, "'Subclassed'"), ("2.15.1", "2.21.0")),
    (Case("lambda_layer.h5", _UNSAFE, "'tripling'"), ("2.3.4", "2.15.1", "2.21.0")),
    (Case("lambda_layer.keras", _UNSAFE, "'tripling'"), ("2.13.1", "2.18.1")),
    (Case("lambda_layer.savedmodel"), ("2.4.4", "2.16.2")),
    # What TFLite has no operation for.
    (Case("inverse.h5", _OPERATION, "MatrixInverse"), ("2.3.4", "2.6.5", "2.15.1")),
    (Case("inverse.keras", _OPERATION, "MatrixInverse"), ("2.12.1", "2.18.1")),
    (Case("inverse_layer.savedmodel", _OPERATION, "inverting"), ("2.3.4", "2.15.1", "2.21.0")),
    (Case("inverse_layer.savedmodel", select_tensorflow_ops=True, full_integer=False), ("2.15.1",)),
    (Case("text.savedmodel", _OPERATION, "'words'"), ("2.8.4", "2.18.1")),
    # What is no whole model.
    (Case("mlp.weights.h5", FailureReason.WEIGHTS_ONLY, "weights only"), ("2.3.4", "2.12.1", "2.21.0")),
    (Case("mlp.unsigned", FailureReason.UNSUPPORTED_FORMAT, "no signature"), ("2.3.4", "2.18.1")),
    (
        Case("cnn.quantized.tflite", FailureReason.UNSUPPORTED_FORMAT, "quantized already"),
        ("2.4.4", "2.15.1"),
    ),
    (Case("mlp.truncated.h5", _UNREADABLE, "truncated"), ("2.6.5", "2.16.2")),
    (Case("mlp.truncated.keras", _UNREADABLE, "cannot be read"), ("2.13.1", "2.21.0")),
    (Case("mlp.truncated", _UNREADABLE, ""), ("2.8.4", "2.21.0")),
)


def cases(version: str) -> list[Case]:
    """The cases of one writer, in the plan's order."""
    return [case for case, versions in _PLAN if version in versions]


def names(version: str) -> Iterator[str]:
    """The models that one writer is to write, each once."""
    yield from dict.fromkeys(case.name for case in cases(version))
