"""``job-fetch`` on a real S3 server: a reason for each failure, nothing half-done."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from model_signing import signing

from devcluster.services.s3 import ObjectStore as Server
from modelconversion_api.fields.data import Calibration, Images, ImageScaling, Validation
from modelconversion_api.fields.recipes import Recipe
from modelconversion_api.fields.storage import StorageAccess
from modelconversion_api.fields.trust import SourceVerification
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import StageResult
from modelconversion_api.spec import Source, SourceFormat
from support.cluster.stages import MODEL, MODEL_DIGEST, Job, new_job
from tflite_converter.files.digests import source_digest
from tflite_converter.job import fetch as job_fetch
from tflite_converter.job.environment import FETCH_RECORD
from tflite_converter.job.fetch import DATA_RULES
from tflite_converter.job.stores.base import Limit, ObjectInfo
from tflite_converter.job.stores.s3 import ObjectStore


@pytest.fixture
def job(object_store: Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    return new_job(object_store, bucket, tmp_path, monkeypatch)


def test_fetch_downloads_and_records_digests(job: Job) -> None:
    assert job.run(Stage.FETCH) == StageResult()
    assert (job.input / "source").read_bytes() == MODEL
    record = job.record()
    assert (record.source.sha256, record.source.size_bytes) == (MODEL_DIGEST, len(MODEL))
    assert (record.source.path, record.source.name) == ("source", "gesture.h5")
    assert record.data["calibration"].sha256 == hashlib.sha256(b"data").hexdigest()
    assert not list(job.input.rglob("*.part"))


def test_fetch_again_replaces_what_an_earlier_try_left(job: Job) -> None:
    (job.input / "source").mkdir(parents=True)
    (job.input / "source" / "half").touch()
    job.run(Stage.FETCH)
    assert (job.input / "source").is_file()


@pytest.mark.parametrize("ending", ["", "/"])
def test_saved_model_under_a_prefix(job: Job, ending: str) -> None:
    job.put("sm/saved_model.pb", b"graph")
    job.put("sm/variables/variables.index", b"index")
    job.put("sm/assets/", b"")
    job.put("sm-other/saved_model.pb", b"another model whose prefix begins alike")
    job = job.ask(source=Source(uri=f"s3://{job.bucket}/sm{ending}"))
    assert job.run(Stage.FETCH).failure is None
    assert job.downloaded("source").keys() == {"saved_model.pb", "variables/variables.index"}
    record = job.record()
    assert (record.source.sha256, record.source.size_bytes) == source_digest(job.input / "source")


def test_prefix_without_saved_model(job: Job) -> None:
    job.put("sm/readme.txt", b"x")
    job = job.ask(source=Source(uri=f"s3://{job.bucket}/sm"))
    assert job.fails(Stage.FETCH) is FailureReason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"uri": "s3://BUCKET/nope.h5"}, FailureReason.SOURCE_NOT_FOUND),
        ({"uri": "s3://BUCKET/nope.h5", "format": "KerasH5"}, FailureReason.SOURCE_NOT_FOUND),
        ({"uri": "s3://BUCKET/nope", "format": "SavedModel"}, FailureReason.SOURCE_NOT_FOUND),
        ({"uri": "s3://no-such-bucket-here/gesture.h5"}, FailureReason.BUCKET_NOT_FOUND),
        ({"uri": "s3://no-such-bucket-here/model/", "format": "SavedModel"}, FailureReason.BUCKET_NOT_FOUND),
        ({"uri": "s3://BUCKET/gesture.h5", "sha256": "0" * 64}, FailureReason.DIGEST_MISMATCH),
    ],
)
def test_sources_that_cannot_be_had(job: Job, source: dict[str, str], reason: FailureReason) -> None:
    source["uri"] = source["uri"].replace("BUCKET", job.bucket)
    assert job.ask(source=Source.model_validate(source)).fails(Stage.FETCH) is reason
    assert not (job.input / FETCH_RECORD).exists()


@pytest.mark.parametrize("declared", [SourceFormat.AUTO, SourceFormat.SAVED_MODEL])
@pytest.mark.parametrize("name", ["net.zip", "net.tar.gz"])
def test_an_archive_is_fetched_as_it_is(job: Job, name: str, declared: SourceFormat) -> None:
    job.put(name, b"not even an archive: that is for the container without credentials to find out")
    job = job.ask(source=Source(uri=f"s3://{job.bucket}/{name}", format=declared))
    assert job.run(Stage.FETCH).failure is None
    assert (job.input / "source").read_bytes().startswith(b"not even")
    assert job.record().source.name == name


IMAGES = {
    f"{label}/{index:03}.png": f"{label}{index}".encode() for label in ("cat", "dog") for index in range(60)
}


def images_of(job: Job) -> Job:
    """A Job whose calibration data are a folder of images."""
    for key, content in IMAGES.items():
        job.put(f"images/{key}", content)
    job.put("images/", b"")
    job.put("images-of-others/cat/x.png", b"a prefix that begins alike")
    images = Images(scaling=ImageScaling.ZERO_TO_ONE)
    return job.ask(calibration=Calibration(uri=f"s3://{job.bucket}/images/", images=images))


def test_images_under_a_prefix_are_all_fetched_and_digested_as_a_folder(job: Job) -> None:
    job = images_of(job)
    assert job.run(Stage.FETCH).failure is None
    assert job.downloaded("calibration") == IMAGES
    found = job.record().data["calibration"]
    assert (found.sha256, found.size_bytes) == source_digest(job.input / "calibration")
    assert (found.path, found.name) == ("calibration", "images")
    assert not list(job.input.rglob("*.part"))


def test_one_object_of_many_that_cannot_be_had_fails_the_fetch(job: Job) -> None:
    """It is listed, and somebody deletes it before its turn comes."""
    job = images_of(job)
    listed = ObjectStore.list

    def listed_and_deleted(store: ObjectStore, uri: str) -> Iterator[ObjectInfo]:
        yield from listed(store, uri)
        job.server.client().delete_object(Bucket=job.bucket, Key="images/dog/030.png")

    job.patch.setattr(ObjectStore, "list", listed_and_deleted)
    failure = job.run(Stage.FETCH).failure
    assert failure is not None
    assert failure.reason is FailureReason.SOURCE_NOT_FOUND
    assert "images/dog/030.png: the object does not exist" in failure.message
    assert "train the model" not in failure.message
    assert not (job.input / FETCH_RECORD).exists()
    assert not list(job.input.rglob("*.part"))


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("val.npy", "calibration.npy"),
        ("Sensor Log.CSV", "calibration.csv"),
        ("images.tar.gz", "calibration.tar.gz"),
        ("images.zip", "calibration.zip"),
        ("arrays.npz", "calibration.npz"),
        ("no-suffix", "calibration"),
    ],
)
def test_data_keep_the_suffix_that_a_reader_knows_them_by(job: Job, key: str, path: str) -> None:
    job.put(key, b"data")
    job = job.ask(calibration=Calibration(uri=f"s3://{job.bucket}/{key}"))
    assert job.run(Stage.FETCH).failure is None
    found = job.record().data["calibration"]
    assert (found.path, found.name) == (path, key)
    assert (job.input / path).read_bytes() == b"data"


def with_rules(job: Job, **rules: str) -> Job:
    """A Job with a recipe whose rules are a file."""
    uri = f"s3://{job.bucket}/recipes/own.json"
    return job.ask(recipes=(Recipe.model_validate({"name": "own", "rules": {"uri": uri} | rules}),))


def test_a_recipe_s_rules_are_fetched(job: Job) -> None:
    job.put("recipes/own.json", b"[]")
    digest = hashlib.sha256(b"[]").hexdigest()
    job = with_rules(job, sha256=digest)
    assert job.run(Stage.FETCH).failure is None
    fetched = job.record().data["rules-own"]
    assert ((job.input / fetched.path).read_bytes(), fetched.sha256) == (b"[]", digest)


@pytest.mark.parametrize(
    ("content", "rules", "reason"),
    [
        (None, {}, FailureReason.SOURCE_NOT_FOUND),
        (b"[]", {"sha256": "0" * 64}, FailureReason.DIGEST_MISMATCH),
        (bytes((256 << 10) + 1), {}, FailureReason.SOURCE_TOO_LARGE),
    ],
)
def test_rules_that_cannot_be_had(
    job: Job, content: bytes | None, rules: dict[str, str], reason: FailureReason
) -> None:
    if content is not None:
        job.put("recipes/own.json", content)
    assert with_rules(job, **rules).fails(Stage.FETCH) is reason
    assert not (job.input / FETCH_RECORD).exists()


def test_gates_without_data_of_their_own_fetch_nothing(job: Job) -> None:
    job = job.ask(validation=Validation(min_agreement="0.9"))
    assert job.run(Stage.FETCH).failure is None
    assert job.record().data.keys() == {"calibration"}


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({"source": {"uri": "s3://BUCKET/net.tflite"}}, "TFLITE_LIMIT"),
        ({"source": {"uri": "s3://BUCKET/unnamed", "format": "TFLite"}}, "TFLITE_LIMIT"),
        ({"calibration": {"uri": "s3://BUCKET/big.npy"}}, "DATA_RULES"),
        ({"calibration": {"uri": "s3://BUCKET/big/", "images": {"scaling": "None"}}}, "DATA_RULES"),
    ],
)
def test_what_is_too_large_is_refused_before_any_of_it_is_downloaded(
    job: Job, changes: dict[str, Any], limit: str
) -> None:
    for key in ("net.tflite", "unnamed", "big.npy", "big/a.png"):
        job.put(key, bytes(5000))
    small = Limit(2000, "give less")
    job.patch.setattr(
        job_fetch, limit, small if limit == "TFLITE_LIMIT" else replace(DATA_RULES, limit=small)
    )
    asked = json.loads(json.dumps(changes).replace("BUCKET", job.bucket))
    types: dict[str, Any] = {"source": Source, "calibration": Calibration}
    job = job.ask(**{name: types[name].model_validate(value) for name, value in asked.items()})
    failure = job.run(Stage.FETCH).failure
    assert failure is not None
    assert failure.reason is FailureReason.SOURCE_TOO_LARGE
    assert "2.0KiB is the limit" in failure.message
    left = {p.name for p in job.input.rglob("*") if p.is_file()}
    assert left <= {"source"}


def test_pinned_digest_that_fits(job: Job) -> None:
    source = Source(uri=f"s3://{job.bucket}/gesture.h5", sha256=MODEL_DIGEST)
    assert job.ask(source=source).run(Stage.FETCH).failure is None


def signed(tmp_path: Path, path: Path, key: str = "signer") -> tuple[str, bytes]:
    """A public key, and a signature over a file or folder by its private half, as the library makes them."""
    private = tmp_path / f"{key}.pem"
    if not private.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        private.write_bytes(made.private_bytes(encoding, form, serialization.NoEncryption()))
    pair = serialization.load_pem_private_key(private.read_bytes(), None)
    public = pair.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signature = tmp_path / "signature"
    signing.Config().use_elliptic_key_signer(private_key=private).sign(path, signature)
    return public.decode(), signature.read_bytes()


def test_only_a_signed_source_is_fetched(job: Job, tmp_path: Path) -> None:
    model = tmp_path / "anything.h5"
    model.write_bytes(MODEL)
    public, signature = signed(tmp_path, model)
    another, forged = signed(tmp_path, model, "another")
    source = job.request.source
    verified = job.ask(source=source.model_copy(update={"verify": SourceVerification(public_key=public)}))
    assert verified.fails(Stage.FETCH) is FailureReason.SOURCE_NOT_VERIFIED, "there is no signature"
    job.put("gesture.h5.sig", signature)
    assert verified.run(Stage.FETCH).failure is None
    junk = (b"", b"{}", b"[" * 9000, b"\xff\xfe")
    for bad in (forged, signature[:-9], signature.replace(b"a", b"b", 1), *junk):
        job.put("gesture.h5.sig", bad)
        assert verified.fails(Stage.FETCH) is FailureReason.SOURCE_NOT_VERIFIED
    job.put("elsewhere.sig", signature)
    wanted = SourceVerification(public_key=public, signature_uri=f"s3://{job.bucket}/elsewhere.sig")
    elsewhere = job.ask(source=source.model_copy(update={"verify": wanted}))
    assert elsewhere.run(Stage.FETCH).failure is None
    job.put("gesture.h5", MODEL + b"\0")
    assert elsewhere.fails(Stage.FETCH) is FailureReason.SOURCE_NOT_VERIFIED, "another content"
    job.put("gesture.h5", MODEL)
    rsa_key = rsa.generate_private_key(65537, 2048).public_key()
    keys = [another, "-----BEGIN PUBLIC KEY-----\nnone\n-----END PUBLIC KEY-----"]
    keys.append(
        rsa_key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()
    )
    for key in keys:
        other = SourceVerification(public_key=key, signature_uri=wanted.signature_uri)
        asked = job.ask(source=source.model_copy(update={"verify": other}))
        assert asked.fails(Stage.FETCH) is FailureReason.SOURCE_NOT_VERIFIED


def test_a_signed_folder_has_no_file_more_or_less(job: Job, tmp_path: Path) -> None:
    folder = tmp_path / "sm"
    (folder / "variables").mkdir(parents=True)
    files = {"saved_model.pb": b"graph", "variables/variables.index": b"index"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
        job.put(f"sm/{name}", content)
    public, signature = signed(tmp_path, folder)
    job.put("sm.sig", signature)
    wanted = SourceVerification(public_key=public, signature_uri=f"s3://{job.bucket}/sm.sig")
    job = job.ask(source=Source(uri=f"s3://{job.bucket}/sm/", verify=wanted))
    assert job.run(Stage.FETCH).failure is None
    for name in ("more.txt", "variables/more", ".git/hooks"):
        job.put(f"sm/{name}", b"x")
        assert job.fails(Stage.FETCH) is FailureReason.SOURCE_NOT_VERIFIED
        job.server.client().delete_object(Bucket=job.bucket, Key=f"sm/{name}")
    assert job.run(Stage.FETCH).failure is None
    job.server.client().delete_object(Bucket=job.bucket, Key="sm/variables/variables.index")
    assert job.fails(Stage.FETCH) is FailureReason.SOURCE_NOT_VERIFIED


@pytest.mark.parametrize("key", ["nope.npy", "nope/", "images"])
def test_missing_calibration_data(job: Job, key: str) -> None:
    """The last one lacks the stroke at its end."""
    job.put("images/a.png", b"x")
    job = job.ask(calibration=Calibration(uri=f"s3://{job.bucket}/{key}"))
    failure = job.run(Stage.FETCH).failure
    assert failure is not None
    assert failure.reason is FailureReason.SOURCE_NOT_FOUND
    assert "must end in /" in failure.message


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
@pytest.mark.parametrize("stage", [Stage.FETCH, Stage.PUBLISH])
def test_wrong_credentials(job: Job, stage: Stage, name: str) -> None:
    if stage is Stage.PUBLISH:
        job.run(Stage.FETCH)
        job.converted()
    job.patch.setenv(name, "WRONG")
    assert job.fails(stage) is FailureReason.STORAGE_ACCESS_DENIED
    assert job.objects() == {}


def test_no_credentials(job: Job) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        job.patch.delenv(name)
    job.patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    job.patch.setenv("HOME", str(job.folder))
    assert job.fails(Stage.FETCH) is FailureReason.STORAGE_ACCESS_DENIED


def test_store_that_does_not_answer(job: Job) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    job = job.ask(storage=StorageAccess(endpoint=f"http://127.0.0.1:{port}"))
    assert job.fails(Stage.FETCH) is FailureReason.STORAGE_UNAVAILABLE


def test_download_that_breaks_off_is_tried_again_and_never_looks_whole(job: Job) -> None:
    """A server that promises more bytes than it sends, every time."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(65536))
                    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: "x"\r\n\r\nshort')

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        storage = StorageAccess(endpoint=f"http://127.0.0.1:{listening.getsockname()[1]}")
        source = Source(uri=f"s3://{job.bucket}/gesture.h5", format=SourceFormat.KERAS_H5)
        assert job.ask(storage=storage, source=source).fails(Stage.FETCH) is FailureReason.STORAGE_UNAVAILABLE
        listening.shutdown(socket.SHUT_RDWR)
    assert len(asked) >= 3
    assert not (job.input / "source").exists()
    assert not list(job.input.glob("*.part"))
