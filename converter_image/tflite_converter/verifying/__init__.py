"""Artifacts on other runtimes than LiteRT: what each gives there, and whether that is good enough.

Runs in a fork of the LiteRT child, as measuring does. Called by ``workers.litert``. A further runtime is a
:class:`~tflite_converter.verifying.runtimes.Runtime` and a row in its table.
"""
