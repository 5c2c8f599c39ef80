"""Archives from strangers: nothing leaves the folder, nothing stays after a refusal, sizes are counted."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError
from tflite_converter.files import archives
from tflite_converter.files.archives import is_archive, safe_relative_path, unpack

NAMES = st.text(st.sampled_from("ab./\\~ \0\n\u202eé"), max_size=12)
"""The letters that paths go wrong with."""
CONTENT = {"saved_model.pb": b"graph", "variables/variables.index": b"", "assets/Wörter.txt": bytes(70_000)}


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members:
            archive.writestr(member, content)
    return path


def tarred(path: Path, *members: tuple[str | tarfile.TarInfo, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]  # a mode from a table
        for member, content in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def files_under(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refusal(path: Path, stage: Stage = Stage.LOAD) -> ConverterError:
    """The error, after a look that nothing was left and nothing was written elsewhere."""
    folder = path.parent / "work" / "inside"
    around = {p for p in path.parent.rglob("*") if folder not in p.parents}
    with pytest.raises(ConverterError) as caught:
        unpack(path, folder, stage=stage, what="a SavedModel")
    assert list(folder.iterdir()) == []
    assert set(path.parent.rglob("*")) - around <= {folder, folder.parent}
    assert caught.value.stage is stage
    return caught.value


@given(NAMES)
@example("a/../b")
@example("/etc/passwd")
def test_a_safe_path_stays_where_it_is_put(name: str) -> None:
    try:
        assert safe_relative_path(name, Stage.FETCH) == name
    except ConverterError:
        return
    joined = os.path.normpath(f"/folder/{name}")
    assert joined == f"/folder/{name}"
    assert PurePosixPath(joined).is_relative_to("/folder")


@pytest.mark.parametrize("name", ["saved_model.pb", "a/b c/..d", "assets/Wörter.txt", "x" * 255])
def test_paths_that_are_safe(name: str) -> None:
    assert safe_relative_path(name, Stage.FETCH) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "./x", "a/.", "a/", "a\\..\\b", "a\nb"),
        *("a\0b", "x" * 256, "/".join(["x"] * 600), "\udc80"),
    ],
)
def test_paths_that_are_not(name: str) -> None:
    with pytest.raises(ConverterError) as caught:
        safe_relative_path(name, Stage.CALIBRATE, FailureReason.DATA_UNREADABLE)
    assert caught.value.reason is FailureReason.DATA_UNREADABLE
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("prefix", ["", "./", "model/", "./model/"])
@pytest.mark.parametrize("pack", [zipped, tarred, lambda path, *m: tarred(path, *m, mode="w")])
def test_content_comes_out_as_it_went_in(tmp_path: Path, pack: Callable[..., Path], prefix: str) -> None:
    path = pack(tmp_path / "model", *((prefix + name, content) for name, content in CONTENT.items()))
    assert is_archive(path)
    found = unpack(path, tmp_path / "work", stage=Stage.LOAD, what="a SavedModel")
    assert files_under(found) == CONTENT
    assert (tmp_path / "work") in found.parents


def test_what_real_programs_pack_is_unpacked(tmp_path: Path) -> None:
    """Entries for folders, ``./`` before every name, modes, long names, and what macOS leaves."""
    source = tmp_path / "source"
    (source / "model" / "variables").mkdir(parents=True)
    (source / "model" / ("v" * 200)).write_bytes(b"long")
    (source / "model" / "variables" / "x").write_bytes(b"x")
    (source / "__MACOSX").mkdir()
    (source / ".DS_Store").write_bytes(b"")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.add(source, arcname=".")
    found = unpack(tmp_path / "a.tar.gz", tmp_path / "work", stage=Stage.LOAD, what="a SavedModel")
    assert found.name == "model"
    assert files_under(found) == {"v" * 200: b"long", "variables/x": b"x"}


def test_several_archives_share_a_folder(tmp_path: Path) -> None:
    first, second = zipped(tmp_path / "1.zip", ("x", b"1")), zipped(tmp_path / "2.zip", ("x", b"2"))
    found = [unpack(path, tmp_path / "work", stage=Stage.LOAD, what="x") for path in (first, second)]
    assert [(folder / "x").read_bytes() for folder in found] == [b"1", b"2"]


@pytest.mark.parametrize("content", [b"", b"PK", b"\x89HDF\r\n\x1a\n", b"1,2\n", bytes(600)])
def test_other_files_are_no_archives(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    assert not is_archive(path)


def _zip_entry(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o777) << 16
    return info


def _tar_entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("../evil", b"")], "'../evil'"),
        ([("/tmp/evil", b"")], "'/tmp/evil'"),
        ([("ok/../../evil", b"")], "cannot be"),
        ([("a\\..\\evil", b"")], "cannot be"),
        ([(".", b"")], "without a name"),
        ([("ok", b""), ("ok", b"2")], "more than once"),
        ([("ok", b""), ("./ok", b"2")], "more than once"),
        ([("ok", b""), ("ok/x", b"2")], "both a file and a folder"),
        ([("ok/x", b""), ("ok", b"2")], "more than once"),
    ],
)
@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.filterwarnings("ignore:Duplicate name")  # that is what is tested
def test_names_that_are_refused(
    tmp_path: Path, pack: Callable[..., Path], members: list[tuple[str, bytes]], says: str
) -> None:
    found = refusal(pack(tmp_path / "hostile", ("first", b"written"), *members))
    assert found.reason is FailureReason.UNSUPPORTED_FORMAT
    assert says in found.message


@pytest.mark.parametrize(
    ("kind", "says"),
    [(stat.S_IFLNK, "a symbolic link"), (stat.S_IFBLK, "a device"), (stat.S_IFIFO, "a named pipe")],
)
def test_zip_members_that_are_no_files(tmp_path: Path, kind: int, says: str) -> None:
    found = refusal(zipped(tmp_path / "a.zip", (_zip_entry("link", kind), b"/etc/passwd")))
    assert (found.reason, says in found.message) == (FailureReason.UNSUPPORTED_FORMAT, True)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.FIFOTYPE, "a device or a named pipe"),
        (tarfile.GNUTYPE_SPARSE, "not a regular file"),
        (b"~", "not a regular file"),
    ],
)
def test_tar_members_that_are_no_files(tmp_path: Path, kind: bytes, says: str) -> None:
    entry = _tar_entry("link", kind, "first")
    found = refusal(tarred(tmp_path / "a.tar.gz", ("first", b"written"), (entry, b"")))
    assert (found.reason, says in found.message) == (FailureReason.UNSUPPORTED_FORMAT, True)


def test_a_link_to_a_folder_is_not_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = _tar_entry("dir", tarfile.SYMTYPE, str(outside))
    refusal(tarred(tmp_path / "a.tar.gz", (link, b""), ("dir/evil", b"x")))
    assert list(outside.iterdir()) == []


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("x", b"secret"))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flags in the central directory
    path.write_bytes(content)
    assert "encrypted" in refusal(path).message


def test_a_nul_does_not_hide_the_end_of_a_name(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("safe.txt_evil", b""))
    path.write_bytes(path.read_bytes().replace(b"safe.txt_evil", b"safe.txt\0evil"))
    assert refusal(path).reason is FailureReason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_caps_are_on_what_comes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[..., Path]
) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 5 << 20)
    bomb = pack(tmp_path / "bomb", *((f"{i}", bytes(3 << 20)) for i in range(2)))
    assert bomb.stat().st_size < 100_000
    found = refusal(bomb)
    assert (found.reason, "too large" in found.message) == (FailureReason.SOURCE_TOO_LARGE, True)


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[..., Path]) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    path = pack(tmp_path / "a", *((f"{i}", b"") for i in range(4)))
    assert "more than 3 members" in refusal(path).message


def test_a_size_that_a_zip_declares_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 1 << 20)
    path = zipped(tmp_path / "a.zip", ("x", bytes(2 << 20)))
    small = (2 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(*small))
    assert refusal(path).reason is FailureReason.UNREADABLE_MODEL  # cut to ten bytes, its checksum is wrong


def test_a_huge_header_is_not_read_into_memory(tmp_path: Path) -> None:
    header = _tar_entry("x", tarfile.XHDTYPE)
    header.size = 4 << 30
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(header.tobuf() + bytes(8 << 20)))
    assert "a header in it is" in refusal(path).message


@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        (Stage.LOAD, FailureReason.UNREADABLE_MODEL),
        (Stage.FETCH, FailureReason.UNREADABLE_MODEL),
        (Stage.CALIBRATE, FailureReason.DATA_UNREADABLE),
        (Stage.EVALUATE, FailureReason.DATA_UNREADABLE),
    ],
)
@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("keep", [0.98, 0.6, 0.1])
def test_truncated_archives(
    tmp_path: Path, pack: Callable[..., Path], stage: Stage, reason: FailureReason, keep: float
) -> None:
    path = pack(tmp_path / "a", ("x", os.urandom(20_000)), ("y", os.urandom(20_000)))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    assert refusal(path, stage).reason is reason


def test_a_corrupt_header_in_the_middle_is_not_the_end(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", ("x", b"1"), ("y", b"2"), mode="w")
    content = bytearray(path.read_bytes())
    content[1024 + 150] ^= 0xFF  # the checksum of the second header
    path.write_bytes(content)
    assert "corrupt" in refusal(path).message


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("seeds")
    members = [("a/x", b"1" * 600), ("a/" + "y" * 120, b"2" * 10)]
    made = [
        zipped(folder / "z", *members),
        tarred(folder / "t", *members),
        tarred(folder / "p", *members, mode="w"),
    ]
    return [path.read_bytes() for path in made]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.integers(0, 2),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_any_damage_ends_in_content_or_in_a_reason(
    tmp_path_factory: pytest.TempPathFactory, seeds: list[bytes], which: int, changes: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    content = bytearray(seeds[which])
    for place, byte in changes:
        content[place % len(content)] = byte
    path = folder / "archive"
    path.write_bytes(content)
    try:
        unpack(path, folder / "work" / "inside", stage=Stage.LOAD, what="anything")
    except ConverterError:
        assert list((folder / "work" / "inside").iterdir()) == []
    assert {p.name for p in folder.iterdir()} <= {"archive", "work"}
    assert {p.name for p in (folder / "work").iterdir()} == {"inside"}


@pytest.mark.parametrize("content", [b"weights" * 100, b"short", b"", bytes(10)])
def test_a_compressed_single_file_is_called_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "my model.h5.gz"
    path.write_bytes(gzip.compress(content))
    found = refusal(path)
    assert found.reason is FailureReason.UNSUPPORTED_FORMAT
    assert f"gunzip --keep '{path}'" in found.message


def test_an_archive_of_the_old_format_is_read(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo("x")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"1"))
    header = bytearray(stream.getvalue())
    header[257:265] = bytes(8)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    (tmp_path / "old.gz").write_bytes(gzip.compress(bytes(header)))
    assert files_under(unpack(tmp_path / "old.gz", tmp_path / "work", stage=Stage.LOAD, what="x")) == {
        "x": b"1"
    }
