"""Snippets in Python: a Linux board, with and without Coral's accelerator."""

from __future__ import annotations

from tflite_converter.snippets.model import Edge, SnippetModel, joined

_DTYPES = (
    *("float32", "float16", "float64", "bool"),
    *("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
)
EDGE_TPU_SUFFIX = "_edgetpu"


def raspberry_pi(model: SnippetModel) -> str:
    """Return code that runs the file with LiteRT on the CPU."""
    start = [
        "# On the board: pip install ai-edge-litert numpy",
        "import numpy as np",
        "from ai_edge_litert.interpreter import Interpreter",
        "",
        f"MODEL = {model.file_name!a}",
        "THREADS = 2  # measure 1 to 4: the fastest depends on the board and on the model",
        "",
        "interpreter = Interpreter(MODEL, num_threads=THREADS)",
    ]
    return _program(model, start)


def coral(model: SnippetModel) -> str:
    """Return code that runs the compiled file with Coral's Edge TPU delegate."""
    compiled = model.file_name
    lines = []
    if not model.stem.endswith(EDGE_TPU_SUFFIX):
        compiled = f"{model.stem}{EDGE_TPU_SUFFIX}.tflite"
        lines.append("# Compile first: tflite-converter compile FILE --edgetpu")
    start = [
        *lines,
        "# On the board: the package libedgetpu1-std, and pip install ai-edge-litert numpy",
        "import numpy as np",
        "from ai_edge_litert.interpreter import Interpreter, load_delegate",
        "",
        f"MODEL = {compiled!a}",
        'DELEGATE = "libedgetpu.so.1"',
        "",
        "interpreter = Interpreter(MODEL, experimental_delegates=[load_delegate(DELEGATE)])",
    ]
    return _program(model, start)


def _program(model: SnippetModel, start: list[str]) -> str:
    model.require(_DTYPES, "numpy")
    lines = [
        *start,
        "interpreter.allocate_tensors()",
        "takes, gives = interpreter.get_input_details(), interpreter.get_output_details()",
    ]
    if any(edge.is_quantized for edge in model.inputs):
        lines += [
            "",
            "",
            "def quantize(values, scale, zero_point, dtype):",
            "    limits = np.iinfo(dtype)",
            "    stored = np.rint(np.asarray(values, np.float64) / scale) + zero_point",
            "    return np.clip(stored, limits.min, limits.max).astype(dtype)",
        ]
    lines += [
        "",
        "",
        f"def predict({', '.join(edge.identifier for edge in model.inputs)}):",
        *(f"    # takes {edge.told}" for edge in model.inputs),
        *(f"    # gives {edge.told}" for edge in model.outputs),
        *(line for edge in model.inputs for line in _fill(edge)),
        "    interpreter.invoke()",
        *(line for edge in model.outputs for line in _read(edge)),
        "    return {",
        *(f"        {edge.name!a}: given{edge.position}," for edge in model.outputs),
        "    }",
        "",
        "",
        'if __name__ == "__main__":',
        f"    samples = [{', '.join(_zeros(edge) for edge in model.inputs)}]  # yours, preprocessed",
        "    for output, values in predict(*samples).items():",
        "        print(ascii(output), values.shape, values.ravel()[:10])",
    ]
    return joined(lines)


def _fill(edge: Edge) -> list[str]:
    if edge.scale is not None:
        expression = f"quantize({edge.identifier}, {edge.scale!r}, {edge.zero_point}, np.{edge.dtype})"
    else:
        expression = f"np.asarray({edge.identifier}, {_dtype(edge)})"
    stored = f"stored{edge.position}"
    return [
        f"    {stored} = {expression}.reshape({edge.shape})",
        f'    interpreter.set_tensor(takes[{edge.position}]["index"], {stored})',
    ]


def _read(edge: Edge) -> list[str]:
    variable = f"given{edge.position}"
    lines = [f'    {variable} = interpreter.get_tensor(gives[{edge.position}]["index"])']
    if edge.scale is not None:
        value = f"({variable}.astype(np.float32) - ({edge.zero_point})) * np.float32({edge.scale!r})"
        lines.append(f"    {variable} = {value}")
    return lines


def _zeros(edge: Edge) -> str:
    return f"np.zeros({edge.shape}, {'np.float32' if edge.is_quantized else _dtype(edge)})"


def _dtype(edge: Edge) -> str:
    return "np.bool_" if edge.dtype == "bool" else f"np.{edge.dtype}"
