"""What a TFLite file holds, as immutable values; :mod:`tflite_converter.tflite.file` reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a subgraph: an input, an output, an activation or a constant."""

    name: str
    shape: tuple[int, ...]
    """-1 where the size is open."""
    dtype: str
    """As numpy calls it where numpy has it, e.g. ``int8``; ``int4``, ``string`` and the like otherwise."""
    scales: tuple[float, ...] = ()
    """Empty where the tensor is not quantized; one for each channel where it is so by channel."""
    zero_points: tuple[int, ...] = ()
    quantized_dimension: int = 0
    """The dimension that ``scales`` belong to."""
    buffer: int = 0
    """Index into the file's buffers; tensors may share one."""
    data: memoryview | None = field(default=None, repr=False)
    """A constant's bytes, little-endian; None for what is computed."""

    @property
    def is_constant(self) -> bool:
        """Whether the file has its values."""
        return self.data is not None

    @property
    def nbytes(self) -> int:
        """Bytes of a constant; 0 for what is computed."""
        return 0 if self.data is None else self.data.nbytes

    @property
    def is_quantized(self) -> bool:
        """Whether its integers stand for real numbers."""
        return bool(self.scales)

    @property
    def is_per_channel(self) -> bool:
        """Whether it has a scale for each channel."""
        return len(self.scales) > 1

    @property
    def is_float(self) -> bool:
        """Whether its values are floating point."""
        return self.dtype in ("float32", "float16", "float64", "bfloat16")


@dataclass(frozen=True, slots=True)
class Operator:
    """One node of a subgraph."""

    name: str
    """``CONV_2D``, or a custom operator's own name."""
    version: int
    inputs: tuple[int, ...]
    """Tensor indices; -1 for an optional input that is left out."""
    outputs: tuple[int, ...]
    is_custom: bool = False
    options: Mapping[str, int] = field(default_factory=dict)
    """What decides where it can run, e.g. ``dilation_w``, or which graphs it runs; mostly empty."""

    @property
    def is_flex(self) -> bool:
        """Whether it is one of TensorFlow's own operations, which needs the Flex delegate."""
        return self.is_custom and self.name.startswith("Flex")


class Layer(NamedTuple):
    """An operator as recipes see it."""

    name: str
    """Of its first output: what a recipe's rules are matched with."""
    operator: str
    weights: str | None
    """Dtype of its largest constant operand of two dimensions or more; None where it has none."""
    weight_bytes: int
    output: str
    """Dtype of the first output."""


@dataclass(frozen=True, slots=True)
class Subgraph:
    """A graph; the first one of a file is what runs, the others are bodies of IF, WHILE and the like."""

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """Names for a subgraph's inputs and outputs."""

    key: str
    subgraph: int
    inputs: Mapping[str, int]
    """Tensor index by name."""
    outputs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class NamedTensor:
    """An input or output under the name that programs use."""

    name: str
    tensor: Tensor


@dataclass(frozen=True, slots=True)
class TFLiteFile:
    """A TFLite file as it lies there."""

    name: str
    """The file's name, for messages."""
    size_bytes: int
    description: str
    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[Signature, ...]
    metadata: Mapping[str, memoryview]
    """Bytes by name; the last of those that share one."""
    has_outside_buffers: bool
    """Whether constants lie behind the FlatBuffer, where only recent runtimes look for them."""

    @property
    def inputs(self) -> tuple[NamedTensor, ...]:
        """The main subgraph's inputs, in its order."""
        return self._named(self.subgraphs[0].inputs)

    @property
    def outputs(self) -> tuple[NamedTensor, ...]:
        """The main subgraph's outputs, in its order."""
        return self._named(self.subgraphs[0].outputs)

    @property
    def keeps_state(self) -> bool:
        """Whether it has variables, whose values stay from one call to the next."""
        return any(operator.name == "VAR_HANDLE" for operator, _ in self.operators())

    def tensors(self) -> Iterator[Tensor]:
        """Those of every subgraph."""
        for graph in self.subgraphs:
            yield from graph.tensors

    def operators(self) -> Iterator[tuple[Operator, Subgraph]]:
        """Those of every subgraph, with the subgraph that their tensor indices belong to."""
        for graph in self.subgraphs:
            for operator in graph.operators:
                yield operator, graph

    def layers(self) -> Iterator[Layer]:
        """Every operator that has an output, as recipes see it."""
        for operator, graph in self.operators():
            if not operator.outputs:
                continue
            operands = (graph.tensors[index] for index in operator.inputs if index >= 0)
            weights = max(
                (t for t in operands if t.is_constant and len(t.shape) > 1),
                key=lambda tensor: tensor.nbytes,
                default=None,
            )
            output = graph.tensors[operator.outputs[0]]
            dtype, size = (None, 0) if weights is None else (weights.dtype, weights.nbytes)
            yield Layer(output.name, operator.name, dtype, size, output.dtype)

    def _named(self, indices: tuple[int, ...]) -> tuple[NamedTensor, ...]:
        names: dict[int, str] = {}
        # The first signature is the one whose names LiteRT's own default runner takes.
        for signature in self.signatures[:1]:
            if signature.subgraph == 0:
                both = (*signature.inputs.items(), *signature.outputs.items())
                names = {index: name for name, index in both}
        tensors = self.subgraphs[0].tensors
        return tuple(NamedTensor(names.get(i, tensors[i].name), tensors[i]) for i in indices)
