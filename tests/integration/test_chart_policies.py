"""What a policy checker says to the chart. Each exception has its reason here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from devcluster.tools.installer import find_uv
from support.chart.charts import EVERYTHING, NAME, Json, render_text

_CHECKER = "checkov==3.3.30"

ALWAYS = {
    "CKV_K8S_11": "a CPU limit would slow the first listing of all objects down, and save nothing",
}
UNLESS_SET = {
    "CKV_K8S_15": "tags of ours do not move: Always asks the registry at each start, and fails without it",
    "CKV_K8S_43": "a digest is the user's to give: there is no release yet whose digest could stand here",
}
OPERATOR = {
    "CKV_K8S_38": "the operator talks to the API server",
}
TEST_POD = {
    "CKV_K8S_8": "it runs once, for seconds",
    "CKV_K8S_9": "it serves nobody",
}
WITHOUT_POLICY = {
    "CKV2_K8S_6": "network policies are off unless asked for, and the test's pod is there for seconds only",
}
BESIDE = {
    f"Deployment/{NAME}-webhooks": {*ALWAYS, *OPERATOR},
    f"Deployment/{NAME}-viewer": {*ALWAYS},  # it has no token of its own
}
"""What is there beside the operator where everything is on."""
SAFEST = EVERYTHING | {
    "image": {"digest": "sha256:" + "0" * 64, "pullPolicy": "Always", "pullSecrets": [{"name": "registry"}]}
}


@pytest.fixture(scope="module")
def uv() -> str:
    found = find_uv()
    if found is None:
        pytest.skip("the checker runs in an environment of its own, which uv makes: install uv")
    return found


def failures(uv: str, folder: Path, values: Json) -> dict[str, set[str]]:
    """The checks that fail, of each object; "" for what is found about the pods of all of them."""
    file = folder / "chart.yaml"
    file.write_text(render_text(values))
    options = (
        "--file",
        str(file),
        "--framework",
        "kubernetes",
        "--output",
        "json",
        "--quiet",
        "--skip-download",
    )
    command = [uv, "tool", "run", "--from", _CHECKER, "checkov", *options]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.stdout.startswith("{"), result.stderr[-2000:]
    report = json.loads(result.stdout)
    assert report["summary"]["passed"] > 90
    found: dict[str, set[str]] = {}
    for failure in report["results"]["failed_checks"]:
        about_all = failure["check_id"] in WITHOUT_POLICY
        kind, *_, name = failure["resource"].split(".")
        found.setdefault("" if about_all else f"{kind}/{name}", set()).add(failure["check_id"])
    return found


@pytest.mark.parametrize(
    ("values", "more"), [({}, {*UNLESS_SET}), (SAFEST, set())], ids=["defaults", "as safe as it can be"]
)
def test_policies(uv: str, tmp_path: Path, values: Json, more: set[str]):
    assert failures(uv, tmp_path, values) == {
        f"Deployment/{NAME}": {*ALWAYS, *OPERATOR, *more},
        **({} if more else BESIDE),
        f"Pod/{NAME}-test": {*ALWAYS, *TEST_POD, *more},
        "": {*WITHOUT_POLICY},
    }
