"""The image with other runtimes: a conversion in it, as its user, verifies on each of them."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from devcluster.images.build import ensure_verify_image
from devcluster.images.buildah import Buildah
from modelconversion_api.report import ConversionReport
from modelconversion_api.verification import VerificationOutcome
from support.cluster.e2e_cluster import Cluster
from support.converter.hard_models import OUTPUT, chain
from tflite_converter.verifying.guests import GUESTS

_FOLDER = "/tmp/conversion"


def test_a_conversion_in_the_image_verifies_on_every_guest(cluster: Cluster) -> None:
    cluster.real_node()  # images are built here for no other
    image, buildah = ensure_verify_image(Console(stderr=True)), Buildah()
    generator = np.random.default_rng(5)
    with buildah.container(image.reference) as (container, root):
        folder = root / _FOLDER.lstrip("/")
        folder.mkdir()
        folder.chmod(0o777)  # the image's user is not root
        kernel = generator.normal(0, 0.25, (16, 16)).astype(np.float32)
        (folder / "m.tflite").write_bytes(chain([kernel], [OUTPUT]))
        np.save(folder / "samples.npy", generator.normal(size=(400, 16)).astype(np.float32))
        verify = [word for name in GUESTS for word in ("--verify-on", name.value)]
        options = ["--method", "full_integer", "--data", f"{_FOLDER}/samples.npy", *verify]
        buildah.run_in(
            container,
            *("tflite-converter", "convert", "--model", f"{_FOLDER}/m.tflite"),
            *("--output", f"{_FOLDER}/out", *options),
        )
        report = ConversionReport.model_validate_json((folder / "out/m_report.json").read_text())
    (artifact,) = report.artifacts
    outcomes = {check.name: check.outcome for check in artifact.verifications}
    assert outcomes == dict.fromkeys(GUESTS, VerificationOutcome.PASSED)
