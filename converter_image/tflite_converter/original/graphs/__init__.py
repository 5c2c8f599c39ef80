"""The frozen graph of a model: what it says of itself, and what is rewritten in it before TFLite's converter.

Runs in the TensorFlow child. Called by :mod:`tflite_converter.original.freezing` and ``unrolling``.
"""
