"""From a module to the bytes of a float TFLite file, by litert-torch."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Sequence
from typing import Any, Final

from ai_edge_litert import schema_py_generated as schema

from conversion_engine.messages import EngineError, Reason, Stage
from conversion_engine.serving import first_line
from engine_tools.float_file import named
from engine_tools.graph_edits import Graph

WRITER: Final = "litert-torch"
ANOTHER_WAY: Final = (
    "export the model with simpler operators, or as ONNX (torch.onnx.export), which another engine reads"
)
_UNKNOWN: Final = re.compile(
    r"(?:[Ll]owering not found|No lowering|not (?:implemented|supported|registered))\D*?(?P<name>aten[.:\w]+)"
)
_OPERATOR: Final = re.compile(r"aten[.:]+\w+(?:\.\w+)?")
_MOST_FILE: Final = 2 << 30


def float_file(module: Any, samples: tuple[Any, ...]) -> bytes:
    """Return the float32 TFLite file of a module that takes tensors of these shapes and types.

    Raises:
        EngineError: UnsupportedOperation or ConversionFailed, with what litert-torch says; SourceTooLarge.

    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import litert_torch

            content = litert_torch.convert(module, samples).model_content()
    except MemoryError:
        raise
    except Exception as error:  # each part of it has its own
        raise _failed(error) from error
    if len(content) >= _MOST_FILE:
        raise EngineError(Reason.SOURCE_TOO_LARGE, Stage.CONVERT, "the float file would have 2 GiB or more")
    return bytes(content)


def with_names(content: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Return the file with these names of inputs and outputs: litert-torch keeps their order alone.

    Raises:
        EngineError: UnsupportedOperation for custom operators; ConversionFailed for a file of others.

    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    codes = sorted(
        code.customCode.decode(errors="replace") for code in model.operatorCodes if code.customCode
    )
    if codes:
        cause = f"TFLite has no operators for {', '.join(codes)}: litert-torch would write custom ones"
        raise EngineError(Reason.UNSUPPORTED_OPERATION, Stage.CONVERT, cause, hint=ANOTHER_WAY)
    edited = Graph(model)
    ins = [int(index) for index in edited.graph.inputs]
    outs = [int(index) for index in edited.graph.outputs]
    if (len(ins), len(outs)) != (len(inputs), len(outputs)):
        cause = f"litert-torch wrote a file of {len(ins)} inputs and {len(outs)} outputs"
        cause += f", where the model has {len(inputs)} and {len(outputs)}"
        raise EngineError(Reason.CONVERSION_FAILED, Stage.CONVERT, cause, hint=ANOTHER_WAY)
    taken = set(ins)
    for place, index in enumerate(outs):
        if index in taken:
            outs[place] = edited.copy_of(index)
        taken.add(outs[place])
    return named(model, list(zip(inputs, ins, strict=True)), list(zip(outputs, outs, strict=True)))


def _failed(error: Exception) -> EngineError:
    text = str(error)
    found = _UNKNOWN.search(text)
    if found is not None:
        cause = f"litert-torch cannot convert the operator {found['name']}"
        return EngineError(Reason.UNSUPPORTED_OPERATION, Stage.CONVERT, cause, hint=ANOTHER_WAY)
    operator = _OPERATOR.search(text)
    where = f" in the operator {operator[0]}" if operator is not None else ""
    cause = f"litert-torch cannot convert the model{where}: {first_line(error)}"
    return EngineError(Reason.CONVERSION_FAILED, Stage.CONVERT, cause, hint=ANOTHER_WAY)
