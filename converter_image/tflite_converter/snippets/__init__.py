"""Code to paste for six targets, generated from what a TFLite file says of itself.

Pure functions. Called by the report and by ``cli.snippet``.
"""
