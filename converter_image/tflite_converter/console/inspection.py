"""What ``inspect`` shows to a person."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from modelconversion_api.methods import Target
from modelconversion_api.reports.measurements import Inventory, TargetCheck, TensorDetail
from modelconversion_api.spec import SourceFormat
from modelconversion_api.text import human_size, printable
from tflite_converter.compilers.details import Details
from tflite_converter.console.compilers import edge_tpu_words, microcontroller_words, show_fallbacks
from tflite_converter.console.report import open_console
from tflite_converter.files.onnx_file import OnnxFile
from tflite_converter.files.pytorch_file import ExportedProgram
from tflite_converter.files.saved_model import SavedModel, SignatureTensor
from tflite_converter.tflite.types import TFLiteFile
from tflite_converter.tflite.versions import oldest_runtime

_MOST_ROWS = 40
"""Rows of a table; what a large model has more of is in ``--json``."""

_DEEPEST = 3
"""Levels of the conversion record that become rows; what is deeper is shown as JSON."""

_WHAT = {
    SourceFormat.KERAS_H5: "a Keras model in HDF5, or other HDF5 data",
    SourceFormat.KERAS: "a .keras archive, or another zip file",
    SourceFormat.SAVED_MODEL: "a TensorFlow SavedModel",
    SourceFormat.STABLEHLO: "a function of JAX, or a module of StableHLO",
}


def show_file(
    file: TFLiteFile,
    digest: str,
    contents: Inventory,
    checks: Sequence[TargetCheck],
    record: dict[str, Any] | None,
    details: Details,
) -> None:
    """All that is known of a TFLite file, on standard output."""
    console = open_console(1)
    head = Text(printable(file.name), style="bold")
    head.append(f"  {human_size(file.size_bytes)}, {_kind(contents)}", style="not bold")
    console.print(head)
    console.print(Text(f"sha256 {digest}", style="dim"))
    console.print(_tensors("Inputs", contents.inputs))
    console.print(_tensors("Outputs", contents.outputs))
    console.print(_operators(contents))
    console.print(_bytes(file, contents))
    console.print(Text(_dtypes(contents)))
    console.print(Text(_runtime(file)))
    if record is None:
        console.print(Text("No conversion record: this converter did not make the file, or left none."))
    else:
        console.print(_record(record))
    console.print(_targets(checks))
    if (tpu := details.edge_tpu) is not None:
        console.print(Text(f"Edge TPU: {edge_tpu_words(tpu)}", style="bold"))
        show_fallbacks(console, "Operators that would stay on the CPU", tpu.fallbacks)
    if (micro := details.microcontroller) is not None:
        console.print(Text(f"TFLite Micro: {microcontroller_words(micro)}", style="bold"))
        console.print(Text(f"Resolver: {', '.join(micro.operators)}"))


def show_layers(file: TFLiteFile) -> None:
    """Print every operator by the name of its output, whole: a recipe's rules are matched with it."""
    table = Table("Layer", "Operator", "Weights", "Output", title="Layers", title_justify="left")
    for layer in file.layers():
        weights = "-" if layer.weights is None else f"{layer.weights}, {human_size(layer.weight_bytes)}"
        table.add_row(Text(printable(layer.name), overflow="fold"), layer.operator, weights, layer.output)
    open_console(1).print(table)


def _runtime(file: TFLiteFile) -> str:
    oldest = oldest_runtime(file)
    if oldest is None:
        return "Oldest runtime: not known, for an operator is custom or younger than the tables"
    return f"Oldest runtime with all its operators: TensorFlow Lite {oldest} (LiteRT 1.0 is 2.18)"


def show_source(
    name: str,
    source_format: SourceFormat,
    writer: str | None,
    saved_model: SavedModel | None,
    problem: str | None,
    command: str,
) -> None:
    """Print what a source model is and says of itself, and what to do with it."""
    console = open_console(1)
    what = _WHAT.get(source_format, source_format.value)
    if writer is not None:
        what = what.partition(", or ")[0]
    written = "" if writer is None else f", written by {printable(writer)}"
    console.print(Text.assemble((printable(name), "bold"), f" is {what}{written}."))
    if saved_model is not None:
        console.print(_signatures(saved_model))
    if problem is not None:
        console.print(Text(f"It cannot be converted: {printable(problem)}", style="yellow"))
        return
    console.print(Text("inspect reads TFLite files. To make one of it:"))
    # A command that is folded could not be copied.
    console.print(Text(f"  {printable(command)}"), soft_wrap=True)
    if saved_model is not None and len(saved_model.signatures) > 1:
        console.print(Text("Add --signature NAME to choose one of the signatures."))


def show_graph(
    name: str, what: str, file: OnnxFile | ExportedProgram, problem: str | None, command: str
) -> None:
    """Print what a file says of its graph, and what to do with it; ``what`` is what it is."""
    console = open_console(1)
    written = "" if file.writer is None else f", written by {printable(file.writer)}"
    console.print(Text.assemble((printable(name), "bold"), f" is {what}{written}."))
    for title, edges in (("Inputs", file.inputs), ("Outputs", file.outputs)):
        rows = (
            [edge.name, "not said" if edge.shape is None else _shape(edge.sizes), edge.dtype]
            for edge in edges
        )
        console.print(_add_rows(_table(title, "Name", "Shape", "Dtype"), rows))
    counted = sorted(file.operators.items(), key=lambda item: (-item[1], item[0]))
    rows_of = ([kind, str(count)] for kind, count in counted)
    console.print(_add_rows(_table("Operators", "Operator", "Count"), rows_of))
    if problem is not None:
        console.print(Text(printable(problem), style="yellow"))
    console.print(Text("To make TFLite files of it:"))
    console.print(Text(f"  {printable(command)}"), soft_wrap=True)


