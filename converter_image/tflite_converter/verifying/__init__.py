"""Artifacts on other runtimes than LiteRT: what each gives there, and whether that is good enough.

Runtimes that are libraries run in a fork of the LiteRT child, as measuring does (``workers.litert``).
Those that want another Python are guests: ``guests`` starts them in the parent, called by
``conversion.guests``, ``in_guest`` runs in them, and ``workers.judging`` looks at what they left. A further
runtime is a :class:`~tflite_converter.verifying.runtimes.Runtime`, and how to run it here or in which guests.
"""
