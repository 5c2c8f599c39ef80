"""Calibration and validation data: from the files that a user names to samples for each input.

Files are read and checked in the parent; ``binding`` joins samples to a model's inputs in the children.
Called by :mod:`tflite_converter.conversion` and the commands that take data.
"""
