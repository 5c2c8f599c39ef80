"""What the PyTorch engine and the converter make of a .pt2 file's bytes, before any PyTorch is there."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conversion_engine.messages import EngineError, Reason
from modelconversion_api.reasons import FailureReason
from modelconversion_api.spec import SourceFormat
from pytorch_engine.archive import Archive
from pytorch_engine.images import image_inputs, image_outputs
from pytorch_engine.loading import read
from pytorch_engine.program import Program, checked
from support.engines import pt2_by_hand as by_hand
from tflite_converter.errors import ConverterError
from tflite_converter.files.pytorch_file import is_exported_program, read_exported_program
from tflite_converter.files.sources import open_source

UNSAFE, UNREADABLE = Reason.UNSAFE_MODEL, Reason.UNREADABLE_MODEL
UNSUPPORTED = Reason.UNSUPPORTED_FORMAT
Change = Callable[[dict[str, Any]], object]


def read_all(path: Path) -> None:
    archive, _ = read(path)
    for kind in ("weights", "constants"):
        archive.payload(kind)


def refusal(path: Path) -> EngineError:
    with pytest.raises(EngineError) as raised:
        read_all(path)
    return raised.value


def test_a_sound_file_is_understood(tmp_path: Path) -> None:
    archive, program = read(by_hand.written(tmp_path / "m.pt2", by_hand.entries()))
    assert [(edge.name, edge.dtype, edge.sizes) for edge in program.inputs] == [("x", "float32", (1, 3))]
    assert [output.name for output in program.outputs] == ["add"]
    assert archive.payload("weights")["w"]["path_name"] == "weight_0"
    assert len(archive.read("data/constants/tensor_0")) == 12


@pytest.mark.parametrize("where", by_hand.hostile(Path("m")))
def test_what_would_run_code_is_refused(tmp_path: Path, where: str) -> None:
    marker = tmp_path / "ran"
    path = by_hand.written(tmp_path / "m.pt2", by_hand.hostile(marker)[where])
    assert refusal(path).failure.reason is UNSAFE
    assert not marker.exists()


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        ({"../outside": b""}, UNSAFE, "leads out of it"),
        ({"data\\weights": b""}, UNSAFE, "leads out of it"),
        ({"data/aotinductor/model/model.so": b""}, UNSAFE, "compiled code"),
        ({"data/constants/custom_obj_0": b""}, UNSAFE, "a pickled object"),
        ({"data/something": b""}, UNSAFE, "which no exported program has"),
        ({"data/weights/model.pt": b""}, UNSUPPORTED, "torch 2.8 or older"),
        ({"models/second.json": b"{}"}, UNSUPPORTED, "holds 2 programs"),
        ({"models/model.json": b"{"}, UNREADABLE, "is no JSON"),
        ({"models/model.json": b"[" * 100_000}, UNREADABLE, "is no JSON"),
        ({"models/model.json": b"[]"}, UNREADABLE, "cannot be read"),
        ({"archive_format": b"zip"}, UNREADABLE, "no archive of torch.export.save"),
        ({"byteorder": b"big"}, UNREADABLE, "another byte order"),
        ({"data/weights/weight_0": b"1234"}, UNREADABLE, "too few bytes for 'w' of the sizes [3]"),
        ({"data/sample_inputs/model.pt": b"no zip"}, UNSAFE, "more than tensors"),
    ],
)
def test_entries(tmp_path: Path, change: by_hand.Entries, reason: Reason, says: str) -> None:
    error = refusal(by_hand.written(tmp_path / "m.pt2", by_hand.entries() | change))
    assert (error.failure.reason, says in error.failure.cause) == (reason, True), error.failure.cause


def test_containers(tmp_path: Path) -> None:
    packed = by_hand.written(tmp_path / "packed.pt2", by_hand.entries(), zipfile.ZIP_DEFLATED)
    assert refusal(packed).failure.reason is UNSAFE
    whole = by_hand.written(tmp_path / "whole.pt2", by_hand.entries()).read_bytes()
    (tmp_path / "cut.pt2").write_bytes(whole[: len(whole) // 2])
    assert refusal(tmp_path / "cut.pt2").failure.reason is UNREADABLE
    with zipfile.ZipFile(tmp_path / "twice.pt2", "w") as archive:
        for name, part in by_hand.entries().items():
            archive.writestr(name, part)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("archive_format", b"pt2")
    assert "two of one name" in refusal(tmp_path / "twice.pt2").failure.cause


class _Named:
    """Stands for a class that a pickle names."""


def sample_inputs(pickled: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "is_fine"),
    [
        (((1, "a", None, [2.5, {}]), OrderedDict()), True),
        ((_Named(),), False),
        ((print,), False),
    ],
)
def test_sample_inputs(tmp_path: Path, content: Any, *, is_fine: bool) -> None:
    pickled = sample_inputs(pickle.dumps(content, protocol=2))
    path = by_hand.written(tmp_path / "m.pt2", by_hand.entries() | {"data/sample_inputs/model.pt": pickled})
    if is_fine:
        Archive(path)
    else:
        assert "more than tensors: it" in refusal(path).failure.cause


def test_a_pickle_of_a_newer_protocol_hides_no_name(tmp_path: Path) -> None:
    pickled = sample_inputs(pickle.dumps(print, protocol=4))
    entries = by_hand.entries() | {"data/sample_inputs/model.pt": pickled}
    assert refusal(by_hand.written(tmp_path / "m.pt2", entries)).failure.reason is UNSAFE


def graph_of(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["graph_module"]["graph"]
    return found


def operator(target: str) -> Change:
    return lambda document: graph_of(document)["nodes"][1].update(target=target)


def size(words: str) -> Change:
    expression = {"as_expr": {"expr_str": words, "hint": {"as_int": 1}}}
    return lambda document: graph_of(document)["tensor_values"]["x"]["sizes"].__setitem__(0, expression)


def program_of(change: Change) -> Program:
    document = by_hand.document()
    change(document)
    return checked(document, "m.pt2")


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        (operator("torch.os.system"), UNSAFE, "torch.os.system"),
        (operator("torch.load"), UNSAFE, "torch.load"),
        (operator("_operator.attrgetter"), UNSAFE, "attrgetter"),
        (operator("torch.ops.aten.from_file.default"), Reason.UNSUPPORTED_OPERATION, "from_file"),
        (
            operator("torch.ops.higher_order.triton_kernel_wrapper_mutation"),
            Reason.UNSUPPORTED_OPERATION,
            "triton",
        ),
        (operator("torch.ops.torchvision.nms.default"), Reason.UNSUPPORTED_OPERATION, "torchvision.nms"),
        (
            operator("torch.ops.quantized_decomposed.quantize_per_tensor.default"),
            UNSUPPORTED,
            "quantized already",
        ),
        (size("exit()"), UNSAFE, "the size"),
        (size("().__class__"), UNSAFE, "the size"),
        (size("Symbol('s0').func"), UNSAFE, "the size"),
        (size("lambda: 1"), UNSAFE, "the size"),
        (lambda d: graph_of(d)["nodes"][0].update(name="x): pass\nimport os"), UNSAFE, "the name"),
        (lambda d: graph_of(d)["tensor_values"].update({"x\n": by_hand.meta(1)}), UNSAFE, "the name"),
        (lambda d: graph_of(d).update(custom_obj_values={"a": {}}), UNSAFE, "a class of its own"),
        (
            lambda d: d["schema_version"].update(major=9),
            UNSUPPORTED,
            "its format is version 9, and 8 is read",
        ),
        (lambda d: d.pop("schema_version"), UNREADABLE, "cannot be read"),
        (
            lambda d: d["graph_module"]["signature"]["output_specs"].insert(
                0, {"buffer_mutation": {"arg": {"name": "add"}, "buffer_name": "n"}}
            ),
            Reason.UNSUPPORTED_OPERATION,
            "buffer mutation",
        ),
    ],
)
def test_graphs(change: Change, reason: Reason, says: str) -> None:
    with pytest.raises(EngineError) as raised:
        program_of(change)
    failure = raised.value.failure
    assert (failure.reason, says in failure.cause) == (reason, True), failure.cause


@pytest.mark.parametrize(
    ("words", "symbol"),
    [
        ("Symbol('s40', positive=True, integer=True)", "s40"),
        ("s77", "s77"),
        ("2*Symbol('s0', positive=True, integer=True) + 1", ""),
        ("Max(1, FloorDiv(s0, 2))", ""),
        ("Mul(Integer(4), Symbol('s25', positive=True, integer=True))", ""),
    ],
)
def test_sizes_that_an_export_writes(words: str, symbol: str) -> None:
    (edge,) = program_of(size(words)).inputs
    assert (edge.sizes, edge.symbols) == ((-1, 3), (symbol, ""))


def test_what_is_not_needed_is_left_out_and_everything_is_on_the_cpu() -> None:
    def change(document: dict[str, Any]) -> None:
        document["guards_code"] = ["__import__('os').abort()"]
        document["graph_module"]["metadata"] = {"custom": "}"}
        graph_of(document)["nodes"][0]["metadata"] = {"stack_trace": 'File "/home/somebody/net.py"'}
        document["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = "[1, __enum__]"
        for meta in graph_of(document)["tensor_values"].values():
            meta["device"] = {"type": "cuda", "index": 1}

    text = json.dumps(program_of(change).document)
    assert not any(word in text for word in ("abort", "somebody", "__enum__", "cuda", 'custom"'))


def image_program(target: str, *, rank: int = 4) -> Program:
    def change(document: dict[str, Any]) -> None:
        operator(target)(document)
        for name in ("x", "mul", "relu", "add"):
            graph_of(document)["tensor_values"][name] = by_hand.meta(*(1, 3, 8, 8)[:rank])

    return program_of(change)


@pytest.mark.parametrize(
    ("target", "rank", "is_image"),
    [
        ("torch.ops.aten.conv2d.default", 4, True),
        ("torch.ops.aten.upsample_bilinear2d.vec", 4, True),
        ("torch.ops.aten.max_pool2d.default", 3, False),
        ("torch.ops.aten.matmul.default", 4, False),
        ("torch.ops.aten.relu.default", 4, False),
    ],
)
def test_images_are_what_reaches_an_operator_on_images(target: str, rank: int, *, is_image: bool) -> None:
    program = image_program(target, rank=rank)
    assert image_inputs(program) == ({"x"} if is_image else set())
    assert image_outputs(program) == ({"add"} if is_image else set())


def test_the_converter_knows_it_by_its_bytes_and_reads_what_it_takes(tmp_path: Path) -> None:
    path = by_hand.written(tmp_path / "model.h5", by_hand.entries())
    assert open_source(path, SourceFormat.AUTO, None, tmp_path).format is SourceFormat.PYTORCH
    found = read_exported_program(path)
    assert found.writer == "torch 2.14.1"
    assert [edge.to_json() for edge in found.inputs] == [{"name": "x", "shape": [1, 3], "dtype": "float32"}]
    assert [edge.name for edge in found.outputs] == ["add"]
    assert found.operators == {"aten.mul.Tensor": 1, "aten.relu.default": 1, "aten.add.Tensor": 1}
    with pytest.raises(ConverterError, match="declared as ONNX"):
        open_source(path, SourceFormat.ONNX, None, tmp_path)


@pytest.mark.parametrize("graph", [b"", b"{}", b"[1]", b'{"graph_module": 1}'])
def test_a_file_that_says_nothing(tmp_path: Path, graph: bytes) -> None:
    path = by_hand.written(tmp_path / "m.pt2", by_hand.entries() | {"models/model.json": graph})
    with pytest.raises(ConverterError) as raised:
        read_exported_program(path)
    assert raised.value.reason is FailureReason.UNREADABLE_MODEL


def test_a_file_that_is_cut_off_is_one_still(tmp_path: Path) -> None:
    path = by_hand.written(tmp_path / "m.pt2", by_hand.entries())
    path.write_bytes(path.read_bytes()[:-40])
    assert is_exported_program(path)
    (tmp_path / "other.zip").write_bytes(b"PK\x03\x04" + bytes(60))
    assert not is_exported_program(tmp_path / "other.zip")
