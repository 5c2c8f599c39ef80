"""``job-fetch`` out of a real registry, Debian's docker-registry 2.8, and what ``job-convert`` finds in it.

What goes wrong on the way is done by a server in front of it.
"""

from __future__ import annotations

import hashlib
import io
import ipaddress
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from devcluster.errors import PackageUnavailableError
from devcluster.services.registry import LocalRegistry
from devcluster.services.s3 import ObjectStore as Server
from modelconversion_api.fields.oci import OCIOutput, RegistryKeyRef
from modelconversion_api.fields.storage import RegistriesAccess
from modelconversion_api.fields.trust import SourceVerification
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.request import REGISTRY_LOGINS_ENV, SIGNING_KEY_ENV
from modelconversion_api.spec import Output, Signing, SigningKeyRef, Source, SourceFormat
from support.cluster.registries import (
    INDEX,
    MANIFEST,
    Pushes,
    docker_config,
    gives_manifest,
    sha256,
    with_login,
)
from support.cluster.registry_front import Asked, RegistryFront, Said
from support.cluster.stages import MODEL, MODEL_DIGEST, TFLITE, Job, new_job
from tflite_converter.errors import ConverterError
from tflite_converter.files.envelope import Sealer
from tflite_converter.files.sources import SourceModel, open_source
from tflite_converter.job.convert import options_of
from tflite_converter.job.oci import asking
from tflite_converter.job.stores import connections

TITLE, FILE_PATH = "org_opencontainers_image_title", "org_cncf_model_filepath"
WEIGHT = "application/vnd.cncf.model.weight.v1"
CONFIG = "application/vnd.cncf.model.weight.config.v1"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DENIED, UNAVAILABLE = FailureReason.STORAGE_ACCESS_DENIED, FailureReason.STORAGE_UNAVAILABLE
MISSING, MISMATCH = FailureReason.SOURCE_NOT_FOUND, FailureReason.DIGEST_MISMATCH
UNSUPPORTED, TOO_LARGE = FailureReason.UNSUPPORTED_FORMAT, FailureReason.SOURCE_TOO_LARGE
NAME = "acme/person"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    try:
        with with_login(tmp_path_factory.mktemp("registry")) as running:
            yield running
    except PackageUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def pushes(registry: LocalRegistry) -> Pushes:
    return Pushes(registry.host, NAME)


@pytest.fixture
def front(registry: LocalRegistry) -> Iterator[RegistryFront]:
    with RegistryFront(registry.host) as running:
        yield running


@pytest.fixture
def job(
    object_store: Server, bucket: str, tmp_path: Path, front: RegistryFront, monkeypatch: pytest.MonkeyPatch
) -> Job:
    monkeypatch.setattr(connections, "_WAIT_SECONDS", 0.0)
    made = new_job(object_store, bucket, tmp_path, monkeypatch)
    made.patch.setenv(REGISTRY_LOGINS_ENV, docker_config(front.host))
    access = made.request.storage.changed(oci=RegistriesAccess(insecure=True))
    return made.ask(storage=access, calibration=None)


def pulling(job: Job, front: RegistryFront, digest: str, path: str = "", login: str | None = "") -> Job:
    """The same Job, whose source is a manifest behind the front."""
    if login == "":
        job.patch.setenv(REGISTRY_LOGINS_ENV, docker_config(front.host))
    return job.ask(source=Source(uri=f"oci://{front.host}/{NAME}@{digest}{path}"))


def pulled(job: Job) -> SourceModel:
    """What ``job-convert`` makes of what ``job-fetch`` has left."""
    result = job.run(Stage.FETCH)
    assert result.failure is None, result.failure.message
    options = options_of(job.request, job.record(), job.input)
    work = job.folder / "work"
    return open_source(options.source, options.source_format, options.expected_sha256, work, options.inside)


def failure_of(job: Job) -> tuple[FailureReason, str]:
    failure = job.run(Stage.FETCH).failure
    assert failure is not None
    assert "someone" not in failure.message
    assert failure.message.isprintable()
    assert list(job.input.iterdir()) == []  # nothing half
    return failure.reason, failure.message


