"""The graph of a file: for Model Explorer as JSON, and small for the report; never the weights' values.

Pure functions over a file that has been read, and the report on it. Called by
:mod:`tflite_converter.conversion`.
"""
