"""Programs that run as children of a conversion."""

from __future__ import annotations

from typing import Final

from tflite_converter.isolation.parent import Program

TENSORFLOW: Final = Program(
    "tensorflow",
    "tflite_converter.workers.tensorflow",
    "the TensorFlow process",
    ("tensorflow", "keras", "ai_edge_litert.interpreter", "litert_quantizer.quantizer", "tf_keras"),
)
LITERT: Final = Program("litert", "tflite_converter.workers.litert", "the LiteRT process")
BINDING: Final = Program(
    "binding", "tflite_converter.workers.binding", "the process that prepares the samples"
)
JUDGING: Final = Program(
    "judging", "tflite_converter.workers.judging", "the process that judges other runtimes"
)
