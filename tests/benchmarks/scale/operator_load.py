"""Creates ModelConversions, all at once or at a steady rate: a process of its own beside the operator's.

``python tests/benchmarks/scale/operator_load.py --kubeconfig FILE --namespace NAME ...``

With ``--finished`` each is given the status of one that has succeeded: what a new operator process finds.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

from modelconversion_api.spec import ModelConversionSpec
from modelconversion_api.status import Condition, ModelConversionStatus, Phase
from modelconversion_operator.deciding import outcome
from modelconversion_operator.deciding.views import spec_digest
from support.operator.async_api import AsyncApi
from support.operator.stub_node import summary

PARALLEL = 16
"""Requests under way at a time: what a patient user's script would have, not a flood."""


def conversion(namespace: str, number: int) -> dict[str, Any]:
    """A conversion by all four methods, as the README's."""
    storage = {"endpoint": "https://minio.storage.svc:9000", "secretRef": {"name": "s3-credentials"}}
    validation = {
        "uri": "s3://models/test_features.npy",
        "labelsUri": "s3://models/test_labels.npy",
        "maxAccuracyDrop": "0.02",
    }
    return {
        "apiVersion": "edgeml.dev/v1alpha1",
        "kind": "ModelConversion",
        "metadata": {"name": f"gesture-{number:05}", "namespace": namespace},
        "spec": {
            "source": {"uri": f"s3://models/gesture_{number:05}.h5"},
            "output": {"uri": f"s3://models/converted/gesture-{number:05}/"},
            "storage": storage,
            "methods": ["Float32", "DynamicRange", "Float16", "FullInteger"],
            "calibration": {
                "uri": "s3://models/val_features.npy",
                "labelsUri": "s3://models/val_labels.npy",
                "samples": 200,
            },
            "validation": validation,
            # The operator is measured: with thousands of Jobs at once, pods wait for their controller.
            "job": {"pendingDeadlineSeconds": 86400},
        },
    }


def succeeded(body: dict[str, Any]) -> dict[str, Any]:
    """The status that our operator would have written at a conversion's end."""
    spec, made, now = ModelConversionSpec.model_validate(body["spec"]), summary(), datetime.now(UTC)
    condition = Condition(
        type="Succeeded", status="True", reason="Converted", observed_generation=1, last_transition_time=now
    )
    return ModelConversionStatus(
        observed_generation=1,
        run_generation=1,
        phase=Phase.SUCCEEDED,
        conditions=[condition],
        methods=",".join(spec.resolved_methods()),
        spec_digest=spec_digest(spec),
        job_name=f"{body['metadata']['name']}-0123456789",
        job_uid="4d9e64a1-4b53-4d29-8a4c-6ff0d36a7a3e",
        start_time=now,
        completion_time=now,
        source=made.source,
        artifacts=outcome.artifacts_of(made, spec.output.uri),
        recommended=outcome.recommended_of(made, spec.output.uri),
        report_uri=outcome.report_uri(spec.output.uri),
    ).to_wire()


def profile(namespace: str) -> dict[str, Any]:
    """What conversions of a set follow."""
    meta = {"name": "usual", "namespace": namespace}
    spec = {"methods": ["Float32", "DynamicRange", "Float16", "FullInteger"]}
    return {"apiVersion": "edgeml.dev/v1alpha1", "kind": "ConversionProfile", "metadata": meta, "spec": spec}


def set_of(namespace: str, number: int, members: int) -> dict[str, Any]:
    """A set with so many models for one profile, each as :func:`conversion` has it."""
    spec = conversion(namespace, number)["spec"]
    part = {"calibration": spec["calibration"], "validation": spec["validation"]}
    models = [
        {"name": f"m{n}", "source": {"uri": f"s3://models/gesture_{number:05}_{n}.h5"}} | part
        for n in range(members)
    ]
    return {
        "apiVersion": "edgeml.dev/v1alpha1",
        "kind": "ModelConversionSet",
        "metadata": {"name": f"set-{number:05}", "namespace": namespace},
        "spec": {
            "models": models,
            "profiles": [{"name": "usual"}],
            "output": {"uri": f"s3://models/sets/{number:05}/"},
            "storage": spec["storage"],
            "job": spec["job"],
            "maxParallel": members,
        },
    }


async def create_sets(kubeconfig: Path, namespaces: list[str], count: int, members: int) -> None:
    """Create ``count`` sets of so many members in turn over the namespaces."""
    async with AsyncApi(kubeconfig, PARALLEL) as api:
        async with asyncio.TaskGroup() as group:
            for namespace in namespaces:
                group.create_task(_post(api, profile(namespace), "conversionprofiles"))
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                body = set_of(namespaces[number % len(namespaces)], number, members)
                group.create_task(_post(api, body, "modelconversionsets"))


async def create(kubeconfig: Path, namespaces: list[str], count: int, rate: float, *, finished: bool) -> None:
    """Create ``count`` conversions in turn over the namespaces; ``rate`` a second, or at once with 0."""
    async with AsyncApi(kubeconfig, PARALLEL) as api, asyncio.TaskGroup() as group:
        start = time.monotonic()
        for number in range(count):
            body = conversion(namespaces[number % len(namespaces)], number)
            group.create_task(_create(api, body, finished=finished))
            if rate:
                await asyncio.sleep(max(0.0, start + (number + 1) / rate - time.monotonic()))


async def _create(api: AsyncApi, body: dict[str, Any], *, finished: bool) -> None:
    path = await _post(api, body, "modelconversions")
    if finished:
        where = f"{path}/{body['metadata']['name']}/status"
        status, answer = await api.request("PATCH", where, {"status": succeeded(body)})
        if status != 200:
            raise RuntimeError(f"{body['metadata']['name']}: {answer.get('message')}")


async def _post(api: AsyncApi, body: dict[str, Any], plural: str) -> str:
    """Create an object, however busy the server is; gives the path of its kind."""
    path = f"/apis/edgeml.dev/v1alpha1/namespaces/{body['metadata']['namespace']}/{plural}"
    while True:
        status, answer = await api.request("POST", path, body)
        if status == 201:
            return path
        if status < 429:
            raise RuntimeError(f"{body['metadata']['name']}: {answer.get('message')}")
        await asyncio.sleep(0.5)


def main() -> None:
    """Create them and end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--namespace", action="append", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--finished", action="store_true")
    parser.add_argument("--members", type=int, default=0, help="sets of so many instead")
    options = parser.parse_args()
    if options.members:
        count = options.count // options.members
        asyncio.run(create_sets(options.kubeconfig, options.namespace, count, options.members))
        return
    asyncio.run(
        create(options.kubeconfig, options.namespace, options.count, options.rate, finished=options.finished)
    )


if __name__ == "__main__":
    main()
