"""The demonstration: ``make demo``, or ``python -m devcluster.demo [--keep] [--containers]``.

Trains a model, converts it on the command line, then has the operator convert it in a real control plane.
The first part already runs while the control plane's programs are being fetched or built (once a machine).
Everything ends with this program, however that ends; only the cache folder stays.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape

from devcluster.cache import REPOSITORY, cache_dir
from devcluster.demo.clusters import (
    EXAMPLES_ENDPOINT,
    EXAMPLES_PORT,
    ContainerCluster,
    DemoCluster,
    ProcessCluster,
)
from devcluster.demo.view import DemoView
from devcluster.errors import DevClusterError, ProcessError
from devcluster.host import NODE_TOOLS, ensure_host_tools
from devcluster.processes import Process, port_is_free
from devcluster.tools.binaries import ensure_control_plane_binaries, ensure_node_binaries
from modelconversion_api.fields.storage import CONVERSIONS_USER

BUCKET = "models"
SECRET = "s3-credentials"  # noqa: S105 - the name of a Secret, not a secret
NAMESPACE = "default"
EXAMPLES = ("gesture-classifier", "gesture-savedmodel-raspberrypi")

_SCRIPTS = REPOSITORY / "converter_image"
_CONVERSION_SECONDS = 600
_PREDICT = """
import numpy as np
from examples_tflite_inference import TFLiteInference
features, labels = np.load("datasets/test_features.npy"), np.load("datasets/test_labels.npy")
model = TFLiteInference("downloads/gesture_classifier_int8.tflite")
print("predict_single(features[0]) ->", model.predict_single(features[0]), "; the label is", labels[0])
predicted = [label for label, _ in model.predict_batch(features)]
print(f"predict_batch(features): {np.mean(np.array(predicted) == labels):.1%} of {len(labels)} are right")
"""


class Demo:
    """One run of the demonstration."""

    def __init__(
        self, console: Console, *, keep: bool, picture: Path | None, containers: bool = False
    ) -> None:
        self._view = DemoView(console)
        self._console = console
        self._keep = keep
        self._picture = picture
        self._containers = containers
        self._folder = cache_dir() / "demo"
        self._folder.mkdir(exist_ok=True)
        self._binaries: Path | DevClusterError | None = None
        self._cluster: DemoCluster
        self._fetching = threading.Thread(target=self._fetch_binaries, daemon=True)

    def run(self) -> None:
        """Run all parts; raises :class:`DevClusterError` when one fails."""
        if self._containers:
            ensure_host_tools(NODE_TOOLS, self._console)  # says at once what the machine lacks
        elif not port_is_free(EXAMPLES_PORT):
            raise ProcessError(
                f"port {EXAMPLES_PORT} of 127.0.0.1 is in use, and the examples need it for the S3 server: "
                f"end the program that listens there (`ss -ltnp 'sport = :{EXAMPLES_PORT}'` names it), maybe "
                "another demo"
            )
        self._fetching.start()
        self._show_command_line()
        with ExitStack() as stack:
            self._start_cluster(stack)
            self._upload()
            self._view.forget()
            for name in EXAMPLES:
                self._convert(name)
            self._show_results()
            if self._picture:
                self._view.save_picture(self._picture)
            if self._keep:
                self._view.keep(self._cluster)
                signal.pause()
            self._view.end()

    # On the command line.

    def _show_command_line(self) -> None:
        self._view.part("Train a model and convert it on the command line")
        trained, recipe = self._folder / "trained-by", _training_recipe()
        if trained.exists() and trained.read_text() == recipe:
            self._view.say(f"The model that an earlier run trained is still in {self._folder}")
        else:
            self._script("train_gesture_model.py")
            trained.write_text(recipe)
        arguments = "--model models/gesture_classifier.h5 --method all --data datasets/val_features.npy"
        self._script("convert_to_tflite.py", *arguments.split())

    def _script(self, name: str, *arguments: str) -> None:
        self._view.command(f"python converter_image/{name} {' '.join(arguments)}")
        self._python(str(_SCRIPTS / name), *arguments)

    def _python(self, *arguments: str) -> None:
        """Run Python in the demo's folder and show what it prints as it comes."""
        environment = os.environ | {
            "PYTHONPATH": str(_SCRIPTS),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": str(self._console.width),
        }
        with tempfile.TemporaryDirectory(prefix="devcluster-") as folder:
            log = Path(folder, "log")
            process = Process(
                "python", [sys.executable, *arguments], log, environment=environment, folder=self._folder
            )
            try:
                with log.open(errors="replace") as output:
                    while process.wait(0.2) is None:
                        self._view.output(output.read())
                    self._view.output(output.read())
            finally:
                code = process.kill()
        if code:
            raise ProcessError(f"python {arguments[0]} failed with exit code {code}")

    # In the cluster.

    def _fetch_binaries(self) -> None:
        try:
            fetch = ensure_node_binaries if self._containers else ensure_control_plane_binaries
            self._binaries = fetch(self._console)
        except DevClusterError as error:
            self._binaries = error

    def _start_cluster(self, stack: ExitStack) -> None:
        self._view.part("A Kubernetes control plane, an S3 server, the operator and a node")
        if self._fetching.is_alive():
            self._view.say("Waiting for the cluster's programs, which come once a machine")
        self._fetching.join()
        if isinstance(self._binaries, DevClusterError):
            raise self._binaries
        assert self._binaries is not None  # noqa: S101 - for the type checker: the thread has ended
        if self._containers:
            self._cluster = ContainerCluster(self._console, NAMESPACE, stack, self._view.done)
        else:
            self._cluster = ProcessCluster(self._binaries, NAMESPACE, stack, self._view.done)
        self._kubectl = self._cluster.control_plane.kubectl

    def _upload(self) -> None:
        self._view.part("Upload the model and its data")
        client = self._cluster.client()
        client.create_bucket(Bucket=BUCKET)
        models, datasets = self._folder / "models", self._folder / "datasets"
        saved_model = (models / "gesture_classifier_savedmodel").rglob("*")
        files = {
            file.relative_to(models).as_posix(): file
            for file in (models / "gesture_classifier.h5", *saved_model)
            if file.is_file()
        }
        for name in ("val_features", "val_labels", "test_features", "test_labels"):
            files[f"datasets/{name}.npy"] = datasets / f"{name}.npy"
        for key, file in files.items():
            client.upload_file(str(file), BUCKET, key)
        self._view.done(f"{len(files)} objects in s3://{BUCKET}/")
        self._kubectl(
            *("create", "secret", "generic", SECRET, "-n", NAMESPACE),
            f"--from-literal=AWS_ACCESS_KEY_ID={self._cluster.access_key}",
            f"--from-literal=AWS_SECRET_ACCESS_KEY={self._cluster.secret_key}",
        )
        role = f"conversions-{SECRET}"
        release = ("--verb=get", "--resource=secrets", f"--resource-name={SECRET}")
        self._kubectl("create", "role", role, "-n", NAMESPACE, *release)
        grant = (f"--role={role}", f"--user={CONVERSIONS_USER}")
        self._kubectl("create", "rolebinding", role, "-n", NAMESPACE, *grant)
        self._view.done(f"Secret {SECRET} with the S3 keys, released for the containers fetch and publish")

    def _convert(self, name: str) -> None:
        """Apply an example and follow it to its end."""
        file = REPOSITORY / "examples" / f"{name}.yaml"
        self._view.part(f"Convert {name}")
        text, endpoint = file.read_text(), self._cluster.endpoint
        if endpoint == EXAMPLES_ENDPOINT:
            self._view.command(f"kubectl apply -f examples/{name}.yaml")
        else:
            text = text.replace(EXAMPLES_ENDPOINT, endpoint)
            self._view.command(
                f"sed 's|{EXAMPLES_ENDPOINT}|{endpoint}|' examples/{name}.yaml | kubectl apply -f -"
            )
        self._view.output(self._kubectl("apply", "-n", NAMESPACE, "-f", "-", input=text).stdout)
        status = self._follow(name)
        if status.get("phase") != "Succeeded":
            failure = status.get("failure") or {}
            raise ProcessError(
                f"{name} ended as {status.get('phase')}: {failure.get('reason')}: {failure.get('message')}"
            )
        self._view.artifacts(status)

    def _follow(self, name: str) -> dict[str, Any]:
        path = f"/apis/edgeml.dev/v1alpha1/namespaces/{NAMESPACE}/modelconversions/{name}"
        deadline = time.monotonic() + _CONVERSION_SECONDS
        with self._view.conversion() as show:
            while time.monotonic() < deadline:
                status: dict[str, Any] = self._cluster.control_plane.api.get(path).get("status", {})
                show(status)
                if status.get("phase") in ("Succeeded", "Failed"):
                    return status
                time.sleep(0.2)
        raise ProcessError(f"{name} has not ended after {_CONVERSION_SECONDS} s; logs: {self._cluster.logs}")

    # What came of it.

    def _show_results(self) -> None:
        self._view.part("What came of it")
        for arguments in ("get mconv", "get mconv -o wide"):
            self._view.command(f"kubectl {arguments}")
            self._view.output(self._kubectl(*arguments.split(), "-n", NAMESPACE).stdout)
        client = self._cluster.client()
        self._view.bucket(
            BUCKET, client.list_objects_v2(Bucket=BUCKET, Prefix="converted/").get("Contents", [])
        )
        target = self._folder / "downloads" / "gesture_classifier_int8.tflite"
        target.parent.mkdir(exist_ok=True)
        client.download_file(BUCKET, f"converted/gesture-classifier/{target.name}", str(target))
        self._view.command(f"TFLiteInference({target.name!r}), downloaded from the bucket")
        self._python("-c", _PREDICT)
        url = self._cluster.operator_url
        self._view.metrics(url, httpx.get(f"{url}/metrics", trust_env=False).text)


def _training_recipe() -> str:
    """Return a digest of the code that trains the model."""
    digest = hashlib.sha256()
    for file in sorted((_SCRIPTS / "gesture_sample").glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def main() -> int:
    """Run the demonstration; 0 when all went well, 130 when it was interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m devcluster.demo", description="Show a conversion, end to end."
    )
    parser.add_argument("--keep", action="store_true", help="leave everything up until Ctrl-C")
    parser.add_argument(
        "--containers", action="store_true", help="in a real node (as root) instead of in processes"
    )
    parser.add_argument("--picture", type=Path, help="save the last parts as an SVG file")
    options = parser.parse_args()
    # However the program is asked to end, it takes the same way out, past all that must be stopped.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    console = Console(highlight=False, soft_wrap=True, record=options.picture is not None)
    if not console.is_terminal:
        console.width = 120  # a log has no width, and tables need one
    try:
        Demo(console, keep=options.keep, picture=options.picture, containers=options.containers).run()
    except KeyboardInterrupt:
        console.print("\nStopped; nothing is left running.")
        return 0 if options.keep else 130
    except (DevClusterError, subprocess.SubprocessError, OSError) as error:
        console.print(f"\n[red]error:[/red] {escape(str(error))}")
        return 1
    return 0
