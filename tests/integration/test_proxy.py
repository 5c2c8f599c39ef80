"""Jobs behind a proxy: a real one on loopback, a real store that it alone can reach, and what it sees."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from devcluster.services.s3 import ObjectStore as Server
from modelconversion_api.fields.storage import AddressingStyle, StorageAccess
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_operator.deciding.defaults import Defaults
from modelconversion_operator.deciding.manifest import JobSettings, job_manifest
from support.cluster.conversions import Conversions, Operator
from support.cluster.forward_proxy import (
    Address,
    Authority,
    ForwardProxy,
    authority,
    tls_in_front_of,
    token_service,
)
from support.cluster.stages import Job, new_job
from support.operator.objects import KEY, spec

STORE = "store.corp.example"
S3, STS = "s3.eu-west-1.amazonaws.com", "sts.eu-west-1.amazonaws.com"
PASSWORD = "pa%24%24word"


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def job(object_store: Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    return new_job(object_store, bucket, tmp_path, monkeypatch)


@pytest.fixture
def store(object_store: Server) -> Address:
    """Where the store really is."""
    url = urlsplit(object_store.endpoint)
    assert url.hostname
    assert url.port
    return url.hostname, url.port


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return authority(tmp_path, STORE, S3, STS, "127.0.0.1")


@dataclass
class Behind:
    """A Job whose store has a name that only the proxy knows."""

    proxy: ForwardProxy
    job: Job
    target: str


def through(job: Job, proxy: dict[str, str], env: Sequence[dict[str, Any]] = ()) -> None:
    """Give a stage what the operator's manifest gives to its container."""
    for name, value in variables(proxy, list(env))["fetch"].items():
        if name.endswith("_PROXY"):
            job.patch.setenv(name, value)