def tar_of(members: dict[str, bytes], compression: str = "", **special: Any) -> bytes:
    """A tar file of plain members, and of one that has ``special`` attributes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=f"w:{compression}") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        if special:
            info = tarfile.TarInfo("special")
            for name, value in special.items():
                setattr(info, name, value)
            tar.addfile(info)
    return packed.getvalue()


def test_an_artifact_of_one_file(job: Job, front: RegistryFront, pushes: Pushes) -> None:
    digest = pushes.manifest(pushes.blob(MODEL, "application/octet-stream", **{TITLE: "Person.h5"}))
    for path in ("", "/Person.h5"):
        job = pulling(job, front, digest, path)
        found = pulled(job)
        assert (found.sha256, found.size_bytes, found.format) == (
            MODEL_DIGEST,
            len(MODEL),
            SourceFormat.KERAS_H5,
        )
        assert job.record().source.name == ("Person.h5" if path else "person")
        assert REGISTRY_LOGINS_ENV not in os.environ
    reason, message = failure_of(pulling(job, front, digest, "/person.h5"))
    assert reason is MISSING
    assert "it has Person.h5" in message


def test_a_model_pack_is_its_weights_and_not_what_lies_beside_them(
    job: Job, front: RegistryFront, pushes: Pushes
) -> None:
    beside = [
        pushes.blob(b"# Person", "application/vnd.cncf.model.doc.v1.raw", **{FILE_PATH: "README.md"}),
        pushes.blob(b"print()", "application/vnd.cncf.model.code.v1.raw", **{FILE_PATH: "train.py"}),
        pushes.blob(b"x" * 9, "application/vnd.cncf.model.dataset.v1.tar", **{FILE_PATH: "data"}),
    ]
    weight = pushes.blob(TFLITE, f"{WEIGHT}.raw", **{FILE_PATH: "models/person.tflite"})
    found = pulled(pulling(job, front, pushes.manifest(*beside, weight)))
    assert found.sha256 == hashlib.sha256(TFLITE).hexdigest()
    packed = tar_of({"person.h5": MODEL}, "gz")
    layer = pushes.blob(packed, f"{WEIGHT}.tar+gzip", **{FILE_PATH: "person.h5"})
    for path in ("", "/person.h5"):
        found = pulled(pulling(job, front, pushes.manifest(*beside, layer), path))
        assert found.path.read_bytes() == MODEL
        assert found.sha256 == hashlib.sha256(packed).hexdigest()
    two = [weight, pushes.blob(MODEL, f"{WEIGHT}.raw", **{FILE_PATH: "models/person.h5"})]
    reason, message = failure_of(pulling(job, front, pushes.manifest(*beside, *two)))
    assert reason is UNSUPPORTED
    assert "has 2 files, and is no SavedModel: models/person.tflite, models/person.h5" in message
    assert "name the file behind the digest of the uri" in message
    both = pulling(job, front, pushes.manifest(*beside, *two), "/models/person.h5")
    assert pulled(both).sha256 == MODEL_DIGEST
    assert failure_of(pulling(job, front, pushes.manifest(*beside)))[0] is UNSUPPORTED


SAVED_MODEL = {"saved_model.pb": b"\x08\x01\x12\x00", "variables/variables.index": b"a" * 9}


@pytest.mark.parametrize("folder", ["", "net/1/"])
def test_a_saved_model_of_several_files(job: Job, front: RegistryFront, pushes: Pushes, folder: str) -> None:
    layers = [
        pushes.blob(content, f"{WEIGHT}.raw", **{FILE_PATH: f"{folder}{name}"})
        for name, content in SAVED_MODEL.items()
    ]
    layers.append(pushes.blob(b"words", f"{CONFIG}.raw", **{FILE_PATH: "notes.txt"}))
    digest = pushes.manifest(*layers)
    for path in ("", f"/{folder}".rstrip("/")):
        job = pulling(job, front, digest, path)
        found = pulled(job)
        assert found.format is SourceFormat.SAVED_MODEL
        there = job.downloaded("source")
        assert {n: there.get(n) for n in SAVED_MODEL} == SAVED_MODEL
    if folder:
        reason, message = failure_of(pulling(job, front, digest, "/net/2"))
        assert reason is MISSING
        assert "net/1/saved_model.pb" in message


@pytest.mark.parametrize("compression", ["", "gz"])
def test_an_image_of_one_layer(job: Job, front: RegistryFront, pushes: Pushes, compression: str) -> None:
    kind = f"{LAYER}+gzip" if compression else LAYER
    one = tar_of({"models/person.tflite": TFLITE}, compression)
    digest = pushes.manifest(pushes.blob(one, kind))
    for path in ("", "/models", "/models/person.tflite"):
        found = pulled(pulling(job, front, digest, path))
        assert (found.format, found.path.read_bytes()) == (SourceFormat.TFLITE, TFLITE)
    absent = pulling(job, front, digest, "/models/person.h5")
    with pytest.raises(ConverterError, match=r"it has models/person\.tflite") as raised:
        pulled(absent)
    assert raised.value.reason is MISSING
    several = tar_of({f"m/{n}": c for n, c in SAVED_MODEL.items()} | {"etc/motd": b"hello"}, compression)
    found = pulled(pulling(job, front, pushes.manifest(pushes.blob(several, kind))))
    assert (found.format, found.path.name) == (SourceFormat.SAVED_MODEL, "m")
    files = tar_of({"a.tflite": TFLITE, "b/b.h5": MODEL}, compression)
    with pytest.raises(ConverterError, match=r"has 2 files.*a\.tflite, b/b\.h5") as raised:
        pulled(pulling(job, front, pushes.manifest(pushes.blob(files, kind))))
    assert raised.value.reason is UNSUPPORTED
    found = pulled(pulling(job, front, pushes.manifest(pushes.blob(files, kind)), "/b/b.h5"))
    assert found.path.read_bytes() == MODEL
    docker = pushes.manifest(
        pushes.blob(tar_of({"x.h5": MODEL}, "gz"), "application/vnd.docker.image.rootfs.diff.tar.gzip"),
        mediaType="application/vnd.docker.distribution.manifest.v2+json",
    )
    assert pulled(pulling(job, front, docker)).path.read_bytes() == MODEL


@pytest.mark.parametrize(
    ("layer", "reason", "words"),
    [
        (tar_of({}, type=tarfile.SYMTYPE, linkname="/etc/passwd"), UNSUPPORTED, "a link"),
        (tar_of({"models/a.h5": MODEL}, type=tarfile.LNKTYPE, linkname="models/a.h5"), UNSUPPORTED, "a link"),
        (tar_of({}, type=tarfile.CHRTYPE), UNSUPPORTED, "a device"),
        (tar_of({"../a.h5": MODEL}), UNSUPPORTED, "cannot be that of a file"),
        (tar_of({"/etc/a.h5": MODEL}), UNSUPPORTED, "cannot be that of a file"),
        (tar_of({f"{n}": b"" for n in range(10_001)}), TOO_LARGE, "members"),
        (
            tar_of({"a.h5": bytes(20 << 20)}, "gz")[:-500],
            FailureReason.UNREADABLE_MODEL,
            "cannot be unpacked",
        ),
        (b"no tar" * 200, FailureReason.UNREADABLE_MODEL, "cannot be unpacked"),
    ],
    ids=["link", "hard link", "device", "climbs", "absolute", "many", "cut", "no tar"],
)
def test_a_layer_is_unpacked_like_any_archive(
    job: Job, front: RegistryFront, pushes: Pushes, layer: bytes, reason: FailureReason, words: str
) -> None:
    digest = pushes.manifest(pushes.blob(layer, LAYER))
    with pytest.raises(ConverterError) as raised:
        pulled(pulling(job, front, digest))
    assert raised.value.reason is reason
    assert words in raised.value.cause


def test_what_no_model_comes_out_of(job: Job, front: RegistryFront, pushes: Pushes) -> None:
    layer = pushes.blob(MODEL, "application/octet-stream", **{TITLE: "a.h5"})
    one = pushes.manifest(layer)
    index = {"schemaVersion": 2, "mediaType": INDEX}
    descriptor = {"mediaType": MANIFEST, "digest": one, "size": 100}
    listed = pushes.put(json.dumps(index | {"manifests": [descriptor]}).encode(), INDEX)
    reason, message = failure_of(pulling(job, front, listed))
    assert reason is UNSUPPORTED
    assert f"is an index of 1 manifests ({one})" in message
    assert "name one of them" in message
    layers = [pushes.blob(tar_of({f"{n}.h5": MODEL}), LAYER) for n in range(2)]
    assert (
        f"has 2 files, and is no SavedModel: {LAYER}, {LAYER}"
        in failure_of(pulling(job, front, pushes.manifest(*layers)))[1]
    )
    packed = pushes.manifest(pushes.blob(b"(\xb5/\xfd", f"{LAYER}+zstd"))
    assert "+zstd, which is not read here" in failure_of(pulling(job, front, packed))[1]
    for changes, words in (
        ({"digest": f"sha512:{'0' * 128}"}, "which is no sha256"),
        ({"annotations": {"org.opencontainers.image.title": "../a.h5"}}, "cannot be that of a file"),
        ({"annotations": {"org.opencontainers.image.title": "/a.h5"}}, "cannot be that of a file"),
        ({"size": -1}, "is no manifest of an image or artifact"),
        ({"size": "1"}, "is no manifest of an image or artifact"),
        ({"size": 10**30}, "is no manifest of an image or artifact"),
        ({"annotations": [1]}, "is no manifest of an image or artifact"),
    ):
        body = {"schemaVersion": 2, "layers": [layer | changes]}
        reason, message = failure_of(pulling(job, front, gives_manifest(front, json.dumps(body).encode())))
        assert (reason, words in message) == (UNSUPPORTED, True), message
    for content in (b"", b"[]", b"{}", b'{"layers": 1}', b"\xff", b"[" * 100_000, b'{"manifests": [{}]}'):
        reason, message = failure_of(pulling(job, front, gives_manifest(front, content)))
        assert (reason, "is no manifest of an image or artifact" in message) == (UNSUPPORTED, True)
    many = json.dumps({"layers": [layer] * 1001}).encode()
    assert failure_of(pulling(job, front, gives_manifest(front, many)))[0] is TOO_LARGE
    same = json.dumps({"layers": [layer | {"mediaType": f"{WEIGHT}.raw"}] * 2}).encode()
    assert failure_of(pulling(job, front, gives_manifest(front, same), "/a.h5"))[0] is MISSING


def test_what_is_too_large_is_not_read(job: Job, front: RegistryFront, pushes: Pushes) -> None:
    layer = pushes.blob(MODEL, "application/octet-stream") | {"size": 200 << 30}
    reason, message = failure_of(
        pulling(job, front, gives_manifest(front, json.dumps({"layers": [layer]}).encode()))
    )
    assert reason is TOO_LARGE
    assert "has 200.0GiB" in message
    assert not any("/blobs/" in asked.path for asked in front.asked)
    long = json.dumps({"layers": [], "x": "x" * asking.MOST_BYTES}).encode()
    assert failure_of(pulling(job, front, gives_manifest(front, long)))[0] is TOO_LARGE
    short = pushes.blob(MODEL, "application/octet-stream") | {"size": len(MODEL) - 1}
    said = json.dumps({"layers": [short]}).encode()
    reason, message = failure_of(pulling(job, front, gives_manifest(front, said)))
    assert reason is MISMATCH
    assert "more than the 1007 bytes that the manifest says" in message


@pytest.mark.parametrize(
    ("part", "words"), [("/manifests/", "gives something with the digest"), ("/blobs/", "has the digest")]
)
def test_other_bytes_than_the_digest_says(
    job: Job, front: RegistryFront, pushes: Pushes, part: str, words: str
) -> None:
    digest = pushes.manifest(pushes.blob(MODEL, "application/octet-stream"))

    def lies(asked: Asked, said: Said) -> Said:
        is_it = part in asked.path and said.status == 200
        return said._replace(content=said.content[:-1] + b" ") if is_it else said

    front.change = lies
    reason, message = failure_of(pulling(job, front, digest))
    assert reason is MISMATCH
    assert words in message


@pytest.mark.parametrize(
    ("login", "words"),
    [("someone:wrong", "answers 401"), (None, "answers 401"), ("elsewhere", "answers 401"), ("", "Docker")],
)
def test_logins_that_do_not_hold_say_so(
    job: Job, front: RegistryFront, pushes: Pushes, login: str | None, words: str
) -> None:
    digest = pushes.manifest(pushes.blob(MODEL, "application/octet-stream"))
    if login is None:
        job.patch.delenv(REGISTRY_LOGINS_ENV)
    elif login == "elsewhere":
        job.patch.setenv(REGISTRY_LOGINS_ENV, docker_config("other.example"))
    else:
        text = docker_config(front.host, login) if login else '{"credsStore": "osxkeychain"}'
        job.patch.setenv(REGISTRY_LOGINS_ENV, text)
    reason, message = failure_of(pulling(job, front, digest, login=None))
    assert reason is DENIED
    assert words in message
    assert "spec.storage.oci.secretRef" in message
    if login in (None, "elsewhere"):
        assert {asked.authorization for asked in front.asked} == {None}


def test_a_token_is_asked_for_once_and_to_pull_only(job: Job, front: RegistryFront) -> None:
    basic = json.loads(docker_config(front.host))["auths"][front.host]["auth"]

    def stop(asked: Asked) -> Said | None:
        if asked.path.startswith("/token"):
            return Said(200, {}, b'{"token": "t0ken"}')
        if asked.authorization != "Bearer t0ken":
            realm = f'Bearer realm="http://{front.host}/token",service="s",scope="repository:all:*"'
            return Said(401, {"WWW-Authenticate": realm}, b"")
        return Said(307, {"Location": asked.path.replace("/v2/", "/inside/v2/")}, b"")

    def inside(asked: Asked) -> Said | None:
        if not asked.path.startswith("/inside"):
            return stop(asked)
        return Said(200, {}, blobs[asked.path.rpartition("/")[2]])

    blobs = {sha256(content): content for content in SAVED_MODEL.values()}
    layers = [
        {"mediaType": f"{WEIGHT}.raw", "digest": sha256(c), "size": len(c), "annotations": {NAMED: n}}
        for n, c in SAVED_MODEL.items()
    ]
    manifest = json.dumps({"layers": layers}).encode()
    blobs[sha256(manifest)] = manifest
    front.stop = inside
    assert pulled(pulling(job, front, sha256(manifest))).format is SourceFormat.SAVED_MODEL
    tokens = [asked for asked in front.asked if asked.path.startswith("/token")]
    assert [asked.authorization for asked in tokens] == [f"Basic {basic}"]
    assert tokens[0].path == "/token?service=s&scope=repository%3Aacme%2Fperson%3Apull"
    front.stop = lambda asked: Said(403, {}, b"") if asked.path.startswith("/token") else stop(asked)
    reason, message = failure_of(pulling(job, front, sha256(manifest)))
    assert reason is DENIED
    assert "answers 403" in message


NAMED = "org.cncf.model.filepath"


@pytest.mark.parametrize("status", [500, 429])
@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
def test_a_registry_that_is_not_well_is_asked_again(
    job: Job, front: RegistryFront, pushes: Pushes, status: int, part: str
) -> None:
    digest = pushes.manifest(pushes.blob(MODEL, "application/octet-stream"))
    left = [2]

    def stop(asked: Asked) -> Said | None:
        if asked.authorization and part in asked.path and left[0]:
            left[0] -= 1
            return Said(status, {}, b"")
        return None

    front.stop = stop
    assert pulled(pulling(job, front, digest)).sha256 == MODEL_DIGEST
    assert left == [0]
    left[0] = 9
    reason, message = failure_of(pulling(job, front, digest))
    assert (reason, left) == (UNAVAILABLE, [6])
    assert f"answers {status}" in message


def test_a_transfer_that_is_cut_is_begun_again(job: Job, front: RegistryFront, pushes: Pushes) -> None:
    digest = pushes.manifest(pushes.blob(MODEL, "application/octet-stream"))
    left = [2]

    def cuts(asked: Asked, said: Said) -> Said | None:
        if "/blobs/" in asked.path and said.status == 200 and left[0]:
            left[0] -= 1
            return None
        return said

    front.change = cuts
    assert pulled(pulling(job, front, digest)).sha256 == MODEL_DIGEST
    assert left == [0]
    left[0] = 9
    reason, message = failure_of(pulling(job, front, digest))
    assert (reason, left) == (UNAVAILABLE, [6])
    assert "broke off" in message


def test_what_is_not_there(job: Job, front: RegistryFront, pushes: Pushes) -> None:
    reason, message = failure_of(pulling(job, front, f"sha256:{'0' * 64}"))
    assert reason is MISSING
    assert f"{front.host}/{NAME}: " in message
    assert "correct the repository and the digest" in message
    absent = {"mediaType": "application/octet-stream", "digest": f"sha256:{'0' * 64}", "size": 9}
    digest = gives_manifest(front, json.dumps({"layers": [absent]}).encode())
    assert failure_of(pulling(job, front, digest))[0] is MISSING
    pulled_from = pulling(job, front, digest)
    nobody = pulled_from.ask(source=Source(uri=f"oci://127.0.0.1:1/a@sha256:{'0' * 64}"))
    assert failure_of(nobody)[0] is UNAVAILABLE


def test_a_registry_may_lead_elsewhere_which_gets_no_login(
    job: Job, front: RegistryFront, pushes: Pushes
) -> None:
    digest = pushes.manifest(pushes.blob(MODEL, "application/octet-stream"))
    with RegistryFront(front.host) as elsewhere:
        elsewhere.stop = lambda asked: Said(200, {}, MODEL)

        def leads(asked: Asked, said: Said) -> Said:
            if "/blobs/" not in asked.path or said.status != 200:
                return said
            return Said(307, {"Location": f"http://{elsewhere.host}{asked.path}?signature=secret"}, b"")

        front.change = leads
        assert pulled(pulling(job, front, digest)).sha256 == MODEL_DIGEST
        assert [asked.authorization for asked in elsewhere.asked] == [None]
        elsewhere.stop = lambda asked: Said(401, {"WWW-Authenticate": 'Basic realm="x"'}, b"")
        reason, message = failure_of(pulling(job, front, digest))
        assert reason is DENIED
        assert f"{elsewhere.host} answers 401" in message
        assert "signature" not in message
        assert {asked.authorization for asked in elsewhere.asked} == {None}


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("ftp://files.example/x", "not https"),
        ("file:///etc/passwd", "to nowhere"),
        ("http://user:word@files.example/x", "with a user's name"),
        ("http://:0/", "to nowhere"),
        ("http://h:99999/", "to nowhere"),
        ("", "redirects more than 5 times"),
    ],
)
@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
def test_downloads_come_from_nothing_strange(
    job: Job, front: RegistryFront, pushes: Pushes, location: str, words: str, part: str
) -> None:
    digest = pushes.manifest(pushes.blob(MODEL, "application/octet-stream"))
    front.change = lambda asked, said: (
        Said(302, {"Location": location}, b"") if part in asked.path and said.status == 200 else said
    )
    reason, message = failure_of(pulling(job, front, digest))
    assert reason is DENIED
    assert words in message
    assert "word@" not in message


def test_each_redirect_is_judged_by_whom_the_one_before_has_reached(
    job: Job, front: RegistryFront, pushes: Pushes
) -> None:
    digest = pushes.manifest(pushes.blob(MODEL, "application/octet-stream"))
    judged: list[tuple[str, str]] = []

    def listens(address: connections.Address, before: connections.Address | None) -> str | None:
        if before is not None:
            judged.append((str(before), str(address)))
        return connections.refusal(address, before)

    job.patch.setattr(asking, "refusal", listens)
    with RegistryFront(front.host, "127.0.0.3") as second, RegistryFront(front.host, "127.0.0.4") as third:
        front.change = lambda asked, said: (
            Said(302, {"Location": f"http://{second.host}/x"}, b"")
            if "/blobs/" in asked.path and said.status == 200
            else said
        )
        second.stop = lambda asked: Said(302, {"Location": f"http://{third.host}/y"}, b"")
        third.stop = lambda asked: Said(200, {}, MODEL)
        assert pulled(pulling(job, front, digest)).sha256 == MODEL_DIGEST
    assert judged == [("127.0.0.1", "127.0.0.3"), ("127.0.0.3", "127.0.0.4")]


@pytest.mark.parametrize("part", ["/manifests/", "/blobs/", "token"])
def test_downloads_come_from_no_address_of_the_machine(
    job: Job, front: RegistryFront, pushes: Pushes, part: str
) -> None:
    """127.0.0.2 stands for the metadata service's address, which tests cannot have."""
    digest = pushes.manifest(pushes.blob(MODEL, "application/octet-stream"))
    metadata = ipaddress.ip_address("127.0.0.2")
    job.patch.setattr(connections, "_METADATA", frozenset({metadata}))
    with RegistryFront(front.host, str(metadata)) as service:
        there = f"http://{service.host}/latest"
        if part == "token":
            front.stop = lambda asked: Said(401, {"WWW-Authenticate": f'Bearer realm="{there}"'}, b"")
        else:
            front.change = lambda asked, said: (
                Said(302, {"Location": there}, b"") if part in asked.path and said.status == 200 else said
            )
        reason, message = failure_of(pulling(job, front, digest))
        assert reason is DENIED
        assert "belongs to the machine" in message
        asked_itself = pulling(job, front, digest).ask(
            source=Source(uri=f"oci://{service.host}/{NAME}@{digest}")
        )
        assert failure_of(asked_itself)[0] is DENIED
        assert service.asked == []


