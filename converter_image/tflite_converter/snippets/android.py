"""The snippet for Android: Kotlin with LiteRT's CompiledModel.

Source: "LiteRT CompiledModel Kotlin API", and TensorBuffer.kt and Model.kt of google-ai-edge/LiteRT.
"""

from __future__ import annotations

from tflite_converter.snippets.model import Edge, SnippetModel, exact, joined, quoted

_BUFFERS = {
    "float32": ("FloatArray", "Float"),
    "int8": ("ByteArray", "Int8"),
    "uint8": ("ByteArray", "Int8"),
    "int32": ("IntArray", "Int"),
    "bool": ("BooleanArray", "Boolean"),
}
"""The array of each dtype, and the word in the buffer's ``write…`` and ``read…``. Bytes have one for both."""


def android(model: SnippetModel) -> str:
    """Return a class that loads the file from the app's assets."""
    model.require(_BUFFERS, "LiteRT's TensorBuffer in Kotlin")
    parameters = ", ".join(f"{e.identifier}: {_kotlin_type(e)}" for e in model.inputs)
    names = {e: literal(e.name) for e in (*model.inputs, *model.outputs)}
    lines = [
        '// build.gradle.kts: implementation("com.google.ai.edge.litert:litert:2.3.0")',
        f"// {quoted(model.file_name)} belongs into src/main/assets",
        "import android.content.Context",
        "import com.google.ai.edge.litert.Accelerator",
        "import com.google.ai.edge.litert.CompiledModel",
        *(["import kotlin.math.round"] if any(e.is_quantized for e in model.inputs) else []),
        "",
        f"class {model.type_name}(context: Context) : AutoCloseable {{",
        "    private val model = CompiledModel.create(",
        f"        context.assets, {literal(model.file_name)}, CompiledModel.Options(Accelerator.CPU))",
        "    private val takes = mapOf(",
        *(f"        {names[e]} to model.createInputBuffer({names[e]})," for e in model.inputs),
        "    )",
        "    private val gives = mapOf(",
        *(f"        {names[e]} to model.createOutputBuffer({names[e]})," for e in model.outputs),
        "    )",
        "",
        *(f"    // takes {e.told}" for e in model.inputs),
        *(f"    // gives {e.told}" for e in model.outputs),
        f"    fun predict({parameters}): {_result(model)} {{",
        *(f"        require({e.identifier}.size == {e.size})" for e in model.inputs),
        *(line for e in model.inputs for line in _kotlin_fill(e, names[e])),
        "        model.run(takes, gives)",
        *_kotlin_values(model, names),
        "    }",
        "",
        "    override fun close() {",
        "        (takes.values + gives.values).forEach { it.close() }",
        "        model.close()",
        "    }",
        "}",
    ]
    return joined(lines)


def literal(text: str) -> str:
    r"""Return a Kotlin string: JSON's, but that ``$`` would begin a template, and that there is no ``\f``."""
    return '"' + "".join(_character(c) for c in text) + '"'


def _character(character: str) -> str:
    if character == "\f":
        return "\\u000c"
    return quoted(character)[1:-1].replace("$", "\\$")


def _kotlin_type(edge: Edge) -> str:
    return "FloatArray" if edge.is_quantized else _BUFFERS[edge.dtype][0]


def _result(model: SnippetModel) -> str:
    if len(model.outputs) == 1:
        return _kotlin_type(model.outputs[0])
    return "Map<String, Any>"


def _kotlin_fill(edge: Edge, name: str) -> list[str]:
    values, lines = edge.identifier, []
    if edge.scale is not None:
        low, high = edge.limits
        values = f"stored{edge.position}"
        kind, cast = ("IntArray", "toInt()") if edge.dtype == "int32" else ("ByteArray", "toInt().toByte()")
        lines = [
            f"        val {values} = {kind}({edge.size}) {{",
            f"            val steps = round({edge.identifier}[it] / {exact(edge.scale)}f)",
            f"            val whole = steps + ({edge.zero_point})",
            f"            whole.coerceIn({low}f, {high}f).{cast}",
            "        }",
        ]
    return [*lines, f"        takes.getValue({name}).write{_BUFFERS[edge.dtype][1]}({values})"]


def _kotlin_values(model: SnippetModel, names: dict[Edge, str]) -> list[str]:
    read = {e: _kotlin_value(e, names[e]) for e in model.outputs}
    if len(read) == 1:
        return [f"        return {next(iter(read.values()))}"]
    return [
        "        return mapOf(",
        *(f"            {names[e]} to {text}," for e, text in read.items()),
        "        )",
    ]


def _kotlin_value(edge: Edge, name: str) -> str:
    stored = f"gives.getValue({name}).read{_BUFFERS[edge.dtype][1]}()"
    if edge.scale is None:
        return stored
    number = "(it.toInt() and 0xff)" if edge.dtype == "uint8" else "it.toInt()"
    scaled = f"({number} - ({edge.zero_point})) * {exact(edge.scale)}f"
    return f"{stored}.map {{ {scaled} }}.toFloatArray()"
