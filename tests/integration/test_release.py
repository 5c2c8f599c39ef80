"""Releases into a real registry: what is pushed, how it is signed, and what is said where it refuses.

The images here hold one small file each; `tests/e2e/test_release.py` releases the real ones.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from rich.console import Console

from devcluster.errors import PackageUnavailableError, ReleaseError
from devcluster.images.oci_archive import write_program_image
from devcluster.processes import free_ports
from devcluster.release import chart
from devcluster.release.archived import Archived, read
from devcluster.release.command import Asked, release
from devcluster.release.credentials import Credentials, find_credentials
from devcluster.release.plan import UNITS, Build
from devcluster.release.publishing import Made, Publisher
from devcluster.release.registry import OCI_INDEX, OCI_MANIFEST, Registry
from devcluster.release.signing import Signer, attach_attestations, attach_signature
from devcluster.release.source import CHART, Source
from devcluster.release.statements import SLSA, Origin, statement
from devcluster.services.registry import LocalRegistry
from devcluster.tools.helm import ensure_helm

Json = dict[str, Any]

OPENSSL = shutil.which("openssl") or pytest.fail("openssl is missing")
SOURCE = Source("c" * 40, dirty=False, tags=("v1.2.3",), seconds=1_700_000_000)
CREATED = "2023-11-14T22:13:20Z"  # what `date -u -d @1700000000` says
# Of the user "someone" with the password "right", in bcrypt, as the registry wants it.
HTPASSWD = "someone:$2y$05$abcdefghijklmnopqrstuu8xaCxxL82bnl.UY74PMksDxIJShppPC"


@contextmanager
def registry_of_tests(folder: Path, settings: Json | None = None) -> Iterator[LocalRegistry]:
    try:
        with LocalRegistry(folder, settings) as running:
            yield running
    except PackageUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    with registry_of_tests(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def client(local: LocalRegistry) -> Iterator[Registry]:
    with Registry(local.host, plain_http=True, credentials=None) as opened:
        yield opened


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("key") / "private.pem"
    command = [OPENSSL, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", file]
    subprocess.run(command, check=True, capture_output=True)
    return file


def image(folder: Path, content: bytes = b"content") -> Archived:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "program").write_bytes(content)
    write_program_image(folder / "image.tar", "localhost/x:1", {"/program": folder / "program"}, ["/program"])
    return read(folder / "image.tar", {"org.opencontainers.image.version": "1.2.3"}, CREATED)


def get(registry: LocalRegistry, path: str) -> httpx.Response:
    """What the registry has, asked without the product."""
    accept = {"Accept": f"{OCI_INDEX}, {OCI_MANIFEST}"}
    return httpx.get(f"http://{registry.host}/v2/{path}", headers=accept, trust_env=False)


def holds(key: Path, content: bytes, signature: str, folder: Path) -> bool:
    """Whether openssl finds that a signature is over a content."""
    (folder / "content").write_bytes(content)
    (folder / "signature").write_bytes(base64.b64decode(signature))
    public = folder / "public.pem"
    subprocess.run([OPENSSL, "pkey", "-in", key, "-pubout", "-out", public], check=True)
    command = [OPENSSL, "dgst", "-sha256", "-verify", public, "-signature", "signature", "content"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


def test_an_image_arrives_whole_and_says_what_it_is(
    local: LocalRegistry, client: Registry, tmp_path: Path
) -> None:
    made = image(tmp_path, b"x" * 3_000_000)
    made.push(client, "edge/whole", {}, lambda: None)
    answer = get(local, f"edge/whole/manifests/{made.digest}")
    assert f"sha256:{hashlib.sha256(answer.content).hexdigest()}" == made.digest
    manifest = answer.json()
    (layer,) = manifest["layers"]
    content = get(local, f"edge/whole/blobs/{layer['digest']}").content
    assert hashlib.sha256(content).hexdigest() == layer["digest"].removeprefix("sha256:")
    assert b"x" * 3_000_000 in content
    config = get(local, f"edge/whole/blobs/{manifest['config']['digest']}").json()
    assert (
        config["config"]["Labels"] == manifest["annotations"] == {"org.opencontainers.image.version": "1.2.3"}
    )
    assert config["created"] == CREATED
    assert config["config"]["Entrypoint"] == ["/program"]


def test_alike_inputs_give_alike_digests(tmp_path: Path) -> None:
    first, again = image(tmp_path / "a"), image(tmp_path / "b")
    assert first.digest == again.digest
    assert image(tmp_path / "c", b"other").digest != first.digest


def test_a_layer_that_the_registry_has_elsewhere_is_not_sent_again(
    local: LocalRegistry, client: Registry, tmp_path: Path
) -> None:
    made = image(tmp_path, b"shared")
    made.push(client, "edge/one", {}, lambda: None)
    (layer,) = made.layers

    def opened() -> Any:
        raise AssertionError("it was sent")

    client.push_blob("edge/two", layer["digest"], layer["size"], opened, also_in="edge/one")
    assert get(local, f"edge/two/blobs/{layer['digest']}").status_code == 200


def test_openssl_verifies_what_cosign_would_look_for(
    local: LocalRegistry, client: Registry, key: Path, tmp_path: Path
) -> None:
    made = image(tmp_path, b"signed")
    made.push(client, "edge/signed", {}, lambda: None)
    attach_signature(client, "edge/signed", made.digest, Signer(key))
    tag = made.digest.replace(":", "-")
    (layer,) = get(local, f"edge/signed/manifests/{tag}.sig").json()["layers"]
    assert layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
    payload = get(local, f"edge/signed/blobs/{layer['digest']}").content
    signature = layer["annotations"]["dev.cosignproject.cosign/signature"]
    assert holds(key, payload, signature, tmp_path)
    assert not holds(key, payload.replace(b"sha256:", b"sha512:"), signature, tmp_path)
    critical = json.loads(payload)["critical"]
    assert critical == {
        "identity": {"docker-reference": f"{local.host}/edge/signed"},
        "image": {"docker-manifest-digest": made.digest},
        "type": "cosign container image signature",
    }


def test_openssl_verifies_a_statement_in_its_envelope(
    local: LocalRegistry, client: Registry, key: Path, tmp_path: Path
) -> None:
    made = image(tmp_path, b"attested")
    made.push(client, "edge/attested", {}, lambda: None)
    said = statement(SLSA, {"edge/attested": made.digest}, {"buildDefinition": {}})
    attach_attestations(client, "edge/attested", made.digest, [said], Signer(key))
    tag = made.digest.replace(":", "-")
    (layer,) = get(local, f"edge/attested/manifests/{tag}.att").json()["layers"]
    assert layer["annotations"]["predicateType"] == "https://slsa.dev/provenance/v1"
    envelope = get(local, f"edge/attested/blobs/{layer['digest']}").json()
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"]
    assert kind == "application/vnd.in-toto+json"
    signed = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    (signature,) = envelope["signatures"]
    assert holds(key, signed, signature["sig"], tmp_path)
    (subject,) = json.loads(payload)["subject"]
    assert subject["digest"] == {"sha256": made.digest.removeprefix("sha256:")}


def publisher(
    registry: Registry,
    folder: Path,
    signer: Signer | None,
    *,
    overwrite: bool = False,
    source: Source = SOURCE,
) -> Publisher:
    return Publisher(
        registry,
        "team",
        "1.2.3",
        source,
        Origin("https://example.com/project", SOURCE, "1.2.3", {}),
        signer,
        folder,
        overwrite=overwrite,
        home="https://example.com/project",
        console=Console(quiet=True),
    )


def for_arm64(made: Archived) -> Archived:
    config = made.config.replace(b'"amd64"', b'"arm64"')
    manifest = json.loads(made.manifest)
    manifest["config"] |= {"digest": f"sha256:{hashlib.sha256(config).hexdigest()}", "size": len(config)}
    return replace(made, config=config, manifest=json.dumps(manifest).encode())


def test_all_platforms_are_behind_one_tag_each_signed(
    local: LocalRegistry, client: Registry, key: Path, tmp_path: Path
) -> None:
    native = image(tmp_path, b"platforms")
    made = [
        Made(Build(UNITS[0], architecture), each, [])
        for architecture, each in (("amd64", native), ("arm64", for_arm64(native)))
    ]
    released = publisher(client, tmp_path, Signer(key)).push(made)
    answer = get(local, "team/model-conversion-operator/manifests/1.2.3")
    assert answer.headers["Docker-Content-Digest"] == released.digest
    assert answer.headers["Content-Type"] == OCI_INDEX
    entries = answer.json()["manifests"]
    assert [entry["platform"] for entry in entries] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux"},
    ]
    for digest in (released.digest, *(entry["digest"] for entry in entries)):
        tag = digest.replace(":", "-")
        assert get(local, f"team/model-conversion-operator/manifests/{tag}.sig").status_code == 200
    assert released.platforms == {"linux/amd64": entries[0]["digest"], "linux/arm64": entries[1]["digest"]}


def test_without_a_key_nothing_is_signed(local: LocalRegistry, client: Registry, tmp_path: Path) -> None:
    unit = replace(UNITS[0], recipe=replace(UNITS[0].recipe, name="unsigned"))
    publisher(client, tmp_path, None).push([Made(Build(unit, "amd64"), image(tmp_path), [])])
    assert get(local, "team/unsigned/tags/list").json()["tags"] == ["1.2.3"]


def test_a_version_that_is_out_stays_what_it_is(
    local: LocalRegistry, client: Registry, tmp_path: Path
) -> None:
    unit = replace(UNITS[0], recipe=replace(UNITS[0].recipe, name="fixed"))
    first, other = image(tmp_path / "a", b"first"), image(tmp_path / "b", b"other")
    released = publisher(client, tmp_path, None).push([Made(Build(unit, "amd64"), first, [])])
    assert publisher(client, tmp_path, None).push([Made(Build(unit, "amd64"), first, [])]) == released
    with pytest.raises(ReleaseError, match=r"team/fixed:1\.2\.3 is another image already .* OVERWRITE=1"):
        publisher(client, tmp_path, None).push([Made(Build(unit, "amd64"), other, [])])
    assert client.digest_of("team/fixed", "1.2.3") == released.digest
    build = Build(unit, "amd64")
    publisher(client, tmp_path, None).check_revision([build])  # the same may be released again
    elsewhere = replace(SOURCE, revision="d" * 40)
    with pytest.raises(
        ReleaseError, match=rf"is there already, from the revision {'c' * 40}, .* OVERWRITE=1"
    ):
        publisher(client, tmp_path, None, source=elsewhere).check_revision([build])
    publisher(client, tmp_path, None, source=elsewhere, overwrite=True).check_revision([build])
    changed = publisher(client, tmp_path, None, overwrite=True).push([Made(Build(unit, "amd64"), other, [])])
    assert client.digest_of("team/fixed", "1.2.3") == changed.digest != released.digest


def test_the_chart_names_the_images_and_is_alike_each_time(local: LocalRegistry, tmp_path: Path) -> None:
    helm, digest = ensure_helm(Console(stderr=True)), "sha256:" + "d" * 64
    images = {
        "image": f"{local.host}/team/operator@{digest}",
        "converter.image": f"{local.host}/team/converter@{digest}",
        "converter.engines.ONNX": f"{local.host}/team/onnx@{digest}",
        "converter.engines.StableHLO": f"{local.host}/team/jax@{digest}",
        "converter.runtimeImage": f"{local.host}/team/runtime@{digest}",
    }
    digests = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        packed = chart.package(helm, chart.image_values(images), {"k": "v"}, tmp_path / name)
        digests.add(chart.push(helm, packed, f"{local.host}/team", plain_http=True, credentials=None))
    assert len(digests) == 1
    home = tmp_path / "home"
    environment = {f"HELM_{kind}_HOME": str(home / kind) for kind in ("CACHE", "CONFIG", "DATA")}
    address = f"oci://{local.host}/team/charts/{CHART.name}"
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]

    def ran(*arguments: str) -> str:
        command = [helm, *arguments, address, "--version", version, "--plain-http"]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout

    shown = yaml.safe_load(ran("show", "values"))
    before = yaml.safe_load((CHART / "values.yaml").read_text())
    assert shown["image"] == before["image"] | {"repository": f"{local.host}/team/operator", "digest": digest}
    assert shown["converter"]["engines"] == {
        "ONNX": images["converter.engines.ONNX"],
        "StableHLO": images["converter.engines.StableHLO"],
    }
    shown["image"], shown["converter"] = before["image"], before["converter"]
    assert shown == before
    rendered = ran("template", "mco")
    assert f"image: {images['image']}" in rendered.replace('"', "")
    for value in ("converter.image", "converter.engines.ONNX", "converter.runtimeImage"):
        assert images[value] in rendered


# What is said where a registry does not do as one wants.


def refusal(host: str, credentials: Credentials | None, *, plain_http: bool = True) -> str:
    with Registry(host, plain_http=plain_http, credentials=credentials) as client:
        with pytest.raises(ReleaseError) as caught:
            client.check_push("team/x")
        return str(caught.value)


def test_a_registry_that_is_away_is_named(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    said = refusal(f"127.0.0.1:{port}", None)
    assert said.startswith(f"127.0.0.1:{port} does not answer: ")
    assert "refused" in said


def test_tls_with_a_registry_that_has_none(local: LocalRegistry) -> None:
    assert "PLAIN_HTTP=1" in refusal(local.host, None, plain_http=False)


def test_a_registry_that_takes_nothing(tmp_path: Path) -> None:
    storage = {
        "filesystem": {"rootdirectory": str(tmp_path / "blobs")},
        "maintenance": {"readonly": {"enabled": True}},
    }
    with registry_of_tests(tmp_path / "state", {"storage": storage}) as running:
        said = refusal(running.host, None)
        assert said.startswith(f"{running.host} does not let one push to team/x: 405 ")


def test_a_web_server_that_is_no_registry() -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None: ...

    with served(Handler) as host:
        assert "404" in refusal(host, None)


def test_passwords_come_from_the_file_of_buildah_login(tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD + "\n")
    auth = {"htpasswd": {"realm": "tests", "path": str(tmp_path / "htpasswd")}}
    with registry_of_tests(tmp_path / "state", {"auth": auth}) as running:
        said = refusal(running.host, None)
        assert "401" in said
        assert f"`buildah login {running.host}`" in said
        said = refusal(running.host, Credentials("someone", "wrong"))
        assert "The credentials of someone do not hold" in said
        assert "wrong" not in said
        entry = base64.b64encode(b"someone:right").decode()
        # Another team's entry for the same host does not count.
        auths = {f"{running.host}/other": {"auth": "eDp5"}, f"{running.host}/team": {"auth": entry}}
        file = tmp_path / "auth.json"
        file.write_text(json.dumps({"auths": auths}))
        found = find_credentials(running.host, "team", {"REGISTRY_AUTH_FILE": str(file)})
        assert found == Credentials("someone", "right")
        with Registry(running.host, plain_http=True, credentials=found) as client:
            client.check_push("team/x")
            image(tmp_path / "image").push(client, "team/x", {}, lambda: None)
        packed = chart.package(ensure_helm(Console(stderr=True)), {}, {}, tmp_path)
        helm, where = ensure_helm(Console(stderr=True)), f"{running.host}/team"
        assert chart.push(helm, packed, where, plain_http=True, credentials=found).startswith("sha256:")
        with pytest.raises(ReleaseError, match=r"helm push failed: .*(?:401|basic credential)"):
            chart.push(helm, packed, where, plain_http=True, credentials=None)


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_token_is_fetched_from_where_the_registry_says(tmp_path: Path) -> None:
    asked: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        """A stand-in for a service of tokens; the registry takes whatever it gives."""

        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            content = json.dumps({"token": "t0ken"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    with served(Handler) as tokens:
        auth = {"silly": {"realm": f"http://{tokens}/token", "service": "tests"}}
        with registry_of_tests(tmp_path / "state", {"auth": auth}) as running:
            known = Credentials("someone", "right")
            with Registry(running.host, plain_http=True, credentials=known) as client:
                made = image(tmp_path / "image")
                made.push(client, "team/x", {}, lambda: None)
                client.push_manifest("team/x", "1", OCI_MANIFEST, made.manifest)
                assert client.digest_of("team/x", "1") == made.digest
    (path, authorization), *more = asked
    assert more == []
    assert "service=tests" in path
    assert "scope=repository%3Ateam%2Fx%3Apull%2Cpush" in path
    assert authorization == f"Basic {base64.b64encode(b'someone:right').decode()}"


def test_nothing_is_built_for_a_registry_that_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry is asked first, and no chart comes of it."""
    monkeypatch.setattr("devcluster.release.command.host.ensure_host_tools", lambda *_: None)
    monkeypatch.setattr("devcluster.release.command.host.run", lambda *_: "buildah version 1.28.2")
    (port,) = free_ports(1)
    asked = Asked(f"127.0.0.1:{port}/team", tmp_path / "out", untagged=True)
    with pytest.raises(ReleaseError, match="does not answer"):
        release(asked, Console(quiet=True), {"HOME": str(tmp_path)})
    assert list((tmp_path / "out").iterdir()) == []
