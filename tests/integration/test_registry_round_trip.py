"""What one conversion pushes to a registry, another converts: the operator's Jobs, and a real registry."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from devcluster.errors import PackageUnavailableError
from devcluster.services.registry import LocalRegistry
from support.cluster.conversions import Conversions, Operator, until
from support.cluster.registries import docker_config, with_login
from support.converter.tiny_tflite import write_tiny_tflite

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("process_node")]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[LocalRegistry]:
    folder = tmp_path / "registry"
    folder.mkdir()
    try:
        with with_login(folder) as running:
            yield running
    except PackageUnavailableError as error:
        pytest.skip(str(error))


def test_what_was_published_is_converted_again(
    conversions: Conversions, operator: Operator, registry: LocalRegistry, tmp_path: Path
) -> None:
    assert operator.process is not None
    model = write_tiny_tflite(tmp_path / "person.tflite", (1, 4096))
    conversions.upload({"person.tflite": model})
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    secrets = {
        "registry-logins": {".dockerconfigjson": docker_config(registry.host)},
        "signing-key": {"private.pem": pem},
    }
    for secret, data in secrets.items():
        meta = {"name": secret, "namespace": conversions.namespace}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": data}
        conversions.cluster.apply([body])
    conversions.release("signing-key")
    reference = {"insecure": True, "secretRef": {"name": "registry-logins"}}
    storage = {"endpoint": conversions.store.endpoint, "secretRef": {"name": "s3-credentials"}}

    oci = {"repository": f"{registry.host}/acme/person"} | reference
    conversions.apply(
        "float",
        source={"uri": conversions.uri("person.tflite")},
        methods=["Float32"],
        output={
            "uri": conversions.uri("out/float/"),
            "oci": oci,
            "signing": {"secretRef": {"name": "signing-key"}},
        },
    )
    until(lambda: "SecretNotReleased" in str(conversions.status("float")), "it waits for the release")
    conversions.release("registry-logins")
    status = conversions.finished("float")
    assert status["phase"] == "Succeeded", status
    published = conversions.objects("out/float/")["out/float/person_float32.tflite"]

    for artifact in status["oci"]:
        name = artifact["format"].lower()
        conversions.apply(
            name,
            source={"uri": artifact["uri"], "verify": {"publicKey": public}},
            methods=["DynamicRange"],
            storage=storage | {"oci": reference},
        )
    for artifact in status["oci"]:
        name = artifact["format"].lower()
        again = conversions.finished(name)
        assert again["phase"] == "Succeeded", again
        (made,) = again["artifacts"]
        assert made["uri"].endswith(f"out/{name}/person_dynamic_range.tflite")
        assert made["passed"]
        assert again["source"]["format"] == "TFLite"
        if artifact["format"] == "ModelPack":
            assert again["source"]["sha256"] == hashlib.sha256(published).hexdigest()
    conversions.apply(
        "absent",
        source={"uri": f"oci://{registry.host}/acme/person@sha256:{'0' * 64}"},
        methods=["DynamicRange"],
        storage=storage | {"oci": reference},
    )
    status = conversions.finished("absent")
    (condition,) = (c for c in status["conditions"] if c["type"] == "Succeeded")
    assert condition["reason"] == "SourceNotFound"
