"""Runs what was compiled for Intel's CPU through LiteRT's dispatch library, beside the file it was made of.

This is the only route whose runtime is at hand on an ordinary machine: from the compiler to outputs.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge_inference.tensors import Tensor
from modelconversion_api.fields.compilation import NPURun
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.arrays import Array, FloatArray, NamedArrays
from tflite_converter.compilers.jobs import NPUJob
from tflite_converter.errors import ConverterError, first_line
from tflite_converter.measuring.metrics import snr_db
from tflite_converter.native_output import heard
from tflite_converter.tflite.file import inventory, read_file
from tflite_converter.tflite.runtime import TFLiteModel, names_given_back, why

_SAMPLES: Final = 8
_PRELOADED: Final = ("libtbb.so.*", "libopenvino.so.*", "libopenvino_tensorflow_lite_frontend.so.*")
"""Libraries that the dispatch library asks for by name only; one that is loaded already is taken."""


def compare_runs(job: NPUJob, original: Path, compiled: Path) -> NPURun:
    """Run both files on the same random inputs, and compare every output.

    Raises:
        ConverterError: CompilationFailed, where the compiled file does not run, or gives NaN or infinity.

    """
    if flex := inventory(read_file(original.read_bytes(), original.name)).flex_operators:
        names = ", ".join(flex)
        raise _failed(f"the file needs the Flex delegate for {names}, and nothing can be compared")
    try:
        reference, samples, expected = _compared_on(original)
    except (RuntimeError, ValueError) as error:
        raise _failed(f"the file itself does not run on the CPU: {why(error)}") from error
    if given_back := names_given_back(reference):
        raise _failed(f"it gives inputs back as they are ({given_back}), which compiled files leave empty")
    with heard() as said:
        try:
            given = _run_dispatched(job, compiled, reference, samples, expected)
        except (RuntimeError, ValueError, OSError) as error:
            last = first_line(error) or said().strip().rpartition("\n")[2]
            raise _failed(f"the compiled file does not run: {last}") from error
    exact, other = _in_a_row(expected), _in_a_row(given)
    are_numbers = np.isfinite(exact)
    if not are_numbers.any():
        raise _failed("the file itself gives no numbers on random inputs, so that nothing can be compared")
    exact, other = exact[are_numbers], other[are_numbers]
    if not np.isfinite(other).all():
        raise _failed("the compiled file gives NaN or infinity on random inputs")
    return NPURun(
        runtime=f"OpenVINO on the CPU, by LiteRT {importlib.metadata.version('ai-edge-litert')}",
        samples=_SAMPLES,
        max_difference=float(np.abs(other - exact).max()),
        output_range=float(exact.max() - exact.min()),
        snr_db=snr_db({"all": exact}, {"all": other}),
    )


def _compared_on(original: Path) -> tuple[TFLiteModel, list[dict[str, Array]], list[dict[str, Array]]]:
    """Return the original, random inputs, and what it gives: positive ones where it needs them.

    What is still no number then is left out of the comparison.

    Raises:
        RuntimeError, ValueError: the file does not run, or has no outputs.

    """
    for positive in (False, True):
        reference = TFLiteModel(original)  # anew: it may keep something from one call to the next
        if not reference.outputs:
            raise ValueError("it has no outputs")
        samples = list(_samples(reference.inputs, positive=positive))
        expected = [reference.run(sample) for sample in samples]
        if np.isfinite(_in_a_row(expected)).all():
            break
    return reference, samples, expected


def _samples(inputs: Sequence[Tensor], *, positive: bool) -> Iterator[dict[str, Array]]:
    """Yield random inputs: of quantized integers every value, of floats those of a normal distribution.

    ``positive`` takes the sizes of floats alone.
    """
    random = np.random.default_rng(0)
    for _ in range(_SAMPLES):
        sample: dict[str, Array] = {}
        for tensor in inputs:
            shape = tuple(max(1, size) for size in tensor.shape)  # an open dimension is 1
            if tensor.dtype.kind == "f":
                values = random.normal(size=shape)
                sample[tensor.name] = (np.abs(values) if positive else values).astype(tensor.dtype)
            elif tensor.is_quantized:
                least, most = np.iinfo(tensor.dtype).min, np.iinfo(tensor.dtype).max
                sample[tensor.name] = random.integers(least, most, shape, tensor.dtype.type, endpoint=True)
            else:  # an index, or a flag: small numbers are valid ones
                sample[tensor.name] = random.integers(0, 2, shape).astype(tensor.dtype)
        yield sample


def _run_dispatched(
    job: NPUJob,
    compiled: Path,
    reference: TFLiteModel,
    samples: Sequence[NamedArrays],
    shaped: Sequence[NamedArrays],
) -> list[dict[str, Array]]:
    """Return each sample's outputs as values, quantized ones dequantized, in the shapes of ``shaped``."""
    from ai_edge_litert import compiled_model as litert

    for pattern in _PRELOADED:
        for library in sorted(job.toolkit.sdk.glob(pattern)):
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    environment = litert.Environment.create(
        options=litert.EnvironmentOptions(
            runtime_path=str(job.toolkit.vendor_folder.parents[1]),
            dispatch_library_path=str(job.toolkit.vendor_folder / "dispatch"),
            compiler_plugin_path=str(job.toolkit.plugins),
        )
    )
    backend = litert.IntelOpenVinoOptions.GRAPH_BACKEND.CPU
    options = litert.Options(
        hardware_accelerators=litert.HardwareAccelerator.NPU | litert.HardwareAccelerator.CPU,
        intel_openvino_options=litert.IntelOpenVinoOptions(graph_backend=backend),
    )
    model = litert.CompiledModel.from_file(str(compiled), environment=environment, options=options)
    key = next(iter(model.get_signature_list()))
    inputs: dict[str, Any] = {
        tensor.name: model.create_input_buffer_by_name(key, tensor.name) for tensor in reference.inputs
    }
    outputs: dict[str, Any] = {
        tensor.name: model.create_output_buffer_by_name(key, tensor.name) for tensor in reference.outputs
    }
    given = []
    for sample, like in zip(samples, shaped, strict=True):
        # As bytes: the binding has names for few types, int16 not among them.
        for name, buffer in inputs.items():
            buffer.write(np.ascontiguousarray(sample[name]).reshape(-1).view(np.int8))
        model.run_by_name(key, inputs, outputs)
        stored = {
            t: outputs[t.name].read(like[t.name].size * t.dtype.itemsize, np.int8).view(t.dtype)
            for t in reference.outputs
        }
        given.append({t.name: t.value(values.reshape(like[t.name].shape)) for t, values in stored.items()})
    return given


def _in_a_row(each: Sequence[NamedArrays]) -> FloatArray:
    """Return all values of all samples' outputs, one after another."""
    return np.concatenate([values.astype(np.float64).reshape(-1) for one in each for values in one.values()])


def _failed(cause: str) -> ConverterError:
    return ConverterError(FailureReason.COMPILATION_FAILED, Stage.COMPILE, cause)
