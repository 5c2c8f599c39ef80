"""Claims as a store: whole files, and nothing outside of the volume, whatever lies there."""

from __future__ import annotations

import hashlib
import io
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError
from tflite_converter.job.stores.base import Limit, Stored
from tflite_converter.job.stores.claims import ClaimStore

SECRET = b"the credentials of the container"
LIMIT = Limit(1 << 20)


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    folder = tmp_path / "volumes" / "models"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "model.h5").write_bytes(b"model")
    (folder / "a" / "b" / "two.npy").write_bytes(b"22")
    (tmp_path / "secret").write_bytes(SECRET)
    return folder


@pytest.fixture
def store(claim: Path) -> ClaimStore:
    return ClaimStore(Stage.FETCH, {"CONVERSION_CLAIM_0": str(claim), "HOME": "/"})


def stored(content: bytes) -> Stored:
    return Stored(hashlib.sha256(content).hexdigest(), len(content))


def put(store: ClaimStore, uri: str, content: bytes) -> None:
    store.upload(uri, io.BytesIO(content), stored(content), "application/json")


def why(store: ClaimStore, uri: str, path: Path, limit: Limit = LIMIT) -> FailureReason:
    with pytest.raises(ConverterError) as caught:
        store.download(uri, path, limit)
    assert not path.exists()
    assert SECRET.decode() not in str(caught.value)
    return caught.value.reason


def test_each_writing_of_a_file_is_another_version(store: ClaimStore, claim: Path) -> None:
    versions = [next(o.version for o in store.list("pvc://models/a/") if o.key == "a/model.h5")]
    put(store, "pvc://models/a/model.h5", b"other")
    (claim / "a" / "b" / "two.npy").write_bytes(b"33")
    versions += [next(o.version for o in store.list("pvc://models/a/") if o.key == "a/model.h5")]
    put(store, "pvc://models/a/model.h5", b"other")  # the same content, written again
    versions += [next(o.version for o in store.list("pvc://models/a/") if o.key == "a/model.h5")]
    assert len(set(versions)) == 3
    assert [o.version for o in store.list("pvc://models/a/") if o.key == "a/model.h5"] == versions[-1:]


def test_a_file_is_read_with_its_digest(store: ClaimStore, tmp_path: Path) -> None:
    assert store.download("pvc://models/a/model.h5", tmp_path / "out", LIMIT) == stored(b"model")
    assert (tmp_path / "out").read_bytes() == b"model"
    assert store.download("pvc://models//a//model.h5", tmp_path / "out", LIMIT) == stored(b"model")


