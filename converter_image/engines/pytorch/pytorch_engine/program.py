"""The graph of a .pt2 file, checked word by word before torch builds anything of it.

torch looks up what a graph calls by ``getattr``, evaluates the sizes of tensors as Python, writes Python of
names and of guards, and imports modules that a container names. So here each word has to be one that an
export writes, and what is not needed is left out: guards, traces, containers of the user's classes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from conversion_engine.messages import EngineError, Reason, Stage
from conversion_engine.torch_types import DTYPES

SCHEMA: Final = 8
"""Major version of the format that this torch reads; torch 2.2 and newer have written no other."""
_WORD: Final = re.compile(r"[\w.:]*")
_TEXT: Final = re.compile(r"[\w .,:;<>=+*/|()-]*")
"""What operators take as text: equations of einsum, kinds of padding and of rounding."""
_HIGHER_ORDER: Final = ("cond", "while_loop", "scan", "wrap_with_set_grad_enabled", "wrap_with_autocast")
_OPERATOR: Final = re.compile(
    r"torch\.ops\.(aten|prims)\.\w+\.\w+"
    rf"|torch\.ops\.higher_order\.({'|'.join(_HIGHER_ORDER)})"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
    r"|math\.(trunc|ceil|floor|sqrt)|torch\.(sym_(max|min|not|int|float|ite|sum)|_sym_sqrt)"
)
_NO_COMPUTATION: Final = re.compile(r"torch\.ops\.aten\.(from_file|_?record_stream|_print|_?resize_output).*")
_FOREIGN: Final = re.compile(r"torch\.ops\.(?P<name>\w+\.\w+).*")
_QUANTIZED: Final = re.compile(
    r"torch\.ops\.(quantized\w*|torchao|pt2e_quant)\..*|torch\.ops\.aten\.(de)?quantize_.*|.*fake_quant.*"
)
_SIZE_WORDS: Final = (
    *("Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow", "Max", "Min", "Abs", "Mod", "PythonMod"),
    *(
        "FloorDiv",
        "CeilDiv",
        "CleanDiv",
        "ModularIndexing",
        "Where",
        "Identity",
        "TruncToInt",
        "TruncToFloat",
    ),
    *("FloorToInt", "CeilToInt", "RoundToInt", "RoundDecimal", "ToFloat", "IntTrueDiv", "FloatTrueDiv"),
    *("PowByNatural", "FloatPow", "LShift", "RShift", "IsNonOverlappingAndDenseIndicator", "Eq", "Ne", "Lt"),
    *(
        "Le",
        "Gt",
        "Ge",
        "And",
        "Or",
        "Not",
        "Equality",
        "Unequality",
        "LessThan",
        "StrictLessThan",
        "Piecewise",
    ),
    *("GreaterThan", "StrictGreaterThan", "floor", "ceiling", "true", "false", "True", "False", "positive"),
    *("negative", "nonnegative", "integer", "real", "finite", "extended_positive", "precision", "evaluate"),
)
_SIZE: Final = re.compile(
    rf"(?:(?:{'|'.join(_SIZE_WORDS)}|'?[a-z]{{1,4}}\d{{1,9}}'?)(?![\w'])|'?\d{{1,19}}(?:\.\d{{1,19}})?'?(?!\w)"
    r"|[-+*/%(),=<>&|~ ])*"
)
_SYMBOL: Final = re.compile(r"Symbol\('(\w+)'.*\)|(\w+)")


@dataclass(frozen=True, slots=True)
class Input:
    """An input, in the order of the export."""

    name: str
    dtype: str = ""
    sizes: tuple[int, ...] = ()
    symbols: tuple[str, ...] = ()
    is_constant: bool = False
    """Whether the export has fixed it: a number or None, no tensor."""
    value: Any = None
    """What it is fixed to."""


@dataclass(frozen=True, slots=True)
class Output:
    """An output, in the order of the export; its name is None where it is no tensor."""

    name: str | None
    symbols: tuple[str, ...] = ()
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Program:
    """A graph that is what an export writes."""

    document: dict[str, Any]
    """As the file has it, without what is not needed; inputs and outputs are flat."""
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    torch_version: str


def checked(document: Any, name: str) -> Program:
    """Return the graph of ``models/NAME.json``, safe to load.

    Args:
        document: What JSON it is; it is changed.
        name: The file, for messages.

    Raises:
        EngineError: UnsafeModel for words that no export writes; UnsupportedFormat for another version and
            for quantized models; UnsupportedOperation; UnreadableModel.

    """
    try:
        return _checked(document, name)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError) as error:
        cause = f"{name} has a graph that cannot be read: {type(error).__name__} {str(error)[:80]}"
        raise EngineError(Reason.UNREADABLE_MODEL, Stage.LOAD, cause) from error


def _checked(document: dict[str, Any], name: str) -> Program:
    torch_version = str(document.get("torch_version", "of an unknown version"))[:40]
    major = document["schema_version"]["major"]
    if major != SCHEMA:
        cause = f"{name} was exported by torch {torch_version}: its format is version {major}"
        cause += f", and {SCHEMA} is read"
        raise EngineError(Reason.UNSUPPORTED_FORMAT, Stage.LOAD, cause)
    module = document["graph_module"]
    graph, signature = module["graph"], module["signature"]
    document["guards_code"] = []
    module["metadata"], module["treespec_namedtuple_fields"] = {}, {}
    for node in nodes(graph):
        node["metadata"] = {}
    _check_operators(graph, name)
    inputs = tuple(_inputs(graph, signature))
    outputs = tuple(_outputs(graph, signature))
    module["module_call_graph"] = [_flat_call(inputs, outputs)]
    _Words(name).check(document)
    return Program(document, inputs, outputs, torch_version)


def nodes(graph: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every operator, also those inside of branches and loops."""
    for node in graph["nodes"]:
        yield node
        for argument in node["inputs"]:
            inner = argument["arg"].get("as_graph") if isinstance(argument["arg"], Mapping) else None
            if inner is not None:
                yield from nodes(inner["graph"])


