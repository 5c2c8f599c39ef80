"""The model as the user gave it, behind one interface: load it, run it, write it as a float TFLite file.

Runs in the TensorFlow child (``tflite`` in the LiteRT child): loading a model can run the model's own code.
Called by :mod:`tflite_converter.workers`.
"""
