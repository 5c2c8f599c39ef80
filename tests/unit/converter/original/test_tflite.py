"""A TFLite file as a source: one of its signatures, by itself."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from modelconversion_api.reasons import FailureReason
from support.converter.tflite_files import O, T, flatbuffer  # noqa: E741
from tflite_converter.errors import ConverterError
from tflite_converter.original.own_outputs import with_own_outputs
from tflite_converter.original.scope_names import is_plain, scope_name, with_given_names
from tflite_converter.original.tflite import prepared
from tflite_converter.tflite.runtime import TFLiteModel