def test_what_is_published_into_a_registry_is_a_source(
    job: Job, front: RegistryFront, registry: LocalRegistry
) -> None:
    job.run(Stage.FETCH)
    repository = f"{front.host}/{NAME}"
    oci = OCIOutput(repository=repository, secret_ref=RegistryKeyRef(name="logins"), insecure=True)
    job = job.ask(output=Output(uri=job.request.output.uri, oci=oci))
    job.converted()
    job.patch.setenv(REGISTRY_LOGINS_ENV, docker_config(front.host))
    told = job.run(Stage.PUBLISH).summary
    assert told is not None
    assert [artifact.uri.partition("@")[0] for artifact in told.oci] == [f"oci://{repository}"] * 2
    for artifact in told.oci:
        found = pulled(pulling(job, front, artifact.uri.partition("@")[2]))
        assert (found.format, found.path.read_bytes()) == (SourceFormat.TFLITE, TFLITE)


class Signed:
    """What a signed output has pushed, and what anybody may attach to it."""

    def __init__(self, job: Job, front: RegistryFront, pushes: Pushes) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        job.run(Stage.FETCH)
        repository = f"{front.host}/{NAME}"
        oci = OCIOutput(repository=repository, secret_ref=RegistryKeyRef(name="logins"), insecure=True)
        signing = Signing(secret_ref=SigningKeyRef(name="key"))
        self.job = job.ask(output=Output(uri=job.request.output.uri, oci=oci, signing=signing))
        self.front, self.pushes = front, pushes
        self.job.converted()
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self.job.patch.setenv(REGISTRY_LOGINS_ENV, docker_config(front.host))
        self.job.patch.setenv(SIGNING_KEY_ENV, pem)
        self.sealer = Sealer(pem)
        told = self.job.run(Stage.PUBLISH).summary
        assert told is not None
        self.digests = [artifact.uri.partition("@")[2] for artifact in told.oci]

    def verifying(self, digest: str, key: ec.EllipticCurvePrivateKey | None = None) -> Job:
        public = (key or self.key).public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        job = pulling(self.job, self.front, digest)
        verify = SourceVerification(public_key=pem)
        return job.ask(source=job.request.source.model_copy(update={"verify": verify}))

    def attach(self, digest: str, content: bytes, **changes: Any) -> None:
        """Attach an envelope as provenance, as whoever may push can."""
        subject = {"mediaType": MANIFEST, "digest": digest, "size": 1}
        layer = self.pushes.blob(content, SIGNED_PROVENANCE) | changes
        config = self.pushes.blob(b"{}", "application/vnd.oci.empty.v1+json")
        body = {"config": config, "layers": [layer], "artifactType": SIGNED_PROVENANCE, "subject": subject}
        made = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST} | body).encode()
        attached = self.pushes.put(made, MANIFEST)
        one = {
            "mediaType": MANIFEST,
            "digest": attached,
            "size": len(made),
            "artifactType": SIGNED_PROVENANCE,
        }
        listed = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [one]}
        self.pushes.put(json.dumps(listed).encode(), INDEX, digest.replace(":", "-"))

    def statement(self, digest: str, kind: str = "https://slsa.dev/provenance/v1") -> bytes:
        subject = [{"name": "x", "digest": {"sha256": digest.removeprefix("sha256:")}}]
        return json.dumps({"subject": subject, "predicateType": kind, "predicate": {}}).encode()


