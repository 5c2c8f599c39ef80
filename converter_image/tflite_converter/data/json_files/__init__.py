"""Data as JSON: the objects that a detector is measured on, and what is told of JSON that is no data.

Read in the trusted parent, by :mod:`tflite_converter.data.loading`.
"""