def _check_operators(graph: Mapping[str, Any], name: str) -> None:
    targets = sorted({str(node["target"]) for node in nodes(graph)})
    if quantized := [target for target in targets if _QUANTIZED.fullmatch(target)]:
        cause = f"the model is quantized already: it has {_shown(quantized)}"
        hint = "export the float model that it was made from"
        raise EngineError(Reason.UNSUPPORTED_FORMAT, Stage.LOAD, cause, hint=hint)
    unknown = [t for t in targets if not _OPERATOR.fullmatch(t) or _NO_COMPUTATION.fullmatch(t)]
    foreign = [target for target in unknown if _FOREIGN.fullmatch(target)]
    if foreign and len(foreign) == len(unknown):
        cause = f"TFLite has no operators for {_shown(foreign)}"
        hint = "export the model with PyTorch's own operators only, or the part before them"
        raise EngineError(Reason.UNSUPPORTED_OPERATION, Stage.LOAD, cause, hint=hint)
    if unknown:
        cause = (
            f"{name} calls {_shown([t for t in unknown if t not in foreign])}, which no exported program does"
        )
        raise EngineError(Reason.UNSAFE_MODEL, Stage.LOAD, cause)


def _shown(targets: list[str]) -> str:
    names = [target.removeprefix("torch.ops.")[:60] for target in targets]
    return ", ".join(names[:6]) + (", …" if len(names) > 6 else "")


def _inputs(graph: Mapping[str, Any], signature: Mapping[str, Any]) -> Iterator[Input]:
    for spec in signature["input_specs"]:
        ((kind, content),) = spec.items()
        if kind in ("custom_obj", "token"):
            raise _no_tensor(f"it takes a {kind}")
        if kind == "constant_input":
            ((_, value),) = content["value"].items()
            yield Input(
                str(content["name"]),
                is_constant=True,
                value=value if "as_none" not in content["value"] else None,
            )
        if kind != "user_input":
            continue
        ((how, argument),) = content["arg"].items()
        if how != "as_tensor":
            raise _no_tensor(f"it takes a number ({how.removeprefix('as_')}) that is no tensor")
        name = argument["name"]
        meta = graph["tensor_values"][name]
        sizes = tuple(int(size.get("as_int", -1)) for size in meta["sizes"])
        yield Input(name, _dtype(name, meta), sizes, _symbols(meta))