SIGNED_PROVENANCE = "application/vnd.in-toto.provenance+dsse"
IN_TOTO = "application/vnd.in-toto+json"


def test_what_a_signed_output_has_pushed_is_verified_by_its_provenance(
    job: Job, front: RegistryFront, pushes: Pushes
) -> None:
    signed = Signed(job, front, pushes)
    for digest in signed.digests:
        assert pulled(signed.verifying(digest)).path.read_bytes() == TFLITE
        other = signed.verifying(digest, ec.generate_private_key(ec.SECP256R1()))
        failure = other.run(Stage.FETCH).failure
        assert failure is not None
        assert failure.reason is FailureReason.SOURCE_NOT_VERIFIED
        assert "none of the 1 that refer to it is by that key" in failure.message

    front.stop = lambda asked: Said(403, {}, b"") if "sha256-" in asked.path else None
    failure = signed.verifying(signed.digests[0]).run(Stage.FETCH).failure
    assert failure is not None
    assert failure.reason is DENIED

    def knows(asked: Asked) -> Said | None:
        """A stand-in for a registry of version 1.1, which has the list itself."""
        if "/referrers/" not in asked.path:
            return None
        assert asked.path.endswith("?artifactType=application%2Fvnd.in-toto.provenance%2Bdsse")
        return Said(200, {"Content-Type": INDEX}, b'{"manifests": []}')

    front.stop = knows
    failure = signed.verifying(signed.digests[0]).run(Stage.FETCH).failure
    assert failure is not None
    assert "has no signed provenance: nothing is" in failure.message


