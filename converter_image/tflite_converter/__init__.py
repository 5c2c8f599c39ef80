"""Converts Keras and TensorFlow models to quantized TFLite files, and measures what each file is worth."""
