"""What a front half has left is packed whole, and nothing else is ever unpacked."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflite_converter.conversion import kept_front
from tflite_converter.conversion.kept_front import FRONT_FILE, FRONT_RESULT_FILE, names_in, pack, unpack
from tflite_converter.errors import ConverterError
from tflite_converter.workers.front import FrontResult, TensorFlowResult

RESULT = TensorFlowResult(inputs=[], outputs=[], writer="keras 3.1", fused_integers=True, warnings=("w",))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "labels.npy").write_bytes(b"labels")
    return folder


def _pack(tmp_path: Path, files: dict[str, bytes], result: FrontResult = RESULT) -> Path:
    source, target = tmp_path / "made", tmp_path / "kept"
    source.mkdir()
    target.mkdir()
    (source / "labels.npy").write_bytes(b"labels")
    before = names_in(source)
    for name, content in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    pack(source, before, result, target)
    return target


def _tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_was_added_comes_back_and_what_was_there_stays(tmp_path: Path, work: Path) -> None:
    files = {"float.tflite": b"TFL3" * 1000, "reference/0.npy": b"", "frozen/variables/data": b"\0" * 70000}
    kept = _pack(tmp_path, files)
    assert unpack(kept, work, tmp_path / "staging") == RESULT
    assert _tree(work) == {"labels.npy": b"labels", **files}
    assert not (tmp_path / "staging").exists()


def test_what_was_taken_away_is_taken_away(tmp_path: Path, work: Path) -> None:
    source, target = tmp_path / "made", tmp_path / "kept"
    source.mkdir()
    target.mkdir()
    (source / "labels.npy").write_bytes(b"labels")
    before = names_in(source)
    (source / "labels.npy").unlink()
    pack(source, before, FrontResult(inputs=[], outputs=[], writer="onnx"), target)
    assert unpack(target, work, tmp_path / "staging").writer == "onnx"
    assert _tree(work) == {}


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    files = {"z.tflite": b"z", "folder/b": b"b", "folder/a": b"a"}
    first = _pack(tmp_path / "a", files)
    second = _pack(tmp_path / "b", dict(reversed(files.items())))
    os.utime(second.parent / "made" / "z.tflite", (0, 0))
    assert (first / FRONT_FILE).read_bytes() == (second / FRONT_FILE).read_bytes()


def test_what_is_too_large_or_no_file_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_front, "MAX_FRONT_BYTES", 100)
    (tmp_path / "a").mkdir()
    with pytest.raises(ConverterError, match="larger than"):
        _pack(tmp_path / "a", {"float.tflite": b"x" * 101})
    assert _tree(tmp_path / "a" / "kept") == {}
    source = tmp_path / "b"
    source.mkdir()
    os.mkfifo(source / "pipe")
    with pytest.raises(ConverterError, match="pipe"):
        pack(source, frozenset(), RESULT, tmp_path / "a" / "kept")
    assert _tree(tmp_path / "a" / "kept") == {}
    (source / "pipe").unlink()
    (source / "link").symlink_to("/etc/hostname")
    pack(source, frozenset(), RESULT, tmp_path / "a" / "kept")
    with tarfile.open(tmp_path / "a" / "kept" / FRONT_FILE) as tar:
        assert tar.getnames() == []


def _entry(name: str, content: bytes = b"x", **fields: object) -> Callable[[tarfile.TarFile], None]:
    def add(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for field, value in fields.items():
            setattr(info, field, value)
        tar.addfile(info, io.BytesIO(content))

    return add


HOSTILE: dict[str, list[Callable[[tarfile.TarFile], None]]] = {
    "climbs": [_entry("../float.tflite")],
    "climbs inside": [_entry("a/../../float.tflite")],
    "absolute": [_entry("/tmp/float.tflite")],
    "empty part": [_entry("a//b")],
    "dot": [_entry("./float.tflite")],
    "twice": [_entry("float.tflite"), _entry("float.tflite")],
    "below a file": [_entry("a"), _entry("a/b")],
    "link": [_entry("a", b"", type=tarfile.SYMTYPE, linkname="/etc")],
    "hard link": [_entry("a", b"", type=tarfile.LNKTYPE, linkname="labels.npy")],
    "through a link": [_entry("a", b"", type=tarfile.SYMTYPE, linkname="/etc"), _entry("a/passwd")],
    "device": [_entry("a", b"", type=tarfile.CHRTYPE)],
    "pipe": [_entry("a", b"", type=tarfile.FIFOTYPE)],
    "folder": [_entry("a", b"", type=tarfile.DIRTYPE)],
    "replaces what is there": [_entry("labels.npy")],
    "a folder for what is there": [_entry("labels.npy/a")],
    "too many": [_entry(f"{n}", b"") for n in range(10_001)],
    "zero byte": [_entry("a\0b", b"", pax_headers={"path": "a\0b"})],
}


@pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_leave_the_folder_as_it_was(
    tmp_path: Path, work: Path, entries: list[Callable[[tarfile.TarFile], None]]
) -> None:
    kept = _pack(tmp_path, {})
    with tarfile.open(kept / FRONT_FILE, "w") as tar:
        for add in entries:
            add(tar)
    outside = _tree(tmp_path)
    with pytest.raises(ConverterError):
        unpack(kept, work, tmp_path / "staging")
    assert _tree(tmp_path) == outside


def test_a_size_that_lies(tmp_path: Path, work: Path) -> None:
    kept = _pack(tmp_path, {"float.tflite": b"x" * 5000})
    whole = (kept / FRONT_FILE).read_bytes()
    (kept / FRONT_FILE).write_bytes(whole[:2000])
    with pytest.raises(ConverterError):
        unpack(kept, work, tmp_path / "staging")
    header = bytearray(whole)
    header[124:136] = b"77777777777\0"  # 8 GiB, and a checksum that fits
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    (kept / FRONT_FILE).write_bytes(bytes(header))
    with pytest.raises(ConverterError, match="too much"):
        unpack(kept, work, tmp_path / "staging")
    assert _tree(work) == {"labels.npy": b"labels"}


@given(junk=st.binary(max_size=2000), in_result=st.booleans())
def test_junk_is_an_error_of_the_contract(
    junk: bytes, in_result: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("junk")
    kept = _pack(folder, {"float.tflite": b"x"})
    (kept / (FRONT_RESULT_FILE if in_result else FRONT_FILE)).write_bytes(junk)
    target = folder / "work"
    target.mkdir()
    try:
        unpack(kept, target, folder / "staging")
    except ConverterError:
        assert _tree(target) == {}
    else:
        assert not in_result, "only zeros, or nothing, are an empty archive"
