"""Engines in environments of their own, which make the float file of formats that TensorFlow does not read.

``finding`` says where one is, ``asking`` runs it as a confined child, and ``installing`` makes its
environment. What is said is :mod:`conversion_engine`; nothing that an engine leaves is believed.
"""
