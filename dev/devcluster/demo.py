"""The demonstration: ``make demo``, or ``python -m devcluster.demo [--keep]``.

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

from .binaries import ensure_control_plane_binaries
from .cache import REPOSITORY, cache_dir
from .controlplane import ControlPlane
from .demo_view import DemoView
from .errors import DevClusterError, ProcessError
from .install import install_crd, install_node_rbac, install_operator_rbac
from .node import ProcessNode
from .processes import Process, free_ports, port_is_free, wait_until_ready
from .s3 import ObjectStore

S3_PORT = 18333
"""Fixed, because the examples name it."""
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

    def __init__(self, console: Console, *, keep: bool, picture: Path | None) -> None:
        self._view = DemoView(console)
        self._console = console
        self._keep = keep
        self._picture = picture
        self._folder = cache_dir() / "demo"
        self._folder.mkdir(exist_ok=True)
        self._binaries: Path | DevClusterError | None = None
        self._fetching = threading.Thread(target=self._fetch_binaries, daemon=True)

    def run(self) -> None:
        """Run all parts; raises :class:`DevClusterError` when one fails."""
        if not port_is_free(S3_PORT):
            raise ProcessError(
                f"port {S3_PORT} of 127.0.0.1 is in use, and the examples need it for the S3 server: end the "
                f"program that listens there (`ss -ltnp 'sport = :{S3_PORT}'` names it), maybe another demo"
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
                self._view.keep(self._control_plane, self._store, self._operator_url, self._node)
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
            self._binaries = ensure_control_plane_binaries(self._console)
        except DevClusterError as error:
            self._binaries = error

    def _start_cluster(self, stack: ExitStack) -> None:
        self._view.part("A Kubernetes control plane, an S3 server, the operator and a node")
        if self._fetching.is_alive():
            self._view.say("Waiting for the control plane's programs, which come once a machine")
        self._fetching.join()
        if isinstance(self._binaries, DevClusterError):
            raise self._binaries
        assert self._binaries is not None  # noqa: S101 - for the type checker: the thread has ended
        self._control_plane = stack.enter_context(ControlPlane(self._binaries))
        self._view.done("etcd, kube-apiserver and kube-controller-manager")
        self._store = stack.enter_context(ObjectStore(port=S3_PORT))
        self._view.done(f"S3 (SeaweedFS) at {self._store.endpoint}")
        install_crd(self._control_plane)
        kubeconfig = install_operator_rbac(self._control_plane, NAMESPACE)
        self._view.done("ModelConversion resource; the operator's service account and permissions")
        self._start_operator(kubeconfig, stack)
        self._view.done(f"operator, metrics at {self._operator_url}/metrics")
        node = ProcessNode(install_node_rbac(self._control_plane), self._control_plane.state)
        self._node = stack.enter_context(node)
        self._view.done("node that runs containers as processes")

    def _start_operator(self, kubeconfig: Path, stack: ExitStack) -> None:
        (port,) = free_ports(1)
        self._operator_url = f"http://127.0.0.1:{port}"
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "KUBECONFIG": str(kubeconfig),
            "MODELCONVERSION_CONVERTER_IMAGE": "model-conversion-converter:demo",  # the node uses no images
            "MODELCONVERSION_HTTP_HOST": "127.0.0.1",
            "MODELCONVERSION_HTTP_PORT": str(port),
        }
        program = Path(sys.executable).with_name("modelconversion-operator")
        log = self._control_plane.state / "operator.log"
        operator = Process("the operator", [program], log, environment=environment)
        stack.callback(operator.stop)
        wait_until_ready(operator, self._operator_ready, 60)

    def _operator_ready(self) -> bool:
        try:
            return httpx.get(f"{self._operator_url}/readyz", trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def _upload(self) -> None:
        self._view.part("Upload the model and its data")
        client = self._store.client()
        self._store.create_bucket(BUCKET)
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
        self._control_plane.kubectl(
            *("create", "secret", "generic", SECRET, "-n", NAMESPACE),
            f"--from-literal=AWS_ACCESS_KEY_ID={self._store.access_key}",
            f"--from-literal=AWS_SECRET_ACCESS_KEY={self._store.secret_key}",
        )
        self._view.done(f"Secret {SECRET} with the S3 keys, which only the fetch and publish containers get")

    def _convert(self, name: str) -> None:
        """Apply an example and follow it to its end."""
        file = REPOSITORY / "examples" / f"{name}.yaml"
        self._view.part(f"Convert {name}")
        self._view.command(f"kubectl apply -f examples/{name}.yaml")
        self._view.output(self._control_plane.kubectl("apply", "-n", NAMESPACE, "-f", str(file)).stdout)
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
                status: dict[str, Any] = self._control_plane.api.get(path).get("status", {})
                show(status)
                if status.get("phase") in ("Succeeded", "Failed"):
                    return status
                time.sleep(0.2)
        raise ProcessError(f"{name} has not ended after {_CONVERSION_SECONDS} s; logs: {self._node.logs}")

    # What came of it.

    def _show_results(self) -> None:
        self._view.part("What came of it")
        for arguments in ("get mconv", "get mconv -o wide"):
            self._view.command(f"kubectl {arguments}")
            self._view.output(self._control_plane.kubectl(*arguments.split(), "-n", NAMESPACE).stdout)
        client = self._store.client()
        self._view.bucket(
            BUCKET, client.list_objects_v2(Bucket=BUCKET, Prefix="converted/").get("Contents", [])
        )
        target = self._folder / "downloads" / "gesture_classifier_int8.tflite"
        target.parent.mkdir(exist_ok=True)
        client.download_file(BUCKET, f"converted/gesture-classifier/{target.name}", str(target))
        self._view.command(f"TFLiteInference({target.name!r}), downloaded from the bucket")
        self._python("-c", _PREDICT)
        self._view.metrics(
            self._operator_url, httpx.get(f"{self._operator_url}/metrics", trust_env=False).text
        )


def _training_recipe() -> str:
    """Changes when the code that trains the model does."""
    digest = hashlib.sha256()
    for file in sorted((_SCRIPTS / "tflite_converter").glob("gesture_*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def main() -> int:
    """Run the demonstration; 0 when all went well, 130 when it was interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m devcluster.demo", description="Show a conversion, end to end."
    )
    parser.add_argument("--keep", action="store_true", help="leave everything up until Ctrl-C")
    parser.add_argument("--picture", type=Path, help="save the last parts as an SVG file")
    options = parser.parse_args()
    # However the program is asked to end, it takes the same way out, past all that must be stopped.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    console = Console(highlight=False, soft_wrap=True, record=options.picture is not None)
    if not console.is_terminal:
        console.width = 120  # a log has no width, and tables need one
    try:
        Demo(console, keep=options.keep, picture=options.picture).run()
    except KeyboardInterrupt:
        console.print("\nStopped; nothing is left running.")
        return 0 if options.keep else 130
    except (DevClusterError, subprocess.SubprocessError, OSError) as error:
        console.print(f"\n[red]error:[/red] {escape(str(error))}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