def variables(proxy: dict[str, str], env: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """The values of each container's variables in a Job under these defaults."""
    defaults = Defaults.model_validate({"job": {"proxy": proxy, "env": env}})
    wanted = ModelConversionSpec.model_validate(spec())
    pod = job_manifest(KEY, "1", wanted, JobSettings("converter:test", defaults=defaults))["spec"][
        "template"
    ]["spec"]
    containers = (*pod["initContainers"], *pod["containers"])
    return {c["name"]: {e["name"]: e["value"] for e in c["env"] if "value" in e} for c in containers}


@pytest.fixture(params=["http", "https"])
def behind(request: pytest.FixtureRequest, job: Job, store: Address, ca: Authority) -> Iterator[Behind]:
    scheme = request.param
    with tls_in_front_of(store, ca.server) as tls:
        target = f"{STORE}:{store[1]}"
        with ForwardProxy({target: store if scheme == "http" else tls}) as proxy:
            access = StorageAccess(
                endpoint=f"{scheme}://{target}", ca_bundle=ca.pem if scheme == "https" else None
            )
            through(job, {"httpProxy": proxy.url, "httpsProxy": proxy.url})
            yield Behind(proxy, job.ask(storage=access), target)


def test_fetch_and_publish_reach_a_store_that_only_the_proxy_reaches(behind: Behind) -> None:
    job = behind.job
    assert job.run(Stage.FETCH).failure is None
    fetched = behind.proxy.methods(behind.target)
    behind.proxy.asked.clear()
    job.converted()
    assert job.run(Stage.PUBLISH).failure is None
    published = behind.proxy.methods(behind.target)
    assert job.objects().keys() >= {"out/report.json"}
    assert behind.proxy.asked
    if job.request.storage.ca_bundle:
        assert fetched == published == {"CONNECT"}
    else:
        assert "GET" in fetched
        assert "PUT" in published
    assert {target for _, target in behind.proxy.asked} == {behind.target}


def test_without_the_proxy_it_is_out_of_reach(behind: Behind) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        behind.job.patch.delenv(name)
    assert behind.job.fails(Stage.FETCH) is FailureReason.STORAGE_UNAVAILABLE
    assert behind.proxy.asked == []


def test_a_proxy_that_asks_for_a_password_gets_it_and_nobody_else_does(
    behind: Behind, caplog: pytest.LogCaptureFixture
) -> None:
    behind.proxy.login = "edge:pa$$word"  # what the URL says in percent-encoding
    url = behind.proxy.url.replace("pa$$word", PASSWORD)
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        behind.job.patch.setenv(name, url)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("botocore").setLevel(logging.WARNING)
        assert behind.job.run(Stage.FETCH).failure is None
        behind.proxy.login = "edge:another"
        failure = behind.job.run(Stage.FETCH).failure
    assert failure is not None
    assert failure.reason is FailureReason.STORAGE_UNAVAILABLE
    assert "407" in failure.message
    said = failure.message + caplog.text
    assert PASSWORD not in said
    assert "pa$$word" not in said


@pytest.mark.parametrize("behind", ["https"], indirect=True)
def test_a_proxy_that_refuses_is_told_with_what_to_do(behind: Behind) -> None:
    behind.proxy.behind = {}
    failure = behind.job.run(Stage.FETCH).failure
    assert failure is not None
    assert failure.reason is FailureReason.STORAGE_UNAVAILABLE
    assert "the proxy does not let it through (Tunnel connection failed: 403 Forbidden)" in failure.message
    assert "converter.proxy" in failure.message


@pytest.mark.parametrize(
    "url", ["proxy.example:3128", f"http://u:{PASSWORD}@proxy:port", f"socks5://u:{PASSWORD}@h"]
)
def test_what_is_no_proxy_is_told_without_its_password(job: Job, url: str) -> None:
    job.patch.setenv("HTTP_PROXY", url)
    failure = job.run(Stage.FETCH).failure
    assert failure is not None
    assert "HTTP_PROXY is not the URL of a proxy" in failure.message
    assert PASSWORD not in failure.message


@pytest.mark.parametrize(
    ("no_proxy", "is_direct"),
    [
        ("", False),
        ("10.0.0.0/8, other.example", False),
        (".corp.example,[::1]", False),
        ("nonsense/8,127.0.0.0/33", False),
        ("127.0.0.1", True),
        ("127.0.0.1:PORT", True),
        ("10.0.0.0/8, 127.0.0.0/8", True),
        ("127.0.0.1/32", True),
        ("*", True),
    ],
)
def test_what_no_proxy_names_is_reached_without_it(
    job: Job, store: Address, no_proxy: str, *, is_direct: bool
) -> None:
    """In the words of an environment, which may come from a Secret."""
    target = f"127.0.0.1:{store[1]}"
    with ForwardProxy({target: store}) as proxy:
        job.patch.setenv("HTTP_PROXY", proxy.url)
        job.patch.setenv("NO_PROXY", no_proxy.replace("PORT", str(store[1])))
        assert job.run(Stage.FETCH).failure is None
        assert (proxy.asked == []) is is_direct


def test_aws_behind_a_proxy_that_opens_tls_with_a_cloud_identity(
    job: Job, store: Address, ca: Authority, tmp_path: Path
) -> None:
    """What boto3 asks of AWS itself: its token service, then S3, both with the proxy's own certificates."""
    token = tmp_path / "token"
    token.write_text("a.web.token")
    server = job.server
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        job.patch.delenv(name)
    with (
        tls_in_front_of(store, ca.server) as s3,
        token_service(server.access_key, server.secret_key, ca.server) as sts,
        ForwardProxy({f"{S3}:443": s3, f"{STS}:443": sts}) as proxy,
    ):
        job.patch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/r")
        job.patch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
        through(job, {"httpsProxy": proxy.url})
        access = StorageAccess(region="eu-west-1", ca_bundle=ca.pem, addressing_style=AddressingStyle.PATH)
        assert job.ask(storage=access).run(Stage.FETCH).failure is None
        assert {target for _, target in proxy.asked} == {f"{S3}:443", f"{STS}:443"}
        untrusting = access.model_copy(update={"ca_bundle": None})
        assert job.ask(storage=untrusting).fails(Stage.FETCH) is FailureReason.STORAGE_UNAVAILABLE


@pytest.fixture
def cloud_machine(job: Job) -> Job:
    """A Job without keys, which looks for a cloud's."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        job.patch.delenv(name, raising=False)
    job.patch.setenv("HOME", str(job.folder))
    job.patch.setenv("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "1")
    return job


@pytest.mark.parametrize("asked_for", [False, True])
def test_the_pod_s_own_credentials_are_not_asked_of_the_proxy_unless_the_platform_wants_it(
    cloud_machine: Job, *, asked_for: bool
) -> None:
    with ForwardProxy() as proxy:
        env = [{"name": "NO_PROXY", "value": "nothing.example"}] if asked_for else []
        through(cloud_machine, {"httpProxy": proxy.url}, env)
        assert cloud_machine.fails(Stage.FETCH) is FailureReason.STORAGE_ACCESS_DENIED
    assert bool(proxy.methods("169.254.169.254:80")) is asked_for


def test_a_proxy_that_is_not_there(cloud_machine: Job) -> None:
    """Credentials are looked for before anything is asked of the store."""
    with ForwardProxy() as gone:
        through(cloud_machine, {"httpProxy": gone.url}, [{"name": "NO_PROXY", "value": "nothing.example"}])
    failure = cloud_machine.run(Stage.FETCH).failure
    assert failure is not None
    assert failure.reason is FailureReason.STORAGE_UNAVAILABLE
    assert "the proxy does not let it through (NewConnectionError)" in failure.message


@pytest.mark.cluster
@pytest.mark.usefixtures("process_node")
def test_a_conversion_behind_a_proxy(
    uploaded: Conversions, store: Address, operator: Operator, tmp_path: Path
) -> None:
    """The whole way: the platform's file, the operator, and a Job of whose containers two go through it."""
    target = f"{STORE}:{store[1]}"
    defaults = tmp_path / "defaults.yaml"
    with ForwardProxy({target: store}, login="edge:secret-of-the-proxy") as proxy:
        uploaded.cluster.apply(
            [
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": "corporate-proxy", "namespace": uploaded.namespace},
                    "stringData": {"password": "secret-of-the-proxy"},
                }
            ]
        )
        reference = {"name": "corporate-proxy", "key": "password"}
        job = {
            "env": [{"name": "PROXY_PASSWORD", "valueFrom": {"secretKeyRef": reference}}],
            "proxy": {"httpProxy": f"http://edge:$(PROXY_PASSWORD)@127.0.0.1:{proxy.port}"},
        }
        defaults.write_text(json.dumps({"job": job}))
        settings = {"defaults_file": str(defaults), "class_name": "behind"}
        behind = Operator(Path(operator.kubeconfig), tmp_path / "operator.log", **settings)
        behind.start()
        try:
            storage = {"endpoint": f"http://{target}", "secretRef": {"name": "s3-credentials"}}
            uploaded.apply("behind", storage=storage, methods=["Float16"], className="behind")
            status = uploaded.wait_for_phase("behind", "Succeeded", "Failed")
            assert status["phase"] == "Succeeded", status
            assert proxy.methods(target) >= {"GET", "PUT"}
            (made,) = uploaded.jobs()
            pod = made["spec"]["template"]["spec"]
            names = {
                c["name"]: {e["name"] for e in c["env"]} for c in (*pod["initContainers"], *pod["containers"])
            }
            ours = {"HTTP_PROXY", "NO_PROXY", "PROXY_PASSWORD"}
            assert [ours & names[c] for c in ("fetch", "convert", "publish")] == [ours, set(), ours]
            seen = json.dumps([uploaded.get("behind"), uploaded.jobs()]) + uploaded.kubectl(
                "get", "events", "-o", "json"
            )
            assert "secret-of-the-proxy" not in seen + behind.log.read_text() + behind.metrics()
        finally:
            behind.stop()
