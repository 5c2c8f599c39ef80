"""Files of jax.export told by their bytes and read without JAX; the bytes here are made by hand."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_engine.exported import ExportedError, is_exported, read_exported
from modelconversion_api.reasons import FailureReason
from modelconversion_api.spec import SourceFormat
from support.engines.jax_by_hand import LEAF, MODULE, exported
from tflite_converter.errors import ConverterError
from tflite_converter.files.formats import detect_format
from tflite_converter.files.stablehlo_file import is_stablehlo, read_stablehlo

WHOLE = exported()
A, B = ("float32", ("b", 8, 3)), ("int32", (1, 2))


def written(folder: Path, content: bytes, name: str = "m.jax") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("numbered", [True, False])
def test_what_a_file_says(tmp_path: Path, numbered: bool) -> None:
    tree = (({"image": LEAF, "mask": LEAF}, [LEAF]), {"scale": LEAF})
    content = exported((A, B, A, B), (A, B), tree, {"aux": (LEAF, None), "logits": LEAF}, numbered=numbered)
    found = read_stablehlo(written(tmp_path, content))
    assert found is not None
    assert [leaf.place for leaf in found.inputs] == ["args_0.image", "args_0.mask", "args_1.0", "scale"]
    assert [leaf.path for leaf in found.outputs] == [("aux", 0), ("logits",)]
    assert [(leaf.dtype, leaf.shape, leaf.sizes) for leaf in found.inputs[:2]] == [
        ("float32", ("b", 8, 3), [-1, 8, 3]),
        ("int32", (1, 2), [1, 2]),
    ]
    assert (found.function, found.jax_version, found.platforms) == ("f", "0.12.0", ("cpu",))
    assert (found.calling_convention, found.devices, found.effects) == (10, 1, ())
    assert bytes(found.module) == MODULE


@pytest.mark.parametrize("name", ["m.jax", "model", "m.onnx", "m.h5"])
def test_bytes_decide_and_not_the_name(tmp_path: Path, name: str) -> None:
    assert detect_format(written(tmp_path, WHOLE, name)) is SourceFormat.STABLEHLO
    assert detect_format(written(tmp_path, MODULE, name)) is SourceFormat.STABLEHLO
    assert read_stablehlo(tmp_path / name) is None  # a bare module, which only an engine reads


@pytest.mark.parametrize(
    "content",
    [
        b"TFL3",
        b"\x1c\0\0\0TFL3" + bytes(60),
        b"\x08\x07\x12\x07pytorch",
        bytes(200),
        b"\x40" + bytes(300),
        exported(module=b"something else"),
    ],
)
def test_other_files_are_none(tmp_path: Path, content: bytes) -> None:
    assert not is_stablehlo(written(tmp_path, content))


@pytest.mark.parametrize("share", [0.3, 0.5, 0.6, 0.7])
def test_a_file_that_is_cut_off_is_told_and_refused(tmp_path: Path, share: float) -> None:
    path = written(tmp_path, WHOLE[: int(share * len(WHOLE))])
    assert detect_format(path) is SourceFormat.STABLEHLO
    with pytest.raises(ConverterError, match="truncated or corrupt") as raised:
        read_stablehlo(path)
    assert raised.value.reason is FailureReason.UNREADABLE_MODEL


def nested(levels: int) -> Any:
    return LEAF if levels == 0 else (nested(levels - 1),)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (exported(in_tree=((LEAF, LEAF), {})), "other leaves"),
        (exported(in_tree=LEAF), "no arguments"),
        (exported(in_tree=((nested(80),), {})), "too deep"),
        (exported(inputs=(("float32", (1,) * 40),)), "40 dimensions"),
        (exported(platforms=["cpu"] * 5000), "5000 entries"),
        (exported(platforms=["c" * 9000]), "cut off"),
    ],
)
def test_what_cannot_be_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(ExportedError, match=says):
        read_exported(content)


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_no_damage_breaks_the_reader(changes: list[tuple[int, int]]) -> None:
    content = bytearray(WHOLE)
    for place, value in changes:
        content[place] = value
    with contextlib.suppress(ExportedError):
        read_exported(bytes(content))
    is_exported(bytes(content))
