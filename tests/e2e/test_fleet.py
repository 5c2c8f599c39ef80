"""A model's way to a device in real containers: trigger, set of three profiles, MLflow, channel, device.

docs/STORY.md tells it to people; the examples are those that it names.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from devcluster.cache import REPOSITORY
from devcluster.services.mlflow import MLflowServer
from devcluster.services.release import release_manifests
from modelconversion_client.plugin.main import app
from support.cluster.chart_release import Release
from support.cluster.e2e_cluster import Cluster, Conversions
from support.edge.channels import BucketFiles, ChannelServer, public_pem

EXAMPLES = REPOSITORY / "examples"
PROFILES = ("doorbell-v2", "phone", "raspberry-pi-5")

Json = dict[str, Any]


class Story:
    """One namespace, and what is seen of it."""

    def __init__(self, conversions: Conversions) -> None:
        self.conversions, self.kubectl, self.namespace = (
            conversions,
            conversions.kubectl,
            conversions.namespace,
        )

    def document(self, name: str) -> Json:
        text = (EXAMPLES / name).read_text().replace("s3://models/", f"s3://{self.conversions.bucket}/")
        text = text.replace("http://127.0.0.1:18333", self.conversions.store.endpoint)
        found: Json = yaml.safe_load(text)
        found["metadata"]["namespace"] = self.namespace
        return found

    def status(self, kind: str, name: str) -> Json:
        found: Json = (self.kubectl.get(kind, name, self.namespace) or {}).get("status", {})
        return found

    def until(self, wanted: Callable[[], Any], what: str, seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := wanted()):
            if time.monotonic() > deadline:
                asked = ("get", "mctrigger,mcset,mconv,mchannel", "-o", "wide", "-n", self.namespace)
                text = self.kubectl(*asked, check=False).stdout
                pytest.fail(f"{what}: not after {seconds:.0f} s\n{text}\n{self.conversions.describe({})}")
            time.sleep(1)
        return found

    def show(self, *arguments: str) -> str:
        """Ask kubectl as a person would; what it prints is shown with ``pytest -rP``."""
        said = self.kubectl(*arguments, "-n", self.namespace).stdout
        sys.stdout.write(f"$ kubectl {' '.join(arguments)}\n{said}\n")
        return said

    def mconv(self, *arguments: str) -> str:
        """Ask the plugin as a person would."""
        where = ("-n", self.namespace, "--kubeconfig", str(self.kubectl.kubeconfig))
        result = CliRunner().invoke(app, [arguments[0], *where, *arguments[1:]])
        sys.stdout.write(f"$ kubectl mconv {' '.join(arguments)}\n{result.output}\n")
        assert result.exit_code == 0, (result.output, result.exception)
        return result.output

    def secret(self, name: str, data: dict[str, str]) -> None:
        meta = {"name": name, "namespace": self.namespace}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": data}
        self.kubectl.apply([body, *release_manifests(self.namespace, name)])


@pytest.fixture(scope="module")
def mlflow(cluster: Cluster) -> Iterator[MLflowServer]:
    with MLflowServer(cluster.real_node().address) as running:
        yield running


def test_a_model_goes_from_the_bucket_to_a_device(
    release: Release, conversions: Conversions, mlflow: MLflowServer, tmp_path: Path
) -> None:
    story = Story(conversions)
    profiles = list(yaml.safe_load_all((EXAMPLES / "profiles.yaml").read_text()))
    story.kubectl.apply([each for each in profiles if each["kind"] == "ClusterConversionProfile"])
    story.secret(
        "mlflow-login",
        {"MLFLOW_TRACKING_USERNAME": mlflow.username, "MLFLOW_TRACKING_PASSWORD": mlflow.password},
    )
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    story.secret("channel-key", {"private.pem": pem})

    # The model is in the bucket; the trigger finds it, and makes a set for the three profiles.
    trigger = story.document("gesture-fleet-nightly.yaml")
    trigger["spec"]["template"]["set"]["register"] = {
        "mlflow": {
            "uri": mlflow.uri, "model": "{model}-{profile}", "experiment": "edge", "alias": "candidate",
            "secretRef": {"name": "mlflow-login"},
        }
    }  # fmt: skip
    story.kubectl.apply([trigger, story.document("gesture-channel.yaml")])
    name = story.until(
        lambda: story.status("modelconversiontrigger", "gesture-fleet").get("converted"), "a set", 180
    )
    ended = ("Succeeded", "Failed")
    story.until(lambda: story.status("modelconversionset", name).get("phase") in ended, "its end", 600)
    status = story.status("modelconversionset", name)
    assert status["phase"] == "Succeeded", conversions.describe(status)

    story.show("get", "mctrigger")
    story.show("get", "mcset", "-o", "wide")
    story.show("get", "mconv", "-l", f"edgeml.dev/set={name}")

    # The set's table, and the page.
    rows = {row["profile"]: row for row in status["members"]}
    assert {profile: row["recommended"] for profile, row in rows.items()} == {
        "doorbell-v2": "FullInteger",
        "phone": "DynamicRange",
        "raspberry-pi-5": "FullInteger",
    }
    version = trigger_version(story)
    written = conversions.keys(f"edge/gesture-fleet/{version}/")
    assert "compare.html" in written
    assert {f"gesture/{profile}/report.json" for profile in PROFILES} < written
    assert {f"gesture/doorbell-v2/gesture_classifier_int8.{end}" for end in ("tflite", "cc", "h")} < written
    report = json.loads(conversions.read(f"edge/gesture-fleet/{version}/gesture/doorbell-v2/report.json"))
    assert report["request"]["validation"]["maxSizeBytes"] == 65536, "the profile's gate"

    # The model is loaded once for the two that read the calibration data; the phone's methods need none of
    # it, so that what it keeps is another entry.
    members = {profile: conversions.status(row["conversion"]) for profile, row in rows.items()}
    hits = {profile: member.get("cacheHit") for profile, member in members.items()}
    assert hits == {"doorbell-v2": False, "phone": False, "raspberry-pi-5": True}

    compared = story.mconv("compare", *(row["conversion"] for row in rows.values()))
    assert "FullInteger" in compared

    # MLflow has a model for each profile, and the recommended file is the candidate.
    for profile, member in members.items():
        model = f"gesture-{profile}"
        found = mlflow.ask("registered-models/alias", name=model, alias="candidate")["model_version"]
        numbers = {each["name"]: each["version"] for each in member["registration"]["versions"]}
        assert found["version"] == numbers[rows[profile]["recommended"]]
        tags = {each["key"]: each["value"] for each in found["tags"]}
        assert tags["edgeml.sha256"] in {each["sha256"] for each in member["artifacts"]}

    # Somebody releases the Raspberry Pi's file, and a device follows.
    def candidates() -> list[Json]:
        found: list[Json] = story.status("modelchannel", "gesture-stable").get("candidates", [])
        return found

    (candidate,) = story.until(candidates, "a candidate", 60)
    assert candidate["conversion"] == rows["raspberry-pi-5"]["conversion"]
    assert "candidate" in story.mconv("release", "gesture-stable")
    story.mconv("release", "gesture-stable", "--newest")
    story.show("wait", "--for=condition=Ready", "mchannel/gesture-stable", "--timeout=120s")
    story.show("get", "mchannel", "-o", "wide")
    (tmp_path / "channel.pem").write_bytes(public_pem(key))
    with ChannelServer(key) as server:
        server.files = BucketFiles(conversions.found, "devices/gesture/stable/")
        command = [sys.executable, "-m", "edge_inference.channel", server.url, "--once"]
        command += ["--name", f"{story.namespace}/gesture-stable", "--folder", str(tmp_path / "device")]
        command += ["--public-key", str(tmp_path / "channel.pem")]
        line = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    sys.stdout.write(f"{json.dumps(line)}\n")
    assert (line["outcome"], line["runs"]) == ("Updated", candidate["sha256"])
    assert list((tmp_path / "device").glob("*.baseline.json")), "drift can be watched"
    story.kubectl("delete", "clusterconversionprofile", *PROFILES)


def trigger_version(story: Story) -> str:
    digest: str = story.status("modelconversiontrigger", "gesture-fleet")["version"]["sha256"]
    return digest[:12]
