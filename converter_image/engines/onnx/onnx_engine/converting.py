"""From a checked model to the bytes of a float TFLite file, by onnx2tf's back end without TensorFlow."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
import onnxsim

from conversion_engine.messages import EngineError, Reason, Stage
from conversion_engine.serving import first_line
from onnx_engine.reading import graphs_of
from onnx_engine.shapes import with_known_shapes

ANOTHER_WAY: Final = (
    "export the model with another opset or simpler operators, or give what it was made from: a Keras file or"
    " SavedModel"
)
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_WHY: Final = re.compile(
    r"reason_code=(?P<code>\w+).*?message=(?P<words>.+)|(?:ERROR|Error):\s*(?P<error>.+)"
)
_NODE: Final = re.compile(r"\bop(?:_type)?=(\w+)")
_MOST_FILE: Final = 2 << 30


def simplified(model: Any) -> Any:
    """Return the model with its constants computed and its shapes known, as far as that can be done.

    onnx2tf would start the program ``onnxsim`` for it, which a confined process cannot.
    """
    try:
        simpler, _ = onnxsim.simplify(model)
    except Exception:
        simpler = model  # what it does not understand, onnx2tf may
    return with_known_shapes(simpler)


def float_file(model: Any, folder: Path, kept: Iterable[str]) -> bytes:
    """Return the float32 TFLite file; ``folder`` is for what is written beside it.

    ``kept``: inputs that have the layout of the model in the file too.

    Raises:
        EngineError: UnsupportedOperation or ConversionFailed, with what onnx2tf says.

    """
    import onnx2tf

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            onnx2tf.convert(
                onnx_graph=model,
                output_folder_path=str(folder),
                # Done already, in this process.
                not_use_onnxsim=True,
                # TFLite's one operator for an LSTM keeps its state from one run to the next, which ONNX's
                # does not; its steps one after another can also be quantized.
                enable_rnn_unroll=True,
                tflite_backend="flatbuffer_direct",
                keep_shape_absolutely_input_names=list(kept) or None,
                non_verbose=True,
                verbosity="error",
            )
    except (Exception, SystemExit) as error:
        raise _failed(error, said.getvalue()) from error
    path = folder / "model_float32.tflite"
    if not path.is_file():
        raise _failed(RuntimeError("it wrote no float file"), said.getvalue())
    if path.stat().st_size >= _MOST_FILE:
        raise EngineError(Reason.SOURCE_TOO_LARGE, Stage.CONVERT, "the float file would have 2 GiB or more")
    return path.read_bytes()


@dataclass(frozen=True, slots=True)
class Names:
    """What inputs and outputs are called in the source, in its order."""

    inputs: list[str]
    outputs: list[str]
    same: dict[int, int]
    """Outputs that are the same tensor as an earlier one, by their places; they were taken out."""


def renamed(model: Any) -> Names:
    """Give inputs and outputs plain names, in the model's place; return those that they had.

    onnx2tf writes some characters as others, and does not tell two outputs of one tensor apart.
    """
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in constants]
    outputs = [value.name for value in graph.output]
    taken = {name for each in graphs_of(model) for node in each.node for name in (*node.input, *node.output)}
    taken |= {*inputs, *outputs, *constants}
    new_inputs = {name: _free(f"input_{place}", taken) for place, name in enumerate(inputs)}
    for each in graphs_of(model):
        for node in each.node:
            for place, name in enumerate(node.input):
                node.input[place] = new_inputs.get(name, name)
    for value in graph.input:
        value.name = new_inputs.get(value.name, value.name)
    sources = _sources(model)
    first: dict[str, int] = {}
    same, kept = {}, []
    for place, value in enumerate(graph.output):
        source = new_inputs.get(value.name, value.name)
        origin = sources.get(source, source)
        if origin in first:
            same[place] = first[origin]
            continue
        first[origin] = place
        # An output of its own: it may be an input or a constant.
        value.name = _free(f"output_{place}", taken)
        graph.node.append(onnx.helper.make_node("Identity", [source], [value.name]))
        kept.append(value)
    kept = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in kept]
    del graph.output[:]
    graph.output.extend(kept)
    return Names(inputs, outputs, same)


def _sources(model: Any) -> dict[str, str]:
    """Return for each tensor that is another one under a second name, which that is."""
    found: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type == "Identity":
            found[node.output[0]] = found.get(node.input[0], node.input[0])
    return found


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _failed(error: BaseException, said: str) -> EngineError:
    lines = [_COLOUR.sub("", line).strip() for line in said.splitlines()]
    words = "" if isinstance(error, SystemExit) else first_line(error)
    text = "\n".join([words, *lines])
    found = _WHY.search(text)
    if found is not None:
        words = (found["words"] or found["error"]).strip()
    operator = _NODE.search(text)
    where = f" in the operator {operator[1]}" if operator is not None else ""
    is_operator = found is not None and (found["code"] or "").startswith(("unsupported", "custom"))
    reason = Reason.UNSUPPORTED_OPERATION if is_operator else Reason.CONVERSION_FAILED
    cause = f"onnx2tf cannot convert the model{where}: {words or 'it gave no reason'}"
    return EngineError(reason, Stage.CONVERT, cause, hint=ANOTHER_WAY)
