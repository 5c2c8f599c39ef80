"""The command line: what a person types, one module a command.

Runs in the parent process. Called by the entry point ``tflite-converter``, ``python -m tflite_converter`` and
the scripts beside the package.
"""