def test_nothing_else_is_taken_for_signed_provenance(job: Job, front: RegistryFront, pushes: Pushes) -> None:
    signed = Signed(job, front, pushes)
    digest = pushes.manifest(pushes.blob(MODEL, "application/octet-stream", **{TITLE: "mine.h5"}))
    stranger = ec.generate_private_key(ec.SECP256R1())
    pem = stranger.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    good = signed.statement(digest)
    for content in (
        good,
        Sealer(pem).seal(good, IN_TOTO),
        signed.sealer.seal(signed.statement(signed.digests[0]), IN_TOTO),
        signed.sealer.seal(
            signed.statement(digest, "https://in-toto.io/attestation/test-result/v0.1"), IN_TOTO
        ),
        signed.sealer.seal(good, "application/vnd.edgeml.channel.v1+json"),
        signed.sealer.seal(b"[" * 100_000, IN_TOTO),
        signed.sealer.seal(b'{"subject": [{"digest": 1}]}', IN_TOTO),
        b"{}",
    ):
        signed.attach(digest, content)
        failure = signed.verifying(digest).run(Stage.FETCH).failure
        assert failure is not None
        assert failure.reason is FailureReason.SOURCE_NOT_VERIFIED
    envelope = signed.sealer.seal(good, IN_TOTO)
    signed.attach(digest, envelope, size=2 << 20)
    assert signed.verifying(digest).run(Stage.FETCH).failure is not None
    signed.attach(digest, envelope)
    assert pulled(signed.verifying(digest)).sha256 == MODEL_DIGEST
    broken = signed.verifying(digest)
    verify = SourceVerification(public_key="-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    broken = broken.ask(source=broken.request.source.model_copy(update={"verify": verify}))
    failure = broken.run(Stage.FETCH).failure
    assert failure is not None
    assert failure.reason is FailureReason.SOURCE_NOT_VERIFIED
