"""One frozen graph with the batch pinned, and the float TFLite file made from it. Child only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.lite.python import lite
from tensorflow.python.framework import (
    convert_to_constants,  # the public API has no freezing for TensorFlow 2
)
from tensorflow.python.saved_model import loader_impl

from modelconversion_api.status import TensorInfo
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.original.fused_lstm import FusedLstm, replaced, without_loops
from tflite_converter.original.graphs.branches import cases_as_selections, constants_in_branches
from tflite_converter.original.graphs.fake_quantization import (
    as_clips,
    in_eight_bits,
    in_float,
    is_fake_quantized,
)
from tflite_converter.original.graphs.list_items import set_item_shapes
from tflite_converter.original.graphs.list_lengths import set_list_lengths
from tflite_converter.original.graphs.lstm_loops import lstm_loops
from tflite_converter.original.graphs.products import integers_in_float32, keep_clamps
from tflite_converter.original.graphs.reading import CASE, uncompiled, unplaced, with_new_names
from tflite_converter.original.graphs.repairs import (
    HALVES,
    in_float32,
    set_list_shapes,
    stack_list_items,
    without_sign_bits,
)
from tflite_converter.original.graphs.seeded import seeded_numbers_as_constants
from tflite_converter.original.graphs.state import without_idle_state
from tflite_converter.original.graphs.tables import tables_as_comparisons
from tflite_converter.original.model import OriginalModel, Tensors, tensor_info
from tflite_converter.original.own_outputs import with_own_outputs
from tflite_converter.original.own_states import with_own_states
from tflite_converter.original.precision import precision_warnings
from tflite_converter.original.scope_names import scope_name, with_given_names

# TensorFlow keeps whole the loops and branches that it lists; it forgets the cases.
convert_to_constants._CONTROL_FLOW_OPS.update(CASE)  # noqa: SLF001


class FakeQuantization(Enum):
    """What becomes of a graph's fake quantization."""

    ROUNDED = "rounded as the model does"
    CLIPPED = "its limits only: the steps of integers come from calibration"
    EIGHT_BITS = "as TensorFlow's own quantizer takes it"


@dataclass
class FrozenGraph:
    """A model's graph, its functions inlined and its variables constants, but for those that it assigns."""

    definition: Any
    """TensorFlow's ``GraphDef``."""
    entries: list[str]
    """The placeholders of the inputs, in the model's order."""
    outputs: dict[str, str]
    """Tensors of the graph, by output."""
    output_infos: list[TensorInfo]
    precision_warnings: tuple[str, ...] = ()
    variables: dict[str, Any] = field(default_factory=dict)
    """Variables that stay such, by placeholder."""
    tables: dict[str, Any] = field(default_factory=dict)
    """Handles of the lookup tables, by placeholder."""
    lstms: tuple[FusedLstm, ...] = ()
    """Layers that are TFLite's own operator; placeholders of the graph stand for their results."""
    is_fake_quantized: bool = False
    """Whether the model rounds activations as integers will: it was trained so, and has their ranges."""
    own_ranges_fault: str | None = None
    """Why 8-bit integers cannot have the ranges of its fake quantization."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know of how it computes, and of its variables."""
        if not self.variables:
            return self.precision_warnings
        names = sorted(str(variable.name).partition(":")[0] for variable in self.variables.values())
        text = (
            f"the model keeps values from one call to the next ({', '.join(names)}): the original and every"
            " file were run on the samples in their order, beginning with the values that it was saved with,"
            " and nothing was reset in between"
        )
        return (*self.precision_warnings, text)

    def as_call(self, names: list[str]) -> Callable[[Tensors], Tensors]:
        """Return how to run the graph as a model, whose inputs are called ``names``."""

        def call(tensors: Tensors) -> Tensors:
            return dict(zip(self.outputs, self.imported([tensors[name] for name in names]), strict=True))

        return call

    def imported(self, tensors: list[Any]) -> list[Any]:
        """Return the outputs computed from ``tensors``, in the graph that is being traced."""
        definition, entries = self._entered(tensors)
        return list(
            tf.graph_util.import_graph_def(
                definition,
                input_map=replaced(definition, entries, self.lstms),
                return_elements=list(self.outputs.values()),
                name="",
            )
        )

    def reached(self, tensors: list[Any]) -> list[Any]:
        """Return the size of the largest input of each fused layer."""
        definition, entries = self._entered(tensors)
        sizes: list[Any] = []
        replaced(definition, entries, self.lstms, sizes)
        return sizes

    def _entered(self, tensors: list[Any]) -> tuple[Any, dict[str, Any]]:
        """Return the graph with new names, and what enters it by the names that it stands for."""
        handles = {name: variable.handle for name, variable in self.variables.items()} | self.tables
        graph = tf.compat.v1.get_default_graph()
        entries = dict(zip(self.entries, tensors, strict=True))
        entries |= {name: graph.capture(handle) for name, handle in handles.items()}
        return with_new_names(self.definition), entries


