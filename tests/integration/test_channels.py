"""A channel from the approval to the device process: a real API server and S3 server, moves as real Jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from modelconversion_client.plugin.main import app
from support.chart.charts import render
from support.cluster.conversions import Conversions, Operator, until
from support.converter.tiny_tflite import write_tiny_tflite
from support.edge.channels import BucketFiles, ChannelServer, public_pem

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("process_node")]

Json = dict[str, Any]
POLICY = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


class Device:
    """A process that follows a channel, and writes a line about each poll."""

    def __init__(self, server: ChannelServer, channel: str, folder: Path) -> None:
        key, self._log = folder / "channel.pem", folder / "device.jsonl"
        key.write_bytes(public_pem(server.key))
        command = [sys.executable, "-m", "edge_inference.channel", server.url, "--name", channel]
        command += ["--public-key", str(key), "--folder", str(folder / "device"), "--interval", "0.3"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.DEVNULL, env=os.environ)

    def said(self) -> Json:
        lines = self._log.read_text().splitlines()
        found: Json = json.loads(lines[-1]) if lines else {}
        return found

    def runs(self, sha256: str, what: str) -> None:
        until(lambda: self.said().get("runs") == sha256, what, 60, lambda: str(self.said()))


class Channels:
    """Channels in the namespace of conversions, whose releases the chart's policy guards."""

    def __init__(self, conversions: Conversions, folder: Path) -> None:
        self.conversions, self.folder = conversions, folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        meta = {"name": "channel-key", "namespace": conversions.namespace}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"private.pem": pem}}
        conversions.cluster.apply([secret])
        conversions.release("channel-key")

    def guard(self) -> list[Json]:
        """Install the chart's policy, and what lets Bob, and nobody else, release."""
        namespace = self.conversions.namespace
        values = {"channelPolicy": {"enabled": True}, "watchNamespaces": [namespace]}
        rendered = render(values, release=f"guard-{namespace}")
        policy = [body for body in rendered if body["kind"] in POLICY]
        rights = {
            "writer": ["get", "list", "create", "update", "patch"],
            "releaser": ["get", "list", "create", "update", "patch", "release"],
        }
        users = {"writer": "alice", "releaser": "bob"}
        rbac: list[Json] = []
        for role, verbs in rights.items():
            meta = {"name": role, "namespace": namespace}
            rule = {"apiGroups": ["edgeml.dev"], "resources": ["modelchannels"], "verbs": verbs}
            kind = "rbac.authorization.k8s.io/v1"
            rbac.append({"apiVersion": kind, "kind": "Role", "metadata": meta, "rules": [rule]})
            subject = {"kind": "User", "name": users[role], "apiGroup": "rbac.authorization.k8s.io"}
            binding = {"apiVersion": kind, "kind": "RoleBinding", "metadata": meta, "subjects": [subject]}
            rbac.append(binding | {"roleRef": {"apiGroup": "", "kind": "Role", "name": role}})
        self.conversions.cluster.apply([*rbac, *policy])
        return policy

    def body(self, name: str, **spec: Any) -> Json:
        storage = {"endpoint": self.conversions.store.endpoint, "secretRef": {"name": "s3-credentials"}}
        usual = {
            "from": {"name": "person"},
            "output": {"uri": self.conversions.uri("devices/stable/")},
            "signing": {"secretRef": {"name": "channel-key"}},
            "storage": storage,
        }
        meta = {"name": name, "namespace": self.conversions.namespace}
        kind = {"apiVersion": "edgeml.dev/v1beta1", "kind": "ModelChannel"}
        return kind | {"metadata": meta, "spec": usual | spec}

    def write(self, user: str, body: Json) -> str:
        """What the API server says to somebody who writes a channel; nothing where it takes it."""
        text, namespace = json.dumps(body), self.conversions.namespace
        arguments = ("-n", namespace, "apply", "--as", user, "-f", "-")
        return self.conversions.cluster.kubectl(*arguments, input=text, check=False).stderr

    def release(self, user: str, sha256: str, approved_by: str | None = None) -> str:
        release = {"sha256": sha256} | ({} if approved_by is None else {"approvedBy": approved_by})
        return self.write(user, self.body("stable", release=release))

    def status(self, name: str = "stable") -> Json:
        body: Json = json.loads(self.conversions.kubectl("get", "mchannel", name, "-o", "json"))
        found: Json = body.get("status", {})
        return found

    def ready(self, name: str = "stable") -> str:
        conditions = self.status(name).get("conditions", [])
        return next((c["reason"] for c in conditions if c["type"] == "Ready"), "")

    def convert(self, columns: int) -> str:
        """Convert a version of the model; gives the digest of the candidate that comes of it."""
        path = write_tiny_tflite(self.folder / f"{columns}.tflite", (1, columns))
        self.conversions.upload({"person.tflite": path})
        known = {candidate["sha256"] for candidate in self.status().get("candidates", [])}
        source, output = self.conversions.uri("person.tflite"), self.conversions.uri("edge/person/")
        self.conversions.apply("person", source={"uri": source}, output={"uri": output}, methods=["Float32"])
        word = f"edgeml.dev/run-again={columns}"
        self.conversions.kubectl("annotate", "mconv", "person", word, "--overwrite")

        def newest() -> Json:
            found: Json = next(iter(self.status().get("candidates", [])), {})
            return found

        until(lambda: newest().get("sha256", "") not in ({""} | known), "a candidate", 150, self.words)
        digest: str = newest()["sha256"]
        return digest

    def words(self) -> str:
        """What there is, for the message of a wait that took too long."""
        return self.conversions.kubectl("get", "mchannel,mconv,jobs,pods,events", "-o", "wide")