def test_a_folder_is_listed_with_the_keys_of_its_files(store: ClaimStore, claim: Path) -> None:
    (claim / "a" / "link").symlink_to(claim / "a" / "model.h5")
    (claim / "a" / "folder").symlink_to(claim / "a" / "b")
    os.mkfifo(claim / "a" / "pipe")
    found = [(item.key, item.size_bytes) for item in store.list("pvc://models/a/")]
    assert found == [("a/b/two.npy", 2), ("a/model.h5", 5)]
    assert list(store.list("pvc://models/none/")) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a/none.h5", FailureReason.SOURCE_NOT_FOUND),
        ("none/model.h5", FailureReason.SOURCE_NOT_FOUND),
        ("a", FailureReason.SOURCE_NOT_FOUND),
        ("a/model.h5/more", FailureReason.STORAGE_ACCESS_DENIED),
        ("link", FailureReason.STORAGE_ACCESS_DENIED),
        ("up/secret", FailureReason.STORAGE_ACCESS_DENIED),
        ("proc/self/environ", FailureReason.STORAGE_ACCESS_DENIED),
        ("pipe", FailureReason.STORAGE_ACCESS_DENIED),
        ("socket", FailureReason.STORAGE_UNAVAILABLE),
        ("hidden", FailureReason.STORAGE_ACCESS_DENIED),
    ],
)
def test_what_cannot_be_read_has_a_reason(
    store: ClaimStore,
    claim: Path,
    tmp_path: Path,
    name: str,
    reason: FailureReason,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (claim / "link").symlink_to(tmp_path / "secret")
    (claim / "up").symlink_to(tmp_path)
    (claim / "proc").symlink_to("/proc")
    os.mkfifo(claim / "pipe")
    monkeypatch.chdir(claim)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    (claim / "hidden").write_bytes(b"x")
    (claim / "hidden").chmod(0)
    if name == "hidden" and os.geteuid() == 0:
        pytest.skip("root may read everything")
    assert why(store, f"pvc://models/{name}", tmp_path / "out") is reason


def test_a_claim_that_is_not_mounted_is_the_operators_mistake(store: ClaimStore, tmp_path: Path) -> None:
    assert why(store, "pvc://other/a", tmp_path / "out") is FailureReason.INVALID_REQUEST


def test_what_is_too_large_is_not_read(store: ClaimStore, tmp_path: Path) -> None:
    assert why(store, "pvc://models/a/model.h5", tmp_path / "out", Limit(4)) is FailureReason.SOURCE_TOO_LARGE


def test_a_file_is_written_whole_in_the_place_of_another(store: ClaimStore, claim: Path) -> None:
    put(store, "pvc://models/out/new/report.json", b"one")
    put(store, "pvc://models/out/new/report.json", b"two")
    assert [p.name for p in (claim / "out" / "new").iterdir()] == ["report.json"]
    assert (claim / "out" / "new" / "report.json").read_bytes() == b"two"
    store.delete("pvc://models/out/new/report.json")
    store.delete("pvc://models/out/new/report.json")
    store.delete("pvc://models/nowhere/report.json")
    assert list((claim / "out" / "new").iterdir()) == []


def test_nothing_is_written_where_the_bytes_are_others_or_a_link_leads_out(
    store: ClaimStore, claim: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConverterError) as caught:
        store.upload("pvc://models/out/x", io.BytesIO(b"other"), stored(b"meant"), "")
    assert caught.value.reason is FailureReason.UPLOAD_CORRUPTED
    assert list((claim / "out").iterdir()) == []
    (claim / "up").symlink_to(tmp_path)
    with pytest.raises(ConverterError) as caught:
        put(store, "pvc://models/up/secret", b"x")
    assert caught.value.reason is FailureReason.STORAGE_ACCESS_DENIED
    (claim / "report.json").symlink_to(tmp_path / "secret")
    put(store, "pvc://models/report.json", b"mine")
    assert not (claim / "report.json").is_symlink()
    assert (tmp_path / "secret").read_bytes() == SECRET


def test_a_full_volume_is_told(tmp_path: Path) -> None:
    store = ClaimStore(Stage.PUBLISH, {"CONVERSION_CLAIM_0": "/dev/shm"})
    content = _Endless()
    with pytest.raises(ConverterError) as caught:
        store.upload("pvc://shm/full-claim/x", content, stored(b""), "")  # type: ignore[arg-type]  # reads like one
    assert caught.value.reason is FailureReason.NO_SPACE
    assert not list(Path("/dev/shm/full-claim").iterdir())
    Path("/dev/shm/full-claim").rmdir()


class _Endless:
    """A file whose volume is full."""

    def seek(self, place: int) -> None:
        """Go to a place."""

    def read(self, size: int) -> bytes:
        raise OSError(28, os.strerror(28))


_NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=20
)


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(_NAMES.filter(lambda n: n not in (".", "..")), min_size=1, max_size=4), content=st.binary()
)
def test_what_was_written_is_read_by_whatever_name(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("claim")
    store = ClaimStore(Stage.FETCH, {"CONVERSION_CLAIM_7": str(folder)})
    uri = f"pvc://{folder.name}/{'/'.join(parts)}"
    put(store, uri, content)
    assert store.download(uri, folder.parent / f"{folder.name}.out", LIMIT) == stored(content)
    if len(parts) > 1:
        assert [i.key for i in store.list(f"pvc://{folder.name}/{parts[0]}/")] == ["/".join(parts)]
