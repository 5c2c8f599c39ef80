"""The contract of an engine: what turns a source model into one float TFLite file, and how it is spoken to.

An engine is a front half of the conversion with an environment of its own. It reads a source, writes
``float.tflite`` and a description of it, and runs the original on samples. Everything after that is the
converter's. This package is all that both share, so it needs the standard library alone, of Python 3.11 or
newer: an engine's pins are nobody else's.

``messages`` are what is said, ``wire`` how it is written, ``files`` the names of what is left in a folder,
``process`` and ``sandbox`` how an untrusted process speaks and is confined, and ``serving`` is the program
of an engine.
"""

from typing import Final

CONTRACT: Final = 1
"""Version of messages and files. It rises with every change that an older side would misread."""
