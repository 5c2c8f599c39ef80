"""How well a file does: outputs, accuracy, agreement, latency, and the gates on them.

Runs in the LiteRT child; ``gates`` and ``recommendation`` in the parent too. Called by ``workers.litert``,
:mod:`tflite_converter.conversion` and ``cli.compare``.
"""
