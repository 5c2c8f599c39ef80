"""Converts Keras and TensorFlow models to quantized TFLite files, and measures what each file is worth.

One trusted parent process and confined children: docs/ARCHITECTURE.md draws them. Each room says in its
docstring on which side of that border it runs. An application: nothing outside imports it but its own tests
and scripts.
"""