def _signatures(saved_model: SavedModel) -> Table:
    count = len(saved_model.signatures)
    table = _table(f"{count} signature{'s' * (count != 1)}", "Signature", "Takes", "Gives")
    for one in saved_model.signatures[:_MOST_ROWS]:
        table.add_row(*map(Text, (printable(one.name), _edges(one.inputs), _edges(one.outputs))))
    if count > _MOST_ROWS:
        table.add_row("... and more: --json has all")
    return table


def _edges(tensors: Sequence[SignatureTensor]) -> str:
    """Return a line for each tensor."""
    lines = (f"{printable(t.name)}: {'?' if t.shape is None else _shape(t.shape)} {t.dtype}" for t in tensors)
    return "\n".join(lines) or "nothing"


def _kind(contents: Inventory) -> str:
    operators = sum(o.count for o in contents.operators)
    weights = {name for name, size in contents.constant_bytes.items() if size}
    dtypes = {o.dtype for o in contents.operators}
    if not dtypes & {"float32", "float16"}:
        kind = "full integer, 16-bit activations" if "int16" in dtypes else "full integer"
    elif contents.per_channel_tensors or weights & {"int8", "uint8", "int4"}:
        kind = "float with integer weights"
    else:
        kind = "float16 weights" if "float16" in weights else "float"
    return f"{operators} operator{'s' * (operators != 1)}, {kind}"


def _table(title: str, *columns: str) -> Table:
    # A title that is wider than its table would be folded.
    table = Table(title=title, title_justify="left", title_style="bold", min_width=len(title) + 4)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _add_rows(table: Table, rows: Iterable[Sequence[str | Text]]) -> Table:
    for i, row in enumerate(rows):
        if i == _MOST_ROWS:
            table.add_row("... and more: --json has all")
            break
        table.add_row(*(Text(printable(cell)) if isinstance(cell, str) else cell for cell in row))
    return table


def _tensors(title: str, tensors: Sequence[TensorDetail]) -> Table:
    table = _table(title, "Name", "Shape", "Dtype", "Value of what is stored")
    return _add_rows(table, ([t.name, _shape(t.shape), t.dtype, _meaning(t)] for t in tensors))


def _shape(shape: Sequence[int]) -> str:
    return " x ".join("?" if size < 0 else str(size) for size in shape) or "scalar"


def _meaning(tensor: TensorDetail) -> str:
    if tensor.scale is None:
        return "itself"
    zero = tensor.zero_point or 0
    shifted = f"(stored {'-' if zero > 0 else '+'} {abs(zero)})" if zero else "stored"
    return f"{shifted} * {tensor.scale:.6g}"


def _operators(contents: Inventory) -> Table:
    table = _table("Operators", "Operator", "Output", "Count")
    table.columns[2].justify = "right"
    return _add_rows(table, ([o.operator, o.dtype, str(o.count)] for o in contents.operators))


def _bytes(file: TFLiteFile, contents: Inventory) -> Table:
    table = _table("Bytes", "What", "Size", "Share")
    table.columns[1].justify = table.columns[2].justify = "right"
    parts = [(f"{dtype} constants", size) for dtype, size in contents.constant_bytes.items()]
    parts.sort(key=lambda part: -part[1])
    rest = max(0, file.size_bytes - sum(size for _, size in parts))
    parts.append(("graph, names, metadata", rest))
    _add_rows(table, ([what, human_size(size), f"{size / file.size_bytes:.1%}"] for what, size in parts))
    return table


def _dtypes(contents: Inventory) -> str:
    tensors = ", ".join(f"{count} {dtype}" for dtype, count in contents.tensor_dtypes.items())
    return f"{tensors} tensors; {contents.per_channel_tensors or 'none'} quantized by channel"


def _record(record: dict[str, Any]) -> Table:
    table = _table("Conversion record", "What", "Value")

    return _add_rows(table, _flat(record))


def _flat(record: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Keys with dots for what lies deeper, and values as text."""
    for key, item in record.items():
        if isinstance(item, dict) and prefix.count(".") < _DEEPEST:
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)


def _targets(checks: Sequence[TargetCheck]) -> Table:
    table = _table("Targets", "Target", "Runs there", "Why not, or what to know")
    for targets, check in _alike(checks):
        verdict = Text("yes", style="green") if check.suitable else Text("no", style="red")
        names = "\n".join(t.value for t in targets)
        table.add_row(names, verdict, Text("\n".join(map(printable, check.problems))))
    return table


def _alike(checks: Sequence[TargetCheck]) -> list[tuple[list[Target], TargetCheck]]:
    """Return checks with those of the same answer in one row."""
    rows: list[tuple[list[Target], TargetCheck]] = []
    for check in checks:
        for targets, other in rows:
            if (check.suitable, check.problems) == (other.suitable, other.problems):
                targets.append(check.target)
                break
        else:
            rows.append(([check.target], check))
    return rows
