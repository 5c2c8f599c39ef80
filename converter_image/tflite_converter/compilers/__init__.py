"""What is made of finished files: for Edge TPU, Ethos-U and NPUs, and C source for microcontrollers.

``compiling`` and ``options`` run in the parent, ``worker`` and each compiler in a child of their own;
``jobs`` holds the messages between them. Called by :mod:`tflite_converter.conversion` and ``cli.compile``.
"""
