"""The quantization methods, and which of them a deployment target gets: the one place that says so."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple


class Method(StrEnum):
    """A way of writing a model as a TFLite file."""

    FLOAT32 = "Float32"
    DYNAMIC_RANGE = "DynamicRange"
    FLOAT16 = "Float16"
    FULL_INTEGER = "FullInteger"
    INT16_ACTIVATIONS = "Int16Activations"
    WEIGHT_ONLY_INT8 = "WeightOnlyInt8"
    INT4 = "Int4"

    @property
    def cli_name(self) -> str:
        """The method's name on the command line, e.g. ``dynamic_range``."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.value).lower()

    @property
    def needs_calibration(self) -> bool:
        """Whether a representative dataset is needed to set the activations' ranges."""
        return self in (Method.FULL_INTEGER, Method.INT16_ACTIVATIONS)

    def file_name(self, base_name: str) -> str:
        """Return the artifact's file name, e.g. ``gesture_int8.tflite``."""
        suffix = "int8" if self is Method.FULL_INTEGER else self.cli_name
        return f"{base_name}_{suffix}.tflite"


DEFAULT_METHODS: Final = (Method.FLOAT32, Method.DYNAMIC_RANGE, Method.FLOAT16, Method.FULL_INTEGER)
"""What is made where nobody chooses: the forms that every runtime has read for years."""

RUNS_ON: Final[dict[Method, str]] = {
    Method.INT16_ACTIVATIONS: (
        "near to float32 where FullInteger loses too much; for TFLite Micro, Qualcomm's NPU and any CPU,"
        " whose kernels for it are slow; not for the Edge TPU and the GPU; needs calibration data"
    ),
    Method.WEIGHT_ONLY_INT8: (
        "the size of DynamicRange with less loss; for CPUs; not for Qualcomm's NPU, the GPU's dense layers,"
        " the Edge TPU and microcontrollers"
    ),
    Method.INT4: (
        "smallest: weights in 4 bits where the gates allow it; for CPUs with LiteRT 1.0 or later; not for the"
        " Edge TPU and microcontrollers, and Qualcomm's NPU fails or leaves most of it to the CPU"
    ),
}
"""Methods that no target chooses, made only where they are asked for: what each is for and where it runs."""


class Objective(StrEnum):
    """What the best file is, of those that pass."""

    SMALLEST_THAT_PASSES = "SmallestThatPasses"
    FASTEST_THAT_PASSES = "FastestThatPasses"
    MOST_FAITHFUL = "MostFaithful"


class Target(StrEnum):
    """Where the model will run."""

    MOBILE = "Mobile"
    MOBILE_ACCURACY_CRITICAL = "MobileAccuracyCritical"
    EDGE_TPU = "EdgeTPU"
    RASPBERRY_PI = "RaspberryPi"
    CLOUD = "Cloud"
    MICROCONTROLLER = "Microcontroller"
    GPU = "GPU"


class TargetPlan(NamedTuple):
    """What a target gets: its methods, best first, and why the first one is best."""

    methods: tuple[Method, ...]
    why: str


TARGET_PLANS: dict[Target, TargetPlan] = {
    Target.MOBILE: TargetPlan(
        (Method.DYNAMIC_RANGE, Method.FLOAT16),
        "int8 weights take a quarter of their float32 space, and no data is needed",
    ),
    Target.MOBILE_ACCURACY_CRITICAL: TargetPlan(
        (Method.FLOAT16, Method.FLOAT32),
        "float16 weights take half their float32 space and round little",
    ),
    Target.EDGE_TPU: TargetPlan((Method.FULL_INTEGER,), "the Edge TPU runs 8-bit integers only"),
    Target.RASPBERRY_PI: TargetPlan(
        (Method.FULL_INTEGER, Method.DYNAMIC_RANGE),
        "integers in and out suit small Arm CPUs, and nothing is quantized at run time",
    ),
    Target.CLOUD: TargetPlan((Method.FLOAT32,), "size matters little there, fidelity most"),
    Target.MICROCONTROLLER: TargetPlan(
        (Method.FULL_INTEGER,), "microcontroller kernels want integers and have little memory"
    ),
    Target.GPU: TargetPlan((Method.FLOAT16,), "GPU delegates compute in 16-bit floats"),
}
"""What each end of the deployment flowchart (:mod:`tflite_converter.targets.flowchart`) gets."""


def methods_for_target(target: Target, *, has_calibration: bool) -> tuple[Method, ...]:
    """Return the methods that ``target`` gets, best first.

    What needs calibration data is left out without it, unless the target has nothing else.
    """
    methods = TARGET_PLANS[target].methods
    possible = tuple(m for m in methods if has_calibration or not m.needs_calibration)
    return possible or methods


def artifact_base_name(source: str) -> str:
    """Return the stem of artifact names: ``gesture`` for ``s3://m/a/gesture.h5`` and ``a/gesture/``.

    Characters outside ``[A-Za-z0-9._-]`` become ``_``.
    """
    last = source.rstrip("/").rsplit("/", 1)[-1]
    stem = re.sub(
        r"\.(h5|hdf5|keras|tflite|onnx|pt2|jax|stablehlo|mlirbc|zip|tgz|tar\.gz|tar)$",
        "",
        last,
        flags=re.IGNORECASE,
    )
    return re.sub(r"[^A-Za-z0-9._-]", "_", stem)[:128] or "model"
