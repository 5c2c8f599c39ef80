"""Predicting with the converted gesture model: one sample, a batch, and what each method costs.

As a module: ``from examples_tflite_inference import TFLiteInference``.
"""

from edge_inference import TFLiteInference
from gesture_sample.inference import app

__all__ = ["TFLiteInference"]

if __name__ == "__main__":
    app(prog_name="examples_tflite_inference.py")
