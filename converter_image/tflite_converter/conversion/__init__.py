"""One conversion from the first step to the last, in the trusted parent process.

It starts the children of :mod:`~tflite_converter.workers` and :mod:`~tflite_converter.compilers`, hashes what
they leave, and writes the report. Called by :mod:`~tflite_converter.cli` and :mod:`~tflite_converter.job`.
"""
