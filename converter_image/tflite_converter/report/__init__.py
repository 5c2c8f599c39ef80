"""The page ``report.html``: pure functions from a conversion report to HTML, without script.

Runs in the parent process. Called by :mod:`tflite_converter.cli` and :mod:`tflite_converter.job`.
"""