def frozen_graph(model: OriginalModel) -> FrozenGraph:
    """Trace the model for the shapes of its inputs, and put constants in the place of its variables."""
    specs = [_spec(info) for info in model.inputs]
    names = [info.name for info in model.inputs]

    def traced(*tensors: Any) -> dict[str, Any]:
        # Identity gives every output a node of its own, also where two outputs are one tensor.
        outputs = model.call(dict(zip(names, tensors, strict=True)))
        return {name: tf.identity(tensor, name=scope_name(name)) for name, tensor in outputs.items()}

    concrete = tf.function(traced, autograph=False).get_concrete_function(*specs)
    inlined = _Inlined(concrete)
    definition, _ = convert_to_constants._replace_variables_by_constants(inlined)  # noqa: SLF001
    unplaced(definition)
    set_list_shapes(definition, model.inputs)
    set_item_shapes(definition)
    set_list_lengths(definition)
    output_names = sorted(concrete.structured_outputs)
    # Of the traced graph: a function that is not inlined leaves its results without shapes.
    infos = [
        tensor_info(name, tensor.shape if tensor.shape.rank is not None else (), tensor.dtype)
        for name, tensor in zip(output_names, concrete.outputs, strict=True)
    ]
    frozen = FrozenGraph(
        definition=definition,
        entries=[entry.op.name for entry in concrete.inputs[: len(specs)]],
        outputs=dict(zip(output_names, (tensor.name for tensor in concrete.outputs), strict=True)),
        output_infos=infos,
        variables=inlined.state,
        tables=inlined.tables,
    )
    if not uncompiled(definition) or frozen.variables or frozen.tables:
        return frozen
    again = frozen_graph(replace(model, call=frozen.as_call(names)))  # to inline what is not marked any more
    return replace(again, output_infos=infos)


class _Inlined(convert_to_constants._FunctionConverterDataInEager):  # type: ignore[misc]  # noqa: SLF001
    """A function's graph with its calls inlined, from which TensorFlow takes the variables to replace."""

    def __init__(self, concrete: Any) -> None:
        self.state: dict[str, Any] = {}
        self.tables: dict[str, Any] = {}
        # Inlined, for an embedding inside a SavedModel's function keeps the function from being frozen.
        super().__init__(concrete, lower_control_flow=False, aggressive_inlining=True)

    def _build_tensor_data(self) -> None:
        """Choose the variables to replace: TensorFlow's constructor calls this once the graph is inlined."""
        concrete = self._func
        owners = {id(variable.handle): variable for variable in concrete.graph.variables}
        variables: dict[str, Any] = {}
        for handle, entry in concrete.graph.captures:
            if id(handle) in owners:
                variables[entry.op.name] = owners[id(handle)]
            elif handle.dtype == tf.resource:
                self.tables[entry.op.name] = handle
        outputs = [tensor.name for tensor in concrete.outputs]
        state = without_idle_state(self.graph_def, outputs, variables.keys())
        self.state = {name: variables[name] for name in state}
        self._variable_names_denylist = state
        super()._build_tensor_data()


def freeze(
    model: OriginalModel, folder: Path, fake_quantization: FakeQuantization = FakeQuantization.ROUNDED
) -> FrozenGraph:
    """Write the model as a SavedModel, signature ``serving_default``, into ``folder``, repaired for TFLite.

    It has no variables but those that the model assigns. Returns the graph as it is in there. The
    signature's names are the model's own, so they are the names in every artifact too.
    """
    return _repaired(frozen_graph(model), model, folder, fake_quantization)


def freeze_fused(frozen: FrozenGraph, model: OriginalModel, folder: Path) -> FrozenGraph | None:
    """Write what :func:`freeze` returned once more, with its LSTM layers as TFLite's own operator.

    None where it has no layer that the operator can compute; nothing is written then.
    """
    outputs = list(frozen.outputs.values())
    loops = lstm_loops(frozen.definition, outputs)
    if not loops:
        return None
    definition = without_loops(frozen.definition, outputs, loops)
    fused = replace(frozen, definition=definition, lstms=tuple(map(FusedLstm, loops)))
    write(fused, model.inputs, folder)
    return fused


