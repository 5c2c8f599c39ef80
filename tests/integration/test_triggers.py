"""Triggers: a real API server, the operator with its own rights, looks as real Jobs at a real S3 server."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.control_plane.install import install_webhooks_rbac
from devcluster.errors import ProcessError
from devcluster.processes import free_ports
from devcluster.services.s3 import ObjectStore
from support.cluster.conversions import Conversions, Operator, until
from support.converter.tiny_tflite import write_tiny_tflite

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("process_node")]

Json = dict[str, Any]


class Triggers:
    """Triggers in the namespace of conversions."""

    def __init__(self, conversions: Conversions, folder: Path) -> None:
        self.conversions, self._folder = conversions, folder

    def upload(self, columns: int) -> str:
        """Put a version of the model into the bucket; gives its digest."""
        path = self._folder / f"{columns}.tflite"
        write_tiny_tflite(path, shape=(1, columns))
        self.conversions.upload({"nightly.tflite": path})
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def template(self, **more: Any) -> Json:
        return {
            "source": {"uri": self.conversions.uri("nightly.tflite")},
            "output": {"uri": self.conversions.uri("edge/{version}/")},
            "storage": {
                "endpoint": self.conversions.store.endpoint,
                "secretRef": {"name": "s3-credentials"},
            },
            "methods": ["DynamicRange"],
        } | more

    def apply(self, name: str, **spec: Any) -> None:
        meta = {"name": name, "namespace": self.conversions.namespace}
        spec = {"template": {"conversion": self.template()}} | spec
        body = {"apiVersion": "edgeml.dev/v1beta1", "kind": "ModelConversionTrigger", "metadata": meta}
        self.conversions.cluster.apply([body | {"spec": spec}])

    def refusal(self, **spec: Any) -> str:
        with pytest.raises(ProcessError) as error:
            self.apply("refused", **spec)
        return str(error.value)

    def status(self, name: str) -> Json:
        body: Json = json.loads(self.conversions.kubectl("get", "mctrigger", name, "-o", "json"))
        found: Json = body.get("status", {})
        return found

    def ready(self, name: str) -> str:
        conditions = self.status(name).get("conditions", [])
        return next((c["reason"] for c in conditions if c["type"] == "Ready"), "")

    def look(self, name: str, word: str) -> None:
        """Ask for a look, and wait for what it finds."""
        self.conversions.kubectl("annotate", "mctrigger", name, f"edgeml.dev/look-now={word}", "--overwrite")
        until(
            lambda: (s := self.status(name)).get("lookAsked") == word and "lookJob" not in s,
            "the look has ended",
            90,
        )

    def words(self) -> str:
        """What there is, for the message of a wait that took too long."""
        return self.conversions.kubectl("get", "mctrigger,mconv,jobs,pods,events", "-o", "wide")

    def made(self, kind: str = "mconv") -> list[Json]:
        text = self.conversions.kubectl("get", kind, "-l", "edgeml.dev/trigger", "-o", "json")
        found: list[Json] = json.loads(text)["items"]
        return sorted(found, key=lambda body: body["metadata"]["creationTimestamp"])


@pytest.fixture
def triggers(conversions: Conversions, operator: Operator, tmp_path: Path) -> Triggers:
    return Triggers(conversions, tmp_path)


@pytest.mark.timeout(400)
def test_each_version_in_the_bucket_is_converted_once(triggers: Triggers, operator: Operator) -> None:
    digest = triggers.upload(8)
    triggers.apply("nightly", poll={"intervalSeconds": 3600})
    until(lambda: len(triggers.made()) == 1, "the first version is converted", 180, triggers.words)
    (first,) = triggers.made()
    assert first["spec"]["source"]["sha256"] == digest
    name = first["metadata"]["name"]
    until(lambda: triggers.conversions.status(name).get("phase") == "Succeeded", "it has been converted", 120)
    assert f"edge/{digest[:12]}/report.json" in triggers.conversions.objects("edge/")
    assert triggers.ready("nightly") == "Looked"
    assert triggers.status("nightly")["version"]["sha256"] == digest

    triggers.look("nightly", "nothing has changed")
    assert len(triggers.made()) == 1
    other = triggers.upload(16)
    operator.kill()
    operator.start()
    triggers.look("nightly", "another version")
    until(lambda: len(triggers.made()) == 2, "the second version is converted", 120, triggers.words)
    assert triggers.made()[1]["spec"]["source"]["sha256"] == other
    listed = triggers.conversions.kubectl("get", "mctrigger", "nightly")
    assert triggers.made()[1]["metadata"]["name"] in listed
    triggers.conversions.kubectl("delete", "mctrigger", "nightly", "--wait=true", "--timeout=30s")
    until(lambda: triggers.made() == [], "what it has made goes with it", 60)
    assert f"edge/{digest[:12]}/report.json" in triggers.conversions.objects("edge/")


def test_a_set_is_made_and_what_is_missing_is_told(triggers: Triggers) -> None:
    one = triggers.template()
    several = {
        "models": [{"name": "tiny", "source": one["source"]}],
        "profiles": [{"name": "absent"}],
        "output": one["output"],
        "storage": one["storage"],
    }
    triggers.apply("fleet", template={"set": several})
    triggers.look("fleet", "1")
    assert triggers.ready("fleet") == "SourceNotFound"
    digest = triggers.upload(8)
    triggers.look("fleet", "2")
    until(lambda: len(triggers.made("mcset")) == 1, "the set is made", 60)
    (body,) = triggers.made("mcset")
    assert body["spec"]["models"][0]["source"]["sha256"] == digest
    assert body["spec"]["output"]["uri"].endswith(f"/edge/{digest[:12]}/")


@pytest.fixture
def receiver(crd: ControlPlane, tmp_path: Path) -> Iterator[int]:
    """The receiver of webhooks with the permissions of its chart; its port."""
    kubeconfig = install_webhooks_rbac(crd, "default")
    (port,) = free_ports(1)
    environment = os.environ | {
        "KUBECONFIG": str(kubeconfig),
        "MODELCONVERSION_WEBHOOKS_HTTP_HOST": "127.0.0.1",
        "MODELCONVERSION_WEBHOOKS_HTTP_PORT": str(port),
    }
    program = Path(sys.executable).parent / "modelconversion-webhooks"
    with (tmp_path / "receiver.log").open("wb") as log:
        process = subprocess.Popen([program], env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}/readyz"
        until(lambda: _answers(url), "the receiver is ready", 60)
        yield port
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.timeout(400)
def test_a_store_that_calls_has_its_object_looked_at(
    triggers: Triggers, receiver: int, tmp_path: Path
) -> None:
    """SeaweedFS tells of each upload; the namespace has let the receiver read the one Secret."""
    conversions, namespace = triggers.conversions, triggers.conversions.namespace
    url = f"http://127.0.0.1:{receiver}/{namespace}/called"
    with ObjectStore(tmp_path / "calling", hook=(url, "token-of-the-test")) as store:
        calling = Conversions(conversions.cluster, store, namespace, conversions.bucket)
        calling.store.create_bucket(calling.bucket)
        calling.secret("calling-credentials", store.access_key, store.secret_key)
        triggers = Triggers(calling, tmp_path)
        template = triggers.template(
            storage={"endpoint": store.endpoint, "secretRef": {"name": "calling-credentials"}}
        )
        webhook = {"secretRef": {"name": "hook"}}
        triggers.apply("called", template={"conversion": template}, webhook=webhook)
        conversions.kubectl("create", "secret", "generic", "hook", "--from-literal=secret=token-of-the-test")
        bearer = {"Authorization": "Bearer token-of-the-test"}
        assert httpx.post(url, headers=bearer, trust_env=False).status_code == 401, "it may not read it yet"
        reads = ["--verb=get", "--resource=secrets", "--resource-name=hook"]
        conversions.kubectl("create", "role", "hook", *reads)
        account = "--serviceaccount=default:model-conversion-operator-webhooks"
        conversions.kubectl("create", "rolebinding", "hook", "--role=hook", account)
        until(
            lambda: httpx.post(url, headers=bearer, trust_env=False).status_code == 202,
            "the receiver reads the Secret",
            60,
        )
        until(lambda: triggers.ready("called") == "SourceNotFound", "it has looked", 90)
        digest = triggers.upload(8)
        until(lambda: len(triggers.made()) == 1, "what was uploaded is converted", 120)
        assert triggers.made()[0]["spec"]["source"]["sha256"] == digest


def test_what_makes_no_sense_is_refused_with_a_way_out(triggers: Triggers) -> None:
    plain = triggers.template()
    assert "put {version} into output.uri" in triggers.refusal(
        template={"conversion": plain | {"output": {"uri": "s3://models/edge/"}}}
    )
    assert "either template.conversion or template.set" in triggers.refusal(template={})
    digest = "0" * 64
    for uri in (f"https://models.example/a.h5#sha256={digest}", f"oci://registry.example/a@sha256:{digest}"):
        said = triggers.refusal(template={"conversion": plain | {"source": {"uri": uri}}})
        assert "convert it with a ModelConversion" in said
    pinned = plain["source"] | {"sha256": "0" * 64}
    assert "each version has its own" in triggers.refusal(template={"conversion": plain | {"source": pinned}})
    two = [{"name": name, "source": plain["source"]} for name in ("a", "b")]
    of_two = {"models": two, "profiles": [{"name": "p"}], "output": plain["output"]}
    assert "give template.set one model" in triggers.refusal(template={"set": of_two})
    assert "schedule.cron" in triggers.refusal(schedule={"cron": "every day"})
    assert "set either methods" in triggers.refusal(template={"conversion": plain | {"target": "Mobile"}})
