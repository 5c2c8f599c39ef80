"""``job-publish`` into a real registry, Debian's docker-registry 2.8, which knows no referrers API.

What goes wrong on the way is done by a server in front of it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import ipaddress
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from devcluster.errors import PackageUnavailableError
from devcluster.services.registry import LocalRegistry
from devcluster.services.s3 import ObjectStore as Server
from modelconversion_api.base import fraction
from modelconversion_api.fields.data import Validation
from modelconversion_api.fields.oci import OCIChoice, OCIFormat, OCIOutput, RegistryKeyRef
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.request import REGISTRY_LOGINS_ENV, SIGNING_KEY_ENV
from modelconversion_api.spec import Output, Signing, SigningKeyRef
from support.cluster.registries import INDEX, LOGIN, MANIFEST, docker_config, with_login
from support.cluster.registry_front import Asked, RegistryFront, Said
from support.cluster.stages import METHODS, MODEL_DIGEST, TFLITE, Job, new_job
from tflite_converter.job.stores import connections

REPORT_TYPE = "application/vnd.edgeml.dev.conversion.report.v1+json"
PROVENANCE_TYPE = "application/vnd.in-toto+json"
SLSA, BILL = "https://slsa.dev/provenance/v1", "https://cyclonedx.org/bom"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
SIGNED_TYPES = {
    SLSA: "application/vnd.in-toto.provenance+dsse",
    TEST_RESULT: "application/vnd.in-toto.test-result+dsse",
    BILL: "application/vnd.in-toto.cyclonedx+dsse",
}
PREDICATE = "in-toto.io/predicate-type"
FILES = [method.file_name("gesture") for method in METHODS]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    try:
        with with_login(tmp_path_factory.mktemp("registry")) as running:
            yield running
    except PackageUnavailableError as error:
        pytest.skip(str(error))


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
    made.run(Stage.FETCH)
    made = pushing(made, front.host)
    made.converted()
    return made


def pushing(job: Job, host: str, login: str = "someone:right", **changes: Any) -> Job:
    """The same Job, which pushes to a host with a login that is for it."""
    job.patch.setenv(REGISTRY_LOGINS_ENV, docker_config(host, login))
    name = f"edge/{hashlib.sha256(job.bucket.encode()).hexdigest()[:8]}"
    fields = {"tag": "v-{version}", "secret_ref": RegistryKeyRef(name="logins"), "insecure": True} | changes
    oci = OCIOutput(repository=f"{host}/{name}", **fields)
    return job.ask(output=Output(uri=job.request.output.uri, oci=oci))


def oci_of(job: Job) -> OCIOutput:
    assert job.request.output.oci is not None
    return job.request.output.oci


def get(registry: LocalRegistry, job: Job, path: str, accept: str = MANIFEST) -> httpx.Response:
    return httpx.get(
        f"http://{registry.host}/v2/{oci_of(job).path}/{path}",
        headers={"Accept": accept},
        auth=LOGIN,
        trust_env=False,
    )


def checked(registry: LocalRegistry, job: Job, reference: str) -> tuple[str, dict[str, Any]]:
    """The digest and content of a manifest, whose blobs are all there with what it says of them."""
    answer = get(registry, job, f"manifests/{reference}")
    assert answer.status_code == 200
    manifest = answer.json()
    for blob in (manifest["config"], *manifest["layers"]):
        content = get(registry, job, f"blobs/{blob['digest']}").content
        assert (f"sha256:{hashlib.sha256(content).hexdigest()}", len(content)) == (
            blob["digest"],
            blob["size"],
        )
    return f"sha256:{hashlib.sha256(answer.content).hexdigest()}", manifest


def failure_of(job: Job) -> tuple[FailureReason, str]:
    failure = job.run(Stage.PUBLISH).failure
    assert failure is not None
    assert "someone" not in failure.message
    assert "out/report.json" not in job.objects()  # where it is, everything is
    return failure.reason, failure.message


def test_an_image_and_a_model_pack_have_the_recommended_file(registry: LocalRegistry, job: Job) -> None:
    told = job.run(Stage.PUBLISH).summary
    assert told is not None
    assert told.recommended is not None
    name = told.recommended.method.file_name("gesture")
    tag = f"v-{MODEL_DIGEST[:12]}"
    assert [(o.format, o.tag) for o in told.oci] == [
        (OCIFormat.IMAGE, tag),
        (OCIFormat.MODEL_PACK, f"{tag}-modelpack"),
    ]
    image_digest, image = checked(registry, job, tag)
    pack_digest, pack = checked(registry, job, f"{tag}-modelpack")
    repository = oci_of(job).repository
    assert [o.uri for o in told.oci] == [f"oci://{repository}@{d}" for d in (image_digest, pack_digest)]

    (layer,) = image["layers"]
    content = get(registry, job, f"blobs/{layer['digest']}").content
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert [(m.name, m.isdir(), m.uid, m.mtime) for m in tar] == [
            ("models", True, 0, 0),
            (f"models/{name}", False, 0, 0),
        ]
        stream = tar.extractfile(f"models/{name}")
        assert stream is not None
        assert stream.read() == TFLITE
    config = get(registry, job, f"blobs/{image['config']['digest']}").json()
    assert config["rootfs"] == {"type": "layers", "diff_ids": [layer["digest"]]}

    assert pack["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    (weight,) = pack["layers"]
    assert weight["mediaType"] == "application/vnd.cncf.model.weight.v1.raw"
    assert weight["annotations"] == {"org.cncf.model.filepath": name}
    assert weight["digest"] == f"sha256:{hashlib.sha256(TFLITE).hexdigest()}"

    report = json.loads(job.published(job.folder / "downloaded").joinpath("report.json").read_bytes())
    assert [o["uri"] for o in report["oci"]] == [o.uri for o in told.oci]


def test_report_and_provenance_refer_to_what_was_pushed(registry: LocalRegistry, job: Job) -> None:
    told = job.run(Stage.PUBLISH).summary
    assert told is not None
    published = job.published(job.folder / "downloaded").joinpath("report.json").read_bytes()
    for artifact in told.oci:
        digest = artifact.uri.rpartition("@")[2]
        listed = get(registry, job, f"manifests/{digest.replace(':', '-')}", INDEX).json()["manifests"]
        assert {one["artifactType"] for one in listed} == {REPORT_TYPE, PROVENANCE_TYPE}
        for one in listed:
            _, found = checked(registry, job, one["digest"])
            assert found["subject"]["digest"] == digest
            content = get(registry, job, f"blobs/{found['layers'][0]['digest']}").content
            if one["artifactType"] == REPORT_TYPE:
                assert content == published
                continue
            statement = json.loads(content)
            assert statement["_type"] == "https://in-toto.io/Statement/v1"
            assert one["annotations"] == {PREDICATE: statement["predicateType"]}
            subjects = {s["digest"]["sha256"] for s in statement["subject"]}
            assert {digest.removeprefix("sha256:"), hashlib.sha256(TFLITE).hexdigest()} <= subjects
            if statement["predicateType"] == SLSA:
                source, data = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
                assert source == {"digest": {"sha256": MODEL_DIGEST}, "uri": job.request.source.uri}
                digest_of_data = hashlib.sha256(b"data").hexdigest()
                assert data == {"name": "calibration", "digest": {"sha256": digest_of_data}}
        said = [one["annotations"][PREDICATE] for one in listed if one["artifactType"] == PROVENANCE_TYPE]
        assert sorted(said) == sorted([SLSA, TEST_RESULT, BILL])


def said_of(registry: LocalRegistry, job: Job, digest: str) -> dict[str, list[tuple[str, bytes]]]:
    """Types and contents of the statements that refer to a manifest, by what they claim to be."""
    listed = get(registry, job, f"manifests/{digest.replace(':', '-')}", INDEX).json()["manifests"]
    found: dict[str, list[tuple[str, bytes]]] = {}
    for one in listed:
        if (claimed := one.get("annotations", {}).get(PREDICATE)) is not None:
            _, manifest = checked(registry, job, one["digest"])
            (layer,) = manifest["layers"]
            assert layer["mediaType"] == manifest["artifactType"] == one["artifactType"]
            content = get(registry, job, f"blobs/{layer['digest']}").content
            found.setdefault(claimed, []).append((one["artifactType"], content))
    return found


def by_openssl(
    folder: Path, key: ec.EllipticCurvePublicKey, signed: bytes, signature: bytes, digest: str
) -> str:
    """What openssl says of a signature, asked as docs/STORAGE.md has it."""
    (folder / "public.pem").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (folder / "signed").write_bytes(signed)
    (folder / "statement.sig").write_bytes(signature)
    command = [shutil.which("openssl") or "openssl", "dgst", f"-{digest}", "-verify", "public.pem"]
    command += ["-signature", "statement.sig", "signed"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("curve", "digest"), [(ec.SECP256R1(), hashes.SHA256()), (ec.SECP384R1(), hashes.SHA384())]
)
def test_statements_of_a_signed_output_are_signed_by_its_key(
    registry: LocalRegistry, job: Job, curve: ec.EllipticCurve, digest: hashes.HashAlgorithm
) -> None:
    key = ec.generate_private_key(curve)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    output = job.request.output
    signing = Signing(secret_ref=SigningKeyRef(name="key"))
    job = job.ask(output=output.model_copy(update={"signing": signing}))
    job.converted()
    job.patch.setenv(SIGNING_KEY_ENV, pem)
    told = job.run(Stage.PUBLISH).summary
    assert told is not None
    assert SIGNING_KEY_ENV not in os.environ
    for artifact in told.oci:
        manifest = artifact.uri.rpartition("@")[2]
        said = said_of(registry, job, manifest)
        assert {claimed: kind for claimed, ((kind, _),) in said.items()} == SIGNED_TYPES
        for claimed, ((_, content),) in said.items():
            envelope = json.loads(content)
            payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
            assert kind == "application/vnd.in-toto+json"
            # The pre-authentication encoding, as DSSE's page has it.
            signed = b" ".join([b"DSSEv1", b"%d" % len(kind), kind.encode(), b"%d" % len(payload), payload])
            (signature,) = envelope["signatures"]
            proof = base64.b64decode(signature["sig"])
            key.public_key().verify(proof, signed, ec.ECDSA(digest))
            with pytest.raises(InvalidSignature):
                key.public_key().verify(
                    proof, signed.replace(manifest[7:].encode(), b"0" * 64), ec.ECDSA(digest)
                )
            assert by_openssl(job.folder, key.public_key(), signed, proof, digest.name) == "Verified OK"
            statement = json.loads(payload)
            assert statement["predicateType"] == claimed
            assert {"sha256": manifest.removeprefix("sha256:")} in [s["digest"] for s in statement["subject"]]
    listed = get(registry, job, f"manifests/{manifest.replace(':', '-')}", INDEX).json()["manifests"]
    assert "application/vnd.dev.sigstore.bundle.v0.3+json" in {one["artifactType"] for one in listed}


def test_a_test_result_has_the_gates_and_what_came_of_them(
    registry: LocalRegistry, job: Job, front: RegistryFront
) -> None:
    gates = Validation(min_agreement=fraction(0.98), max_size_bytes=300000)
    job = pushing(job.ask(validation=gates), front.host, formats=[OCIFormat.IMAGE], files=OCIChoice.PASSED)
    job.converted()
    told = job.run(Stage.PUBLISH).summary
    assert told is not None
    (artifact,) = told.oci
    said = said_of(registry, job, artifact.uri.rpartition("@")[2])
    results = [json.loads(content) for _, content in said[TEST_RESULT]]
    assert {r["subject"][1]["name"] for r in results} == set(FILES)
    for result in results:
        assert {s["digest"]["sha256"] for s in result["subject"]} == {
            artifact.uri.rpartition(":")[2],
            hashlib.sha256(TFLITE).hexdigest(),
        }
        predicate = result["predicate"]
        assert predicate.keys() >= {"result", "configuration"}
        assert predicate["result"] == "PASSED"
        assert predicate["passedTests"] == ["usable", "gate:minAgreement", "gate:maxSizeBytes"]
        assert (predicate["warnedTests"], predicate["failedTests"]) == ([], [])
        configured, data = predicate["configuration"]
        content = base64.b64decode(configured["content"])
        assert json.loads(content) == {"minAgreement": 0.98, "maxSizeBytes": 300000}
        assert configured["digest"] == {"sha256": hashlib.sha256(content).hexdigest()}
        assert data["digest"] == {"sha256": hashlib.sha256(b"data").hexdigest()}
        (figures,) = (value for name, value in predicate.items() if name.startswith("https://"))
        assert (figures["agreement"], figures["sizeBytes"], figures["agreementMetric"]) == (
            1,
            len(TFLITE),
            "Top1",
        )

    (bill,) = (json.loads(content)["predicate"] for _, content in said[BILL])
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill | {"x": 1})) is not None
    assert [c["name"] for c in bill["components"]] == FILES
    for component in bill["components"]:
        (hashed,) = component["hashes"]
        assert hashed == {"alg": "SHA-256", "content": hashlib.sha256(TFLITE).hexdigest()}
        (ancestor,) = component["pedigree"]["ancestors"]
        assert {"name": "edgeml.dev:sha256", "value": MODEL_DIGEST} in ancestor["properties"]
        (dataset,) = component["modelCard"]["modelParameters"]["datasets"]
        assert dataset["name"] == "calibration"
        (metric,) = component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
        assert metric == {"type": "agreement", "value": "1"}


def test_the_same_files_have_the_same_digests_and_nothing_is_pushed_twice(
    job: Job, front: RegistryFront
) -> None:
    first = job.run(Stage.PUBLISH).summary
    again = pushing(job, front.host)
    front.asked.clear()
    second = again.run(Stage.PUBLISH).summary
    assert first is not None
    assert second is not None
    assert first.oci == second.oci
    layers = [a for a in front.asked if a.method == "PUT" and "/blobs/" in a.path]
    assert len(layers) <= 1  # the report has other times in it


def test_all_that_passed_are_in_one_image(registry: LocalRegistry, job: Job, front: RegistryFront) -> None:
    wanted = pushing(job, front.host, files=OCIChoice.PASSED, tag="all", formats=[OCIFormat.MODEL_PACK])
    assert wanted.run(Stage.PUBLISH).failure is None
    _, pack = checked(registry, wanted, "all")
    assert [one["annotations"]["org.cncf.model.filepath"] for one in pack["layers"]] == FILES


def test_what_another_job_writes_over_the_list_is_kept_beside_ours(
    registry: LocalRegistry, job: Job, front: RegistryFront
) -> None:
    first = pushing(job, front.host, formats=[OCIFormat.MODEL_PACK], tag="other")
    assert first.run(Stage.PUBLISH).failure is None
    other = checked(registry, first, "other")[0]
    written: list[str] = []

    def change(asked: Asked, said: Said) -> Said:
        """Another, who has read the list before we wrote it, writes it right after us."""
        if asked.method == "PUT" and "/manifests/sha256-" in asked.path and not written:
            written.append(asked.path)
            size = len(get(registry, job, f"manifests/{other}").content)
            descriptor = {"mediaType": MANIFEST, "digest": other, "size": size}
            theirs = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]}
            httpx.put(
                f"http://{registry.host}{asked.path}",
                content=json.dumps(theirs),
                headers={"Content-Type": INDEX},
                auth=LOGIN,
                trust_env=False,
            ).raise_for_status()
        return said

    front.change = change
    wanted = pushing(job, front.host, formats=[OCIFormat.IMAGE])
    assert wanted.run(Stage.PUBLISH).failure is None
    assert written
    (path,) = written
    listed = get(registry, job, f"manifests/{path.rpartition('/')[2]}", INDEX).json()["manifests"]
    assert other in {one["digest"] for one in listed}
    assert {REPORT_TYPE, PROVENANCE_TYPE} <= {one.get("artifactType") for one in listed}


def test_a_registry_that_keeps_the_lists_itself_gets_no_tag(job: Job, front: RegistryFront) -> None:
    pushed = pushing(job, front.host, formats=[OCIFormat.IMAGE], tag=None)

    def knows(asked: Asked, said: Said) -> Said:
        """A stand-in for a registry of version 1.1: it names the subject of all that is put."""
        if asked.method == "PUT" and "/manifests/" in asked.path and subject:
            return said._replace(headers=said.headers | {"OCI-Subject": subject[0]})
        if asked.method == "PUT" and "/manifests/" in asked.path:
            subject.append(asked.path.rpartition("/")[2])
        return said

    subject: list[str] = []
    front.change = knows
    told = pushed.run(Stage.PUBLISH).summary
    assert told is not None
    assert told.oci[0].tag is None
    assert not any("/manifests/sha256-" in asked.path for asked in front.asked)


@pytest.mark.parametrize(
    ("login", "words"),
    [("someone:wrong", "answers 401"), (None, "has no key"), ("elsewhere", "no login for"), ("", "Docker")],
)
def test_logins_that_do_not_hold_say_so(
    job: Job, front: RegistryFront, login: str | None, words: str
) -> None:
    job = pushing(job, front.host, login or "x:y")
    if login is None:
        job.patch.delenv(REGISTRY_LOGINS_ENV)
    elif login == "elsewhere":
        job.patch.setenv(REGISTRY_LOGINS_ENV, json.dumps({"auths": {"other.example": {"auth": "eDp5"}}}))
    elif not login:
        job.patch.setenv(REGISTRY_LOGINS_ENV, '{"credsStore": "osxkeychain"}')
    reason, message = failure_of(job)
    assert reason is FailureReason.STORAGE_ACCESS_DENIED
    assert words in message


def test_a_token_is_asked_for_where_the_registry_says_and_the_login_goes_only_where_it_may(
    job: Job, front: RegistryFront
) -> None:
    with RegistryFront(front.host) as realm:
        basic = f"Basic {base64.b64encode(b'someone:right').decode()}"
        realm.stop = lambda asked: Said(200, {}, b'{"token": "t0ken"}')

        def wants_a_token(asked: Asked) -> Said | None:
            if asked.path.startswith("/token"):
                return Said(200, {}, b'{"access_token": "t0ken"}')
            if asked.authorization == "Bearer t0ken":
                return Said(201, {}, b"") if asked.method == "PUT" else Said(403, {}, b"")
            challenge = f'Bearer realm="http://{places[0]}/token?a=b",service="s",scope="repository:all:*"'
            return Said(401, {"WWW-Authenticate": challenge}, b"")

        places = [front.host]
        front.stop = wants_a_token
        assert failure_of(job)[0] is FailureReason.STORAGE_ACCESS_DENIED
        (asked,) = [a for a in front.asked if a.path.startswith("/token")]
        assert asked.authorization == basic
        scope = oci_of(job).path.replace("/", "%2F")
        assert asked.path == f"/token?a=b&service=s&scope=repository%3A{scope}%3Apull%2Cpush"
        places[0] = realm.host
        failure_of(pushing(job, front.host))
        assert realm.asked
        assert {a.authorization for a in realm.asked} == {None}


@pytest.mark.parametrize("status", [500, 429])
def test_a_registry_that_is_not_well_is_asked_again(
    registry: LocalRegistry, job: Job, front: RegistryFront, status: int
) -> None:
    left = {"POST": 1, "PUT": 1}  # a blob is tried three times

    def stop(asked: Asked) -> Said | None:
        if asked.authorization and left.get(asked.method):
            left[asked.method] -= 1
            return Said(status, {}, b"")
        return None

    front.stop = stop
    assert job.run(Stage.PUBLISH).failure is None
    assert left == {"POST": 0, "PUT": 0}
    checked(registry, job, f"v-{MODEL_DIGEST[:12]}")
    front.stop = lambda asked: Said(status, {}, b"")
    reason, message = failure_of(pushing(job, front.host))
    assert reason is FailureReason.STORAGE_UNAVAILABLE
    assert f"answers {status}" in message


def test_an_upload_that_is_cut_is_begun_again(
    registry: LocalRegistry, job: Job, front: RegistryFront
) -> None:
    cut: list[str] = []

    def change(asked: Asked, said: Said) -> Said | None:
        if asked.method == "PUT" and not cut:
            cut.append(asked.path)
            return None
        return said

    front.change = change
    assert job.run(Stage.PUBLISH).failure is None
    assert cut
    checked(registry, job, f"v-{MODEL_DIGEST[:12]}")


@pytest.mark.parametrize("part", ["/blobs/", "/manifests/"])
def test_a_registry_that_has_other_bytes_than_were_sent(job: Job, front: RegistryFront, part: str) -> None:
    def lies(asked: Asked, said: Said) -> Said:
        if asked.method != "PUT" or part not in asked.path:
            return said
        return said._replace(headers=said.headers | {"Docker-Content-Digest": f"sha256:{'0' * 64}"})

    front.change = lies
    assert failure_of(job)[0] is FailureReason.UPLOAD_CORRUPTED
    assert not any(a.method == "PUT" and a.path.endswith(MODEL_DIGEST[:12]) for a in front.asked)


def test_a_manifest_that_reads_otherwise_than_it_was_put(job: Job, front: RegistryFront) -> None:
    def lies(asked: Asked, said: Said) -> Said:
        is_read = asked.method == "GET" and "/manifests/sha256:" in asked.path and said.status == 200
        return said._replace(content=said.content + b" ") if is_read else said

    front.change = lies
    assert failure_of(job)[0] is FailureReason.UPLOAD_CORRUPTED


def test_uploads_may_go_to_another_host_which_gets_no_login(
    registry: LocalRegistry, job: Job, front: RegistryFront
) -> None:
    with RegistryFront(registry.host) as elsewhere:
        elsewhere.stop = lambda asked: Said(500, {}, b"")
        front.change = lambda asked, said: (
            said._replace(
                headers=said.headers
                | {"Location": said.headers["Location"].replace(front.host, elsewhere.host)}
            )
            if "Location" in said.headers and asked.method == "POST"
            else said
        )
        reason, message = failure_of(job)
        assert reason is FailureReason.STORAGE_UNAVAILABLE
        assert f"{elsewhere.host} answers 500" in message
        assert elsewhere.asked
        assert {a.authorization for a in elsewhere.asked} == {None}


def test_an_upload_location_without_a_host_is_the_registry_s_own(
    registry: LocalRegistry, job: Job, front: RegistryFront
) -> None:
    front.change = lambda asked, said: (
        said._replace(headers=said.headers | {"Location": said.headers["Location"].partition(front.host)[2]})
        if "Location" in said.headers and asked.method == "POST"
        else said
    )
    assert job.run(Stage.PUBLISH).failure is None
    checked(registry, job, f"v-{MODEL_DIGEST[:12]}")


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("ftp://files.example/x", "not https"),
        ("http://user:word@files.example/x", "with a user's name"),
        ("http://:0/", "to nowhere"),
    ],
)
def test_uploads_go_to_nothing_strange(job: Job, front: RegistryFront, location: str, words: str) -> None:
    front.change = lambda asked, said: (
        said._replace(headers=said.headers | {"Location": location}) if asked.method == "POST" else said
    )
    reason, message = failure_of(job)
    assert reason is FailureReason.STORAGE_ACCESS_DENIED
    assert words in message
    assert "word@" not in message


def test_a_repository_that_is_not_there_and_a_redirect_are_no_success(job: Job, front: RegistryFront) -> None:
    front.stop = lambda asked: Said(404, {}, b"")
    assert failure_of(job)[0] is FailureReason.BUCKET_NOT_FOUND
    there = f"http://{front.host}/elsewhere"
    front.stop = lambda asked: Said(307, {"Location": there}, b"") if asked.method == "PUT" else None
    reason, message = failure_of(pushing(job, front.host))
    assert reason is FailureReason.STORAGE_UNAVAILABLE
    assert "answers 307" in message
    assert not any(a.path == "/elsewhere" for a in front.asked)


def test_uploads_go_to_no_address_of_the_machine(job: Job, front: RegistryFront) -> None:
    """127.0.0.2 stands for the metadata service's address, which tests cannot have."""
    metadata = ipaddress.ip_address("127.0.0.2")
    job.patch.setattr(connections, "_METADATA", frozenset({metadata}))
    with RegistryFront(front.host, str(metadata)) as service:
        there = f"http://{service.host}/latest"
        front.change = lambda asked, said: (
            said._replace(headers=said.headers | {"Location": there}) if asked.method == "POST" else said
        )
        reason, message = failure_of(job)
        assert reason is FailureReason.STORAGE_ACCESS_DENIED
        assert "belongs to the machine" in message
        assert service.asked == []
