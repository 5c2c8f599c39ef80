"""Tables and progress for a person at a terminal.

Runs in the parent process. Called by :mod:`tflite_converter.cli`.
"""
