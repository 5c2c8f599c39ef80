"""The programs that touch a model, each a child process, and the messages that start and end them.

``tensorflow`` (with ``training``) and ``litert`` run in the children and are started by
:mod:`tflite_converter.conversion`, which imports ``jobs`` and ``programs`` only: parent and child meet in
messages and in files of agreed names.
"""