def _dtype(name: str, meta: Mapping[str, Any]) -> str:
    dtype = DTYPES.get(meta["dtype"])
    if dtype is None:
        raise _no_tensor(f"{name!r} is of a type that TFLite has no numbers for")
    return dtype


def _outputs(graph: Mapping[str, Any], signature: Mapping[str, Any]) -> Iterator[Output]:
    for spec in signature["output_specs"]:
        ((kind, content),) = spec.items()
        if kind != "user_output":
            what = kind.replace("_", " ")
            cause = f"the model changes its own values when it runs ({what}), and a TFLite file keeps none"
            hint = "export it in inference mode: torch.export.export(model.eval(), (example,))"
            raise EngineError(Reason.UNSUPPORTED_OPERATION, Stage.LOAD, cause, hint=hint)
        ((how, argument),) = content["arg"].items()
        if how.startswith("as_sym"):
            raise _no_tensor("it gives a size, which is no tensor")
        if how != "as_tensor":
            yield Output(None)
            continue
        meta = graph["tensor_values"][argument["name"]]
        yield Output(argument["name"], _symbols(meta), len(meta["sizes"]))


def _symbols(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what open sizes are called; a size that is computed has no name."""
    found = []
    for size in meta["sizes"]:
        named = _SYMBOL.fullmatch(size["as_expr"]["expr_str"]) if "as_expr" in size else None
        found.append((named[1] or named[2]) if named is not None else "")
    return tuple(found)


def _no_tensor(what: str) -> EngineError:
    hint = "export the model with tensors as inputs and outputs"
    return EngineError(
        Reason.UNSUPPORTED_OPERATION, Stage.LOAD, f"the model cannot be converted: {what}", hint=hint
    )


def _flat_call(inputs: tuple[Input, ...], outputs: tuple[Output, ...]) -> dict[str, Any]:
    """Return the call of a model that takes and gives plain tuples, whatever containers it had."""
    leaf: dict[str, Any] = {"type": None, "context": None, "children_spec": []}

    def row(children: list[Any]) -> dict[str, Any]:
        return {"type": "builtins.tuple", "context": "null", "children_spec": children}

    no_names = {"type": "builtins.dict", "context": "[]", "children_spec": []}
    signature = {
        "inputs": [],
        "outputs": [],
        "in_spec": json.dumps([1, row([row([leaf] * len(inputs)), no_names])]),
        "out_spec": json.dumps([1, row([leaf] * len(outputs))]),
        "forward_arg_names": [f"input_{place}" for place in range(len(inputs))],
    }
    return {"fqn": "", "signature": signature}


class _Words:
    """Every word of a document."""

    def __init__(self, name: str) -> None:
        self._name = name

    def check(self, item: Any, key: str = "") -> None:
        """Refuse what no export writes, and put everything onto the CPU.

        Raises:
            EngineError: UnsafeModel.

        """
        if isinstance(item, dict):
            self._table(item)
        elif isinstance(item, list):
            for part in item:
                self.check(part, key)
        elif isinstance(item, str):
            self._word(item, key)

    def _table(self, item: dict[str, Any]) -> None:
        for key, value in item.items():
            if not _WORD.fullmatch(key):
                raise self._refused("the name", key)
            if key in ("as_custom_obj", "custom_obj") or (key == "custom_obj_values" and value):
                raise self._refused("an object of a class of its own", "")
            if key in ("device", "as_device") and isinstance(value, dict):
                item[key] = {"type": "cpu", "index": None}
                continue
            self.check(value, key)

    def _word(self, word: str, key: str) -> None:
        if key in ("in_spec", "out_spec", "torch_version"):
            return  # ours, and what is never read
        if key in ("target", "as_operator"):
            if not _OPERATOR.fullmatch(word) or _NO_COMPUTATION.fullmatch(word):
                raise self._refused("the operator", word)
        elif key == "expr_str":
            if not _SIZE.fullmatch(word):
                raise self._refused("the size", word)
        elif not (_TEXT if key in ("as_string", "as_strings") else _WORD).fullmatch(word):
            raise self._refused("the name", word)

    def _refused(self, what: str, word: str) -> EngineError:
        cause = f"{self._name} has {what} {word[:60]!r}, which no export writes".replace(" '',", ",")
        return EngineError(Reason.UNSAFE_MODEL, Stage.LOAD, cause)
