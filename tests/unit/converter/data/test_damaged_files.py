"""Files that are damaged, compressed, or of another format: each is told by its true cause."""

from __future__ import annotations

import bz2
import gzip
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.fields.data import Images, ImageScaling
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.errors import ConverterError

ARRAY = np.random.default_rng(0).normal(size=(50, 4))


def packed(content: bytes) -> bytes:
    """Compressed by gzip, always to the same bytes: they are part of tests' names."""
    return gzip.compress(content, mtime=0)


def npy(array: object = ARRAY) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)  # type: ignore[arg-type]  # also what is no array
    return stream.getvalue()


def npz(compressed: bool = False) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, x=ARRAY)
    return stream.getvalue()


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return stream.getvalue()


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


RAGGED = np.array([[1], [1, 2]], dtype=object)
TEXT = "".join(f"{','.join(map(str, row))}\n" for row in ARRAY).encode()


EXAMPLE = b"\x0a\x0b\x0a\x09\x0a\x01x\x12\x04\x12\x02\x0a\x00"


def failure(path: Path, content: bytes, images: Images | None = None) -> str:
    path.write_bytes(content)
    with pytest.raises(ConverterError) as caught:
        load_dataset(DataFiles(path, images=images), Stage.CALIBRATE, path.parent / "unpacked")
    assert caught.value.reason is FailureReason.DATA_UNREADABLE
    return caught.value.cause


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.npy", b"", "it is empty"),
        ("x.npy", npy()[:4], "it is truncated: it ends within its header"),
        ("x.npy", npy()[:7], "it is truncated: it ends within its header"),
        ("x.npy", npy()[:9], "it is truncated: it ends within its header"),
        ("x.npy", npy()[:60], "it is truncated: it ends within its header"),
        ("x.npy", npy()[:-1], "it is truncated: its header promises"),
        ("x", npy()[:300], "it is truncated: its header promises"),
        ("x.npy", npy(RAGGED), "pickled Python objects (dtype object)"),
        ("x.npy", pickle.dumps(ARRAY), "pickled"),
        ("x.npy", pickle.dumps([1, 2], protocol=0), "pickled"),
        ("x", pickle.dumps([1, 2]), "pickled"),
        ("x.npy", b"1,2,3\n", "it holds text"),
        ("x.npy", bytes(300), "it begins with the bytes 00 00"),
        ("x.npy", npy()[:6] + b"\x09" + npy()[7:], "version 9.0"),
        ("x.npy", npy().replace(b"shape", b"shapf"), "its header is corrupt"),
        ("x.npz", b"", "it is empty"),
        ("x.npz", npz()[:-40], "it is a truncated .npz file"),
        ("x", npz()[:400], "it is a truncated .npz file"),
        ("x.npz", flipped(npz()), "its array 'x' is bad: Bad CRC-32"),
        ("x.npz", flipped(npz(compressed=True)), "its array 'x' is bad"),
        ("x.npz", zipped(a_npy=npy(), b_npy=npy()[:300]), "its array 'b' is bad: it is truncated"),
        ("x.npz", zipped(a_npy=b""), "its array 'a' is bad: it is empty"),
        ("x.npz", zipped(a_npy=npy(RAGGED)), "its array 'a' is bad: it holds pickled"),
        ("x.npz", zipped(a_npy=npy(), b_txt=b"x"), "it holds 'b.txt', which is not an array"),
        ("x.npy.gz", packed(npy())[:-100], "it is truncated: its compressed data ends too early"),
        ("x.npy.gz", flipped(packed(npy())), "its compressed data is corrupt"),
        ("x.npy.gz", packed(npy()[:300]), "it is truncated: its header promises"),
        ("x.csv.gz", packed(TEXT)[:5], "it is truncated: its compressed data ends too early"),
        ("x.npy", bz2.compress(npy()), "compressed by bzip2"),
        ("x.parquet", b"PAR1\x15\x04\x15" + bytes(50), "it is truncated: its end, which says what it holds"),
        ("x", len(EXAMPLE).to_bytes(8, "little") + b"abcd" + EXAMPLE + b"efgh", "record 0: it is corrupt"),
        ("x.h5", b"\x89HDF\r\n\x1a\n" + bytes(50), "an HDF5 file"),
        ("x.csv", "1,2\n".encode("utf-16"), "it is UTF-16 text"),
    ],
)
def test_the_true_cause(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    message = failure(tmp_path / name, content)
    assert says in message
    assert ("pickled" in message) == ("pickled" in says)


def test_a_workbook_is_no_archive_of_images(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    content = (tmp_path / "x.xlsx").read_bytes()
    assert "an Excel workbook" in failure(tmp_path / "x.xlsx", content)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


def _zip(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (LFS, "a pointer of Git LFS"),
        (b"\n<!DOCTYPE html>\n<html><body>404</body></html>", "a web page"),
        (b"<HTML><HEAD>", "a web page"),
        (b'\xef\xbb\xbf<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
        (b"% Iris\n@RELATION iris\n@ATTRIBUTE a NUMERIC\n@DATA\n1\n", "an ARFF file"),
        (b"+1 1:0.5 3:2\n-1 2:1e-3\n", "LIBSVM"),
        (b"[[ 1.  2.]\n [ 3.  4.]]", "an array as Python prints it"),
        (b"array([1, 2, 3])", "an array as Python prints it"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "a single image"),
        (b"RIFF\x24\0\0\0WEBPVP8 " + bytes(20), "a single image"),
        (b"RIFF\x24\0\0\0WAVEfmt " + bytes(20), "a sound or video file"),
        (b"\0\0\x0d\x02" + bytes(30), "an IDX file of numbers"),
        (b"BZh51AY&SY" + bytes(9), "a file compressed by bzip2"),
        ("1,2\n".encode("utf-32"), "UTF-32 text"),
        (_zip("m/data.pkl", "m/version"), "a PyTorch file"),
        (_zip("content.xml", "mimetype"), "an OpenDocument sheet"),
        (_zip("config.json", "metadata.json", "model.weights.h5"), "a Keras model"),
    ],
)
@pytest.mark.parametrize("name", ["x.csv", "x.npy", "x"])
def test_files_of_other_kinds_are_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    assert f"it is {says}" in failure(tmp_path / name, content).replace("it is text of the ", "it is ")


def test_what_macos_packs_beside_an_array_is_left_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("x.npy", npy())
        archive.writestr("__MACOSX/._x.npy", b"\0\5\x16\7")
    data = load_dataset(DataFiles(tmp_path / "x.zip"), Stage.CALIBRATE, tmp_path / "unpacked")
    np.testing.assert_array_equal(data.arrays["x"], ARRAY)


@pytest.mark.parametrize("name", ["x.npy.gz", "x.gz", "x", "X.NPY.GZ"])
def test_a_compressed_array_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(packed(npy()))
    data = load_dataset(DataFiles(tmp_path / name), Stage.CALIBRATE, tmp_path / "unpacked")
    np.testing.assert_array_equal(data.arrays["data"], ARRAY)
    assert (data.name, data.format) == (name, "npy")


def test_a_compressed_table_and_its_labels_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.csv.gz").write_bytes(packed(TEXT))
    (tmp_path / "y.csv.gz").write_bytes(packed(b"a\nb\n" * 25))
    files = DataFiles(tmp_path / "x.csv.gz", tmp_path / "y.csv.gz")
    data = load_dataset(files, Stage.CALIBRATE, tmp_path / "unpacked")
    np.testing.assert_array_equal(data.arrays["data"], ARRAY.astype(np.float32))
    assert (data.class_names, data.labels is not None and data.labels[:2].tolist()) == (("a", "b"), [0, 1])


def test_a_small_file_may_not_decompress_to_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tflite_converter.data.packed._MAX_BYTES", 1 << 20)
    content = packed(bytes(2 << 20))
    assert "decompresses to more than 1.0MiB" in failure(tmp_path / "x.npy.gz", content)


def _tar(content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo("a.txt")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize("pack", [packed, bytes])
def test_a_tar_archive_is_still_one_of_images(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    images = Images(scaling=ImageScaling.NONE)
    message = failure(tmp_path / "photos", pack(_tar(b"text")), images)
    assert "'a.txt' in it is not a PNG" in message