def freeze_for_integers(
    frozen: FrozenGraph, model: OriginalModel, samples: NamedArrays, folder: Path
) -> None:
    """Write a graph with fused layers once more, its first steps within reach of the calibration samples.

    ``samples``: ``{input: (n, ...)}``.
    """
    names = [info.name for info in model.inputs]
    call = tf.function(lambda *tensors: frozen.reached(list(tensors)), autograph=False)
    count = len(next(iter(samples.values())))
    reached = [
        [float(size) for size in call(*(tf.constant(samples[name][i : i + 1]) for name in names))]
        for i in range(count)
    ]
    layers = tuple(
        replace(layer, reach=max(sizes))
        for layer, sizes in zip(frozen.lstms, zip(*reached, strict=True), strict=True)
    )
    write(replace(frozen, lstms=layers), model.inputs, folder)


def _repaired(
    frozen: FrozenGraph, model: OriginalModel, folder: Path, fake_quantization: FakeQuantization
) -> FrozenGraph:
    graph = frozen.definition
    frozen.is_fake_quantized = is_fake_quantized(graph)
    match fake_quantization:
        case FakeQuantization.ROUNDED:
            in_float(graph)
        case FakeQuantization.CLIPPED:
            as_clips(graph)
        case FakeQuantization.EIGHT_BITS:
            frozen.own_ranges_fault = in_eight_bits(graph)
    tables_as_comparisons(graph, frozen.tables)
    constants_in_branches(graph)
    cases_as_selections(graph)
    seeded_numbers_as_constants(graph)
    stack_list_items(graph)
    without_sign_bits(graph)
    frozen.precision_warnings = precision_warnings(graph)
    in_float32(graph)
    integers_in_float32(graph)
    keep_clamps(graph)
    write(frozen, model.inputs, folder)
    return frozen


def write(frozen: FrozenGraph, inputs: list[TensorInfo], folder: Path) -> None:
    """Write a frozen graph as a SavedModel into ``folder``."""

    def serve(*tensors: Any) -> dict[str, Any]:
        results = frozen.imported([_single(tensor) for tensor in tensors])
        return {
            scope_name(info.name): tf.cast(tensor, info.dtype)
            if tf.as_dtype(info.dtype) in HALVES
            else tensor
            for info, tensor in zip(frozen.output_infos, results, strict=True)
        }

    module = tf.Module()
    module.variables_assigned = list(frozen.variables.values())
    specs = [_spec(info) for info in inputs]
    module.serve = tf.function(serve, input_signature=specs, autograph=False)
    # Autograph would rewrite TensorFlow's own wrapper of the signature, which has nothing in it to rewrite.
    tf.autograph.experimental.do_not_convert(tf.saved_model.save)(
        module,
        str(folder),
        signatures={"serving_default": module.serve},
        options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
    )


def _single(tensor: Any) -> Any:
    return tf.cast(tensor, tf.float32) if tensor.dtype in HALVES else tensor


class _Converter(lite.TFLiteSavedModelConverterV2):  # type: ignore[misc]
    """What ``from_saved_model`` gives, without what it does for strangers' models.

    That loads the whole model three times, for names of signatures, for Python's lines in messages and for
    statistics, and parses the file again to put a record of its own into it.
    """

    def convert(self) -> bytes:
        """Convert the SavedModel, as the class above does at last."""
        (model,) = loader_impl.parse_saved_model(self.saved_model_dir).meta_graphs
        return bytes(self._convert_from_saved_model(model.graph_def))


def convert_float(frozen: Path, *, select_tensorflow_ops: bool) -> bytes:
    """Convert a frozen SavedModel to a float32 TFLite file."""
    converter = _Converter(str(frozen), {tf.saved_model.SERVING}, ["serving_default"])
    if select_tensorflow_ops:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    return with_own_states(with_given_names(with_own_outputs(converter.convert())))


def convert_int8(frozen: Path, samples: NamedArrays | None) -> bytes:
    """TensorFlow's own full-integer file (int8 in and out), where litert-quantizer fails or has no part.

    ``samples``: ``{input: (n, ...)}``; None where the graph's fake quantization says all ranges.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(str(frozen))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    if samples is not None:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = _representative(frozen, samples)
    return with_given_names(bytes(converter.convert()))


def _representative(frozen: Path, samples: NamedArrays) -> Callable[[], Iterator[dict[str, Array]]]:
    """Return the calibration samples as TensorFlow's converter asks for them."""
    count = len(next(iter(samples.values())))
    named = {scope_name(name): array for name, array in samples.items()}
    signature = tf.saved_model.load(str(frozen)).signatures["serving_default"]
    ranks = {name: spec.shape.rank for name, spec in signature.structured_input_signature[1].items()}
    return lambda: (
        # An input without a batch dimension is a whole sample.
        {name: array[i] if array.ndim > ranks[name] else array[i : i + 1] for name, array in named.items()}
        for i in range(count)
    )


def _spec(info: TensorInfo) -> Any:
    shape = [None if size < 0 else size for size in info.shape]
    return tf.TensorSpec(shape, info.dtype, name=scope_name(info.name))
