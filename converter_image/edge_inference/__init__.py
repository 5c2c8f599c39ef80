"""Runs converted TFLite files where they are used: on a board, in a service, beside a camera.

Needs numpy and ai-edge-litert, nothing of the converter and no TensorFlow. Metrics are apart, in
:mod:`edge_inference.metrics`: only they need prometheus-client.

::

    from edge_inference import TFLiteInference

    model = TFLiteInference("gesture_classifier_int8.tflite")
    gesture, confidence = model.predict_single(features)
"""

from .baseline import Baseline, read_baseline
from .delegates import Delegate, edge_tpu
from .errors import (
    BaselineError,
    ChannelError,
    ChannelUnavailableError,
    ChannelUntrustedError,
    DelegateError,
    EdgeInferenceError,
)
from .inference import Observation, Observer, Prediction, TFLiteInference
from .runtime import Model
from .tensors import Tensor

__all__ = [
    "Baseline",
    "BaselineError",
    "ChannelError",
    "ChannelUnavailableError",
    "ChannelUntrustedError",
    "Delegate",
    "DelegateError",
    "EdgeInferenceError",
    "Model",
    "Observation",
    "Observer",
    "Prediction",
    "TFLiteInference",
    "Tensor",
    "edge_tpu",
    "read_baseline",
]