def mconv(conversions: Conversions, command: str, *arguments: str, code: int = 0) -> str:
    """Call ``kubectl mconv`` as the cluster's administrator; gives what it says."""
    where = ["-n", conversions.namespace, "--kubeconfig", str(conversions.cluster.kubeconfig)]
    result = CliRunner().invoke(app, [command, *where, *arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


@pytest.fixture
def channels(conversions: Conversions, operator: Operator, tmp_path: Path) -> Iterator[Channels]:
    made = Channels(conversions, tmp_path)
    policy = made.guard()
    yield made
    for body in policy:
        conversions.cluster.kubectl("delete", body["kind"], body["metadata"]["name"], "--wait=false")


@pytest.mark.timeout(600)
def test_a_device_is_taken_through_an_upgrade_a_forgery_and_a_rollback(
    channels: Channels, operator: Operator, tmp_path: Path
) -> None:
    assert channels.write("alice", channels.body("stable")) == ""
    nothing = channels.body("empty", **{"from": {"name": "none"}})
    assert channels.write("alice", nothing) == ""
    first = channels.convert(8)
    until(lambda: channels.ready() == "CandidateWaiting", "it waits for an approval", 30)
    # The policy counts some seconds after it was written: ask without changing anything until it does.
    probe = channels.body("probe", release={"sha256": "0" * 64})
    until(lambda: "may not say" in channels.write("alice", probe), "the policy is in force", 60)
    assert 'takes the verb "release" on modelchannels' in channels.release("alice", first, "alice")
    assert "must be the name of whoever writes it: bob" in channels.release("bob", first, "alice")
    assert "must be the name of whoever writes it: bob" in channels.release("bob", first)
    automatic = channels.body("stable", promotion="Automatic")
    assert "may not say" in channels.write("alice", automatic)
    assert channels.status()["sequence"] == 0

    assert channels.release("bob", first, "bob") == ""
    until(lambda: channels.ready() == "Released", "the pointer is there", 60, channels.words)
    (release,) = channels.status()["releases"]
    assert (release["sha256"], release["approvedBy"], release["sequence"]) == (first, "bob", 1)
    elsewhere = channels.body("stable", release={"sha256": first, "approvedBy": "bob"})
    elsewhere["spec"]["output"] = {"uri": channels.conversions.uri("devices/other/")}
    assert "may not say" in channels.write("alice", elsewhere)

    with ChannelServer(channels.key) as server:
        server.files = BucketFiles(lambda key: channels.conversions.objects(key).get(key), "devices/stable/")
        device = Device(server, f"{channels.conversions.namespace}/stable", tmp_path)
        try:
            device.runs(first, "the first release runs")
            second = channels.convert(16)
            assert channels.release("bob", second, "bob") == ""
            until(lambda: "moveJob" in channels.status(), "the move begins", 30)
            operator.kill()
            operator.start()
            device.runs(second, "the upgrade runs")
            until(lambda: channels.status()["sequence"] == 2, "the operator has heard of it", 60)

            true = channels.conversions.objects("devices/stable/channel.json")
            with ChannelServer() as stranger:
                stranger.point(9, b"a stranger's model", channel=f"{channels.conversions.namespace}/stable")
                channels.conversions.upload({"devices/stable/channel.json": stranger.files["channel.json"]})
            until(lambda: device.said()["outcome"] == "ChannelUntrustedError", "the forgery is refused", 30)
            assert "not signed with the channel's key" in device.said()["message"]
            assert device.said()["runs"] == second
            channels.conversions.upload(true)
            until(lambda: device.said()["outcome"] == "Unchanged", "the true pointer is back", 30)

            # The conversion's folder has been written over since; the released file lies beside the pointer.
            told = mconv(channels.conversions, "release", "stable")
            assert [line.split()[0] for line in told.splitlines()[2:]] == ["released", "before"]
            assert first[:12] in mconv(channels.conversions, "release", "stable", "--back")
            device.runs(first, "the rollback runs")
            until(lambda: channels.status()["sequence"] == 3, "the operator has heard of it", 60)
        finally:
            device.process.kill()
            device.process.wait()
    listed = channels.conversions.kubectl("get", "mchannel", "stable", "-o", "wide")
    assert all(word in listed for word in ("person", "Float32", "Released"))
    assert channels.status()["releases"][0]["approvedBy"] not in ("", "bob"), "whoever called the plugin"
    assert "begins with" in mconv(channels.conversions, "release", "stable", "--sha256", "0" * 9, code=2)
    assert "has no candidate" in mconv(channels.conversions, "release", "empty", "--newest", code=2)
    assert operator.metric('modelconversion_channels{ready="True"}') >= 1
    channels.conversions.kubectl("delete", "mchannel", "stable", "--wait=true", "--timeout=30s")
    assert channels.conversions.objects("devices/stable/channel.json"), "devices still read it"


@pytest.mark.timeout(400)
def test_a_channel_follows_a_triggers_set_and_another_owners_conversion_is_none(channels: Channels) -> None:
    conversions = channels.conversions
    profile: Json = {"apiVersion": "edgeml.dev/v1beta1", "kind": "ConversionProfile"}
    profile["spec"] = {"methods": ["Float32"]}
    names = ("pi", "phone")
    conversions.cluster.apply(
        [profile | {"metadata": {"name": name, "namespace": conversions.namespace}} for name in names]
    )
    path = write_tiny_tflite(channels.folder / "m.tflite", (1, 5))
    conversions.upload({"person.tflite": path})
    storage = channels.body("x")["spec"]["storage"]
    several = {
        "models": [{"name": "tiny", "source": {"uri": conversions.uri("person.tflite")}}],
        "profiles": [{"name": name} for name in names],
        "output": {"uri": conversions.uri("edge/{version}/")},
        "storage": storage,
    }
    meta = {"name": "fleet", "namespace": conversions.namespace}
    trigger = {"apiVersion": "edgeml.dev/v1beta1", "kind": "ModelConversionTrigger", "metadata": meta}
    spec = {"template": {"set": several}, "poll": {"intervalSeconds": 3600}}
    conversions.cluster.apply([trigger | {"spec": spec}])
    follows = {"kind": "ModelConversionTrigger", "name": "fleet", "profile": "pi"}
    assert "looks now" in mconv(conversions, "look", "fleet")
    automatic = {"promotion": "Automatic", "output": {"uri": conversions.uri("devices/auto/")}}
    conversions.cluster.apply([channels.body("auto", **automatic, **{"from": follows})])
    until(lambda: channels.ready("auto") == "Released", "the member's file is released", 240, channels.words)
    (release,) = channels.status("auto")["releases"]
    made = json.loads(conversions.kubectl("get", "mconv", release["conversion"], "-o", "json"))
    assert made["spec"]["profileRef"]["name"] == "pi"
    assert "edge/" in release["uri"]
    assert "channel.json" in "".join(conversions.objects("devices/auto/"))

    # A set whose member's name another one's conversion has taken.
    conversions.apply("taken", source={"uri": conversions.uri("person.tflite")}, methods=["Float32"])
    assert conversions.finished("taken")["phase"] == "Succeeded"
    meta = {"name": "theirs", "namespace": conversions.namespace}
    body = {"apiVersion": "edgeml.dev/v1beta1", "kind": "ModelConversionSet", "metadata": meta}
    conversions.cluster.apply([body | {"spec": several | {"suspend": True}}])
    row = {"model": "tiny", "profile": "pi", "conversion": "taken", "phase": "Succeeded"}
    patch = json.dumps({"status": {"members": [row]}})
    conversions.kubectl("patch", "mcset", "theirs", "--subresource=status", "--type=merge", "-p", patch)
    follows = {"kind": "ModelConversionSet", "name": "theirs", "profile": "pi"}
    automatic["output"] = {"uri": conversions.uri("devices/theirs/")}
    conversions.cluster.apply([channels.body("theirs", **automatic, **{"from": follows})])
    until(lambda: channels.ready("theirs") == "NoCandidate", "nothing is believed", 60, channels.words)
