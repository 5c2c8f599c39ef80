"""A .pt2 file put together by hand, and what a hostile one does: no PyTorch is needed to write them."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

Entries = dict[str, bytes]
HIDDEN = "open({marker!r}, 'w').close()"
"""What a hostile file would run: it leaves a file behind."""


def meta(*sizes: Any, dtype: int = 7) -> dict[str, Any]:
    """Return what a file says of a tensor; a size is a number or an expression."""
    strides, stride = [], 1
    for size in reversed(sizes):
        strides.insert(0, stride)
        stride *= size if isinstance(size, int) else 2
    return {
        "dtype": dtype,
        "sizes": [s if isinstance(s, dict) else {"as_int": s} for s in sizes],
        "requires_grad": False,
        "device": {"type": "cpu", "index": None},
        "strides": [{"as_int": stride} for stride in strides],
        "storage_offset": {"as_int": 0},
        "layout": 7,
    }


def node(target: str, output: str, *inputs: Any) -> dict[str, Any]:
    """Return an operator; an input that is text is a tensor's name."""
    arguments = [{"as_tensor": {"name": each}} if isinstance(each, str) else each for each in inputs]
    return {
        "target": target,
        "inputs": [
            {"name": name, "arg": arg, "kind": 1}
            for name, arg in zip(("self", "other"), arguments, strict=False)
        ],
        "outputs": [{"as_tensor": {"name": output}}],
        "metadata": {},
        "is_hop_single_tensor_return": None,
        "name": output,
    }


def tensor(name: str) -> dict[str, Any]:
    return {"as_tensor": {"name": name}}


def document() -> dict[str, Any]:
    """Return the graph of ``relu(x * w) + k`` for one row of three numbers."""
    values = {"p_w": meta(3), "c_k": meta(3), **{name: meta(1, 3) for name in ("x", "mul", "relu", "add")}}
    specs = [
        {"parameter": {"arg": {"name": "p_w"}, "parameter_name": "w"}},
        {"tensor_constant": {"arg": {"name": "c_k"}, "tensor_constant_name": "k"}},
        {"user_input": {"arg": tensor("x")}},
    ]
    leaf = {"type": None, "context": None, "children_spec": []}
    row = {"type": "builtins.tuple", "context": "null", "children_spec": [leaf]}
    empty = {"type": "builtins.dict", "context": "[]", "children_spec": []}
    call = {
        "inputs": [],
        "outputs": [],
        "in_spec": json.dumps([1, {**row, "children_spec": [row, empty]}]),
        "out_spec": json.dumps([1, leaf]),
        "forward_arg_names": ["x"],
    }
    graph = {
        "inputs": [tensor(name) for name in ("p_w", "c_k", "x")],
        "outputs": [tensor("add")],
        "nodes": [
            node("torch.ops.aten.mul.Tensor", "mul", "x", "p_w"),
            node("torch.ops.aten.relu.default", "relu", "mul"),
            node("torch.ops.aten.add.Tensor", "add", "relu", "c_k"),
        ],
        "tensor_values": values,
        "sym_int_values": {},
        "sym_bool_values": {},
        "is_single_tensor_return": False,
        "custom_obj_values": {},
        "sym_float_values": {},
    }
    return {
        "graph_module": {
            "graph": graph,
            "signature": {"input_specs": specs, "output_specs": [{"user_output": {"arg": tensor("add")}}]},
            "module_call_graph": [{"fqn": "", "signature": call}],
            "metadata": {},
            "treespec_namedtuple_fields": {},
        },
        "opset_version": {"aten": 10},
        "range_constraints": {},
        "schema_version": {"major": 8, "minor": 20},
        "verifiers": ["TRAINING"],
        "torch_version": "2.14.1",
        "guards_code": [],
    }


def payload(name: str, path: str, *, is_param: bool) -> dict[str, Any]:
    one = {"path_name": path, "is_param": is_param, "use_pickle": False, "tensor_meta": meta(3)}
    return {"config": {name: one}}


def entries(graph: dict[str, Any] | None = None) -> Entries:
    """Return a sound file's entries, with another graph where one is given."""
    return {
        "data/weights/weight_0": struct.pack("3f", 1, -2, 3),
        "data/weights/model_weights_config.json": dumped(payload("w", "weight_0", is_param=True)),
        "data/constants/tensor_0": struct.pack("3f", 0.5, 0.25, 0.125),
        "data/constants/model_constants_config.json": dumped(payload("k", "tensor_0", is_param=False)),
        "models/model.json": dumped(document() if graph is None else graph),
        "data/sample_inputs/model.pt": b"",
        "archive_format": b"pt2",
        "archive_version": b"0",
        ".data/version": b"6\n",
        "byteorder": b"little",
    }


def dumped(item: Any) -> bytes:
    return json.dumps(item).encode()


def written(path: Path, content: Entries, kind: int = zipfile.ZIP_STORED) -> Path:
    """Write the entries into one archive."""
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, part in content.items():
            archive.writestr(f"m/{name}", part)
    return path


class _Runs:
    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> Any:
        return exec, (self.code,)


def pickled(code: str) -> bytes:
    """Return a pickle that runs ``code`` when it is loaded."""
    return pickle.dumps(_Runs(code), protocol=2)


def saved(code: str) -> bytes:
    """Return what ``torch.save`` would write of an object that runs ``code``."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in (("data.pkl", pickled(code)), ("version", b"3\n"), ("byteorder", b"little")):
            archive.writestr(f"archive/{name}", content)
    return stream.getvalue()


def hostile(marker: Path) -> dict[str, Entries]:
    """Return files that make the file ``marker`` in torch's own loader, by where the code lies."""
    code = HIDDEN.format(marker=str(marker))
    found = {"sample inputs": entries() | {"data/sample_inputs/model.pt": saved(code)}}
    for kind, name in (("weights", "weight_0"), ("constants", "tensor_0")):
        config = payload("w" if kind == "weights" else "k", name, is_param=kind == "weights")
        (one,) = config["config"].values()
        one["use_pickle"] = True
        found[kind] = entries() | {
            f"data/{kind}/{name}": saved(code),
            f"data/{kind}/model_{kind}_config.json": dumped(config),
        }
    config = payload("k", "opaque_obj_0", is_param=False)
    config["config"]["k"]["use_pickle"] = True
    found["an object"] = entries() | {
        "data/constants/opaque_obj_0": pickled(code),
        "data/constants/model_constants_config.json": dumped(config),
    }
    graph = document()
    size = {"as_expr": {"expr_str": f"__import__('os').system('touch {marker}')", "hint": {"as_int": 1}}}
    graph["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0] = size
    found["a size"] = entries(graph)
    return found
