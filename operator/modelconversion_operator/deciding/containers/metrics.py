"""The containers of a user's own metrics: foreign images, which get outputs and labels and nothing else.

They stand between ``convert`` and ``publish``. The pod's network is there for these two, so each runs under a
program of the converter's that takes the network away from what it starts: a network policy is a whole pod's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from modelconversion_api.fields.metrics import (
    METRIC_DATA_ENV,
    METRIC_RESULTS_ENV,
    METRIC_SANDBOX_ENV,
    SANDBOX_FILTER,
    SANDBOX_PROGRAM,
    Metric,
)
from modelconversion_api.fields.scheduling import JobSpec
from modelconversion_operator.deciding.containers.parts import (
    RESTRICTED,
    TERMINATION_LOG,
    TMP,
    mount,
    without_devices,
)

_DATA: Final = "metric-data"
_RESULTS: Final = "metric-results"
_SANDBOX: Final = "metric-sandbox"
_OURS: Final = "/work"
_THEIRS: Final = "/metric"
"""Where these lie in the converter's containers, and in those of metrics."""


def with_metrics(pod: dict[str, Any], metrics: Sequence[Metric], job: JobSpec) -> dict[str, Any]:
    """Return a pod that converts with a container for each metric, behind the one that runs the model."""
    if not metrics:
        return pod
    fetch, convert = pod["initContainers"]
    (publish,) = pod["containers"]
    return pod | {
        "initContainers": [
            _sharing(fetch, METRIC_SANDBOX_ENV, _SANDBOX, read_only=False),
            _sharing(convert, METRIC_DATA_ENV, _DATA, read_only=False),
            *(_container(metric, job) for metric in metrics),
        ],
        "containers": [_sharing(publish, METRIC_RESULTS_ENV, _RESULTS, read_only=True)],
    }


def _sharing(container: dict[str, Any], variable: str, folder: str, *, read_only: bool) -> dict[str, Any]:
    path = f"{_OURS}/{folder}"
    return container | {
        "env": [*container["env"], {"name": variable, "value": path}],
        "volumeMounts": [*container["volumeMounts"], mount(path, read_only=read_only)],
    }


def _container(metric: Metric, job: JobSpec) -> dict[str, Any]:
    data, results, sandbox = (f"{_THEIRS}/{name}" for name in ("data", "results", "sandbox"))
    # The kubelet puts variables in place of $(NAME), and one dollar in place of two.
    command = [argument.replace("$", "$$") for argument in metric.command]
    return {
        "name": metric.container,
        "image": metric.image,
        # A digest is one and the same image for ever.
        "imagePullPolicy": "IfNotPresent",
        "command": [
            *(f"{sandbox}/{SANDBOX_PROGRAM}", f"{sandbox}/{SANDBOX_FILTER}"),
            *(data, results, TERMINATION_LOG, str(metric.timeout_seconds)),
            *command,
        ],
        "env": [{"name": "TMPDIR", "value": TMP}, {"name": "HOME", "value": TMP}],
        "volumeMounts": [
            mount(sandbox, sub_path=_SANDBOX, read_only=True),
            mount(data, sub_path=_DATA, read_only=True),
            mount(results, sub_path=f"{_RESULTS}/{metric.name}"),
            mount(TMP, sub_path=f"tmp-{metric.container}"),
        ],
        "resources": without_devices(job.resources.to_wire()) if job.resources else {},
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "File",
        "securityContext": RESTRICTED,
    }
